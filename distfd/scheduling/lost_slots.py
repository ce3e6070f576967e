"""Slots whose process is gone: what becomes of their points, and which evaluation is charged for it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from distfd.core.records import Failure, Status
from distfd.scheduling.attempts import failed_attempts

if TYPE_CHECKING:
    from collections.abc import Iterable

    from distfd.scheduling.attempts import Attempts
    from distfd.scheduling.slot_queues import Issued
    from distfd.scheduling.wave_state import WaveState
    from distfd.workers.messages import SlotStarting, SlotUp


DEAD_STARTS = 5
"""Workers in a row that die before any is up, after which the cause is not an accident and no more are started."""


def overran(timeout: float) -> Failure:
    """J did not end."""
    return Failure(Status.TIMEOUT, f"timeout: still running after {timeout:g} s; its process was killed")


def setup_overran(limit: float) -> Failure:
    """J was not made ready."""
    text = (
        f"timeout: J's constructor or setup() was still running after {limit:g} s; its process was killed "
        "(evaluation.setup_timeout sets that limit)"
    )
    return Failure(Status.TIMEOUT, text)


def setup_died(failure: Failure) -> Failure:
    """J's process died while J was made ready."""
    if failure.status == Status.TIMEOUT:
        return failure
    return Failure(failure.status, f"in J's constructor or setup(): {failure.text}", failure.detail)


_IN_COMPANY = "; others were at work there, so it is tried again by itself"


class LostSlots:
    """Takes in lost slots.

    Parameters
    ----------
    wave : WaveState
    """

    def __init__(self, wave: WaveState) -> None:
        self._wave = wave
        self._ran_out: dict[str | None, int] = {}
        self.broken: str | None = None
        """Why no slot can be had, once that is certain."""

    def take(self, slot: int, failure: Failure, now: float, *, shared: bool = False) -> Attempts | None:
        """A slot has lost its process, and with it all that it had; the attempts that ended by it, if any."""
        wave, host = self._wave, self._wave.host(slot)
        starting = wave.pool.starting.get(slot)
        up = wave.pool.gone(slot)
        queue = wave.queues.drop(slot)
        if up is None and not wave.pool.up and failure.status != Status.LOST:
            return self._dead_start(slot, starting, failure, now)
        if not queue:
            return None
        if int(queue[0].index[0]) in wave.optional:
            return self._optional(queue[0], failure, up, slot, now)
        return self._ended(queue, failure, up, slot, now, host=host, shared=shared)

    def _ended(
        self,
        queue: Iterable[Issued],
        failure: Failure,
        up: SlotUp | None,
        slot: int,
        now: float,
        *,
        host: str | None,
        shared: bool,
    ) -> Attempts | None:
        """The process that had these is gone; what becomes of them."""
        wave = self._wave
        head, *behind = queue
        suspected = shared and self._in_company(host, head) and not behind and len(head.index) == 1
        if suspected:
            wave.backlog.suspect(int(head.index[0]))
            failure = replace(failure, status=Status.LOST, text=failure.text + _IN_COMPANY)
        if failure.status == Status.LOST:
            wave.discarded.lost(head, failure, up, slot, now)
            for issued in (head, *behind):
                (wave.backlog.alone if issued.lone or suspected else wave.backlog.again)(wave.released(issued.index))
            return None
        suspects = [head.index]
        for issued in behind:
            if failure.status == Status.TIMEOUT:  # what hangs is the head
                wave.backlog.again(wave.released(issued.index))
            else:
                suspects.append(issued.index)
        index = np.concatenate(suspects)
        left = wave.released(index)
        if len(index) > 1:
            wave.backlog.alone(left)
            return None
        if not len(left):
            wave.discarded.given_up(head, up, slot, now)
            return None
        started = wave.epoch + head.started
        return wave.charge(failed_attempts(failure, index, up, slot, started=started, ended=wave.epoch + now))

    def _optional(self, head: Issued, failure: Failure, up: SlotUp | None, slot: int, now: float) -> Attempts | None:
        """An optional point went with its slot: it is not tried again, whoever is to blame."""
        wave = self._wave
        if failure.status != Status.LOST:
            started = wave.epoch + head.started
            return wave.charge(failed_attempts(failure, head.index, up, slot, started=started, ended=wave.epoch + now))
        wave.discarded.lost(head, failure, up, slot, now)
        wave.optional.over(head.index)
        wave.ledger.give_up(head.index)
        return None

    def _in_company(self, host: str | None, issued: Issued) -> bool:
        """Whether others were at work on a host when it ran out, or went in the same way since this one was issued."""
        before = self._ran_out.get(host, -1)
        self._ran_out[host] = next(self._wave.pool.chunks)  # chunks have such numbers too: later ones have larger ones
        return before > issued.chunk or host in self._wave.at_work()

    def _dead_start(
        self, slot: int, starting: tuple[SlotStarting, float] | None, failure: Failure, now: float
    ) -> Attempts | None:
        """A process ended before it was of any use, and no other is up.

        Where that was J's doing it is an attempt at the point that would have been the next: once for each time that
        all slots, or five of them, went the same way.
        """
        wave = self._wave
        wave.pool.dead_starts += 1
        if wave.ledger.unfinished == 0 and wave.pool.dead_starts >= min(wave.pool.slots, DEAD_STARTS):
            wave.ledger.give_up(wave.optional.drop_waiting())
            return None
        if starting is None:
            if wave.pool.dead_starts >= DEAD_STARTS:
                self.broken = f"{DEAD_STARTS} workers in a row died while starting: {failure.text}"
            return None
        if wave.pool.dead_starts % min(wave.pool.slots, DEAD_STARTS) or not len(wave.backlog):
            return None
        process, since = starting
        index = wave.backlog.take_alone()
        index = index if len(index) else wave.backlog.take(0.0, None)
        last = wave.ledger.is_last(int(index[0]), failure.status)
        if last and index[0] != wave.baseline:
            # No other point would fare better, and there may be a million.
            index = np.concatenate((index, wave.backlog.take_all()))
        times = {"started": wave.epoch + since, "ended": wave.epoch + now}
        return wave.charge(failed_attempts(setup_died(failure), index, process, slot, **times), last=last)
