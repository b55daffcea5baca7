"""What may be tried: the values that each hyperparameter can take.

In: what the caller writes, `{"lr": Float(1e-4, 1e-1, log=True), "size": Choice("small", "large")}`. Out: a
`SearchSpace`, which searchers draw from (`headway.tuning.searcher`) and studies record as canonical JSON. Wrong ranges
are `ValueError` in the caller, before anything starts. Pure Python: no generator but the numbers passed in.
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from decimal import Decimal
from typing import Any, final

from headway.errors import WorkspaceError
from headway.records import digest_of

Value = str | int | float | bool | None
"""One setting of one hyperparameter: a JSON scalar."""

Parameters = dict[str, Value]
"""One configuration: hyperparameter -> value."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")


class Domain(ABC):
    """The values of one hyperparameter, ordered along the unit interval."""

    __slots__ = ()

    @property
    @abstractmethod
    def size(self) -> int | None:
        """How many different values there are; None for a continuous range."""

    @abstractmethod
    def at(self, unit: float) -> Value:
        """The value at a place of [0, 1]: uniform places give the distribution that random search draws from."""

    @abstractmethod
    def nth(self, index: int) -> Value:
        """The value of that index, counted from 0, of a domain with a size."""

    @abstractmethod
    def contains(self, value: Any) -> bool:
        """Whether a value belongs to the domain."""

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """Canonical JSON, read back by `SearchSpace.from_json`."""


