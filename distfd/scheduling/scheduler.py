"""The scheduler: a state machine over points, attempts and slots. Time is an argument; nothing here does I/O."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from distfd.protocols import ChunkDone, SlotLost, SlotUp
from distfd.records import Batch, Failure, Status
from distfd.scheduling.aside import Aside
from distfd.scheduling.backlog import Backlog
from distfd.scheduling.backups import Backups, portions
from distfd.scheduling.chunks import backup_due, next_due
from distfd.scheduling.estimates import Estimates
from distfd.scheduling.ledger import Ledger
from distfd.scheduling.queues import Issued, Queues

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from distfd.protocols import Report
    from distfd.scheduling.ledger import Attempts
    from distfd.scheduling.policy import Policy
    from distfd.scheduling.pool import Pool

_GRACE = 3.0
"""Seconds past its timeout that a model which limits itself is given to say so."""
_DEAD_STARTS = 5
"""So many workers in a row that die before they are up, while none is, and it is no accident."""
_WORTH_ENDING = 1.0
"""Seconds that a slot may go on with what nobody wants any more: to start another process takes as long."""
_SEEN = 3
"""Evaluations that must have ended before one can be said to be late."""


@dataclass(frozen=True, eq=False)
class Submit:
    """Give these points to that slot."""

    slot: int
    chunk: int
    index: NDArray[np.int64]
    budget: float


class Scheduler:
    """One wave: which points go to which slot, what is tried again, and when it is over.

    A process that dies blames a point only if it had been given that one alone. Where there were more, in its chunk or
    in one queued behind (the report of a chunk that was done can die with the process), none is charged; each goes out
    again alone, and the culprit is charged then. So it is with a chunk of several points that hangs.

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
    """

    def __init__(
        self,
        index: NDArray[np.int64],
        baseline: int | None,
        policy: Policy,
        pool: Pool,
        *,
        epoch: float = 0.0,
        total: int | None = None,
    ) -> None:
        self._total = total or int(index.max(initial=-1)) + 1
        self._estimates = Estimates(pool.times, self._total)
        first = baseline is not None and baseline in index
        self._backlog = Backlog(index[index != baseline] if first else index, self._estimates.by_point)
        if first:
            self._backlog.alone(np.array([baseline]))
        self._policy = policy
        self._pool = pool
        self._epoch = epoch
        self._queues = Queues()
        self._backups = Backups()
        self._aside = Aside(epoch)
        self._ledger = Ledger(self._total, len(index), baseline, policy.retries)
        self.broken: str | None = None
        """Why no slot can be had, once that is certain."""

    @property
    def finished(self) -> bool:
        """Whether every point is final, or the baseline has failed for good, or no slot can be had."""
        return self._ledger.unfinished == 0 or self._ledger.baseline_failed or self.broken is not None

    def take(self, report: Report, now: float) -> Attempts | None:
        """Take in what a slot reported; the attempts that ended by it, if any."""
        if isinstance(report, SlotUp):
            self._pool.up[report.slot] = report
            self._pool.dead_starts = 0
            return None
        if isinstance(report, SlotLost):
            return self._lost(report.slot, report.failure, now)
        return self._done(report, now)

    def uncounted(self) -> list[Batch]:
        """Attempts that have ended since this was asked last, and are neither tried again nor anybody's value."""
        return self._aside.take()

    def issue(self, now: float) -> list[Submit]:
        """Work for the slots that want it."""
        if self.finished:
            return []
        submits = [submit for slot in self._idle() for submit in self._give(slot, now, now)]
        for slot in [slot for due, slot in self._may_queue(now) if due <= now]:
            if len(self._backlog) > self._pool.slots:
                submits += self._give(slot, math.inf, now)
        return submits + self._back_up(now)

    def next_issue(self, now: float) -> float | None:
        """When `issue` has to be asked next, if nothing happens before."""
        times = [due for due, _ in self._may_queue(now)]
        if self._idle():
            times += [due for due, _ in self._late()]
        return min((due for due in times if due > now), default=None)

    def overdue(self, now: float) -> tuple[list[int], list[Attempts]]:
        """Slots to kill, as what they do is past its timeout or wanted no more, and the attempts that ends."""
        kills, ended = [], []
        for slot, limit in self._limits():
            if now >= limit:
                kills.append(slot)
                text = f"timeout: still running after {self._policy.timeout or 0:g} s; its process was killed"
                attempts = self._lost(slot, Failure(Status.TIMEOUT, text), now)
                ended += [attempts] if attempts else []
        return kills, ended

    def next_deadline(self) -> float | None:
        """When `overdue` has to be asked next."""
        return min((limit for _, limit in self._limits()), default=None)

    def abandon(self, now: float) -> list[int]:
        """End the wave: nothing more is issued, and the slots that are still at it are to be killed.

        One that has only just begun on what another was quicker with is left to end it; `Pool.draining` has it.
        """
        busy = []
        for slot, queue in self._queues:
            if self._unwanted(queue) and now < queue[0].started + _WORTH_ENDING:
                self._pool.draining[slot] = queue[0].started, {issued.chunk for issued in queue}
            else:
                busy.append(slot)
                up = self._pool.gone(slot)
                if self._unwanted(queue):
                    self._aside.given_up(queue[0], up, slot, now)
        self._ledger.unfinished = 0
        self._queues = Queues()
        return busy

    def _limits(self) -> Iterator[tuple[int, float]]:
        """Slots and when each is to be killed."""
        for slot, (since, _) in list(self._pool.draining.items()):
            yield slot, since + _WORTH_ENDING
        timeout = self._policy.timeout
        if timeout is None and not self._backups:
            return
        for slot, queue in self._queues:
            head = queue[0]
            if self._backups and self._unwanted(queue):
                yield slot, head.started + _WORTH_ENDING
            elif timeout is not None:
                # Between points a slot looks at its budget, so at any time one evaluation is running that began in it.
                slack = head.budget if len(head.index) > 1 else 0.0
                yield slot, head.started + timeout + slack + (_GRACE if self._policy.limits_itself else 0.0)

    def _unwanted(self, queue: Iterable[Issued]) -> bool:
        return not any(self._ledger.open(issued.index).any() for issued in queue)

    def _idle(self) -> list[int]:
        return [slot for slot in self._pool.idle() if slot not in self._queues]

    def _give(self, slot: int, started: float, now: float) -> list[Submit]:
        """One more chunk for a slot, if there is any."""
        # A lone point only ever goes to an idle slot.
        index = self._backlog.take_alone() if started < math.inf else np.empty(0, dtype=np.int64)
        lone = bool(len(index))
        if not lone:
            share = self._estimates.share(slot, now, self._backlog, self._queues, self._pool.slots)
            index = self._backlog.take(share, self._pool.times.mean)
        return [self._submit(slot, index, started, lone)] if len(index) else []

    def _submit(self, slot: int, index: NDArray[np.int64], started: float, lone: bool) -> Submit:
        spend = self._estimates.budget(index)
        issued = Issued(next(self._pool.chunks), index, self._estimates.of(index), spend, started, lone)
        self._queues.add(slot, issued)
        return Submit(slot, issued.chunk, index, spend)

    def _may_queue(self, now: float) -> Iterator[tuple[float, int]]:
        """Slots that may be given a chunk before they are done with what they have, and when.

        Not one that is late: nobody knows for how long what is queued behind it would wait.
        """
        if len(self._backlog) <= self._pool.slots:
            return  # there may not be enough for slots that become idle
        for slot, queue in self._queues:
            if len(queue) == 1 and not queue[0].lone and slot in self._pool.up:
                expected = self._estimates.chunk(queue[0])
                due = next_due(queue[0].started, expected)
                if due < math.inf and now < queue[0].started + expected:
                    yield due, slot

    def _late(self) -> Iterator[tuple[float, Issued]]:
        """Chunks that may have a backup, and from when on: a straggler's, and what waits behind it."""
        if not self._policy.backups or len(self._backlog):
            return
        if self._pool.times.count < _SEEN or not self._ledger.half_done:
            return
        for _, queue in self._queues:
            due = -math.inf
            for issued in queue:
                if issued.started < math.inf:
                    due = backup_due(issued.started, self._estimates.chunk(issued))
                if len(self._single(issued.index)):
                    yield due, issued

    def _back_up(self, now: float) -> list[Submit]:
        """What is late, spread over slots that have nothing else to do."""
        idle = self._idle()
        late = [issued for due, issued in self._late() if due <= now] if idle else []
        parts = portions(late, self._single, lambda n: self._estimates.points(n, self._pool.slots))
        submits = []
        for slot, part in zip(idle, parts, strict=False):
            self._backups.add(part)
            submits.append(self._submit(slot, part, now, len(part) == 1))
        return submits

    def _single(self, index: NDArray[np.int64]) -> NDArray[np.int64]:
        """Those of the points that are not final and have no backup."""
        return self._backups.without(index[self._ledger.open(index)])

    def _done(self, report: ChunkDone, now: float) -> Attempts | None:
        issued = self._queues.done(report.slot, report.chunk, now)
        if issued is None:
            self._pool.reported(report.slot, report.chunk)
            return None  # of a chunk given up since
        batch = report.batch
        self._backlog.again(self._released(issued.index[len(batch) :]))
        ok = batch.status == Status.OK
        self._pool.times.note(self._total, batch.index[ok], (batch.ended - batch.started)[ok])
        if self._backups:
            alone = self._backups.release(batch.index)
            counts = self._ledger.open(batch.index) & (ok | alone)
            self._aside.too_late(batch.take(~counts))
            batch = batch.take(counts)
        return self._charge(batch)

    def _charge(self, batch: Batch) -> Attempts:
        attempts = self._ledger.charge(batch)
        if not attempts.final.all():
            self._backlog.alone(batch.index[~attempts.final])
        return attempts

    def _released(self, index: NDArray[np.int64]) -> NDArray[np.int64]:
        """Points given out whose attempt came to nothing: those that are neither final nor with another slot."""
        return index[self._backups.release(index) & self._ledger.open(index)] if self._backups else index

    def _lost(self, slot: int, failure: Failure, now: float) -> Attempts | None:
        up = self._pool.gone(slot)
        queue = self._queues.drop(slot)
        if up is None and not self._pool.up and failure.status != Status.LOST:
            self._pool.dead_starts += 1
            if self._pool.dead_starts >= _DEAD_STARTS:
                self.broken = f"{_DEAD_STARTS} workers in a row died while starting: {failure.text}"
        if not queue:
            return None
        head, *behind = queue
        if failure.status == Status.LOST:
            self._aside.lost(head, failure, up, slot, now)
            for issued in queue:
                (self._backlog.alone if issued.lone else self._backlog.again)(self._released(issued.index))
            return None
        suspects = [head.index]
        for issued in behind:
            if failure.status == Status.TIMEOUT:  # what hangs is the head
                self._backlog.again(self._released(issued.index))
            else:
                suspects.append(issued.index)
        index = np.concatenate(suspects)
        left = self._released(index)
        if len(index) > 1:
            self._backlog.alone(left)
            return None
        if not len(left):
            self._aside.given_up(head, up, slot, now)
        return self._charge(self._ended_by(failure, head, up, slot, now)) if len(left) else None

    def _ended_by(self, failure: Failure, head: Issued, up: SlotUp | None, slot: int, now: float) -> Batch:
        """The record of an attempt whose process died under it."""
        return Batch(
            index=head.index,
            status=np.array([failure.status], dtype=np.uint8),
            size=np.zeros(1, dtype=np.int64),
            flat=np.empty(0),
            started=np.array([self._epoch + head.started]),
            ended=np.array([self._epoch + now]),
            attempt=np.ones(1, dtype=np.int32),
            host=up.host if up else "",
            pid=up.pid if up else 0,
            slot=slot,
            failures={int(head.index[0]): failure},
        )
