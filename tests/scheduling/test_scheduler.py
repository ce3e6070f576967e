from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_slots import FOREVER, Plan, SimulatedSlots, batch_of

from distfd.core.records import Failure, Status
from distfd.scheduling.policy import Policy
from distfd.scheduling.scheduler import Scheduler
from distfd.scheduling.slot_pool import SlotPool
from distfd.workers.messages import ChunkDone, SlotLost, SlotUp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distfd.scheduling.assignment import Submit

RETRIES = {Status.ERROR: 0, Status.CRASH: 2, Status.TIMEOUT: 0}
CRASH = Failure(Status.CRASH, "signal 11")
LOST = Failure(Status.LOST, "node gone")


def wave(
    n: int,
    slots: int,
    *,
    baseline: int | None = 0,
    timeout: float | None = None,
    retries: dict[Status, int] | None = None,
    mean: float | None = None,
    limits_itself: bool = False,
    backups: bool = False,
) -> Scheduler:
    pool = SlotPool(slots=slots)
    if mean is not None:
        # On average; were they alike, each slot would be given its share in one piece.
        pool.times.note(1, np.zeros(300, dtype=np.int64), mean * np.tile([0.5, 1.0, 1.5], 100))
    policy = Policy(RETRIES if retries is None else retries, timeout, limits_itself, backups)
    return Scheduler(np.arange(n), baseline, policy, pool)


def up(scheduler: Scheduler, *slots: int, now: float = 0.0) -> None:
    for slot in slots:
        scheduler.take(SlotUp(slot, "host", 7), now)


def fill(scheduler: Scheduler, now: float = 0.0) -> list[Submit]:
    """All that goes out until something ends."""
    submits = scheduler.issue(now)
    while (now := scheduler.next_issue(now) or math.inf) < math.inf:
        submits += scheduler.issue(now)
    return submits


def points(submits: Sequence[Submit]) -> list[list[int]]:
    return [submit.index.tolist() for submit in submits]


def done(submit: Submit, *status: Status, begin: float = 0.0, seconds: float = 1.0) -> ChunkDone:
    status = status or (Status.OK,) * len(submit.index)
    times = (begin + seconds * np.arange(len(status) + 1)).tolist()
    return ChunkDone(submit.slot, submit.chunk, batch_of(submit.index, status, times))


# What must hold whatever happens


