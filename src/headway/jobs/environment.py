"""What a job runs with: the interpreter, the platform and every installed package, found without importing any.

In: `sys.path` and the folders on it. Out: a plain dict that goes into `JobSpec.environment`, its digest, and sentences
about what differs between two of them.
"""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Iterator, Mapping
from email.parser import HeaderParser
from pathlib import Path
from typing import Any

from headway.records import digest_of

Lock = dict[str, Any]

_remembered: dict[tuple[Any, ...], Lock] = {}


def lock() -> Lock:
    """The environment of this process: `python`, `implementation`, `platform`, `packages`, `editable`.

    `packages` maps names (lower case, dashes) to versions, as an import would find them: the first on `sys.path`
    counts. `editable` lists the packages whose code is a working folder, so that their version says little.

    Guarantees: holds no path and no time. Read again only when a folder on `sys.path` changed; costs a few milliseconds
    for a hundred packages and nothing afterwards.
    """
    folders = tuple(dict.fromkeys(folder or os.curdir for folder in sys.path))
    key = tuple((folder, _changed_ns(folder)) for folder in folders)
    found = _remembered.get(key)
    if found is None:
        found = _read(folders)
        _remembered.clear()
        _remembered[key] = found
    return {**found, "packages": dict(found["packages"]), "editable": list(found["editable"])}


def digest(lock: Mapping[str, Any]) -> str:
    """The digest of a lock."""
    return digest_of(lock)


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What differs between two locks, as sentences: `package numpy 2.4.0 -> 2.5.1`."""
    lines = [
        f"{name} {old.get(name, 'unknown')} -> {new.get(name, 'unknown')}"
        for name in ("python", "implementation", "platform")
        if old.get(name) != new.get(name)
    ]
    before, after = old.get("packages", {}), new.get("packages", {})
    for name in sorted(before.keys() | after.keys()):
        if name not in after:
            lines.append(f"package {name} {before[name]} is not installed any more")
        elif name not in before:
            lines.append(f"package {name} {after[name]} was not installed")
        elif before[name] != after[name]:
            lines.append(f"package {name} {before[name]} -> {after[name]}")
    was, now = set(old.get("editable", ())), set(new.get("editable", ()))
    lines += [f"package {name} is now installed as a working folder" for name in sorted(now - was)]
    lines += [f"package {name} is no longer installed as a working folder" for name in sorted(was - now)]
    return lines


def _read(folders: tuple[str, ...]) -> Lock:
    packages: dict[str, str] = {}
    editable = set()
    for folder in folders:
        for name, version, is_editable in _distributions(folder):
            if name not in packages:
                packages[name] = version
                if is_editable:
                    editable.add(name)
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "platform": f"{platform.system()}-{platform.machine()}",
        "packages": dict(sorted(packages.items())),
        "editable": sorted(editable),
    }


def _distributions(folder: str) -> Iterator[tuple[str, str, bool]]:
    """Name, version and whether it is editable of what is installed in one folder.

    The name of a `.dist-info` folder says both (PEP 376 and the wheel format), so that nothing has to be opened:
    `importlib.metadata` reads every METADATA file, thirty times slower.
    """
    try:
        entries = sorted(os.listdir(folder))
    except OSError:
        return
    for entry in entries:
        stem, dot, kind = entry.rpartition(".")
        if not dot or kind not in ("dist-info", "egg-info"):
            continue
        path = Path(folder, entry)
        name, _, version = stem.partition("-")
        if kind == "egg-info":
            # `name-version-py3.11.egg-info` where installed, `name.egg-info` in a project's own folder.
            version = version.partition("-py")[0] or _metadata_version(path)
        if name and version:
            yield _normal(name), version, kind == "dist-info" and _is_editable(path)


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _metadata_version(path: Path) -> str:
    try:
        text = (path / "PKG-INFO" if path.is_dir() else path).read_text("utf-8", errors="replace")
    except OSError:
        return ""
    return str(HeaderParser().parsestr(text, headersonly=True).get("Version", ""))


def _is_editable(path: Path) -> bool:
    try:
        text = (path / "direct_url.json").read_text("utf-8", errors="replace")
    except OSError:
        return False
    return re.search(r'"editable"\s*:\s*true', text) is not None


def _changed_ns(folder: str) -> int:
    try:
        return os.stat(folder).st_mtime_ns
    except OSError:
        return 0
