"""What a study is asked to do, as it is recorded once and compared when the study is opened again.

In: the caller's arguments. Out: a checked `StudySpec` for `headway.tuning.study`, and the differences between two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, final

from headway.records import Record, plain
from headway.tuning.objective import Maximize, Minimize, Objective
from headway.tuning.scheduler import Scheduler, open_scheduler
from headway.tuning.searcher import Searcher, open_searcher
from headway.tuning.space import Domain, SearchSpace

_MISSING = object()


@final
class StudySpec(Record):
    """The settings of a study; made by `specify`, which checks them.

    Args:
        space: canonical JSON of the search space.
        trials: how many configurations are tried in all; the study's events may extend it.
        parallel: how many run at once at most; the study's events may change it.
        retries: how often a trial that failed is started again.
        searcher, scheduler: as `to_json` of theirs records them.
        settings: everything else that decides what a trial computes, by name: digests of the program and the data,
            fixed hyperparameters, workers and resources.
    """

    schema: int = 1
    name: str
    space: dict[str, dict[str, Any]]
    objective: Maximize | Minimize
    trials: int
    parallel: int = 1
    retries: int = 0
    seed: int = 0
    searcher: dict[str, Any]
    scheduler: dict[str, Any]
    settings: dict[str, Any] = {}


def specify(
    name: str,
    *,
    space: Mapping[str, Domain] | SearchSpace,
    objective: Objective,
    trials: int,
    parallel: int = 1,
    retries: int = 0,
    seed: int = 0,
    searcher: str | Searcher = "random",
    scheduler: str | Scheduler = "none",
    settings: Mapping[str, Any] | None = None,
) -> StudySpec:
    """The record of a study, after every check that can be made before anything starts.

    Raises:
        ValueError, TypeError: an argument is out of range or contradicts another; the text says which.
        NotFoundError: no searcher or scheduler has that name.
    """
    space = space if isinstance(space, SearchSpace) else SearchSpace(space)
    if not isinstance(objective, (Maximize, Minimize)):
        raise TypeError(f"objective must be Maximize(metric) or Minimize(metric), got {objective!r}")
    for what, value, least in (("trials", trials, 1), ("parallel", parallel, 1), ("retries", retries, 0)):
        _check_whole(what, value, least=least)
    _check_whole("seed", seed, least=None)
    clash = sorted(set(space.domains) & set((settings or {}).get("hyperparameters") or {}))
    if clash:
        raise ValueError(f"{clash[0]!r} is in the space and in hyperparameters; leave it in one of them")
    searcher, scheduler = open_searcher(searcher), open_scheduler(scheduler)
    for given, again in ((searcher, open_searcher), (scheduler, open_scheduler)):
        _check_record(given, again)
    check_trials(searcher, space, trials=trials)
    return StudySpec(
        name=name,
        space=space.to_json(),
        objective=objective,
        trials=trials,
        parallel=parallel,
        retries=retries,
        seed=seed,
        searcher=searcher.to_json(),
        scheduler=scheduler.to_json(),
        settings=plain(dict(settings or {})),
    )


def check_trials(searcher: Searcher, space: SearchSpace, *, trials: int) -> None:
    """Refuse more trials than the searcher has configurations for.

    Raises:
        ValueError: with the number that there is.
    """
    most = searcher.most_trials(space)
    if most is not None and trials > most:
        name = searcher.to_json().get("name")
        raise ValueError(
            f"trials={trials}, but the searcher {name!r} has only {most} different configurations in this space; "
            f"ask for trials={most} at most, or widen the space"
        )


def differences(old: StudySpec, new: StudySpec) -> list[str]:
    """What of the new settings contradicts the recorded ones, one sentence each; [] when the study may go on.

    `trials` and `parallel` are no differences: more trials extend a study, fewer leave it as it is.
    """
    found: list[str] = []
    for field in ("space", "objective", "settings", "searcher", "scheduler", "seed", "retries"):
        prefix = "" if field == "settings" else field
        found += _compare(prefix, plain(getattr(old, field)), plain(getattr(new, field)))
    return found


def _check_record(given: Searcher | Scheduler, make: Callable[[dict[str, Any]], Searcher | Scheduler]) -> None:
    """A study goes on after a crash only if what it was given can be made again from what is recorded."""
    record = given.to_json()
    again = make(record)
    if type(again) is not type(given) or again.to_json() != record:
        raise TypeError(
            f"{given!r} cannot be made again from its to_json(), {record!r}; its name must be 'package.module:Class' "
            "and the rest the arguments of the class"
        )


def _check_whole(what: str, value: Any, *, least: int | None) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or (least is not None and value < least):
        least_text = "" if least is None else f" of at least {least}"
        raise ValueError(f"{what} must be a whole number{least_text}, got {value!r}")


def _compare(where: str, old: Any, new: Any) -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict) and old.get("type") == new.get("type"):
        found = []
        for key in sorted(old.keys() | new.keys()):
            inner = f"{where}.{key}" if where else key
            found += _compare(inner, old.get(key, _MISSING), new.get(key, _MISSING))
        return found
    if type(old) is type(new) and old == new:
        return []
    if old is _MISSING:
        return [f"{where}: new, {_short(new)}"]
    if new is _MISSING:
        return [f"{where}: was {_short(old)}, now gone"]
    return [f"{where}: {_short(old)} -> {_short(new)}"]


def _short(value: Any) -> str:
    text = repr(value)
    if isinstance(value, str) and len(value) == 64 and all(character in "0123456789abcdef" for character in value):
        return f"{value[:12]}..."
    return text if len(text) <= 100 else text[:97] + "..."
