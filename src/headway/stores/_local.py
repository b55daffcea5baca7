"""A folder of this machine, straight through `os`.

In: checked relative paths from `headway.stores.files`. Out: bytes, streams, entries. Files are written under a
temporary name, synced, and renamed (or linked, where only one writer may win).
"""

from __future__ import annotations

import errno
import io
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, cast, final

from headway.stores.files import TEMPORARY, Backend, Entry, Mode

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
_ADVICE = {
    **dict.fromkeys(_FULL, "the disk or the quota is full; free space and run again: no part of the file was kept"),
    errno.EROFS: "the file system is read-only; use a workspace in a folder that can be written",
    errno.EACCES: "this user may not write there; change the folder's permissions or use another folder",
}


@final
class LocalBackend(Backend):
    """A local folder as a root."""

    def __init__(self, root: str) -> None:
        self.url = os.path.abspath(os.path.expanduser(root))

    def _at(self, path: str) -> str:
        return f"{self.url}/{path}" if path else self.url

    def read(self, path: str) -> bytes:
        with open(self._at(path), "rb") as file:
            return file.read()

    def write(self, path: str, data: bytes) -> None:
        target = self._at(path)
        _whole(target, data, lambda temporary: os.replace(temporary, target))

    def create(self, path: str, data: bytes) -> bool:
        target = self._at(path)
        if os.path.lexists(target):
            return False
        try:
            _whole(target, data, lambda temporary: _link(temporary, target))
        except FileExistsError:
            return False
        return True

    def open(self, path: str, mode: Mode) -> BinaryIO:
        target = self._at(path)
        if mode == "rb":
            return open(target, "rb")
        if mode == "ab":
            return cast(BinaryIO, _with_parents(target, lambda: open(target, "ab")))
        return cast(BinaryIO, LocalWriter(target, *_temporary(target)))

    def info(self, path: str) -> Entry | None:
        try:
            status = os.stat(self._at(path))
        except (FileNotFoundError, NotADirectoryError):
            return None
        return _entry(path, status)

    def scan(self, path: str, *, deep: bool) -> Iterator[Entry]:
        entries = []
        with os.scandir(self._at(path)) as folder:
            for item in folder:
                inner = f"{path}/{item.name}" if path else item.name
                try:
                    is_folder = item.is_dir(follow_symlinks=not deep)
                    status = item.stat()
                except OSError:  # a link to nowhere or in a loop, or a file that has just gone
                    is_folder = False
                    try:
                        status = item.stat(follow_symlinks=False)
                    except FileNotFoundError:
                        continue
                if deep and not is_folder and stat.S_ISDIR(status.st_mode):
                    continue  # a link to a folder
                entries.append((inner + "/" if is_folder else inner, inner, status))
        for key, inner, status in sorted(entries, key=lambda entry: entry[0]):
            if deep and key.endswith("/"):
                try:
                    yield from self.scan(inner, deep=True)
                except FileNotFoundError:
                    continue  # removed since it was listed
            else:
                yield _entry(inner, status)

    def remove(self, path: str) -> None:
        target = self._at(path)
        try:
            os.unlink(target)
        except (IsADirectoryError, PermissionError):  # macOS says PermissionError for a folder
            if not os.path.isdir(target) or os.path.islink(target):
                raise
            shutil.rmtree(target)


@final
class LocalWriter(io.BufferedWriter):
    """A stream into a temporary file that takes its name when closed; discarded when a `with` block fails, or when it
    is never closed."""

    def __init__(self, target: str, temporary: str, descriptor: int) -> None:
        self._target, self._temporary = target, temporary
        super().__init__(_Raw(descriptor, target), buffer_size=1 << 18)

    def __exit__(self, kind: Any, *rest: Any) -> None:
        if kind is not None:
            self.discard()
        else:
            self.close()

    def __del__(self) -> None:
        self.discard()

    def close(self) -> None:
        """Sync and publish under the target's name."""
        if self.closed:
            return
        try:
            self.flush()
            os.fsync(self.fileno())
            os.replace(self._temporary, self._target)
        except OSError as error:
            self.discard()
            raise error if error.filename == self._target else _explained(error, self._target) from error
        super().close()

    def discard(self) -> None:
        """Forget what was written."""
        if not self.closed:
            try:
                os.unlink(self._temporary)
            except FileNotFoundError:
                pass  # published, or swept
            self.raw.close()


@final
class _Raw(io.FileIO):
    """The temporary file itself, with errors that name the file that is meant."""

    def __init__(self, descriptor: int, target: str) -> None:
        super().__init__(descriptor, "wb")
        self._target = target

    def write(self, data: Any) -> int:
        """How many bytes were taken."""
        try:
            return super().write(data)
        except OSError as error:
            raise _explained(error, self._target) from error


def _temporary(target: str) -> tuple[str, int]:
    """A new file beside the target, and its descriptor; folders above are made."""
    path = os.path.join(os.path.dirname(target), TEMPORARY + secrets.token_hex(8))
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    return path, _with_parents(target, lambda: os.open(path, flags, 0o666))


def _with_parents(target: str, make: Callable[[], Any]) -> Any:
    """What `make` makes, with the folders above the target made first where they are missing."""
    for last in (False, False, True):
        try:
            return make()
        except FileNotFoundError as error:
            if last:
                raise _explained(error, target) from error
        except OSError as error:
            raise _explained(error, target) from error
        try:
            os.makedirs(os.path.dirname(target), exist_ok=True)
        except OSError as error:
            raise _explained(error, target) from error
    raise AssertionError("unreachable")


def _whole(target: str, data: bytes, publish: Callable[[str], None]) -> None:
    """Write under a temporary name, sync, publish; nothing is left behind when a step fails."""
    temporary, descriptor = _temporary(target)
    try:
        try:
            with memoryview(data) as view:
                done = 0
                while done < len(view):
                    done += os.write(descriptor, view[done:])
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        publish(temporary)
    except FileExistsError:
        raise
    except OSError as error:
        raise _explained(error, target) from error
    finally:
        try:
            os.unlink(temporary)
        except FileNotFoundError:
            pass  # renamed


def _link(temporary: str, target: str) -> None:
    try:
        os.link(temporary, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        raise OSError(
            error.errno, "cannot create it exclusively: this file system has no hard links; use another folder", target
        ) from error


def _explained(error: OSError, target: str) -> OSError:
    """The same class of error, naming the file that was meant and what to do next."""
    advice = _ADVICE.get(error.errno or 0)
    text = f"cannot write {target}: {os.strerror(error.errno) if error.errno else error}"
    return OSError(error.errno, f"{text}; {advice}" if advice else text, target)


def _entry(path: str, status: os.stat_result) -> Entry:
    folder = stat.S_ISDIR(status.st_mode)
    return Entry(
        path=path, size_bytes=0 if folder else status.st_size, is_folder=folder, mtime=status.st_mtime_ns / 1e9
    )
