"""The environment contract, key by key, against the rules of the toolkit that published scripts run under."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.testing.launches import launch_of
from headway.worker.environment import arguments, environment, variable

SETTINGS: dict[str, Any] = {
    "C": 2, "epochs": 3, "lr": 0.1, "flag": True, "off": False, "none": None, "name": "small", "max-iter": 5,
    "sizes": [1, 2], "nested": {"b": 1, "a": "x"}, "empty": "",
}  # fmt: skip


def _environment(tmp_path: Path, **fields: Any) -> dict[str, str]:
    launch = launch_of(tmp_path, "", hyperparameters=SETTINGS, **fields)
    return environment(launch.tickets[-1], path="/tickets/ticket-1.json")


def test_arguments() -> None:
    assert arguments(SETTINGS) == [
        "-C", "2", "--empty", "", "--epochs", "3", "--flag", "True", "--lr", "0.1", "--max-iter", "5",
        "--name", "small", "--nested", "a=x,b=1", "--none", "", "--off", "False", "--sizes", "[1, 2]",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("SM_HP_C", "2"), ("SM_HP_EPOCHS", "3"), ("SM_HP_LR", "0.1"), ("SM_HP_FLAG", "true"), ("SM_HP_OFF", "false"),
        ("SM_HP_NONE", ""), ("SM_HP_NAME", "small"), ("SM_HP_MAX-ITER", "5"), ("SM_HP_SIZES", "[1,2]"),
        ("SM_HP_NESTED", '{"a":"x","b":1}'), ("SM_HP_EMPTY", ""),
        ("SM_HPS", json.dumps(SETTINGS, sort_keys=True, separators=(",", ":"))),
        ("SM_USER_ARGS", json.dumps(arguments(SETTINGS), separators=(",", ":"))),
        ("SM_HOSTS", '["algo-1"]'), ("SM_CURRENT_HOST", "algo-1"), ("SM_NUM_CPUS", "1"), ("SM_NUM_GPUS", "0"),
        ("SM_NUM_NEURONS", "0"), ("SM_CHANNELS", '["test","train"]'), ("SM_USER_ENTRY_POINT", "train.py"),
        ("SM_MODULE_NAME", "train"), ("SM_LOG_LEVEL", "20"), ("SM_FRAMEWORK_MODULE", ""), ("SM_FRAMEWORK_PARAMS", "{}"),
        ("SM_NETWORK_INTERFACE_NAME", "lo"), ("SM_CURRENT_INSTANCE_TYPE", "local"),
        ("SM_MODEL_DIR", "{attempt}/model"), ("SM_OUTPUT_DATA_DIR", "{attempt}/output"),
        ("SM_OUTPUT_DIR", "{attempt}/output"), ("SM_MODULE_DIR", "{job}/code"),
        ("SM_OUTPUT_INTERMEDIATE_DIR", "{attempt}/algo-1/scratch/intermediate"),
        ("SM_INPUT_DIR", "{attempt}/algo-1/scratch/input"),
        ("SM_INPUT_CONFIG_DIR", "{attempt}/algo-1/scratch/input/config"),
        ("SM_CHANNEL_TRAIN", "{attempt}/algo-1/scratch/input/data/train"),
        ("SM_CHANNEL_TEST", "{attempt}/algo-1/scratch/input/data/test"),
        ("SM_RESOURCE_CONFIG", '{"current_host":"algo-1","hosts":["algo-1"],"network_interface_name":"lo"}'),
        ("HEADWAY_TICKET", "/tickets/ticket-1.json"), ("HEADWAY_JOB", "train-contract-1"), ("HEADWAY_ATTEMPT", "1"),
        ("HEADWAY_CHECKPOINT_DIR", "{attempt}/checkpoints"),
        ("HEADWAY_METRICS_FILE", "{attempt}/algo-1/metrics-file.jsonl"), ("HEADWAY_STOP_FILE", "{attempt}/algo-1/stop"),
        ("OMP_NUM_THREADS", "1"), ("MKL_NUM_THREADS", "1"), ("OPENBLAS_NUM_THREADS", "1"), ("NUMEXPR_NUM_THREADS", "1"),
    ],
)  # fmt: skip
def test_each_variable(tmp_path: Path, key: str, value: str) -> None:
    channel = {"kind": "files", "mode": "link", "listing": "x", "index": None, "shards": None, "options": {}}
    found = _environment(tmp_path, channels={"train": channel, "test": channel})
    assert found[key] == value.replace("{attempt}", f"{tmp_path}/attempts/1").replace("{job}", str(tmp_path))


def test_the_training_environment_is_one_json_object(tmp_path: Path) -> None:
    channel = {"kind": "dataset", "mode": "link", "listing": "x", "index": None, "shards": [0, 2], "options": {}}
    found = _environment(tmp_path, channels={"train": channel})
    whole = json.loads(found["SM_TRAINING_ENV"])
    assert whole["hyperparameters"] == SETTINGS
    assert whole["channel_input_dirs"] == {"train": found["SM_CHANNEL_TRAIN"]}
    assert whole["job_name"] == "train-contract-1"
    assert whole["is_master"] is True
    assert whole["model_dir"] == found["SM_MODEL_DIR"]
    assert json.loads(found["SM_INPUT_DATA_CONFIG"])["train"]["S3DistributionType"] == "ShardedByS3Key"


def test_only_coupled_workers_get_the_launchers_variables(tmp_path: Path) -> None:
    launchers = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT", "TF_CONFIG")
    assert not set(launchers) & set(_environment(tmp_path, workers=2))
    found = _environment(tmp_path, workers=2, coupled=True, master_port=21000)
    assert [found[name] for name in launchers[:5]] == ["1", "2", "0", "127.0.0.1", "21000"]
    assert json.loads(found["TF_CONFIG"]) == {
        "cluster": {"worker": ["127.0.0.1:21001", "127.0.0.1:21002"]},
        "task": {"type": "worker", "index": 1},
    }


def test_the_tickets_own_variables_win_and_gpus_are_named(tmp_path: Path) -> None:
    found = _environment(tmp_path, environment={"OMP_NUM_THREADS": 8, "MINE": "yes"})
    assert (found["OMP_NUM_THREADS"], found["MINE"]) == ("8", "yes")
    resources = {"cpus": 3, "gpus": 2, "gpu_ids": ["0", "3"], "memory_bytes": None}
    found = environment(launch_of(tmp_path, "").tickets[0] | {"resources": resources}, path="x")
    assert (found["CUDA_VISIBLE_DEVICES"], found["SM_NUM_GPUS"], found["MKL_NUM_THREADS"]) == ("0,3", "2", "3")
    hidden = launch_of(tmp_path, "").tickets[0] | {"resources": resources | {"gpus": 0, "gpu_ids": None}}
    assert "CUDA_VISIBLE_DEVICES" not in environment(hidden, path="x")


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), lambda v: st.lists(v, max_size=3)))
def test_a_variable_can_be_read_back(value: Any) -> None:
    text = variable(value)
    if isinstance(value, str):
        assert text == value
    elif value is None:
        assert text == ""
    else:
        assert json.loads(text) == value
