"""Quasi-random search: configurations that fill the space evenly. In: a space. Out: configurations for
`headway.tuning.study`."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, final

from headway.tuning.searcher import Searcher, first_new, generator
from headway.tuning.space import Parameters, SearchSpace
from headway.tuning.trial import History

_PRIMES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71)


@final
class QuasiRandomSearch(Searcher):
    """Points of a scrambled Halton sequence; never the same configuration twice.

    Of the first b^k points exactly one lies in each of b^k equal parts of a dimension's range (b: its prime).

    Source: Halton 1960, each digit permuted at random as in Owen, A randomized Halton algorithm in R, arXiv 1706.02808.
    """

    def suggest(self, history: History, number: int) -> Parameters:
        """The point of that number."""
        dimensions = len(history.space.domains)
        _check(dimensions)
        unit = [halton(number - 1, dimension=dimension, seed=history.seed) for dimension in range(dimensions)]
        return first_new(history, [history.space.at(unit)], start=generator(history.seed, number, 1).random())

    def to_json(self) -> dict[str, Any]:
        """As recorded in the study."""
        return {"name": "quasi-random"}

    def most_trials(self, space: SearchSpace) -> int | None:
        """How many different configurations there are; None without limit."""
        _check(len(space.domains))
        return space.size


def halton(index: int, *, dimension: int, seed: int) -> float:
    """One coordinate, in [0, 1), of the point of that index, counted from 0."""
    base = _PRIMES[dimension]
    value, weight, position = 0.0, 1.0 / base, 0
    while weight > 2.0**-54:  # also the leading zeros are permuted, as far as a float can tell
        index, digit = divmod(index, base)
        value += weight * _permutation(base, seed, dimension, position)[digit]
        weight /= base
        position += 1
    return min(value, 1.0 - 2.0**-53)


@lru_cache(maxsize=4096)
def _permutation(base: int, seed: int, dimension: int, position: int) -> tuple[int, ...]:
    draw = generator(seed, dimension, position, 2)
    digits = list(range(base))
    for last in range(base - 1, 0, -1):
        other = int(draw.random() * (last + 1))
        digits[last], digits[other] = digits[other], digits[last]
    return tuple(digits)


def _check(dimensions: int) -> None:
    if dimensions > len(_PRIMES):
        raise ValueError(
            f"quasi-random search fills at most {len(_PRIMES)} dimensions evenly, the space has {dimensions}; "
            "use searcher='random'"
        )
