"""A process that builds manifests in children of its own, and kills them: see `test_kill.py`.

Reads JSON lines `{"name", "data", "seed", "kill_after_s"}`, answers each with `{"ended", "killed", "seconds"}`.
It imports everything once and starts no thread, so that a child begins within a millisecond.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import time

from headway.manifests.build import build
from headway.manifests.split import Split
from headway.stores.files import Files
from headway.stores.ledger import Ledger


def child(workspace: str, order: dict[str, object]) -> None:
    files = Files(workspace)
    with Ledger.open(files.local("ledger.sqlite")) as ledger:
        build(files, ledger, str(order["name"]), str(order["data"]), split=Split(seed=int(str(order["seed"]))))


def main() -> None:
    for name in ("_local", "_migrate", "_sqlite"):  # what a build loads when it begins
        importlib.import_module(f"headway.stores.{name}")
    for line in sys.stdin:
        order = json.loads(line)
        started = time.perf_counter()
        pid = os.fork()
        if pid == 0:
            try:
                child(sys.argv[1], order)
                os._exit(0)
            finally:
                sys.excepthook(*sys.exc_info())
                os._exit(1)
        if order.get("kill_after_s") is not None:
            time.sleep(order["kill_after_s"])
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        ended = os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0
        answer = {"ended": ended, "killed": os.WIFSIGNALED(status), "seconds": time.perf_counter() - started}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
