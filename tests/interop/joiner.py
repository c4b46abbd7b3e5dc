"""Joins a realm with autobahn's own answers to challenges, and says how that went.

    python joiner.py URL REALM METHOD AUTHID SECRET

Writes `ready joined AUTHID AUTHROLE AUTHMETHOD` or `ready refused REASON` on standard output, and
ends with standard input.
"""

import asyncio
import os
import sys
import threading

import txaio

txaio.use_asyncio()

from autobahn.asyncio.wamp import ApplicationSession  # noqa: E402
from autobahn.asyncio.websocket import WampWebSocketClientFactory  # noqa: E402
from autobahn.wamp.auth import create_authenticator  # noqa: E402
from autobahn.websocket.util import parse_url  # noqa: E402


def main():
    url, realm, method, authid, secret = sys.argv[1:]
    word = {"ticket": "ticket", "wampcra": "secret", "scram": "password"}[method]
    proof = create_authenticator(method, authid=authid, **{word: secret})

    class Joiner(ApplicationSession):
        def onConnect(self):
            self.join(realm, [method], authid, authextra=proof.authextra)

        def onChallenge(self, challenge):
            return proof.on_challenge(self, challenge)

        def onWelcome(self, welcome):
            return proof.on_welcome(self, welcome.authextra)

        def onJoin(self, details):
            say("joined", details.authid, details.authrole, details.authmethod)

        def onLeave(self, details):
            say("refused", details.reason)

    _, host, port, *_ = parse_url(url)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    factory = WampWebSocketClientFactory(Joiner, url=url)
    loop.run_until_complete(loop.create_connection(factory, host, port))
    threading.Thread(target=end_with_owner, daemon=True).start()
    loop.run_forever()


def say(*words):
    print("ready", *words, flush=True)


def end_with_owner():
    while os.read(0, 4096):
        pass
    os._exit(0)


if __name__ == "__main__":
    main()
