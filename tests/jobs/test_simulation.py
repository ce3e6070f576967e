"""Waves on paper."""

from __future__ import annotations

import pytest

from distfd.errors import InputError
from distfd.jobs.forecast import Assumed, forecast
from distfd.jobs.simulation import CHUNK_COST, simulate_wave


@pytest.mark.parametrize(("points", "slots"), [(10, 10), (64, 16), (65, 16), (7, 100)])
def test_equal_times_take_the_rounds_that_they_must(points: int, slots: int) -> None:
    found = simulate_wave(points, slots, 60.0, 0.0)
    rounds = -(-points // slots)
    assert rounds * 60 <= found.wall <= rounds * (60 + slots * CHUNK_COST + 0.3) + 0.3
    assert found.backups == 0


def test_uneven_times_stay_near_the_ideal() -> None:
    found = simulate_wave(400, 20, 60.0, 0.3)
    assert found.ideal <= found.wall <= found.ideal + 4 * 60
    assert found.simulated == 400


@pytest.mark.parametrize("slots", [2, 8, 32])
def test_no_slot_does_two_things_at_once(slots: int) -> None:
    found = simulate_wave(8 * slots, slots, 0.25, 0.3)  # so short that chunks are queued behind others
    assert found.backups or found.wall >= found.ideal


def test_of_very_many_only_some_rounds_are_gone_through() -> None:
    found = simulate_wave(20_101, 100, 60.0, 0.3)
    assert found.simulated == 401
    assert found.ideal <= found.wall <= found.ideal + 4 * 60


def test_a_driver_that_cannot_keep_up_shows() -> None:
    found = simulate_wave(600, 200, 0.1, 0.0)
    assert found.driver > 0.5
    assert found.wall > 2 * found.ideal


def test_the_same_seed_gives_the_same() -> None:
    assert simulate_wave(50, 8, 1.0, 0.5) == simulate_wave(50, 8, 1.0, 0.5)
    assert simulate_wave(50, 8, 1.0, 0.5) != simulate_wave(50, 8, 1.0, 0.5, seed=1)


def test_the_forecast_names_a_driver_that_is_too_slow() -> None:
    rows = dict(forecast(1000, 999, Assumed(200, 0.1)))
    assert "MORE SLOTS" in rows["driver"]
    assert "MORE SLOTS" not in dict(forecast(1000, 999, Assumed(200, 300.0)))["driver"]


@pytest.mark.parametrize("wrong", [(0, 1.0, 0.0), (1, 0.0, 0.0), (1, 1.0, -0.1)])
def test_what_cannot_be_assumed(wrong: tuple[int, float, float]) -> None:
    with pytest.raises(InputError, match="--"):
        Assumed(*wrong)
