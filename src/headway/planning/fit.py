"""Whether a job can ever run where it is asked to, before anything starts.

In: what an engine can honour, and what a job asks for. Out: warnings, or `CapabilityError` for what can never be. What
does not fit just now is no matter of this module: it waits in the engine.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from headway.errors import CapabilityError
from headway.jobs.spec import Resources
from headway.planning.advice import too_many_workers
from headway.planning.usage import size


class CapabilitiesLike(Protocol):
    """What is read of `headway.engines.engine.Capabilities`, which lies above this package."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def max_workers(self) -> int | None: ...  # noqa: D102
    @property
    def cpus(self) -> int | None: ...  # noqa: D102
    @property
    def gpus(self) -> int | None: ...  # noqa: D102
    @property
    def memory_bytes(self) -> int | None: ...  # noqa: D102
    @property
    def isolation(self) -> bool: ...  # noqa: D102
    @property
    def channel_modes(self) -> tuple[str, ...]: ...  # noqa: D102


def check_fits(
    capabilities: CapabilitiesLike,
    resources: Resources,
    *,
    workers: int,
    coupled: bool,
    timeout_s: float | None = None,
    channel_modes: Iterable[str] = (),
    num_items: int | None = None,
) -> list[str]:
    """Warnings about a job that can run; [] when there is nothing to say.

    Args:
        capabilities: of the engine.
        resources: of one worker.
        workers: how many; coupled ones must all fit at once, of independent ones each.
        coupled: whether they start all or none.
        timeout_s: the time limit, which an engine without processes of its own cannot keep.
        channel_modes: the modes of the job's channels.
        num_items: how many items independent workers share; None when unknown.

    Raises:
        ValueError: less than one worker.
        CapabilityError: it can never run there; the text gives what is asked for, what there is, and what to change.
    """
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers!r}")
    together = workers if coupled else 1
    _check_limit(capabilities, workers, coupled)
    for name, asked, there, shown in _amounts(capabilities, resources):
        if there is not None and asked * together > there:
            raise CapabilityError(_too_much(capabilities, name, asked, there, workers if coupled else None, shown))
    if timeout_s is not None and not capabilities.isolation:
        raise CapabilityError(
            f"the engine {capabilities.name!r} cannot keep a time limit (timeout_s={timeout_s!r}): its workers are no "
            "processes of their own; use engine='local://', or leave timeout_s out"
        )
    for mode in channel_modes:
        if mode not in capabilities.channel_modes:
            known = ", ".join(capabilities.channel_modes)
            raise CapabilityError(f"the engine {capabilities.name!r} has no channel mode {mode!r}; it has: {known}")
    return _warnings(capabilities, resources, workers, coupled, num_items)


def _check_limit(capabilities: CapabilitiesLike, workers: int, coupled: bool) -> None:
    most = capabilities.max_workers
    if coupled and most is not None and workers > most:
        raise CapabilityError(
            f"{workers} workers that start together were asked for, and the engine {capabilities.name!r} runs at most "
            f"{most}; use workers={most}, or another engine (engine='local://')"
        )


def _amounts(
    capabilities: CapabilitiesLike, resources: Resources
) -> Iterable[tuple[str, int, int | None, tuple[str, str]]]:
    """Name of the argument, what one worker asks for, what there is in all, and how to show both."""
    yield "cpus", resources.cpus, capabilities.cpus, ("core", "cores")
    yield "gpus", resources.gpus, capabilities.gpus, ("GPU", "GPUs")
    if resources.memory_bytes is not None:
        yield "memory_bytes", resources.memory_bytes, capabilities.memory_bytes, ("", "")


def _too_much(
    capabilities: CapabilitiesLike, name: str, asked: int, there: int, workers: int | None, units: tuple[str, str]
) -> str:
    def shown(amount: int) -> str:
        return f"{size(amount)} of memory" if name == "memory_bytes" else f"{amount} {units[amount != 1]}"

    if workers is None or workers == 1:
        wanted = f"one worker asks for {shown(asked)}"
        change = f"use Resources({name}={there})" if there else f"leave {name} out"
    else:
        wanted = f"{workers} workers that start together ask for {shown(asked)} each, {shown(asked * workers)} in all"
        fewer = there // asked
        change = f"use workers={fewer}" if fewer else f"ask for less than {name}={asked}"
    return (
        f"{wanted}, and the engine {capabilities.name!r} has {shown(there)}: this can never start; {change}, or "
        "another engine"
    )


def _warnings(
    capabilities: CapabilitiesLike, resources: Resources, workers: int, coupled: bool, num_items: int | None
) -> list[str]:
    said = too_many_workers(workers=workers, num_items=num_items)
    if coupled:
        return said
    places = [there // asked for _, asked, there, _ in _amounts(capabilities, resources) if there is not None and asked]
    if capabilities.max_workers is not None:
        places.append(capabilities.max_workers)
    fitting = min(places, default=workers)
    if fitting < workers:
        said.append(
            f"{fitting} of {workers} workers run at a time: the engine {capabilities.name!r} has no room for more, the "
            "others wait"
        )
    return said
