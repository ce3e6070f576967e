"""Where a host runs out of memory, whoever was at work there may be the cause."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from distfd.core.records import Failure, Status
from distfd.scheduling.policy import Policy
from distfd.scheduling.scheduler import Scheduler
from distfd.scheduling.slot_pool import SlotPool
from distfd.workers.messages import ChunkDone, SlotLost, SlotUp

from simulated_slots import batch_of  # isort: skip

if TYPE_CHECKING:
    from distfd.scheduling.assignment import Submit

FULL = Failure(Status.CRASH, "the node ran out of memory")
RETRIES = {Status.CRASH: 1}


def wave(n: int, *hosts: str) -> Scheduler:
    scheduler = Scheduler(np.arange(n), None, Policy(RETRIES), SlotPool(slots=len(hosts)))
    start(scheduler, *hosts)
    return scheduler


def start(scheduler: Scheduler, *hosts: str) -> None:
    for slot, host in enumerate(hosts):
        scheduler.take(SlotUp(slot, host, 7), 0.0)


def lose(scheduler: Scheduler, now: float, *slots: int) -> list[tuple[int, int]]:
    """The attempts that are charged: point and number."""
    taken = [scheduler.take(SlotLost(slot, FULL, shared=True), now) for slot in slots]
    return [(int(a.batch.index[0]), int(a.batch.attempt[0])) for a in taken if a is not None]


def given(scheduler: Scheduler, now: float) -> list[tuple[int, list[int]]]:
    return [(submit.slot, submit.index.tolist()) for submit in scheduler.issue(now)]


def finish(scheduler: Scheduler, submit: Submit, now: float) -> None:
    n = len(submit.index)
    batch = batch_of(submit.index, [Status.OK] * n, np.linspace(now - 1.0, now, n + 1).tolist())
    scheduler.take(ChunkDone(submit.slot, submit.chunk, batch), now)


def test_who_was_alone_there_is_charged_at_once() -> None:
    scheduler = wave(1, "a", "a")
    assert given(scheduler, 0.0) == [(0, [0])]
    assert lose(scheduler, 1.0, 0) == [(0, 1)]


def test_who_was_in_company_is_not_charged_and_goes_last_and_apart() -> None:
    scheduler = wave(4, "a", "a")
    assert given(scheduler, 0.0) == [(0, [0]), (1, [1])]
    assert lose(scheduler, 1.0, 1, 0) == []
    lost = scheduler.uncounted()
    assert [(batch.index.tolist(), batch.status.tolist()) for batch in lost] == [([1], [Status.LOST]), ([0], [5])]
    assert "ran out of memory; others were at work there" in lost[0].failures[1].text
    start(scheduler, "a", "a")
    submits = scheduler.issue(1.0)
    assert [submit.index.tolist() for submit in submits] == [[2], [3]]
    finish(scheduler, submits[0], 2.0)
    assert given(scheduler, 2.0) == [], "another is at work there"
    finish(scheduler, submits[1], 2.0)
    assert given(scheduler, 2.0) == [(0, [1])]
    assert given(scheduler, 3.0) == [], "nothing else while a suspect is at work"
    assert lose(scheduler, 3.0, 0, 1) == [(1, 1)]
    start(scheduler, "a", "a")
    assert given(scheduler, 4.0) == [(0, [0])]
    assert lose(scheduler, 5.0, 0) == [(0, 1)]
    start(scheduler, "a", "a")
    assert given(scheduler, 6.0) == [(1, [1])]
    assert lose(scheduler, 7.0, 1) == [(1, 2)], "the last of its tries"


def test_a_host_each() -> None:
    scheduler = wave(3, "a", "a", "b")
    assert len(given(scheduler, 0.0)) == 3
    assert lose(scheduler, 1.0, 0, 1) == []
    start(scheduler, "a", "a")
    assert given(scheduler, 1.0) == [(0, [0])], "at b another is at work"
    assert lose(scheduler, 2.0, 2) == [(2, 1)], "what goes on elsewhere has nothing to do with it"
    scheduler.take(SlotUp(2, "b", 8), 2.0)
    assert given(scheduler, 2.0) == [(2, [2])], "it is no suspect, so it goes first"
