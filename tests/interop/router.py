"""Runs a real WAMP router in a temporary folder for as long as standard input stays open.

    WAMPGATE_PEERS=FOLDER python router.py KIND PORT REALM[,REALM...]

KIND is `crossbar`, `xconn` or `fox`. The router listens on loopback, on PORT or, if that is 0, on a
port that is free. Its log is repeated on standard output, with a line `ready PORT` when clients may
come. A line `term` on standard input asks the router to end (SIGTERM). When standard input ends,
which is also what happens when the test's process dies in whatever way, the router's whole process
group is killed and the folder removed: nothing stays behind.

Every realm has the roles `anonymous` and `backend`, both of which may do everything, where the
router knows roles; fox-wamp lets everybody in. WebSocket is served at `/ws`; by Crossbar and
xconn-router also RawSocket, on the same port; by Crossbar, for the benchmarks, its own HTTP bridge
for the first realm: `/call` and `/publish`.
"""

import base64
import hashlib
import hmac
import json
import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading

# The users of the tests of authentication, each with the role `backend`.
TICKETS = {"gateway": "ticket-of-gateway"}
SECRETS = {"peter": {"secret": "secret-of-peter"}}
# bob's secret is salted: the client derives the key. The routers derive it themselves too, from the
# secret as it stands here.
SALTED = {"bob": {"secret": "secret1", "salt": "salt123", "iterations": 100, "keylen": 16}}
# Derived as autobahn's client does it: of Argon2 the key is its base64 text.
SCRAM = {
    "dave": {"kdf": "pbkdf2", "password": "password-of-dave", "iterations": 4096, "memory": 0},
    "erin": {"kdf": "argon2id-13", "password": "password-of-erin", "iterations": 2, "memory": 8192},
}
# The public key of the WAMP specification's check vectors.
KEYS = {"carol": "1adfc8bfe1d35616e64dffbd900096f23b066f914c8c2ffbb66f6075b96e116d"}


class Crossbar:
    ready = r"local node configuration ran successfully"
    port = r"listening on TCP port (\d+)"

    def __init__(self, folder, realms, port):
        # It refuses port 0. A range that begins at random keeps nodes of parallel tests apart, and
        # leaves a way out of a port that somebody took.
        low = random.randrange(20_000, 30_000)
        ports = {"port": port} if port else {"portrange": [low, low + 200]}
        for name in ["web", ".crossbar"]:
            (folder / name).mkdir()
        config = self.node(realms, ports)
        (folder / ".crossbar" / "config.json").write_text(json.dumps(config))
        self.command = ["crossbar", "start", "--cbdir", ".crossbar", "--color", "false"]

    def node(self, realms, ports):
        bridge = {"realm": realms[0], "role": "anonymous"}
        paths = {
            # Not `nodeinfo`, which swallows the other paths.
            "/": {"type": "static", "directory": "../web"},
            "ws": {"type": "websocket", "auth": self.auth()},
            "call": {"type": "caller", **bridge},
            "publish": {"type": "publisher", **bridge},
        }
        endpoint = {"type": "tcp", "interface": "127.0.0.1", **ports}
        raw = {"serializers": ["cbor", "msgpack", "json"], "auth": self.auth()}
        web = {"paths": paths}
        transport = {"type": "universal", "endpoint": endpoint, "rawsocket": raw, "web": web}
        realms = [self.realm(name) for name in realms]
        worker = {"type": "router", "realms": realms, "transports": [transport]}
        return {"version": 2, "workers": [worker]}

    def auth(self):
        role = {"role": "backend"}
        of_each = lambda users: {name: {**user, **role} for name, user in users.items()}
        return {
            "anonymous": {"type": "static", "role": "anonymous"},
            "ticket": {
                "type": "static",
                "principals": of_each({name: {"ticket": it} for name, it in TICKETS.items()}),
            },
            "wampcra": {"type": "static", "users": of_each({**SECRETS, **SALTED})},
            "scram": {
                "type": "static",
                "principals": of_each({name: scram_keys(**it) for name, it in SCRAM.items()}),
            },
            "cryptosign": {
                "type": "static",
                "principals": of_each({name: {"authorized_keys": [it]} for name, it in KEYS.items()}),
            },
        }

    def realm(self, name):
        everything = {
            "uri": "",
            "match": "prefix",
            "allow": {"call": True, "register": True, "publish": True, "subscribe": True},
            "disclose": {"caller": True, "publisher": True},
            "cache": True,
        }
        roles = [{"name": role, "permissions": [everything]} for role in ("anonymous", "backend")]
        return {"name": name, "roles": roles}


