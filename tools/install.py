"""Makes the virtual environment `.venv`, whole or not at all.

    python3 tools/install.py demo     what the main job needs
    python3 tools/install.py test     that, and what the tests, checks and pages need

In: pyproject.toml and requirements-test.lock. Out: `.venv` with a stamp, written last, that names what it was
made from; an environment without a stamp was interrupted and is begun again from nothing. It may be killed at any
moment: the lock is a file lock that pip inherits, so whoever comes next waits until nobody writes there any more.

Standard library only. The Makefile has seen to it that this is Python 3.11 or newer.
"""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
STAMP = VENV / "headway-stamp.json"
LOCK = ROOT / ".venv.lock"
LOG = ROOT / ".venv.log"
EXTRAS = {"demo": ["demo"], "test": ["test", "docs"]}
OFFLINE = ("NewConnectionError", "Max retries", "name resolution", "Network is unreachable", "ProxyError", "timed out")


class Failure(Exception):
    """Something that the user can mend; the text is one sentence and says how."""


def say(text: str) -> None:
    """One line to the terminal, at once; a reader that is gone is no reason to stop."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def wanted(profile: str) -> tuple[str, list[str]]:
    """The digest of all that decides what is installed, and the requirements of a profile."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    table = project["project"]
    extras = table.get("optional-dependencies", {})
    parts = [
        project["build-system"], table.get("dependencies"), extras, table.get("scripts"), table.get("entry-points"),
        (ROOT / "requirements-test.lock").read_text(encoding="utf-8"), sys.version,
        os.path.realpath(sys.executable), str(ROOT),
    ]  # fmt: skip
    requirements = [*project["build-system"]["requires"], *table.get("dependencies", [])]
    requirements += [line for extra in EXTRAS[profile] for line in flat(extra, extras, table["name"])]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest(), requirements


def flat(extra: str, extras: dict[str, list[str]], name: str) -> list[str]:
    """The requirements of an extra, with those of the extras that it names."""
    found = []
    for line in extras.get(extra, []):
        if line.startswith(name + "["):
            inner = line[len(name) + 1 : line.index("]")].split(",")
            found += [other for each in inner for other in flat(each.strip(), extras, name)]
        else:
            found.append(line)
    return found


