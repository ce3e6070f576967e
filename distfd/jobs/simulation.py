"""Simulates a wave: the real scheduler, with slots and a driver that work in virtual time."""

from __future__ import annotations

import heapq
import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from distfd.core.records import Batch, Status
from distfd.scheduling.policy import Policy
from distfd.scheduling.scheduler import Scheduler
from distfd.scheduling.slot_pool import SlotPool
from distfd.workers.messages import ChunkDone, SlotUp

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from distfd.scheduling.assignment import Submit

CHUNK_COST = 0.001
"""Driver time for each chunk, there and back, in seconds: 0.9 ms of it are Ray's (docs/architecture.md)."""
_RESTART = 2.0
"""Seconds until a killed slot is ready again."""
_TURN = 0.005
"""The driver waits at least this part of an evaluation before it looks again, and then takes all finished reports at
once."""
_ALL = 20_000
"""Largest number of evaluations that are all simulated."""
_ROUNDS = 4
"""Number of rounds that are simulated if there are more evaluations; the other rounds are assumed to be alike."""


@dataclass(frozen=True)
class Simulated:
    """The result of a simulated wave.

    Attributes
    ----------
    wall, ideal : float
        Seconds; ``ideal`` is the longest evaluation, or the total time divided by the slots, whichever is more.
    backups : int
        Number of evaluations that were also started on an idle slot.
    killed : int
        Number of slots whose process was ended because another slot was faster.
    tail : float
        Seconds at the end in which some slots were idle.
    driver : float
        Part of the time in which the driver was busy.
    simulated : int
        Number of evaluations that were simulated; the others are assumed to be alike.
    """

    wall: float
    ideal: float
    backups: int
    killed: int
    tail: float
    driver: float
    simulated: int


def simulate_wave(points: int, slots: int, duration: float, spread: float, *, seed: int = 0) -> Simulated:
    """Simulates a wave.

    Parameters
    ----------
    points, slots : int
    duration : float
        Mean seconds of an evaluation.
    spread : float
        Standard deviation of the times, relative to the mean; the times are lognormal.
    seed : int

    Returns
    -------
    Simulated
    """
    n = points if points <= max(_ALL, (_ROUNDS + 1) * slots) else _ROUNDS * slots + points % slots
    world = _Slots(n, slots, duration, spread, seed)
    world.run()
    # Scale by the mean of the times that were drawn: with the nominal mean, wall and ideal would not be comparable.
    seconds = float(world.seconds.sum()) * points / n
    more = seconds * (1 - n / points) / slots
    return Simulated(
        wall=world.now + more,
        ideal=max(float(world.seconds.max()), seconds / slots),
        backups=world.backups,
        killed=world.killed,
        tail=world.now - world.all_busy_until,
        driver=world.busy / max(world.now, 1e-9),
        simulated=n,
    )


class _Slots:
    def __init__(self, points: int, slots: int, duration: float, spread: float, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        # E[exp(m + s z)] = 1 and a standard deviation of ``spread``: s^2 = log(1 + spread^2), m = -s^2 / 2.
        self._s = math.sqrt(math.log1p(spread**2))
        self._duration = duration
        self.seconds = self._draw(points)
        self._begun = np.zeros(points, dtype=bool)
        self._scheduler = Scheduler(np.arange(points), 0, Policy({}, backups=True), SlotPool(slots))
        for slot in range(slots):
            self._scheduler.take(SlotUp(slot, "paper", 0), 0.0)
        self._life = [0] * slots
        self._free = [0.0] * slots
        self._events: list[tuple[float, int, int, int, ChunkDone | SlotUp]] = []
        self._serial = itertools.count()
        self._at_work = 0
        self._slots = slots
        self.now = self.busy = self.all_busy_until = 0.0
        self.backups = self.killed = 0

    def run(self) -> None:
        scheduler, turn = self._scheduler, _TURN * self._duration
        looked = 0.0
        while not scheduler.finished:
            for submit in scheduler.issue(self.now):
                self._spend(CHUNK_COST)
                self._work(submit)
            looks = [self._events[0][0] if self._events else None, scheduler.next_issue(self.now)]
            looks.append(scheduler.next_deadline())
            self.now = max(self.now, looked + turn, min(look for look in looks if look is not None))
            looked = self.now
            if self._at_work >= self._slots:
                self.all_busy_until = self.now
            while self._events and self._events[0][0] <= self.now:
                self._deliver(*heapq.heappop(self._events))
            self._end_losers()
        # The last value had arrived before the driver looked.
        self.all_busy_until = min(self.all_busy_until, self.now)

    def _spend(self, seconds: float) -> None:
        self.now += seconds
        self.busy += seconds

    def _work(self, submit: Submit) -> None:
        # A chunk that is queued behind another begins when that one has ended.
        begin = at = max(self.now, self._free[submit.slot])
        times = [at]
        for k in submit.index.tolist():
            if len(times) > 1 and at - begin > submit.budget:
                break
            at += float(self._draw(1)[0] if self._begun[k] else self.seconds[k])
            self.backups += int(self._begun[k])
            self._begun[k] = True
            times.append(at)
        done = ChunkDone(submit.slot, submit.chunk, _batch(submit, np.array(times)))
        self._at_work += 1
        self._free[submit.slot] = at
        self._push(at, submit.slot, done)

    def _push(self, at: float, slot: int, report: ChunkDone | SlotUp) -> None:
        heapq.heappush(self._events, (at, next(self._serial), slot, self._life[slot], report))

    def _deliver(self, at: float, _serial: int, slot: int, life: int, report: ChunkDone | SlotUp) -> None:  # noqa: ARG002  # a heap's entry
        if life == self._life[slot]:
            self._at_work -= isinstance(report, ChunkDone)
            self._scheduler.take(report, self.now)

    def _end_losers(self) -> None:
        kills, _ = self._scheduler.overdue(self.now)
        for slot in kills:
            self.killed += 1
            self._at_work -= 1
            self._life[slot] += 1
            self._free[slot] = self.now
            self._push(self.now + _RESTART, slot, SlotUp(slot, "paper", 0))

    def _draw(self, n: int) -> NDArray[np.float64]:
        return self._duration * np.exp(self._s * self._random.standard_normal(n) - self._s**2 / 2)


def _batch(submit: Submit, times: NDArray[np.float64]) -> Batch:
    n = len(times) - 1
    return Batch(
        index=submit.index[:n],
        status=np.full(n, Status.OK, dtype=np.uint8),
        size=np.ones(n, dtype=np.int64),
        flat=np.zeros(n),
        started=times[:-1],
        ended=times[1:],
        attempt=np.ones(n, dtype=np.int32),
        host="paper",
        pid=0,
        slot=submit.slot,
        failures={},
    )
