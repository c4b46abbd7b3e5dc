#!/usr/bin/env python3
"""Installs the real WAMP peers that tests talk to and prints the folder they are in.

The folder has `bin/python` (with autobahn), `bin/crossbar`, `bin/xconn-router`, `bin/nats-server`,
`bin/promtool` and `node_modules/` (fox-wamp, wampy, autobahn). It is links only: each kind of peer
lives in a folder of its own, named by a hash of its pins, so that new pins for one kind leave the
others as they are. All of them are outside the tree, below `WAMPGATE_CACHE`, else the user's cache
folder, and are installed once: a second run asks nobody and only prints the folder. Runs may
overlap: one installs a kind, the others wait for it.

Programs of Debian are taken as they are found on this machine. Those that are not there are fetched
with `apt-get download`, which needs no rights, and only unpacked. Where that cannot be done, they
are left out with a notice: only the tests that need them fail.

To renew the pins from npm: change `package.json`, and let
`npm install --package-lock-only --omit-lockfile-registry-resolved` write the lock anew; then take
its `funding` members out, which are addresses that nobody needs.
"""

import concurrent.futures
import fcntl
import hashlib
import os
import pathlib
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
REQUIREMENTS = HERE / "requirements.txt"
NPM = [HERE / "package.json", HERE / "package-lock.json"]
# The crate's own lock pins the rest.
XCONN = "0.1.0"
NODE = 20
# Program, and the package that has it. Not pinned: Debian keeps one version of a package, and a pin
# would break with the next. The package's file name, which has the version, stays in its folder.
DEBIAN = [("nats-server", "nats-server"), ("promtool", "prometheus")]
MACHINE = platform.machine()


def main():
    need_node()
    cache = cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    python_pins = REQUIREMENTS.read_bytes() + f"{sys.implementation.cache_tag} {MACHINE}".encode()
    kinds = [
        ("python", python_pins, install_python),
        ("xconn", f"{XCONN} {MACHINE}".encode(), install_xconn),
        ("npm", b"".join(file.read_bytes() for file in NPM), install_npm),
    ]
    # At once: one mostly compiles, the others mostly wait for the network.
    with concurrent.futures.ThreadPoolExecutor() as workers:
        found = [workers.submit(installed, cache, *kind) for kind in kinds]
        debian = [workers.submit(debian_program, cache, *pair) for pair in DEBIAN]
    python, xconn, npm = (kind.result() for kind in found)
    programs = [program for found in debian if (program := found.result())]
    links = b"\0".join(os.fsencode(path) for path in (python, xconn, npm, *programs))
    link = lambda folder: link_peers(folder, python, xconn, npm, programs)
    print(installed(cache, "peers", links, link))