@st.composite
def worlds(draw: st.DrawFn) -> SimulatedSlots:
    n = draw(st.integers(1, 60))
    slots = draw(st.integers(1, 5))
    seed = draw(st.integers(0, 2**32 - 1))
    typical = draw(st.sampled_from([0.0, 1e-4, 0.01, 0.3, 5.0]))
    spread = draw(st.sampled_from([0.0, 0.5, 2.0]))
    slow = draw(st.sampled_from([1.0, 1.0, 20.0]))
    takes = np.minimum(typical * np.random.default_rng(seed).lognormal(0, spread, n), 50.0 / slow)
    fates = st.builds(
        Plan,
        st.sampled_from([Status.ERROR, Status.CRASH, Status.TIMEOUT]),
        st.sampled_from([1, 2, 3, FOREVER]),
    )
    plans = draw(st.dictionaries(st.integers(0, n - 1), fates, max_size=8))
    hogs = draw(st.sets(st.sampled_from(sorted(plans)))) if plans else set()
    retries = draw(st.fixed_dictionaries({s: st.integers(0, 2) for s in RETRIES}))
    scheduler = wave(
        n,
        slots,
        baseline=draw(st.sampled_from([None, 0, n // 2])),
        timeout=100.0,
        retries=retries,
        mean=draw(st.sampled_from([None, 1e-4, 0.01, 1.0])),
        backups=draw(st.booleans()),
    )
    starts = draw(st.lists(st.floats(0, 3), min_size=1, max_size=4))
    losses = draw(st.lists(st.tuples(st.floats(0, 60), st.integers(0, slots - 1)), max_size=6))
    return SimulatedSlots(
        scheduler,
        slots,
        lambda k: float(takes[k]),
        plans=plans,
        start=lambda slot: starts[slot % len(starts)],
        lag=draw(st.sampled_from([0.0, 0.002, 0.1])),
        hogs=hogs,
        losses=losses,
        slowness=lambda slot: slow if slot == 0 else 1.0,
        seed=seed,
    )


def expected(world: SimulatedSlots, k: int) -> tuple[Status, int]:
    plan = world.plans.get(k, Plan(Status.OK, 0))
    allowed = world.scheduler._wave.policy.retries.get(plan.status, 0)
    return (plan.status, allowed + 1) if plan.times > allowed else (Status.OK, plan.times + 1)


@settings(max_examples=200)
@given(worlds())
def test_every_point_ends_once_as_planned_and_only_culprits_are_charged(world: SimulatedSlots) -> None:
    world.run()
    baseline = world.scheduler._wave.ledger._baseline
    assert {k: world.final[k] for k in world.final} == {k: expected(world, k) for k in world.final}
    if baseline is not None and expected(world, baseline)[0] != Status.OK:
        assert baseline in world.final
    else:
        assert len(world.final) == world.scheduler._wave.ledger._wanted


@settings(max_examples=200)
@given(worlds())
def test_no_evaluation_is_repeated_without_cause(world: SimulatedSlots) -> None:
    world.run()
    for k, runs in world.runs.items():
        assert runs <= 1 + world.charged[k] + world.lost[k] + world.backups[k]
        # Once is enough: from then on it goes alone; and once more where memory runs out: from then on it goes apart.
        assert world.suspected[k] <= 1 + bool(world.hogs) + world.backups[k]


@given(worlds())
def test_the_baseline_goes_first_and_alone(world: SimulatedSlots) -> None:
    world.run()
    baseline = world.scheduler._wave.ledger._baseline
    if baseline is not None:
        assert world.submitted[0].index.tolist() == [baseline]
        assert all(len(s.index) == 1 for s in world.submitted if baseline in s.index)


# The baseline


def test_nobody_waits_for_the_baseline() -> None:
    scheduler = wave(9, 3)
    up(scheduler, 0, 1, 2)
    assert points(scheduler.issue(0.0)) == [[0], [1], [2]]


def test_the_baseline_may_stand_anywhere_in_the_request() -> None:
    scheduler = wave(5, 2, baseline=3)
    up(scheduler, 0, 1)
    assert points(scheduler.issue(0.0)) == [[3], [0]]


def test_a_baseline_from_the_store_is_not_evaluated() -> None:
    scheduler = Scheduler(np.array([2, 4]), 0, Policy(RETRIES), SlotPool(slots=3))
    up(scheduler, 0, 1, 2)
    assert points(scheduler.issue(0.0)) == [[2], [4]]


def test_a_baseline_that_fails_for_good_ends_the_wave() -> None:
    scheduler = wave(100, 2, retries={Status.ERROR: 1})
    up(scheduler, 0, 1)
    first, other = scheduler.issue(0.0)
    attempts = scheduler.take(done(first, Status.ERROR), 1.0)
    assert attempts is not None
    assert not attempts.final.any()
    assert not scheduler.finished
    (again,) = scheduler.issue(1.0)
    assert again.index.tolist() == [0]
    attempts = scheduler.take(done(again, Status.ERROR), 2.0)
    assert attempts is not None
    assert attempts.final.tolist() == [True]
    assert attempts.batch.attempt.tolist() == [2]
    assert scheduler.finished
    assert scheduler.issue(2.0) == []
    assert scheduler.abandon(1.0) == [other.slot]


def test_another_point_that_fails_does_not_end_the_wave() -> None:
    scheduler = wave(3, 2)
    up(scheduler, 0, 1)
    _, other = scheduler.issue(0.0)
    scheduler.take(done(other, Status.ERROR), 1.0)
    assert not scheduler.finished


def test_a_baseline_whose_process_dies_for_good_ends_the_wave() -> None:
    world = SimulatedSlots(wave(50, 4), 4, lambda _: 1.0, plans={0: Plan(Status.CRASH)}).run()
    assert world.final[0] == (Status.CRASH, 3)
    assert len(world.final) < 50


# Retries and blame


@pytest.mark.parametrize("status", [Status.ERROR, Status.CRASH, Status.TIMEOUT])
@pytest.mark.parametrize("allowed", [0, 1, 3])
def test_retries_by_cause(status: Status, allowed: int) -> None:
    retries = {**dict.fromkeys(RETRIES, 0), status: allowed}
    scheduler = wave(4, 1, timeout=5.0, retries=retries)
    world = SimulatedSlots(scheduler, 1, lambda _: 1.0, plans={2: Plan(status)}).run()
    assert world.final[2] == (status, allowed + 1)
    assert world.runs[2] == allowed + 1
    assert sum(world.runs.values()) == 4 + allowed


def test_tries_of_one_cause_do_not_use_up_those_of_another() -> None:
    scheduler = wave(1, 1, retries={Status.ERROR: 1, Status.CRASH: 1})
    up(scheduler, 0)
    numbers = []
    for status in (Status.ERROR, Status.CRASH, Status.OK):
        (submit,) = scheduler.issue(0.0)
        if status == Status.CRASH:
            attempts = scheduler.take(SlotLost(0, CRASH), 1.0)
            up(scheduler, 0)
        else:
            attempts = scheduler.take(done(submit, status), 1.0)
        assert attempts is not None
        numbers.append((attempts.batch.attempt.item(), attempts.final.item()))
    assert numbers == [(1, False), (2, False), (3, True)]
    assert scheduler.finished


def test_a_lost_node_is_never_charged() -> None:
    scheduler = wave(1, 1, retries={})
    for k in range(50):
        up(scheduler, 0)
        assert points(scheduler.issue(float(k))) == [[0]]
        assert scheduler.take(SlotLost(0, LOST), k + 0.5) is None
    up(scheduler, 0)
    (submit,) = scheduler.issue(99.0)
    attempts = scheduler.take(done(submit), 100.0)
    assert attempts is not None
    assert attempts.batch.attempt.tolist() == [1]


def test_what_a_lost_node_had_goes_out_again_as_it_was() -> None:
    scheduler = wave(1000, 1, baseline=None, mean=1e-3)
    up(scheduler, 0)
    before = points(scheduler.issue(0.0))
    scheduler.take(SlotLost(0, LOST), 0.05)
    up(scheduler, 0)
    assert points(scheduler.issue(0.1)) == before


def test_a_chunk_that_dies_blames_nobody_and_its_points_go_out_alone() -> None:
    scheduler = wave(40, 1, baseline=None, retries={}, mean=0.1)
    up(scheduler, 0)
    first, second = fill(scheduler)
    assert len(first.index) > 1
    assert scheduler.take(SlotLost(0, CRASH), 0.1) is None
    up(scheduler, 0)
    suspects = [*first.index.tolist(), *second.index.tolist()]
    for k in suspects:
        (submit,) = scheduler.issue(1.0)
        assert submit.index.tolist() == [k]
        scheduler.take(done(submit, begin=1.0, seconds=0.1), 1.1)
    # Then as before.
    assert len(scheduler.issue(2.0)[0].index) > 1


def test_a_point_is_not_blamed_while_another_is_queued_behind_it() -> None:
    """The report of a chunk can die with the process that the next chunk ended (seen with Ray)."""
    scheduler = wave(3, 1, baseline=None, retries={}, mean=0.3)
    up(scheduler, 0)
    assert points(fill(scheduler)) == [[0], [1]]
    assert scheduler.take(SlotLost(0, CRASH), 0.3) is None
    up(scheduler, 0)
    (first,) = scheduler.issue(1.0)
    scheduler.take(done(first, seconds=0.1), 1.1)
    (second,) = scheduler.issue(1.1)
    attempts = scheduler.take(SlotLost(0, CRASH), 1.2)
    assert attempts is not None
    assert attempts.batch.index.tolist() == second.index.tolist() == [1]
    assert attempts.final.tolist() == [True]


def test_what_failed_once_is_tried_again_alone() -> None:
    scheduler = wave(40, 1, baseline=None, retries={Status.ERROR: 1}, mean=0.01)
    up(scheduler, 0)
    first, second = fill(scheduler)
    status = [Status.ERROR, *[Status.OK] * (len(first.index) - 1)]
    scheduler.take(done(first, *status, seconds=0.01), 0.2)
    scheduler.issue(0.2)
    scheduler.take(done(second, seconds=0.01), 0.3)
    scheduler.issue(0.3)
    world_chunks = [issued for _, queue in scheduler._wave.queues for issued in queue if 0 in issued.index]
    assert all(len(issued.index) == 1 for issued in world_chunks)


def test_a_suspect_stays_alone_though_its_node_goes() -> None:
    scheduler = wave(40, 1, baseline=None, mean=0.1)
    up(scheduler, 0)
    scheduler.issue(0.0)
    for failure in (CRASH, LOST):
        scheduler.take(SlotLost(0, failure), 1.0)
        up(scheduler, 0)
        (submit,) = scheduler.issue(2.0)
        assert len(submit.index) == 1


def test_the_record_of_a_dead_attempt() -> None:
    scheduler = Scheduler(np.array([3]), None, Policy({}), SlotPool(slots=1), epoch=1000.0)
    up(scheduler, 4)
    scheduler.issue(5.0)
    attempts = scheduler.take(SlotLost(4, CRASH), 7.0)
    assert attempts is not None
    batch = attempts.batch
    assert (batch.host, batch.pid, batch.slot) == ("host", 7, 4)
    assert (batch.started.tolist(), batch.ended.tolist()) == ([1005.0], [1007.0])
    assert batch.failures == {3: CRASH}
    assert batch.size.tolist() == [0]


def test_a_chunk_handed_back_early_goes_on_where_it_stopped() -> None:
    scheduler = wave(40, 1, baseline=None, mean=0.1)
    up(scheduler, 0)
    first, _ = fill(scheduler)
    assert len(first.index) > 1
    attempts = scheduler.take(done(first, Status.OK), 1.0)
    assert attempts is not None
    assert attempts.batch.index.tolist() == [0]
    assert points(fill(scheduler, 1.0)) == [first.index[1:].tolist()]


# Reports that come late or out of order


def test_the_report_of_a_chunk_given_up_is_ignored() -> None:
    scheduler = wave(2, 1, baseline=None, timeout=1.0, retries={Status.TIMEOUT: 1})
    up(scheduler, 0)
    (old,) = scheduler.issue(0.0)
    kills, _ = scheduler.overdue(1.0)
    assert len(kills) == 1
    assert scheduler.take(done(old), 1.1) is None
    up(scheduler, 0, now=2.0)
    (again,) = scheduler.issue(2.0)
    assert scheduler.take(done(old), 2.1) is None
    assert scheduler.take(done(again), 3.0) is not None


def test_the_report_of_an_earlier_wave_is_ignored() -> None:
    pool = SlotPool(slots=1)
    earlier = Scheduler(np.arange(2), None, Policy({}), pool)
    up(earlier, 0)
    (old,) = earlier.issue(0.0)
    earlier.abandon(1.0)
    scheduler = Scheduler(np.arange(2), None, Policy({}), pool)
    up(scheduler, 0)
    scheduler.issue(0.0)
    assert scheduler.take(done(old), 1.0) is None
    assert not scheduler.finished


def test_a_slot_that_was_killed_gets_no_work_until_it_is_up_again() -> None:
    pool = SlotPool(slots=2)
    earlier = Scheduler(np.arange(3), None, Policy({}), pool)
    up(earlier, 0, 1)
    earlier.take(done(earlier.issue(0.0)[0]), 1.0)
    assert earlier.abandon(1.0) == [1]
    scheduler = Scheduler(np.arange(3), None, Policy({}), pool)
    assert [submit.slot for submit in scheduler.issue(2.0)] == [0]


def test_chunks_of_a_slot_may_be_reported_in_any_order() -> None:
    scheduler = wave(3, 1, baseline=None, mean=0.3)
    up(scheduler, 0)
    first, second = fill(scheduler)
    for submit in (second, first):
        assert scheduler.take(done(submit), 1.0) is not None
    (last,) = scheduler.issue(1.0)
    scheduler.take(done(last), 2.0)
    assert scheduler.finished


# Timeouts


def test_a_timeout_counts_from_the_head_of_the_queue() -> None:
    scheduler = wave(3, 1, baseline=None, timeout=10.0, mean=0.3)
    up(scheduler, 0, now=50.0)
    assert scheduler.next_deadline() is None
    first, _ = fill(scheduler, 100.0)
    assert scheduler.next_deadline() == 110.0
    scheduler.take(done(first), 109.0)
    assert scheduler.next_deadline() == 119.0
    assert scheduler.overdue(118.9) == ([], [])
    kills, ended = scheduler.overdue(119.0)
    assert kills == [0]
    assert ended[0].batch.status.tolist() == [Status.TIMEOUT]
    assert ended[0].batch.failures[1].text == "timeout: still running after 10 s; its process was killed"


def test_a_slot_that_says_it_is_up_once_more_gains_no_time() -> None:
    scheduler = wave(1, 1, timeout=10.0)
    up(scheduler, 0)
    scheduler.issue(0.0)
    up(scheduler, 0, now=9.0)
    assert scheduler.next_deadline() == 10.0


def test_what_waits_behind_a_point_that_hangs_goes_out_again_as_it_was() -> None:
    scheduler = wave(3, 1, baseline=None, timeout=10.0, retries={}, mean=0.3)
    up(scheduler, 0)
    assert len(fill(scheduler)) == 2
    _, ended = scheduler.overdue(10.0)
    assert [attempts.batch.index.tolist() for attempts in ended] == [[0]]
    up(scheduler, 0, now=11.0)
    assert points(scheduler.issue(11.0)) == [[1]]


def test_a_chunk_that_hangs_has_its_budget_before_the_timeout_and_blames_nobody() -> None:
    scheduler = wave(100, 1, baseline=None, timeout=10.0, retries={}, mean=0.01)
    up(scheduler, 0)
    first = scheduler.issue(0.0)[0]
    assert scheduler.next_deadline() == 10.0 + first.budget
    kills, ended = scheduler.overdue(10.0 + first.budget)
    assert len(kills) == 1
    assert ended == []
    up(scheduler, 0, now=11.0)
    assert points(scheduler.issue(11.0)) == [[0]]


def test_a_model_that_limits_itself_is_given_time_to_say_so() -> None:
    scheduler = wave(1, 1, timeout=10.0, limits_itself=True)
    up(scheduler, 0)
    scheduler.issue(0.0)
    assert scheduler.overdue(12.0) == ([], [])
    assert len(scheduler.overdue(13.0)[0]) == 1


def test_without_a_timeout_nothing_is_ever_overdue() -> None:
    scheduler = wave(1, 1)
    up(scheduler, 0)
    scheduler.issue(0.0)
    assert scheduler.next_deadline() is None
    assert scheduler.overdue(1e9) == ([], [])


# Workers that do not start


def test_five_workers_that_die_while_starting_are_no_accident() -> None:
    world = SimulatedSlots(wave(10, 2), 2, lambda _: 1.0, start=lambda _: None).run()
    assert world.scheduler.broken == "5 workers in a row died while starting: died while starting"
    assert world.final == {}


def test_workers_that_die_while_starting_do_not_end_what_others_do() -> None:
    scheduler = wave(2, 2)
    up(scheduler, 0)
    scheduler.issue(0.0)
    for _ in range(20):
        scheduler.take(SlotLost(1, CRASH), 1.0)
    assert not scheduler.finished


def test_a_worker_that_starts_well_clears_those_before_it() -> None:
    scheduler = wave(2, 1)
    for _ in range(10):
        for _ in range(4):
            scheduler.take(SlotLost(0, CRASH), 1.0)
        up(scheduler, 0)
        scheduler.take(SlotLost(0, LOST), 1.0)
    assert not scheduler.finished


def test_a_node_that_goes_with_many_starting_workers_is_an_accident() -> None:
    scheduler = wave(2, 16)
    for slot in range(16):
        scheduler.take(SlotLost(slot, LOST), 1.0)
    assert not scheduler.finished


# Speed, in simulated time


def makespan(scheduler: Scheduler, slots: int, seconds: Sequence[float], overhead: float = 0.0) -> float:
    world = SimulatedSlots(scheduler, slots, lambda k: seconds[k], overhead=overhead).run()
    assert len(world.final) == len(seconds)
    return world.now


@given(st.integers(0, 30), st.integers(0, 10), st.sampled_from([None, 1e-5, 1e-3, 0.1, 1.0]), st.floats(1e-5, 100))
def test_equal_times_with_a_slot_for_each_point_are_one_round(
    d: int, spare: int, mean: float | None, seconds: float
) -> None:
    slots = d + 1 + spare
    assert makespan(wave(d + 1, slots, mean=mean), slots, [seconds] * (d + 1)) == pytest.approx(seconds)


@pytest.mark.parametrize(("slots", "chunks"), [(256, 1), (4, 4)])
def test_where_slots_are_many_each_has_its_share_in_one_piece(slots: int, chunks: int) -> None:
    """The driver would be asked by all of them at once for each second's worth."""
    scheduler = wave(8 * slots, slots, baseline=None)
    scheduler._wave.pool.times.note(1, np.zeros(300, dtype=np.int64), np.full(300, 0.5))
    world = SimulatedSlots(scheduler, slots, lambda _: 0.5).run()
    assert world.now == pytest.approx(4.0)
    assert len(world.submitted) == chunks * slots


@given(st.integers(1, 60), st.integers(1, 8), st.sampled_from([1.0, 7.5]))
def test_equal_long_times_take_as_many_rounds_as_they_must(n: int, slots: int, seconds: float) -> None:
    assert makespan(wave(n, slots), slots, [seconds] * n) == pytest.approx(seconds * math.ceil(n / slots))


@given(st.integers(2, 400), st.integers(2, 8), st.sampled_from([1e-4, 1e-3, 0.01, 0.1, 0.3]))
def test_no_slot_is_idle_at_the_end_for_longer_than_a_chunk(n: int, slots: int, seconds: float) -> None:
    scheduler = wave(n, slots, mean=seconds)
    world = SimulatedSlots(scheduler, slots, lambda _: seconds).run()
    ends = [world.busy_until.get(slot, 0.0) for slot in range(slots)]
    longest = max(len(submit.index) for submit in world.submitted) * seconds
    assert max(ends) - min(ends) <= longest + 1e-9
    assert max(ends) <= n * seconds / slots + longest + 1e-9


@settings(max_examples=60)
@given(
    n=st.integers(1, 300),
    slots=st.integers(1, 12),
    seed=st.integers(0, 2**32 - 1),
    typical=st.sampled_from([1e-3, 0.02, 0.2, 2.0]),
    spread=st.sampled_from([0.3, 1.0, 2.0]),
)
def test_uneven_times_stay_near_the_ideal(n: int, slots: int, seed: int, typical: float, spread: float) -> None:
    """List scheduling without knowledge of times is within longest + total / W (Graham 1966); chunks may add one."""
    seconds = typical * np.random.default_rng(seed).lognormal(0, spread, n)
    ideal = max(seconds.max(), seconds.sum() / slots)
    # A chunk goes on for its budget at most, and lasts at most as long as the point in which that ends.
    assert makespan(wave(n, slots), slots, seconds.tolist()) <= 2 * ideal + seconds.max() + 1.0


def test_short_evaluations_go_out_in_chunks() -> None:
    world = SimulatedSlots(wave(100_000, 4), 4, lambda _: 1e-5, overhead=0.002).run()
    assert world.now < 1.3 * 100_000 * 1e-5 / 4
    assert len(world.submitted) < 100


def test_a_slots_first_chunk_is_one_point_until_a_time_is_known() -> None:
    scheduler = wave(1000, 3, baseline=None)
    up(scheduler, 0, 1)
    first, _ = scheduler.issue(0.0)
    assert scheduler.issue(0.0) == []
    up(scheduler, 2)
    assert points(scheduler.issue(0.5)) == [[2]]
    scheduler.take(done(first, seconds=1e-3), 0.6)
    assert len(scheduler.issue(0.6)[0].index) > 1


def test_nothing_is_queued_while_it_may_find_an_idle_slot_soon() -> None:
    scheduler = wave(12, 4, baseline=None, mean=0.3)
    up(scheduler, 0, 1, 2, 3)
    assert [s.slot for s in fill(scheduler)] == [0, 1, 2, 3, 0, 1, 2, 3]
    scheduler = wave(8, 4, baseline=None, mean=0.3)
    up(scheduler, 0, 1, 2, 3)
    assert [s.slot for s in fill(scheduler)] == [0, 1, 2, 3]


def test_long_evaluations_are_not_queued_behind_one_another() -> None:
    scheduler = wave(10, 1, baseline=None, mean=0.6)
    up(scheduler, 0)
    assert points(scheduler.issue(0.0)) == [[0]]


@pytest.mark.parametrize("mean", [1e-6, 1e-4, 1e-2, 0.4])
def test_a_chunk_is_handed_back_before_long(mean: float) -> None:
    scheduler = wave(1_000_000, 4, mean=mean)
    up(scheduler, 0, 1, 2, 3)
    for submit in scheduler.issue(0.0):
        assert submit.budget <= 3.0
        assert submit.budget >= len(submit.index) * mean


# Evaluations that take the same time


def alike(pool: SlotPool, seconds: float) -> None:
    pool.times.note(1, np.zeros(20, dtype=np.int64), np.full(20, seconds))


@pytest.mark.parametrize(("n", "slots", "seconds"), [(64, 16, 0.1), (256, 8, 0.01), (1024, 4, 1e-3), (68, 16, 0.1)])
def test_each_slot_has_its_share_in_one_piece(n: int, slots: int, seconds: float) -> None:
    pool = SlotPool(slots=slots)
    alike(pool, seconds)
    world = SimulatedSlots(
        Scheduler(np.arange(n), 0, Policy({}), pool), slots, lambda _: seconds, overhead=0.002, lag=0.001
    ).run()
    # The baseline goes alone; else one chunk a slot, and what does not divide.
    assert len(world.submitted) <= 2 * slots + n % slots
    assert world.now <= seconds * math.ceil(n / slots) + 0.02


def test_a_piece_is_never_long() -> None:
    pool = SlotPool(slots=2)
    alike(pool, 0.1)
    world = SimulatedSlots(Scheduler(np.arange(200), None, Policy({}), pool), 2, lambda _: 0.1).run()
    assert max(len(submit.index) for submit in world.submitted) == 10
    assert world.now == pytest.approx(10.0)


def test_a_slot_that_turns_slow_hands_its_share_back() -> None:
    pool = SlotPool(slots=4)
    alike(pool, 0.01)
    scheduler = Scheduler(np.arange(400), None, Policy({}), pool)
    world = SimulatedSlots(scheduler, 4, lambda _: 0.01, slowness=lambda slot: 10.0 if slot == 1 else 1.0).run()
    assert world.now < 2.1, "of 1.33 s at best, and 10 s with the share it was given"
