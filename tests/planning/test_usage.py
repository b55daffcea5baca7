"""What was asked for beside what was used."""

from __future__ import annotations

import doctest

import pytest

from headway.jobs.spec import Resources
from headway.planning import advice, usage
from headway.planning.advice import too_many_workers
from headway.planning.usage import sentence, size


def test_the_examples_in_the_docstrings_are_true() -> None:
    for module in (usage, advice):
        assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize(
    ("resources", "used", "text"),
    [
        ({"cpus": 8}, {"cpu_s": 11.0, "wall_s": 10.0}, "asked for 8 cores, used 1.1; cpus=2 would do"),
        ({"cpus": 2}, {"cpu_s": 19.0, "wall_s": 10.0}, "asked for 2 cores, used 1.9"),
        ({"cpus": 1}, {"cpu_s": 0.0, "wall_s": 10.0}, "asked for 1 core, used 0.0"),
        ({"cpus": 8}, {"cpu_s": 0.1, "wall_s": 0.2}, "asked for 8 cores, used 0.5"),
        ({}, {}, ""),
        ({}, {"cpu_s": 1.0, "wall_s": 0.0}, ""),
        ({}, {"peak_memory_bytes": 2.14e9}, "used 2.1 GB of memory at most"),
        (
            {"memory_bytes": 16_000_000_000}, {"cpu_s": 9.0, "wall_s": 9.0, "peak_memory_bytes": 2.1e9},
            "asked for 1 core, used 1.0; asked for 16.0 GB of memory, used 2.1 GB at most",
        ),
        (
            {"memory_bytes": 1_000}, {"peak_memory_bytes": 2e6},
            "asked for 1.0 kB of memory, used 2.0 MB at most; it used more memory than was set aside for it",
        ),
    ],
)  # fmt: skip
def test_sentences(resources: dict[str, int], used: dict[str, float], text: str) -> None:
    assert sentence(Resources(**resources), used) == text


def test_of_several_workers_the_busiest_counts() -> None:
    workers = [{"cpu_s": 5.0, "wall_s": 10.0, "peak_memory_bytes": 3e6}, {"cpu_s": 30.0, "wall_s": 10.0}, {}]
    assert sentence(Resources(cpus=4), workers) == "asked for 4 cores, used 3.0; used 3.0 MB of memory at most"
    assert sentence(Resources(), []) == ""


def test_sizes() -> None:
    assert [size(n) for n in (0, 999, 1000, 1.5e6, 2e9, 3e12)] == [
        "0 B",
        "999 B",
        "1.0 kB",
        "1.5 MB",
        "2.0 GB",
        "3.0 TB",
    ]


def test_advice_about_the_number_of_workers() -> None:
    assert too_many_workers(workers=2, num_items=1797, size_bytes=600_000) == [], "a few are never worth a word"
    [idle] = too_many_workers(workers=4, num_items=3)
    assert idle == "4 workers for 3 items: 1 would have nothing to do"
    [small] = too_many_workers(workers=200, num_items=1797, size_bytes=600_000)
    assert "600.0 kB (1797 items)" in small
    assert too_many_workers(workers=200, size_bytes=10**12) == []
    [measured] = too_many_workers(workers=300, num_items=1000, item_s=0.05)
    assert (
        measured == "300 workers for 1000 items: about 50.0 s of work, less than starting a worker takes; 50 would do"
    )
    assert too_many_workers(workers=1, num_items=10, size_bytes=1) == []
