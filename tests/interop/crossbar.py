"""Runs Crossbar.io in a temporary folder for as long as standard input stays open.

    python crossbar.py REALM[,REALM...] LOW [HIGH]

Takes a free port from LOW to HIGH (else LOW alone) on loopback, repeats Crossbar's log on standard
output, and says `ready PORT` there when clients may come. When standard input ends, which is also
what happens when the test's process dies in whatever way, Crossbar's whole process group is killed
and the folder removed: nothing stays behind.

Every realm has the roles `anonymous` and `backend`, both of which may do everything. Served are
WebSocket at `/ws` and, for the benchmarks, Crossbar's own HTTP bridge for the first realm:
`/call` and `/publish`.
"""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import threading

# The commands of the virtual environment that runs this.
BESIDE = pathlib.Path(sys.executable).parent

# Users of the tests of authentication. bob's secret is salted: the client derives the key, and this
# version of Crossbar derives it itself too, from the secret as it stands here.
AUTH = {
    "anonymous": {"type": "static", "role": "anonymous"},
    "ticket": {
        "type": "static",
        "principals": {"gateway": {"ticket": "ticket-of-gateway", "role": "backend"}},
    },
    "wampcra": {
        "type": "static",
        "users": {
            "peter": {"secret": "secret-of-peter", "role": "backend"},
            "bob": {
                "secret": "secret1",
                "salt": "salt123",
                "iterations": 100,
                "keylen": 16,
                "role": "backend",
            },
        },
    },
}


def node(realms, ports):
    return {
        "version": 2,
        "workers": [
            {
                "type": "router",
                "realms": [realm(name) for name in realms],
                "transports": [
                    {
                        "type": "web",
                        "endpoint": {"type": "tcp", "interface": "127.0.0.1", **ports},
                        "paths": {
                            # Not `nodeinfo`, which swallows the other paths.
                            "/": {"type": "static", "directory": "../web"},
                            "ws": {"type": "websocket", "auth": AUTH},
                            "call": {"type": "caller", "realm": realms[0], "role": "anonymous"},
                            "publish": {
                                "type": "publisher",
                                "realm": realms[0],
                                "role": "anonymous",
                            },
                        },
                    }
                ],
            }
        ],
    }


def realm(name):
    allow = {"call": True, "register": True, "publish": True, "subscribe": True}
    everything = {
        "uri": "",
        "match": "prefix",
        "allow": allow,
        "disclose": {"caller": True, "publisher": True},
        "cache": True,
    }
    return {
        "name": name,
        "roles": [
            {"name": role, "permissions": [everything]} for role in ("anonymous", "backend")
        ],
    }


def main():
    realms = sys.argv[1].split(",")
    low, high = int(sys.argv[2]), int(sys.argv[-1])
    ports = {"port": low} if low == high else {"portrange": [low, high]}
    with tempfile.TemporaryDirectory(prefix="wampgate-crossbar-") as folder:
        run(pathlib.Path(folder), node(realms, ports))


def run(folder, config):
    (folder / "web").mkdir()
    (folder / ".crossbar").mkdir()
    (folder / ".crossbar" / "config.json").write_text(json.dumps(config))
    crossbar = subprocess.Popen(
        [BESIDE / "crossbar", "start", "--cbdir", ".crossbar", "--color", "false"],
        cwd=folder,
        # Crossbar keeps a key in the home folder.
        env={**os.environ, "HOME": str(folder), "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )

    def end(*_):
        try:
            os.killpg(crossbar.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def wait_for_owner():
        # Not `sys.stdin`, whose lock would keep the interpreter from ending before this thread.
        while os.read(0, 4096):
            pass
        end()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    threading.Thread(target=wait_for_owner, daemon=True).start()
    port = None
    for line in crossbar.stdout:
        print(line, end="", flush=True)
        if found := re.search(r"listening on TCP port (\d+)", line):
            port = found[1]
        elif "local node configuration ran successfully" in line:
            print(f"ready {port}", flush=True)
    # Every process that held the pipe has ended.
    crossbar.wait()


if __name__ == "__main__":
    main()
