"""A discrete-event simulation of slots, under the scheduler instead of an executor."""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from distfd.core.records import Batch, Failure, Status
from distfd.workers.messages import ChunkDone, SlotLost, SlotStarting, SlotUp

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from numpy.typing import NDArray

    from distfd.scheduling.assignment import Submit
    from distfd.scheduling.attempts import Attempts
    from distfd.scheduling.scheduler import Scheduler
    from distfd.workers.messages import Report

FOREVER = 10**9


def batch_of(index: Sequence[int] | NDArray[np.int64], status: Sequence[Status], times: Sequence[float]) -> Batch:
    """A batch whose evaluation r lasts from ``times[r]`` to ``times[r + 1]``."""
    n = len(status)
    ok = np.array(status) == Status.OK
    numbers = np.asarray(index, dtype=np.int64)[:n]
    return Batch(
        index=numbers,
        status=np.array(status, dtype=np.uint8),
        size=ok.astype(np.int64),
        flat=numbers[ok].astype(np.float64),
        started=np.array(times[:n], dtype=np.float64),
        ended=np.array(times[1 : n + 1], dtype=np.float64),
        attempt=np.ones(n, dtype=np.int32),
        host="simulated",
        pid=1,
        slot=0,
        failures={int(numbers[r]): Failure(status[r], "planned") for r in range(n) if not ok[r]},
    )


@dataclass(frozen=True)
class Plan:
    """How a point ends: in ``status`` for as many charged attempts, then well."""

    status: Status
    times: int = FOREVER


@dataclass
class _Process:
    """What runs in a slot; ``life`` tells it from the ones before."""

    life: int
    chunks: deque[Submit] = field(default_factory=deque)
    unreported: int = 0
    """Chunks at the front of the queue that are done and whose report is on its way."""
    since: float = math.inf
    """When the evaluation that will never end began."""


