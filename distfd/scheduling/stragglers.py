"""Stragglers: when an evaluation is late, and which idle slot tries it a second time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from distfd.scheduling.evaluation_times import backup_due
from distfd.scheduling.timeouts import time_from

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from distfd.scheduling.slot_queues import Issued
    from distfd.scheduling.wave_state import WaveState

_AGAIN = 0.2
"""Seconds between two looks at all slots, where there are many."""
_FEW = 64
"""Slots that are looked at for each report."""
_SEEN = 3
"""Evaluations that must have ended before one can be said to be late."""


def copies_of_late_points(wave: WaveState, now: float) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Idle slots, and the late points that each of them is to try."""
    idle = wave.idle() if _may_be_late(wave) else []
    if not idle or _soonest(wave, now) > now:
        return
    late = [issued for due, issued in _late_chunks(wave) if due <= now]
    wave.late_scan = None  # what is given out now is not late any more
    left = time_from(wave, now)
    late = [issued for issued in late if wave.estimates.one(int(issued.index[0])) <= left]
    parts = portions(late, wave.single, lambda n: wave.estimates.points(n, wave.pool.slots))
    yield from zip(idle, parts, strict=False)


def next_copy(wave: WaveState, now: float) -> float:
    """When a point may be late enough for an idle slot to try it; infinite where none can be."""
    if not _may_be_late(wave) or not wave.idle():
        return math.inf
    return _soonest(wave, now)


def _soonest(wave: WaveState, now: float) -> float:
    """When the first of the chunks is late.

    All chunks are looked at, each time where they are few. Where they are many, what was found holds for as long as no
    chunk that has begun since can be late: for each report to look at 10,000 slots takes 30 ms.
    """
    if wave.late_scan is not None and len(wave.queues) > _FEW and now < wave.late_scan[0] + _AGAIN:
        return wave.late_scan[1]
    wave.late_scan = now, min((due for due, _ in _late_chunks(wave)), default=math.inf)
    return wave.late_scan[1]


def _may_be_late(wave: WaveState) -> bool:
    known = wave.pool.times.count >= _SEEN and wave.ledger.half_done
    return wave.policy.backups and not len(wave.backlog) and known


def _late_chunks(wave: WaveState) -> Iterator[tuple[float, Issued]]:
    """Chunks of which an idle slot may try points too, and from when on: a straggler's, and what waits behind it."""
    delay = wave.pool.times.delay
    for _, queue in wave.queues:
        due = -math.inf
        for issued in queue:
            if issued.started < math.inf:
                due = backup_due(issued.started, wave.estimates.chunk(issued) + delay)
            if not issued.apart and len(wave.single(issued.index)):
                yield due, issued


def portions(
    late: Sequence[Issued],
    single: Callable[[NDArray[np.int64]], NDArray[np.int64]],
    at_once: Callable[[int], int],
) -> list[NDArray[np.int64]]:
    """What is late, in portions for one slot each, the most promising first.

    Parameters
    ----------
    late : sequence of Issued
    single : callable
        Which of some points may have a backup.
    at_once : callable
        How many of so many points go to a slot at once.
    """
    # What has not begun is sure to gain by a second slot; of the rest, what has taken longest is likeliest to.
    late = sorted(late, key=lambda issued: (issued.started < math.inf, issued.started))
    alone = [single(issued.index) for issued in late if issued.lone]
    others = [single(issued.index) for issued in late if not issued.lone]
    if not others:
        return alone
    # A point that went alone goes alone again; short ones may share a slot.
    index, size = np.concatenate(others), at_once(sum(map(len, others)))
    return alone + [index[begin : begin + size] for begin in range(0, len(index), size)]
