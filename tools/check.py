"""What `make check` runs: the checks that read the code side by side, then the fast tests.

Every check runs, whatever the others say; the exit code is 1 when one failed. Standard library only.
"""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
FAST = "not slow and not service and not cluster and not gpu and not alone"
READING = {
    "types": [BIN / "mypy"],
    "format": [BIN / "ruff", "format", "--check", "--quiet", "."],
    "lint": [BIN / "ruff", "check", "--quiet", "."],
    "imports": [BIN / "lint-imports", "--no-logo"],
}
TESTS = [sys.executable, "-m", "pytest", "-q", "-n", "2", "--dist", "loadgroup", "-m", FAST]
TESTS += ["--durations=8", "--durations-min=2"]  # what should be marked slow


def read(name: str) -> tuple[str, int, str, float]:
    """Run one check of the code; gives back its name, exit code, output and seconds."""
    started = time.monotonic()
    done = subprocess.run(READING[name], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return name, done.returncode, done.stdout, time.monotonic() - started


def main() -> int:
    """Run everything; gives back an exit code."""
    failed = []
    with ThreadPoolExecutor(os.cpu_count() or 2) as pool:
        for name, code, output, seconds in pool.map(read, READING):
            print(f"{name:8} {'ok' if code == 0 else 'FAILED'}  ({seconds:.1f} s)", flush=True)
            if code != 0:
                failed.append(name)
                print(output, flush=True)
    started = time.monotonic()
    if subprocess.run(TESTS, cwd=ROOT).returncode != 0:
        failed.append("tests")
    print(f"fast tests took {time.monotonic() - started:.0f} s", flush=True)
    if failed:
        print(f"check: failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