@final
@dataclass(frozen=True, slots=True)
class Float(Domain):
    """A real number in [low, high].

    Args:
        low, high: both ends belong to the range.
        log: drawn uniformly in the logarithm; needs low > 0.
        step: only low, low + step, low + 2 step, ...; not together with `log`.
    """

    low: float
    high: float
    _: KW_ONLY
    log: bool = False
    step: float | None = None

    def __post_init__(self) -> None:
        what = f"Float({self.low!r}, {self.high!r}, log={self.log!r}, step={self.step!r})"
        _check_range(what, low=self.low, high=self.high, kinds=(int, float))
        object.__setattr__(self, "low", float(self.low))
        object.__setattr__(self, "high", float(self.high))
        if self.log and self.low <= 0:
            raise ValueError(f"{what}: a logarithmic range cannot reach zero or below; choose low > 0 or log=False")
        if self.step is not None:
            _check_range(what, low=0, high=self.step, kinds=(int, float), name="step")
            object.__setattr__(self, "step", float(self.step))
            if self.log:
                raise ValueError(f"{what}: log and step exclude each other; leave one out")
            if self.step > self.high - self.low:
                raise ValueError(f"{what}: the step is longer than the range, only one value is left")

    @property
    def size(self) -> int | None:
        """How many different values there are."""
        return None if self.step is None else int((_exact(self.high) - _exact(self.low)) // _exact(self.step)) + 1

    def at(self, unit: float) -> float:
        """The value at a place of [0, 1]."""
        if self.size is not None:
            return self.nth(min(int(unit * self.size), self.size - 1))
        if self.log:
            low, high = math.log(self.low), math.log(self.high)
            value = math.exp(low + unit * (high - low))
        else:
            value = self.low + unit * (self.high - self.low)
        return min(max(value, self.low), self.high)

    def nth(self, index: int) -> float:
        """The value of that index, counted from 0."""
        if self.step is None:
            raise ValueError(f"{self!r} is continuous, its values cannot be counted")
        # In decimals, so that Float(0, 1, step=0.1) gives 0.3 and not 0.30000000000000004.
        return float(_exact(self.low) + index * _exact(self.step))

    def contains(self, value: Any) -> bool:
        """Whether the value is one of them."""
        if not _is_number(value) or not self.low <= value <= self.high:
            return False
        return self.step is None or (_exact(value) - _exact(self.low)) % _exact(self.step) == 0

    def to_json(self) -> dict[str, Any]:
        """Canonical JSON."""
        return {"type": "float", "low": self.low, "high": self.high, "log": self.log, "step": self.step}


@final
@dataclass(frozen=True, slots=True)
class Int(Domain):
    """A whole number in [low, high].

    Args:
        low, high: both ends belong to the range.
        log: drawn uniformly in the logarithm; needs low >= 1.
        step: only low, low + step, low + 2 step, ...; not together with `log`.
    """

    low: int
    high: int
    _: KW_ONLY
    log: bool = False
    step: int = 1

    def __post_init__(self) -> None:
        what = f"Int({self.low!r}, {self.high!r}, log={self.log!r}, step={self.step!r})"
        _check_range(what, low=self.low, high=self.high, kinds=(int,))
        _check_range(what, low=0, high=self.step, kinds=(int,), name="step")
        if self.log and self.low < 1:
            raise ValueError(f"{what}: a logarithmic range cannot reach zero or below; choose low >= 1 or log=False")
        if self.log and self.step != 1:
            raise ValueError(f"{what}: log and step exclude each other; leave one out")
        if self.step > self.high - self.low:
            raise ValueError(f"{what}: the step is longer than the range, only one value is left")

    @property
    def size(self) -> int:
        """How many different values there are."""
        return (self.high - self.low) // self.step + 1

    def at(self, unit: float) -> int:
        """The value at a place of [0, 1]."""
        if not self.log:
            return self.nth(min(int(unit * self.size), self.size - 1))
        low, high = math.log(self.low - 0.5), math.log(self.high + 0.5)
        return min(max(round(math.exp(low + unit * (high - low))), self.low), self.high)

    def nth(self, index: int) -> int:
        """The value of that index, counted from 0."""
        return self.low + self.step * index

    def contains(self, value: Any) -> bool:
        """Whether the value is one of them."""
        whole = isinstance(value, int) and not isinstance(value, bool)
        return whole and self.low <= value <= self.high and (value - self.low) % self.step == 0

    def to_json(self) -> dict[str, Any]:
        """Canonical JSON."""
        return {"type": "int", "low": self.low, "high": self.high, "log": self.log, "step": self.step}


@final
class Choice(Domain):
    """One of the values given: strings, numbers, booleans or None."""

    __slots__ = ("values",)

    values: tuple[Value, ...]

    def __init__(self, *values: Value) -> None:
        if not values:
            raise ValueError("Choice() has no values; give the values to choose from: Choice('small', 'large')")
        for value in values:
            _check_choice(value, alone=len(values) == 1)
        doubled = [value for index, value in enumerate(values) if _among(value, values[:index])]
        if doubled:
            raise ValueError(f"Choice has {doubled[0]!r} twice; give each value once")
        object.__setattr__(self, "values", values)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"a Choice cannot be changed; make a new one instead of setting {name!r}")

    def __repr__(self) -> str:
        return f"Choice({', '.join(map(repr, self.values))})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Choice) and self.to_json() == other.to_json() and repr(self) == repr(other)

    def __hash__(self) -> int:
        return hash(self.values)

    def __reduce__(self) -> tuple[type[Choice], tuple[Value, ...]]:
        return Choice, self.values

    @property
    def size(self) -> int:
        """How many different values there are."""
        return len(self.values)

    def at(self, unit: float) -> Value:
        """The value at a place of [0, 1]."""
        return self.nth(min(int(unit * self.size), self.size - 1))

    def nth(self, index: int) -> Value:
        """The value of that index, counted from 0."""
        return self.values[index]

    def contains(self, value: Any) -> bool:
        """Whether the value is one of them."""
        return _among(value, self.values)

    def to_json(self) -> dict[str, Any]:
        """Canonical JSON."""
        return {"type": "choice", "values": list(self.values)}


