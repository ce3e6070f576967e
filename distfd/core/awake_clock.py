"""A clock that stands still while this process is stopped: by SIGSTOP, a suspended job, or a sleeping machine.

A time limit should only count the seconds in which something could run. A process is not told that it was stopped, but
if a wait took much longer than the requested length, the process was stopped meanwhile. Code that waits reports that by
`waited`, and all code that measures time by `now` then agrees.
"""

from __future__ import annotations

import threading
import time

_LATE = 3.0
"""A wait may be late by up to this many seconds on a busy machine without being counted as a stop."""

_lock = threading.Lock()
_lost = 0.0
_lost_until = 0.0


def now() -> float:
    """Seconds on a clock that stands still while this process is known to have been stopped."""
    return time.monotonic() - _lost


def seconds_lost() -> float:
    """Seconds for which this process is known to have been stopped: `time.monotonic` minus `now`."""
    return _lost


def waited(begin: float, seconds: float) -> float:
    """Reports a wait that has ended.

    Parameters
    ----------
    begin : float
        When the wait began, on the clock of `time.monotonic`.
    seconds : float
        The requested length of the wait, in seconds.

    Returns
    -------
    float
        Seconds for which the process was stopped and that no other thread has reported yet; usually 0.
    """
    global _lost, _lost_until  # noqa: PLW0603  # a process has one clock
    end, due = time.monotonic(), begin + seconds
    if end - due <= _LATE:
        return 0.0
    with _lock:
        stopped = max(0.0, end - max(due, _lost_until))
        _lost += stopped
        _lost_until = end
    return stopped
