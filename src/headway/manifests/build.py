"""Build a manifest: list, read, label, divide, check, write; the same input gives the version that is there.

In: the URL of the data, the rules, the workspace. Out: a published `Manifest`. The order of the work::

    list_files -> add_digests -> labels -> lookup: the same input as the newest version?  -> that version
                                        -> units_of -> assign -> check -> write -> publish

Killed at any moment and started again, the end is the same: a version is reserved in the ledger, written below an
attempt of its own, and counts once it is published. Of two builders at once one writes, the other follows.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

from headway.errors import FencedError
from headway.manifests.contents import Contents, Parent, divide, gather, lookup_of
from headway.manifests.listing import Progress
from headway.manifests.manifest import KIND, Manifest, folder_of, id_of, published, read_manifest, relocated
from headway.manifests.publish import READY, Version, finish, write_version
from headway.manifests.relocate import relocate
from headway.manifests.rules import Rules, Table
from headway.manifests.split import Split
from headway.stores.commit import republish
from headway.stores.files import Files
from headway.stores.ledger import Entry, Lease, Ledger

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
_FOLLOW_S = 0.1
"""How often a builder looks whether the one that it follows has ended."""


def build(
    files: Files,
    ledger: Ledger,
    name: str,
    source_url: str | Path | Files,
    *,
    label: str | Table = "{label}/*",
    split: Split | None = None,
    progress: Progress | None = None,
    clock: Callable[[], float] = time.time,
) -> Manifest:
    """The manifest of a folder, of any fsspec URL, or of a ready inventory.

    Args:
        files: the workspace's files.
        ledger: the workspace's ledger.
        name: of the manifest.
        source_url: where the data lie (or `Files` with options on it); a `.parquet` or `.csv` file is an inventory
            with the columns `key`, `size` and, if there is one, `etag`.
        label: a pattern, a regular expression or a table; see `headway.manifests.rules`.
        split: how the files are divided; None: the defaults of `Split`.
        progress: called now and then; see `headway.manifests.listing.Progress`.
        clock: gives the time.

    Returns:
        The newest version, when nothing has changed since; else a new version, in which every file that was placed
        before has the channel that it had.

    Raises:
        ValueError: the name, the rule or the split is wrong.
        ManifestError: no files, none that matches, one class only, one content under two labels, ...
        ShortfallError: a class has too few files in a channel.

    Guarantees:
        One version for the same input, also when several processes build at once.
    """
    if not _NAME.fullmatch(str(name)):
        raise ValueError(
            "the name of a manifest has up to 80 letters, digits, '.', '_' and '-', the first a letter or digit; "
            f"got {name!r}"
        )
    rules, started = Rules(label, split or Split()), clock()
    contents: Contents | None = None
    parent: Parent | None = None
    while True:
        newest, before = ledger.entry(KIND, name), _newest_published(files, ledger, name)
        if before is None or parent is None or parent.manifest != before:
            parent = Parent(files, before) if before is not None else None
        if contents is None or contents.parent_id != (before.id if before else None):
            contents = gather(files, source_url, rules=rules, parent=parent, progress=progress, clock=clock)
        wanted, divided = lookup_of(contents, rules), None
        if newest is not None and newest.lookup == wanted:
            made = _existing(files, ledger, newest.version, name=name)
            if made is not None:
                if newest.body.get("status") != READY:
                    finish(files, ledger, made)  # its builder was killed just before
                return _seen_at(ledger, made, contents.url)
            lease = _claim(files, ledger, name, newest.version, progress)
            entry: Entry | None = newest
        else:
            divided = divide(contents, rules, parent=parent)
            entry, lease = _reserve(files, ledger, name, newest, before, wanted, progress)
        if lease is None:
            continue
        try:
            assert entry is not None
            if divided is not None or _still(files, ledger, entry, before):
                divided = divided or divide(contents, rules, parent=parent)
                version = Version(entry=entry, lease=lease, parent=parent, started=started)
                return write_version(files, ledger, version, contents, divided, rules=rules, clock=clock)
        except FencedError:
            continue  # another builder has taken over: see what it makes
        finally:
            ledger.release(lease)


def _newest_published(files: Files, ledger: Ledger, name: str) -> Manifest | None:
    """The newest version that counts; what was chosen but not yet written down is written down."""
    for entry in sorted(ledger.entries(kind=KIND, name=name), key=lambda entry: -entry.version):
        made = _existing(files, ledger, entry.version, name=name)
        if made is not None:
            return made
    return None


def _existing(files: Files, ledger: Ledger, version: int, *, name: str) -> Manifest | None:
    """A version that counts, None where it was never published."""
    found = published(files, name, version)
    found = found or republish(files, ledger, id_of(name, version), folder_of(name, version))
    return relocated(ledger, read_manifest(files, name, version, found)) if found is not None else None


def _claim(files: Files, ledger: Ledger, name: str, version: int, progress: Progress | None) -> Lease | None:
    """The right to write a version; None, after its builder has ended, when somebody else writes it."""
    lease = ledger.claim(id_of(name, version))
    if lease is None:
        _follow(files, ledger, name, version, progress)
    return lease


def _reserve(
    files: Files,
    ledger: Ledger,
    name: str,
    newest: Entry | None,
    before: Manifest | None,
    wanted: str,
    progress: Progress | None,
) -> tuple[Entry | None, Lease | None]:
    """The next version and the right to write it, if nobody was faster.

    The right is claimed before others can see the version. A version that a dead builder left unpublished is passed
    over; it is held meanwhile, so that nobody can publish it between the look at what is published and the reservation.
    """
    expect, guard, entry = newest.version if newest is not None else 0, None, None
    if expect and published(files, name, expect) is None:
        guard = _claim(files, ledger, name, expect, progress)
        if guard is None:
            return None, None
    lease = None
    try:
        lease = _claim(files, ledger, name, expect + 1, progress)
        if lease is not None and _newest_published(files, ledger, name) == before:
            body = {"status": "building"}
            made, created = ledger.reserve(KIND, name, lookup=wanted, body=body, expect=expect)
            entry = made if created else None
    finally:
        for held in (guard, lease if entry is None else None):
            if held is not None:
                ledger.release(held)
    return entry, lease if entry is not None else None


def _still(files: Files, ledger: Ledger, entry: Entry, parent: Manifest | None) -> bool:
    """Whether this is still the newest version, unpublished, and its parent the newest published one."""
    newest = ledger.entry(KIND, entry.name)
    before = _newest_published(files, ledger, entry.name)
    return newest is not None and newest.version == entry.version and before == parent


def _follow(files: Files, ledger: Ledger, name: str, version: int, progress: Progress | None) -> None:
    """Wait until another builder of this version has ended, in whatever way."""
    while published(files, name, version) is None:
        holder = ledger.holder(id_of(name, version))
        if holder is None or not holder.alive:
            return
        if progress:
            progress(f"waiting for {holder.driver}, which builds {id_of(name, version)}", 0, None)
        time.sleep(_FOLLOW_S)


def _seen_at(ledger: Ledger, manifest: Manifest, url: str) -> Manifest:
    """The manifest with its data where they were found now."""
    return manifest if manifest.source_url == url else relocate(ledger, manifest, url)
