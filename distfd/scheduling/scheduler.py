"""The scheduler: a state machine over points, attempts and slots. Time is an argument; nothing here does I/O."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from distfd.protocols import ChunkDone, SlotLost, SlotStarting, SlotUp
from distfd.records import Failure, Status
from distfd.scheduling.aside import Aside
from distfd.scheduling.backlog import Backlog
from distfd.scheduling.backups import Backups, portions
from distfd.scheduling.chunks import backup_due, next_due
from distfd.scheduling.deaths import DEAD_STARTS, overran, record, setup_died, setup_overran
from distfd.scheduling.estimates import Estimates
from distfd.scheduling.ledger import Ledger
from distfd.scheduling.queues import Issued, Queues

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from distfd.protocols import Report
    from distfd.records import Batch
    from distfd.scheduling.ledger import Attempts
    from distfd.scheduling.policy import Policy
    from distfd.scheduling.pool import Pool

_GRACE = 3.0
"""Seconds past its timeout that a model which limits itself is given to say so."""
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
        self._baseline = baseline
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
        if isinstance(report, (SlotStarting, SlotUp)):
            self._pool.take(report, now)
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
        """When `issue` or `out_of_time` has to be asked next, if nothing happens before."""
        times = [] if self._policy.limit is None else [self._policy.limit.until]
        times += [due for due, _ in self._may_queue(now)]
        if self._idle():
            times += [due for due, _ in self._late()]
        return min((due for due in times if due > now), default=None)

    def overdue(self, now: float) -> tuple[list[int], list[Attempts]]:
        """Slots to kill, as what they do is past its timeout or wanted no more, and the attempts that ends."""
        late = [(slot, overran(self._policy.timeout or 0)) for slot, limit in self._limits() if now >= limit]
        late += [(slot, setup_overran(self._policy.setup_limit or 0)) for slot, due in self._setups() if now >= due]
        ended = [self._lost(slot, failure, now) for slot, failure in late]
        return [slot for slot, _ in late], [attempts for attempts in ended if attempts]

    def out_of_time(self, now: float) -> bool:
        """Whether the job's time is up: at its limit, or before, if nothing runs and nothing can be done any more."""
        limit = self._policy.limit
        if limit is None or self.finished:
            return False
        return now >= limit.until or (not self._queues and not self._in_time(now))

    def next_deadline(self) -> float | None:
        """When `overdue` has to be asked next."""
        return min((limit for _, limit in (*self._limits(), *self._setups())), default=None)

    def at_work(self) -> list[Issued]:
        """The chunks that slots are at, one for each that has any."""
        return [queue[0] for _, queue in self._queues]

    def abandon(self, now: float, patience: float = 0.0) -> list[int]:
        """End the wave: nothing more is issued, and the slots that are still at it are to be killed.

        One that has only just begun on what another was quicker with is left to end it, and so is one that should be
        done in ``patience`` seconds; `Pool.draining` has them.
        """
        busy = []
        for slot, queue in self._queues:
            if self._unwanted(queue) and now < queue[0].started + _WORTH_ENDING:
                self._pool.draining[slot] = queue[0].started, {issued.chunk for issued in queue}
            elif patience and self._estimates.left(queue, now) <= patience:
                self._pool.draining[slot] = now, {issued.chunk for issued in queue}
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

    def _setups(self) -> Iterator[tuple[int, float]]:
        """Slots whose J is being made ready, and when each is to be killed."""
        if self._policy.setup_limit is not None:
            for slot, (_, since) in self._pool.starting.items():
                yield slot, since + self._policy.setup_limit

    def _unwanted(self, queue: Iterable[Issued]) -> bool:
        return not any(self._ledger.open(issued.index).any() for issued in queue)

    def _idle(self) -> list[int]:
        return [slot for slot in self._pool.idle() if slot not in self._queues]

    def _give(self, slot: int, started: float, now: float) -> list[Submit]:
        """One more chunk for a slot, if there is any."""
        begin = started if started < math.inf else now + self._estimates.left(self._queues.of(slot), now)
        if not self._in_time(begin, lone=started < math.inf):
            return []
        # A lone point only ever goes to an idle slot.
        index = self._backlog.take_alone() if started < math.inf else np.empty(0, dtype=np.int64)
        lone = bool(len(index))
        if not lone:
            share = self._estimates.share(slot, now, self._backlog, self._queues, self._pool.slots)
            share = min(share, self._time_from(begin))
            index = self._backlog.take(share, self._pool.times.mean)
        return [self._submit(slot, index, started, begin, lone=lone)] if len(index) else []

    def _submit(self, slot: int, index: NDArray[np.int64], started: float, begin: float, *, lone: bool) -> Submit:
        last = self._time_from(begin) - self._estimates.one(int(index[0]))  # when the last of them may begin
        spend = min(self._estimates.budget(index), max(0.0, last))
        issued = Issued(next(self._pool.chunks), index, self._estimates.of(index), spend, started, lone)
        self._queues.add(slot, issued)
        return Submit(slot, issued.chunk, index, spend)

    def _time_from(self, begin: float) -> float:
        """Seconds from then to the end of the job's time."""
        limit = self._policy.limit
        return math.inf if limit is None or begin == math.inf else max(0.0, limit.until - begin)

    def _in_time(self, begin: float, *, lone: bool = True) -> bool:
        """Whether the next point, begun then, should be done before the job's time is up."""
        if self._policy.limit is None:
            return True
        point = self._backlog.next(lone=lone)
        left = self._time_from(begin)
        return left > 0 and (point is None or self._estimates.one(point) <= left)

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
        left = self._time_from(now)
        late = [issued for issued in late if self._estimates.one(int(issued.index[0])) <= left]
        parts = portions(late, self._single, lambda n: self._estimates.points(n, self._pool.slots))
        submits = []
        for slot, part in zip(idle, parts, strict=False):
            self._backups.add(part)
            submits.append(self._submit(slot, part, now, now, lone=len(part) == 1))
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

    def _charge(self, batch: Batch, *, last: bool = False) -> Attempts:
        attempts = self._ledger.charge(batch, last=last)
        if not attempts.final.all():
            self._backlog.alone(batch.index[~attempts.final])
        return attempts

    def _released(self, index: NDArray[np.int64]) -> NDArray[np.int64]:
        """Points given out whose attempt came to nothing: those that are neither final nor with another slot."""
        return index[self._backups.release(index) & self._ledger.open(index)] if self._backups else index

    def _lost(self, slot: int, failure: Failure, now: float) -> Attempts | None:
        starting = self._pool.starting.get(slot)
        up = self._pool.gone(slot)
        queue = self._queues.drop(slot)
        if up is None and not self._pool.up and failure.status != Status.LOST:
            return self._dead_start(slot, starting, failure, now)
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
            return None
        started = self._epoch + head.started
        return self._charge(record(failure, index, up, slot, started=started, ended=self._epoch + now))

    def _dead_start(
        self, slot: int, starting: tuple[SlotStarting, float] | None, failure: Failure, now: float
    ) -> Attempts | None:
        """A process ended before it was of any use, and no other is up.

        Where that was J's doing it is an attempt at the point that would have been the next: once for each time that
        all slots, or five of them, went the same way.
        """
        self._pool.dead_starts += 1
        if starting is None:
            if self._pool.dead_starts >= DEAD_STARTS:
                self.broken = f"{DEAD_STARTS} workers in a row died while starting: {failure.text}"
            return None
        if self._pool.dead_starts % min(self._pool.slots, DEAD_STARTS) or not len(self._backlog):
            return None
        process, since = starting
        index = self._backlog.take_alone()
        index = index if len(index) else self._backlog.take(0.0, None)
        last = self._ledger.is_last(int(index[0]), failure.status)
        if last and index[0] != self._baseline:
            # No other point would fare better, and there may be a million.
            index = np.concatenate((index, self._backlog.take_all()))
        times = {"started": self._epoch + since, "ended": self._epoch + now}
        return self._charge(record(setup_died(failure), index, process, slot, **times), last=last)
