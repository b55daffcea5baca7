"""How a worker ended: the outcome file that the runtime writes last, and what an engine makes of an ended process.

In: an exception or a normal end. Out: `outcome.json` (whole or absent), and for the driver `(ok, text)`.
"""

from __future__ import annotations

import json
import os
import signal as signals
from collections.abc import Mapping
from typing import Any

from headway.worker.masking import Mask

MAX_TRACEBACK = 64 * 1024
_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_RUNTIME = (f"{_PACKAGE}/worker/", f"{_PACKAGE}/engines/", "<frozen ")


def write_json(path: str, value: Any) -> None:
    """Write a JSON file whole or not at all."""
    temporary = f"{path}.{os.getpid()}.tmp"
    with open(temporary, "w", encoding="utf-8") as stream:
        json.dump(value, stream, ensure_ascii=False, indent=1)
        stream.write("\n")
    os.replace(temporary, path)


def read_outcome(folder: str) -> dict[str, Any] | None:
    """The outcome in a worker's folder; None if there is none, or none that can be read."""
    try:
        with open(f"{folder}/outcome.json", encoding="utf-8") as stream:
            value = json.load(stream)
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def describe(error: BaseException, *, mask: Mask) -> dict[str, Any]:
    """An exception as a JSON value: type, message and traceback, without the frames of the runtime and secrets."""
    import traceback

    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename.startswith(_RUNTIME):
        frames = frames.tb_next
    text = "".join(traceback.format_exception(type(error), error, frames))
    if len(text) > MAX_TRACEBACK:
        text = f"{text[: MAX_TRACEBACK // 2]}\n[...]\n{text[-MAX_TRACEBACK // 2 :]}"
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return {"type": name, "message": mask.text(str(error)), "traceback": mask.text(text)}


def signal_name(number: int) -> str:
    """`SIGKILL` for 9."""
    try:
        return signals.Signals(number).name
    except ValueError:
        return f"signal {number}"


def judge(
    *, exit_code: int | None, signal: str | None, outcome: Mapping[str, Any] | None, stopped: str = "", last: str = ""
) -> tuple[bool, str]:
    """Whether a worker succeeded, and if not, why, in one line.

    Args:
        stopped: how the engine ended it, "" if it did not.
        last: last line of its output.

    Guarantees: success needs exit code 0 and an outcome that says so.
    """
    if exit_code == 0 and outcome is not None and outcome.get("ok"):
        return True, ""
    if stopped:
        return False, stopped
    if signal is not None:
        return False, f"killed by {signal}" + (" (out of memory?)" if signal == "SIGKILL" else "")
    if outcome is not None and outcome.get("message"):
        return False, str(outcome["message"])
    if exit_code == 0:
        return False, (
            "exited with code 0 but wrote no outcome (os._exit, or the interpreter was replaced): "
            "without it nothing says that the work was finished"
        )
    return False, f"exited with code {exit_code}" + (f"; its last line: {last}" if last else " and printed nothing")
