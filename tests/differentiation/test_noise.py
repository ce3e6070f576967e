"""Noise read off lines and digits: its size, what is no noise, and points that stay inside the bounds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import distfd
from distfd.differentiation.base_point import BasePoint
from distfd.differentiation.method import Answer, Request, Wave
from distfd.differentiation.noise import (
    FLAT,
    FOUND,
    LINE,
    QUANTISED,
    UNKNOWN,
    difference_levels,
    estimate,
    known_noise,
    next_spacing,
)
from distfd.differentiation.noise_result import NoiseLevel
from distfd.differentiation.noise_survey import direction, line_points
from distfd.differentiation.rounding_quantum import quantum

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

STEPS = np.arange(LINE, dtype=np.float64)[:, None]


def lines(level: float, rng: np.random.Generator, smooth: Callable[[Floats], Floats]) -> list[Floats]:
    return [np.asarray(smooth(h * STEPS)) + level * rng.normal(size=(LINE, 1)) for h in (1e-6, 3e-3)]


def site(x: Floats, bounds: list[tuple[float, float]] | None = None) -> BasePoint:
    low, high = np.array(bounds or [(-np.inf, np.inf)] * len(x)).T
    return BasePoint(x, low, high)


@pytest.mark.parametrize("smooth", [np.exp, np.sin, lambda t: t**2, lambda t: 1e6 + t, np.zeros_like])
@pytest.mark.parametrize("level", [1e-8, 1e-5, 1e-2])
def test_the_level_of_gaussian_noise_is_found(smooth: Callable[[Floats], Floats], level: float) -> None:
    rng = np.random.default_rng(0)
    found = [estimate(lines(level, rng, smooth)) for _ in range(300)]
    levels = np.array([noise.level[0] for noise in found])
    assert np.isfinite(levels).mean() > 0.99
    low, median, high = np.nanquantile(levels / level, [0.05, 0.5, 0.95])
    assert 0.45 < low < 0.85 < median < 1.15 < high < 1.7
    # With its factor the level is a bound of 97 % of the noise, its own uncertainty included.
    fresh = np.abs(level * rng.normal(size=300))
    assert np.mean(fresh <= [noise.factor[0] * noise.level[0] for noise in found]) > 0.93


def test_levels_of_differences_are_those_of_independent_noise() -> None:
    values = np.random.default_rng(1).normal(size=(LINE, 20_000))
    levels, _ = difference_levels(values)
    np.testing.assert_allclose(np.sqrt(np.mean(levels**2, axis=1)), 1.0, rtol=0.02)


@pytest.mark.parametrize("smooth", [np.exp, np.sin, lambda t: 1 / (1 + t**2), lambda t: (t - 0.1) ** 3])
def test_a_smooth_function_has_no_noise_above_its_rounding(smooth: Callable[[Floats], Floats]) -> None:
    noise = estimate([np.asarray(smooth(h * STEPS + 0.7), dtype=np.float64) for h in (1e-6, 3e-3)])
    assert noise.status[0] == FOUND
    assert noise.level[0] < 1e-15


def test_noise_that_only_the_wider_line_sees_counts() -> None:
    rng = np.random.default_rng(2)
    quiet, loud = (level * rng.normal(size=(LINE, 1)) for level in (1e-12, 1e-6))
    assert estimate([quiet, loud]).level[0] > 1e-7


def test_a_function_that_stands_still_is_flat_and_looked_at_more_widely() -> None:
    still = np.full((LINE, 1), np.pi)
    noise = estimate([still, still])
    assert noise.status == (FLAT,)
    assert noise.level[0] == pytest.approx(np.spacing(np.pi) / np.sqrt(12))
    assert next_spacing(still, 1e-6) == pytest.approx(1e-4)
    assert next_spacing(np.exp(STEPS), 1.0) == pytest.approx(1e-2)


def test_nothing_is_said_of_what_is_steep_at_every_spacing() -> None:
    noise = estimate([np.exp(3.0 * STEPS), np.exp(4.0 * STEPS)])
    assert noise.status == (UNKNOWN,)
    assert np.isnan(noise.level[0])


def test_a_failed_point_silences_its_line_alone() -> None:
    one, two = lines(1e-3, np.random.default_rng(3), np.exp)
    one[3] = np.nan
    noise = estimate([one, two])
    assert noise.status == (FOUND,)
    assert noise.factor[0] > estimate(lines(1e-3, np.random.default_rng(3), np.exp)).factor[0]


@pytest.mark.parametrize("digits", [4, 6, 8])
@given(st.floats(0.1, 9.9), st.integers(-6, 6))
def test_printed_digits_are_read(digits: int, size: float, power: int) -> None:
    values = size * 10.0**power * (1 + 0.01 * np.sin(np.arange(20.0)))
    printed = np.array([float(f"{v:.{digits - 1}e}") for v in values])
    unit = quantum(printed[:, None])[0]
    counts = printed / unit
    np.testing.assert_allclose(counts, np.rint(counts), rtol=1e-9)
    assert unit <= 10.0 ** (np.floor(np.log10(np.abs(printed).max())) - digits + 1) * 1.001
    assert quantum(values[:, None])[0] == 0


def test_single_precision_and_lattices_are_read() -> None:
    values = np.exp(np.linspace(0.1, 0.9, 14))
    assert quantum(values.astype(np.float32).astype(float)[:, None])[0] == np.spacing(np.float32(values.max()))
    third = 1 / 3
    steps = third * np.array([1.0, 4.0, 5.0, 9.0, 11.0, 12.0])
    assert quantum(steps[:, None])[0] == pytest.approx(third)
    assert quantum(steps[:, None], printed=True)[0] == 0
    assert quantum(np.zeros((9, 1)))[0] == quantum(np.ones((9, 1)), printed=True)[0] == 0
    assert quantum(np.ones((9, 1)))[0] == 1


def test_rounded_output_is_quantised_and_its_bars_are_bounds() -> None:
    rng = np.random.default_rng(4)
    rounded = [np.array(np.exp(h * STEPS + rng.random()), dtype=np.float64).round(5) for h in (1e-6, 3e-3)]
    noise = estimate(rounded)
    assert noise.status == (QUANTISED,)
    assert noise.quantum[0] == pytest.approx(1e-5)
    # (J(x + h) - J(x)) / h can be wrong by a whole quantum over h, and central by half a one.
    assert noise.part(np.array([[1 / 0.1]]))[0, 0] == pytest.approx(1e-4)
    assert noise.part(np.array([[5.0, -5.0]]))[0, 0] == pytest.approx(0.5e-4)


def test_the_noise_part_is_that_of_the_weighted_sum() -> None:
    rng = np.random.default_rng(5)
    weights = np.array([[2.0, -0.5, 1.0]])
    drawn = rng.normal(size=(200_000, 4)) @ np.append(weights[0], -weights.sum())
    assert known_noise(1.0).deviation(weights)[0, 0] == pytest.approx(drawn.std(), rel=0.01)


@given(
    hnp.arrays(np.float64, st.integers(1, 6), elements=st.floats(-1e3, 1e3)),
    st.floats(0, 1),
    st.floats(1e-9, 10),
    st.sampled_from([1e-6, 3e-3, 10.0]),
)
def test_lines_stay_inside_the_bounds_and_are_equally_spaced(
    x: Floats, below: float, width: float, spacing: float
) -> None:
    low, high = x - below * width, x + (1 - below) * width
    points = line_points(x, np.maximum(1, np.abs(x)), low, high, [(0, spacing), (1, spacing)])
    at = np.array([points.dense(k) for k in range(len(points))])
    assert len(at) == 2 * (LINE - 1)
    assert np.all((low <= at) & (at <= high))
    line = np.concatenate((x[None], at[: LINE - 1]))
    gaps = np.diff(line, axis=0)
    assert np.all(np.abs(gaps - gaps[0]) <= 4 * np.spacing(np.abs(line).max()))


def test_directions_depend_on_x_and_the_lane_alone_and_leave_the_fixed_alone() -> None:
    x = np.array([1.0, 2.0, 3.0])
    low, high = np.array([-9.0, 2.0, -9.0]), np.array([9.0, 2.0, 9.0])
    moving, one = direction(x, np.ones(3), low, high, 0)
    assert moving.tolist() == [0, 2]
    assert one.tolist() == direction(x.copy(), np.ones(3), low, high, 0)[1].tolist()
    assert one.tolist() != direction(x, np.ones(3), low, high, 1)[1].tolist()
    assert one.tolist() != direction(x + 1e-16 * np.array([0, 0, 1e3]), np.ones(3), low, high, 0)[1].tolist()


def test_a_long_x_is_moved_in_few_coordinates() -> None:
    d = 1_000_000
    points = line_points(np.ones(d), np.ones(d), np.zeros(d), np.full(d, 2.0), [(0, 1e-6), (1, 1e-3)])
    assert len(points.values) <= 12_000


def solve(method: NoiseLevel, fun: Callable[[Floats], float]) -> tuple[Answer, list[Wave]]:
    waves: list[Wave] = []
    while isinstance(step := method.advance(waves), Request):
        values = np.array([[fun(step.points.dense(k))] for k in range(len(step.points))])
        waves.append(Wave(step, values, np.ones(len(values), dtype=np.uint8)))
    return step, waves


def test_the_noise_level_takes_one_round_of_13_evaluations() -> None:
    rng = np.random.default_rng(6)
    method = NoiseLevel(site(np.array([1.0, 2.0])), np.ones(2))
    answer, waves = solve(method, lambda x: float(np.exp(x[0]) * x[1] + 1e-5 * rng.normal()))
    assert [len(wave.values) for wave in waves] == [13]
    result = method.result(waves, 13)
    assert result.status == "found"
    assert 3e-6 < result.level < 3e-5
    assert answer.noise == result.level
    assert result.n_evaluations == 13


@pytest.mark.parametrize("value", [2.0, 0.1, 1e10, 1 / 3])
def test_of_a_constant_j_nothing_says_that_it_is_rounded(value: float) -> None:
    found = distfd.noise_level(lambda x: value, [1.3, -0.7], executor="serial")
    assert (found.status, found.quantum) == (FLAT, 0)
    assert found.level < 1e-16 * value
    whole = distfd.noise_level(lambda x: 2, [1.3, -0.7], executor="serial")
    assert (whole.status, whole.quantum) == (QUANTISED, 1)
    printed = distfd.noise_level(lambda x: 3.14159, [1.3, -0.7], executor="serial")
    assert (printed.status, printed.quantum) == (QUANTISED, 1e-5)


def test_the_noise_level_looks_nearer_where_j_is_steep() -> None:
    rng = np.random.default_rng(7)

    def steep(x: Floats) -> float:
        return float(np.cosh(np.clip(1e6 * (x[0] - 1.0), -500, 500)) + 1e-7 * rng.normal())

    method = NoiseLevel(site(np.array([1.0])), np.ones(1))
    _, waves = solve(method, steep)
    assert [len(wave.values) for wave in waves] == [13, 12]
    assert method.result(waves, 25).level == pytest.approx(1e-7, rel=0.7)