class SimulatedSlots:
    """Slots that take simulated time, die, hang and come back, and check what the scheduler does to them.

    Parameters
    ----------
    seconds : callable
        Point number -> seconds that J takes there.
    plans : mapping
        Points that do not simply go well.
    start : callable
        Slot -> seconds until it is up; None where its process dies while starting.
    lag : float
        Longest time that the report of a finished chunk is on its way; a death of the process overtakes it.
    hogs : collection of int
        Points whose crash takes with it whoever else is at work.
    losses : sequence of (time, slot)
        When a slot's node goes away.
    slowness : callable
        Slot -> by what its evaluations take longer.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        slots: int,
        seconds: Callable[[int], float],
        *,
        plans: Mapping[int, Plan] | None = None,
        start: Callable[[int], float | None] = lambda _: 0.0,
        lag: float = 0.0,
        hogs: Collection[int] = (),
        losses: Sequence[tuple[float, int]] = (),
        overhead: float = 0.0,
        slowness: Callable[[int], float] = lambda _: 1.0,
        seed: int = 0,
    ) -> None:
        self.scheduler = scheduler
        self.slowness = slowness
        self.seconds = seconds
        self.plans = dict(plans or {})
        self.start = start
        self.lag = lag
        self.overhead = overhead
        self.hogs = hogs
        self.random = random.Random(seed)
        self.now = 0.0
        self.steps = 0
        self.submitted: list[Submit] = []
        self.final: dict[int, tuple[Status, int]] = {}
        """Status and attempt of each final point."""
        self.charged: Counter[int] = Counter()
        """Failed attempts by point."""
        self.runs: Counter[int] = Counter()
        """How often J was begun at each point."""
        self.lost: Counter[int] = Counter()
        """How often a slot ended with the point in its queue, uncharged."""
        self.suspected: Counter[int] = Counter()
        """How often that was because the point might have ended it."""
        self.backups: Counter[int] = Counter()
        """How often a point went out while it was with a slot."""
        self.cancelled: Counter[int] = Counter()
        """How often a slot was ended as its optional point was late."""
        self.busy_until: dict[int, float] = {}
        self._in_flight: Counter[int] = Counter()
        self._events: list[tuple[float, int, int, int, Report]] = []
        self._serial = itertools.count()
        self._processes: dict[int, _Process] = {}
        self._losses = deque(sorted(losses))
        for slot in range(slots):
            self._launch(slot)

    def run(self, limit: int = 20_000) -> SimulatedSlots:
        """Go on until the wave is over."""
        while not self.scheduler.finished:
            self.step()
            assert self.steps < limit, "the wave does not end"
        return self

    def step(self) -> None:
        """Issue what there is, then let the next thing happen."""
        self.steps += 1
        for submit in self.scheduler.issue(self.now):
            self._accept(submit)
        assert not self.scheduler.issue(self.now), "all that could be issued was not"
        upcoming = [self._events[0][0]] if self._events else []
        upcoming += [self._losses[0][0]] if self._losses else []
        looks = self.scheduler.next_deadline(), self.scheduler.next_issue(self.now)
        upcoming += [look for look in looks if look is not None]
        assert upcoming, "nothing will ever happen again"
        self.now = max(self.now, min(upcoming))
        while self._losses and self._losses[0][0] <= self.now:
            self._die(self._losses.popleft()[1], Failure(Status.LOST, "node gone"))
        while self._events and self._events[0][0] <= self.now:
            _, _, slot, life, report = heapq.heappop(self._events)
            if self._processes[slot].life == life:
                self._deliver(slot, report)
        self._check_overdue()

    def _launch(self, slot: int) -> None:
        seconds = self.start(slot)
        self._processes[slot] = _Process(next(self._serial))
        died = SlotLost(slot, Failure(Status.CRASH, "died while starting"))
        self._push(
            self.now + (1.0 if seconds is None else seconds),
            slot,
            died if seconds is None else SlotUp(slot, "simulated", 1),
        )

    def _push(self, at: float, slot: int, report: Report) -> None:
        heapq.heappush(self._events, (at, next(self._serial), slot, self._processes[slot].life, report))

    def _accept(self, submit: Submit) -> None:
        process = self._processes[submit.slot]
        points = set(submit.index.tolist())
        twice = {k for k in points if self._in_flight[k]}
        assert submit.slot in self.scheduler._wave.pool.up, "work for a slot that is not up"
        assert submit.slot not in self.scheduler._wave.pool.draining, "work for a slot that is not idle"
        assert points, "an empty chunk"
        assert len(points) == len(submit.index)
        assert not twice or self.scheduler._wave.policy.backups, "a point is at two places"
        assert not twice or not process.chunks, "a backup waits"
        assert all(self._in_flight[k] == 1 for k in twice), "a point is at three places"
        assert not points & self.final.keys(), "a final point goes out again"
        self._in_flight.update(points)
        self.backups.update(twice)
        process.chunks.append(submit)
        assert len(process.chunks) <= 2, "more than two chunks on a slot"
        self.submitted.append(submit)
        if len(process.chunks) - process.unreported == 1:
            self._work(submit.slot)

    def _work(self, slot: int) -> None:
        """Decide how the slot's next chunk goes; its report comes when it ends."""
        process = self._processes[slot]
        chunk = process.chunks[process.unreported]
        begin = at = self.now + self.overhead
        status: list[Status] = []
        times = [at]
        for k in chunk.index.tolist():
            if status and at - begin > chunk.budget:
                break
            self.runs[k] += 1
            plan = self.plans.get(k)
            outcome = plan.status if plan and self.charged[k] < plan.times else Status.OK
            if outcome == Status.TIMEOUT:
                process.since = at
                return
            at += self.seconds(k) * self.slowness(slot)
            if outcome == Status.CRASH:
                self._push(at, slot, SlotLost(slot, Failure(Status.CRASH, "died"), shared=k in self.hogs))
                return
            status.append(outcome)
            times.append(at)
        done = ChunkDone(slot, chunk.chunk, batch_of(chunk.index, status, times))
        self.busy_until[slot] = at
        if self.lag:
            self._push(at, slot, _Idle(slot, "", 0))
        self._push(at + self.random.uniform(0, self.lag), slot, done)

    def _deliver(self, slot: int, report: Report) -> None:
        process = self._processes[slot]
        if isinstance(report, SlotLost):
            at_work = [other for other, each in self._processes.items() if each.chunks and other != slot]
            doomed = [slot, *at_work] if report.shared else [slot]
            for each in self.random.sample(doomed, len(doomed)):
                self._die(each, report.failure, shared=report.shared)
        elif isinstance(report, _Idle):
            process.unreported += 1
            if len(process.chunks) > process.unreported:
                self._work(slot)
        elif isinstance(report, (SlotStarting, SlotUp)):
            assert self.scheduler.take(report, self.now) is None
        else:
            chunk = next(c for c in process.chunks if c.chunk == report.chunk)
            process.chunks.remove(chunk)
            self._in_flight.subtract(chunk.index.tolist())
            self._record(self.scheduler.take(report, self.now))
            if self.lag:
                process.unreported -= 1
            elif process.chunks:
                self._work(slot)

    def _die(self, slot: int, failure: Failure, *, shared: bool = False) -> None:
        queue = self._bury(slot)
        attempts = self.scheduler.take(SlotLost(slot, failure, shared), self.now)
        self._record(attempts)
        if attempts is None:
            self.lost.update(queue)
            self.suspected.update(queue if failure.status == Status.CRASH else [])

    def _bury(self, slot: int) -> list[int]:
        """Put another process in the place of one, and tell which points that had."""
        chunks = self._processes[slot].chunks
        queue = [k for chunk in chunks for k in chunk.index.tolist()]
        self._in_flight.subtract(queue)
        self._launch(slot)
        return queue

    def _check_overdue(self) -> None:
        deadline = self.scheduler.next_deadline()
        kills, ended = self.scheduler.overdue(self.now)
        assert bool(kills) == (deadline is not None and deadline <= self.now)
        timeout = self.scheduler._wave.policy.timeout or math.inf
        for slot in kills:
            process = self._processes[slot]
            if all(k in self.final for chunk in process.chunks for k in chunk.index.tolist()):
                self._bury(slot)
                continue
            if timeout == math.inf and all(
                k in self.scheduler._wave.optional for k in process.chunks[0].index.tolist()
            ):
                self.cancelled.update(self._bury(slot))
                continue
            assert self.now - process.since >= timeout - 1e-9, "ended before its time"
            assert self.now - process.since <= timeout + process.chunks[0].budget + self.lag + 1e-9, "ended too late"
            self.lost.update(self._bury(slot))
            head = process.chunks[0].index.tolist()
            self.suspected.update(head if len(head) > 1 else [])
        for attempts in ended:
            self._record(attempts)
        assert not self.scheduler.overdue(self.now)[0]

    def _record(self, attempts: Attempts | None) -> None:
        if attempts is None:
            return
        batch = attempts.batch
        for r, k in enumerate(batch.index.tolist()):
            assert k not in self.final, "a point ends twice"
            status = Status(int(batch.status[r]))
            assert batch.attempt[r] == self.charged[k] + 1
            assert (k in batch.failures) == (status != Status.OK)
            if status != Status.OK:
                self.charged[k] += 1
            if attempts.final[r]:
                self.final[k] = (status, int(batch.attempt[r]))


class _Idle(SlotUp):
    """A slot has ended a chunk and goes on with the next, while the report is on its way."""
