"""What was asked for beside what was used, as a plain sentence.

In: the resources of one worker and the usage that its host measured. Out: text for people; nothing is decided by it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from headway.jobs.spec import Resources

SHORT_RUN_S = 1.0
"""Runs below this say nothing about what a worker needs: they consist of imports."""


def sentence(resources: Resources, usage: Mapping[str, float] | Sequence[Mapping[str, float]]) -> str:
    """`asked for 8 cores, used 1.1`, the same for memory, and what would do; empty when nothing was measured.

    Args:
        resources: of one worker.
        usage: `cpu_s`, `wall_s`, `peak_memory_bytes` of one worker, or of all workers of an attempt: then the busiest
            one counts, since resources are per worker.

    Example:
        >>> sentence(Resources(cpus=8), {"cpu_s": 11.0, "wall_s": 10.0})
        'asked for 8 cores, used 1.1; cpus=2 would do'
    """
    workers = [usage] if isinstance(usage, Mapping) else list(usage)
    parts, hints = [], []
    used = [cores for cores in map(cores_used, workers) if cores is not None]
    if used:
        most = max(used)
        parts.append(f"asked for {_cores(resources.cpus)}, used {most:.1f}")
        enough = max(1, math.ceil(most * 1.1))
        if enough < resources.cpus and max(one.get("wall_s", 0.0) for one in workers) >= SHORT_RUN_S:
            hints.append(f"cpus={enough} would do")
    peaks = [one["peak_memory_bytes"] for one in workers if one.get("peak_memory_bytes")]
    if peaks:
        asked = resources.memory_bytes
        if asked is None:
            parts.append(f"used {size(max(peaks))} of memory at most")
        else:
            parts.append(f"asked for {size(asked)} of memory, used {size(max(peaks))} at most")
            if max(peaks) > asked:
                hints.append("it used more memory than was set aside for it")
    return "; ".join([*parts, *hints])


def cores_used(usage: Mapping[str, float]) -> float | None:
    """CPU seconds per second of wall time; None when one was not measured."""
    cpu_s, wall_s = usage.get("cpu_s"), usage.get("wall_s")
    return cpu_s / wall_s if cpu_s is not None and wall_s else None


def size(size_bytes: float) -> str:
    """A size for people: `2.1 GB`.

    Example:
        >>> size(2_140_000_000)
        '2.1 GB'
    """
    for unit, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if size_bytes >= unit:
            return f"{size_bytes / unit:.1f} {name}"
    return f"{size_bytes:.0f} B"


def _cores(cpus: int) -> str:
    return "1 core" if cpus == 1 else f"{cpus} cores"
