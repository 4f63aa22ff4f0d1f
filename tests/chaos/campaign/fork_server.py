"""`python -m tests.chaos.campaign.fork_server`: starts worker processes by forking, with everything imported already.

A worker of its own takes 2 s of CPU before its first turn, nearly all of it imports; a campaign that kills one every
three seconds would measure little else. What is forked here is the real `worker.main`, before any thread or runtime.

Standard input: a JSON object per worker, `{"options": {…}, "env": {…}, "log": FILE}`. Standard output: `born PID` (in
the order asked for), the workers' own ready lines, `dead PID CODE` (negative: the signal).
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import signal
import sys
from types import FrameType
from typing import Any


def _reap(number: int, frame: FrameType | None) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        os.write(1, f"dead {pid} {os.waitstatus_to_exitcode(status)}\n".encode())


def _work(order: dict[str, Any]) -> None:
    """Become a worker; never returns."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # 1 is PR_SET_PDEATHSIG: it ends with the fork server
    os.environ.update(order["env"])
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
    from inturn_worker import command

    command.run(["tests.chaos.campaign.agents:agents"], **order["options"])


def main() -> None:
    """Import, then fork on demand until standard input ends."""
    import tests.chaos.campaign.agents  # noqa: F401

    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGCHLD, _reap)
    for line in sys.stdin:
        order = json.loads(line)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
        pid = os.fork()
        if pid == 0:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
            _work(order)
        os.write(1, f"born {pid}\n".encode())  # before its death can be told
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})


if __name__ == "__main__":
    main()
