"""What the command line prints: tables for people, JSON for programs.

In: plain rows and dicts. Out: text on standard output. On a terminal tables are drawn by rich, which is imported only
then; elsewhere columns are aligned with spaces, so that `grep`, `cut` and eyes can read them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

Row = Mapping[str, Any]
FEW = 2


def rows(found: Sequence[Row], columns: Sequence[str], *, as_json: bool, empty: str = "nothing yet") -> None:
    """One line per row, under the columns' names; with `as_json` the whole rows as a JSON array."""
    if as_json:
        data(list(found))
    elif not found:
        print(empty)
    else:
        titles = [column.replace("_", " ") for column in columns]
        table(titles, [[_cell(column, row.get(column)) for column in columns] for row in found])


def data(value: Any) -> None:
    """JSON, indented, with letters as they are."""
    print(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def table(titles: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    """Columns under titles."""
    if sys.stdout.isatty():
        _draw(titles, lines)
        return
    widths = [max(map(len, column)) for column in zip(titles, *lines, strict=True)]
    for line in [titles, *lines]:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def fields(value: Mapping[str, Any], *, indent: int = 0) -> None:
    """Names and values, one below the other; dictionaries and lists indented below their name."""
    width = max((len(name) for name in value), default=0)
    for name, one in value.items():
        # Names at the top are ours; below them they may be the user's, and stay as they are.
        head = f"{' ' * indent}{name if indent else name.replace('_', ' ')}:"
        if isinstance(one, Mapping) and one:
            print(head)
            fields(one, indent=indent + 2)
        elif isinstance(one, list | tuple) and one and all(isinstance(item, Mapping) for item in one):
            print(head)
            for item in one:
                print(f"{' ' * (indent + 2)}- {sentence(item)}")
        elif isinstance(one, list | tuple):
            print(head if one else f"{head} none")
            for item in one:
                print(f"{' ' * (indent + 2)}- {text('', item)}")
        else:
            print(f"{head.ljust(indent + width + 2)}{text(name, one)}")


def sentence(value: Mapping[str, Any]) -> str:
    """A small dict on one line, without what is empty."""
    return ", ".join(f"{name}={text(name, one)}" for name, one in value.items() if one not in (None, "", [], {}))


def text(name: str, value: Any) -> str:
    """A value as people read it: times by the clock, sizes with units, numbers with six digits.

    Args:
        name: of the value; `_at` at its end means a time, `_bytes` a size, `_s` a duration.
    """
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float) and (name == "at" or name.endswith("_at")):
        return datetime.fromtimestamp(value).strftime("%Y-%m-%d %H:%M:%S") if value else "-"
    if isinstance(value, int | float) and name.endswith("_bytes"):
        return size(value)
    if isinstance(value, int | float) and name.endswith("_s"):
        return f"{value:.3g} s" if value < 100 else f"{value:.0f} s"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        return sentence(value) or "-"
    if isinstance(value, list | tuple):
        return ", ".join(text("", item) for item in value) or "-"
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in str(value))


def channels(names: Iterable[str]) -> list[str]:
    """Names of channels in the order of the work: train, validation, test, then others."""
    known = ["train", "validation", "test"]
    return sorted(names, key=lambda name: (known.index(name) if name in known else len(known), name))


def few(metrics: Mapping[str, Any]) -> str:
    """The first few of many metrics, those of the test channel first."""
    if len(metrics) <= FEW:
        return sentence(metrics)
    order = sorted(metrics, key=lambda metric: not metric.startswith("test:"))
    return f"{sentence({metric: metrics[metric] for metric in order[:FEW]})}, {len(metrics) - FEW} more"


def _cell(name: str, value: Any) -> str:
    return few(value) or "-" if name == "metrics" and isinstance(value, Mapping) else text(name, value)


def size(num_bytes: float) -> str:
    """Bytes in the unit that fits."""
    for unit in ("bytes", "KB", "MB", "GB"):
        if num_bytes < 1000:
            return f"{num_bytes:.3g} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.3g} TB"


def _draw(titles: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, header_style="bold", pad_edge=False)
    for title in titles:
        drawn.add_column(title, overflow="fold")
    for line in lines:
        drawn.add_row(*[Text(cell) for cell in line])
    Console().print(drawn)
