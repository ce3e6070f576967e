"""Stragglers, and the slots that try them again."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from simulated_slots import FOREVER, Plan, SimulatedSlots, batch_of

from distfd.core.records import Failure, Status
from distfd.scheduling.policy import Policy
from distfd.scheduling.scheduler import Scheduler
from distfd.scheduling.slot_pool import SlotPool
from distfd.workers.messages import ChunkDone, SlotLost, SlotUp

if TYPE_CHECKING:
    from distfd.scheduling.assignment import Submit

CRASH = Failure(Status.CRASH, "signal 11")
LOST = Failure(Status.LOST, "node gone")


def late(
    n: int = 4,
    *,
    slots: int = 4,
    backups: bool = True,
    timeout: float | None = None,
    retries: int = 0,
    guess: float | None = None,
) -> tuple[Scheduler, Submit]:
    """A wave in which all but the last point took a second, and the submit of that last one."""
    policy = Policy(dict.fromkeys((Status.ERROR, Status.CRASH, Status.TIMEOUT), retries), timeout, False, backups)
    pool = SlotPool(slots=slots)
    pool.times.guess = guess
    scheduler = Scheduler(np.arange(n), 0, policy, pool)
    for slot in range(slots):
        scheduler.take(SlotUp(slot, "host", slot), 0.0)
    submits = scheduler.issue(0.0)
    for submit in submits[:-1]:
        assert scheduler.take(done(submit), 1.0) is not None
    return scheduler, submits[-1]


def done(submit: Submit, status: Status = Status.OK, begin: float = 0.0) -> ChunkDone:
    times = [begin + k for k in range(len(submit.index) + 1)]
    return ChunkDone(submit.slot, submit.chunk, batch_of(submit.index, [status] * len(submit.index), times))


def backed(scheduler: Scheduler, now: float = 3.0) -> Submit:
    """The backup, once it is due."""
    assert scheduler.next_issue(1.0) == now
    assert scheduler.issue(now - 0.01) == []
    (submit,) = scheduler.issue(now)
    assert scheduler.issue(now) == []
    return submit


def test_what_takes_three_times_the_median_is_tried_on_an_idle_slot() -> None:
    scheduler, straggler = late()
    backup = backed(scheduler)
    assert backup.index.tolist() == straggler.index.tolist()
    assert backup.slot != straggler.slot
    assert scheduler.next_issue(3.0) is None, "one backup is enough"


@pytest.mark.parametrize("guess", [0.001, 1.0, 100.0])
def test_what_was_guessed_of_a_j_of_this_name_makes_nothing_late(guess: float) -> None:
    scheduler, straggler = late(guess=guess)
    assert len(straggler.index) == 1
    assert backed(scheduler).index.tolist() == straggler.index.tolist()


@pytest.mark.parametrize("first", ["backup", "straggler"])
def test_the_first_value_counts_and_the_other_nowhere(first: str) -> None:
    scheduler, straggler = late()
    backup = backed(scheduler)
    winner, loser = (backup, straggler) if first == "backup" else (straggler, backup)
    attempts = scheduler.take(done(winner), 4.0)
    assert attempts is not None
    assert (attempts.batch.index.tolist(), attempts.final.tolist()) == ([3], [True])
    assert scheduler.finished
    after = scheduler.take(done(loser), 4.1)
    assert after is not None
    assert len(after.batch) == 0


def test_a_loser_at_it_for_long_is_killed_and_one_that_has_just_begun_is_left() -> None:
    scheduler, straggler = late()
    backup = backed(scheduler)
    scheduler.take(done(backup), 3.5)
    assert scheduler.abandon(3.5) == [straggler.slot]
    scheduler, straggler = late()
    backup = backed(scheduler)
    scheduler.take(done(straggler), 3.5)
    assert scheduler.abandon(3.5) == []


def test_a_slot_left_to_end_gets_no_work_before_it_has_and_is_killed_if_it_does_not() -> None:
    scheduler, straggler = late()
    backup = backed(scheduler)
    scheduler.take(done(straggler), 3.5)
    scheduler.abandon(3.5)
    pool = scheduler._wave.pool
    following = Scheduler(np.arange(4), None, Policy({}), pool)
    assert backup.slot not in [submit.slot for submit in following.issue(3.6)]
    assert following.next_deadline() == 4.0
    assert following.take(done(backup), 3.7) is None
    assert [submit.slot for submit in following.issue(3.7)] == [backup.slot]

    scheduler, straggler = late()
    backup = backed(scheduler)
    scheduler.take(done(straggler), 3.5)
    scheduler.abandon(3.5)
    following = Scheduler(np.arange(9), None, Policy({}), scheduler._wave.pool)
    following.issue(3.6)
    assert following.overdue(3.9) == ([], [])
    assert following.overdue(4.0) == ([backup.slot], [])
    following.take(SlotUp(backup.slot, "host", 9), 5.0)
    assert backup.slot in [submit.slot for submit in following.issue(5.0)]


def test_a_slot_that_was_left_to_end_and_is_another_process_now_is_free() -> None:
    pool = SlotPool(slots=1, up={0: SlotUp(0, "host", 1)}, draining={0: (0.0, {7})})
    pool.opened(1, [SlotUp(0, "host", 2)], 0.0)
    assert pool.idle() == [0]
    pool = SlotPool(slots=1, up={0: SlotUp(0, "host", 1)}, draining={0: (0.0, {7})})
    pool.opened(1, [SlotUp(0, "host", 1)], 0.0)
    assert pool.idle() == []


def test_without_backups_a_straggler_is_waited_for() -> None:
    scheduler, _ = late(backups=False)
    assert scheduler.next_issue(1.0) is None
    assert scheduler.issue(1e6) == []


def test_no_backup_before_half_of_the_wave_is_done_or_while_there_is_other_work() -> None:
    policy = Policy({}, backups=True)
    scheduler = Scheduler(np.arange(9), None, policy, SlotPool(slots=9))
    for slot in range(9):
        scheduler.take(SlotUp(slot, "host", slot), 0.0)
    submits = scheduler.issue(0.0)
    for submit in submits[:4]:
        scheduler.take(done(submit), 1.0)
    assert scheduler.issue(100.0) == []
    scheduler.take(done(submits[4]), 100.0)
    assert len(scheduler.issue(100.0)) == 4


def test_a_failure_counts_only_when_nobody_else_is_at_it() -> None:
    scheduler, straggler = late(retries=0)
    backup = backed(scheduler)
    attempts = scheduler.take(done(backup, Status.ERROR), 4.0)
    assert attempts is not None
    assert len(attempts.batch) == 0
    assert not scheduler.finished
    attempts = scheduler.take(done(straggler), 9.0)
    assert attempts is not None
    assert attempts.batch.attempt.tolist() == [1]
    assert scheduler.finished


def test_two_that_fail_are_one_failure() -> None:
    scheduler, straggler = late(retries=0)
    backup = backed(scheduler)
    scheduler.take(done(backup, Status.ERROR), 4.0)
    attempts = scheduler.take(done(straggler, Status.ERROR), 9.0)
    assert attempts is not None
    assert (attempts.batch.attempt.tolist(), attempts.final.tolist()) == ([1], [True])


@pytest.mark.parametrize("failure", [CRASH, LOST])
def test_a_process_that_dies_of_a_point_another_is_at_is_not_its_fault_yet(failure: Failure) -> None:
    scheduler, straggler = late(retries=0)
    backup = backed(scheduler)
    assert scheduler.take(SlotLost(straggler.slot, failure), 4.0) is None
    attempts = scheduler.take(done(backup), 5.0)
    assert attempts is not None
    assert attempts.batch.index.tolist() == [3]
    assert scheduler.finished


def test_both_time_out() -> None:
    scheduler, straggler = late(timeout=10.0)
    backup = backed(scheduler)
    assert scheduler.overdue(10.0) == ([straggler.slot], [])
    kills, ended = scheduler.overdue(13.0)
    assert kills == [backup.slot]
    assert ended[0].batch.status.tolist() == [Status.TIMEOUT]
    assert scheduler.finished


def test_a_slow_slot_costs_little() -> None:
    """W slots for W points, one of them 30 times slower: three medians until it is known, one for the backup."""
    for n, slots in ((16, 16), (64, 16), (256, 8)):
        scheduler = Scheduler(np.arange(n), 0, Policy({}, backups=True), SlotPool(slots=slots))
        world = SimulatedSlots(scheduler, slots, lambda _: 1.0, slowness=lambda slot: 30.0 if slot == 3 else 1.0).run()
        healthy = math.ceil(n / (slots - 1))
        assert world.now <= healthy + 3.5
        assert len(world.final) == n
        alone = Scheduler(np.arange(n), 0, Policy({}), SlotPool(slots=slots))
        alone_world = SimulatedSlots(alone, slots, lambda _: 1.0, slowness=lambda slot: 30.0 if slot == 3 else 1.0)
        assert alone_world.run().now >= min(30.0, world.now)


@pytest.mark.parametrize("seed", range(5))
def test_where_every_report_is_slow_none_is_late(seed: int) -> None:
    """As with hundreds of slots on few cores: each duplicate there would be one more process that is in the way."""
    scheduler = Scheduler(np.arange(64), 0, Policy({}, backups=True), SlotPool(slots=8))
    world = SimulatedSlots(scheduler, 8, lambda _: 0.3, lag=4.0, seed=seed).run()
    assert not world.backups


def test_a_slow_slot_with_a_chunk_has_all_of_it_tried_elsewhere() -> None:
    n, slots = 400, 4
    scheduler = Scheduler(np.arange(n), None, Policy({}, backups=True), SlotPool(slots=slots))
    world = SimulatedSlots(scheduler, slots, lambda _: 0.01, slowness=lambda slot: 500.0 if slot == 1 else 1.0).run()
    assert len(world.final) == n
    assert world.now < 3.0, "of 0.01 s each, and one slot takes 5 s for any"


def test_points_that_hang_everywhere_end() -> None:
    plans = {k: Plan(Status.TIMEOUT, FOREVER) for k in (3, 7, 11)}
    scheduler = Scheduler(np.arange(40), 0, Policy({Status.TIMEOUT: 1}, timeout=5.0, backups=True), SlotPool(slots=4))
    world = SimulatedSlots(scheduler, 4, lambda _: 0.01, plans=plans).run()
    assert {k: world.final[k] for k in plans} == dict.fromkeys(plans, (Status.TIMEOUT, 2))


@pytest.mark.parametrize("seed", range(5))
def test_known_times_longest_first_come_near_the_bound(seed: int) -> None:
    """List scheduling gives about 1.07 of max(longest, total / W) here; longest first 1.00 (Graham 1969)."""
    seconds = np.random.default_rng(seed).lognormal(0, 1, 256)
    bound = max(seconds.max(), seconds.sum() / 8)
    pool = SlotPool(slots=8)
    walls = []
    for _ in range(2):
        scheduler = Scheduler(np.arange(256), 0, Policy({}, backups=True), pool)
        walls.append(SimulatedSlots(scheduler, 8, lambda k: float(seconds[k])).run().now)
        pool.up.clear()
    assert walls[1] <= 1.02 * bound
    assert walls[0] <= 1.35 * bound
