"""Packing programs: the snapshot alone is what runs, its digest depends on nothing else, and errors come early."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headway.errors import ProgramError
from headway.jobs.code import digest_program, snapshot
from headway.jobs.program import Function, Notebook, Script
from headway.jobs.snapshot import read_snapshot
from headway.jobs.spec import ProgramRecord

Project = dict[str, str]


def write(root: Path, files: Project) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), "utf-8")
    return root


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder to work in; it is the current one, and what tests import from it is forgotten."""
    root = tmp_path / "project"
    root.mkdir()
    monkeypatch.chdir(root)
    monkeypatch.setattr(sys, "path", [str(root), *sys.path])
    before = set(sys.modules)
    yield root
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "") or ""):
            del sys.modules[name]


def files_in(code: Path) -> set[str]:
    return {path.relative_to(code).as_posix() for path in code.rglob("*") if path.is_file()} - {"snapshot.json"}


def run_alone(record: ProgramRecord, code: Path, *arguments: Any) -> Any:
    """What the target returns in a fresh interpreter that has only the snapshot; the project is taken away before."""
    program = """
        import importlib, json, pickle, sys
        code, module, qualname, pickled, arguments = json.loads(sys.argv[1])
        sys.path.insert(0, code)
        if pickled:
            target = pickle.load(open(f"{code}/{pickled}", "rb"))
        else:
            target = importlib.import_module(module)
            for name in qualname.split("."):
                target = getattr(target, name)
        print(json.dumps(target(*arguments)))
        """
    given = json.dumps([str(code), record.module, record.qualname, record.pickle, arguments])
    command = [sys.executable, "-I", "-c", textwrap.dedent(program), given]
    done = subprocess.run(command, capture_output=True, text=True, cwd="/", timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def away(project: Path) -> None:
    shutil.rmtree(project)


WIDE: Project = {
    "prepare.py": """
        import json, os.path
        import numpy as np
        import shapes.flat.square
        from shapes import names as known
        from shapes.flat import round_ as circle
        from helper import twice as double
        if os.name == "posix":
            import only_here
        try:
            import not_installed_anywhere
        except ImportError:
            not_installed_anywhere = None

        def to_array(item, size=2, *, context=None):
            import late
            from shapes.flat import lazy
            shapes_found = [shapes.flat.square.AREA, known.NAMES, circle.PI]
            return [double(item) * size, *shapes_found, only_here.HERE, late.X, lazy.Y]
        """,
    "helper.py": "from deeper import factor\ndef twice(x): return x * factor\n",
    "deeper.py": "factor = 2\n",
    "only_here.py": "HERE = True\n",
    "late.py": "X = 'late'\n",
    "shapes/__init__.py": "from . import names\n",
    "shapes/names.py": "from .. import shapes as me\nNAMES = ['square']\n",
    "shapes/flat/__init__.py": "",
    "shapes/flat/square.py": """
        from ..names import NAMES
        from . import round_
        import outside_the_package
        AREA = outside_the_package.A
        """,
    "shapes/flat/round_.py": "PI = 3\n",
    "shapes/flat/lazy.py": "Y = 'lazy'\n",
    "shapes/flat/data.txt": "travels with its package",
    "shapes/unused.py": "import something_that_is_missing\n",
    "outside_the_package.py": "A = 4\n",
    "never_imported.py": "1 / 0\n",
    "photos/cat.png": "no code",
}


def test_an_imported_function_travels_with_everything_it_imports_and_runs_alone(project: Path, tmp_path: Path) -> None:
    # `from .. import` out of the top package is no valid import; leave it out of what runs.
    write(project, WIDE | {"shapes/names.py": "NAMES = ['square']\n"})
    code = tmp_path / "code"
    record = snapshot(Function("prepare:to_array"), code)
    assert files_in(code) == {
        "prepare.py", "helper.py", "deeper.py", "only_here.py", "late.py", "outside_the_package.py",
        "shapes/__init__.py", "shapes/names.py", "shapes/unused.py", "shapes/flat/__init__.py", "shapes/flat/square.py",
        "shapes/flat/round_.py", "shapes/flat/lazy.py", "shapes/flat/data.txt",
    }  # fmt: skip
    assert (record.module, record.qualname, record.pickle) == ("prepare", "to_array", None)
    assert record.argument_names == ("item", "size")
    assert record.required_names == ("item",)
    assert record.imports == ("numpy",)
    assert record.warnings == (), "what is tried may be missing, and shapes/unused.py is not imported"
    away(project)
    assert run_alone(record, code, 5) == [20, 4, ["square"], 3, True, "late", "lazy"]


def test_a_callable_gives_the_same_snapshot_as_its_name(project: Path) -> None:
    write(project, WIDE | {"shapes/names.py": "NAMES = ['square']\n"})
    import prepare  # type: ignore[import-not-found]

    by_object, by_name = digest_program(prepare.to_array), digest_program("prepare:to_array")
    assert by_object == by_name


def test_a_function_in_a_package_takes_the_whole_package(project: Path, tmp_path: Path) -> None:
    write(project, {
        "lib/__init__.py": "",
        "lib/train.py": """
            from .parts import x
            class Trainer:
                def fit(self, lr, steps=1): return x
            """,
        "lib/parts/__init__.py": "x = 1\n", "lib/parts/model.json": "{}", "lib/__pycache__/train.cpython-311.pyc": "?",
        "other/__init__.py": "",
    })  # fmt: skip
    record = snapshot("lib.train:Trainer.fit", tmp_path / "code")
    assert files_in(tmp_path / "code") == {
        "lib/__init__.py",
        "lib/train.py",
        "lib/parts/__init__.py",
        "lib/parts/model.json",
    }
    assert record.argument_names == ("lr", "steps")
    assert record.required_names == ("lr",)


def test_namespace_packages_travel_by_file_under_their_full_name(project: Path, tmp_path: Path) -> None:
    write(project, {
        "space/tools/one.py": "from space.tools import two\nfrom . import three\ndef f(): return [two.X, three.X]\n",
        "space/tools/two.py": "X = 2\n", "space/tools/three.py": "X = 3\n", "space/tools/four.py": "X = 4\n",
    })  # fmt: skip
    record = snapshot("space.tools.one:f", tmp_path / "code")
    assert files_in(tmp_path / "code") == {"space/tools/one.py", "space/tools/two.py", "space/tools/three.py"}
    away(project)
    assert run_alone(record, tmp_path / "code") == [2, 3]


def test_a_module_loaded_under_another_name_than_its_file_travels_under_that_name(
    project: Path, tmp_path: Path
) -> None:
    import importlib.util

    write(project, {"somewhere/file.py": "def f(): return 7\n"})
    spec = importlib.util.spec_from_file_location("given.name", project / "somewhere/file.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["given.name"] = module
    spec.loader.exec_module(module)
    try:
        record = snapshot(module.f, tmp_path / "code")
    finally:
        del sys.modules["given.name"]
    assert files_in(tmp_path / "code") == {"given/name.py"}
    away(project)
    assert run_alone(record, tmp_path / "code") == 7


MAIN = """
    import json, sys
    from pathlib import Path
    import helper
    from headway.jobs.code import snapshot
    LEVEL = 10
    class Scale:
        by = 3
        def __call__(self, x): return helper.twice(x) * self.by
    def fit(x, y=1):
        import late
        return [helper.twice(x) + LEVEL + y, late.X, Scale()(x)]
    def closure(k):
        return lambda x: helper.twice(x) + k
    if __name__ == "__main__":
        for number, target in enumerate([fit, closure(5), Scale(), lambda x: x + LEVEL, closure(6)]):
            record = snapshot(target, Path(sys.argv[1]) / str(number))
            print(json.dumps([record.pickle, record.digest, record.name, record.imports, record.argument_names]))
    """


def test_functions_of_main_lambdas_closures_and_objects_travel_by_value(project: Path, tmp_path: Path) -> None:
    write(project, {
        "run.py": MAIN, "helper.py": WIDE["helper.py"], "deeper.py": "factor = 2\n", "late.py": "X = 'late'\n",
        "unused.py": "",
    })  # fmt: skip
    digests = []
    for seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": seed}
        command = [sys.executable, "run.py", str(tmp_path / f"out{seed}")]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
        assert done.returncode == 0, done.stderr
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        digests.append([row[1] for row in rows])
        # An edit that moves everything and changes nothing.
        write(project, {"run.py": "# moved\n\n" + textwrap.dedent(MAIN).replace("LEVEL = 10", "LEVEL = 10  # high")})
    assert digests[0] == digests[1], "neither the hash seed nor line numbers count"
    assert len(set(digests[0])) == 5
    assert [row[4] for row in rows] == [["x", "y"], ["x"], ["x"], ["x"], ["x"]]
    code = tmp_path / "out1"
    assert files_in(code / "0") == {"target.pickle", "helper.py", "deeper.py", "late.py"}
    assert files_in(code / "1") == {"target.pickle", "helper.py", "deeper.py"}
    assert files_in(code / "3") == {"target.pickle"}
    assert b"factor" not in (code / "0/target.pickle").read_bytes(), "what travels as a file is not in the pickle too"
    away(project)
    pickled = ProgramRecord(kind="function", name="", pickle="target.pickle", digest="")
    assert run_alone(pickled, code / "0", 1) == [13, "late", 6]
    assert run_alone(pickled, code / "1", 1) == 7
    assert run_alone(pickled, code / "2", 2) == 12
    assert run_alone(pickled, code / "3", 1) == 11


def test_a_closure_of_a_package_brings_the_package(project: Path, tmp_path: Path) -> None:
    write(project, {
        "lib/__init__.py": "", "lib/parts.py": "y = 1\n",
        "lib/make.py": """
            from .parts import y
            def make(k):
                def f(x): return use(x) + k
                return f
            def use(x): return x + y
            """,
    })  # fmt: skip
    from lib.make import make  # type: ignore[import-not-found]

    record = snapshot(make(10), tmp_path / "code")
    assert files_in(tmp_path / "code") == {"target.pickle", "lib/__init__.py", "lib/make.py", "lib/parts.py"}
    away(project)
    assert run_alone(record, tmp_path / "code", 5) == 16


def test_classes_made_at_run_time_travel_by_value(project: Path, tmp_path: Path) -> None:
    from collections import namedtuple

    Pair = namedtuple("Pair", "a b")  # noqa: PYI024
    record = snapshot(lambda x: list(Pair(x, 2)), tmp_path / "code")
    assert files_in(tmp_path / "code") == {"target.pickle"}
    assert run_alone(record, tmp_path / "code", 1) == [1, 2]


def test_what_cannot_be_pickled_is_named() -> None:
    import threading

    held = threading.Lock()

    def f() -> None:
        held.acquire()

    with pytest.raises(ProgramError, match=r"cannot be sent to a worker.*'held' is a lock"):
        digest_program(f)


def test_installed_and_standard_targets_bring_no_files(tmp_path: Path) -> None:
    from sklearn.linear_model import Ridge

    record = snapshot(Ridge, tmp_path / "a")
    assert files_in(tmp_path / "a") == set()
    assert record.module == "sklearn.linear_model._ridge"
    assert "alpha" in (record.argument_names or ())
    assert record.imports[0] == "sklearn"
    assert snapshot("json:dumps", tmp_path / "b").argument_names is None
    by_name = snapshot("sklearn.linear_model:Ridge", tmp_path / "c")
    assert "alpha" in (by_name.argument_names or ())
    estimator = snapshot(Ridge(alpha=2.0), tmp_path / "d")
    assert "alpha" in (estimator.argument_names or ())
    assert estimator.digest == digest_program(Ridge(alpha=2.0)).digest != digest_program(Ridge(alpha=3.0)).digest


def test_a_script_travels_with_its_whole_source_folder(project: Path, tmp_path: Path) -> None:
    write(project, {
        "src/train.py": """
            import util
            from pkg.part import X
            import outside
            if __name__ == '__main__':
                import sklearn.svm
                print(X)
            """,
        "src/util.py": "",
        "src/pkg/part.py": "X = 1\n", "src/config/lr.yaml": "lr: 1", "src/read me,\"'\n first.txt": "x",
        "src/größe/日本.txt": "x", "src/notes.ipynb": "{}", "outside.py": "", "data/big.csv": "1",
        "src/.git/HEAD": "x", "src/__pycache__/util.cpython-311.pyc": "x",
        "src/.venv/pyvenv.cfg": "x", "src/env/pyvenv.cfg": "x",
        "src/env/lib/x.py": "", "src/build/lib/x.py": "", "src/ws/workspace.json": "{}", "src/ws/ledger.sqlite": "",
        "src/ws/jobs/a/code/train.py": "", "src/thing.egg-info/PKG-INFO": "", "src/.headway/workspace.json": "{}",
        "src/node_modules/x.js": "", "src/dist/__init__.py": "a package that is called dist", "src/logs/run.log": "x",
        "src/.headwayignore": "# made by runs\nlogs/\n*.ipynb\nconfig/secret*\n", "src/config/secret.yaml": "x",
    })  # fmt: skip
    code = tmp_path / "code"
    record = snapshot(Script("train.py", source_dir="src"), code)
    assert files_in(code) == {
        "train.py", "util.py", "pkg/part.py", "config/lr.yaml", "read me,\"'\n first.txt", "größe/日本.txt",
        "outside.py",
        "dist/__init__.py", ".headwayignore",
    }  # fmt: skip
    assert (record.kind, record.entry_point, record.argument_names) == ("script", "train.py", None)
    assert record.imports == ("sklearn", "sklearn.svm")
    assert set(read_snapshot(code).files) == files_in(code)


def test_a_workspace_that_holds_the_snapshot_is_never_packed_into_it(project: Path) -> None:
    write(project, {"train.py": ""})
    first = snapshot(Script("train.py"), project / "runs" / "jobs" / "a" / "code")
    assert files_in(project / "runs" / "jobs" / "a" / "code") == {"train.py"}
    again = snapshot(Script("train.py"), project / "runs" / "jobs" / "a" / "code")
    assert first == again


def test_a_program_with_a_file_of_the_lists_own_name_keeps_it(project: Path, tmp_path: Path) -> None:
    write(project, {"train.py": "", "snapshot.json": '{"mine": 1}'})
    record = snapshot(Script("train.py"), tmp_path / "code")
    assert (tmp_path / "code/snapshot.json").read_text() == '{"mine": 1}'
    assert read_snapshot(tmp_path / "code").digest == record.digest
    packed_again = digest_program(Script("train.py", source_dir=str(tmp_path / "code")))
    assert packed_again.digest == record.digest, "a snapshot can itself be packed"


def test_executable_files_stay_executable(project: Path, tmp_path: Path) -> None:
    write(project, {"train.py": "", "tool.sh": "#!/bin/sh\n"})
    (project / "tool.sh").chmod(0o755)
    snapshot(Script("train.py"), tmp_path / "code")
    assert os.access(tmp_path / "code/tool.sh", os.X_OK)
    assert not os.access(tmp_path / "code/train.py", os.X_OK)


def test_links_count_by_their_content_and_bad_ones_are_named(project: Path, tmp_path: Path) -> None:
    write(project, {"src/train.py": "", "src/data/a.txt": "a", "elsewhere/b.txt": "b"})
    (project / "src/inner").symlink_to("data")
    (project / "src/file.txt").symlink_to("../elsewhere/b.txt")
    (project / "src/nowhere").symlink_to("missing")
    script = Script("train.py", source_dir="src")
    record = snapshot(script, tmp_path / "code")
    assert files_in(tmp_path / "code") == {"train.py", "data/a.txt", "inner/a.txt", "file.txt"}
    assert not any(path.is_symlink() for path in (tmp_path / "code").rglob("*"))
    assert "nowhere" in record.warnings[0]
    (project / "src/loop").symlink_to(".")
    with pytest.raises(ProgramError, match="'loop' leads back"):
        digest_program(script)
    (project / "src/loop").unlink()
    (project / "src/self").symlink_to("self")
    with pytest.raises(ProgramError, match="'self' cannot be followed"):
        digest_program(script)
    (project / "src/self").unlink()
    (project / "src/out").symlink_to("../elsewhere")
    with pytest.raises(ProgramError, match="'out' leads to the folder .* outside"):
        digest_program(script)
    (project / "src/.headwayignore").write_text("out\n")
    digest_program(script)


def test_large_files_and_trees_are_refused_by_name(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(project, {"train.py": "", "weights.bin": ""})
    os.truncate(project / "weights.bin", 50_000_001)
    with pytest.raises(ProgramError, match=r"'weights.bin' has 50 MB"):
        digest_program(Script("train.py"))
    (project / "weights.bin").unlink()
    for number in range(11):
        write(project, {f"photos/{number}.raw": ""})
        os.truncate(project / f"photos/{number}.raw", 49_000_000)
    with pytest.raises(ProgramError, match=r"largest so far: 'photos' \d+ MB"):
        digest_program(Script("train.py"))


@pytest.fixture
def as_nobody() -> Iterator[Path]:
    """A folder that everybody may read, and the rights of an ordinary user while the test runs."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    is_root = os.geteuid() == 0
    yield folder
    if is_root:
        os.seteuid(0)
    for path in folder.rglob("*"):
        path.chmod(0o755)
    shutil.rmtree(folder)


def test_what_cannot_be_read_is_named(as_nobody: Path) -> None:
    write(as_nobody, {"a/train.py": "", "a/private.txt": "x", "b/train.py": "", "b/closed/x.txt": "x"})
    (as_nobody / "a/private.txt").chmod(0)
    (as_nobody / "b/closed").chmod(0)
    if os.geteuid() == 0:
        os.seteuid(65534)
    with pytest.raises(ProgramError, match=r"cannot pack .*private.txt: Permission denied"):
        digest_program(Script("train.py", source_dir=str(as_nobody / "a")))
    with pytest.raises(ProgramError, match=r"the folder .*closed cannot be read: Permission denied"):
        digest_program(Script("train.py", source_dir=str(as_nobody / "b")))


def test_a_name_that_is_no_text_is_refused(project: Path) -> None:
    write(project, {"train.py": ""})
    (Path(os.fsdecode(os.fsencode(str(project)) + b"/\xff.txt"))).write_text("x")
    with pytest.raises(ProgramError, match=r"xff.txt"):
        digest_program(Script("train.py"))


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("prepar:to_array", "there is no module 'prepar'; did you mean 'prepare'"),
        ("prepare:to_aray", "has no 'to_aray'; did you mean 'to_array'"),
        ("nothing_like_it:f", "there is no module 'nothing_like_it' in .*project"),
        ("lib.missing:f", "there is no module 'lib.missing'"),
        ("lib:missing", "the module 'lib' .* has no 'missing'"),
    ],
)
def test_missing_names_are_refused_with_the_nearest(project: Path, target: str, text: str) -> None:
    write(project, {"prepare.py": "def to_array(item): pass\n", "lib/__init__.py": ""})
    with pytest.raises(ProgramError, match=text):
        digest_program(target)


def test_missing_scripts_are_refused_with_the_nearest(project: Path) -> None:
    write(project, {"src/train.py": "", "src/sub/eval.py": "", "src/notes.txt": ""})
    with pytest.raises(ProgramError, match=r"no script 'trian.py'.*did you mean 'train.py'"):
        digest_program(Script("trian.py", source_dir="src"))
    with pytest.raises(ProgramError, match="the scripts there are: sub/eval.py, train.py"):
        digest_program(Script("zzz.py", source_dir="src"))
    with pytest.raises(ProgramError, match="no folder 'sorce'"):
        digest_program(Script("train.py", source_dir="sorce"))
    with pytest.raises(ProgramError, match="no script 'notes.txt'"):
        digest_program(Script("notes.txt", source_dir="src"))
    with pytest.raises(ProgramError, match=r"no script '../x.py'"):
        digest_program(Script("../x.py", source_dir="src"))
    absolute = digest_program(Script(str(project / "src/sub/eval.py"), source_dir="src"))
    assert absolute.entry_point == "sub/eval.py"


def test_notebooks_are_not_there_yet() -> None:
    with pytest.raises(ProgramError, match="notebooks cannot run yet.*'a.ipynb'"):
        digest_program(Notebook("a.ipynb"))


def test_an_import_that_will_surely_fail_is_an_error_with_file_line_and_module(project: Path) -> None:
    write(
        project, {"a.py": "import b\n\ndef f(): pass\n", "b.py": "x = 1\nimport numpyy.linalg\n", "numpy_tools.py": ""}
    )
    with pytest.raises(ProgramError, match=r"b.py:2 imports 'numpyy', which is neither installed nor"):
        digest_program("a:f")
    write(project, {"train.py": "from b import x\n"})
    with pytest.raises(ProgramError, match=r"b.py:2 imports 'numpyy'"):
        digest_program(Script("train.py"))
    write(project, {"b.py": "def broken(:\n"})
    with pytest.raises(ProgramError, match=r"b.py is no valid Python: .*line 1"):
        digest_program("a:f")
    write(project, {"b.py": "from . import x\n"})
    with pytest.raises(ProgramError, match=r"b.py:1: a relative import leads out"):
        digest_program("a:f")
    write(project, {"b.py": "from a.inner import x\n"})
    with pytest.raises(ProgramError, match=r"b.py:1 imports 'a.inner'"):
        digest_program("a:f")


@pytest.mark.parametrize(
    "text",
    ["def f():\n  import missing_one\n", "if True:\n  import missing_one\ndef f(): pass\n",
     "for i in range(0):\n  import missing_one\ndef f(): pass\n",
     "try:\n  import missing_one\nexcept ValueError:\n  pass\nimport sys\nsys.path.append('x')\ndef f(): pass\n"],
)  # fmt: skip
def test_an_import_that_may_fail_is_a_warning(project: Path, text: str) -> None:
    write(project, {"a.py": text})
    [warning] = digest_program("a:f").warnings
    assert "a.py:2 imports 'missing_one'" in warning


@pytest.mark.parametrize(
    "text",
    ["try:\n  import missing_one\nexcept ImportError:\n  pass\n", "try:\n  import missing_one\nexcept:\n  pass\n",
     "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n  import missing_one\n",
     "import typing as t\nif t.TYPE_CHECKING:\n  import missing_one\n",
     "from contextlib import suppress\nwith suppress(ImportError):\n  import missing_one\n",
     "if __name__ == '__main__':\n  import missing_one\n", "import os.path, xml.dom, concurrent.futures\n",
     "import collections.abc as abc\nfrom importlib import metadata\n"],
)  # fmt: skip
def test_imports_that_are_tried_or_never_happen_are_no_problem(project: Path, text: str) -> None:
    write(project, {"a.py": text + "def f(): pass\n"})
    assert digest_program("a:f").warnings == ()


def test_import_by_call_with_a_literal_is_followed(project: Path) -> None:
    write(
        project,
        {"a.py": "import importlib\ndef f():\n  return importlib.import_module('plug').X\n", "plug.py": "X = 1\n"},
    )
    root = project / "out"
    snapshot("a:f", root)
    assert files_in(root) == {"a.py", "plug.py"}


def test_names_passed_on_from_other_modules_are_found_with_their_arguments(project: Path) -> None:
    write(project, {
        "lib/__init__.py": "from .api import run_it as run\nfrom .late import *\n",
        "lib/api.py": "from .impl import run_it\n",
        "lib/impl.py": "def run_it(lr, *, steps=1, context): pass\n", "lib/late.py": "def starred(a): pass\n",
        "lib/made.py": """
            from functools import partial
            run = partial(print)
            class Fit:
                def __init__(self, depth, width=1): pass
            class Bare: pass
            @decorated
            def wrapped(a): pass
            def anything(**more): pass
            def __getattr__(name): return 1
            """,
    })  # fmt: skip
    found = {name: digest_program(f"lib:{name}").argument_names for name in ("run", "starred")}
    assert found == {"run": ("lr", "steps"), "starred": None}
    assert digest_program("lib:run").required_names == ("lr",)
    made = {
        name: digest_program(f"lib.made:{name}").argument_names
        for name in ("run", "Fit", "wrapped", "anything", "Bare", "dyn")
    }
    assert made == {
        "run": None,
        "Fit": ("depth", "width"),
        "wrapped": None,
        "anything": None,
        "Bare": None,
        "dyn": None,
    }


def test_a_runner_of_the_users_own_travels_too(project: Path, tmp_path: Path) -> None:
    write(
        project,
        {"a.py": "def f(): pass\n", "mine/__init__.py": "", "mine/runner.py": "def run(context, target): pass\n"},
    )
    record = snapshot("a:f", tmp_path / "code", runner="mine.runner:run")
    assert files_in(tmp_path / "code") == {"a.py", "mine/__init__.py", "mine/runner.py"}
    assert record.runner == "mine.runner:run"
    with pytest.raises(ProgramError, match="has no 'runn'"):
        digest_program("a:f", runner="mine.runner:runn")
    assert digest_program("a:f", runner="headway.training.entry:run").digest == digest_program("a:f").digest


def test_looking_at_a_program_runs_nothing_of_it(project: Path) -> None:
    write(project, {"a.py": "open('ran', 'w').close()\ndef f(): pass\n", "train.py": "open('ran', 'w').close()\n"})
    digest_program("a:f")
    digest_program(Script("train.py"))
    assert not (project / "ran").exists()


def test_into_is_whole_or_untouched(project: Path, tmp_path: Path) -> None:
    write(project, {"a.py": "def f(): return 1\n", "b.py": "import nothing_there\ndef f(): pass\n"})
    code = tmp_path / "code"
    snapshot("a:f", code)
    with pytest.raises(ProgramError):
        snapshot("b:f", code)
    assert files_in(code) == {"a.py"}
    write(project, {"a.py": "def f(): return 2\n"})
    snapshot("a:f", code)
    assert (code / "a.py").read_text() == "def f(): return 2\n"
    assert {path.name for path in tmp_path.iterdir()} == {"project", "code"}, "nothing is left over"
    with pytest.raises(ValueError, match="no snapshot"):
        snapshot("a:f", project)
    assert (project / "a.py").exists()


def test_digest_program_agrees_with_snapshot_and_with_the_list(project: Path, tmp_path: Path) -> None:
    write(project, WIDE | {"shapes/names.py": "NAMES = ['square']\n"})
    for number, program in enumerate(["prepare:to_array", Script("never_imported.py"), lambda x: x]):
        record = snapshot(program, tmp_path / str(number))
        assert digest_program(program) == record
        assert read_snapshot(tmp_path / str(number)).digest == record.digest


@given(order=st.permutations(["a.py", "b.py", "c.txt", "d/e.py"]), shift=st.integers(0, 10**6))
@settings(max_examples=15, deadline=None)
def test_the_digest_depends_on_no_order_time_or_place(tmp_path_factory: Any, order: list[str], shift: int) -> None:
    texts = {"a.py": "import b\nx = 1\n", "b.py": "# b\n", "c.txt": "c", "d/e.py": "import a\n"}
    root = tmp_path_factory.mktemp("any place")
    for name in order:
        write(root, {name: texts[name]})
        os.utime(root / name, (shift, shift))
    assert (
        digest_program(Script("a.py", source_dir=str(root))).digest
        == "e23849250f5f7c38daf3ca1470e0ebde7b29307b04e22b420647b2ac4ddc2ad2"
    )


def test_what_a_file_does_counts_and_how_it_is_written_does_not(project: Path) -> None:
    write(project, {"a.py": "import b\ndef f(x):\n  return b.g(x)\n", "b.py": "def g(x):\n  return x + 1\n"})
    before = digest_program("a:f").digest
    write(project, {"b.py": '"""Doc."""\n\n\ndef g( x ):   # adds\n    """Adds."""\n    return (x+1)\n'})
    assert digest_program("a:f").digest == before
    write(project, {"b.py": "def g(x):\n  return x + 2\n"})
    assert digest_program("a:f").digest != before


def test_what_is_imported_travels_although_its_folder_would_be_left_out(project: Path, tmp_path: Path) -> None:
    write(project, {"train.py": "import dist.made\n", "dist/made.py": "", "dist/other.py": "", "build/x.py": ""})
    snapshot(Script("train.py"), tmp_path / "code")
    assert files_in(tmp_path / "code") == {"train.py", "dist/made.py"}
    write(
        project,
        {"lib/__init__.py": "", "lib/run.py": "from .build import made as f\n", "lib/build/made.py": ""},
    )
    snapshot("lib.run:f", tmp_path / "code")
    assert files_in(tmp_path / "code") == {"lib/__init__.py", "lib/run.py", "lib/build/made.py"}


def test_a_folder_full_of_data_is_worth_a_word(project: Path) -> None:
    write(project, {"train.py": "", "photos/cat.raw": ""})
    os.truncate(project / "photos/cat.raw", 21_000_000)
    [warning] = digest_program(Script("train.py")).warnings
    assert "2 files, 21 MB" in warning
    assert "'photos' 21 MB" in warning
    assert ".headwayignore" in warning


def test_a_module_named_like_one_of_python_is_refused(project: Path, tmp_path: Path) -> None:
    write(project, {"token.py": "def fit(): return 1\n"})
    with pytest.raises(ProgramError, match="rename"):
        snapshot(Function("token:fit"), tmp_path / "code")
