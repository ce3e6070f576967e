"""Which points go to which slot, and when."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from distfd.scheduling.slot_queues import Issued
from distfd.scheduling.stragglers import copies_of_late_points, next_copy
from distfd.scheduling.timeouts import in_time, room_from, time_from

if TYPE_CHECKING:
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
    given = given + _retry_quarantined(wave, now) + _copy_stragglers(wave, now)
    return given + _fill_idle(wave, now) if wave.optional.waiting else given


def next_issue(wave: WaveState, now: float) -> float | None:
    """When `issue` has to be asked next, if nothing happens before."""
    times = [] if wave.policy.limit is None else [wave.policy.limit.end]
    if _worth_refilling(wave) and (refill := wave.next_refill()) is not None:
        times.append(refill)
    times.append(next_copy(wave, now))
    return min((due for due in times if now < due < math.inf), default=None)


def _give_out(wave: WaveState, now: float) -> list[Submit]:
    """Chunks of what waits, to slots that have nothing to do and to those that soon will not."""
    submits = []
    unfinished = wave.estimates.unfinished(wave.backlog, wave.queues, now)
    for slot in wave.idle():
        submits += _give(wave, slot, now, now, unfinished)
    for slot in wave.refills(now) if _worth_refilling(wave) else ():
        if len(wave.backlog) > wave.pool.slots:
            submits += _give(wave, slot, math.inf, now, unfinished)
    return submits


def _worth_refilling(wave: WaveState) -> bool:
    """Whether slots are given chunks ahead of time: not where there may not be enough for those that become idle."""
    return len(wave.backlog) > wave.pool.slots and not wave.estimates.long


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


def _fill_idle(wave: WaveState, now: float) -> list[Submit]:
    """Optional points, one to each slot for which there is nothing else."""
    submits: list[Submit] = []
    for slot in wave.idle():
        if len(wave.backlog) or not wave.optional.waiting:
            break
        if wave.estimates.one(wave.optional.next()) <= time_from(wave, now):
            submits.append(_submit(wave, slot, wave.optional.take(), now, now, lone=True))
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


def _copy_stragglers(wave: WaveState, now: float) -> list[Submit]:
    """Points that are late, to slots that have nothing else to do."""
    submits = []
    for slot, index in copies_of_late_points(wave, now):
        wave.copies.add(index)
        submits.append(_submit(wave, slot, index, now, now, lone=len(index) == 1))
    return submits
