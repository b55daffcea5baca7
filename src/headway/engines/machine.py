"""What this machine has: cores, memory, GPUs, and who a process is.

In: the operating system. Out: plain numbers and `Owner` values that stay true when process ids are used again.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import lru_cache
from pathlib import Path

from headway.records import Record
from headway.worker import processes

_QUOTA_FILE = Path("/sys/fs/cgroup/cpu.max")
_MEMORY_FILES = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


class Owner(Record):
    """A process that holds something: its id, when it started, and on which boot of the machine."""

    pid: int
    started: float | None = None
    boot: str = ""

    def is_alive(self) -> bool:
        """Whether that very process still runs."""
        return self.boot == boot_id() and started_at(self.pid) == self.started and self.started is not None


def owner(pid: int) -> Owner:
    """The process with that id, as it is now."""
    return Owner(pid=pid, started=started_at(pid), boot=boot_id())


def started_at(pid: int) -> float | None:
    """When a process started; None if it does not run."""
    if processes.LINUX:
        return processes.started_at(pid) if processes.is_running(pid, None) else None
    import psutil

    try:
        return psutil.Process(pid).create_time()
    except psutil.Error:
        return None


@lru_cache(maxsize=1)
def boot_id() -> str:
    """A text that changes when the machine starts again; "" where there is none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def num_cpus() -> int:
    """Cores that this process may use: by affinity, and by the quota of its container."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = _QUOTA_FILE.read_text().split()
        return max(1, min(affinity, -(-int(quota) // int(period))))
    except (OSError, ValueError):
        return affinity


def memory_bytes() -> int:
    """Memory that this process may use."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in _MEMORY_FILES:
        try:
            total = min(total, int(path.read_text()))
        except (OSError, ValueError):
            continue
    return total


@lru_cache(maxsize=1)
def gpu_ids() -> tuple[str, ...]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    shown = os.environ.get("CUDA_VISIBLE_DEVICES")
    if shown is not None:
        return tuple(one.strip() for one in shown.split(",") if one.strip() and one.strip() != "-1")
    cards = Path("/proc/driver/nvidia/gpus")
    if cards.is_dir():
        return tuple(str(number) for number, _ in enumerate(sorted(cards.iterdir())))
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ()
    found = subprocess.run([tool, "-L"], capture_output=True, text=True, timeout=30, check=False).stdout
    return tuple(str(number) for number, line in enumerate(x for x in found.splitlines() if x.startswith("GPU ")))
