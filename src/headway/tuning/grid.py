"""Grid search: every combination once, in order. In: a space. Out: configurations for `headway.tuning.study`."""

from __future__ import annotations

import math
from typing import Any, final

from headway.tuning.searcher import Searcher
from headway.tuning.space import Domain, Parameters, SearchSpace, Value
from headway.tuning.trial import History


@final
class GridSearch(Searcher):
    """Trial n is the n-th combination; the last name changes fastest.

    Args:
        points: values taken of a range without steps: evenly spaced (in the logarithm where the range is logarithmic),
            both ends among them.
    """

    def __init__(self, *, points: int = 5) -> None:
        if points < 2:
            raise ValueError(f"a grid needs at least 2 points of a continuous range, got {points!r}")
        self.points = points

    def suggest(self, history: History, number: int) -> Parameters:
        """The combination of that number."""
        index = number - 1
        parameters: Parameters = {}
        for name, domain in reversed(history.space.domains.items()):
            index, digit = divmod(index, self._size(domain))
            parameters[name] = self._value(domain, digit)
        return dict(reversed(parameters.items()))

    def to_json(self) -> dict[str, Any]:
        """As recorded in the study."""
        return {"name": "grid", "points": self.points}

    def most_trials(self, space: SearchSpace) -> int:
        """How many combinations there are."""
        return math.prod(self._size(domain) for domain in space.domains.values())

    def _size(self, domain: Domain) -> int:
        return self.points if domain.size is None else domain.size

    def _value(self, domain: Domain, index: int) -> Value:
        return domain.at(index / (self.points - 1)) if domain.size is None else domain.nth(index)
