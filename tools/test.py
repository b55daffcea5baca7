"""What `make test` runs: first the tests that must be alone on the machine, then all others two at a time.

Arguments are handed to pytest. Tests whose server or device is missing skip, in CI the missing server is a failure.
Standard library only.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NO_TESTS = 5
PASSES = (
    ["-n", "0", "-m", "alone"],
    ["-n", "2", "--dist", "loadgroup", "-m", "not alone"],
)


def main() -> int:
    """Run both passes, the second also when the first failed; gives back the worse exit code."""
    worst = 0
    for words in PASSES:
        code = subprocess.run([sys.executable, "-m", "pytest", "-q", *words, *sys.argv[1:]], cwd=ROOT).returncode
        if code != NO_TESTS or words is PASSES[-1]:
            worst = max(worst, abs(code))
    return worst


if __name__ == "__main__":
    sys.exit(main())