def scram_keys(kdf, password, iterations, memory):
    # Only the Python of Crossbar has it. Its public function takes seconds for each user.
    from autobahn.wamp import auth

    salt, password = os.urandom(16), password.encode()
    if kdf == "pbkdf2":
        salted = hashlib.pbkdf2_hmac("sha256", password, salt, iterations)
    else:
        text = base64.b64encode(salt)
        salted = auth._hash_argon2id13_secret(password, text, iterations, memory)
    sign = lambda text: hmac.digest(salted, text, "sha256")
    return {
        "kdf": kdf,
        "iterations": iterations,
        "memory": memory,
        "salt": salt.hex(),
        "stored-key": hashlib.sha256(sign(b"Client Key")).hexdigest(),
        "server-key": sign(b"Server Key").hex(),
    }


class Xconn:
    ready = r"^Ready$"
    port = r"^Listening universal .*:(\d+)$"

    def __init__(self, folder, realms, port):
        everything = {"uri": "", "match": "prefix"}
        everything |= {f"allow_{what}": True for what in ("call", "register", "publish", "subscribe")}
        roles = [{"name": role, "permissions": [everything]} for role in ("anonymous", "backend")]

        def in_each(users, role="backend"):
            return [
                {"authid": name, "realm": realm, "role": role, **user}
                for realm in realms
                for name, user in users.items()
            ]

        config = {
            "version": "1",
            "realms": [{"name": name, "roles": roles} for name in realms],
            "transports": [
                {
                    "type": "universal",
                    "listener": "tcp",
                    "address": f"127.0.0.1:{port}",
                    "serializers": ["json", "cbor", "msgpack"],
                }
            ],
            "authenticators": {
                "anonymous": in_each({"anonymous": {}}, role="anonymous"),
                "ticket": in_each({name: {"ticket": it} for name, it in TICKETS.items()}),
                "wampcra": in_each(SECRETS | {n: {**it, "derive_secret": True} for n, it in SALTED.items()}),
                "cryptosign": in_each({name: {"authorized_keys": [it]} for name, it in KEYS.items()}),
            },
        }
        # JSON is YAML.
        (folder / "config.yaml").write_text(json.dumps(config))
        self.command = ["xconn-router", "--config-file", "config.yaml", "start"]


class Fox:
    ready = port = r"^listening (\d+)$"

    def __init__(self, folder, realms, port):
        # It makes any realm at the first HELLO, and takes only names without dots.
        self.command = ["node", str(pathlib.Path(__file__).with_name("fox_router.cjs")), str(port)]


KINDS = {"crossbar": Crossbar, "xconn": Xconn, "fox": Fox}


def main():
    kind, port, realms = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="wampgate-router-") as folder:
        folder = pathlib.Path(folder)
        run(folder, KINDS[kind](folder, realms.split(","), int(port)))


def run(folder, kind):
    peers = pathlib.Path(os.environ["WAMPGATE_PEERS"]) / "bin"
    process = subprocess.Popen(
        kind.command,
        cwd=folder,
        # Crossbar keeps a key in the home folder.
        env={
            **os.environ,
            "PATH": f"{peers}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(folder),
            "PYTHONUNBUFFERED": "1",
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )

    def end(*_):
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def wait_for_owner():
        # Not `sys.stdin`, whose lock would keep the interpreter from ending before this thread.
        while said := os.read(0, 4096):
            if said == b"term\n":
                process.terminate()
        end()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    threading.Thread(target=wait_for_owner, daemon=True).start()
    port = None
    for line in process.stdout:
        print(line, end="", flush=True)
        if found := re.search(kind.port, line):
            port = found[1]
        if re.search(kind.ready, line):
            print(f"ready {port}", flush=True)
    # Every process that held the pipe has ended.
    process.wait()


if __name__ == "__main__":
    main()
