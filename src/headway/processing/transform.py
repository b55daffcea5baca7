"""The user's transform, called for one item or for a batch of items, and what is known when it fails.

In: the function and items. Out: their values, or a `Failure`. `headway.processing.entry` calls it for a whole part.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO, final

from headway.errors import HeadwayError, ProgramError
from headway.processing.listing import Item
from headway.records import Record

_HERE = Path(__file__).parent
_OUTPUT = 100_000  # characters of an item's output that are kept


class Failure(Record):
    """Why an item has no value, after it was tried alone.

    Args:
        output: what it printed when it was tried alone.
    """

    message: str
    traceback: str
    output: str


@final
class Transform:
    """A callable that turns items into values, with its hyperparameters.

    Args:
        target: takes an `Item`, or a list of them when it is a batch transform.
        hyperparameters: keywords for it.
        context: given to it as `context` when it has such a parameter.
        batch: whether it takes a list; None: when its first parameter is named `items`.
    """

    def __init__(
        self,
        target: Callable[..., Any],
        *,
        hyperparameters: Mapping[str, Any] | None = None,
        context: Any = None,
        batch: bool | None = None,
    ) -> None:
        names = _parameters(target)
        self._target = target
        self._keywords = dict(hyperparameters or {})
        if "context" in names:
            self._keywords["context"] = context
        self.batch = bool(names) and names[0] == "items" if batch is None else batch

    def one(self, item: Item) -> Any:
        """The value of an item."""
        if not self.batch:
            return self._target(item, **self._keywords)
        return self.many([item])[0]

    def many(self, items: Sequence[Item]) -> list[Any]:
        """The values of a batch of items, in their order.

        Raises:
            ProgramError: the transform gave another number of values than there are items.
        """
        values = self._target(list(items), **self._keywords)
        if values is None:
            return [None] * len(items)
        if isinstance(values, Mapping):
            self._check({name: len(column) for name, column in values.items()}, items)
            return [{name: column[row] for name, column in values.items()} for row in range(len(items))]
        self._check({"": len(values)}, items)
        return list(values)

    def _check(self, lengths: Mapping[str, int], items: Sequence[Item]) -> None:
        wrong = {name: length for name, length in lengths.items() if length != len(items)}
        if wrong:
            got = ", ".join(f"{length} for {name!r}" if name else str(length) for name, length in wrong.items())
            raise ProgramError(
                f"a batch transform must return one value per item, in their order: it got {len(items)} items "
                f"(the first is {items[0].key!r}) and returned {got}; return None in a list for those to leave out"
            )


def tried_alone(work: Callable[[], None]) -> Failure | None:
    """None when the work for one item went well, else why not, with what it printed."""
    with _captured() as printed:
        try:
            work()
        except HeadwayError:
            raise
        except (Exception, SystemExit) as error:  # noqa: BLE001  an item's failure is data, whatever it is
            return Failure(
                message=f"{type(error).__name__}: {error}",
                traceback=_users_part(error),
                output=printed.getvalue()[-_OUTPUT:],
            )
    return None


def _users_part(error: BaseException) -> str:
    """The traceback from where the user's code begins."""
    begin = error.__traceback__
    while begin is not None and Path(begin.tb_frame.f_code.co_filename).parent == _HERE:
        begin = begin.tb_next
    return "".join(traceback.format_exception(type(error), error, begin or error.__traceback__))


@contextlib.contextmanager
def _captured() -> Iterator[io.StringIO]:
    """What Python prints meanwhile; it still goes to the worker's log."""
    printed = io.StringIO()
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _Both(before[0], printed), _Both(before[1], printed)
    try:
        yield printed
    finally:
        sys.stdout, sys.stderr = before


@final
class _Both(io.TextIOBase):
    """Writes to two texts."""

    def __init__(self, first: TextIO, second: TextIO) -> None:
        self._both = (first, second)

    def write(self, text: str) -> int:
        for stream in self._both:
            stream.write(text)
        return len(text)

    def flush(self) -> None:
        for stream in self._both:
            stream.flush()


def _parameters(target: Callable[..., Any]) -> list[str]:
    try:
        return list(inspect.signature(target).parameters)
    except (TypeError, ValueError):  # builtins without a signature
        return []
