"""Removes what the other targets made: the environment, caches, pages, the demo's workspace. Standard library only."""

import shutil

from install import LOG, ROOT, STAMP, VENV, take_lock

FOLDERS = (
    "build",
    "dist",
    "site",
    "demo",
    ".pytest_cache",
    ".mypy_cache",
    ".ruff_cache",
    ".hypothesis",
    ".import_linter_cache",
)
CODE = ("src", "tests", "tools", "benchmarks", "examples", "docs")


def main() -> None:
    """Remove it, when no installation is running."""
    take_lock()
    STAMP.unlink(missing_ok=True)
    found = [VENV, *(ROOT / name for name in FOLDERS), *(ROOT / "src").glob("*.egg-info")]
    found += [cache for name in CODE for cache in (ROOT / name).rglob("__pycache__")]
    for folder in found:
        shutil.rmtree(folder, ignore_errors=True)
    LOG.unlink(missing_ok=True)  # the lock file stays: somebody may be waiting for it


if __name__ == "__main__":
    main()
