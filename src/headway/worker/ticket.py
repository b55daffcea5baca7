"""The ticket: everything that one worker of one attempt is told, as one JSON object.

In: `attempts/<n>/ticket-<k>.json`, written by the driver and completed by the engine (GPU ids, port). Out: a plain dict
for the runtime. All paths are absolute; the folders exist already, except `scratch`.

Fields::

    schema          1
    job, attempt    whose attempt this is
    rank            0-based; the worker is called algo-(rank+1)
    world_size      number of workers of the attempt
    mode            "run": the program once per worker; "items": tasks handed over one by one
    coupled         whether the workers talk to each other (a gang)
    program         {kind, name, module, qualname, pickle, entry_point, runner, code}: `code` is the snapshot's folder
    hyperparameters plain JSON values
    channels        name -> {kind, mode, listing, index, shards, options}; `listing` is the path of a JSON file
                    {"root": folder, "files": [[path below root, path in the channel's folder], ...]}
    resources       {cpus, gpus, gpu_ids, memory_bytes} of this worker
    folders         {job, attempt, worker, model, output, checkpoints, previous_checkpoints: [newest first], scratch}
    hosts           ["algo-1", ...]; master_addr, master_port: where rank 0 listens (coupled only)
    metrics         name -> regular expression with one group, matched against the log by the host process
    seed            for `context.seed`
    allow_test      whether the program may open the test channel
    forbidden       paths whose opening fails the job; a path that ends with a slash stands for all below it
    trace_roots     folders whose files are recorded when they are read; empty: everywhere
    secret_names    environment variables whose values are masked in logs and errors
    environment     further environment variables
    timeout_s, grace_s
    options         what the runner needs

A *runner* ("module:attribute") runs the target: in mode "run" it is called as `runner(context, target)` and returns
None, a dict of metrics, or anything else (then it has saved what is to be kept itself); in mode "items" it returns a
callable `(payload, task_context) -> JSON value`, which is called once per task.
"""

from __future__ import annotations

import json
from typing import Any

SCHEMA = 1
Ticket = dict[str, Any]


def read(path: str) -> Ticket:
    """The ticket in a file.

    Raises:
        ValueError: it is of a newer schema.
    """
    with open(path, encoding="utf-8") as stream:
        ticket: Ticket = json.load(stream)
    if ticket.get("schema", SCHEMA) > SCHEMA:
        raise ValueError(f"{path} has schema {ticket['schema']}, this worker knows {SCHEMA}: upgrade it")
    return ticket


def worker_name(ticket: Ticket) -> str:
    """`algo-1` for rank 0."""
    return f"algo-{ticket['rank'] + 1}"


def stop_file(ticket: Ticket) -> str:
    """The file whose appearance asks the worker to stop."""
    return f"{ticket['folders']['worker']}/stop"


def metrics_file(ticket: Ticket) -> str:
    """Where a program may write metrics of its own (HEADWAY_METRICS_FILE); the host copies them to metrics.jsonl."""
    return f"{ticket['folders']['worker']}/metrics-file.jsonl"


def channel_folder(ticket: Ticket, name: str) -> str:
    """The folder that shows a channel's files to the program."""
    return f"{ticket['folders']['scratch']}/input/data/{name}"


def workplace(ticket: Ticket) -> str:
    """The working folder of the program: a copy of the code for scripts, an empty folder for functions."""
    return f"{ticket['folders']['scratch']}/work"
