"""The way in: `python .../headway/worker/__main__.py TICKET` runs one worker, `--host FD CONFIG` a host process.

Started by path, so that it works where Headway is not installed; then the package is loaded from the folder that this
file lies in. The folder itself must not stay on `sys.path`: its modules have names that programs use too.
"""

from __future__ import annotations

import os
import sys

_FOLDER = os.path.dirname(os.path.abspath(__file__))


def _load() -> None:
    """Make `headway.worker` importable, and be it: this file's own folder, whatever else is installed."""
    if sys.path and os.path.abspath(sys.path[0] or ".") == _FOLDER:
        del sys.path[0]
    package = os.path.dirname(_FOLDER)
    try:
        import headway

        if os.path.dirname(os.path.abspath(headway.__file__)) == package:
            return
    except ImportError:
        pass
    for name in [name for name in sys.modules if name == "headway" or name.startswith("headway.")]:
        del sys.modules[name]
    root = os.path.join(package, "__init__.py")
    if os.path.basename(_FOLDER) == "worker" and os.path.exists(root):
        _load_package("headway", root)
    else:
        from types import ModuleType

        sys.modules["headway"] = ModuleType("headway")
        sys.modules["headway"].__path__ = []
        _load_package("headway.worker", os.path.join(_FOLDER, "__init__.py"))


def _load_package(name: str, path: str) -> None:
    """Load a package from its `__init__.py`, wherever that lies."""
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location(name, path, submodule_search_locations=[os.path.dirname(path)])
    if spec is None or spec.loader is None:
        raise ImportError(f"cannot load {name} from {path}")
    sys.modules[name] = module_from_spec(spec)
    spec.loader.exec_module(sys.modules[name])


def _take(variable: str) -> int | None:
    """The file descriptor that an environment variable names; children of the worker do not inherit it."""
    text = os.environ.pop(variable, None)
    if text is None:
        return None
    os.set_inheritable(int(text), False)
    return int(text)


def _main() -> None:
    _load()
    if sys.argv[1] == "--host":
        from headway.worker.host import main as host

        sys.dont_write_bytecode = True
        host(int(sys.argv[2]), sys.argv[3])
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    from headway.worker.runtime import main

    sys.dont_write_bytecode = True  # the program's own modules must leave nothing in its snapshot
    main(sys.argv[1], bell=_take("HEADWAY_BELL_FD"), tasks=_take("HEADWAY_TASKS_FD"))


if __name__ == "__main__":
    _main()
