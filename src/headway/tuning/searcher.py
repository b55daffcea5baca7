"""The seam to what suggests configurations: three methods to write.

In: the `History` of a study and a trial number. Out: the configuration of that trial. A searcher keeps no state: what
it suggests is a function of the seed, the number and the history alone, and the study records it before the trial
starts, so that it is never computed again. Built in: see `SEARCHERS`.
"""

from __future__ import annotations

import hashlib
import random
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any, TypeVar

from headway.errors import NotFoundError
from headway.tuning.space import Parameters, SearchSpace
from headway.tuning.trial import History, key

S = TypeVar("S")

SEARCHERS: dict[str, str] = {
    "random": "headway.tuning.random_search:RandomSearch",
    "quasi-random": "headway.tuning.quasi_random:QuasiRandomSearch",
    "grid": "headway.tuning.grid:GridSearch",
}
"""Name -> class; another class is named by its import string, `package.module:Class`."""


class Searcher(ABC):
    """Suggests one configuration at a time."""

    @abstractmethod
    def suggest(self, history: History, number: int) -> Parameters:
        """The configuration of a trial.

        Guarantees: the same history and number give the same configuration, in every process and on every machine.

        Args:
            history: what is known; trials up to `number - 1` have been asked for, some of them still run.
            number: the trial's number, counted from 1.
        """

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """`{"name": ...}` and the arguments that make the same searcher again, as recorded in the study."""

    def most_trials(self, space: SearchSpace) -> int | None:
        """How many trials it can suggest for this space; None for any number."""
        return None


def open_searcher(value: str | Mapping[str, Any] | Searcher) -> Searcher:
    """The searcher of a name (`"random"`), of a record made by `to_json`, or the one given.

    Raises:
        NotFoundError: no searcher has that name; the text lists the known ones.
        TypeError: the record has arguments that the class does not take.
    """
    return value if isinstance(value, Searcher) else from_record(value, Searcher, table=SEARCHERS)  # type: ignore[type-abstract]


def from_record(value: str | Mapping[str, Any], kind: type[S], *, table: Mapping[str, str]) -> S:
    """An object of a seam, made from its name or from the record that its `to_json` gave."""
    record = {"name": value} if isinstance(value, str) else dict(value)
    name = str(record.pop("name", ""))
    target = table.get(name, name)
    what = kind.__name__.lower()
    module, _, attribute = target.partition(":")
    if not attribute:
        raise NotFoundError(
            what, name, table, hint=f"Another {what} is given as an object or as 'package.module:Class'."
        )
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise NotFoundError(what, name, table, hint=f"{error}. Is the package that has it installed?") from error
    made = found(**record)
    if not isinstance(made, kind):
        raise TypeError(f"{target!r} should make a {kind.__name__}, got {made!r}")
    return made


def generator(seed: int, *numbers: int) -> random.Random:
    """A generator of its own for every combination of numbers, the same in every process.

    Only its method `random()` is used: its sequence is the one that Python promises to keep.
    """
    text = ":".join(map(str, (seed, *numbers)))
    return random.Random(int.from_bytes(hashlib.sha256(text.encode()).digest()))


def first_new(history: History, candidates: Iterable[Parameters], *, start: float) -> Parameters:
    """The first candidate that was never suggested, so that no trial repeats another.

    When all are known and the space is finite, the next free configuration from a place in it is taken instead.

    Args:
        candidates: at least one; a handful is enough.
        start: where in the finite space to begin, in [0, 1).

    Raises:
        ValueError: every configuration of the space has been suggested.
    """
    last: Parameters = {}
    for last in candidates:
        if key(last) not in history.configurations:
            return last
    size = history.space.size
    if size is None:
        return last
    for offset in range(min(size, len(history.configurations) + 1)):
        found = history.space.nth((int(start * size) + offset) % size)
        if key(found) not in history.configurations:
            return found
    raise ValueError(f"all {size} configurations of the space have been suggested; widen it or ask for fewer trials")