def installed(cache, kind, pins, install):
    """The folder of one kind, installed if it is not."""
    folder = cache / f"{kind}-{hashlib.sha256(pins).hexdigest()[:16]}"
    # Written last: a folder without it is what an interrupted run left.
    complete = folder / "complete"
    if not complete.exists():
        with open(cache / f"{kind}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            # What we run holds it too: if we are killed, the next run waits for what we left behind.
            os.set_inheritable(lock.fileno(), True)
            if not complete.exists():
                shutil.rmtree(folder, ignore_errors=True)
                install(folder)
                complete.touch()
    return folder


def install_python(folder):
    done = note("Crossbar.io and autobahn", folder, "two minutes")
    run(sys.executable, "-m", "venv", folder)
    quiet = [] if sys.stderr.isatty() else ["--quiet"]
    run(
        *(folder / "bin" / "python", "-m", "pip", "install", *quiet),
        *("--disable-pip-version-check", "--no-input", "--requirement", REQUIREMENTS),
    )
    done()


def install_xconn(folder):
    done = note(f"xconn-router {XCONN}", folder, "four minutes")
    # Beside the folder, not in the system's temporary one, which may be small; gone afterwards.
    with tempfile.TemporaryDirectory(prefix="xconn-target-", dir=folder.parent) as target:
        run(
            *("cargo", "install", "xconn-core", "--version", f"={XCONN}", "--features", "router"),
            *("--bin", "xconn-router", "--locked", "--quiet", "--root", folder),
            environment={"CARGO_TARGET_DIR": target},
        )
    done()


def install_npm(folder):
    done = note("fox-wamp, wampy and autobahn for Node.js", folder, "half a minute")
    folder.mkdir()
    for file in NPM:
        shutil.copy(file, folder)
    # Not `npm ci`, which wants the optional packages in the lock: they are native code for each
    # platform, which nothing here needs. Nor are scripts: they would compile or fetch such code.
    run(
        *("npm", "install", "--ignore-scripts", "--omit=optional", "--no-audit", "--no-fund"),
        *("--no-update-notifier", "--loglevel=error", "--prefix", folder),
        standing=folder,
    )
    done()


def debian_program(cache, program, package):
    """The path of a program of Debian, or none where it cannot be had."""
    # Servers live in folders that only an administrator has in PATH.
    everywhere = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"
    if here := shutil.which(program, path=everywhere):
        return pathlib.Path(here).absolute()
    try:
        install = lambda folder: install_debian(folder, program, package)
        return installed(cache, program, f"{package} {MACHINE}".encode(), install) / program
    except Unavailable as reason:
        print(f"install.py: no {program}, so its tests will fail: {reason}", file=sys.stderr)
        return None


class Unavailable(Exception):
    """Why a program of Debian cannot be had."""


def install_debian(folder, program, package):
    for tool in ("apt-get", "dpkg-deb"):
        if not shutil.which(tool):
            raise Unavailable(f"there is no {tool} here; install {program} and have it in PATH")
    done = note(f"{program} of Debian", folder, "five seconds")
    folder.mkdir()
    # Nothing of this is done to the system, so nothing needs the rights of root, nor to drop them.
    apt = ["apt-get", "--quiet", "-o", "APT::Sandbox::User=root"]
    if not tried(*apt, "download", package, standing=folder):
        # The system's lists of packages are not there, or they are old: get some of our own.
        lists = folder / "lists"
        (lists / "partial").mkdir(parents=True)
        apt += ["-o", f"Dir::State::lists={lists}", "-o", f"Dir::Cache={lists}"]
        for command in (("update",), ("download", package)):
            if not tried(*apt, *command, standing=folder):
                raise Unavailable(f"`apt-get {' '.join(command)}` failed")
        shutil.rmtree(lists)
    (got,) = folder.glob("*.deb")
    if not tried("dpkg-deb", "--extract", got, folder / "root", standing=folder):
        raise Unavailable(f"{got.name} cannot be unpacked")
    inside = [folder / "root/usr" / place / program for place in ("bin", "sbin")]
    if not (path := next((path for path in inside if path.exists()), None)):
        raise Unavailable(f"{got.name} has no {program}")
    if not tried(path, "--version", standing=folder):
        raise Unavailable(f"{program} of {got.name} does not run here")
    (folder / program).symlink_to(path)
    done()


def link_peers(folder, python, xconn, npm, programs):
    (folder / "bin").mkdir(parents=True)
    # Python finds its environment by the path it is started by: a link would lead it elsewhere.
    start = folder / "bin" / "python"
    start.write_text(f'#!/bin/sh\nexec {shlex.quote(str(python / "bin" / "python"))} "$@"\n')
    start.chmod(0o755)
    (folder / "bin" / "crossbar").symlink_to(python / "bin" / "crossbar")
    (folder / "bin" / "xconn-router").symlink_to(xconn / "bin" / "xconn-router")
    (folder / "node_modules").symlink_to(npm / "node_modules")
    for program in programs:
        (folder / "bin" / program.name).symlink_to(program)


def need_node():
    """Node.js is not installed from here: say clearly that it must be there."""
    try:
        said = subprocess.run(["node", "--version"], capture_output=True, text=True).stdout.strip()
    except FileNotFoundError:
        said = "none"
    major = re.match(r"v(\d+)\.", said)
    if not major or int(major[1]) < NODE or not shutil.which("npm"):
        sys.exit(f"install.py: needs Node.js {NODE} or newer with npm in PATH (found: {said})")


def cache_folder():
    if own := os.environ.get("WAMPGATE_CACHE"):
        return pathlib.Path(own).absolute()
    base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(base) / "wampgate"


def run(*command, environment={}, standing=HERE):
    if not tried(*command, environment=environment, standing=standing):
        sys.exit(f"install.py: {' '.join(map(str, command))} failed")


def tried(*command, environment={}, standing=HERE):
    """Whether it ended well."""
    # Standard output is for the folder's name alone. Cargo takes the toolchain that this tree pins
    # from where it stands.
    try:
        result = subprocess.run(
            command,
            cwd=standing,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr,
            close_fds=False,
        )
    except OSError as error:
        print(f"install.py: {error}", file=sys.stderr)
        return False
    return result.returncode == 0


def note(what, folder, time_taken):
    """Says that an installation begins, and gives what says that it has ended."""
    begin = time.monotonic()
    print(f"install.py: {what} into {folder} (about {time_taken}, once)", file=sys.stderr)
    took = lambda: time.monotonic() - begin
    return lambda: print(f"install.py: {what}: done in {took():.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
