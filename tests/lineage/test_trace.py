"""Traces: which edits count."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from headway.errors import NotFoundError
from headway.jobs.canonical import digest_source
from headway.jobs.snapshot import FileRecord, Snapshot
from headway.lineage.trace import Change, Trace, changed, fill_in, merge

Texts = dict[str, str]

TEXTS: Texts = {
    "a.py": "import b\ndef run(x):\n  return b.go(x)\ndef unused():\n  return 1\n",
    "b.py": "try:\n  import extra\nexcept ImportError:\n  extra = None\ndef go(x):\n  return open('conf/a.txt')\n",
    "c.py": "def never():\n  return 1\n",
    "conf/a.txt": "text",
    "conf2/b.txt": "text",
}
TRACE = Trace(modules={"a.py": None, "b.py": None}, files={"conf/a.txt": None})


def pack(texts: Texts, *, kind: Any = "function", pickle: str | None = None) -> Snapshot:
    files = {
        path: FileRecord.of(digest_source(text.encode(), name=path), size_bytes=len(text))
        for path, text in texts.items()
    }
    return Snapshot(kind=kind, digest="", files=files, pickle=pickle)


def edit(**changes: tuple[str, str]) -> Texts:
    texts = dict(TEXTS)
    for name, (old, new) in changes.items():
        path = name.replace("_", ".")
        assert old in texts[path]
        texts[path] = texts[path].replace(old, new)
    return texts


def test_nothing_changed_is_no_change() -> None:
    assert changed(TRACE, pack(TEXTS), pack(TEXTS)) == []


def test_what_did_not_run_may_change_or_go_or_come() -> None:
    texts = edit(c_py=("return 1", "return 2")) | {"d.py": "x = 1\n", "conf2/c.txt": "", "other/e.py": ""}
    del texts["conf2/b.txt"]
    assert changed(TRACE, pack(TEXTS), pack(texts)) == []
    del texts["c.py"]
    assert changed(TRACE, pack(TEXTS), pack(texts)) == []


def test_what_ran_or_was_read_counts_and_functions_are_named() -> None:
    assert changed(TRACE, pack(TEXTS), pack(edit(a_py=("b.go(x)", "b.go(x) + 1")))) == [
        Change(path="a.py", function="run")
    ]
    assert changed(TRACE, pack(TEXTS), pack(edit(b_py=("extra = None", "extra = 0")))) == [
        Change(path="b.py", function="<module>")
    ]
    assert changed(TRACE, pack(TEXTS), pack(TEXTS | {"conf/a.txt": "other"})) == [Change(path="conf/a.txt")]
    assert changed(TRACE, pack(TEXTS), pack(TEXTS | {"a.py": "def run(:"})) == [Change(path="a.py")]
    gone = {path: text for path, text in TEXTS.items() if path != "b.py"}
    assert changed(TRACE, pack(TEXTS), pack(gone)) == [Change(path="b.py", what="removed")]


def test_a_function_that_did_not_run_counts_only_while_functions_are_not_traced() -> None:
    new = pack(edit(a_py=("return 1", "return 2")))
    assert changed(TRACE, pack(TEXTS), new) == [Change(path="a.py", function="unused")]
    traced = Trace(modules=TRACE.modules, files=TRACE.files, functions={"a.py": ("run",), "b.py": ("go",)})
    assert changed(traced, pack(TEXTS), new) == []
    run = pack(edit(a_py=("b.go(x)", "b.go(x) + 1")))
    assert changed(traced, pack(TEXTS), run) == [Change(path="a.py", function="run")]
    signature = pack(edit(a_py=("def unused()", "def unused(x=print())")))
    assert changed(traced, pack(TEXTS), signature) == [Change(path="a.py", function="<module>")]
    inner = Trace(modules=TRACE.modules, functions={"a.py": ("run.<locals>.<lambda>",), "b.py": ()})
    assert changed(inner, pack(TEXTS), run) == [Change(path="a.py", function="run")]


def test_a_new_file_that_an_import_would_find_counts() -> None:
    for path in ("extra.py", "extra/__init__.py", "extra/more.py", "extra.cpython-311-x86_64-linux-gnu.so"):
        assert changed(TRACE, pack(TEXTS), pack(TEXTS | {path: ""})) == [Change(path=path, what="added")], path
    assert changed(TRACE, pack(TEXTS), pack(TEXTS | {"conf/b.txt": ""})) == [Change(path="conf/b.txt", what="added")]
    assert changed(TRACE, pack(TEXTS), pack(TEXTS | {"lib/extras.py": ""})) == []


def test_without_a_trace_every_file_counts() -> None:
    new = pack(edit(c_py=("return 1", "return 2")) | {"d.txt": ""})
    expected = [Change(path="c.py", function="never"), Change(path="d.txt", what="added")]
    assert changed(None, pack(TEXTS), new) == expected
    assert changed(Trace(whole=True), pack(TEXTS), new) == expected
    assert changed(TRACE, pack(TEXTS, kind="script"), new) == expected, "a script counts whole"
    assert changed(TRACE, pack(TEXTS), pack(TEXTS, kind="script")) == []


def test_a_pickled_target_always_counts() -> None:
    old = pack(TEXTS | {"target.pickle": "1"}, pickle="target.pickle")
    new = pack(TEXTS | {"target.pickle": "2"}, pickle="target.pickle")
    assert changed(TRACE, old, new) == [Change(path="target.pickle")]
    assert changed(TRACE, old, pack(TEXTS)) == [Change(path="target.pickle", what="removed")]
    assert changed(TRACE, pack(TEXTS), old) == [Change(path="target.pickle", what="added")]


def test_a_file_that_the_program_made_itself_is_unknown() -> None:
    assert changed(Trace(files={"made.txt": None}), pack(TEXTS), pack(TEXTS)) == [
        Change(path="made.txt", what="unknown")
    ]


def test_files_outside_count_by_their_digest_then(tmp_path: Path) -> None:
    outside, module = tmp_path / "vocabulary.txt", tmp_path / "shared.py"
    outside.write_text("a b c")
    module.write_text("x = 1")
    path = tmp_path / "trace.json"
    past = time.time() - 100
    for file in (outside, module):
        os.utime(file, (past, past))
    path.write_text(json.dumps({"files": {str(outside): None, "conf/a.txt": None}, "modules": {str(module): None}}))
    unknown = changed(Trace.read(path), pack(TEXTS), pack(TEXTS))
    assert {change.what for change in unknown} == {"unknown"}
    fill_in(path)
    trace = Trace.read(path)
    assert trace.files["conf/a.txt"] is None
    assert changed(trace, pack(TEXTS), pack(TEXTS)) == []
    module.write_text("x = 1  # the same")
    assert changed(trace, pack(TEXTS), pack(TEXTS)) == []
    outside.write_text("a b d")
    assert changed(trace, pack(TEXTS), pack(TEXTS)) == [Change(path=str(outside))]
    assert changed(trace, pack(TEXTS, kind="script"), pack(TEXTS)) == [Change(path=str(outside))]
    outside.unlink()
    assert changed(trace, pack(TEXTS), pack(TEXTS)) == [Change(path=str(outside), what="removed")]
    assert fill_in(path) == trace, "filled once"


def test_a_file_that_changed_after_the_worker_read_it_stays_unknown(tmp_path: Path) -> None:
    outside, path = tmp_path / "vocabulary.txt", tmp_path / "trace.json"
    outside.write_text("new")
    path.write_text(json.dumps({"files": {str(outside): None}}))
    future = time.time() + 100
    os.utime(outside, (future, future))
    assert fill_in(path).files == {str(outside): None}


def test_traces_are_merged() -> None:
    assert merge([]) is None
    one = Trace(modules={"a.py": None}, files={"/x": "1", "/y": "1"}, functions={"a.py": ("f",)})
    other = Trace(modules={"b.py": None}, files={"/x": "2", "/y": "1"}, functions={"a.py": ("g",), "b.py": ("h",)})
    both = merge([one, other])
    assert both is not None
    assert both.modules == {"a.py": None, "b.py": None}
    assert both.files == {"/x": None, "/y": "1"}, "two workers read different content"
    assert both.functions == {"a.py": ("f", "g"), "b.py": ("h",)}
    without = merge([one, Trace()])
    assert without is not None
    assert without.functions is None
    missing = merge([one, Trace.read(Path("/no/such/trace.json"))])
    assert missing is not None
    assert missing.whole


def test_damaged_traces_and_snapshots_never_let_a_result_stand(tmp_path: Path) -> None:
    path = tmp_path / "trace.json"
    for text in ('{"schema": 99}', '{"modules": [', "", "[]"):
        path.write_text(text)
        assert Trace.read(path).whole
    assert changed(TRACE, tmp_path, pack(TEXTS)) == [Change(path=".", what="unknown")]
    (tmp_path / "snapshot.json").write_text('{"kind": "func')
    assert changed(TRACE, tmp_path, pack(TEXTS)) == [Change(path=".", what="unknown")]
    with pytest.raises(NotFoundError):
        changed(TRACE, pack(TEXTS), tmp_path / "nothing")


def test_a_program_that_finds_modules_by_itself_may_find_a_new_one() -> None:
    texts = TEXTS | {"b.py": "import pkgutil\n" + TEXTS["b.py"]}
    assert changed(TRACE, pack(texts), pack(texts | {"plugins/new.py": ""})) == [
        Change(path="plugins/new.py", what="added")
    ]
