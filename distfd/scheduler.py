"""The scheduler: a state machine over points, attempts and slots. Time is an argument; nothing here does I/O."""

from __future__ import annotations

import itertools
import math
from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from distfd.chunks import budget, chunk_size, may_queue
from distfd.protocols import ChunkDone, SlotLost, SlotUp
from distfd.records import Batch, Failure, Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from distfd.protocols import Report

_GRACE = 3.0
"""Seconds past its timeout that a model which limits itself is given to say so."""
_DEAD_STARTS = 5
"""So many workers in a row that die before they are up, while none is, and it is no accident."""


@dataclass(frozen=True)
class Policy:
    """What is tried again, and when an evaluation has run too long."""

    retries: dict[Status, int]
    """Further tries after the first, by the status that ended it."""
    timeout: float | None = None
    """Seconds from the start of J."""
    limits_itself: bool = False
    """Whether the model ends itself at the timeout; the slot is then ended only `_GRACE` later."""


@dataclass
class Pool:
    """What a session knows of its slots, from one wave to the next."""

    slots: int
    up: dict[int, SlotUp] = field(default_factory=dict)
    seconds: float = 0.0
    """Time spent in `count` successful evaluations."""
    count: int = 0
    dead_starts: int = 0
    chunks: Iterator[int] = field(default_factory=itertools.count)
    """Numbers of chunks: never the same twice, so that a late report of an earlier wave is known as such."""

    @property
    def mean(self) -> float | None:
        """Mean seconds of an evaluation; None until one has ended."""
        return self.seconds / self.count if self.count else None


@dataclass(frozen=True, eq=False)
class Submit:
    """Give these points to that slot."""

    slot: int
    chunk: int
    index: NDArray[np.int64]
    budget: float


@dataclass(frozen=True, eq=False)
class Attempts:
    """Attempts that ended; ``final`` marks those that are not tried again."""

    batch: Batch
    final: NDArray[np.bool_]


@dataclass(eq=False)
class _Issued:
    chunk: int
    index: NDArray[np.int64]
    budget: float
    started: float
    """When it came to the head of its slot's queue; infinite before."""
    lone: bool
    """Whether nothing may be queued behind it."""


