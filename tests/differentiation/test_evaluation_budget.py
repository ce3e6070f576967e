"""No J makes `step="auto"` take more evaluations than it says: 4 d + 38, with repairs and lines that are repeated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import distfd
from distfd.core.points import Points
from distfd.core.records import Status
from distfd.differentiation.base_point import BasePoint
from distfd.differentiation.evaluation_budget import Budget
from distfd.differentiation.method import Answer, Request, Wave
from distfd.differentiation.probe_refinement import most_evaluations
from distfd.differentiation.steps import NoiseStep
from distfd.evaluation.derivative_setting import Setting
from distfd.evaluation.method_registry import make_method
from distfd.evaluation.options import DerivativeOptions

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    J = Callable[[Floats], float]

SIZES = np.array([0.0, 1e-12, -1e-9, 1e-6, 0.5, -1.0, 3.0, 100.0])


class Nasty:
    """A J of random shape, with noise of a random law, and random holes; it always has a value at x."""

    def __init__(self, x: Floats, rng: np.random.Generator) -> None:
        d = len(x)
        self.x, self.rng = x, rng
        self.shape = str(rng.choice(["quadratic", "exp", "constant", "linear", "steep", "tiny", "flat", "product"]))
        self.trouble = str(rng.choice(["none", "kink", "jump", "saw", "ripple"]))
        self.hole = str(rng.choice(["none", "none", "wall", "box", "random", "islands", "axes", "everywhere"]))
        self.law = str(rng.choice(["none", "gauss", "t2", "outliers", "digits", "float32", "quantum", "huge"]))
        self.w, self.side, self.some = rng.normal(size=d), rng.choice([-1.0, 1.0], d), rng.random(d) < 0.6
        self.level, self.length = 10.0 ** rng.uniform(-14, 1), 10.0 ** rng.uniform(-13, -1)

    def __call__(self, at: Floats) -> float:
        off = at - self.x
        return float("nan") if off.any() and self.fails(off) else self.noisy(self.smooth(at, off) + self.rough(at, off))

    def smooth(self, at: Floats, off: Floats) -> float:
        w = self.w
        kinds: dict[str, Callable[[], Any]] = {
            "quadratic": lambda: w @ (at - w) ** 2,
            "exp": lambda: np.sum(np.exp(np.clip(w * at, -500, 500))),
            "constant": lambda: 3.0,
            "linear": lambda: w @ at,
            "steep": lambda: np.sum(np.exp(np.clip(1e6 * w * off, -300, 300))),
            "tiny": lambda: np.sum(at / (np.abs(at) + 1e-8)),
            "flat": lambda: w @ (self.some * np.sin(3 * at)),
            "product": lambda: np.prod(1 + 0.1 * at),
        }
        return float(kinds[self.shape]())

    def rough(self, at: Floats, off: Floats) -> float:
        t = float(at @ self.w)
        kinds: dict[str, Callable[[], Any]] = {
            "none": lambda: 0.0,
            "kink": lambda: np.sum(np.abs(off)[self.some]),
            "jump": lambda: self.level * np.floor(4 * off.sum() / self.length),
            "saw": lambda: self.level * (1000 * t % 1),
            "ripple": lambda: self.level * np.sin(t / self.length),
        }
        return float(kinds[self.trouble]())

    def fails(self, off: Floats) -> bool:
        kinds: dict[str, Callable[[], Any]] = {
            "none": lambda: False,
            "wall": lambda: (self.side * off)[self.some].max(initial=-1) > 0,
            "box": lambda: np.abs(off).max() > self.length,
            "random": lambda: self.rng.random() < 0.3,
            "islands": lambda: np.sin(off.sum() / self.length) > 0.5,
            "axes": lambda: np.count_nonzero(off) == 1 and self.some[np.argmax(off != 0)],
            "everywhere": lambda: True,
        }
        return bool(kinds[self.hole]())

    def noisy(self, value: float) -> float:
        size = self.level * self.rng.normal()
        kinds: dict[str, Callable[[], Any]] = {
            "none": lambda: value,
            "gauss": lambda: value + size,
            "t2": lambda: value + self.level * self.rng.standard_t(2),
            "outliers": lambda: value + size * (1e3 if self.rng.random() < 0.1 else 1),
            "digits": lambda: float(f"{value:.4e}"),
            "float32": lambda: np.float32(value),
            "quantum": lambda: np.round(value / self.level) * self.level,
            "huge": lambda: 1e300 * value,
        }
        return float(kinds[self.law]())


def solve(setting: Setting, functions: list[J]) -> tuple[Answer, int]:
    """The answer for a J of these outputs, and how many points were asked for, whether they repeat others or not."""
    plan = make_method("jacobian" if len(functions) > 1 else "gradient", setting)
    waves, asked, x = list[Wave](), 0, setting.site.x
    with np.errstate(all="ignore"):
        while isinstance(step := plan.advance(waves), Request):
            points = [step.points.dense(k) for k in range(len(step.points))]
            values = np.array([[fun(point) for fun in functions] for point in points])
            at_x = np.array([(point == x).all() for point in points])
            values[at_x] = np.where(np.isfinite(values[at_x]), values[at_x], 1.0)
            status = np.where(np.isfinite(values).all(axis=1), Status.OK, Status.ERROR).astype(np.uint8)
            waves.append(Wave(step, values, status))
            asked += len(points)
    return step, asked


def bounds(kind: str, x: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    lower, upper = np.full(len(x), -np.inf), np.full(len(x), np.inf)
    if kind == "box":
        lower, upper = x - 10.0 ** rng.uniform(-10, 1, len(x)), x + 10.0 ** rng.uniform(-10, 1, len(x))
    if kind == "at x":
        lower = x.copy()
    if kind == "some fixed":
        fixed = rng.random(len(x)) < 0.4
        lower[fixed] = upper[fixed] = x[fixed]
    return lower, upper


@given(
    d=st.sampled_from([1, 1, 2, 3, 4, 5, 7, 10, 14, 20, 30]),
    outputs=st.sampled_from([1, 1, 1, 2]),
    repair=st.booleans(),
    drifts=st.booleans(),
    tiny=st.sampled_from(["none", "some", "all"]),
    limits=st.sampled_from(["none", "box", "at x", "some fixed"]),
    noise=st.sampled_from([None, None, None, 1e-9, 1e-3]),
    accuracy=st.sampled_from([None, None, None, 1e-3]),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=80, deadline=None)
def test_no_j_makes_auto_take_more_than_it_says(
    *,
    d: int,
    outputs: int,
    repair: bool,
    drifts: bool,
    tiny: str,
    limits: str,
    noise: float | None,
    accuracy: float | None,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    sizes = {"none": SIZES[4:], "some": SIZES, "all": SIZES[:4]}[tiny]
    x = rng.choice(sizes, d) * (1 + 0.1 * rng.normal(size=d))
    site = BasePoint(x, *bounds(limits, x, rng))
    repair = repair and accuracy is None
    options = DerivativeOptions(step=NoiseStep(noise=noise), accuracy=accuracy)
    answer, asked = solve(Setting(site, options, repair=repair, drifts=drifts), [Nasty(x, rng) for _ in range(outputs)])
    free = len(site.moving)
    assert asked <= 4 * free + 38 + free * (accuracy is not None)
    assert answer.derivative.shape == ((outputs, d) if outputs > 1 else (d,))


@pytest.mark.parametrize("d", [1, 3, 8])
@pytest.mark.parametrize("repair", [False, True])
def test_tiny_coordinates_whose_scale_is_looked_for_twice_cost_no_more(d: int, *, repair: bool) -> None:
    """4 d + 49 were seen: lines were repeated at both scales."""
    x = np.full(d, 1e-9)
    site = BasePoint(x, np.full(d, -np.inf), np.full(d, np.inf))
    rng = np.random.default_rng(0)

    def fun(at: Floats) -> float:
        return float(np.exp(at).sum() + 1e-3 * rng.standard_t(1)) if (np.abs(at) < 1e-2).all() else float("nan")

    _, asked = solve(Setting(site, DerivativeOptions(step=NoiseStep()), repair=repair), [fun])
    assert asked <= 4 * d + 38


def test_every_evaluation_through_a_session_counts() -> None:
    """By what the user sees, with the repeated lines of a smooth J that shows no noise."""
    x = np.array([1e-9, 1.0, 2.0])
    found = distfd.differentiate(lambda at: float(np.exp(at).sum()), x, step="auto", executor="serial")
    assert found.n_evaluations <= 4 * 3 + 38
    np.testing.assert_allclose(found.derivative, np.exp(x), rtol=1e-8)


@pytest.mark.parametrize("step", ["auto", NoiseStep("shi"), NoiseStep("gill")])
def test_outputs_that_fail_together_past_x_are_missing_and_no_error_of_distfd(step: Any) -> None:
    """A request in which no point had a value once had one output, whatever J has: a ValueError of numpy's."""

    def fun(at: Floats) -> Floats:
        if (at != [1.0, 2.0]).any():
            raise ValueError("no value")
        return np.array([1.0, 2.0, 3.0])

    found = distfd.differentiate(fun, [1.0, 2.0], kind="jacobian", step=step, on_failure="nan", executor="serial")
    assert found.missing.tolist() == [0, 1]
    assert np.shape(found.derivative) == (3, 2)


def test_what_is_reserved_is_not_there_for_anything_else() -> None:
    budget = Budget(most_evaluations(2), reserved=4)
    assert budget.free == 42
    assert budget.affords(42)
    assert not budget.short
    assert not budget.affords(43)
    assert budget.short
    points = Points(np.zeros(2), np.zeros(41, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(0))
    assert budget.spend(Request(points)).points is points
    assert (budget.left, budget.free) == (6, 2)
