"""How far things are, in numbers."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import pytest
from batches import batch

from distfd import events
from distfd.core.records import Failure, Status
from distfd.observers.progress_state import ProgressState, duration


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def test_rate_and_time_left_do_not_count_the_start_of_workers() -> None:
    clock = Clock()
    standing = ProgressState(clock)
    standing.take(events.WaveStarted("gradient", 101, 1, 4))
    assert (standing.rate, standing.left) == (None, None)
    clock.now = 60.0  # workers start
    standing.take(events.BatchFinished(batch(10)))
    assert standing.rate is None, "nothing can be told of one moment"
    clock.now = 64.0
    standing.take(events.BatchFinished(batch(20, failed=2)))
    assert standing.rate == pytest.approx(5.0)
    assert standing.left == pytest.approx(70 / 5)
    assert (standing.done, standing.failed, standing.reused, standing.total) == (30, 2, 1, 100)
    assert standing.rounds == (7, 25)


def test_the_longest_goes_on_counting_between_events_and_ends_with_the_wave() -> None:
    clock = Clock(100.0)
    standing = ProgressState(clock)
    standing.take(events.WaveStarted("gradient", 3, 0, 2))
    standing.take(events.Running(2, 2, "coordinate 1, x = 2.0 (baseline 1.0)", 7.0))
    clock.now = 103.0
    assert standing.longest == ("coordinate 1", 10.0)
    assert standing.running == 2
    standing.take(events.WaveEnded("gradient", 3, 0, 3.0, 3.0))
    assert standing.longest is None
    assert standing.running == 0


def of(seconds: float, n: int = 1) -> events.BatchFinished:
    """So many evaluations of this length."""
    return events.BatchFinished(dataclasses.replace(batch(n), ended=np.full(n, seconds)))


def test_slots_that_end_together_are_not_taken_for_quick_ones() -> None:
    # 16 evaluations of 5 s on 4 slots: after the first round 15 s are left, and the rate alone says 0.04 s.
    clock = Clock()
    standing = ProgressState(clock)
    standing.take(events.WaveStarted("gradient", 16, 0, 4))
    for k in range(4):
        clock.now = 5.0 + 0.01 * k / 3
        standing.take(of(5.0))
    assert standing.left == pytest.approx(15.0)
    clock.now = 8.01
    assert standing.left == pytest.approx(12.04, abs=0.1)
    for k in range(4):
        clock.now = 10.0 + 0.01 * k / 3
        standing.take(of(5.0))
    assert standing.left == pytest.approx(10.0)


def test_an_evaluation_that_was_killed_has_all_its_time_before_it() -> None:
    # The last of 41 evaluations of 10 s on 2 slots is killed after 8 s, and is begun again.
    clock = Clock()
    standing = ProgressState(clock)
    standing.take(events.WaveStarted("gradient", 41, 0, 2))
    for k in range(20):
        clock.now = 10.0 * (k + 1)
        standing.take(of(10.0, 2))
    standing.take(events.Running(1, 1, "coordinate 40, x = 2.0", 1.0))
    clock.now += 8.0
    assert standing.left == pytest.approx((clock.now - 10.0) / 38)
    lost = Failure(Status.CRASH, "the process died")
    standing.take(events.AttemptFailed("coordinate 40, x = 2.0", 1, lost, again=True, host="h", pid=1))
    assert (standing.longest, standing.running) == (None, 0)
    assert standing.left == pytest.approx(10.0)
    clock.now += 21.0
    assert standing.left is None, "it is overdue, and nobody knows"


def test_an_error_of_j_ends_no_process() -> None:
    standing = ProgressState(Clock())
    standing.take(events.WaveStarted("gradient", 3, 0, 2))
    standing.take(events.Running(2, 2, "coordinate 1, x = 2.0", 7.0))
    for label, status in (("coordinate 2, x = 2.0", Status.TIMEOUT), ("coordinate 1, x = 2.0", Status.ERROR)):
        assert standing.longest is not None
        standing.take(events.AttemptFailed(label, 1, Failure(status, "no"), again=False, host="h", pid=1))
    assert standing.longest is None
    assert standing.running == 1


def test_the_iterate() -> None:
    standing = ProgressState()
    assert standing.iterate == ""
    said = standing.take(events.Iterated(3, np.zeros(2), 0.125, 4.0))
    assert said == "iteration 3: J = 0.125, |g| = 4"
    standing.take(events.Iterated(4, np.zeros(2), 0.1))
    assert standing.iterate == "J = 0.1"
    standing.take(events.Iterated(5, np.zeros(2), 0.1, measure="cost"))
    assert standing.iterate == "cost = 0.1"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "0 s"),
        (99.4, "99 s"),
        (99.6, "1 min 40 s"),
        (120.0, "2 min"),
        (3599.0, "59 min 59 s"),
        (3600.0, "1 h"),
        (18720.0, "5 h 12 min"),
        (86400.0, "1 d"),
        (273600.0, "3 d 4 h"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
