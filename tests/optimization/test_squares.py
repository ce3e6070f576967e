"""Least squares: SciPy's answers from waves, failed trials, losses, limits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.optimize

import distfd
from distfd.optimization.robust_loss import Loss

T = np.linspace(0, 3, 12)
DATA = 2.0 * np.exp(-0.7 * T) + 0.3 + 0.01 * np.sin(40 * T)
X0 = [1.0, 0.2, 0.0]


def residuals(x: Any) -> Any:
    return x[0] * np.exp(-x[1] * T) + x[2] - DATA


@pytest.mark.parametrize("method", ["trf", "dogbox", "lm"])
@pytest.mark.parametrize("speculative", [True, False])
def test_scipys_answer(method: Any, speculative: bool) -> None:
    theirs = scipy.optimize.least_squares(residuals, X0, method=method)
    ours = distfd.least_squares(residuals, X0, method=method, executor="serial", speculative=speculative)
    np.testing.assert_allclose(ours.x, theirs.x, rtol=1e-5)
    assert ours.success
    assert ours.fun.tolist() == residuals(ours.x).tolist()
    np.testing.assert_allclose(ours.cost, theirs.cost, rtol=1e-8)
    np.testing.assert_allclose(ours.grad, ours.jac.T @ ours.fun)
    assert ours.derivative.value == ours.cost
    assert ours.first.value == pytest.approx(0.5 * np.sum(residuals(X0) ** 2))


@pytest.mark.parametrize("loss", ["linear", "soft_l1", "huber", "cauchy", "arctan"])
def test_losses_are_scipys(loss: str) -> None:
    options: dict[str, Any] = {"loss": loss, "f_scale": 0.05}
    theirs = scipy.optimize.least_squares(residuals, X0, **options)
    ours = distfd.least_squares(residuals, X0, executor="serial", **options)
    np.testing.assert_allclose(ours.cost, theirs.cost, rtol=1e-6)
    weigh = Loss(loss, 0.05)
    assert weigh.cost(theirs.fun) == pytest.approx(theirs.cost)
    f, h = residuals(np.array([1.0, 0.4, 0.1])), 1e-6
    numeric = [(weigh.cost(f + h * e) - weigh.cost(f - h * e)) / (2 * h) for e in np.eye(len(f))]
    np.testing.assert_allclose(weigh.gradient(f, np.eye(len(f))), numeric, atol=1e-7)


def test_bounds_are_kept_and_iterates_told() -> None:
    seen: list[Any] = []
    told: list[Any] = []

    def fun(x: Any) -> Any:
        seen.append(x.copy())
        return residuals(x)

    bounds = ([0, 0, -1], [1.5, 1, 1])
    ours = distfd.least_squares(fun, X0, bounds=bounds, executor="serial", callback=told.append, x_scale="jac")
    theirs = scipy.optimize.least_squares(residuals, X0, bounds=bounds, x_scale="jac")
    np.testing.assert_allclose(ours.x, theirs.x, atol=1e-4)
    assert np.all(np.array(seen) >= bounds[0])
    assert np.all(np.array(seen) <= bounds[1])
    assert len(told) == ours.nit == ours.njev - 1
    assert told[-1].tolist() == ours.x.tolist()


@pytest.mark.parametrize("method", ["trf", "dogbox"])
def test_a_trial_that_fails_is_a_step_refused(method: Any) -> None:
    failed: list[Any] = []

    def fun(x: Any) -> Any:
        if x[0] > 1.2:
            failed.append(x.copy())
            raise ArithmeticError("diverged")
        return np.array([np.arctan(x[0] - 1), 0.1 * (x[0] - 1)])

    result = distfd.least_squares(fun, [-4.0], method=method, executor="serial", speculative=True)
    assert result.x == pytest.approx([1.0], abs=1e-6)
    assert result.n_failed_trials == len(failed) > 0
    with pytest.raises(distfd.EvaluationError, match="diverged"):
        distfd.least_squares(fun, [4.0], executor="serial")


def test_limits_and_sparse_jacobians() -> None:
    few = distfd.least_squares(residuals, X0, executor="serial", limits=distfd.Limits(max_iterations=2))
    assert few.nit == 2
    assert not few.success
    assert few.cost == pytest.approx(0.5 * np.sum(residuals(few.x) ** 2))
    enough = distfd.least_squares(residuals, X0, executor="serial", limits=distfd.Limits(target=0.05))
    assert enough.success
    assert enough.cost <= 0.05

    def chain(x: Any) -> Any:
        return np.diff(np.concatenate(([0.0], x))) * 2 - 0.1 + 0.01 * x**2

    mask = np.eye(8) + np.eye(8, k=-1)
    sparse = distfd.least_squares(chain, np.zeros(8), sparsity=mask, executor="serial")
    dense = scipy.optimize.least_squares(chain, np.zeros(8))
    np.testing.assert_allclose(sparse.x, dense.x, atol=1e-6)
    assert sparse.n_evaluations < 4 * sparse.njev + sparse.n_rejected + 2


@pytest.mark.parametrize("method", ["trf", "dogbox", "lm"])
def test_a_fit_in_units_that_differ_by_twelve_powers_of_ten_is_not_called_unconverged(method: Any) -> None:
    t, units = np.linspace(0.1, 5, 40), np.array([1e-6, 1.0, 1e6])
    data = 2 * np.exp(-1.3 * t) + 0.5 + 0.02 * np.random.default_rng(5).standard_normal(40)

    def residuals(x: Any) -> Any:
        a, b, c = x / units
        return (a * np.exp(-b * t) + c - data) / 0.02

    result = distfd.least_squares(residuals, np.array([1, 1.3, 0.3]) * units, method=method, executor="serial")
    assert result.success, result.message
    plain = distfd.least_squares(lambda x: residuals(x * units), [1, 1.3, 0.3], method=method, executor="serial")
    np.testing.assert_allclose(result.x / units, plain.x, rtol=1e-4)
