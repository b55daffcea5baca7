"""Everything that Headway raises on purpose, as one tree.

Wrong arguments raise the builtins (`TypeError`, `ValueError`) in the caller, before anything starts. The classes here
are for what a caller may want to tell apart and act on::

    HeadwayError
    ├── WorkspaceError            the workspace cannot be opened, read or written
    │   └── NewerSchemaError      it was written by a newer Headway
    ├── FencedError               another driver took this work over; what this one still does counts for nothing
    ├── NotFoundError             no job, model, manifest, ... of that name (lists the known ones)
    ├── ManifestError             the data are not what a manifest needs
    │   └── ShortfallError        too few samples of a class in a channel (has the table)
    ├── ChannelLeakError          something reached for the test channel, or one content lies in two channels
    ├── DataChangedError          bytes differ from the digest recorded for them
    ├── ProgramError              the program cannot be found, packed, imported or configured
    ├── CapabilityError           what was asked for can never run on this engine
    ├── JobFailedError            a job ended without success (has the job's id and the workers' errors)
    ├── StoppedError              a job or study was stopped on request
    ├── StudyChangedError         a study of this name exists with other settings
    ├── GateFailedError           an evaluation did not pass the gate of a registration
    └── MissingExtraError         an optional package is not installed (has the install command)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches


class HeadwayError(Exception):
    """Base of every error that Headway raises on purpose; its text says what to do next."""


class WorkspaceError(HeadwayError):
    """The workspace cannot be opened, read or written."""


class NewerSchemaError(WorkspaceError):
    """The workspace was written by a newer version of Headway."""


class FencedError(HeadwayError):
    """Another driver took this work over; nothing that this driver still does is published."""


class NotFoundError(HeadwayError):
    """Nothing of this kind has that name; the text lists what there is."""

    def __init__(self, kind: str, name: str, known: Iterable[str] = (), *, hint: str = "") -> None:
        self.kind, self.name, self.known = kind, name, sorted(known)
        close = get_close_matches(name, self.known, n=1)
        shown = ", ".join(self.known[:12]) + (", ..." if len(self.known) > 12 else "")
        text = f"no {kind} named {name!r}"
        text += f"; did you mean {close[0]!r}?" if close else (f"; known: {shown}" if shown else "; there is none yet")
        super().__init__(text + (f". {hint}" if hint else ""))


class ManifestError(HeadwayError):
    """The data are not what a manifest needs."""


class ShortfallError(ManifestError):
    """A class has fewer samples in a channel than asked for.

    Attributes:
        table: one dict per class, `{"label": ..., "train": n, "validation": n, "test": n}`.
    """

    def __init__(self, text: str, *, table: Sequence[dict[str, object]]) -> None:
        super().__init__(text)
        self.table = list(table)


class ChannelLeakError(HeadwayError):
    """Something other than an evaluation reached for the test channel, or one content lies in two channels."""


class DataChangedError(HeadwayError):
    """Bytes differ from the digest that was recorded for them."""


class ProgramError(HeadwayError):
    """A program cannot be found, packed, imported or configured as asked."""


class CapabilityError(HeadwayError):
    """What was asked for can never run on this engine; raised before anything starts."""


class JobFailedError(HeadwayError):
    """A job ended without success.

    Attributes:
        job_id: the job.
        errors: one dict per failed worker or item, the first cause first: `worker`, `exit_code`, `signal`, `message`,
            `traceback`, `log` (path), `attempt`.
    """

    def __init__(self, text: str, *, job_id: str, errors: Sequence[dict[str, object]] = ()) -> None:
        super().__init__(text)
        self.job_id = job_id
        self.errors = list(errors)


class StoppedError(HeadwayError):
    """A job or study was stopped on request before it ended."""


class StudyChangedError(HeadwayError):
    """A study of this name exists with other settings; the text lists what differs."""


class GateFailedError(HeadwayError):
    """An evaluation did not pass the gate of a registration; the text gives value and threshold.

    Attributes:
        failed: one dict per gate that failed, `{"metric": ..., "value": ..., "threshold": ...}`.
    """

    def __init__(self, text: str, *, failed: Sequence[dict[str, object]] = ()) -> None:
        super().__init__(text)
        self.failed = list(failed)


class MissingExtraError(HeadwayError):
    """An optional package is not installed."""

    def __init__(self, package: str, *, extra: str, purpose: str) -> None:
        self.package, self.extra = package, extra
        super().__init__(f"{purpose} needs the package {package!r}: pip install 'headway[{extra}]'")
