from __future__ import annotations

import numpy as np
import pytest

from distfd.scheduling.evaluation_times import EvaluationTimes


def note(times: EvaluationTimes, wave: int, **seconds: float) -> None:
    index = np.array([int(name[1:]) for name in seconds])
    times.note(wave, index, np.array(list(seconds.values())))


def test_nothing_is_known_at_first() -> None:
    times = EvaluationTimes()
    times.note(3, np.empty(0, np.int64), np.empty(0))
    assert (times.mean, times.median, times.count, times.expected(3)) == (None, None, 0, None)


def test_mean_and_median() -> None:
    times = EvaluationTimes()
    note(times, 3, k0=1.0, k1=2.0, k2=9.0)
    assert (times.mean, times.median, times.count) == (4.0, 2.0, 3)


def test_the_median_is_that_of_late() -> None:
    times = EvaluationTimes()
    times.note(1000, np.arange(1000), np.full(1000, 5.0))
    times.note(1000, np.arange(300), np.full(300, 1.0))
    assert times.median == 1.0


def test_points_that_take_about_the_same_are_alike() -> None:
    times = EvaluationTimes()
    note(times, 3, k0=1.0, k1=1.1, k2=1.4)
    assert times.expected(3) is None


def test_each_point_is_expected_to_take_what_it_took() -> None:
    times = EvaluationTimes()
    note(times, 4, k0=1.0, k1=8.0, k3=1.0)
    expected = times.expected(4)
    assert expected is not None
    assert expected.tolist() == [1.0, 8.0, 1.0, 1.0], "of what is not known, the median"
    assert times.expected(5) is None, "a wave of another size is another"


def test_what_is_known_of_few_says_nothing_of_all() -> None:
    times = EvaluationTimes()
    note(times, 9, k0=1.0, k1=8.0)
    assert times.expected(9) is None


def test_what_a_slow_slot_made_of_a_point_is_soon_forgotten() -> None:
    times = EvaluationTimes()
    note(times, 3, k0=1.0, k1=1.0, k2=30.0)
    note(times, 3, k2=2.0)
    expected = times.expected(3)
    assert expected is not None
    assert expected.tolist() == [1.0, 1.0, 2.0]
    note(times, 3, k2=30.0)
    assert times.expected(3) == pytest.approx([1.0, 1.0, 16.0])


def test_few_kinds_of_wave_are_kept() -> None:
    times = EvaluationTimes()
    for wave in range(2, 20):
        times.note(wave, np.arange(wave), np.linspace(1.0, wave, wave))
    assert [wave for wave in range(2, 20) if times.expected(wave) is not None] == [16, 17, 18, 19]


def test_what_an_earlier_process_noted_counts_for_the_points_that_are_there() -> None:
    times = EvaluationTimes()
    times.recall(3, np.array([0, 1, 2, 7]), np.array([1.0, 9.0, 1.0, 500.0]))
    expected = times.expected(3)
    assert expected is not None
    assert expected.tolist() == [1.0, 9.0, 1.0]
    assert times.count == 3


def test_short_evaluations_whose_times_jitter_are_alike() -> None:
    times = EvaluationTimes()
    times.note(300, np.arange(300), 0.001 + 0.002 * (np.arange(300) % 20 == 0) + 0.0008 * (np.arange(300) % 3 == 0))
    assert times.expected(300) is None
    assert times.even


def test_evaluations_that_take_the_same_time() -> None:
    times = EvaluationTimes()
    assert not times.even
    times.note(20, np.arange(20), np.full(20, 1.0))
    assert times.even
    times.note(20, np.arange(20), np.where(np.arange(20) < 5, 3.0, 1.0))
    assert not times.even
