"""Engines by URL: a table of import strings, and entry points of the group `headway.engines` for others.

In: `local://?cpus=4`, or an engine. Out: an engine.
"""

from __future__ import annotations

from importlib import import_module
from urllib.parse import parse_qsl, urlsplit

from headway.engines.engine import Engine
from headway.errors import NotFoundError

ENGINES = {
    "inline": "headway.engines.inline:InlineEngine",
    "local": "headway.engines.local:LocalEngine",
}


def open_engine(engine: str | Engine) -> Engine:
    """The engine itself, or the one that a URL names; options are in the query, whole numbers become int.

    Raises:
        NotFoundError: no engine of that name; lists the known ones.
        TypeError: an option that the engine does not have.
    """
    if isinstance(engine, Engine):
        return engine
    parts = urlsplit(engine if "://" in engine else f"{engine}://")
    target = ENGINES.get(parts.scheme) or _entry_points().get(parts.scheme)
    if target is None:
        raise NotFoundError("engine", parts.scheme or engine, {*ENGINES, *_entry_points()})
    module, _, name = target.partition(":")
    options: dict[str, str | int] = {
        key: int(value) if value.isdigit() else value for key, value in parse_qsl(parts.query)
    }
    if parts.netloc:
        options["place"] = parts.netloc
    try:
        found = getattr(import_module(module), name)(**options)
    except TypeError as error:
        raise TypeError(f"cannot open the engine {engine!r}: {error}") from error
    if not isinstance(found, Engine):
        raise TypeError(f"{target} is no Engine: it made {found!r}")
    return found


def _entry_points() -> dict[str, str]:
    """Engines of other packages."""
    from importlib.metadata import entry_points

    return {point.name: point.value for point in entry_points(group="headway.engines")}
