"""The files of a source folder that travel with a program: everything but what is made, fetched or private to a tool.

In: a folder. Out: pairs of a path relative to it and the file to read, sorted, plus what was left out and should be
said. Links count by their content.
"""

from __future__ import annotations

import fnmatch
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

from headway.errors import ProgramError

IGNORE_FILE = ".headwayignore"
LARGEST_FILE_BYTES = 50_000_000
LARGEST_TREE_BYTES = 500_000_000
MOST_FILES = 20_000
WORTH_A_WORD_BYTES = 20_000_000
WORTH_A_WORD_FILES = 1_000

_TOOLS = frozenset(
    {".git", ".hg", ".svn", ".bzr", "CVS", ".jj", "__pycache__", ".venv", "venv", ".tox", ".nox", ".mypy_cache",
     ".pytest_cache", ".ruff_cache", ".hypothesis", ".ipynb_checkpoints", ".import_linter_cache", "node_modules",
     ".eggs", ".headway", ".idea", ".vscode", ".DS_Store", "htmlcov", ".cache"}
)  # fmt: skip
_BUILD_OUTPUT = frozenset({"build", "dist"})
_ENDINGS = (".pyc", ".pyo", ".egg-info", ".dist-info", ".swp", "~")


@final
@dataclass(slots=True)
class Tree:
    """The files of one folder.

    Args:
        root: the folder.
        leave_out: folders inside it that are left out whatever their names, as real paths.
        warnings: what was left out and may be missed; filled by `files`.
    """

    root: Path
    leave_out: tuple[str, ...] = ()
    warnings: list[str] = field(default_factory=list)
    _ignored: tuple[str, ...] = ()
    _num_files: int = 0
    _size_bytes: int = 0
    _by_top: dict[str, int] = field(default_factory=dict)

    def files(self) -> Iterator[tuple[str, Path]]:
        """Relative path (POSIX) and file, sorted by path.

        Raises:
            ProgramError: a file is too large, unreadable or of a name that is no text; a link leads round in a circle
                or to a folder outside; the folder is too large altogether. The text names it and says what to do.
        """
        self._ignored = _patterns(self.root / IGNORE_FILE)
        yield from self._folder(self.root, "", (os.path.realpath(self.root),))
        if self._size_bytes > WORTH_A_WORD_BYTES or self._num_files > WORTH_A_WORD_FILES:
            self.warnings.append(
                f"{self._num_files} files, {_mb(self._size_bytes)}, are packed from {self.root.name or self.root} with "
                f"every job (most in {self._largest()}); name what is no code in {IGNORE_FILE}"
            )

    def _folder(self, folder: Path, prefix: str, above: tuple[str, ...]) -> Iterator[tuple[str, Path]]:
        try:
            names = sorted(os.listdir(folder))
        except OSError as error:
            raise ProgramError(
                f"cannot pack {self.root}: the folder {folder} cannot be read: {error.strerror}"
            ) from error
        for name in names:
            path, relative = folder / name, prefix + name
            try:
                relative.encode()
            except UnicodeEncodeError:
                raise ProgramError(
                    f"cannot pack {self.root}: the name {os.fsencode(relative)!r} is not text in UTF-8; rename it"
                ) from None
            is_folder = os.path.isdir(path)
            if self._is_left_out(path, name, relative, is_folder):
                continue
            if is_folder:
                yield from self._inner(path, relative, above)
            elif self._is_file(path, relative):
                self._count(path, relative)
                yield relative, path

    def _inner(self, path: Path, relative: str, above: tuple[str, ...]) -> Iterator[tuple[str, Path]]:
        real = os.path.realpath(path)
        if path.is_symlink():
            if real in above:
                raise ProgramError(
                    f"cannot pack {self.root}: the link {relative!r} leads back to {real}, which holds it; "
                    f"remove it or name it in {IGNORE_FILE}"
                )
            if not (real + os.sep).startswith(above[0] + os.sep):
                raise ProgramError(
                    f"cannot pack {self.root}: the link {relative!r} leads to the folder {real} outside; give data as "
                    f"a channel, put code inside, or name the link in {IGNORE_FILE}"
                )
        yield from self._folder(path, relative + "/", (*above, real))

    def _is_left_out(self, path: Path, name: str, relative: str, is_folder: bool) -> bool:
        if name in _TOOLS or name.endswith(_ENDINGS):
            return True
        if any(_matches(pattern, name, relative, is_folder) for pattern in self._ignored):
            return True
        if not is_folder:
            return False
        if name in _BUILD_OUTPUT and not os.path.exists(path / "__init__.py"):
            return True
        # A virtual environment or a workspace of another name.
        # These functions of os.path take what may not be looked at for absent; reading the folder gives the error.
        if os.path.exists(path / "pyvenv.cfg") or os.path.isdir(path / "conda-meta") or is_workspace(path):
            return True
        return bool(self.leave_out) and os.path.realpath(path) in self.leave_out

    def _is_file(self, path: Path, relative: str) -> bool:
        """Whether it can be packed; what cannot and is no plain file is said and left out."""
        try:
            mode = path.stat().st_mode
        except FileNotFoundError:
            self.warnings.append(f"left out {relative!r}: a link that leads nowhere ({os.readlink(path)!r})")
            return False
        except OSError as error:
            if path.is_symlink():
                raise ProgramError(
                    f"cannot pack {self.root}: the link {relative!r} cannot be followed ({error.strerror}); "
                    f"remove it or name it in {IGNORE_FILE}"
                ) from error
            raise ProgramError(f"cannot pack {self.root}: {relative!r} cannot be read: {error.strerror}") from error
        if stat.S_ISREG(mode):
            return True
        self.warnings.append(f"left out {relative!r}: not a plain file (a socket, pipe or device)")
        return False

    def _count(self, path: Path, relative: str) -> None:
        size = path.stat().st_size
        if size > LARGEST_FILE_BYTES:
            raise ProgramError(
                f"cannot pack {self.root}: {relative!r} has {_mb(size)}, more than {_mb(LARGEST_FILE_BYTES)}; give "
                f"data as a channel, or name it in {IGNORE_FILE}"
            )
        top = relative.partition("/")[0]
        self._by_top[top] = self._by_top.get(top, 0) + size
        self._num_files += 1
        self._size_bytes += size
        if self._size_bytes > LARGEST_TREE_BYTES or self._num_files > MOST_FILES:
            raise ProgramError(
                f"cannot pack {self.root}: more than {_mb(LARGEST_TREE_BYTES)} or {MOST_FILES} files (largest so far: "
                f"{self._largest()}); give a smaller source_dir, or name what is no code in {IGNORE_FILE}"
            )

    def _largest(self) -> str:
        largest = sorted(self._by_top.items(), key=lambda item: (-item[1], item[0]))[:3]
        return ", ".join(f"{name!r} {_mb(size)}" for name, size in largest)


def is_workspace(folder: Path) -> bool:
    """Whether a folder is a workspace of ours, whatever its name."""
    names = ("ledger.sqlite", "ledger.lock", "jobs", "incoming")
    return os.path.isfile(folder / "workspace.json") and any(os.path.exists(folder / name) for name in names)


def _patterns(path: Path) -> tuple[str, ...]:
    """The lines of an ignore file: shell patterns on names, or on paths when they have a slash; `x/` for folders."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except FileNotFoundError:
        return ()
    return tuple(line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#"))


def _matches(pattern: str, name: str, relative: str, is_folder: bool) -> bool:
    if pattern.endswith("/"):
        if not is_folder:
            return False
        pattern = pattern[:-1]
    if "/" in pattern:
        return fnmatch.fnmatchcase(relative, pattern.removeprefix("/"))
    return fnmatch.fnmatchcase(name, pattern)


def _mb(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.0f} MB"
