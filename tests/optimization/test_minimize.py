"""Minimisation by SciPy with distfd's gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.optimize import rosen

import distfd
from distfd.optimization.limits import Limits

X0 = [-1.2, 1.0, 1.0]
BOUNDS = [(-2.0, 2.0), (-2.0, 0.9), (None, None)]


@pytest.mark.parametrize("method", ["L-BFGS-B", "BFGS", "CG", "SLSQP", "trust-constr"])
def test_methods_arrive(method: Any) -> None:
    result = distfd.minimize(rosen, X0, method=method, scheme="central", executor="serial")
    np.testing.assert_allclose(result.x, 1.0, atol=2e-2)
    assert result.fun == rosen(result.x)
    assert result.first.value == rosen(np.array(X0))
    assert result.derivative.value == result.fun


@pytest.mark.parametrize("method", ["L-BFGS-B", "TNC", "SLSQP", "trust-constr"])
def test_bounds_are_kept_at_every_point(method: Any) -> None:
    seen: list[np.ndarray[Any, np.dtype[np.float64]]] = []

    def fun(x: np.ndarray[Any, np.dtype[np.float64]]) -> float:
        seen.append(x.copy())
        return float(rosen(x))

    result = distfd.minimize(fun, [-1.2, 0.5, 1.0], method=method, bounds=BOUNDS, executor="serial")
    points = np.array(seen)
    assert np.all(points[:, 0] >= -2)
    assert np.all(points[:, 1] <= 0.9)
    assert result.fun < result.first.value / 10


@pytest.mark.parametrize("method", ["L-BFGS-B", "TNC", "SLSQP"])
def test_limits(method: str) -> None:
    options: dict[str, Any] = {"method": method, "executor": "serial"}
    few = distfd.minimize(rosen, X0, limits=Limits(max_iterations=3), **options)
    assert few.nit == 3
    assert not few.success
    assert "max_iterations" in few.message
    cheap = distfd.minimize(rosen, X0, limits=Limits(max_evaluations=10), **options)
    assert not cheap.success
    assert 10 <= cheap.n_evaluations < 14, "the limit is looked at after each value and each gradient, of three more"
    enough = distfd.minimize(rosen, X0, limits=Limits(target=1.0), **options)
    assert enough.success
    assert enough.fun <= 1.0


def test_the_best_point_is_returned_not_the_last() -> None:
    result = distfd.minimize(rosen, X0, executor="serial", limits=Limits(max_evaluations=40))
    values = [rosen(np.array(X0)), result.first.value]
    assert result.fun <= min(values)
    assert result.fun == rosen(result.x)


def test_a_callback_may_stop_it() -> None:
    calls: list[float] = []

    def callback(x: Any) -> None:
        calls.append(float(x[0]))
        if len(calls) == 2:
            raise StopIteration

    result = distfd.minimize(rosen, X0, executor="serial", callback=callback)
    assert len(calls) == 2
    assert result.nit == 2


@pytest.mark.parametrize("method", ["L-BFGS-B", "trust-constr", "L-BFGS"])
def test_a_callback_may_ask_for_the_value_as_it_does_of_scipy(method: Any) -> None:
    seen: list[tuple[float, float]] = []

    def callback(intermediate_result: Any) -> None:
        seen.append((intermediate_result.fun, rosen(intermediate_result.x)))
        if len(seen) == 3:
            raise StopIteration

    result = distfd.minimize(rosen, X0, method=method, executor="serial", callback=callback)
    assert result.nit == len(seen) == 3
    assert [told for told, _ in seen] == [value for _, value in seen]


@pytest.mark.parametrize(
    ("name", "hint"), [("tol", "tolerance="), ("jac", "differences"), ("ftol", "options"), ("jac_sparsity", "sparsity")]
)
def test_arguments_of_scipys_own_are_told_what_to_give_instead(name: str, hint: str) -> None:
    given: dict[str, Any] = {name: 1e-3}
    with pytest.raises(distfd.InputError, match=f"{name}: .*{hint}"):
        distfd.least_squares(lambda x: x, X0, executor="serial", **given)


def test_an_evaluator_of_ones_own_stays_open() -> None:
    with distfd.Evaluator(rosen, executor="serial", scheme="central") as evaluator:
        result = distfd.minimize(evaluator, X0)
        again = distfd.minimize(evaluator, X0)
    assert again.n_evaluations == 0, "the second is answered from memory"
    assert again.x.tobytes() == result.x.tobytes()


def test_a_failed_evaluation_at_the_start_ends_it() -> None:
    def fun(x: Any) -> float:
        raise ArithmeticError("nothing here")

    with pytest.raises(distfd.EvaluationError, match="nothing here"):
        distfd.minimize(fun, X0, executor="serial")


def test_a_failed_component_ends_it() -> None:
    def fun(x: Any) -> float:
        if x[0] != -1.2:
            raise ArithmeticError("too far")
        return float(rosen(x))

    for on_failure in ("raise", "nan"):
        with pytest.raises(distfd.EvaluationError, match=r"coordinate 0|first of them number 0"):
            distfd.minimize(fun, X0, executor="serial", on_failure=on_failure)
