"""What can still be done before the time of the job is up."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distfd.scheduling.wave_state import WaveState


def time_from(wave: WaveState, begin: float) -> float:
    """Seconds from then to the end of the job's time."""
    limit = wave.policy.limit
    return math.inf if limit is None or begin == math.inf else max(0.0, limit.until - begin)


def room_from(wave: WaveState, begin: float) -> float:
    """The same in whole evaluations: half of one counts for nothing."""
    left, each = time_from(wave, begin), wave.estimates.each
    return left if left == math.inf or not each else math.floor(left / each + 1e-9) * each


def in_time(wave: WaveState, begin: float, *, lone: bool = True) -> bool:
    """Whether the next point, begun then, should be done in time; ``lone``: those that go alone come first."""
    if wave.policy.limit is None:
        return True
    point = wave.backlog.next(lone=lone)
    left = time_from(wave, begin)
    return left > 0 and (point is None or wave.estimates.one(point) <= left)


def out_of_time(wave: WaveState, now: float) -> bool:
    """Whether the job's time is up: at its limit, or before, if nothing runs and nothing can be done any more."""
    limit = wave.policy.limit
    return limit is not None and (now >= limit.until or (not wave.queues and not in_time(wave, now)))
