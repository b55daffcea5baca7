"""Packing: what a program needs to run, copied into a job's `code/` folder, with a digest of it.

In: a `Program`. Out: a `ProgramRecord`, and the folder, which alone is what runs: an imported function with its package
or file and the local modules that it imports, a script with its whole source folder, anything else by cloudpickle with
the local modules that it names. Nothing of the user's is imported or run here.
"""

from __future__ import annotations

import importlib
import os
import shutil
import sys
import uuid
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any

from msgspec.structs import replace

from headway.errors import ProgramError
from headway.jobs import signature
from headway.jobs.canonical import Source, digest_source, parse
from headway.jobs.gather import Gather, near_modules
from headway.jobs.imports import imports_of
from headway.jobs.modules import Finder, Module, whose
from headway.jobs.objects import is_importable
from headway.jobs.pickling import main_package, pickle_target
from headway.jobs.program import Function, Program, Script, as_program, not_yet, split_target
from headway.jobs.snapshot import NAME, OTHER_NAME, FileRecord, Snapshot
from headway.jobs.spec import ProgramRecord
from headway.jobs.tree import Tree
from headway.records import digest_of, pretty

PICKLE = "target.pickle"
MOST_RE_EXPORTS = 10

Content = Path | bytes
Collected = tuple[ProgramRecord, dict[str, Content], dict[str, Source]]
"""A record without its digest, the files by their place, and digests that are not those of the bytes."""


def snapshot(
    program: Program | Any, into: Path, *, runner: str | None = None, roots: Sequence[str | Path] | None = None
) -> ProgramRecord:
    """The record of a program that has been copied into a folder.

    Args:
        program: what to pack; anything that `as_program` takes.
        into: the folder to make; an earlier snapshot there is replaced.
        runner: import string of what runs the target; one of the user's own travels too.
        roots: where `module:qualname` is looked up first; None for the current folder.

    Raises:
        ProgramError: something cannot be found, packed or would surely fail to import.
        ValueError: `into` holds something else than a snapshot.

    Guarantees: `into` appears whole or not at all. The digest does not depend on the order of listing, on times, on the
    place of the project, or on comments, formatting and docstrings.
    """
    if into.exists() and any(into.iterdir()) and not any((into / name).exists() for name in (NAME, OTHER_NAME)):
        raise ValueError(f"{into} holds something that is no snapshot; give a new folder")
    draft, files, own = _collect(as_program(program), runner, roots, into)
    into.parent.mkdir(parents=True, exist_ok=True)
    stage = into.with_name(f".{into.name}.{uuid.uuid4().hex}")
    try:
        stage.mkdir()
        record, listing = _describe(draft, files, own, stage)
        name = OTHER_NAME if NAME in files else NAME
        (stage / name).write_bytes(pretty(listing))
        if into.exists():
            shutil.rmtree(into)
        os.rename(stage, into)
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    return record


def digest_program(
    program: Program | Any, *, runner: str | None = None, roots: Sequence[str | Path] | None = None
) -> ProgramRecord:
    """The record that `snapshot` would give, without writing anything."""
    record, _ = _describe(*_collect(as_program(program), runner, roots, None), None)
    return record


def _describe(
    draft: ProgramRecord, files: Mapping[str, Content], own: Mapping[str, Source], stage: Path | None
) -> tuple[ProgramRecord, Snapshot]:
    """The record and the list of files; each file is read once, so that what is digested is what is written."""
    listed = {}
    for path in sorted(files):
        content = files[path]
        data = content if isinstance(content, bytes) else _read(content)
        source = own.get(path) or digest_source(data, name=path)
        listed[path] = FileRecord.of(source, size_bytes=len(data))
        if stage is not None:
            _write(stage / path, data, like=content)
    digest = digest_of({
        "form": 1, "kind": draft.kind, "module": draft.module, "qualname": draft.qualname, "pickle": draft.pickle,
        "entry_point": draft.entry_point, "files": {path: one.digest for path, one in listed.items()},
    })  # fmt: skip
    listing = Snapshot(kind=draft.kind, pickle=draft.pickle, digest=digest, files=listed)
    return replace(draft, digest=digest), listing


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ProgramError(f"cannot pack {path}: {error.strerror or error}") from error


