"""The label (or the group) of a file from its key: patterns, regular expressions and tables.

In: the keys as an Arrow column. Out: `Labelled`: the names that were found and the number of its name for each key.

A pattern is matched against the whole key; one without a slash against the file's name, as in `.gitignore`.
`{label}` is one folder or part of a name, as short as possible; `*` anything but a slash, `**` any folders and a name,
`?` one letter. As in a shell, none of them matches a leading dot: hidden files (`.DS_Store`) match no pattern and are
reported.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, final

import numpy as np
import numpy.typing as npt

from headway.errors import ManifestError
from headway.manifests.columns import Bytes, Codes, parts
from headway.manifests.keyhash import hash_slices
from headway.manifests.split import RuleRecord, Split
from headway.records import digest_of

Table = Mapping[str, str]

_TOKENS = re.compile(r"\{([^{}]*)\}|(\*\*/?)|(\*)|(\?)|([^{}*?]+)|(.)", re.DOTALL)


@final
class Labelled:
    """Which name each key has: `names[codes[i]]`, or none where `codes[i]` is -1. Names are in no special order."""

    def __init__(self, names: list[str], codes: Codes) -> None:
        self.names, self.codes = names, codes

    def sorted(self, order: Mapping[str, int]) -> Codes:
        """The codes of the keys under another numbering of the names."""
        table = np.array([order[name] for name in self.names] + [-1], np.int32)
        return table[self.codes]


@final
class Rule:
    """A compiled rule. Make it with `compile_rule`."""

    def __init__(self, record: RuleRecord, field: str, expression: re.Pattern[str] | None, table: Table | None) -> None:
        self.record, self.field, self._expression, self._table = record, field, expression, table
        self._whole_key = record.kind != "pattern" or "/" in record.text

    def __call__(self, key: str) -> str | None:
        """The name for one key; None where the rule does not match."""
        if self._table is not None:
            return self._table.get(key)
        assert self._expression is not None
        text = key if self._whole_key else key.rsplit("/", 1)[-1]
        match = self._expression.fullmatch(text) if self.record.kind == "pattern" else self._expression.search(text)
        return (match[self.field] or None) if match else None

    def column(self, keys: Any) -> Labelled:
        """The names for a whole column of keys."""
        simple = re.fullmatch(r"([^{}*?]*/)?\{" + self.field + r"\}/(\*\*?)", self.record.text)
        if self.record.kind == "pattern" and simple:
            return _by_folder(keys, prefix=(simple[1] or "").encode(), deep=simple[2] == "**")
        seen: dict[str, int] = {}
        codes = np.empty(len(keys), np.int32)
        row = 0
        for first in range(0, len(keys), 65_536):
            for key in keys[first : first + 65_536].to_pylist():
                name = self(key)
                codes[row] = -1 if name is None else seen.setdefault(name, len(seen))
                row += 1
        return Labelled(list(seen), codes)

    def absent(self, keys: Any) -> list[str]:
        """The keys of a table that are not among these; a pattern has none."""
        return sorted(set(self._table) - set(keys.to_pylist())) if self._table is not None else []

    def __str__(self) -> str:
        return self.record.text if self.record.kind != "table" else f"a table of {len(self._table or ())} keys"


def compile_rule(rule: str | Table, *, field: str = "label") -> Rule:
    """A rule from what the user wrote.

    Args:
        rule: a pattern with `{label}`, a regular expression with `(?P<label>...)` (searched for in the key), or a
            mapping from key to label.
        field: the name to look for, `label` or `group`.

    Raises:
        ValueError: the text has no such field, has it twice, or does not compile.
        TypeError: it is neither text nor a mapping of texts.
    """
    if isinstance(rule, Mapping):
        texts: list[tuple[object, object]] = list(rule.items())
        wrong = next((item for item in texts if not all(isinstance(text, str) and text for text in item)), None)
        if wrong:
            raise TypeError(f"{field}= as a table maps keys to names, both texts that are not empty; got {wrong!r}")
        return Rule(RuleRecord(kind="table", text=digest_of(dict(rule))), field, None, dict(rule))
    if not isinstance(rule, str):
        raise TypeError(f"{field}= is a pattern, a regular expression or a table, got {rule!r}")
    if "(?P<" in rule:
        return Rule(RuleRecord(kind="regex", text=rule), field, _regex(rule, field), None)
    return Rule(RuleRecord(kind="pattern", text=rule), field, _pattern(rule, field), None)


@final
class Rules:
    """All that the user chose for a manifest: how labels are found, how files are divided."""

    def __init__(self, label: str | Table, split: Split) -> None:
        self.label, self.split = compile_rule(label), split
        self.group = compile_rule(split.group, field="group") if split.group is not None else None


def from_record(record: RuleRecord, *, field: str = "label") -> Rule:
    """The rule of a stored manifest. A table is not stored with it: then the rule is empty and matches nothing."""
    return Rule(record, field, None, {}) if record.kind == "table" else compile_rule(record.text, field=field)


def _regex(rule: str, field: str) -> re.Pattern[str]:
    try:
        expression = re.compile(rule)
    except re.error as error:
        raise ValueError(f"{field}={rule!r} is no regular expression: {error}") from error
    if field not in expression.groupindex:
        raise ValueError(f"the regular expression {rule!r} has no group (?P<{field}>...)")
    return expression


def _pattern(rule: str, field: str) -> re.Pattern[str]:
    example = {"label": '"{label}/*"', "group": '"{group}_*"'}.get(field, "")
    text, found, opening = "", 0, True  # opening: at the start of a folder or file name
    for name, deep, star, one, plain, other in _TOKENS.findall(rule):
        dot = r"(?!\.)" if opening else ""
        if plain:
            text += re.escape(plain)
        elif deep:
            text += r"(?:(?!\.)[^/]+/)*" if deep.endswith("/") else r"(?:(?!\.)[^/]+/)*" + r"(?!\.)[^/]+"
        elif star:
            text += dot + "[^/]*"
        elif one:
            text += dot + "[^/]"
        elif name == field:
            text += (dot + f"(?P<{field}>[^/]+?)") if not found else f"(?P={field})"
            found += 1
        else:
            what = "{" + name + "}" if name else other
            raise ValueError(f"{field}={rule!r}: {what!r} is not known in a pattern; write it like {example}")
        opening = (plain or deep).endswith("/")
    if not found:
        raise ValueError(f"{field}={rule!r} does not say where the {field} is; write it like {example}")
    return re.compile(text, re.DOTALL)


def _by_folder(keys: Any, *, prefix: bytes, deep: bool) -> Labelled:
    """`<prefix>{label}/*` (or `**`) on the bytes of all keys at once."""
    data, offsets = parts(keys)
    starts, ends = offsets[:-1] + len(prefix), offsets[1:]
    slashes = np.append(np.flatnonzero(data[offsets[0] : offsets[-1]] == 47) + offsets[0], np.iinfo(np.int64).max)
    first = np.searchsorted(slashes, starts)
    stop = slashes[first]
    good = (stop < ends - 1) & (stop > starts)
    for at, byte in enumerate(prefix):
        good &= data[np.minimum(offsets[:-1] + at, max(len(data) - 1, 0))] == byte
    if not deep:
        good &= slashes[np.minimum(first + 1, len(slashes) - 1)] >= ends
    good &= ~_hidden(data, starts, ends, slashes)
    codes = np.full(len(good), -1, np.int32)
    rows = np.flatnonzero(good)
    if not len(rows):
        return Labelled([], codes)
    begin, length = starts[rows], stop[rows] - starts[rows]
    hashes = hash_slices(data, begin, length)
    edges = np.flatnonzero(np.append(True, hashes[1:] != hashes[:-1]))  # keys come in runs of one label
    _, where, inverse = np.unique(hashes[edges], return_index=True, return_inverse=True)
    codes[rows] = np.repeat(inverse.astype(np.int32), np.diff(np.append(edges, len(rows))))
    names = [bytes(data[begin[i] : begin[i] + length[i]]).decode() for i in edges[where]]
    return Labelled(names, codes)


def _hidden(
    data: Bytes,
    starts: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int64],
    slashes: npt.NDArray[np.int64],
) -> npt.NDArray[np.bool_]:
    """Rows with a folder or file name that begins with a dot, from `starts` on."""
    hidden = np.zeros(len(starts), np.bool_)
    if not len(data):
        return hidden
    hidden |= data[np.minimum(starts, len(data) - 1)] == 46
    dots = slashes[:-1][data[np.minimum(slashes[:-1] + 1, len(data) - 1)] == 46]  # a slash and then a dot
    if len(dots):
        at = np.append(dots, np.iinfo(np.int64).max)[np.searchsorted(dots, starts)]
        hidden |= at < ends - 1
    return hidden


def explain_mismatch(rule: Rule, keys: list[str], *, source: str, num_files: int) -> ManifestError:
    """The error for a rule that matches no key: it shows the rule, some keys, and what would match them."""
    shown = ", ".join(repr(key) for key in keys[:3])
    depth = keys[0].count("/") if keys else 0
    if depth == 0:
        advice = "the files lie in no folder: give label= as a pattern on their names, for instance '{label}_*'"
    elif depth == 1:
        advice = "for one folder per class write label='{label}/*'"
    else:
        nearest = "*/" * (depth - 1) + "{label}/*"
        advice = f"for the folder next to the files write label={nearest!r}, for the first one label='{{label}}/**'"
    return ManifestError(
        f"none of the {num_files} files in {source} matches the label rule {str(rule)!r}: keys are {shown}; {advice}"
    )
