"""What every command shares: which workspace, how errors are shown, and the names that the Tab key offers.

In: the options before the command. Out: an opened `Workspace`, and completions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, final

import typer

if TYPE_CHECKING:
    from headway.workspace import Workspace


@final
@dataclass(frozen=True, slots=True)
class Options:
    """The options that stand before the command (or anywhere: `headway.cli.main` moves them there).

    Args:
        workspace: folder or URL; None for what `headway.open()` finds.
        profile: of the settings file.
        debug: whether a traceback is shown.
    """

    workspace: str | None = None
    profile: str | None = None
    debug: bool = False


Context = typer.Context
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@contextmanager
def workspace(context: Context, *, create: bool = False) -> Iterator[Workspace]:
    """The workspace, closed at the end; a command that only looks never makes a new one."""
    from headway.workspace import open as open_workspace

    options: Options = context.find_root().obj or Options()
    found = open_workspace(options.workspace, profile=options.profile, create=create)
    try:
        yield found
    finally:
        found.close()


def _names(*kinds: str) -> Callable[[Context, str], list[str]]:
    """A completion for the Tab key: ids and names of the kinds that begin with what was typed."""

    def complete(context: Context, incomplete: str) -> list[str]:
        return [name for name in sorted(_known(context, kinds)) if name.startswith(incomplete)]

    return complete


def _known(context: Context, kinds: tuple[str, ...]) -> set[str]:
    options = context.find_root().params
    try:
        from headway.workspace import open as open_workspace

        with open_workspace(options.get("workspace"), profile=options.get("profile"), create=False) as found:
            entries: list[Any] = found.session.ledger.entries()
    except Exception:  # noqa: BLE001 (the Tab key must never print an error into what is being typed)
        return set()
    chosen = [entry for entry in entries if not kinds or entry.kind in kinds]
    return {entry.id for entry in chosen} | {entry.name for entry in chosen if len(kinds) == 1}


JobId = Annotated[
    str,
    typer.Argument(
        metavar="JOB",
        autocompletion=_names("process", "train", "tune", "trial", "evaluate", "predict"),
        help="The job's id, or its name (the newest).",
    ),
]
AnyId = Annotated[str, typer.Argument(metavar="ID", autocompletion=_names(), help="An id, name@version or name.")]
ManifestName = Annotated[
    str, typer.Argument(metavar="MANIFEST", autocompletion=_names("manifest"), help="name, name@version or id.")
]
StudyName = Annotated[str, typer.Argument(metavar="STUDY", autocompletion=_names("tune"), help="name or id.")]
ModelName = Annotated[
    str, typer.Argument(metavar="MODEL", autocompletion=_names("model"), help="name, name@3, name@alias.")
]
DataName = Annotated[
    str, typer.Argument(metavar="DATASET", autocompletion=_names("dataset"), help="name, name@version or id.")
]
