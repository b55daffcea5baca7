"""Runs a server that ends with the test process, however that one ends.

    python guard.py SIGNAL USER_ID GROUP_ID COMMAND...

Standard input is a pipe whose other end the test process holds. End of file on it (also after `kill -9`) stops the
server: SIGNAL first, SIGKILL to its whole group after ten seconds. Standard library only.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading


def main() -> int:
    """Start the command, stop it when standard input ends; gives back its exit code."""
    stop = signal.Signals[sys.argv[1]]
    user, group = int(sys.argv[2]), int(sys.argv[3])
    as_other = {"user": user, "group": group, "extra_groups": []} if os.geteuid() == 0 and user != 0 else {}
    child = subprocess.Popen(sys.argv[4:], stdin=subprocess.DEVNULL, start_new_session=True, **as_other)  # type: ignore[call-overload]

    def watch() -> None:
        while os.read(0, 4096):
            pass
        child.send_signal(stop)
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=watch, daemon=True).start()
    return int(child.wait())


if __name__ == "__main__":
    sys.exit(main())
