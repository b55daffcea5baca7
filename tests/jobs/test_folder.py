"""The job's folder: paths, records with torn lines, and logs followed while they grow."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.errors import NewerSchemaError, WorkspaceError
from headway.jobs.folder import JobFolder, read_lines
from headway.jobs.spec import JobSpec, ProgramRecord
from headway.records import encode, plain
from headway.stores.files import Files

SPEC = JobSpec(
    id="train-a-1", kind="train", name="a", version=1, program=ProgramRecord(kind="function", name="f", digest="d")
)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


@pytest.fixture
def folder(files: Files) -> JobFolder:
    return JobFolder(files, "train-a-1")


def test_everything_has_its_place(folder: JobFolder, files: Files) -> None:
    base = "jobs/train-a-1"
    assert folder.code == f"{base}/code"
    assert folder.snapshot_path() == files.local(f"{base}/code")
    assert folder.worker(2, 0) == f"{base}/attempts/2/algo-1"
    assert folder.ticket(2, 1) == f"{base}/attempts/2/ticket-2.json"
    assert folder.log(2, 1) == f"{base}/attempts/2/algo-2/log.txt"
    assert folder.outcome(1, 0) == f"{base}/attempts/1/algo-1/outcome.json"
    assert folder.trace(1, 0) == f"{base}/attempts/1/algo-1/trace.json"
    assert folder.checkpoint(1, 300) == f"{base}/attempts/1/checkpoints/300"
    assert folder.model(1) == f"{base}/attempts/1/model"
    assert folder.output(1) == f"{base}/attempts/1/output"
    assert folder.item(1, 7) == f"{base}/attempts/1/items/7"


def test_the_specification_comes_back_as_it_was_written(folder: JobFolder, files: Files) -> None:
    with pytest.raises(FileNotFoundError):
        folder.spec()
    folder.write_spec(SPEC)
    assert folder.spec() == SPEC
    assert files.read("jobs/train-a-1/job.json").startswith(b'{\n  "allow_test"'), "people read it with cat"
    with pytest.raises(ValueError, match="'train-b-1'"):
        JobFolder(files, "train-b-1").write_spec(SPEC)
    files.write("jobs/train-a-1/job.json", encode(plain(SPEC) | {"schema": 99}))
    with pytest.raises(NewerSchemaError, match="schema 99"):
        folder.spec()
    files.write("jobs/train-a-1/job.json", b'{"id": 3}')
    with pytest.raises(WorkspaceError, match=r"job.json"):
        folder.spec()


def test_attempts_and_workers_are_found_in_the_order_of_numbers(folder: JobFolder, files: Files) -> None:
    assert folder.attempts() == []
    assert folder.ranks(1) == []
    for path in ("attempts/10/x", "attempts/2/algo-11/log.txt", "attempts/2/algo-2/log.txt", "attempts/2/model/m",
                 "attempts/1/algo-x/y", "attempts/.tmp/z"):  # fmt: skip
        files.write(f"{folder.path}/{path}", b"x")
    assert folder.attempts() == [1, 2, 10]
    assert folder.ranks(2) == [1, 10]
    assert folder.ranks(1) == []


def test_metrics_of_all_workers_come_in_the_order_of_time(folder: JobFolder, files: Files) -> None:
    assert folder.metrics(1) == []
    rows = [{"name": "loss", "value": float(n), "step": n, "at": 10.0 + n, "source": "report"} for n in range(4)]
    for rank in (0, 1):
        text = "".join(json.dumps(row) + "\n" for row in rows[rank::2])
        files.write(f"{folder.worker(1, rank)}/metrics.jsonl", text.encode() + b'{"name": "lo')
    found = folder.metrics(1)
    assert [row["value"] for row in found] == [0.0, 1.0, 2.0, 3.0]
    assert [row["worker"] for row in found] == ["algo-1", "algo-2", "algo-1", "algo-2"]


def test_not_a_number_is_read(folder: JobFolder, files: Files) -> None:
    files.write(f"{folder.worker(1, 0)}/metrics.jsonl", b'{"name": "loss", "value": NaN, "at": 1}\n')
    assert folder.metrics(1)[0]["value"] != folder.metrics(1)[0]["value"]


def test_tasks_survive_a_writer_that_was_killed(folder: JobFolder, files: Files) -> None:
    data = b'{"number": 1, "ok": true}\n{"number": 2, "o\n{"number": 3, "ok": true}\n[1]\n\xff\n{"number": 4'
    files.write(f"{folder.worker(1, 0)}/tasks.jsonl", data)
    assert [row["number"] for row in folder.tasks(1)] == [1, 3]


@given(cut=st.integers(0, 200), numbers=st.lists(st.integers(), max_size=10))
def test_whatever_is_torn_off_the_whole_lines_stay(cut: int, numbers: list[int]) -> None:
    data = b"".join(json.dumps({"n": n}).encode() + b"\n" for n in numbers)
    torn = data[: max(0, len(data) - cut)]
    found = [row["n"] for row in read_lines(torn)]
    assert found == numbers[: len(found)]
    assert len(found) >= torn.count(b"\n")


def test_the_traces_that_count(folder: JobFolder, files: Files) -> None:
    assert folder.traces() == []
    for attempt, rank in [(1, 0), (2, 0), (2, 1)]:
        files.write(folder.trace(attempt, rank), b"{}")
    files.write(folder.log(2, 2), b"a worker that was killed before it finished an item")
    files.write(f"{folder.worker(2, 3)}/tasks.jsonl", b'{"number": 1}\n')
    assert [str(path)[-20:] for path in folder.traces()] == [
        "s/1/algo-1/trace.json"[-20:], "s/2/algo-1/trace.json"[-20:], "s/2/algo-2/trace.json"[-20:],
        "s/2/algo-4/trace.json"[-20:],
    ]  # fmt: skip
    files.write(f"{folder.path}/result.json", b'{"attempt": 2, "body": {}}')
    assert [path.parent.name for path in folder.traces()] == ["algo-1", "algo-2", "algo-4"]
    files.write(f"{folder.path}/result.json", b'{"attempt": 2, "body": {"attempts": [1, 2]}}')
    assert len(folder.traces()) == 4
    assert len(folder.traces(1)) == 1


def test_a_log_is_read_as_it_is(folder: JobFolder, files: Files) -> None:
    with pytest.raises(FileNotFoundError):
        list(folder.log_lines(0))
    files.write(folder.log(1, 0), b"one\r\ntw\xffo\n\nlast without an end")
    assert list(folder.log_lines(0)) == ["one", "tw�o", "", "last without an end"]
    files.write(folder.log(2, 0), b"newer\n")
    assert list(folder.log_lines(0)) == ["newer"]
    assert list(folder.log_lines(0, attempt=1))[0] == "one"


def test_a_log_without_line_ends_is_cut_into_pieces(folder: JobFolder, files: Files) -> None:
    files.write(folder.log(1, 0), b"x" * (3 * 1024 * 1024 + 5))
    assert [len(line) for line in folder.log_lines(0)] == [1024 * 1024] * 3 + [5]


def test_logs_in_other_stores_are_read_too() -> None:
    files = Files("memory://test-folder-logs")
    folder = JobFolder(files, "train-a-1")
    files.write(folder.log(1, 0), b"one\ntwo\n")
    assert list(folder.log_lines(0)) == ["one", "two"]
    assert list(folder.log_lines(0, follow=True, stop=lambda: True)) == ["one", "two"]


class Follower:
    """Follows a log in a thread."""

    def __init__(self, lines: Iterator[str]) -> None:
        self.lines: list[str] = []
        self._came = threading.Condition()
        self._thread = threading.Thread(target=self._read, args=(lines,))
        self._thread.start()

    def _read(self, lines: Iterator[str]) -> None:
        for line in lines:
            with self._came:
                self.lines.append(line)
                self._came.notify_all()

    def wait_for(self, number: int) -> list[str]:
        with self._came:
            assert self._came.wait_for(lambda: len(self.lines) >= number, timeout=20), self.lines
            return list(self.lines)

    def join(self) -> list[str]:
        self._thread.join(timeout=20)
        assert not self._thread.is_alive()
        return self.lines


def test_following_shows_lines_as_they_come_and_ends_with_the_job(folder: JobFolder, files: Files) -> None:
    ended = threading.Event()
    asked = itertools.count()

    def stop() -> bool:
        next(asked)
        return ended.is_set()

    follower = Follower(folder.log_lines(0, follow=True, stop=stop))
    path = files.local(folder.log(1, 0))
    path.parent.mkdir(parents=True)
    began = time.monotonic()
    with path.open("ab", buffering=0) as stream:
        stream.write(b"one\ntw")
        assert follower.wait_for(1) == ["one"]
        stream.write(b"o\n")
        assert follower.wait_for(2) == ["one", "two"]
        stream.write(b"three\nfou")
        ended.set()
    assert follower.join() == ["one", "two", "three", "fou"]
    assert next(asked) <= 3 + 11 * (time.monotonic() - began), "asked at most about ten times a second"


def test_nothing_is_lost_that_was_written_before_the_end(folder: JobFolder, files: Files) -> None:
    """The job ends between two looks at the log; what came in between must still be shown."""
    path = files.local(folder.log(1, 0))
    path.parent.mkdir(parents=True)
    path.write_bytes(b"one\n")

    def stop() -> bool:
        with path.open("ab") as stream:
            stream.write(b"written just before the end\n")
        return True

    assert list(folder.log_lines(0, follow=True, stop=stop)) == ["one", "written just before the end"]


def test_following_goes_on_with_the_next_attempt(folder: JobFolder, files: Files) -> None:
    ended = threading.Event()
    files.write(folder.log(1, 0), b"first\n")
    follower = Follower(folder.log_lines(0, follow=True, stop=ended.is_set))
    follower.wait_for(1)
    files.write(folder.log(2, 0), b"second\n")
    assert follower.wait_for(2) == ["first", "second"]
    ended.set()
    assert follower.join() == ["first", "second"]


def test_without_a_way_to_ask_the_outcome_or_the_result_is_the_end(folder: JobFolder, files: Files) -> None:
    files.write(folder.log(1, 0), b"one\n")
    files.write(folder.outcome(1, 0), b"{}")
    assert list(folder.log_lines(0, follow=True)) == ["one"]
    files.write(folder.log(2, 0), b"two\n")
    files.write(f"{folder.path}/result.json", b"{}")
    assert list(folder.log_lines(0, follow=True)) == ["two"]
