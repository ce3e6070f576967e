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
    return math.inf if limit is None or begin == math.inf else max(0.0, limit.end - begin)


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
    return limit is not None and (now >= limit.end or (not wave.queues and not in_time(wave, now)))


WORTH_ENDING = 1.0
"""Seconds that a slot may go on with what nobody wants any more: to start another process takes as long."""


def overdue_slots(wave: WaveState, now: float) -> list[int]:
    """Slots at work that are to be killed now: what they do is past its timeout, or wanted no more."""
    slots = [slot for slot, due in _unwanted(wave) if now >= due]
    return slots + [slot for slot, _ in wave.kill_times.take_until(now) if slot not in slots]


def next_kill(wave: WaveState) -> float:
    """When a slot at work is to be killed next; infinite where none is."""
    first = wave.kill_times.first()
    return min([math.inf if first is None else first, *(due for _, due in _unwanted(wave))])


def _unwanted(wave: WaveState) -> Iterator[tuple[int, float]]:
    """Slots at work on what others have settled, and when each has had long enough to end it by itself."""
    for slot, (since, _) in list(wave.pool.draining.items()):
        yield slot, since + WORTH_ENDING
    for slot, queue in wave.queues if wave.copies else ():
        if wave.unwanted(queue):
            yield slot, queue[0].started + WORTH_ENDING


def setup_limits(wave: WaveState) -> Iterator[tuple[int, float]]:
    """Slots whose J is being made ready, and when each is to be killed."""
    if wave.policy.setup_limit is not None:
        for slot, (_, since) in wave.pool.starting.items():
            yield slot, since + wave.policy.setup_limit
