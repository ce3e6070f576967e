"""Where runs start: at bounds, outside them, with fixed variables; the same rule for every method."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy.optimize import Bounds

import distfd
from distfd.differentiation.method import onto_bounds
from distfd.optimization.scipy_methods import METHODS

BOUNDED = [name for name, traits in METHODS.items() if traits.bounds]
ignored = pytest.mark.filterwarnings("ignore::distfd.DerivativeWarning", "ignore::UserWarning")
AIM = np.array([1.0, 2.0, 3.0])


def distance(x: Any) -> float:
    return float(np.sum((np.asarray(x) - AIM) ** 2))


def offsets(x: Any) -> Any:
    return np.asarray(x) - AIM


class Watched:
    """J, and where it was asked for."""

    def __init__(self, fun: Any) -> None:
        self.fun = fun
        self.asked: list[Any] = []

    def __call__(self, x: Any) -> Any:
        self.asked.append(np.array(x))
        return self.fun(x)


@pytest.mark.parametrize("method", BOUNDED)
@pytest.mark.parametrize("x0", [0.0, 1e-12, 1e-8, 1e-6])
def test_an_active_bound_at_x0_is_left(method: Any, x0: float) -> None:
    fun = Watched(distance)
    result = distfd.minimize(fun, [x0] * 3, method=method, bounds=[(0, None)] * 3, executor="serial")
    assert result.success, result.message
    np.testing.assert_allclose(result.x, AIM, atol=1e-5)
    assert np.min(fun.asked) >= 0
    assert result.first.x.tolist() == [x0] * 3


@pytest.mark.parametrize("method", ["trf", "dogbox"])
@pytest.mark.parametrize("x0", [0.0, 1e-12, 1e-8])
def test_an_active_bound_at_x0_is_left_by_fits(method: Any, x0: float) -> None:
    fun = Watched(offsets)
    result = distfd.least_squares(fun, [x0] * 3, method=method, bounds=(0, np.inf), executor="serial")
    assert result.success, result.message
    np.testing.assert_allclose(result.x, AIM, atol=1e-6)
    assert np.min(fun.asked) >= 0


@pytest.mark.parametrize("bounds", [[(None, 4)] * 3, [(0, 4)] * 3, [(-1, 4), (4, 9), (None, 4)]])
def test_trust_constr_leaves_any_bound(bounds: Any) -> None:
    solution = np.clip(AIM, *np.array([(-9 if low is None else low, high) for low, high in bounds], dtype=float).T)
    result = distfd.minimize(distance, [4.0] * 3, method="trust-constr", bounds=bounds, executor="serial")
    assert result.success, result.message
    np.testing.assert_allclose(result.x, solution, atol=5e-3)


@ignored
def test_trust_constr_leaves_bounds_under_constraints() -> None:
    result = distfd.minimize(
        lambda x: [distance(x), float(np.sum(x))],
        [0.0] * 3,
        method="trust-constr",
        bounds=[(0, None)] * 3,
        constraints=distfd.Outputs(upper=100.0),
        executor="serial",
    )
    assert result.success, result.message
    np.testing.assert_allclose(result.x, AIM, atol=1e-4)


@ignored
@pytest.mark.parametrize("method", BOUNDED)
def test_a_solution_at_the_bounds_is_found_from_there(method: Any) -> None:
    result = distfd.minimize(
        lambda x: float(np.sum((np.asarray(x) + AIM) ** 2)),
        [0.0] * 3,
        method=method,
        bounds=[(0, None)] * 3,
        executor="serial",
    )
    assert result.success, result.message
    assert result.x.tolist() == [0.0] * 3


def test_a_fit_with_its_solution_at_the_bounds() -> None:
    result = distfd.least_squares(lambda x: np.asarray(x) + AIM, [0.0] * 3, bounds=(0, np.inf), executor="serial")
    assert result.success, result.message
    np.testing.assert_allclose(result.x, 0, atol=1e-8)


@pytest.mark.parametrize("method", BOUNDED)
@pytest.mark.parametrize("form", ["pairs", "Bounds", "the Evaluator's"])
def test_all_variables_fixed(method: Any, form: str) -> None:
    x0 = [0.5, 1.0, 2.0]
    pairs = [(value, value) for value in x0]
    fun = Watched(distance)
    if form == "the Evaluator's":
        with distfd.Evaluator(fun, bounds=pairs, executor="serial") as evaluator:
            result = distfd.minimize(evaluator, x0, method=method)
    else:
        bounds = Bounds(x0, x0) if form == "Bounds" else pairs
        result = distfd.minimize(fun, x0, method=method, bounds=bounds, executor="serial")
    assert result.success
    assert result.message.startswith("all variables are fixed")
    assert result.x.tolist() == x0
    assert result.fun == distance(x0)
    assert result.jac.tolist() == [0, 0, 0]
    assert len(fun.asked) == result.n_evaluations == 1
    assert result.nit == 0
    assert len(result.history) == 1


def test_all_variables_fixed_under_constraints() -> None:
    for limit, kept in ((10.0, 0.0), (1.0, 2.5)):
        result = distfd.minimize(
            lambda x: [distance(x), float(np.sum(x))],
            [0.5, 1.0, 2.0],
            method="SLSQP",
            bounds=[(0.5, 0.5), (1, 1), (2, 2)],
            constraints=distfd.Outputs(upper=limit),
            executor="serial",
        )
        assert result.violation == kept
        assert result.success == (kept == 0)
        assert result.outputs.tolist() == [3.5]


@pytest.mark.parametrize("method", ["trf", "dogbox"])
def test_all_parameters_of_a_fit_fixed(method: Any) -> None:
    x0 = [0.5, 1.0, 2.0]
    result = distfd.least_squares(offsets, x0, method=method, bounds=(x0, x0), executor="serial")
    assert result.success
    assert result.cost == 0.5 * distance(x0)
    assert result.n_evaluations == 1
    some = distfd.least_squares(offsets, x0, method=method, bounds=([0, 1, 0], [1, 1, 3]), executor="serial")
    assert some.x[1] == 1.0
    assert some.active_mask[1] != 0


@ignored
@pytest.mark.parametrize("method", [*BOUNDED, "trf", "dogbox"])
@pytest.mark.parametrize("ulps", [-4, -1, 0, 1, 4])
def test_round_off_past_a_bound_is_put_onto_it(method: Any, ulps: int) -> None:
    start = 1.0
    for _ in range(abs(ulps)):
        start = math.nextafter(start, math.copysign(9, ulps))
    fun = Watched(offsets if method in ("trf", "dogbox") else distance)
    x0, sides = [start, 1.5, 2.0], ([1.0, 0.0, 0.0], [5.0, 5.0, 5.0])
    if method in ("trf", "dogbox"):
        result = distfd.least_squares(fun, x0, method=method, bounds=sides, executor="serial")
    else:
        result = distfd.minimize(fun, x0, method=method, bounds=Bounds(*sides), executor="serial")
    assert result.success, result.message
    np.testing.assert_allclose(result.x, AIM, atol=5e-3)
    assert np.min(fun.asked, axis=0)[0] >= 1.0


@ignored
@pytest.mark.parametrize("x", [math.nextafter(1.0, 0.0), 1 - 8e-16])
def test_derivatives_keep_the_same_rule(x: float) -> None:
    options: dict[str, Any] = {"bounds": [(1, 5)] * 3, "executor": "serial"}
    result = distfd.differentiate(distance, [x, 3.0, 3.0], **options)
    assert np.asarray(result.x).tolist() == [1.0, 3.0, 3.0]
    assert distfd.jacobian(offsets, [x, 3.0, 3.0], **options).shape == (3, 3)
    with distfd.Evaluator(distance, **options) as evaluator:
        assert evaluator.value([x, 3.0, 3.0]) == distance([1.0, 3.0, 3.0])
    with pytest.raises(distfd.InputError, match=r"is outside its bounds .*; move it inside, or widen them"):
        distfd.gradient(distance, [1 - 1e-14, 3.0, 3.0], **options)


def test_what_counts_as_round_off() -> None:
    lower, upper = np.array([0.0, 0.0, 1e6, -np.inf]), np.array([np.inf, 1.0, 2e6, 1e-9])
    near = np.array([-0.0, -5e-16, 2e6 + 1e-9, 1e-9 * (1 + 4e-16)])
    assert onto_bounds(near, lower, upper).tolist() == [0, 0, 2e6, 1e-9]
    far = np.array([-1e-300, -2e-15, 2e6 + 1e-6, 1e-9 + 1e-20])
    assert onto_bounds(far, lower, upper).tolist() == far.tolist()
    assert math.copysign(1, onto_bounds(np.array([-0.0]), np.zeros(1), np.ones(1))[0]) == -1, "no bit changes inside"


@pytest.mark.parametrize("method", [*BOUNDED, "trf", "dogbox"])
def test_a_start_outside_is_refused_by_all(method: Any) -> None:
    fit = method in ("trf", "dogbox")
    run: Any = distfd.least_squares if fit else distfd.minimize
    with pytest.raises(distfd.InputError, match=r"x0: coordinate 0 = -1.0 is outside its bounds .*; move it inside"):
        run(offsets if fit else distance, [-1.0, 1, 1], method=method, bounds=Bounds(0, np.inf), executor="serial")


def test_what_lm_does_not_take_is_refused() -> None:
    with pytest.raises(distfd.InputError, match="lm needs at least as many residuals as variables, but there are 2 "):
        distfd.least_squares(lambda x: offsets(x)[:2], [0.0, 1, 2], method="lm", executor="serial")
    with pytest.raises(distfd.InputError, match="method: lm cannot handle bounds; remove them, or use trf or dogbox"):
        distfd.least_squares(offsets, [0.5, 1, 2], method="lm", bounds=(0, np.inf), executor="serial")
