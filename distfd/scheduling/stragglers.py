"""Stragglers: when an evaluation is late, and which idle slot tries it a second time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from distfd.scheduling.deadlines import time_from

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from distfd.scheduling.slot_queues import Issued
    from distfd.scheduling.wave_state import WaveState

_STRAGGLES = 3.0
"""An evaluation that takes this many times what was to be expected may be tried by a second slot (the rule of cubed,
and of MapReduce before it: Dean & Ghemawat 2004)."""
_STRAGGLES_BY = 0.2
"""Seconds; less is an accident of scheduling."""
_SEEN = 3
"""Evaluations that must have ended before one can be said to be late."""


def late_chunks(wave: WaveState) -> Iterator[tuple[float, Issued]]:
    """Chunks of which an idle slot may try points too, and from when on: a straggler's, and what waits behind it."""
    if not wave.policy.backups or len(wave.backlog):
        return
    if wave.pool.times.count < _SEEN or not wave.ledger.half_done:
        return
    delay = wave.pool.times.delay
    for _, queue in wave.queues:
        due = -math.inf
        for issued in queue:
            if issued.started < math.inf:
                due = backup_due(issued.started, wave.estimates.chunk(issued) + delay)
            if not issued.apart and len(wave.single(issued.index)):
                yield due, issued


def copies_of_late_points(wave: WaveState, now: float) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Idle slots, and the late points that each of them is to try."""
    idle = wave.idle()
    late = [issued for due, issued in late_chunks(wave) if due <= now] if idle else []
    left = time_from(wave, now)
    late = [issued for issued in late if wave.estimates.one(int(issued.index[0])) <= left]
    parts = portions(late, wave.single, lambda n: wave.estimates.points(n, wave.pool.slots))
    yield from zip(idle, parts, strict=False)


def backup_due(started: float, usual: float) -> float:
    """When what went out then, and should be back after so long, is so late that an idle slot may try it too."""
    return started + max(_STRAGGLES * usual, usual + _STRAGGLES_BY)


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
