"""Random search: every trial drawn independently. In: a space. Out: configurations for `headway.tuning.study`."""

from __future__ import annotations

from typing import Any, final

from headway.tuning.searcher import Searcher, first_new, generator
from headway.tuning.space import Parameters, SearchSpace
from headway.tuning.trial import History


@final
class RandomSearch(Searcher):
    """Draws from the distributions of the space; never the same configuration twice.

    Args:
        repeats: allow a configuration to come again, for objectives that are noisy.

    Source: Bergstra and Bengio, Random Search for Hyper-Parameter Optimization, JMLR 2012; the exclusion of known
    configurations is ours.
    """

    def __init__(self, *, repeats: bool = False) -> None:
        self.repeats = repeats

    def suggest(self, history: History, number: int) -> Parameters:
        """An independent draw of its own for every number."""
        draw = generator(history.seed, number)
        dimensions = len(history.space.domains)
        candidates = (history.space.at([draw.random() for _ in range(dimensions)]) for _ in range(20))
        if self.repeats:
            return next(candidates)
        return first_new(history, candidates, start=generator(history.seed, number, 1).random())

    def to_json(self) -> dict[str, Any]:
        """As recorded in the study."""
        return {"name": "random", "repeats": self.repeats}

    def most_trials(self, space: SearchSpace) -> int | None:
        """How many different configurations there are; None without limit."""
        return None if self.repeats else space.size
