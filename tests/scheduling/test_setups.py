"""J that cannot be made ready in a process: whose attempt that is, and when it is too late."""

from __future__ import annotations

import numpy as np
import pytest

from distfd.core.records import Failure, Status
from distfd.scheduling.policy import Policy
from distfd.scheduling.scheduler import Scheduler
from distfd.scheduling.slot_pool import SlotPool
from distfd.workers.messages import SlotLost, SlotStarting, SlotUp

CRASH = Failure(Status.CRASH, "signal 11")
LIMIT = 30.0


def wave(n: int, slots: int, baseline: int | None = 0, crashes: int = 2) -> Scheduler:
    retries = {Status.ERROR: 0, Status.CRASH: crashes, Status.TIMEOUT: 0}
    return Scheduler(np.arange(n), baseline, Policy(retries, 1.0, setup_limit=LIMIT), SlotPool(slots=slots))


def starting(scheduler: Scheduler, *slots: int, now: float = 0.0) -> None:
    for slot in slots:
        assert scheduler.take(SlotStarting(slot, "host", 7), now) is None


def die(scheduler: Scheduler, slot: int, now: float) -> list[tuple[int, int, bool]]:
    """A worker dies in setup(); (point, attempt, final) of the attempts that ends."""
    starting(scheduler, slot, now=now)
    attempts = scheduler.take(SlotLost(slot, CRASH), now + 1.0)
    if attempts is None:
        return []
    batch = attempts.batch
    assert batch.host == "host"
    assert all(f.text == "in J's constructor or setup(): signal 11" for f in batch.failures.values())
    assert (batch.ended - batch.started).tolist() == [1.0] * len(batch)
    return list(zip(batch.index.tolist(), batch.attempt.tolist(), attempts.final.tolist(), strict=True))


def test_crashes_in_setup_are_attempts_at_the_baseline() -> None:
    scheduler = wave(10, 1)
    assert die(scheduler, 0, 0.0) == [(0, 1, False)]
    assert die(scheduler, 0, 2.0) == [(0, 2, False)]
    assert not scheduler.finished
    assert die(scheduler, 0, 4.0) == [(0, 3, True)]
    assert scheduler.finished
    assert scheduler.broken is None


def test_without_a_baseline_no_other_point_is_tried_in_vain() -> None:
    scheduler = wave(5, 1, baseline=None, crashes=1)
    assert die(scheduler, 0, 0.0) == [(0, 1, False)]
    assert sorted(die(scheduler, 0, 2.0)) == [(0, 2, True), (1, 1, True), (2, 1, True), (3, 1, True), (4, 1, True)]
    assert scheduler.finished


@pytest.mark.parametrize(("slots", "per_attempt"), [(2, 2), (64, 5)])
def test_an_attempt_is_spent_only_when_all_slots_or_five_went_the_same_way(slots: int, per_attempt: int) -> None:
    scheduler = wave(10, slots)
    charged = [die(scheduler, k % slots, float(k)) for k in range(3 * per_attempt)]
    assert [bool(one) for one in charged] == ([False] * (per_attempt - 1) + [True]) * 3
    assert scheduler.finished


def test_setups_that_fail_beside_one_that_does_not_cost_nothing() -> None:
    scheduler = wave(10, 2)
    scheduler.take(SlotUp(0, "host", 7), 0.0)
    for k in range(20):
        assert die(scheduler, 1, float(k)) == []
    assert not scheduler.finished


def test_a_setup_that_hangs_is_killed_and_blamed() -> None:
    scheduler = wave(10, 1)
    starting(scheduler, 0, now=5.0)
    assert scheduler.next_deadline() == 5.0 + LIMIT
    assert scheduler.overdue(4.0 + LIMIT) == ([], [])
    kills, (attempts,) = scheduler.overdue(5.0 + LIMIT)
    assert kills == [0]
    assert attempts.batch.status.tolist() == [Status.TIMEOUT]
    text = attempts.batch.failures[0].text
    assert text.startswith("timeout: J's constructor or setup() was still running after 30 s")
    assert scheduler.finished
    assert scheduler.next_deadline() is None


def test_the_clock_of_a_setup_goes_on_in_the_next_wave() -> None:
    pool = SlotPool(slots=2)
    first = SlotStarting(0, "host", 1)
    pool.opened(2, [first], 1.0)
    pool.opened(2, [first, SlotUp(1, "host", 2)], 9.0)
    assert pool.starting == {0: (first, 1.0)}
    pool.opened(2, [SlotStarting(0, "host", 3)], 10.0)
    assert pool.starting == {0: (SlotStarting(0, "host", 3), 10.0)}
    pool.opened(2, [], 11.0)
    assert not pool.starting
