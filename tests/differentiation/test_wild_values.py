"""A value of J that is out of all proportion on one side of x is told; smooth functions are never suspected."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import scipy.optimize

import distfd
from distfd.core.errors import DerivativeWarning
from distfd.core.points import Points
from distfd.core.records import Status
from distfd.differentiation.method import Request, Wave
from distfd.differentiation.wild_values import WildValue, wild_values

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

JUMPS = "jumps along"
RHO = 7.85e-9


def beam(x: Floats) -> float:
    """J of a program that reads 20 characters of a number, and so e-0 for e-09."""
    rho = float(repr(float(x[1]))[:20])
    return float(-0.515 * (1 + 0.1 * x[0]) - 6.56e7 * (rho - RHO))


def told(fun: Callable[[Floats], Any], x: Any, **options: Any) -> list[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DerivativeWarning)
        result = distfd.differentiate(fun, x, executor="serial", check=False, **options)
    return [text for text in result.warnings if JUMPS in text]


def test_a_number_that_is_cut_off_is_told() -> None:
    texts = told(beam, [1.0, RHO], scheme="central", step=5e-3, names=["load", "rho"])
    assert len(texts) == 1
    assert "'rho'" in texts[0]
    assert "'load'" not in texts[0]
    assert "J(x) = -0.5665, at -3.92e-11: " in texts[0]
    assert "e+08, at +3.92e-11: -0.5" in texts[0]
    for scheme in ("central4", "richardson"):
        assert told(beam, [1.0, RHO], scheme=scheme, step=5e-3), scheme


@pytest.mark.parametrize("bad", [-1.0, 1.0])
def test_each_output_counts(bad: float) -> None:
    def fun(x: Floats) -> Floats:
        return np.array([np.sin(x[0]), x[1] + (1e9 if bad * (x[1] - 2.0) > 0 else 0.0), 5.0])

    texts = told(fun, [1.0, 2.0], kind="jacobian", scheme="central")
    assert len(texts) == 1
    assert "of output 1 jumps along coordinate 1 on one side" in texts[0]
    assert not told(fun, [1.0, 3.0], kind="jacobian", scheme="central")


@pytest.mark.parametrize("power", [3, 6, 9])
@pytest.mark.parametrize("limit", [1.0, 1.0000001])
def test_units_with_prefixes_are_told(power: int, limit: float) -> None:
    """A program prints 999.9 and then 1.0k, of which 1.0 is read: -3e7 was found for 12 in silence."""

    def fun(x: Floats) -> float:
        value = x[0] ** 2 * x[1] / 18.0
        return float(value * 10**power if value < limit else value)

    for x in ([3.0, 2.0], [-3.0, 2.0]):
        assert told(fun, x, scheme="central", step=1e-4), "on one side or the other"
    assert not told(fun, [3.1, 2.0], scheme="central", step=1e-4)


def one_sided(fun: Callable[[Floats], float], at: list[float], h: float) -> list[WildValue]:
    x = np.array(at)
    points = Points(x, np.array([0, *range(len(x) + 1)]), np.arange(len(x)), x + h)
    values = np.array([[fun(x)], *([fun(x + h * unit)] for unit in np.eye(len(x)))])
    wave = Wave(Request(points, 0), values, np.full(len(values), Status.OK, dtype=np.uint8))
    assert wild_values([wave]) == [], "of a function in Python nothing is said by one side"
    return wild_values([wave], one_sided=True)


def test_one_sided_differences_need_others_beside_them() -> None:
    def fun(x: Floats) -> float:
        return float(np.sum(np.sin(x)) + (1e9 if x[2] > 2.0 else 0.0))

    (found,) = one_sided(fun, [1.0, 1.5, 2.0, 0.5, 0.3], 1e-3)
    assert (found.coordinate, found.output, found.opposite) == (2, 0, None)
    assert found.there > 1e9
    assert not one_sided(fun, [1.0, 1.5, 2.1, 0.5, 0.3], 1e-3)
    assert not one_sided(fun, [1.0, 1.5, 2.0], 1e-3), "too few others"

    def prefixed(x: Floats) -> float:
        value = float(999.9 + np.sum(np.sin(x)) + 100 * x[2])
        return value if value < 1205 else value / 1000

    assert [one.coordinate for one in one_sided(prefixed, [1.0, 1.5, 2.0, 0.5, 0.3], 0.02)] == [2]


def quadratic(x: Floats) -> float:
    return float(np.sum(x**2))


def steep(x: Floats) -> float:
    return float(1e12 * (x[0] - 1) ** 2 + np.sum(x[1:] ** 2))


def cancelled(x: Floats) -> float:
    return float((x[0] + 0.1) - 0.1 - x[0] + 0 * x[1])


def hinges(x: Floats) -> float:
    return float(np.sum(np.maximum(0.0, x - 1.0) ** 2))


SMOOTH: dict[str, Callable[[Floats], Any]] = {
    "rosen": scipy.optimize.rosen,
    "quadratic": quadratic,
    "steep": steep,
    "cancelled": cancelled,
    "exp": lambda x: float(np.exp(np.sum(x))),
    "sin": lambda x: float(np.sin(np.sum(x))),
    "tenth": lambda x: float(np.sum(x**10)),
    "log": lambda x: float(np.log1p(np.sum(x**2))),
    "tiny": lambda x: float(1e-30 * np.sum(np.cos(x))),
    "linear": lambda x: float(1e6 * x[0] + 1e-6 * np.sum(x[1:])),
    "constant": lambda x: 3.0,
    "hinges": hinges,
    "residuals": lambda x: np.concatenate([x - 1.0, x**3 - x, [0.0, 1e-12 * x[0]]]),
}


@pytest.mark.parametrize("name", list(SMOOTH))
@pytest.mark.parametrize("scheme", ["forward", "central", "forward2", "central4"])
def test_smooth_functions_are_not_suspected(name: str, scheme: Any) -> None:
    rng = np.random.default_rng(1)
    points = [np.zeros(5), np.ones(5), np.full(5, 1 + 1e-10), np.full(5, 1e-9), *rng.normal(size=(3, 5))]
    points += [np.pi * np.ones(5), 1e5 * rng.normal(size=5), np.array([0.0, 1.0, -1.0, 1e-8, 1e3])]
    kind = "jacobian" if name == "residuals" else "gradient"
    if name == "hinges":  # the second derivative jumps 1e-10 from there, and the difference is wrong indeed
        del points[2]
    for x in points:
        for step in (None, 1e-3):
            if name == "exp" and np.abs(x).max() > 100:
                continue
            assert not told(SMOOTH[name], x, scheme=scheme, step=step, kind=kind), (x, step)
