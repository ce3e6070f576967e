"""Time: sessions without what lies between them, and every slot's second accounted for once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_runs import BEGIN, FOUR, Attempt, Made, session

from distfd.core.records import Status
from distfd.reporting.run_clock import RunClock, run_clock
from distfd.reporting.run_data import read_run
from distfd.reporting.time_spent import where_time_went
from distfd.reporting.timeline import covered

if TYPE_CHECKING:
    from pathlib import Path


def spent(made: Made, path: Path) -> dict[str, float]:
    data = read_run(made.write(path).path)
    clock = run_clock(data)
    assert clock is not None
    return {share.kind: round(share.seconds, 6) for share in where_time_went(data, clock)}


def test_every_second_of_every_slot_is_accounted_for(tmp_path: Path) -> None:
    # Slot 0: starts 2, works 2-3 and 3-4, waits for the end of the wave at 5.5. Slot 1: starts 2.5, works until 3.5,
    # is idle until 4, works until 5, waits 0.5. Then both are between waves for half a second.
    assert spent(Made(FOUR, session(0.0, 6.0, (1.5, 5.5))), tmp_path / "run") == {
        "useful": 4.0,
        "lost": 0.0,
        "start": 4.5,
        "restarts": 0.0,
        "tail": 2.0,
        "between": 1.0,
        "handing": 0.5,
    }


def test_failures_gaps_between_waves_and_sessions(tmp_path: Path) -> None:
    attempts = [
        Attempt(0, 0, 1.0, 2.0, Status.ERROR),
        Attempt(0, 0, 2.0, 4.0),
        Attempt(1, 0, 6.0, 7.0),
        Attempt(2, 0, 1001.0, 1002.0),
    ]
    log = [*session(0.0, 8.0, (0.5, 4.0), (6.0, 7.0), slots=1), *session(1000.0, 1002.5, (1000.5, 1002.0), slots=1)]
    assert spent(Made(attempts, log), tmp_path / "run") == {
        "useful": 4.0,
        "lost": 1.0,
        "start": 2.0,
        "restarts": 0.0,
        "tail": 0.0,
        "between": 3.5,
        "handing": 0.0,
    }


def test_the_time_in_which_a_killed_worker_comes_back_is_a_restart(tmp_path: Path) -> None:
    # Slot 0 crashes at 3, and works again from 5 on, in another process; the gap of 0.25 at 6 is no restart. Slot 1
    # gets nothing after its process has died at 4, and waits for the end.
    attempts = [
        Attempt(0, 0, 2.0, 3.0, Status.CRASH, pid=7),
        Attempt(0, 0, 5.0, 6.0, attempt=2, pid=8),
        Attempt(2, 0, 6.25, 7.0, pid=8),
        Attempt(1, 1, 2.0, 4.0, Status.TIMEOUT, pid=9),
    ]
    assert spent(Made(attempts, session(0.0, 7.0, (1.0, 7.0))), tmp_path / "run") == {
        "useful": 1.75,
        "lost": 3.0,
        "start": 4.0,
        "restarts": 2.0,
        "tail": 3.0,
        "between": 0.0,
        "handing": 0.25,
    }


@pytest.mark.parametrize(
    ("status", "before", "after", "seconds"),
    [
        (Status.OK, 7, 8, 2.0),  # recycled: its last evaluation was in order
        (Status.OK, 7, 7, 0.0),
        (Status.CRASH, 7, 7, 0.0),  # a program crashed, and the worker that runs it lived on
        (Status.LOST, 0, 8, 2.0),
        (Status.ERROR, 0, 8, 0.0),
    ],
)
def test_a_restart_is_another_process_or_an_end_of_one(
    tmp_path: Path, status: Status, before: int, after: int, seconds: float
) -> None:
    attempts = [Attempt(0, 0, 1.0, 2.0, status, pid=before), Attempt(1, 0, 4.0, 5.0, pid=after)]
    shares = spent(Made(attempts, session(0.0, 5.0, (1.0, 5.0), slots=1)), tmp_path / "run")
    assert (shares["restarts"], shares["handing"]) == (seconds, 2.0 - seconds)


def test_a_restart_between_waves_is_counted_once(tmp_path: Path) -> None:
    attempts = [Attempt(0, 0, 1.0, 2.0, Status.CRASH, pid=7), Attempt(1, 0, 6.0, 7.0, pid=8)]
    shares = spent(Made(attempts, session(0.0, 7.0, (1.0, 3.0), (5.0, 7.0), slots=1)), tmp_path / "run")
    assert sum(shares.values()) == 7.0
    assert (shares["restarts"], shares["between"], shares["tail"]) == (0.0, 2.0, 1.0)


def test_a_slot_without_work_starts_and_waits_like_the_others(tmp_path: Path) -> None:
    shares = spent(Made([Attempt(0, 0, 2.0, 5.0)], session(0.0, 5.0, (1.0, 5.0), slots=2)), tmp_path / "run")
    assert (shares["start"], shares["tail"], shares["useful"]) == (4.0, 3.0, 3.0)


def test_what_lies_between_sessions_takes_no_time(tmp_path: Path) -> None:
    data = read_run(Made([], [*session(0.0, 10.0), *session(5000.0, 5003.0)]).write(tmp_path / "run").path)
    clock = run_clock(data)
    assert clock is not None
    assert clock.total == pytest.approx(13.0)
    at = clock(BEGIN + np.array([-1.0, 4.0, 10.0, 2000.0, 5000.0, 5002.0, 6000.0]))
    np.testing.assert_allclose(at, [0, 4, 10, 10, 10, 12, 13], atol=1e-3)


def test_a_session_that_was_killed_lasts_until_its_last_evaluation(tmp_path: Path) -> None:
    data = read_run(Made([Attempt(0, 0, 2.0, 7.0)], session(0.0, None)).write(tmp_path / "run").path)
    clock = run_clock(data)
    assert clock is not None
    assert clock.total == pytest.approx(7.0)


def test_without_a_log_the_evaluations_tell_the_time(tmp_path: Path) -> None:
    run = Made(FOUR).write(tmp_path / "run")
    run.log.unlink()
    clock = run_clock(read_run(run.path))
    assert clock is not None
    assert clock.total == pytest.approx(3.0)
    assert run_clock(read_run(Made([], [], {"task": "gradient"}).write(tmp_path / "empty").path)) is None


def test_starting_is_left_out_of_the_timeline() -> None:
    clock = RunClock(np.array([0.0, 100.0]), np.array([20.0, 130.0])).from_first(np.array([10.0, 12.0, 120.0]))
    np.testing.assert_allclose(clock.begins, [9.8, 119.8])


TIMES = st.floats(0, 10)


@given(st.lists(st.tuples(TIMES, TIMES), max_size=20), st.lists(TIMES, min_size=1, max_size=10))
def test_time_covered_is_that_of_each_interval(intervals: list[Any], at: list[float]) -> None:
    begin, end = np.sort(np.array(intervals).reshape(-1, 2), axis=1).T
    wanted = [sum(max(0.0, min(t, e) - b) for b, e in zip(begin, end, strict=True)) for t in at]
    np.testing.assert_allclose(covered(begin, end, np.array(at)), wanted, atol=1e-9)
