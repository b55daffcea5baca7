"""Frozen records: how every value that Headway stores is written, read back and digested.

In: nothing of ours but the errors. Out: `Record` (the base of all stored values), `encode`, `decode`, `digest_of`.
JSON is the only format, so that everything in a workspace can be read with `cat`.
"""

from __future__ import annotations

import hashlib
from typing import Any, TypeVar, cast, dataclass_transform

import msgspec

from headway.errors import NewerSchemaError, WorkspaceError

T = TypeVar("T")


class _RecordMeta(msgspec.StructMeta):
    """Makes every subclass frozen and keyword-only; msgspec itself asks each class to say so again."""

    def __new__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **config: Any) -> _RecordMeta:
        return super().__new__(cls, name, bases, namespace, **{"frozen": True, "kw_only": True, **config})


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(msgspec.field,))
class Record(msgspec.Struct, frozen=True, kw_only=True, metaclass=_RecordMeta):
    """A frozen value with named fields; unknown fields are ignored when read, so that older code reads newer records
    of the same schema number."""


def encode(value: Any) -> bytes:
    """Canonical JSON of records, dicts and plain values: keys sorted, no white space, UTF-8."""
    return msgspec.json.encode(value, order="sorted")


def pretty(value: Any) -> bytes:
    """The same JSON, indented for people, with a final newline."""
    return msgspec.json.format(encode(value), indent=2) + b"\n"


def decode(data: bytes | str, kind: type[T], *, where: str) -> T:
    """A record read from JSON.

    Args:
        data: the JSON text.
        kind: the record's type.
        where: what is being read (a path or an id), for the error.

    Raises:
        NewerSchemaError: the record's `schema` is newer than this version's.
        WorkspaceError: the text is not JSON or a field is missing or of another type; the text names the field.
    """
    try:
        value = msgspec.json.decode(data, type=kind)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise WorkspaceError(f"cannot read {where}: {error}") from error
    newest = getattr(kind, "__struct_config__", None) and next(
        (f.default for f in msgspec.structs.fields(cast(Any, kind)) if f.name == "schema"), None
    )
    if newest is not None and getattr(value, "schema", 0) > newest:
        raise NewerSchemaError(
            f"{where} has schema {value.schema}, this Headway knows {newest}: "  # type: ignore[attr-defined]
            "open it with the version that wrote it, or upgrade with pip install --upgrade headway"
        )
    return value


def plain(value: Any) -> Any:
    """Records turned into dicts and lists of builtins."""
    return msgspec.to_builtins(value)


def digest_of(value: Any) -> str:
    """The SHA-256 of a value's canonical JSON, as 64 hexadecimal digits."""
    return hashlib.sha256(encode(value)).hexdigest()
