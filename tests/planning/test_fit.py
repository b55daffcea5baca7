"""What can never run is refused before it starts, with the way on."""

from __future__ import annotations

from typing import Any

import pytest

from headway.engines.engine import Capabilities
from headway.errors import CapabilityError
from headway.jobs.spec import Resources
from headway.planning.fit import check_fits

TWO_CORES = Capabilities(name="local", cpus=2, gpus=0, memory_bytes=8_000_000_000)


def fits(capabilities: Capabilities = TWO_CORES, *, workers: int = 1, coupled: bool = False, **more: Any) -> list[str]:
    settings = {name: more.pop(name) for name in ("timeout_s", "channel_modes", "num_items") if name in more}
    return check_fits(capabilities, Resources(**more), workers=workers, coupled=coupled, **settings)


def test_what_fits_has_nothing_to_say() -> None:
    assert fits() == []
    assert fits(cpus=2, memory_bytes=8_000_000_000) == []
    assert fits(workers=2, coupled=True) == []
    assert fits(Capabilities(name="ray"), workers=500, cpus=64, coupled=True) == [], "nothing is known of it"


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ({"cpus": 3}, r"one worker asks for 3 cores, and the engine 'local' has 2 cores.*use Resources\(cpus=2\)"),
        (
            {"workers": 3, "coupled": True},
            "3 workers that start together ask for 1 core each, 3 cores in all.*use workers=2",
        ),
        ({"workers": 2, "coupled": True, "cpus": 8}, "2 workers .* 16 cores in all.*ask for less than cpus=8"),
        ({"gpus": 1}, "one worker asks for 1 GPU, and the engine 'local' has 0 GPUs: .*leave gpus out"),
        ({"memory_bytes": 9_000_000_000}, "asks for 9.0 GB of memory, and the engine 'local' has 8.0 GB of memory"),
        ({"workers": 2, "coupled": True, "memory_bytes": 5_000_000_000}, "10.0 GB of memory in all.*use workers=1"),
        ({"channel_modes": ["fuse"]}, "no channel mode 'fuse'; it has: copy, link, stream"),
    ],
)
def test_what_never_fits_is_an_error_that_says_what_to_change(asked: dict[str, Any], text: str) -> None:
    with pytest.raises(CapabilityError, match=text):
        fits(**asked)


def test_an_engine_without_processes_keeps_no_limits() -> None:
    inline = Capabilities(name="inline", max_workers=1, isolation=False)
    assert fits(inline) == []
    with pytest.raises(CapabilityError, match=r"cannot keep a time limit \(timeout_s=5\).*local://"):
        fits(inline, timeout_s=5)
    with pytest.raises(CapabilityError, match="2 workers that start together .* at most 1; use workers=1"):
        fits(inline, workers=2, coupled=True)
    assert fits(inline, workers=4) == [
        "1 of 4 workers run at a time: the engine 'inline' has no room for more, the others wait"
    ]


def test_independent_workers_wait_for_room() -> None:
    assert fits(workers=8) == ["2 of 8 workers run at a time: the engine 'local' has no room for more, the others wait"]
    assert "1 of 8" in fits(workers=8, memory_bytes=5_000_000_000)[0]


def test_more_workers_than_items_is_told() -> None:
    assert fits(workers=2, num_items=1) == ["2 workers for 1 item: 1 would have nothing to do"]


def test_less_than_one_worker_is_no_number_of_workers() -> None:
    with pytest.raises(ValueError, match="workers must be at least 1, got 0"):
        fits(workers=0)
