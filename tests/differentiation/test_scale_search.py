"""Whatever reads the noise of J finds the scale of coordinates that are tiny."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from tiny_coordinates import decay, saturation, steep

import distfd
from distfd.core.errors import DerivativeWarning
from distfd.differentiation.base_point import BasePoint
from distfd.differentiation.scale_search import safe_sizes

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


def next_to_zero(x: Floats) -> float:
    return float(np.sin(1 + x[0]) + x[1])


def of_two_kinds(x: Floats) -> float:
    """Coordinate 0 has the scale 1, coordinate 1 that of 1e-4, whatever x is."""
    return float(np.sin(1 + x[0]) * np.exp(1e4 * x[1]))


def stiff(x: Floats) -> float:
    return math.exp(1e6 * x[0])  # which raises where it overflows


TWO_KINDS = [math.cos(1 + 1e-9) * math.exp(0.1), math.sin(1 + 1e-9) * 1e4 * math.exp(0.1)]

CASES: dict[str, tuple[Callable[[Floats], float], list[float], list[float]]] = {
    "decay": (decay, [1e3, 1e-9], [-5 * math.exp(-1) * 1e-3, -5 * math.exp(-1) * 1e9]),
    "saturation": (saturation, [1e-8], [2.5e7]),
    "saturation below": (saturation, [1e-10], [1e-8 / 1.01e-8**2]),
    "saturation beside 1000": (lambda p: 1000 + saturation(p), [1e-8], [2.5e7]),
    "steep": (steep, [2e-12], [2e12]),
    "steep in two": (steep, [2e-12, 3e-12], [2e12, 4e12]),
    "stiff": (stiff, [1e-6], [1e6 * math.e]),
    "next to zero": (next_to_zero, [1e-9, 2e-5], [math.cos(1 + 1e-9), 1]),
    "next to zero, one far": (next_to_zero, [-1e-7, 3.0], [math.cos(1 - 1e-7), 1]),
    "all but zero": (next_to_zero, [1e-300, 3.0], [math.cos(1), 1]),
    "of two kinds": (of_two_kinds, [1e-9, 1e-5], TWO_KINDS),
    "logarithm": (lambda x: math.log(x[0]) + x[1], [1e-20, 3.0], [1e20, 1]),
    "squares": (lambda x: float(x @ x), [1e-9, -1e-7], [2e-9, -2e-7]),
}


def bars(result: Any) -> Floats:
    assert result.error is not None
    return np.asarray(result.error)


@pytest.mark.parametrize("case", list(CASES))
def test_auto(case: str) -> None:
    fun, x, exact = CASES[case]
    result = distfd.differentiate(fun, x, step="auto", executor="serial")
    assert_allclose(result.derivative, exact, rtol=1e-6)
    assert (np.abs(result.derivative - exact) <= 2 * bars(result) + 1e-15 * np.abs(exact)).all()
    assert result.n_evaluations <= 4 * len(x) + 38
    assert result.warnings == ()


@pytest.mark.parametrize("case", ["decay", "saturation", "steep", "stiff", "next to zero", "of two kinds"])
@pytest.mark.parametrize("how", [distfd.NoiseStep("shi"), distfd.NoiseStep("gill"), "accuracy"])
def test_the_other_ways(case: str, how: Any) -> None:
    fun, x, exact = CASES[case]
    options = {"accuracy": 1e-4} if how == "accuracy" else {"step": how}
    result = distfd.differentiate(fun, x, executor="serial", **options)
    assert_allclose(result.derivative, exact, rtol=2e-4)


def test_shi_in_its_central_form() -> None:
    result = distfd.differentiate(decay, [1e3, 1e-9], step=distfd.NoiseStep("shi"), scheme="central", executor="serial")
    assert_allclose(result.derivative, CASES["decay"][2], rtol=1e-6)


def test_finite_bounds_are_a_scale() -> None:
    for x, bounds in (([0.0], [(0, 1e-6)]), ([0.5e-6], [(0, 1e-6)]), ([0.0], [(-1e-6, 1e-6)])):
        result = distfd.differentiate(stiff, x, step="auto", bounds=bounds, executor="serial")
        assert_allclose(result.derivative, 1e6 * math.exp(1e6 * x[0]), rtol=1e-6)


def test_a_jacobian_has_outputs_of_both_kinds() -> None:
    def fun(p: Floats) -> Floats:
        return np.array([np.sin(1 + p[0]), saturation(p), p[1]])

    result = distfd.differentiate(fun, [1e-8, 2.0], kind="jacobian", step="auto", executor="serial")
    assert_allclose(result.derivative, [[np.cos(1 + 1e-8), 0], [2.5e7, 0], [0, 1]], rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("sigma", [1e-10, 1e-6, 1e-3])
@pytest.mark.parametrize("case", ["decay", "next to zero"])
def test_under_noise_the_bars_hold(case: str, sigma: float) -> None:
    fun, x, exact = CASES[case]
    inside = total = 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DerivativeWarning)
            result = distfd.differentiate(
                lambda p, rng=rng: fun(p) + sigma * rng.standard_normal(), x, step="auto", executor="serial"
            )
        inside += int((np.abs(result.derivative - exact) <= bars(result)).sum())
        total += len(x)
        # Noise of 1e-3 beside a J of 1 leaves a derivative that is known to some percent.
        assert (bars(result) < (20 * sigma ** (2 / 3) + 1e-6) * np.abs(exact)).all()
    assert inside >= 0.9 * total


def test_noise_levels() -> None:
    for case in ("decay", "saturation", "steep", "next to zero"):
        fun, x, _ = CASES[case]
        found = distfd.noise_level(fun, x, executor="serial")
        assert found.level < 1e-14 * max(1, abs(fun(np.array(x))))
        assert found.n_evaluations <= 25
        rng = np.random.default_rng(3)
        noisy = distfd.noise_level(lambda p, f=fun, r=rng: f(p) + 1e-6 * r.standard_normal(), x, executor="serial")
        assert 3e-7 < noisy.level < 3e-6


def test_noise_that_is_alike_at_near_points_takes_the_near_ones() -> None:
    """J is the same function over a billionth of its scale, and another one after that."""

    def fun(x: Floats) -> float:
        return float(np.sin(1 + x[0]) + 1e-6 * np.random.default_rng(int((1 + x[0]) * 1e9)).standard_normal())

    result = distfd.differentiate(fun, [1e-12], step="auto", executor="serial")
    assert abs(result.derivative[0] - np.cos(1)) <= 2 * bars(result)[0] < 0.01


@settings(max_examples=40)
@given(st.floats(-14, -3), st.floats(-2, 2), st.booleans())
@example(-3.0, 1.0, False)
@example(-3.0, -0.5, False)
@example(-3.2, -0.6, True)
def test_parameters_of_any_size(power: float, near: float, negative: bool) -> None:
    """J has the scale of its parameter, whatever that is.

    A line of points may cross all of a J of larger scale, and then that is told. From 1e-2 on that scale is not
    searched for.
    """
    size = 10.0**power * (-1 if negative else 1)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        result = distfd.differentiate(
            lambda p: 1 / (1 + (p[0] / size) ** 2) + p[1], [size * 10**near, 1.5], step="auto", executor="serial"
        )
    if told and (abs(size) >= 5e-5 or abs(size * 10**near) >= 1e-2):
        assert "cannot be told from 0" in str(told[0].message) or "has no error bars" in str(told[0].message)
        return
    assert not told
    t = 10**near
    assert_allclose(result.derivative[0] * size, -2 * t / (1 + t**2) ** 2, rtol=1e-4)


def test_a_given_scale_is_not_searched() -> None:
    calls: list[Floats] = []

    def fun(x: Floats) -> float:
        calls.append(x.copy())
        return float(np.sin(1 + x[0]))

    distfd.differentiate(fun, [1e-9], step="auto", scale=[3e-5], executor="serial")
    assert max(abs(x[0]) for x in calls) > 1e-7
    assert max(abs(x[0]) for x in calls) < 1e-5


def test_safe_sizes() -> None:
    x = np.array([0.0, 1e-9, 0.5, 3.0, 1.0, 0.0, 1e-9, 1e-9])
    lower = np.array([-np.inf] * 4 + [1 - 1e-8, 0, 1e-9, -np.inf])
    upper = np.array([np.inf] * 4 + [1 + 1e-8, 1e-6, 1e-9, np.inf])
    scale = np.maximum(1, np.abs(x))
    scale[7] = 0.3
    found = safe_sizes(BasePoint(x, lower, upper), scale)
    assert_allclose(found, [1, 1e-9, 1, 3, 2e-8, 1e-6, 1, 0.3], rtol=1e-6)