def _write(path: Path, data: bytes, *, like: Content) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    if isinstance(like, Path) and os.access(like, os.X_OK):
        path.chmod(path.stat().st_mode | 0o111)


def _collect(program: Program, runner: str | None, roots: Sequence[str | Path] | None, into: Path | None) -> Collected:
    importlib.invalidate_caches()
    if isinstance(program, Script):
        return _script(program, runner, into)
    if not isinstance(program, Function):
        raise not_yet(program)
    if isinstance(program.target, str):
        return _named(program.target, runner, [os.getcwd()] if roots is None else roots)
    if is_importable(program.target) and hasattr(sys.modules[program.target.__module__], "__file__"):
        return _imported(program.target, runner, roots or ())
    return _pickled(program.target, runner, roots or ())


def _script(program: Script, runner: str | None, into: Path | None) -> Collected:
    root = Path(program.source_dir)
    if not root.is_dir():
        raise ProgramError(f"there is no folder {str(program.source_dir)!r} (source_dir) in {os.getcwd()}")
    entry = Path(program.entry_point)
    if entry.is_absolute():
        entry = Path(os.path.relpath(entry, os.path.abspath(root)))
    name = entry.as_posix()
    tree = Tree(root, leave_out=(os.path.realpath(into),) if into is not None else ())
    files: dict[str, Content] = {path: file for path, file in tree.files() if path != OTHER_NAME}
    if name not in files or not name.endswith(".py"):
        scripts = [path for path in files if path.endswith(".py")]
        close = get_close_matches(name, scripts, n=1)
        known = ", ".join(scripts[:12]) or "none"
        raise ProgramError(
            f"there is no script {name!r} in the source_dir {str(program.source_dir)!r}"
            + (f"; did you mean {close[0]!r}?" if close else f"; the scripts there are: {known}")
        )
    finder = Finder([root / entry.parent, root])
    gather = Gather(finder, tree=root)
    gather.script(root / entry, name)
    _add_runner(runner, finder, gather)
    gather.finish()
    for path, file in gather.files.items():
        files.setdefault(path, file)
    draft = ProgramRecord(
        kind="script", name=name, entry_point=name, runner=runner, imports=tuple(sorted(gather.preload)), digest="",
        warnings=(*tree.warnings, *gather.warnings),
    )  # fmt: skip
    return draft, files, {}


def _named(target: str, runner: str | None, roots: Sequence[str | Path]) -> Collected:
    module_name, qualname = split_target(target)
    finder = Finder(roots)
    module = _require(finder, module_name, target)
    arguments = _look_up(finder, module, qualname, target)
    return _module_record(module, qualname, runner, finder, arguments)


def _imported(target: Any, runner: str | None, roots: Sequence[str | Path]) -> Collected:
    finder, module = _loaded(sys.modules[target.__module__], roots)
    return _module_record(module, target.__qualname__, runner, finder, signature.arguments_of(target))


def _module_record(
    module: Module, qualname: str, runner: str | None, finder: Finder, arguments: signature.Arguments
) -> Collected:
    gather = Gather(finder)
    gather.module(module)
    _add_runner(runner, finder, gather)
    gather.finish()
    draft = ProgramRecord(
        kind="function", name=f"{module.name}:{qualname}", module=module.name, qualname=qualname, runner=runner,
        imports=tuple(sorted(gather.preload)), digest="", argument_names=arguments.names,
        required_names=arguments.required, warnings=tuple(gather.warnings),
    )  # fmt: skip
    return draft, dict(gather.files), {}


def _pickled(target: Any, runner: str | None, roots: Sequence[str | Path]) -> Collected:
    name = getattr(target, "__qualname__", None) or type(target).__name__
    pickled = pickle_target(target, name=name)
    loaded = {one: sys.modules[one] for one in pickled.modules if one in sys.modules}
    finder = Finder([*roots, *_roots_of(loaded.values())], loaded=_misnamed(loaded.values()))
    gather = Gather(finder)
    for one in pickled.modules:
        module = finder.find(one)
        if module is None:
            raise ProgramError(
                f"{name} refers to the module {one!r}, which has no file that a worker could import; "
                "put what it needs into a file"
            )
        gather.module(module)
    gather.imports(pickled.imports, package=main_package(), shown=name)
    _add_runner(runner, finder, gather)
    gather.finish()
    arguments = signature.arguments_of(target)
    draft = ProgramRecord(
        kind="function", name=name, pickle=PICKLE, runner=runner, imports=tuple(sorted(gather.preload)), digest="",
        argument_names=arguments.names, required_names=arguments.required, warnings=tuple(gather.warnings),
    )  # fmt: skip
    files: dict[str, Content] = {**gather.files, PICKLE: pickled.data}
    return draft, files, {PICKLE: Source(digest=pickled.digest)}


