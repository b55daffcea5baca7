"""What is known of a saved model: the record in `model.json`, its digests, and files that a script left by itself.

In: a folder. Out: `ModelInfo`, checked against the files. Used by `headway.models.model`; nothing is loaded here.
"""

from __future__ import annotations

import hashlib
import os
import platform
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headway.errors import DataChangedError, WorkspaceError
from headway.models.format import ModelFormat, every_format
from headway.models.pickling import installed_versions, own_modules
from headway.records import Record, decode, digest_of, pretty

DESCRIPTION = "model.json"


class Signature(Record):
    """What one row looks like: its shape (without the number of rows) and its dtype."""

    shape: tuple[int, ...]
    dtype: str

    @classmethod
    def of(cls, rows: Any) -> Signature:
        """The signature of an array of rows."""
        return cls(shape=tuple(int(n) for n in rows.shape[1:]), dtype=str(rows.dtype))


class ModelFile(Record):
    """One file of a model: size and SHA-256."""

    size_bytes: int
    digest: str


class ModelInfo(Record):
    """What `model.json` says.

    Args:
        format: name in the table of formats.
        kind: class of the object, for people.
        root: file or folder, beside `model.json`, that the format reads.
        python: version of Python that wrote it.
        libraries: distribution -> version, of what loading it imports.
        modules: the user's own modules that loading it imports; they are found in the job's `code/`.
        labels: label -> code, as the model was trained; None when it knows none.
        signature: shape and dtype of one row, None when not given.
        files: path -> size and digest.
        digest: digest of format, labels, signature and files.
        extra: what the caller keeps beside it (plain JSON).
        adopted: whether a program of the user's saved the file by itself.
    """

    schema: int = 1
    format: str
    kind: str
    root: str
    python: str
    libraries: dict[str, str] = {}
    modules: tuple[str, ...] = ()
    labels: dict[str, int] | None = None
    signature: Signature | None = None
    files: dict[str, ModelFile]
    digest: str
    extra: dict[str, Any] = {}
    adopted: bool = False


def describe(folder: Path | str) -> ModelInfo:
    """What is known of a folder's model, its files checked, without loading it."""
    source = Path(folder)
    if not (source / DESCRIPTION).exists():
        return _infer(source, labels=None)
    info = read_info(source)
    _verify(source, info)
    return info


def adopt(folder: Path | str, *, labels: Mapping[str, int] | None = None) -> ModelInfo:
    """Write `model.json` for the one model file that a program of the user's left in a folder.

    A folder that has a `model.json` is returned as it is.
    """
    source = Path(folder)
    if (source / DESCRIPTION).exists():
        return describe(source)
    info = _infer(source, labels=labels)
    write_info(source, info)
    return info


def has_model(folder: Path | str) -> bool:
    """Whether a folder holds a whole model, saved by `save` or left by a script in a format that is known."""
    source = Path(folder)
    return source.is_dir() and ((source / DESCRIPTION).exists() or len(_candidates(source)) == 1)


def _infer(source: Path, *, labels: Mapping[str, int] | None) -> ModelInfo:
    found = _candidates(source)
    if len(found) != 1:
        there = sorted(p.name for p in source.iterdir()) if source.is_dir() else None
        what = "several files could be it" if found else "there is none"
        raise WorkspaceError(
            f"no model in {source}: expected {DESCRIPTION} (written last by headway.models.model.save) or one file "
            f"*.joblib, *.pkl or *.pickle, but {what}; got {there!r}. Save the model into the folder that "
            "SM_MODEL_DIR or context.model_dir names, or return it from the training function"
        )
    path, how = found[0]
    return make_info(
        source, path.name, how, kind=path.name, modules=frozenset(), labels=labels, signature=None, extra=None
    )


def _candidates(source: Path) -> list[tuple[Path, ModelFormat]]:
    """Files at the top of a folder that a known format reads, unless a save of ours was torn there."""
    if not source.is_dir() or any(
        p.name.startswith((".tmp-saving-", "data-")) and p.is_dir() for p in source.iterdir()
    ):
        return []
    known = {suffix: how for how in every_format() for suffix in how.suffixes}
    return [(p, known[p.suffix]) for p in sorted(source.iterdir()) if p.suffix in known and p.is_file()]


def make_info(
    folder: Path,
    root: str,
    how: ModelFormat,
    *,
    kind: str,
    modules: frozenset[str],
    labels: Mapping[str, int] | None,
    signature: Signature | None,
    extra: Mapping[str, Any] | None,
) -> ModelInfo:
    """The record of a model whose files are there."""
    files = {path: _file(folder / path) for path in _paths(folder, root)}
    codes = {str(label): int(code) for label, code in labels.items()} if labels is not None else None
    return ModelInfo(
        format=how.name,
        kind=kind,
        root=root,
        python=platform.python_version(),
        libraries=installed_versions(modules | {how.package or "cloudpickle"}),
        modules=own_modules(modules),
        labels=codes,
        signature=signature,
        files=files,
        digest=_digest(how.name, codes, signature, files),
        extra=dict(extra or {}),
        adopted=not root.startswith("data-"),
    )


def _digest(name: str, labels: dict[str, int] | None, signature: Signature | None, files: dict[str, ModelFile]) -> str:
    return digest_of({"format": name, "labels": labels, "signature": signature, "files": files})


def _verify(source: Path, info: ModelInfo) -> None:
    for name, expected in info.files.items():
        path = source / name
        if not path.is_file():
            raise DataChangedError(f"the model in {source} lacks its file {name!r}: copy it again, or train again")
        found = _file(path)
        if found != expected:
            raise DataChangedError(
                f"the file {name!r} of the model in {source} is not the one that was saved: expected "
                f"{expected.size_bytes} bytes with digest {expected.digest[:12]}, got {found.size_bytes} bytes with "
                f"{found.digest[:12]}: copy it again, or train again"
            )
    if _digest(info.format, info.labels, info.signature, info.files) != info.digest:
        raise DataChangedError(f"{source / DESCRIPTION} was changed after the model was saved: its digest differs")


def read_info(folder: Path) -> ModelInfo:
    """What `model.json` says, unchecked."""
    return decode((folder / DESCRIPTION).read_bytes(), ModelInfo, where=str(folder / DESCRIPTION))


def write_info(folder: Path, info: ModelInfo) -> None:
    """Replace `model.json`, whole, flushed to disk."""
    temporary = folder / f".tmp-{DESCRIPTION}.{os.getpid()}-{secrets.token_hex(4)}"
    with temporary.open("wb") as file:
        file.write(pretty(info))
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, folder / DESCRIPTION)


def _paths(folder: Path, root: str) -> list[str]:
    start = folder / root
    found = [start] if start.is_file() else sorted(p for p in start.rglob("*") if p.is_file())
    return [p.relative_to(folder).as_posix() for p in found]


def _file(path: Path) -> ModelFile:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return ModelFile(size_bytes=path.stat().st_size, digest=digest)


def digest_tree(folder: Path) -> str:
    """One digest of all files below a folder."""
    return digest_of({p.relative_to(folder).as_posix(): _file(p) for p in folder.rglob("*") if p.is_file()})
