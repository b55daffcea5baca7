"""The environment of a worker: the contract that published training scripts are written to, and what it lacks.

In: a ticket. Out: environment variables and command-line arguments, as plain strings. Pure.

The rules were read in the toolkit that those scripts usually run under: names in upper case behind `SM_`, strings as
they are, None as the empty string, everything else as compact JSON with sorted keys; arguments sorted by name, `str()`
of the value, one dash before names of one letter.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from headway.worker.ticket import Ticket, channel_folder, metrics_file, stop_file, worker_name

_THREADS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "LOKY_MAX_CPU_COUNT",
)
"""Variables that hold the number of threads a library may use: one per core that the worker got."""


def arguments(hyperparameters: Mapping[str, Any]) -> list[str]:
    """Hyperparameters as command-line arguments.

    Example:
        >>> arguments({"lr": 0.1, "C": 2, "flag": True, "sizes": [1, 2]})
        ['-C', '2', '--flag', 'True', '--lr', '0.1', '--sizes', '[1, 2]']
    """
    found = []
    for name in sorted(hyperparameters):
        found += [f"--{name}" if len(name) > 1 else f"-{name}", _argument(hyperparameters[name])]
    return found


def _argument(value: Any) -> str:
    if isinstance(value, Mapping):
        return ",".join(f"{key}={item}" for key, item in sorted(value.items()))
    return "" if value is None else str(value)


def variable(value: Any) -> str:
    """A value as the contract writes it into an environment variable."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, separators=(",", ":"))


def environment(ticket: Ticket, *, path: str) -> dict[str, str]:
    """All variables that a worker gets beside those of the driver; the ticket's own `environment` wins.

    Args:
        path: where the ticket lies.
    """
    found = {f"SM_{name.upper()}": variable(value) for name, value in _contract(ticket).items()}
    folders = ticket["folders"]
    found |= {
        "HEADWAY_TICKET": path,
        "HEADWAY_JOB": ticket["job"],
        "HEADWAY_ATTEMPT": str(ticket["attempt"]),
        "HEADWAY_CHECKPOINT_DIR": folders["checkpoints"],
        "HEADWAY_METRICS_FILE": metrics_file(ticket),
        "HEADWAY_STOP_FILE": stop_file(ticket),
        "PYTHONUNBUFFERED": "1",
    }
    found |= dict.fromkeys(_THREADS, str(ticket["resources"]["cpus"]))
    gpu_ids = ticket["resources"].get("gpu_ids")
    if gpu_ids is not None:
        found["CUDA_VISIBLE_DEVICES"] = ",".join(str(one) for one in gpu_ids)
    if ticket.get("coupled"):
        found |= _launcher(ticket)
    return found | {name: str(value) for name, value in ticket.get("environment", {}).items()}


def _contract(ticket: Ticket) -> dict[str, Any]:
    """The SM_ variables by their names without the prefix."""
    program, folders, resources = ticket["program"], ticket["folders"], ticket["resources"]
    hyperparameters, name = ticket["hyperparameters"], worker_name(ticket)
    channels = {channel: channel_folder(ticket, channel) for channel in sorted(ticket["channels"])}
    entry = program.get("entry_point") or program["name"]
    values: dict[str, Any] = {
        "hosts": ticket["hosts"],
        "current_host": name,
        "network_interface_name": "lo",
        "current_instance_type": "local",
        "hps": hyperparameters,
        "user_entry_point": entry,
        "module_name": entry.removesuffix(".py"),
        "module_dir": program["code"],
        "user_args": arguments(hyperparameters),
        "framework_params": {},
        "framework_module": None,
        "log_level": 20,
        "channels": sorted(channels),
        "input_dir": f"{folders['scratch']}/input",
        "input_config_dir": f"{folders['scratch']}/input/config",
        "input_data_config": {channel: _input(spec) for channel, spec in ticket["channels"].items()},
        "resource_config": {"current_host": name, "hosts": ticket["hosts"], "network_interface_name": "lo"},
        "model_dir": folders["model"],
        "output_dir": folders["output"],
        "output_data_dir": folders["output"],
        "output_intermediate_dir": f"{folders['scratch']}/intermediate",
        "num_cpus": resources["cpus"],
        "num_gpus": resources["gpus"],
        "num_neurons": 0,
    }
    training = {key: value for key, value in values.items() if key not in ("hps", "user_args", "channels")}
    values["training_env"] = training | {
        "hyperparameters": hyperparameters,
        "channel_input_dirs": channels,
        "job_name": ticket["job"],
        "is_master": ticket["rank"] == 0,
        "master_hostname": ticket["hosts"][0],
        "additional_framework_parameters": {},
    }
    values |= {f"channel_{channel}": folder for channel, folder in channels.items()}
    return values | {f"hp_{key}": value for key, value in hyperparameters.items()}


def _input(channel: Mapping[str, Any]) -> dict[str, str]:
    """A channel's entry in the input configuration."""
    return {
        "TrainingInputMode": "File",
        "S3DistributionType": "ShardedByS3Key" if channel.get("shards") else "FullyReplicated",
        "RecordWrapperType": "None",
    }


def _launcher(ticket: Ticket) -> dict[str, str]:
    """What launchers of distributed training set.

    Each worker is a host of its own (algo-k) that sees its own devices only, so its local rank is 0.
    TensorFlow's servers listen on the ports behind the master's.
    """
    address, port, world = ticket["master_addr"], int(ticket["master_port"]), int(ticket["world_size"])
    servers = [f"{address}:{port + 1 + rank}" for rank in range(world)]
    return {
        "RANK": str(ticket["rank"]),
        "WORLD_SIZE": str(world),
        "LOCAL_RANK": "0",
        "LOCAL_WORLD_SIZE": "1",
        "MASTER_ADDR": str(address),
        "MASTER_PORT": str(port),
        "TF_CONFIG": json.dumps({"cluster": {"worker": servers}, "task": {"type": "worker", "index": ticket["rank"]}}),
    }
