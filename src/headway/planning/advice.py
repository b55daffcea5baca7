"""Advice about the number of workers, before anything runs: estimates, never errors.

In: how much there is to do. Out: sentences.
"""

from __future__ import annotations

from headway.planning.usage import size

START_S = 0.2
"""What starting one more worker costs at least: a process and its imports."""
WORTH_S = 1.0
"""Less work than this per worker is not worth starting one."""
BYTES_PER_S = 50e6
"""What a worker reads and transforms in a second: decoding small pictures on one core gives about this."""
MANY_WORKERS = 32


def too_many_workers(
    *,
    workers: int,
    num_items: int | None = None,
    size_bytes: int | None = None,
    item_s: float | None = None,
) -> list[str]:
    """Sentences about workers that would have (almost) nothing to do; [] when the number is sensible.

    Args:
        workers: how many are asked for.
        num_items: items to share.
        size_bytes: of all their data; an estimate of the work comes from it when `item_s` is not known.
        item_s: seconds that one item took before.

    Example:
        >>> too_many_workers(workers=200, num_items=1797, size_bytes=600_000)
        ['200 workers for 600.0 kB (1797 items): about 0.0 s of work, less than starting a worker takes; 1 would do']
    """
    said = []
    if num_items is not None and workers > num_items:
        items = "1 item" if num_items == 1 else f"{num_items} items"
        said.append(f"{workers} workers for {items}: {workers - num_items} would have nothing to do")
    work_s = _work_s(num_items, size_bytes, item_s)
    if work_s is None or workers == 1:
        return said
    sensible = max(1, int(work_s / WORTH_S))
    if workers >= MANY_WORKERS and workers > 4 * sensible:
        what = size(size_bytes) if size_bytes is not None else f"{num_items} items"
        items = f" ({num_items} items)" if size_bytes is not None and num_items is not None else ""
        each = "less than starting a worker takes" if work_s / workers < START_S else "hardly worth starting one"
        said.append(f"{workers} workers for {what}{items}: about {work_s:.1f} s of work, {each}; {sensible} would do")
    return said


def _work_s(num_items: int | None, size_bytes: int | None, item_s: float | None) -> float | None:
    if item_s is not None and num_items is not None:
        return item_s * num_items
    return None if size_bytes is None else size_bytes / BYTES_PER_S
