"""A clock that stands still while this process is stopped."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from distfd.core import awake_clock
from distfd.workers.job_walltime import TimeLimit

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Set the time."""
    told = [100.0]
    monkeypatch.setattr("distfd.core.awake_clock.time.monotonic", lambda: told[0])
    monkeypatch.setattr(awake_clock, "_lost", 0.0)
    monkeypatch.setattr(awake_clock, "_lost_until", 0.0)
    return lambda seconds: told.__setitem__(0, seconds)


def test_a_wait_that_ends_in_time_or_a_little_late_loses_nothing(at: Callable[[float], None]) -> None:
    at(102.5)
    assert awake_clock.waited(100.0, 1.0) == 0.0
    assert awake_clock.now() == 102.5


def test_what_a_wait_took_too_long_is_lost(at: Callable[[float], None]) -> None:
    at(126.0)
    assert awake_clock.waited(100.0, 1.0) == 25.0
    assert awake_clock.now() == 101.0
    at(127.0)
    assert awake_clock.now() == 102.0


def test_two_threads_that_were_stopped_at_once_lose_it_once(at: Callable[[float], None]) -> None:
    at(126.0)
    assert awake_clock.waited(100.0, 1.0) == 25.0
    assert awake_clock.waited(100.5, 0.1) == 0.0
    assert awake_clock.seconds_lost() == 25.0


def test_threads_that_wait_while_all_is_well_lose_nothing() -> None:
    def wait(_: int) -> float:
        import time

        begin = time.monotonic()
        time.sleep(0.01)
        return awake_clock.waited(begin, 0.01)

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(wait, range(64))) == 0.0


def test_the_end_of_a_slurm_job_does_not_wait_and_max_wall_time_does(at: Callable[[float], None]) -> None:
    mine, slurms = TimeLimit(150.0, "max_wall_time"), TimeLimit(150.0, "Slurm", real=True)
    assert mine.end == slurms.end == 150.0
    at(126.0)
    awake_clock.waited(100.0, 1.0)
    assert mine.end - awake_clock.now() == 49.0
    assert slurms.end - awake_clock.now() == 24.0