@final
class SearchSpace:
    """Hyperparameter -> domain, in the order of the names; immutable."""

    __slots__ = ("domains",)

    def __init__(self, domains: Mapping[str, Domain]) -> None:
        _check_domains(domains)
        self.domains: dict[str, Domain] = dict(sorted(domains.items()))

    def __repr__(self) -> str:
        return f"SearchSpace({self.domains!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SearchSpace) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON; the order in which the space was written does not matter."""
        return digest_of(self.to_json())

    @property
    def size(self) -> int | None:
        """How many configurations there are; None when a range is continuous."""
        sizes = [domain.size for domain in self.domains.values()]
        return None if None in sizes else math.prod(size for size in sizes if size is not None)

    def at(self, unit: Sequence[float]) -> Parameters:
        """The configuration at a place of the unit cube; one coordinate per name, in the order of the names."""
        pairs = zip(self.domains.items(), unit, strict=True)
        return {name: domain.at(coordinate) for (name, domain), coordinate in pairs}

    def nth(self, index: int) -> Parameters:
        """The configuration of that index, counted from 0, of a space with a size; the last name changes fastest."""
        parameters: Parameters = {}
        for name, domain in reversed(self.domains.items()):
            size = domain.size
            if size is None:
                raise ValueError(f"{name!r} is continuous, the configurations cannot be counted")
            index, digit = divmod(index, size)
            parameters[name] = domain.nth(digit)
        return dict(reversed(parameters.items()))

    def contains(self, parameters: Mapping[str, Any]) -> bool:
        """Whether a configuration has exactly these names, each with a value of its domain."""
        return parameters.keys() == self.domains.keys() and all(
            domain.contains(parameters[name]) for name, domain in self.domains.items()
        )

    def to_json(self) -> dict[str, dict[str, Any]]:
        """Canonical JSON: what is recorded, digested and compared."""
        return {name: domain.to_json() for name, domain in self.domains.items()}

    @staticmethod
    def from_json(value: Mapping[str, Mapping[str, Any]]) -> SearchSpace:
        """The space that `to_json` was called on.

        Raises:
            WorkspaceError: the record is not a space that this version knows.
        """
        return SearchSpace({name: _domain(name, record) for name, record in value.items()})


def _domain(name: str, record: Mapping[str, Any]) -> Domain:
    fields = {key: value for key, value in record.items() if key != "type"}
    try:
        if record["type"] == "choice":
            return Choice(*fields["values"])
        low, high = fields.pop("low"), fields.pop("high")
        if record["type"] == "int":
            return Int(low, high, **fields)
        if record["type"] == "float":
            return Float(low, high, **fields)
        raise ValueError(f"unknown type {record['type']!r}")
    except (KeyError, TypeError, ValueError) as error:
        raise WorkspaceError(f"cannot read the recorded domain of {name!r}, {dict(record)!r}: {error}") from error


def _check_range(what: str, *, low: Any, high: Any, kinds: tuple[type[Any], ...], name: str = "high") -> None:
    wanted = "whole numbers" if kinds == (int,) else "finite numbers"
    for value in (low, high):
        if isinstance(value, bool) or not isinstance(value, kinds) or not math.isfinite(value):
            raise ValueError(f"{what}: expected {wanted}, got {value!r}")
    if not low < high:
        raise ValueError(f"{what}: {name} must be above {low!r}, got {high!r}")


def _check_choice(value: Any, *, alone: bool) -> None:
    if alone and isinstance(value, (list, tuple, set, range)):
        raise ValueError(f"Choice takes the values one by one: Choice(*{value!r})")
    if value is not None and not isinstance(value, (str, int, float)):
        raise ValueError(
            f"Choice takes strings, numbers, booleans and None, got {value!r}; "
            "name it ('small', 'large') and look the name up in the program"
        )
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"Choice cannot hold {value!r}: results are kept as JSON; use a name instead")


def _check_domains(domains: Any) -> None:
    if not isinstance(domains, Mapping) or not domains:
        raise ValueError(f"the search space needs at least one Float, Int or Choice, got {domains!r}")
    for name, domain in domains.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ValueError(f"a hyperparameter's name is letters, digits and _ . -, got {name!r}")
        if not isinstance(domain, Domain):
            raise ValueError(
                f"space[{name!r}] must be a Float, Int or Choice, got {domain!r}; "
                "a value that stays the same belongs into hyperparameters="
            )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _exact(value: float) -> Decimal:
    return Decimal(repr(float(value)))


def _among(value: Any, values: Sequence[Value]) -> bool:
    # 1, 1.0 and True are equal in Python and different in a program's arguments.
    return any(type(value) is type(other) and value == other for other in values)
