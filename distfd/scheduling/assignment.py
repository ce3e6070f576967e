"""Which points go to which slot, and when."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from distfd.scheduling.chunk_sizes import next_due
from distfd.scheduling.deadlines import in_time, room_from, time_from
from distfd.scheduling.slot_queues import Issued
from distfd.scheduling.stragglers import copies_of_late_points, late_chunks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from distfd.scheduling.wave_state import WaveState


@dataclass(frozen=True, eq=False)
class Submit:
    """Give these points to that slot."""

    slot: int
    chunk: int
    index: NDArray[np.int64]
    budget: float


def issue(wave: WaveState, now: float) -> list[Submit]:
    """Work for the slots that want it."""
    given = _give_out(wave, now) if len(wave.backlog) else []
    return given + _retry_quarantined(wave, now) + _copy_stragglers(wave, now)


def next_issue(wave: WaveState, now: float) -> float | None:
    """When `issue` has to be asked next, if nothing happens before."""
    times = [] if wave.policy.limit is None else [wave.policy.limit.until]
    times += [due for due, _ in _may_queue(wave, now)]
    if wave.idle():
        times += [due for due, _ in late_chunks(wave)]
    return min((due for due in times if due > now), default=None)


def _give_out(wave: WaveState, now: float) -> list[Submit]:
    """Chunks of what waits, to slots that have nothing to do and to those that soon will not."""
    submits = []
    unfinished = wave.estimates.unfinished(wave.backlog, wave.queues, now)
    for slot in wave.idle():
        submits += _give(wave, slot, now, now, unfinished)
    for slot in [slot for due, slot in _may_queue(wave, now) if due <= now]:
        if len(wave.backlog) > wave.pool.slots:
            submits += _give(wave, slot, math.inf, now, unfinished)
    return submits


def _give(wave: WaveState, slot: int, started: float, now: float, unfinished: float | None) -> list[Submit]:
    """One more chunk for a slot, if there is any."""
    own = wave.estimates.left(wave.queues.of(slot), now)
    begin = now + own
    if not in_time(wave, begin, lone=started < math.inf):
        return []
    # A lone point only ever goes to an idle slot.
    index = wave.backlog.take_alone() if started < math.inf else np.empty(0, dtype=np.int64)
    lone = bool(len(index))
    if not lone:
        share = wave.estimates.share(own, unfinished, wave.backlog, wave.pool.slots)
        if started == math.inf and not share and wave.estimates.each:
            return []
        index = wave.backlog.take(min(share, room_from(wave, begin)), wave.estimates.each)
    return [_submit(wave, slot, index, started, begin, lone=lone)] if len(index) else []


def _retry_quarantined(wave: WaveState, now: float) -> list[Submit]:
    """Quarantined points, each to a host where nothing else is at work."""
    submits: list[Submit] = []
    if not wave.backlog.suspects:
        return submits
    taken = wave.at_work()
    for slot in wave.idle():
        if wave.host(slot) not in taken and in_time(wave, now) and len(index := wave.backlog.take_apart()):
            taken.add(wave.host(slot))
            submits.append(_submit(wave, slot, index, now, now, lone=True, apart=True))
    return submits


def _submit(
    wave: WaveState,
    slot: int,
    index: NDArray[np.int64],
    started: float,
    begin: float,
    *,
    lone: bool,
    apart: bool = False,
) -> Submit:
    last = time_from(wave, begin) - wave.estimates.one(int(index[0]))  # when the last of them may begin
    spend = min(wave.estimates.budget(index), max(0.0, last))
    issued = Issued(next(wave.pool.chunks), index, wave.estimates.of(index), spend, started, lone, apart)
    wave.queues.add(slot, issued)
    return Submit(slot, issued.chunk, index, spend)


def _may_queue(wave: WaveState, now: float) -> Iterator[tuple[float, int]]:
    """Slots that may be given a chunk before they are done with what they have, and when.

    Not one that is late: nobody knows for how long what is queued behind it would wait.
    """
    if len(wave.backlog) <= wave.pool.slots:
        return  # there may not be enough for slots that become idle
    if wave.estimates.long:
        return
    for slot, queue in wave.queues:
        if len(queue) == 1 and not queue[0].lone and slot in wave.pool.up:
            expected = wave.estimates.chunk(queue[0])
            due = next_due(queue[0].started, expected)
            if due < math.inf and now < queue[0].started + expected:
                yield due, slot


def _copy_stragglers(wave: WaveState, now: float) -> list[Submit]:
    """Points that are late, to slots that have nothing else to do."""
    submits = []
    for slot, index in copies_of_late_points(wave, now):
        wave.copies.add(index)
        submits.append(_submit(wave, slot, index, now, now, lone=len(index) == 1))
    return submits
