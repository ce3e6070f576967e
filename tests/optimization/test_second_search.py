"""Fits whose first steps lead to a place at which variables have no influence on the residuals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import distfd
from distfd.optimization.model_fit_regression import lengths_agree

if TYPE_CHECKING:
    from collections.abc import Callable

PEAK_AT = np.concatenate((np.arange(400.0, 435.0, 5.0), np.arange(436.5, 466.0, 1.5), np.arange(470.0, 501.0, 5.0)))
PEAK = 1.5543827 / 4.0888322 * np.exp(-0.5 * ((PEAK_AT - 451.54122) / 4.0888322) ** 2)
RISE_AT = np.array([1.0, 2.0, 3.0, 5.0, 7.0, 10.0])
RISE = 213.8 * (1 - np.exp(-0.5472 * RISE_AT))


def peak(b: Any) -> Any:
    """Eckerle4 of NIST's StRD, with data that the model describes."""
    return b[0] / b[1] * np.exp(-0.5 * ((PEAK_AT - b[2]) / b[1]) ** 2) - PEAK


def rise(b: Any) -> Any:
    """BoxBOD of NIST's StRD, with data that the model describes."""
    with np.errstate(over="ignore"):
        return b[0] * (1 - np.exp(-b[1] * RISE_AT)) - RISE


def fit(fun: Callable[[Any], Any], x0: Any, slots: int, **options: Any) -> Any:
    return distfd.least_squares(fun, x0, method="model", slots=slots, executor="serial", **options)


@pytest.mark.parametrize("slots", [4, 16])
@pytest.mark.parametrize("x0", [[1.0, 10.0, 500.0], [1.04246144, 10.12044123, 510.2289086]])
def test_a_peak_that_is_moved_out_of_the_data(x0: Any, slots: int) -> None:
    found = fit(peak, x0, slots)
    assert found.success, found.message
    assert found.cost < 1e-12
    np.testing.assert_allclose(found.x, [1.5543827, 4.0888322, 451.54122], rtol=1e-5)
    values = [row.value for row in found.history]
    assert values == sorted(values, reverse=True), "iterates of the second search count once their cost is the lowest"
    assert values[-1] == found.cost


@pytest.mark.filterwarnings("ignore:J did not change at all")
@pytest.mark.parametrize("slots", [3, 12])
def test_a_rate_that_becomes_too_large(slots: int) -> None:
    found = fit(rise, [1.0, 1.0], slots)
    assert found.success, found.message
    np.testing.assert_allclose(found.x, [213.8, 0.5472], rtol=1e-5)


@pytest.mark.parametrize("most", range(5, 160, 9))
def test_a_limit_on_the_way_gives_the_lowest_cost(most: int) -> None:
    found = fit(peak, [1.0, 10.0, 500.0], 4, limits=distfd.Limits(max_evaluations=most))
    assert found.cost <= min(row.value for row in found.history)
    assert found.fun.tolist() == peak(found.x).tolist()
    assert found.n_evaluations <= most + 4


def test_where_neither_search_finds_a_way_the_lower_cost_counts() -> None:
    """The data are far from both ways; the amplitude alone can be made 0."""

    def far(b: Any) -> Any:
        return b[0] * np.exp(-0.5 * ((PEAK_AT - b[1]) / 0.01) ** 2) - PEAK

    found = fit(far, [1.0, 470.0], 6)
    assert found.cost <= min(row.value for row in found.history)
    assert found.cost <= 0.5 * float(np.sum(far([0.0, 470.0]) ** 2)) * (1 + 1e-6)


def test_what_slopes_over_two_lengths_show() -> None:
    rng = np.random.default_rng(0)
    value, h = np.arange(1.0, 51), 1e-7

    def over(place: bytes, length: float, sigma: float) -> tuple[bytes, float, Any]:
        return place, length, value + sigma * np.sqrt(2) / length * rng.standard_normal(50)

    assert lengths_agree([over(b"x", h, 1e-9), over(b"x", 1e-3, 1e-9)])
    assert not lengths_agree([over(b"x", h, 1e-6), over(b"x", 1e-3, 1e-6)])
    assert not lengths_agree([over(b"x", h, 0), over(b"y", 1e-3, 0)]), "at other places"
    assert not lengths_agree([over(b"x", h, 0), over(b"x", 1.5 * h, 0)]), "over about the same length"
