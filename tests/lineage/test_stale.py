"""Generated programs, run and edited: an old result never stands where running again would give another (P4)."""

from __future__ import annotations

import importlib
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from headway.jobs.code import snapshot
from headway.jobs.program import Script
from headway.jobs.snapshot import Snapshot, read_snapshot
from headway.lineage.trace import Trace, changed

pytestmark = pytest.mark.slow


NUM_MODULES = 5


class Generated:
    """A random program of modules that call each other; what `m0.run` returns tells every part that had a say."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.numbers = {f"{m}.{f}": self.random.randrange(100) for m in range(NUM_MODULES) for f in range(3)}
        self.constants = [self.random.randrange(100) for _ in range(NUM_MODULES)]
        self.lazy = [self.random.random() < 0.4 for _ in range(NUM_MODULES)]
        # Each function calls at most two of later modules, so that some never run.
        self.calls = {
            f"{m}.{f}": [
                (later, self.random.randrange(3)) for later in range(m + 1, NUM_MODULES) if self.random.random() < 0.6
            ][:2]
            for m in range(NUM_MODULES) for f in range(3)
        }  # fmt: skip
        self.data = {str(m): str(self.random.randrange(100)) for m in range(NUM_MODULES)}
        self.extra: str | None = None
        self.new_module: str | None = None
        self.noise = [0] * NUM_MODULES

    def write(self, root: Path) -> None:
        (root / "data").mkdir(parents=True)
        for m in range(NUM_MODULES):
            (root / f"m{m}.py").write_text(self._module(m))
            (root / "data" / f"{m}.txt").write_text(self.data[str(m)])
        if self.extra is not None:
            (root / "extra.py").write_text(f"X = {self.extra}\n")
        if self.new_module is not None:
            (root / "unrelated.py").write_text(f"X = {self.new_module}\n")

    def _module(self, m: int) -> str:
        later = sorted({called for f in range(3) for called, _ in self.calls[f"{m}.{f}"]})
        lines = ["# comment"] * self.noise[m] + ["from pathlib import Path"]
        lines += [f"import m{one}" for one in later if not self.lazy[one]]
        lines += (
            ["try:", "    import extra", "    EXTRA = extra.X", "except ImportError:", "    EXTRA = 0"]
            if m == 1
            else ["EXTRA = 0"]
        )
        lines += [f"CONSTANT = {self.constants[m]} + EXTRA"]
        for f in range(3):
            lines += [f"def f{f}():", f'    """Noise {self.noise[m]}."""']
            lines += [f"    import m{one}" for one, _ in self.calls[f"{m}.{f}"] if self.lazy[one]]
            lines += [f"    found = [{self.numbers[f'{m}.{f}']}{'  ' * self.noise[m]}]"]
            lines += [f"    found += m{one}.f{g}()" for one, g in self.calls[f"{m}.{f}"]]
            if f == 1:
                lines += [f"    found.append(Path(__file__).with_name('data').joinpath('{m}.txt').read_text())"]
            lines += ["    found.append(CONSTANT)" if f == 2 else "    pass", "    return found"]
        if m == 0:
            lines += ["def run():", "    return f0() + f1()"]
        return "\n".join(lines) + "\n"

    def edit(self) -> str:
        """Change one thing; which kind is told."""
        kind = self.random.choice(["number", "constant", "data", "noise", "call", "extra", "unrelated", "lazy"])
        m, f = self.random.randrange(NUM_MODULES), self.random.randrange(3)
        match kind:
            case "number":
                self.numbers[f"{m}.{f}"] += 1
            case "constant":
                self.constants[m] += 1
            case "data":
                self.data[str(m)] += "1"
            case "noise":
                self.noise[m] += 1
            case "call" if m + 1 < NUM_MODULES:
                self.calls[f"{m}.{f}"] = [(self.random.randrange(m + 1, NUM_MODULES), self.random.randrange(3))]
            case "extra":
                self.extra = None if self.extra else "7"
            case "unrelated":
                self.new_module = str(self.random.randrange(1000))
            case _:
                self.lazy[m] = not self.lazy[m]
        return kind


opened: list[str] | None = None


def _note(event: str, arguments: Any) -> None:
    if opened is not None and event == "open" and isinstance(arguments[0], str):
        opened.append(arguments[0])


sys.addaudithook(_note)


@contextmanager
def importing_from(code: Path) -> Iterator[None]:
    before, wrote = dict(sys.modules), sys.dont_write_bytecode
    sys.path.insert(0, str(code))
    sys.dont_write_bytecode = True
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(str(code))
        sys.dont_write_bytecode = wrote
        for name in set(sys.modules) - set(before):
            if str(code) in str(getattr(sys.modules[name], "__file__", "")):
                del sys.modules[name]


def run(code: Path, *, functions: bool) -> tuple[Any, Trace]:
    """What the program gives, and the trace that a worker would leave."""
    global opened
    ran: dict[str, set[str]] = {}
    root = f"{code}/"

    def called(frame: Any, event: str, _: Any) -> None:
        path = frame.f_code.co_filename
        if event == "call" and path.startswith(root):
            ran.setdefault(path.removeprefix(root), set()).add(frame.f_code.co_qualname)

    with importing_from(code):
        opened = []
        sys.setprofile(called if functions else None)
        try:
            result = importlib.import_module("m0").run()
        finally:
            sys.setprofile(None)
            seen, opened = opened, None
        loaded = [str(getattr(module, "__file__", "")) for module in sys.modules.values()]
    modules = {path.removeprefix(root): None for path in loaded if path.startswith(root)}
    files = {path.removeprefix(root): None for path in seen if path.startswith(root) and path.endswith(".txt")}
    traced = {path: tuple(sorted(names)) for path, names in ran.items()} if functions else None
    return result, Trace(modules=dict(modules), files=dict(files), functions=traced)


def packed(program: Generated, folder: Path) -> tuple[Path, Snapshot]:
    """The program as a snapshot, which counts by what ran, as that of a function does."""
    program.write(folder / "project")
    snapshot(Script("m0.py", source_dir=str(folder / "project")), folder / "code")
    return folder / "code", replace(read_snapshot(folder / "code"), kind="function")


@pytest.mark.parametrize("functions", [False, True])
def test_no_edit_of_a_generated_program_leaves_a_stale_result(
    tmp_path: Path, functions: bool, scale: Callable[[int], int], evidence: Callable[[str], None]
) -> None:
    reused: Counter[str] = Counter()
    missed: Counter[str] = Counter()
    matter = stale = 0
    for seed in range(scale(100)):
        program = Generated(seed)
        code, then = packed(program, tmp_path / f"{seed}-0")
        result, trace = run(code, functions=functions)
        for number in range(1, 7):
            kind = program.edit()
            code, now = packed(program, tmp_path / f"{seed}-{number}")
            new_result, new_trace = run(code, functions=functions)
            answers = not changed(trace, then, now)
            if new_result != result:
                matter += 1
                stale += answers
            else:
                (reused if answers else missed)[kind] += 1
            then, result, trace = now, new_result, new_trace
    evidence(
        f"functions traced: {functions}; {matter} edits mattered, {stale} stale; of {reused.total() + missed.total()} "
        f"that did not {reused.total()} were reused (missed: {dict(missed)})"
    )
    assert stale == 0
    assert matter >= 10
    assert reused["noise"] + reused["unrelated"] >= 10
    assert missed["noise"] == missed["unrelated"] == missed["data"] == 0
    if functions:
        assert missed["number"] == 0, "a function that did not run may change"
