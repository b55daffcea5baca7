"""What runs, as values: the specification of a job, as it is stored in `job.json`.

In: programs (`headway.jobs.program`) and inputs turned into plain values. Out: `JobSpec`, which `headway.execution`
drives and `headway.engines` starts. A specification never holds a secret, an absolute path of the project, or code.
"""

from __future__ import annotations

from typing import Any, Literal

from headway.records import Record

JobKind = Literal["process", "train", "tune", "trial", "evaluate", "predict"]
ChannelMode = Literal["copy", "link", "stream"]
CHANNEL_MODES = ("copy", "link", "stream")


class Resources(Record):
    """What one worker gets; the number of workers stands beside it (`workers=`).

    Args:
        cpus: cores, at least 1; also the number of threads that BLAS and OpenMP may use.
        gpus: whole GPUs.
        memory_bytes: memory that is set aside for the worker; None asks for no reservation.
        disk_bytes: free disk that the worker's folder needs at the start; None asks for none.
    """

    cpus: int = 1
    gpus: int = 0
    memory_bytes: int | None = None
    disk_bytes: int | None = None

    def __post_init__(self) -> None:
        if self.cpus < 1:
            raise ValueError(f"cpus must be at least 1, got {self.cpus!r}")
        for name in ("gpus", "memory_bytes", "disk_bytes"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise ValueError(f"{name} must not be negative, got {value!r}")


class InputRef(Record):
    """A stored value that a piece of work reads: its id, its digest, and as what it is used."""

    id: str
    digest: str
    role: str


class ChannelRef(Record):
    """One channel of a job: which part of which input, and how it reaches the worker.

    Args:
        source: id of the dataset or manifest it comes from.
        kind: `dataset` (processed shards) or `files` (the raw files of a manifest).
        mode: `copy`, `link` or `stream`.
        digest: digest of the channel's content.
    """

    source: str
    kind: Literal["dataset", "files"]
    mode: ChannelMode = "link"
    digest: str


class ProgramRecord(Record):
    """A packed program: what the worker starts, out of the job's `code/` folder.

    Args:
        kind: `function` or `script`.
        name: for people, `prepare:to_array` or `train.py`.
        module, qualname: where an importable function lies (kind `function`, not pickled).
        pickle: file in `code/` that holds the function or object by cloudpickle, else None.
        entry_point: the script, relative to `code/`.
        runner: import string of the callable that runs the target: see `headway.worker.ticket`; None: the worker's own.
        imports: third-party modules (`sklearn.linear_model`, not only `sklearn`) that the program's files import at
            their top level, sorted: what a fork server loads beforehand.
        digest: digest of the whole snapshot (normalised Python sources, other files by content).
        argument_names: names of keyword arguments that the target takes (without `context`); None when it takes any.
        required_names: those of them without a default.
        warnings: what was noticed while packing and does not stop the program: a conditional import that resolves to
            nothing, a file that was left out.
    """

    kind: Literal["function", "script"]
    name: str
    module: str | None = None
    qualname: str | None = None
    pickle: str | None = None
    entry_point: str | None = None
    runner: str | None = None
    imports: tuple[str, ...] = ()
    digest: str
    argument_names: tuple[str, ...] | None = None
    required_names: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


UNPACKED = ProgramRecord(kind="function", name="", digest="")
"""Stands in a specification until its program is packed; takes hyperparameters of every name."""


class JobSpec(Record):
    """All that is needed to run a job again.

    Args:
        id: `<kind>-<name>-<version>`, also the name of the folder in `jobs/`.
        mode: `run` starts the program once per worker; `items` hands items to independent workers.
        coupled: True for a gang (all or none, addresses, one dies -> all stop).
        hyperparameters: plain JSON values.
        metrics: name -> regular expression with one group, matched against each line of the log.
        secrets: environment variable on the worker -> reference (`env:NAME` or `file:/path`).
        retries: starts after the first one; the back-off between them doubles from 1 s, at most 60 s.
        timeout_s: wall-clock limit of one attempt; None for no limit.
        grace_s: seconds between the request to stop (SIGTERM) and SIGKILL.
        lookup: digest of entry, arguments, inputs and environment: under it a finished job is found again.
        options: what the runner needs and the worker passes through (plain JSON).
    """

    schema: int = 1
    id: str
    kind: JobKind
    name: str
    version: int
    mode: Literal["run", "items"] = "run"
    program: ProgramRecord
    hyperparameters: dict[str, Any] = {}
    channels: dict[str, ChannelRef] = {}
    inputs: tuple[InputRef, ...] = ()
    workers: int = 1
    coupled: bool = False
    resources: Resources = Resources()
    retries: int = 0
    timeout_s: float | None = None
    grace_s: float = 10.0
    seed: int = 0
    metrics: dict[str, str] = {}
    secrets: dict[str, str] = {}
    environment: dict[str, Any] = {}
    allow_test: bool = False
    lookup: str = ""
    engine: str = "local://"
    created_at: float = 0.0
    options: dict[str, Any] = {}

    def __post_init__(self) -> None:
        for name, least in (("workers", 1), ("retries", 0), ("seed", None)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or (least is not None and value < least):
                wanted = "a whole number" if least is None else f"a whole number of at least {least}"
                raise ValueError(f"{name} must be {wanted}, got {value!r}")
        limit: Any = self.timeout_s
        if limit is not None and not (isinstance(limit, (int, float)) and limit > 0):
            raise ValueError(f"timeout_s must be seconds above 0, or None for no limit, got {limit!r}")
        grace: Any = self.grace_s
        if not (isinstance(grace, (int, float)) and grace >= 0):
            raise ValueError(f"grace_s must be seconds, at least 0, got {grace!r}")
        for channel, ref in self.channels.items():
            if ref.mode not in CHANNEL_MODES:
                raise ValueError(f"mode of channel {channel!r} must be one of {CHANNEL_MODES}, got {ref.mode!r}")
