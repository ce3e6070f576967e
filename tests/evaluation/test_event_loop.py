"""The loop around the scheduler, by a clock that goes on while it thinks."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from simulated_slots import batch_of

from distfd.core.records import Status
from distfd.evaluation import event_loop as loop
from distfd.executors.base import Executor
from distfd.scheduling.policy import Policy
from distfd.scheduling.scheduler import Scheduler
from distfd.scheduling.slot_pool import SlotPool
from distfd.workers.messages import ChunkDone, SlotUp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distfd.objectives.base import Objective
    from distfd.scheduling.assignment import Submit
    from distfd.workers.messages import Report

SECONDS = 0.2


class Clock:
    """Each look at it takes a while."""

    def __init__(self, step: float) -> None:
        self.now, self.step = 0.0, step

    def read(self) -> float:
        self.now += self.step
        return self.now


class Slots(Executor):
    """Slots that take 0.2 s for a point, but for the first chunk of the last slot, which never ends."""

    def __init__(self, clock: Clock, slots: int) -> None:
        self.clock, self.count = clock, slots
        self.submitted: list[tuple[float, Submit]] = []
        self.due: list[tuple[float, Report]] = []

    def open(self, objective: Objective) -> Sequence[SlotUp]:
        return []

    def close(self) -> None:
        pass

    @property
    def slots(self) -> int:
        return self.count

    def submit(self, slot: int, submit: Any) -> None:
        """Take what the scheduler gives out, as it is."""
        self.submitted.append((self.clock.now, submit))
        if len(self.submitted) != self.count:
            begin, n = self.clock.now, len(submit.index)
            batch = batch_of(submit.index, [Status.OK] * n, [begin + SECONDS * k for k in range(n + 1)])
            self.due.append((begin + SECONDS * n, ChunkDone(slot, submit.chunk, batch)))

    def wait(self, seconds: float) -> Sequence[Report]:
        """As Ray: in whole milliseconds, and so a little early."""
        until = self.clock.now + math.floor(1000 * seconds) / 1000
        first = min((at for at, _ in self.due), default=math.inf)
        self.clock.now = max(self.clock.now, min(until, first))
        came = [report for at, report in self.due if at <= self.clock.now]
        self.due = [(at, report) for at, report in self.due if at > self.clock.now]
        return came

    def kill(self, slot: int) -> None:
        pass


@pytest.mark.parametrize("step", [2.3e-5 * k for k in range(1, 40)])
def test_what_becomes_due_while_the_loop_thinks_is_not_overlooked(monkeypatch: pytest.MonkeyPatch, step: float) -> None:
    clock = Clock(step)
    monkeypatch.setattr("distfd.core.awake_clock.now", clock.read)
    slots = Slots(clock, 8)
    pool = SlotPool(slots=8)
    for slot in range(8):
        pool.take(SlotUp(slot, "host", slot), 0.0)
    policy = Policy(dict.fromkeys((Status.ERROR, Status.CRASH, Status.TIMEOUT), 0), None, False, backups=True)
    session: Any = SimpleNamespace(
        executor=slots,
        pool=pool,
        policy=policy,
        wait=slots.wait,
        until=None,
        emit=lambda _: None,
        tell_silence=lambda *_, **__: None,
    )
    scheduler = Scheduler(np.arange(8), 0, policy, pool)
    chunk: Any = lambda submit: submit  # noqa: E731
    for _ in itertools.islice(loop.run_event_loop(session, scheduler, chunk), 10_000):
        pass
    assert scheduler.finished
    (issued, straggler), (at, backup) = slots.submitted[7:]
    assert backup.index.tolist() == straggler.index.tolist()
    assert at - issued < 3 * SECONDS + 0.1, "the backup was due after three times the median"
