"""The scheduler: a state machine over points, attempts and slots. Time is an argument; nothing here does I/O."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from distfd.core.records import Status
from distfd.scheduling.assignment import issue, next_issue
from distfd.scheduling.lost_slots import LostSlots, overran, setup_overran
from distfd.scheduling.optional_deadlines import drop_hopeless, end_late, late_slots
from distfd.scheduling.timeouts import WORTH_ENDING, next_kill, out_of_time, overdue_slots, setup_limits
from distfd.scheduling.wave_state import WaveState
from distfd.workers.messages import SlotLost, SlotStarting, SlotUp

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from distfd.core.records import Batch
    from distfd.scheduling.assignment import Submit
    from distfd.scheduling.attempts import Attempts
    from distfd.scheduling.policy import Policy
    from distfd.scheduling.slot_pool import SlotPool
    from distfd.scheduling.slot_queues import Issued
    from distfd.workers.messages import ChunkDone, Report


class Scheduler:
    """One wave: which points go to which slot, what is tried again, and when it is over.

    A process that dies blames a point only if it had been given that one alone. Where there were more, in its chunk or
    in one queued behind (the report of a chunk that was done can die with the process), none is charged; each goes out
    again alone, and the culprit is charged then. So it is with a chunk of several points that hangs.

    Where a host runs out of memory (`SlotLost.shared`), whoever was at work there is suspected. Suspects are tried
    again once nothing else waits, each on a host where nothing else is at work, and only then are they charged.

    A straggler is given a backup on a slot that has nothing else to do. The first valid value is the point's; the other
    attempt counts nowhere, and neither does one that fails while the other goes on.

    Parameters
    ----------
    index : (n,) ndarray
        Numbers of the points to evaluate, in the order in which to issue them where no times are known.
    baseline : int or None
        The point that goes first, alone, and whose failure ends the wave.
    policy : Policy
    pool : Pool
        Outlives the wave.
    epoch : float
        Seconds to add to the ``now`` of all calls (a monotonic clock) to get time since the epoch.
    total : int, optional
        Points of the whole wave, those that need no evaluation included.
    optional : (k,) ndarray, optional
        Numbers of further points, which go out after all others, on slots that have nothing else to do. Each is tried
        once, and is given up if it is late when all others are final.
    insist : bool
        Whether the wave waits for a slot, and longer, for the optional ones.
    """

    def __init__(
        self,
        index: NDArray[np.int64],
        baseline: int | None,
        policy: Policy,
        pool: SlotPool,
        *,
        epoch: float = 0.0,
        total: int | None = None,
        optional: NDArray[np.int64] | None = None,
        insist: bool = False,
    ) -> None:
        more = np.zeros(0, dtype=np.int64) if optional is None else optional
        self._wave = WaveState(index, baseline, policy, pool, epoch=epoch, total=total, optional=more, insist=insist)
        self._losses = LostSlots(self._wave)

    @property
    def broken(self) -> str | None:
        """Why no slot can be had, once that is certain."""
        return self._losses.broken

    @property
    def finished(self) -> bool:
        """Whether every point is final or given up, or the baseline has failed for good, or no slot can be had."""
        ledger = self._wave.ledger
        done = ledger.unfinished == 0 and not len(self._wave.optional)
        return done or ledger.baseline_failed or self.broken is not None

    def take(self, report: Report, now: float) -> Attempts | None:
        """Take in what a slot reported; the attempts that ended by it, if any."""
        if isinstance(report, (SlotStarting, SlotUp)):
            self._wave.pool.take(report, now)
            return None
        if isinstance(report, SlotLost):
            ended = self._losses.take(report.slot, report.failure, now, shared=report.shared)
        else:
            ended = self._done(report, now)
        drop_hopeless(self._wave)
        return ended

    def uncounted(self) -> list[Batch]:
        """Attempts that have ended since this was asked last, and are neither tried again nor anybody's value."""
        return self._wave.discarded.take()

    def issue(self, now: float) -> list[Submit]:
        """Work for the slots that want it."""
        return [] if self.finished else issue(self._wave, now)

    def next_issue(self, now: float) -> float | None:
        """When `issue` or `out_of_time` has to be asked next, if nothing happens before."""
        return next_issue(self._wave, now)

    def overdue(self, now: float) -> tuple[list[int], list[Attempts]]:
        """Slots to kill, as what they do is past its timeout or wanted no more, and the attempts that ends."""
        wave, policy = self._wave, self._wave.policy
        late = [(slot, overran(policy.timeout or 0)) for slot in overdue_slots(wave, now)]
        late += [(slot, setup_overran(policy.setup_limit or 0)) for slot, due in setup_limits(wave) if now >= due]
        ended = [self._losses.take(slot, failure, now) for slot, failure in late]
        unwaited = end_late(wave, now)
        drop_hopeless(wave)
        return [slot for slot, _ in late] + unwaited, [attempts for attempts in ended if attempts]

    def out_of_time(self, now: float) -> bool:
        """Whether the job's time is up: at its limit, or before, if nothing runs and nothing can be done any more."""
        return not self.finished and out_of_time(self._wave, now)

    def next_deadline(self) -> float | None:
        """When `overdue` has to be asked next."""
        wave = self._wave
        limits = (*setup_limits(wave), *late_slots(wave))
        soonest = min([next_kill(wave), *(limit for _, limit in limits)])
        return soonest if soonest < math.inf else None

    def at_work(self) -> list[Issued]:
        """The chunks that slots are at, one for each that has any."""
        return [queue[0] for _, queue in self._wave.queues]

    def abandon(self, now: float, patience: float = 0.0) -> list[int]:
        """End the wave: nothing more is issued, and the slots that are still at it are to be killed.

        One that has only just begun on what another was quicker with is left to end it, and so is one that should be
        done in ``patience`` seconds; `SlotPool.draining` has them.
        """
        wave, busy = self._wave, []
        for slot, queue in wave.queues:
            if wave.unwanted(queue) and now < queue[0].started + WORTH_ENDING:
                wave.pool.draining[slot] = queue[0].started, {issued.chunk for issued in queue}
            elif patience and wave.estimates.left(queue, now) <= patience:
                wave.pool.draining[slot] = now, {issued.chunk for issued in queue}
            else:
                busy.append(slot)
                up = wave.pool.gone(slot)
                if wave.unwanted(queue):
                    wave.discarded.given_up(queue[0], up, slot, now)
        wave.ledger.unfinished = 0
        wave.forget_slots()
        return busy

    def _done(self, report: ChunkDone, now: float) -> Attempts | None:
        wave = self._wave
        issued = wave.queues.done(report.slot, report.chunk, now)
        if issued is None:
            wave.pool.reported(report.slot, report.chunk)
            return None  # of a chunk given up since
        batch = report.batch
        if wave.optional.mask(issued.index).any():
            wave.optional.again(issued.index[len(batch) :])
        else:
            wave.backlog.again(wave.released(issued.index[len(batch) :]))
            wave.optional.saw(float((batch.ended - batch.started).max(initial=0.0)))
        if len(batch):
            wave.pool.times.note_delay(now - issued.started - float(batch.ended[-1] - batch.started[0]))
        ok = batch.status == Status.OK
        wave.pool.times.note(wave.total, batch.index[ok], (batch.ended - batch.started)[ok])
        if wave.copies:
            alone = wave.copies.release(batch.index)
            counts = wave.ledger.open(batch.index) & (ok | alone)
            wave.discarded.too_late(batch.take(~counts))
            batch = batch.take(counts)
        return wave.charge(batch)
