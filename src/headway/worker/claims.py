"""Who takes which of the tasks that were handed to a busy worker: the worker before it begins one, or the driver back.

In: a small file in the worker's folder, mapped by both. Out: exact answers at any time, also after SIGKILL: what the
worker had begun, and what the driver took back. A lock on the file decides; the kernel releases it when a process dies.

Tasks have serial numbers in the order in which they were sent to this process of the worker.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
from typing import final

_STATE = struct.Struct("<qq")


@final
class Claims:
    """Both sides' view of the file: `taken` serials were begun by the worker, those below `revoked` and not taken are
    the driver's again.

    Args:
        path: the file.
        create: begin anew (the driver does, before it starts the worker).
    """

    def __init__(self, path: str, *, create: bool = False) -> None:
        flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT | os.O_TRUNC if create else 0)
        self._file = os.open(path, flags, 0o600)
        if create:
            os.write(self._file, _STATE.pack(0, 0))
        self._map = mmap.mmap(self._file, _STATE.size)

    def take(self, serial: int) -> bool:
        """Begin a task; False when the driver has taken it back. Called by the worker."""
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            _, revoked = _STATE.unpack_from(self._map)
            if serial < revoked:
                return False
            _STATE.pack_into(self._map, 0, serial + 1, revoked)
            return True
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def revoke(self, sent: int) -> int:
        """Take back every task that has not been begun; the first serial taken back. Called by the driver.

        Args:
            sent: how many tasks have been sent.
        """
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            taken, revoked = _STATE.unpack_from(self._map)
            _STATE.pack_into(self._map, 0, taken, sent)
            return max(int(taken), int(revoked))
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    @property
    def taken(self) -> int:
        """One more than the serial of the task that was begun last."""
        taken: int = _STATE.unpack_from(self._map)[0]
        return taken

    def close(self) -> None:
        """Let go of the file. Idempotent."""
        if self._file >= 0:
            self._map.close()
            os.close(self._file)
            self._file = -1
