"""When time is up: an evaluation's timeout, a setup's, and the end of the job that this process is part of."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

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


_GRACE = 3.0
"""Seconds past its timeout that a model which limits itself is given to say so."""

WORTH_ENDING = 1.0
"""Seconds that a slot may go on with what nobody wants any more: to start another process takes as long."""


def work_limits(wave: WaveState) -> Iterator[tuple[int, float]]:
    """Slots at work, and when each is to be killed."""
    for slot, (since, _) in list(wave.pool.draining.items()):
        yield slot, since + WORTH_ENDING
    timeout = wave.policy.timeout
    if timeout is None and not wave.copies:
        return
    for slot, queue in wave.queues:
        head = queue[0]
        if wave.copies and wave.unwanted(queue):
            yield slot, head.started + WORTH_ENDING
        elif timeout is not None:
            # Between points a slot looks at its budget, so at any time one evaluation is running that began in it.
            slack = head.budget if len(head.index) > 1 else 0.0
            yield slot, head.started + timeout + slack + (_GRACE if wave.policy.limits_itself else 0.0)


def setup_limits(wave: WaveState) -> Iterator[tuple[int, float]]:
    """Slots whose J is being made ready, and when each is to be killed."""
    if wave.policy.setup_limit is not None:
        for slot, (_, since) in wave.pool.starting.items():
            yield slot, since + wave.policy.setup_limit