def stamp() -> dict[str, Any]:
    """What the environment was made from; empty when it was never finished."""
    try:
        return dict(json.loads(STAMP.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def works() -> bool:
    """Whether the environment's interpreter starts and finds the package of this folder."""
    code = "import headway; print(headway.__file__)" if (ROOT / "src" / "headway").exists() else "print()"
    try:
        seen = subprocess.run([str(VENV / "bin" / "python"), "-c", code], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return seen.returncode == 0


def write_stamp(content: dict[str, Any]) -> None:
    """The stamp, whole and on disk, or not at all."""
    temporary = STAMP.with_suffix(".new")
    with temporary.open("w", encoding="utf-8") as out:
        json.dump(content, out)
        out.flush()
        os.fsync(out.fileno())
    os.replace(temporary, STAMP)


def take_lock() -> int:
    """The file lock, which our children inherit: a pip that outlives us keeps it."""
    lock = os.open(LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say(f"another installation of {VENV} is running; waiting for it")
        fcntl.flock(lock, fcntl.LOCK_EX)
    os.set_inheritable(lock, True)
    return lock


def clean_environment() -> dict[str, str]:
    """The environment for pip: the user's index settings, none that would put packages elsewhere."""
    away = (
        "PYTHONPATH",
        "PYTHONHOME",
        "PIP_USER",
        "PIP_TARGET",
        "PIP_PREFIX",
        "PIP_ROOT",
        "PIP_CONSTRAINT",
        "__PYVENV_LAUNCHER__",
    )
    kept = {name: value for name, value in os.environ.items() if name not in away}
    return {**kept, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1", "PYTHONNOUSERSITE": "1"}


def run(command: list[str], what: str, lock: int) -> None:
    """Run a command with its output in the log, saying from time to time how far it is."""
    shown, packages, terminal = time.monotonic(), 0, sys.stdout.isatty()
    with LOG.open("a", encoding="utf-8") as log:
        log.write("\n$ " + " ".join(command) + "\n")
        log.flush()
        start = log.tell()
        child = subprocess.Popen(
            command, cwd=ROOT, env=clean_environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, errors="replace", pass_fds=[lock],
        )  # fmt: skip
        assert child.stdout is not None
        for line in child.stdout:
            log.write(line)
            log.flush()
            packages += line.startswith("Collecting ")
            if line.startswith(("Collecting ", "  Downloading ", "Installing ")) and terminal:
                sys.stdout.write(f"\r\033[K{what}: {line.strip()[:100]}")
                sys.stdout.flush()
            elif time.monotonic() - shown > 10 and not line.startswith("Successfully"):
                shown = time.monotonic()
                say(f"  {what}: {packages} packages found, {line.strip()[:80]}")
        code = child.wait()
    if terminal:
        sys.stdout.write("\r\033[K")
    if code != 0:
        raise Failure(reason(what, LOG.read_bytes()[start:].decode(errors="replace")))


def reason(what: str, output: str) -> str:
    """Why a command failed, in one sentence, from what it printed."""
    if any(sign in output for sign in OFFLINE):
        return f"{what}: the package index could not be reached; check the network or PIP_INDEX_URL and run it again"
    if "No space left" in output:
        return f"{what}: the disk is full; about 1 GB is needed"
    if "ensurepip" in output:
        return f"{what}: this Python has no venv; on Debian: apt-get install python3-venv"
    last = [line.strip() for line in output.splitlines() if line.strip().upper().startswith("ERROR")]
    return f"{what} failed ({last[0] if last else 'no reason given'}); all of its output is in {LOG}"


def build(profile: str, requirements: list[str], lock: int, *, fresh: bool) -> None:
    """Install a profile into `.venv`; from an empty folder when `fresh`."""
    LOG.write_text("", encoding="utf-8")
    if STAMP.exists():
        STAMP.unlink()
    if fresh:
        if VENV.exists() or VENV.is_symlink():
            say("removing the unfinished or outdated environment .venv")
            VENV.unlink() if VENV.is_symlink() else shutil.rmtree(VENV)
        say(f"making the environment .venv with Python {sys.version_info.major}.{sys.version_info.minor}")
        run([sys.executable, "-m", "venv", str(VENV)], "making .venv", lock)
    pip = [
        str(VENV / "bin" / "python"),
        "-m",
        "pip",
        "install",
        "--progress-bar",
        "off",
        "--prefer-binary",
        "--retries",
        "2",
    ]
    say(f"installing what '{profile}' needs (about a minute)")
    run([*pip, "--constraint", str(ROOT / "requirements-test.lock"), *requirements], "installing packages", lock)
    run([*pip, "--no-deps", "--no-build-isolation", "--editable", str(ROOT)], "installing headway", lock)


def main(profile: str) -> str | None:
    """Bring `.venv` to a profile; gives back a sentence when that failed."""
    try:
        lock = take_lock()
        digest, requirements = wanted(profile)
        have = stamp()
        enough = profile == have.get("profile") or have.get("profile") == "test"
        if have.get("digest") == digest and enough and works():
            return None
        started = time.monotonic()
        fresh = have.get("python") != sys.version or have.get("root") != str(ROOT) or not works()
        keep = "test" if have.get("profile") == "test" and not fresh else profile
        if keep != profile:
            digest, requirements = wanted(keep)
        build(keep, requirements, lock, fresh=fresh)
        if not works():
            return "'import headway' fails in the new environment: run .venv/bin/python -c 'import headway' to see why"
        write_stamp({"profile": keep, "digest": digest, "python": sys.version, "root": str(ROOT), "at": time.time()})
        say(f"installed in {time.monotonic() - started:.0f} s")
    except Failure as failure:
        return str(failure)
    except OSError as error:
        return f"cannot make {VENV}: {error}"
    except KeyboardInterrupt:
        return "interrupted; run it again to go on"
    return None


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in EXTRAS:
        sys.exit("usage: python3 tools/install.py demo|test")
    problem = main(sys.argv[1])
    if problem:
        print("install: " + problem, file=sys.stderr)
    sys.exit(1 if problem else 0)