class Scheduler:
    """One wave: which points go to which slot, what is tried again, and when it is over.

    A process that dies blames a point only if it had been given that one alone. Where there were more, in its chunk or
    in one queued behind (the report of a chunk that was done can die with the process), none is charged; each goes out
    again alone, and the culprit is charged then. So it is with a chunk of several points that hangs.

    Parameters
    ----------
    index : (n,) ndarray
        Numbers of the points to evaluate, in the order in which to issue them.
    baseline : int or None
        The point that goes first, alone, and whose failure ends the wave.
    policy : Policy
    pool : Pool
        Outlives the wave.
    epoch : float
        Seconds to add to the ``now`` of all calls (a monotonic clock) to get time since the epoch.
    """

    def __init__(
        self, index: NDArray[np.int64], baseline: int | None, policy: Policy, pool: Pool, epoch: float = 0.0
    ) -> None:
        self._fresh = index
        self._cursor = 0
        self._again: deque[NDArray[np.int64]] = deque()
        self._lone: deque[int] = deque()
        if baseline is not None and baseline in index:
            self._lone.append(baseline)
            self._fresh = index[index != baseline]
        self._baseline = baseline
        self._policy = policy
        self._pool = pool
        self._epoch = epoch
        self._queues: dict[int, deque[_Issued]] = {}
        self._tries: dict[int, dict[Status, int]] = {}
        self._unfinished = len(index)
        self._waiting = len(index)
        self._baseline_failed = False
        self.broken: str | None = None
        """Why no slot can be had, once that is certain."""

    @property
    def finished(self) -> bool:
        """Whether every point is final, or the baseline has failed for good, or no slot can be had."""
        return self._unfinished == 0 or self._baseline_failed or self.broken is not None

    def take(self, report: Report, now: float) -> Attempts | None:
        """Take in what a slot reported; the attempts that ended by it, if any."""
        if isinstance(report, SlotUp):
            self._pool.up[report.slot] = report
            self._pool.dead_starts = 0
            return None
        if isinstance(report, SlotLost):
            return self._lost(report.slot, report.failure, now)
        return self._done(report, now)

    def overdue(self, now: float) -> tuple[list[int], list[Attempts]]:
        """Slots to kill, as their evaluation has run past its timeout, and the attempts that ends."""
        kills, ended = [], []
        for slot in list(self._queues):
            limit = self._deadline(slot)
            if limit is not None and now >= limit:
                kills.append(slot)
                text = f"timeout: still running after {self._policy.timeout:g} s; its process was killed"
                attempts = self._lost(slot, Failure(Status.TIMEOUT, text), now)
                ended += [attempts] if attempts else []
        return kills, ended

    def issue(self, now: float) -> list[Submit]:
        """Work for the slots that want it."""
        if self.finished or not self._waiting:
            return []
        submits: list[Submit] = []
        for slot in self._pool.up:
            if not self._queues.get(slot):
                submits += self._give(slot, now)
        for slot in self._pool.up:
            queue = self._queues.setdefault(slot, deque())
            if len(queue) == 1 and not queue[0].lone and may_queue(self._waiting, self._pool.slots, self._pool.mean):
                submits += self._give(slot, math.inf)
        return submits

    def abandon(self) -> list[int]:
        """End the wave: nothing more is issued, and the slots that are still at it are to be killed."""
        self._unfinished = 0
        busy = [slot for slot, queue in self._queues.items() if queue]
        for slot in busy:
            self._pool.up.pop(slot, None)
        self._queues.clear()
        return busy

    def next_deadline(self) -> float | None:
        """When `overdue` has to be asked next."""
        limits = [limit for slot in self._queues if (limit := self._deadline(slot)) is not None]
        return min(limits, default=None)

    def _deadline(self, slot: int) -> float | None:
        queue = self._queues.get(slot)
        if self._policy.timeout is None or not queue:
            return None
        head = queue[0]
        # Between points a slot looks at its budget, so at any time one evaluation is running that began in it.
        slack = head.budget if len(head.index) > 1 else 0.0
        return head.started + self._policy.timeout + slack + (_GRACE if self._policy.limits_itself else 0.0)

    def _give(self, slot: int, started: float) -> list[Submit]:
        """One more chunk for a slot, if there is any."""
        # A lone point only ever goes to an idle slot.
        lone = started < math.inf and bool(self._lone)
        index = np.array([self._lone.popleft()], dtype=np.int64) if lone else self._next_points()
        if not len(index):
            return []
        self._waiting -= len(index)
        issued = _Issued(next(self._pool.chunks), index, budget(len(index), self._pool.mean), started, lone)
        self._queues.setdefault(slot, deque()).append(issued)
        return [Submit(slot, issued.chunk, index, issued.budget)]

    def _done(self, report: ChunkDone, now: float) -> Attempts | None:
        queue = self._queues.get(report.slot, deque())
        issued = next((issued for issued in queue if issued.chunk == report.chunk), None)
        if issued is None:
            return None  # of a chunk given up since
        queue.remove(issued)
        if queue:
            queue[0].started = min(queue[0].started, now)
        batch = report.batch
        if len(batch) < len(issued.index):
            self._requeue(issued.index[len(batch) :])
        ok = batch.status == Status.OK
        self._pool.seconds += float((batch.ended - batch.started)[ok].sum())
        self._pool.count += int(ok.sum())
        return self._charge(batch)

    def _lost(self, slot: int, failure: Failure, now: float) -> Attempts | None:
        up = self._pool.up.pop(slot, None)
        queue = self._queues.pop(slot, None)
        if up is None and not self._pool.up and failure.status != Status.LOST:
            self._pool.dead_starts += 1
            if self._pool.dead_starts >= _DEAD_STARTS:
                self.broken = f"{_DEAD_STARTS} workers in a row died while starting: {failure.text}"
        if not queue:
            return None
        if failure.status == Status.LOST:
            for issued in queue:
                (self._isolate if issued.lone else self._requeue)(issued.index)
            return None
        head, *behind = queue
        suspects = head.index
        for issued in behind:
            if failure.status == Status.TIMEOUT:  # what hangs is the head
                self._requeue(issued.index)
            else:
                suspects = np.concatenate((suspects, issued.index))
        if len(suspects) > 1:
            self._isolate(suspects)
            return None
        return self._charge(self._ended_by(failure, head, up, slot, now))

    def _ended_by(self, failure: Failure, head: _Issued, up: SlotUp | None, slot: int, now: float) -> Batch:
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

    def _charge(self, batch: Batch) -> Attempts:
        """Count the attempts and decide which are final."""
        final = np.ones(len(batch), dtype=bool)
        attempt = batch.attempt.copy()
        for r in self._charged_rows(batch):
            k, status = int(batch.index[r]), Status(int(batch.status[r]))
            tries = self._tries.setdefault(k, {})
            attempt[r] = 1 + sum(tries.values())
            tries[status] = tries.get(status, 0) + 1
            if status != Status.OK and tries[status] <= self._policy.retries.get(status, 0):
                final[r] = False
                self._isolate(batch.index[r : r + 1])
        self._unfinished -= int(final.sum())
        if batch.failures and self._baseline is not None:
            self._baseline_failed |= bool(np.any(final & (batch.index == self._baseline) & (batch.status != Status.OK)))
        return Attempts(replace(batch, attempt=attempt), final)

    def _charged_rows(self, batch: Batch) -> Iterable[int]:
        """Rows that failed now or before; the rest, nearly all, are first tries that went well."""
        if not batch.failures and not self._tries:
            return ()
        return [r for r in range(len(batch)) if batch.status[r] != Status.OK or int(batch.index[r]) in self._tries]

    def _requeue(self, index: NDArray[np.int64]) -> None:
        self._again.append(index)
        self._waiting += len(index)

    def _isolate(self, index: NDArray[np.int64]) -> None:
        """Have each of these points evaluated alone."""
        self._lone.extend(index.tolist())
        self._waiting += len(index)

    def _next_points(self) -> NDArray[np.int64]:
        size = chunk_size(self._waiting, self._pool.slots, self._pool.mean)
        if self._again:
            index = self._again.popleft()
            if len(index) > size:
                self._again.appendleft(index[size:])
            return index[:size]
        index = self._fresh[self._cursor : self._cursor + size]
        self._cursor += len(index)
        return index
