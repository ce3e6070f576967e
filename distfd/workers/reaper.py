"""Kill every process that carries a mark in its environment; run as a script, do so once a worker is gone.

A program with a session of its own outlives its worker and cannot be found by parent or group any more, but it still
carries the environment that it was started with. Standard library only: the script runs without site-packages.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time

_PROC = "/proc"
_PATIENCE = 60.0


def kill_marked(mark: bytes, pipe: str = "", seconds: float = 5.0) -> bool:
    """SIGKILL all processes marked ``NAME=value``, again and again until none is left.

    Parameters
    ----------
    mark : bytes
        An entry of the environment, such as ``b"DISTFD_WORKER=0123"``; it must be unique.
    pipe : str
        Where given (``pipe:[123]``), processes that hold this pipe open are killed as well.
    seconds : float
        When to give up: a process inside a system call that cannot be interrupted does not die.

    Returns
    -------
    bool
        Whether none is left, as far as /proc tells; True where there is no /proc.
    """
    if not os.path.isdir(_PROC):  # noqa: PTH112  # pathlib would double the script's start-up time
        return True
    give_up = time.monotonic() + seconds
    # A process may start another while we look, and has no environment for a moment while it starts a program: only
    # two looks in a row that find nobody end the loop.
    looks = 0
    while looks < 2:
        found = [pid for pid in _others() if _carries(pid, mark) or (pipe and _holds(pid, pipe))]
        if found and time.monotonic() > give_up:
            return False
        looks = 0 if found else looks + 1
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                continue
        time.sleep(0.005)
    return True


def end_group(group: str, seconds: float = 5.0) -> bool:
    """SIGKILL all that is in a control group and in those below it, and remove them; whether they are gone."""
    give_up = time.monotonic() + seconds
    while True:
        try:
            with open(f"{group}/cgroup.kill", "w") as file:  # noqa: PTH123  # as above
                file.write("1")
            for folder, _, _ in os.walk(group, topdown=False):
                os.rmdir(folder)  # noqa: PTH106  # as above
        except FileNotFoundError:
            return True
        except OSError:  # those that were killed are still on their way out
            if time.monotonic() > give_up:
                return False
            time.sleep(0.005)


def _leave_group(group: str) -> None:
    """Go to the group above, where this process does not end with those whose end it waits for."""
    try:
        with open(f"{os.path.dirname(group)}/cgroup.procs", "w") as file:  # noqa: PTH120, PTH123  # as above
            file.write(str(os.getpid()))
    except OSError:
        pass


def _others() -> list[int]:
    me = os.getpid()
    return [int(name) for name in os.listdir(_PROC) if name.isdigit() and int(name) != me]  # noqa: PTH208  # as above


def _carries(pid: int, mark: bytes) -> bool:
    """Whether the process was started with this mark; a zombie's environment is empty."""
    try:
        with open(f"{_PROC}/{pid}/environ", "rb") as file:  # noqa: PTH123  # as above
            return mark in file.read().split(b"\0")
    except OSError:
        return False


def _holds(pid: int, pipe: str) -> bool:
    """Whether the process has this pipe open: forks without exec do, and have no environment of their own in /proc."""
    folder = f"{_PROC}/{pid}/fd"
    try:
        return any(os.readlink(f"{folder}/{fd}") == pipe for fd in os.listdir(folder))  # noqa: PTH115, PTH208  # as above
    except OSError:
        return False


def _watch(worker: int) -> None:
    """Return once the worker is gone: its end of the pipe on stdin is closed, or its process has ended.

    The second is for workers whose forked children keep the pipe open.
    """
    ends = [0]
    try:
        ends.append(os.pidfd_open(worker))
    except ProcessLookupError:
        return
    except OSError:  # forbidden inside some containers: the pipe must do
        pass
    while not (set(select.select(ends, [], [])[0]) - {0}):
        # Nothing is ever sent, so what can be read is the end.
        if not os.read(0, 1):
            return


def main(worker: int, mark: str, forks: bool, grace: float = 0.0, group: str = "") -> None:
    """Wait for the worker's end and kill what carries its mark; with ``forks``, what was forked off it too.

    After ``grace`` seconds, in which it may end by itself; and all that is in its control group, where it has one.
    """
    if os.fork():
        # Ray kills a leaving worker's direct children, which must not include the reaper: be nobody's child.
        os._exit(0)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    pipe = os.readlink(f"{_PROC}/self/fd/0") if forks else ""  # noqa: PTH115  # as above
    if group:
        _leave_group(group)
    _watch(worker)
    time.sleep(grace)
    if group:
        end_group(group, _PATIENCE)
    kill_marked(mark.encode(), pipe, _PATIENCE)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3] == "forks", float(sys.argv[4]), sys.argv[5])
