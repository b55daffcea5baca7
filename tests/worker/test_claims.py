"""Tasks that two processes want: each is done once or given back once."""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from headway.worker.claims import Claims


@given(steps=st.lists(st.sampled_from(["take", "revoke", "send"]), max_size=40))
def test_every_task_is_taken_or_given_back_exactly_once(steps: list[str]) -> None:
    handle, path = tempfile.mkstemp()
    os.close(handle)
    driver, worker = Claims(path, create=True), Claims(path)
    sent, position = 0, 0
    taken: list[int] = []
    back: list[int] = []
    held: list[int] = []
    try:
        for step in steps:
            if step == "send":
                held.append(sent)
                sent += 1
            elif step == "take" and position < sent:
                if worker.take(position):
                    taken.append(position)
                position += 1
            elif step == "revoke":
                first = driver.revoke(sent)
                back += [serial for serial in held if serial >= first]
                held = [serial for serial in held if serial < first]
        assert not set(taken) & set(back)
        assert set(taken) <= set(held)
        assert len(back) == len(set(back))
        untaken = [serial for serial in held if serial not in taken]
        assert all(serial >= position for serial in untaken)
    finally:
        driver.close()
        worker.close()
        os.unlink(path)


def _take_all(path: str, count: int) -> None:
    claims = Claims(path)
    for serial in range(count):
        claims.take(serial)
    os.kill(os.getpid(), signal.SIGKILL)


def test_what_a_killed_worker_had_begun_is_known(tmp_path: Path) -> None:
    path = str(tmp_path / "claims.bin")
    claims = Claims(path, create=True)
    process = multiprocessing.get_context("fork").Process(target=_take_all, args=(path, 5))
    process.start()
    process.join(30)
    assert claims.taken == 5
    assert claims.revoke(9) == 5
    claims.close()
