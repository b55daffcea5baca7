"""Writes requirements-test.lock: the newest versions of all that the tests and pages need, as `name==version` lines.

    python3.11 tools/lock.py

Installs the extras `test` and `docs` into a temporary environment and lists what came; run it with the oldest supported
Python, so that the versions fit all of them. The lines hold no addresses: any package index will do.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from install import wanted

ROOT = Path(__file__).resolve().parents[1]
HEAD = "# Written by tools/lock.py (make lock): versions that the tests run with, Python 3.11 and newer.\n"


def main() -> int:
    """Write the lock; gives back an exit code."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        python = str(Path(folder) / "bin" / "python")
        pip = [python, "-m", "pip", "--disable-pip-version-check"]
        subprocess.run([*pip, "install", "--quiet", "--prefer-binary", *wanted("test")[1]], check=True)
        listed = subprocess.run(
            [*pip, "list", "--format=freeze", "--exclude", "pip"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
    lines = sorted((line for line in listed.splitlines() if "==" in line), key=str.lower)
    heavy = [line for line in lines if line.startswith(("torch==", "tensorflow==", "nvidia-", "jax"))]
    if heavy:
        print(f"lock: {', '.join(heavy)} came with the tests' needs and must not", file=sys.stderr)
        return 1
    (ROOT / "requirements-test.lock").write_text(HEAD + "\n".join(lines) + "\n", encoding="utf-8")
    print(f"{len(lines)} packages locked")
    return 0


if __name__ == "__main__":
    sys.exit(main())