def _add_runner(runner: str | None, finder: Finder, gather: Gather) -> None:
    """A runner of the user's own is part of the program."""
    if runner is None:
        return
    name, qualname = split_target(runner)
    module = _require(finder, name, runner)
    _look_up(finder, module, qualname, runner)
    gather.module(module)


def _require(finder: Finder, name: str, target: str) -> Module:
    """The module of that name.

    Raises:
        ProgramError: there is none; the text names the nearest and where it was looked for.
    """
    module = finder.find(name)
    first = name.partition(".")[0]
    if module is not None and module.kind == "local" and first in sys.stdlib_module_names:
        raise ProgramError(
            f"{target!r}: {module.path} has the name of a module of Python's own library, {first!r}, which a worker "
            "imports instead; rename the file"
        )
    if module is not None and (module.path is not None or module.kind in ("standard", "headway")):
        return module
    close = get_close_matches(name, sorted(near_modules(finder)), n=1)
    where = ", ".join(folder for folder in finder.search if os.path.isdir(folder) and whose(folder) == "local")
    raise ProgramError(
        f"{target!r}: there is no module {name!r}"
        + (f"; did you mean {close[0]!r}?" if close else f" in {where} nor among the installed packages")
    )


def _look_up(finder: Finder, module: Module, qualname: str, target: str) -> signature.Arguments:
    """The arguments of what is named, as far as sources tell; through modules that only pass it on.

    Raises:
        ProgramError: the module has no such name; the text gives the nearest.
    """
    name, _, rest = qualname.partition(".")
    for _ in range(MOST_RE_EXPORTS):
        if module.path is None or module.path.suffix != ".py":
            return signature.Arguments()
        tree = parse(_read(module.path))
        if tree is None:
            return signature.Arguments()
        names = signature.names_in(tree)
        if names is not None and name not in names and finder.find(f"{module.name}.{name}") is None:
            close = get_close_matches(name, sorted(names), n=1)
            raise ProgramError(
                f"{target!r}: the module {module.name!r} ({module.path}) has no {name!r}"
                + (f"; did you mean {close[0]!r}?" if close else "")
            )
        behind = signature.import_behind(tree, name, imports_of(tree))
        if behind is None:
            return signature.arguments_in(tree, f"{name}.{rest}" if rest else name)
        one, name = behind
        source = finder.find(one.absolute(module.package) or "")
        if source is None:
            return signature.Arguments()
        module = source
    return signature.Arguments()


def _loaded(module: ModuleType, roots: Sequence[str | Path]) -> tuple[Finder, Module]:
    """A finder that finds an imported module where it was imported from."""
    finder = Finder([*roots, *_roots_of([module])], loaded=_misnamed([module]))
    found = finder.find(module.__name__)
    assert found is not None, module
    return finder, found


def _roots_of(modules: Any) -> list[str]:
    """The folders from which the user's modules were imported under their names."""
    return [root for root in (_root(module) for module in modules) if root is not None]


def _misnamed(modules: Any) -> dict[str, str]:
    """The user's modules whose file lies elsewhere than their name says: name -> file."""
    return {
        module.__name__: module.__file__
        for module in modules
        if _file(module) is not None and whose(module.__file__) == "local" and _root(module) is None
    }


def _file(module: Any) -> str | None:
    file = getattr(module, "__file__", None)
    return file if isinstance(file, str) and os.path.isfile(file) else None


def _root(module: Any) -> str | None:
    """The folder that must be searched so that a module's name leads to its file; None when none does."""
    file = _file(module)
    if file is None or whose(file) != "local":
        return None
    path = Path(file)
    place = path.parent if path.name.startswith("__init__.") else path.parent / path.name.partition(".")[0]
    parts = module.__name__.split(".")
    return str(Path(*place.parts[: -len(parts)])) if list(place.parts[-len(parts) :]) == parts else None
