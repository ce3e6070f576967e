"""How exact first derivatives are: the source formula's bits, polynomials, orders, and SciPy's numbers."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from solving import ask, bits, method, rosenbrock, solve, trigonometric, wave

from distfd.differentiation.method import Answer, Wave
from distfd.differentiation.stencils import EPS, SCHEMES, Stencil, coefficients
from distfd.differentiation.steps import AbsoluteStep, nominal_steps

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


@given(hnp.arrays(np.float64, st.integers(1, 5), elements=st.floats(-1e3, 1e3)), st.sampled_from([0.0, 1e6, -1e6]))
def test_forward_is_the_source_formula_bit_for_bit_whatever_is_added_to_j(x: Floats, shift: float) -> None:
    def fun(at: Floats) -> float:
        return float(np.sin(at).sum() + shift)

    h = nominal_steps(x, SCHEMES["forward"])
    wanted = []
    for k in range(len(x)):
        at = x.copy()
        at[k] = x[k] + h[k]
        wanted.append((fun(at) - fun(x)) / ((x[k] + h[k]) - x[k]))
    answer = solve(method(x), fun)
    assert bits(answer.derivative) == bits(np.array(wanted))
    assert bits(answer.step) == bits((x + h) - x)


@pytest.mark.parametrize("scheme", SCHEMES)
@given(hnp.arrays(np.float64, 4, elements=st.floats(-1e3, 1e3)), st.integers(0, 2**31))
def test_a_shift_of_j_that_rounds_nothing_changes_no_bit(scheme: str, x: Floats, seed: int) -> None:
    plan = method(x, scheme)
    request = ask(plan)
    # Multiples of 2^-20 keep all their bits when 1e6 is added.
    values = np.random.default_rng(seed).integers(-(2**20), 2**20, size=(len(request.points), 2)) / 2**20
    status = np.ones(len(values), dtype=np.uint8)
    answers = [plan.advance([Wave(request, values + shift, status)]) for shift in (0.0, 1e6, -1e6)]
    assert len({tuple(bits(answer.derivative)) for answer in answers if isinstance(answer, Answer)}) == 1


@st.composite
def lines(draw: st.DrawFn) -> tuple[float, float, float, float]:
    """x, h and bounds: far, near or so near that the step shrinks, on either side."""
    x, h = draw(st.floats(-10, 10)), draw(st.floats(1e-3, 2))
    below, above = (draw(st.sampled_from([0.0, 0.4, 1.0, 1.5, 2.5, math.inf])) * h for _ in range(2))
    assume(below or above)
    return x, h, x - below, x + above


@pytest.mark.parametrize("stencil", [*SCHEMES.values(), Stencil("skew", (-1, 0.5, 3))], ids=lambda s: s.name)
@given(lines(), st.data())
def test_polynomials_up_to_the_order_have_no_error_but_round_off(
    stencil: Stencil, line: tuple[float, float, float, float], data: st.DataObject
) -> None:
    x, h, lower, upper = line
    n = stencil.order
    powers = [Fraction(data.draw(st.integers(-9, 9))) for _ in range(n + 1)]
    plan = method([x], stencil, step=AbsoluteStep(h), bounds=[(lower, upper)])

    def polynomial(at: Floats) -> float:
        return float(sum(c * Fraction(float(at[0])) ** q for q, c in enumerate(powers)))

    values = wave(ask(plan), polynomial).values[:, 0]
    slope = sum((q * c * Fraction(x) ** (q - 1) for q, c in enumerate(powers) if q), Fraction(0))
    offsets = ask(plan).points.values - x
    weights = np.abs(coefficients(offsets) / offsets)
    # J is right to half an ulp. A point that was clipped or rounded is taken where it is, so no step has an error.
    bound = (4 * n + 6) * EPS / 2 * float(weights @ (np.abs(values[1:]) + abs(values[0])))
    assert abs(float(solve(plan, polynomial).derivative[0]) - slope) <= bound


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("side", ["free", "lower", "upper", "near lower"])
def test_the_error_falls_with_the_order(scheme: str, side: str) -> None:
    x, order = 0.7, SCHEMES[scheme].order
    bounds = {"free": (-9, 9), "lower": (x, 9), "upper": (-9, x), "near lower": (x - 1e-12, 9)}[side]
    errors = []
    for h in (0.04, 0.02, 0.01):
        plan = method([x], scheme, step=AbsoluteStep(h), bounds=[bounds])
        slope = float(solve(plan, lambda at: 1 / (3 - at[0])).derivative[0])  # all its derivatives are positive
        errors.append(abs(slope - 1 / (3 - x) ** 2))
    for coarse, fine in pairwise(errors):
        assert abs(math.log2(coarse / fine) - order) < 0.25


@pytest.mark.parametrize("side", ["free", "lower", "upper"])
def test_richardsons_error_falls_with_the_sixth_order(side: str) -> None:
    x = 0.7
    bounds = {"free": (-9, 9), "lower": (x, 9), "upper": (-9, x)}[side]
    errors = []
    for h in (0.16, 0.08, 0.04) if side == "free" else (0.02, 0.01):
        plan = method([x], "richardson", step=AbsoluteStep(h), bounds=[bounds])
        errors.append(abs(float(solve(plan, lambda at: 1 / (3 - at[0])).derivative[0]) - 1 / (3 - x) ** 2))
    for coarse, fine in pairwise(errors):
        assert abs(math.log2(coarse / fine) - 6) < 0.5


@pytest.mark.parametrize("fun", [rosenbrock, trigonometric, lambda at: at[:2] * 3])
@pytest.mark.parametrize("x", [[0.5, -1.2, 2.0], [0.0, -0.0, 1e3], [1e-9, -1e-9, 1.0]])
@pytest.mark.parametrize("rel_step", [None, 1e-5, [1e-3, 1e-4, 1e-6]])
@pytest.mark.parametrize("bounds", [None, "at x", "above x"])
def test_jacobians_are_scipys(fun: Callable[[Floats], Any], x: Any, rel_step: Any, bounds: Any) -> None:
    from scipy.optimize._numdiff import approx_derivative

    x = np.array(x)
    ours = {None: None, "at x": [(-1e4, v) for v in x], "above x": [(v, 1e4) for v in x]}[bounds]
    keywords = {} if ours is None else {"bounds": tuple(np.array(ours).T)}
    forward = approx_derivative(fun, x, method="2-point", rel_step=rel_step, **keywords)
    answer = solve(method(x, vector=True, step=rel_step, bounds=ours), fun)
    assert bits(answer.derivative) == bits(np.atleast_2d(forward))
    central = approx_derivative(fun, x, method="3-point", rel_step=rel_step, **keywords)
    answer = solve(method(x, "central", vector=True, step=rel_step, bounds=ours), fun)
    steps = np.abs(answer.step)
    # Both round J to eps |J| and take the difference over h; the formulas are equal but for that.
    bound = 8 * EPS * np.abs(np.atleast_1d(fun(x)))[:, None] / steps + 1e-9 * np.abs(central) + 1e-12
    assert np.all(np.abs(answer.derivative - central) <= bound)


@pytest.mark.parametrize("fun", [rosenbrock, lambda x: float(np.sin(x) @ np.cos(x))])
@given(hnp.arrays(np.float64, 3, elements=st.floats(-50, 50)), st.floats(1e-6, 1e-2))
def test_gradients_with_an_absolute_step_are_scipys_approx_fprime(
    fun: Callable[[Floats], float], x: Floats, h: float
) -> None:
    from scipy.optimize import approx_fprime

    assert bits(solve(method(x, step=AbsoluteStep(h)), fun).derivative) == bits(approx_fprime(x, fun, h))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_jacobian_has_the_gradients_of_the_outputs_as_rows(scheme: str) -> None:
    x = np.array([0.5, -1.2, 2.0])
    answer = solve(method(x, scheme, vector=True), trigonometric)
    assert answer.derivative.shape == (3, 3)
    assert bits(answer.value) == bits(trigonometric(x))
    for j in range(3):
        row = solve(method(x, scheme), lambda at, j=j: trigonometric(at)[j])  # type: ignore[misc]  # the default binds j
        assert bits(row.derivative) == bits(answer.derivative[j])
