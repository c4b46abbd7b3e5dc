"""A callee in Python on autobahn: the sample marketplace, and procedures that tests need.

    python market_callee.py URL REALM SERIALIZER

Says `ready` on standard output whenever all procedures are registered (again after the router was
away), and ends with standard input. The market's rules and words are those of `src/demo/market.rs`,
so that the same requests give the same answers through either.
"""

import asyncio
import os
import signal
import sys
import threading

import txaio

txaio.use_asyncio()

from autobahn.asyncio.component import Component, run  # noqa: E402
from autobahn.wamp import ApplicationError  # noqa: E402
from autobahn.wamp.types import CallOptions, CallResult, PublishOptions, RegisterOptions  # noqa: E402

ERROR = "com.example.market.error."


class Market:
    def __init__(self):
        self.reset()

    def reset(self):
        self.items = {
            name: {"name": name, "price": price, "deadline": "2030-01-01", "bids": []}
            for name, price in [("lamp", 12.5), ("chair", 40.0)]
        }
        self.bidders = {"ada"}

    def list(self, limit=100):
        return sorted(self.items.values(), key=lambda item: item["price"])[:limit]

    def get(self, name=None):
        text("name", name)
        if name not in self.items:
            raise refusal("no_such_item", name, f"{name} is not for sale")
        return self.items[name]

    def sell(self, name=None, price=None, deadline=""):
        text("name", name)
        price = number("price", price)
        if name in self.items:
            raise refusal("item_exists", name, f"{name} is for sale already")
        self.items[name] = {"name": name, "price": price, "deadline": deadline or "", "bids": []}
        return self.items[name]

    def bid(self, name=None, price=None, bidder=None):
        text("name", name)
        price = number("price", price)
        text("bidder", bidder)
        if bidder not in self.bidders:
            raise refusal("no_such_bidder", bidder, f"{bidder} is no bidder")
        item = self.get(name)
        if price <= item["price"]:
            raise refusal("bid_too_low", name, f"{name} stands at {item['price']}: bid more")
        item["price"] = price
        item["bids"].append({"bidder": bidder, "price": price})
        return item

    def add_bidder(self, name=None):
        text("name", name)
        if name in self.bidders:
            raise refusal("bidder_exists", name, f"{name} is a bidder already")
        self.bidders.add(name)
        return {"name": name}

    def remove_bidder(self, name=None):
        text("name", name)
        if name not in self.bidders:
            raise refusal("no_such_bidder", name, f"{name} is no bidder")
        self.bidders.remove(name)
        return CallResult()


def refusal(kind, name, message):
    return ApplicationError(ERROR + kind, message, message=message, name=name)


def invalid(name, problem):
    message = f"`{name}` {problem}"
    return ApplicationError("wamp.error.invalid_argument", message, message=message, name=name)


def text(name, value):
    if not isinstance(value, str):
        raise invalid(name, "must be text")
    if not 1 <= len(value.encode()) <= 200:
        raise invalid(name, "must have 1 to 200 bytes")


def number(name, value):
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1e12:
        raise invalid(name, "must be a number above zero")
    return float(value)


class Tests:
    """What tests of the protocol need, below `com.example.test`."""

    def __init__(self, market, session):
        self.market = market
        self.session = session
        self.interrupts = 0
        self.events = asyncio.Queue()

    def echo(self, *args, **kwargs):
        """Gives positional and named arguments back: integers, binary, text, all of it."""
        return CallResult(*args, **kwargs)

    def fail(self, uri, *args, **kwargs):
        """Raises the application error `uri` with the rest as its arguments."""
        raise ApplicationError(uri, *args, **kwargs)

    async def slow(self, seconds=30):
        """Answers after `seconds`, unless it is interrupted; publishes that it has begun."""
        self.session.publish("com.example.test.started")
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            self.interrupts += 1
            raise
        return "slept"

    def seen_interrupts(self):
        return self.interrupts

    def big(self):
        """Integers at the edges of 64 bits."""
        return [2**64 - 1, 2**63, 2**63 - 1, -(2**63), 2**53 + 1]

    def binary(self, *args):
        """Gives bytes; with an argument, its bytes reversed."""
        return args[0][::-1] if args else bytes(range(256))

    def nothing(self):
        return CallResult()

    def null(self):
        return None

    def reset(self):
        self.market.reset()
        self.interrupts = 0

    def progress(self, count, details):
        """Counts to `count` in progressive results, for a caller who takes them."""
        for i in range(1, count + 1):
            if details.progress:
                details.progress(i)
        return "done"

    def die(self):
        """Dies as in a crash: the connection drops, nobody says goodbye."""
        os.kill(os.getpid(), signal.SIGKILL)

    async def announce(self, topic, *args, **kwargs):
        """Publishes."""
        options = PublishOptions(acknowledge=True)
        await self.session.publish(topic, *args, **kwargs, options=options)
        return CallResult()

    async def heard(self):
        """Waits for the next event of `com.example.test.hear`, and gives its arguments."""
        return await self.events.get()

    async def relay(self, procedure, *args, **kwargs):
        """Calls."""
        return await self.session.call(procedure, *args, **kwargs)

    async def gather(self, procedure, *args):
        """Calls, and gives the progressive results, and the final one."""
        seen = []
        options = CallOptions(on_progress=lambda *args, **kwargs: seen.append(args[0]))
        final = await self.session.call(procedure, *args, options=options)
        return [seen, final.results[0]]

    async def give_up(self, procedure, _mode):
        """Calls, and cancels the call at once; with which mode, autobahn decides."""
        call = self.session.call(procedure)
        call.cancel()
        try:
            await call
        except ApplicationError as error:
            return error.error
        except asyncio.CancelledError:
            return "Cancelled"
        return "answered"


def main():
    url, realm, serializer = sys.argv[1:]
    component = Component(
        transports=[
            {
                "type": "websocket",
                "url": url,
                "serializers": [serializer],
                "max_retries": -1,
                "initial_retry_delay": 0.1,
                "max_retry_delay": 0.5,
                # Large results are sent whole.
                "options": {"max_message_payload_size": 0, "max_frame_payload_size": 0},
            }
        ],
        realm=realm,
    )
    market = Market()

    @component.on_join
    async def joined(session, _details):
        tests = Tests(market, session)
        ours = {
            "list": market.list,
            "get": market.get,
            "sell": market.sell,
            "bid": market.bid,
            "bidder.add": market.add_bidder,
            "bidder.remove": market.remove_bidder,
        }
        # The names of the sample from Bondy's world, in ../shared/specs/marketplace.json.
        bondys = {
            "get": market.list,
            "item.get": market.get,
            "item.sell": market.sell,
            "item.bid": market.bid,
            "bidder.add": market.add_bidder,
            "bidder.gone": market.remove_bidder,
        }
        others = {
            name: getattr(tests, name)
            for name in vars(Tests)
            if not name.startswith("_")
        }
        for prefix, procedures in [
            ("com.example.market.", ours),
            ("com.market.", bondys),
            ("com.example.test.", others),
        ]:
            for name, procedure in procedures.items():
                details = {"details_arg": "details"} if name == "progress" else {}
                await session.register(procedure, prefix + name, RegisterOptions(**details))

        def heard(*args, **kwargs):
            tests.events.put_nowait(CallResult(*args, **kwargs))

        await session.subscribe(heard, "com.example.test.hear")
        print("ready", flush=True)

    def end_with_owner():
        while os.read(0, 4096):
            pass
        os._exit(0)

    threading.Thread(target=end_with_owner, daemon=True).start()
    run([component], log_level="warn")


if __name__ == "__main__":
    main()
