"""Points that a wave can do without: on slots that would be idle, once, and never waited for longer than the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulated_slots import FOREVER, Plan, SimulatedSlots

from distfd.core.records import Status
from distfd.scheduling.optional_points import fits_in_idle_slots
from distfd.scheduling.policy import Policy
from distfd.scheduling.scheduler import Scheduler
from distfd.scheduling.slot_pool import SlotPool

if TYPE_CHECKING:
    from collections.abc import Callable

RETRIES = dict.fromkeys((Status.ERROR, Status.CRASH, Status.TIMEOUT), 2)


def wave(
    n: int,
    slots: int,
    seconds: Callable[[int], float] = lambda _: 1.0,
    *,
    optional: int = 1,
    insist: bool = False,
    copies: bool = False,
    timeout: float | None = None,
    **how: Any,
) -> SimulatedSlots:
    """Points 0 to n - 1, of which 0 is the baseline, and optional ones behind them."""
    scheduler = Scheduler(
        np.arange(n),
        0,
        Policy(RETRIES, timeout, False, copies),
        SlotPool(slots=slots),
        total=n + optional,
        optional=np.arange(n, n + optional),
        insist=insist,
    )
    return SimulatedSlots(scheduler, slots, seconds, **how)


@pytest.mark.parametrize(
    ("points", "optional", "slots", "fits"),
    [
        (15, 1, 16, True),
        (16, 1, 16, False),
        (31, 1, 16, True),
        (31, 2, 16, False),
        (30, 2, 16, True),
        (3, 1, 2, True),
        (4, 1, 2, False),
        (3, 1, 1, False),
        (1, 1, 1, False),
        (1, 1, 2, True),
        (0, 1, 16, False),
    ],
)
def test_what_costs_no_round(points: int, optional: int, slots: int, fits: bool) -> None:
    assert fits_in_idle_slots(points, optional, slots) is fits


def test_sixteen_slots_take_fifteen_points_and_one_more_in_one_round() -> None:
    slots = wave(15, 16).run()
    assert set(slots.final) == set(range(16))
    assert slots.now == 1.0
    assert slots.submitted[-1].index.tolist() == [15], "it goes out last"


@pytest.mark.parametrize(("n", "slots", "rounds"), [(30, 16, 2), (5, 3, 2), (3, 2, 2), (47, 16, 3)])
def test_it_costs_no_round(n: int, slots: int, rounds: int) -> None:
    with_one = wave(n, slots).run()
    assert n in with_one.final
    assert with_one.now == pytest.approx(rounds)


def test_one_that_hangs_is_cancelled_once_the_others_are_done() -> None:
    slots = wave(15, 16, lambda k: 1000.0 if k == 15 else 1.0).run()
    assert set(slots.final) == set(range(15))
    assert slots.cancelled == {15: 1}
    assert 1.0 < slots.now < 1.5
    (batch,) = [batch for batch in slots.scheduler.uncounted() if len(batch)]
    assert (batch.index.tolist(), batch.status.tolist()) == ([15], [Status.CANCELLED])


def test_one_that_takes_as_long_as_the_longest_is_waited_for() -> None:
    # It begins with the last of the others, and theirs end first.
    slots = wave(3, 2, lambda k: {0: 2.0, 1: 1.9, 2: 1.0, 3: 2.0}[k]).run()
    assert 3 in slots.final
    assert slots.now == pytest.approx(4.0)


@pytest.mark.parametrize("status", [Status.CRASH, Status.ERROR])
def test_its_failure_is_not_tried_again_and_fails_nothing(status: Status) -> None:
    slots = wave(15, 16, plans={15: Plan(status)}).run()
    assert slots.runs[15] == 1
    assert slots.final[15] == (status, 1)
    assert all(slots.final[k] == (Status.OK, 1) for k in range(15))


def test_its_timeout_is_not_tried_again() -> None:
    slots = wave(3, 4, timeout=1.05, plans={3: Plan(Status.TIMEOUT)}, insist=True).run()
    assert slots.runs[3] == 1
    assert slots.final[3][0] == Status.TIMEOUT


def test_the_others_are_tried_again_as_ever() -> None:
    slots = wave(15, 16, plans={4: Plan(Status.CRASH, 2)}).run()
    assert slots.final[4] == (Status.OK, 3)


def test_it_gets_no_copy() -> None:
    def seconds(k: int) -> float:
        return 100.0 if k == 8 else 1.0

    slots = wave(8, 16, seconds, copies=True, insist=True).run()
    assert slots.backups[8] == 0
    assert slots.cancelled == {8: 1}


def test_a_straggler_beside_it_is_copied() -> None:
    slots = wave(8, 16, lambda k: 1.0, copies=True, slowness=lambda slot: 100.0 if slot == 3 else 1.0).run()
    assert sum(slots.backups.values()) >= 1
    assert set(range(8)) <= set(slots.final)


def test_a_node_that_goes_takes_it_along() -> None:
    scheduler_slots = wave(15, 16, losses=[(0.5, 15)])
    carrier = scheduler_slots.run().submitted
    slot = next(submit.slot for submit in carrier if submit.index.tolist() == [15])
    again = wave(15, 16, losses=[(0.5, slot)]).run()
    assert 15 not in again.final
    assert again.runs[15] == 1
    assert set(again.final) == set(range(15))


def test_short_evaluations_are_worth_a_moment_even_without_an_idle_slot() -> None:
    one_is_up = wave(15, 16, lambda _: 0.01, start=lambda slot: 0.0 if slot == 0 else 1e6).run()
    assert 15 in one_is_up.final


def test_long_ones_are_not() -> None:
    one_is_up = wave(3, 4, lambda _: 60.0, start=lambda slot: 0.0 if slot == 0 else 1e6).run()
    assert 3 not in one_is_up.final
    assert one_is_up.runs[3] == 0
    assert one_is_up.now == 180.0


def test_who_insists_waits_for_a_slot() -> None:
    slots = wave(3, 1, lambda _: 60.0, insist=True).run()
    assert 3 in slots.final
    assert slots.now == 240.0


def test_optional_points_alone_are_evaluated_where_they_are_insisted_on() -> None:
    scheduler = Scheduler(
        np.zeros(0, np.int64),
        None,
        Policy({}),
        SlotPool(slots=2),
        total=3,
        optional=np.arange(3),
        insist=True,
    )
    slots = SimulatedSlots(scheduler, 2, lambda _: 1.0).run()
    assert set(slots.final) == {0, 1, 2}


def test_quarantined_points_do_not_wait_for_it() -> None:
    # Point 2 takes the memory of its host whenever others are at work there; by itself it is fine.
    slots = wave(
        6,
        8,
        lambda k: 50.0 if k == 6 else 1.0,
        plans={2: Plan(Status.CRASH, 1)},
        hogs=[2],
    ).run()
    assert set(range(6)) <= set(slots.final)
    assert slots.now < 30


def test_workers_that_die_at_their_start_do_not_keep_an_optional_point_waiting() -> None:
    starts = iter([0.0, *[None] * 1000])
    slots = wave(2, 1, optional=2, insist=True, start=lambda _: next(starts), losses=[(2.5, 0)]).run()
    assert set(slots.final) == {0, 1}
    assert slots.now < 60


@given(
    n=st.integers(1, 40),
    width=st.integers(1, 9),
    optional=st.integers(1, 4),
    insist=st.booleans(),
    copies=st.booleans(),
    plans=st.dictionaries(
        st.integers(0, 43),
        st.builds(Plan, st.sampled_from([Status.ERROR, Status.CRASH]), st.sampled_from([1, 3, FOREVER])),
        max_size=5,
    ),
    hogs=st.sets(st.integers(1, 43), max_size=2),
    seed=st.integers(0, 1000),
)
def test_whatever_happens_the_wave_ends_and_each_optional_point_has_had_one_try_at_most(  # noqa: PLR0917  # drawn
    n: int,
    width: int,
    optional: int,
    insist: bool,
    copies: bool,
    plans: dict[int, Plan],
    hogs: set[int],
    seed: int,
) -> None:
    times = np.random.default_rng(seed).exponential(1.0, n + optional)
    slots = wave(
        n,
        width,
        lambda k: float(times[k]),
        optional=optional,
        insist=insist,
        copies=copies,
        plans=plans,
        hogs=hogs,
        lag=0.1,
        seed=seed,
    ).run()
    assert all(slots.runs[k] <= 1 for k in range(n, n + optional))
    if plans.get(0) is None or plans[0].times <= 2:
        assert set(range(n)) <= set(slots.final)
