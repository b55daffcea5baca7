"""Children by fork, all let go at the same moment: real processes without the price of an interpreter each."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any


class Together:
    """Forked children that wait for `go`, work, and say a JSON value.

    Args:
        works: one function per child; what it returns is said; an exception is a failure.
    """

    def __init__(self, works: Sequence[Callable[[], Any]]) -> None:
        self._gate, self._open = os.pipe()
        self._children: list[tuple[int, int]] = []
        for work in works:
            answer, say = os.pipe()
            pid = os.fork()
            if pid == 0:
                self._child(work, say)
            os.close(say)
            self._children.append((pid, answer))

    def _child(self, work: Callable[[], Any], say: int) -> None:
        code = 1
        try:
            os.close(self._open)
            os.read(self._gate, 1)  # end of file: go
            with os.fdopen(say, "w") as out:
                json.dump(work(), out)
            code = 0
        except BaseException:  # noqa: BLE001
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(code)

    def go(self) -> list[Any]:
        """Let all begin; what each said, once all have ended well."""
        os.close(self._gate)
        os.close(self._open)
        said, codes = [], []
        for pid, answer in self._children:
            with os.fdopen(answer) as told:
                said.append(told.read())
            codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        assert codes == [0] * len(codes), f"children failed: {codes}"
        return [json.loads(text) for text in said]


NOBODY = 65534


def as_nobody(work: Callable[[], None]) -> None:
    """Run in a child process that is not root, and fail when it fails."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            work()
            code = 0
        except BaseException:  # noqa: BLE001
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
