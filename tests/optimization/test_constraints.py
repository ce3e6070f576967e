"""Constraints that J's own evaluation gives."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import scipy.optimize

import distfd


class Counted:
    """Hock & Schittkowski's problem 7 with a bound more: J, an equation, and an inequality, in one evaluation."""

    def __init__(self) -> None:
        self.seen: list[bytes] = []

    def __call__(self, x: Any) -> Any:
        self.seen.append(x.tobytes())
        return [np.log(1 + x[0] ** 2) - x[1], (1 + x[0] ** 2) ** 2 + x[1] ** 2, x[0] + x[1]]


LIMITS = distfd.Outputs([4.0, -np.inf], [4.0, 5.0])


@pytest.mark.parametrize("method", ["SLSQP", "trust-constr"])
@pytest.mark.parametrize("speculative", [True, False])
@pytest.mark.filterwarnings("ignore:delta_grad == 0.0")  # SciPy's, of a linear constraint
def test_one_evaluation_serves_all(method: Any, speculative: bool) -> None:
    fun = Counted()
    result = distfd.minimize(
        fun, [2.0, 2.0], method=method, constraints=LIMITS, executor="serial", speculative=speculative
    )
    np.testing.assert_allclose(result.x, [0, np.sqrt(3)], atol=1e-3)
    assert result.fun == pytest.approx(-np.sqrt(3), abs=1e-3)
    assert result.violation < 1e-5
    np.testing.assert_allclose(result.outputs, [4, np.sqrt(3)], atol=1e-3)
    assert result.derivative.derivative.shape == (2,)
    assert result.jac.shape == (2,)
    assert len(fun.seen) == len(set(fun.seen)) == result.n_evaluations


def test_the_best_point_is_a_feasible_one() -> None:
    """The least value on the way is outside the constraint."""
    seen: list[Any] = []

    def fun(x: Any) -> Any:
        seen.append(x.copy())
        return [float(x @ x), float(x[0])]

    result = distfd.minimize(fun, [0.1, 0.1], method="SLSQP", constraints=distfd.Outputs(1.0), executor="serial")
    assert result.first.value < result.fun
    np.testing.assert_allclose(result.x, [1, 0], atol=1e-5)
    given = {"type": "ineq", "fun": lambda x: x[0] - 1.0}
    theirs = distfd.minimize(lambda x: float(x @ x), [0.1, 0.1], method="SLSQP", constraints=given, executor="serial")
    np.testing.assert_allclose(theirs.x, [1, 0], atol=1e-5)
    line = scipy.optimize.LinearConstraint([[1.0, 0.0]], 1.0)
    linear = distfd.minimize(lambda x: float(x @ x), [0.1, 0.1], method="SLSQP", constraints=line, executor="serial")
    np.testing.assert_allclose(linear.x, [1, 0], atol=1e-5)


def test_a_failed_trial_with_constraints() -> None:
    failed: list[Any] = []

    def fun(x: Any) -> Any:
        if x[0] > 3:
            failed.append(x.copy())
            raise ArithmeticError("diverged")
        return [float(np.sum(np.sqrt(1 + (x - 1) ** 2))), float(x[0] + x[1])]

    result = distfd.minimize(
        fun, [-6.0, -6.0], method="SLSQP", constraints=distfd.Outputs(upper=1.0), executor="serial", speculative=True
    )
    np.testing.assert_allclose(result.x, [0.5, 0.5], atol=1e-3)
    assert result.n_failed_trials == len(failed)


def test_mistakes() -> None:
    for limits in ({"lower": [1.0, 2.0], "upper": [3.0]}, {"lower": 2.0, "upper": 1.0}, {"lower": np.nan}):
        with pytest.raises(distfd.InputError, match="constraints:"):
            distfd.Outputs(**limits)
    options: dict[str, Any] = {"method": "SLSQP", "executor": "serial"}
    with pytest.raises(distfd.InputError, match="give one Outputs with the limits"):
        distfd.minimize(Counted(), [2.0, 2.0], constraints=[LIMITS, LIMITS], **options)
    with pytest.raises(distfd.InputError, match="limits for 3 outputs, but J returned 2"):
        distfd.minimize(Counted(), [2.0, 2.0], constraints=distfd.Outputs([1.0, 2.0, 3.0]), **options)
    with pytest.raises(distfd.InputError, match="J returned one number"):
        distfd.minimize(lambda x: float(x.sum()), [2.0, 2.0], constraints=distfd.Outputs(0), **options)


@pytest.mark.parametrize("equation", [False, True])
@pytest.mark.parametrize("method", ["SLSQP", "trust-constr"])
def test_an_end_where_the_slopes_of_a_constraint_are_noise_is_no_success_and_the_remedy_works(
    method: Any, equation: bool
) -> None:
    noise = np.random.default_rng(5)
    within = distfd.Outputs(lower=1.0 if equation else -np.inf, upper=1.0)

    def outputs(level: float) -> Any:
        def fun(x: Any) -> Any:
            square = x[0] ** 2 + x[1] ** 2
            value = (x[0] - 1) ** 2 + 10 * (x[1] - 2) ** 2 + 100 * (x[2] - 3) ** 2
            return np.array([value, square * (1 + level * noise.standard_normal())])

        return fun

    def run(level: float, **options: Any) -> Any:
        return distfd.minimize(
            outputs(level), [0.5, 0.5, 0.0], method=method, constraints=within, executor="serial", **options
        )

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        right = run(0.0)
        assert right.success, right.message
        several = 4 if method == "SLSQP" and not equation else 1
        runs = [run(1e-7, limits=distfd.Limits(max_evaluations=1000)) for _ in range(several)]
        for found in runs:
            assert not found.success or np.abs(found.x - right.x).max() < 0.02
    if method == "SLSQP" and not equation:
        remedied = run(1e-7, step="auto", limits=distfd.Limits(max_evaluations=500))
        assert "constraint 0" not in remedied.message
        np.testing.assert_allclose(remedied.x, right.x, atol=0.02)
        assert any("the slopes of constraint 0 (output 1 of J) at the end are noise" in each.message for each in runs)
        assert any('step="auto"' in each.message for each in runs)


@pytest.mark.parametrize("given", [False, True])
def test_an_end_at_which_a_constraint_does_not_hold_is_no_success(given: bool) -> None:
    """SciPy's trust-constr looks at the gradient alone, and old ones at the trust region alone."""

    def values(x: Any) -> Any:
        return np.array([(x[0] - 1) ** 2 + 10 * (x[1] - 2) ** 2, x[0] ** 2 + x[1] ** 2])

    held = (
        scipy.optimize.NonlinearConstraint(lambda x: x[0] ** 2 + x[1] ** 2, 1.0, 1.0)
        if given
        else distfd.Outputs(1.0, 1.0)
    )
    options: dict[str, Any] = {"method": "trust-constr", "executor": "serial", "constraints": held}
    fun = (lambda x: values(x)[0]) if given else values
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of SciPy's update of the Hessian
        early = distfd.minimize(fun, [5.0, 5.0], options={"gtol": 1e9}, **options)
        whole = distfd.minimize(fun, [5.0, 5.0], **options)
    assert early.violation > 1
    assert not early.success
    assert early.message.endswith("; but the constraints do not hold there")
    assert whole.success, whole.message
    assert whole.violation < 1e-6
