"""Secrets by reference: a specification names where a secret lies, and only a worker ever holds its value.

In: `{"TOKEN": "env:MY_TOKEN"}` or `{"TOKEN": "file:/run/secrets/token"}`. Out: names and values for `Launch.secrets`,
which nobody writes down. No error here shows a value, nor a text that may be one by mistake.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from headway.errors import ProgramError

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LARGEST_BYTES = 64 * 1024


def check_references(references: Mapping[str, str]) -> dict[str, str]:
    """The references, when each is well formed; nothing is looked up.

    Raises:
        ProgramError: a name that cannot be an environment variable, or a reference of another form. The text does not
            show the reference: it may be the secret itself, given by mistake.
    """
    for name, reference in references.items():
        if not _NAME.fullmatch(str(name)):
            raise ProgramError(f"a secret is named like an environment variable (letters, digits, _), got {name!r}")
        if not re.fullmatch(r"(env:[A-Za-z_][A-Za-z0-9_]*|file:.+)", str(reference)):
            raise ProgramError(
                f"the secret {name!r} needs a reference, 'env:NAME' or 'file:/path', and got a text of "
                f"{len(str(reference))} characters, not shown because it may be the secret; "
                "put it into an environment variable or a file"
            )
    return dict(references)


def resolve(references: Mapping[str, str]) -> dict[str, str]:
    """The values of secrets, by the name that they have on the worker.

    Args:
        references: name on the worker -> `env:NAME` or `file:/path` (its text without the last newline).

    Raises:
        ProgramError: one is missing, empty, unreadable or no text; the text names it and never shows its value.
    """
    values = {}
    for name, reference in check_references(references).items():
        kind, _, where = reference.partition(":")
        value = os.environ.get(where) if kind == "env" else _from_file(name, where)
        if value is None:
            raise ProgramError(
                f"the secret {name!r} is not there: the environment variable {where!r} is not set where the driver "
                f"runs; set it with: export {where}=..."
            )
        if not value or "\0" in value:
            raise ProgramError(f"the secret {name!r} from {reference!r} is empty or holds a zero byte")
        values[name] = value
    return values


def _from_file(name: str, where: str) -> str:
    path = Path(where).expanduser()
    try:
        if path.stat().st_size > _LARGEST_BYTES:
            raise ProgramError(f"the secret {name!r}: {where} is larger than {_LARGEST_BYTES} bytes")
        data = path.read_bytes()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ProgramError(f"the secret {name!r} is not there: {where}: {reason}") from error
    try:
        return data.decode("utf-8").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        # `from None`: the original error carries the bytes.
        raise ProgramError(f"the secret {name!r}: {where} is not text in UTF-8") from None
