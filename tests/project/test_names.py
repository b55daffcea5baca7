"""Ratchets: the public names and the packages that everyone installs change on purpose only."""

from __future__ import annotations

import os
import re
from importlib.metadata import PackageNotFoundError, distribution, requires

import headway

NAMES = """
    AtLeast AtMost BetterThanChampion Choice Dataset Float Function Int Manifest Maximize Minimize Notebook Resources
    Script Split Workspace __version__ context errors open
"""
CORE = {"alembic", "cloudpickle", "fsspec", "msgspec", "numpy", "psutil", "pyarrow", "rich", "sqlalchemy", "typer"}
MOST_BYTES = 350 * 10**6
HEAVY = re.compile(r"^(torch|tensorflow|jax|keras|nvidia-|triton|ray|pyspark)")


def test_the_public_names_are_these_and_no_more() -> None:
    """A name that goes breaks a user's program: say so in changelog.d. A name that comes is kept for good."""
    assert headway.__all__ == sorted(NAMES.split())
    assert len(headway.__all__) <= 30


def test_every_public_name_can_be_had() -> None:
    for name in headway.__all__:
        assert getattr(headway, name) is not None, name
    assert set(headway.__all__) <= set(dir(headway))


def wanted(name: str, *, extras: tuple[str, ...] = ()) -> list[str]:
    """The packages that a package asks for on this machine."""
    found = []
    for line in requires(name) or []:
        need, _, condition = line.partition(";")
        asked = re.findall(r"extra\s*==\s*['\"]([\w-]+)['\"]", condition)
        if asked and not set(asked) & set(extras):
            continue
        if re.search(
            r"(platform_system|sys_platform|os_name)\s*==\s*['\"](Windows|win32|nt|emscripten)['\"]", condition
        ):
            continue
        match = re.match(r"[\w.-]+", need.strip())
        assert match is not None
        found.append(re.sub(r"[-_.]+", "-", match[0]).lower())
    return found


def closure(*, extras: tuple[str, ...] = ()) -> set[str]:
    """All packages below ours; those that other conditions left out are not installed and do not count."""
    seen: set[str] = set()
    waiting = wanted("headway", extras=extras)
    while waiting:
        name = waiting.pop()
        if name in seen or name == "headway":
            continue
        try:
            distribution(name)
        except PackageNotFoundError:
            continue
        seen.add(name)
        waiting += wanted(name)
    return seen


def test_the_core_is_small() -> None:
    assert set(wanted("headway")) == CORE
    sizes = {}
    for name in closure():
        files = [file.locate() for file in distribution(name).files or []]
        sizes[name] = sum(os.stat(file).st_size for file in files if os.path.exists(file))
    assert sum(sizes.values()) <= MOST_BYTES, sorted(sizes.items(), key=lambda each: -each[1])[:6]


def test_nothing_that_anybody_installs_by_default_brings_a_deep_learning_package() -> None:
    for extras in ((), ("demo",), ("sklearn", "s3", "postgres")):
        heavy = [name for name in closure(extras=extras) if HEAVY.match(name)]
        assert not heavy, f"{heavy} came with the extras {extras}"
