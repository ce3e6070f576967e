"""When a wave gives up optional points: those that are late, and those that would take long once all else is done."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distfd.scheduling.wave_state import WaveState

_SHORT = 0.5
"""Seconds of an evaluation that is worth waiting for even where no slot was idle before all others were done."""


def late_slots(wave: WaveState) -> Iterator[tuple[int, float]]:
    """Slots with optional points that nothing else waits for, and when these are late."""
    if not len(wave.optional) or not (wave.ledger.unfinished == 0 or _in_the_way(wave)):
        return
    usual, delay = wave.pool.times.median or 0.0, wave.pool.times.delay
    for slot, queue in wave.queues:
        if int(queue[0].index[0]) in wave.optional:
            yield slot, -math.inf if _in_the_way(wave) else wave.optional.due(queue[0], usual, delay)


def drop_hopeless(wave: WaveState) -> None:
    """Give up points that wait, where all others are done and waiting for these would take long."""
    optional = wave.optional
    if not optional.waiting or wave.ledger.unfinished or optional.insist:
        return
    usual = wave.pool.times.median
    if usual is None or usual > _SHORT or not wave.idle():
        wave.ledger.give_up(optional.drop_waiting())


def end_late(wave: WaveState, now: float) -> list[int]:
    """Slots to kill, as their optional points are late; these are given up."""
    slots = [slot for slot, due in late_slots(wave) if now >= due]
    for slot in slots:
        queue = wave.queues.drop(slot)
        wave.discarded.not_waited_for(queue[0], wave.pool.gone(slot), slot, now)
        wave.optional.over(queue[0].index)
        wave.ledger.give_up(queue[0].index)
    return slots


def _in_the_way(wave: WaveState) -> bool:
    """Whether points wait for hosts where nothing else is at work."""
    return wave.backlog.suspects and bool(len(wave.backlog))
