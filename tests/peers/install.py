#!/usr/bin/env python3
"""Installs the real WAMP peers that tests talk to and prints the folder they are in.

They are pinned by `requirements.txt`, live in a virtual environment outside the tree (below
`WAMPGATE_CACHE`, else the user's cache folder), and are installed once per set of pins and Python:
a second run only prints the folder. Runs may overlap: one installs, the others wait for it.
"""

import fcntl
import hashlib
import os
import pathlib
import platform
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
REQUIREMENTS = HERE / "requirements.txt"


def main():
    key = hashlib.sha256(REQUIREMENTS.read_bytes())
    key.update(f"{sys.implementation.cache_tag} {platform.machine()}".encode())
    cache = cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    peers = cache / f"peers-{key.hexdigest()[:16]}"
    # Written last: a folder without it is what an interrupted run left.
    complete = peers / "complete"
    if not complete.exists():
        with open(cache / "peers.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not complete.exists():
                install(peers)
                complete.touch()
    print(peers)


def cache_folder():
    if own := os.environ.get("WAMPGATE_CACHE"):
        return pathlib.Path(own).absolute()
    base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(base) / "wampgate"


def install(peers):
    note(f"installing the peers of the tests into {peers} (about three minutes, once)")
    shutil.rmtree(peers, ignore_errors=True)
    run(sys.executable, "-m", "venv", peers)
    quiet = [] if sys.stderr.isatty() else ["--quiet"]
    run(
        *(peers / "bin" / "python", "-m", "pip", "install", *quiet),
        *("--disable-pip-version-check", "--no-input", "--requirement", REQUIREMENTS),
    )


def run(*command):
    # Standard output is for the folder's name alone.
    result = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=sys.stderr)
    if result.returncode != 0:
        sys.exit(f"install.py: {' '.join(map(str, command))} failed ({result.returncode})")


def note(text):
    print(f"install.py: {text}", file=sys.stderr)


if __name__ == "__main__":
    main()
