"""A clock that stands still while this process is stopped: by SIGSTOP, a suspended job, a machine that sleeps.

A time limit is to count the seconds in which something could run. A process is not told that it was stopped, but each
of its waits has a length that was asked for: one that took much longer was not awake meanwhile. Whoever waits tells so
by `waited`; all that judge time by `now` then agree.
"""

from __future__ import annotations

import threading
import time

_LATE = 3.0
"""Seconds by which a wait may be late on a machine that is busy."""

_lock = threading.Lock()
_lost = 0.0
_lost_until = 0.0


def now() -> float:
    """Seconds on a clock that stands still while this process is known to have been stopped."""
    return time.monotonic() - _lost


def seconds_lost() -> float:
    """Seconds for which this process is known to have been stopped: `time.monotonic` is ahead of `now` by these."""
    return _lost


def waited(begin: float, seconds: float) -> float:
    """Tell of a wait that is over.

    Parameters
    ----------
    begin : float
        When it began, on the clock of `time.monotonic`.
    seconds : float
        How long it was to take at most.

    Returns
    -------
    float
        Seconds for which the process was stopped and that no other thread has told of; 0 in most cases.
    """
    global _lost, _lost_until  # noqa: PLW0603  # one process, one clock
    end, due = time.monotonic(), begin + seconds
    if end - due <= _LATE:
        return 0.0
    with _lock:
        stopped = max(0.0, end - max(due, _lost_until))
        _lost += stopped
        _lost_until = end
    return stopped
