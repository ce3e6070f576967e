"""Every gradient method of SciPy, with open waves: the same iterates whatever was sent out ahead, and failed trials."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.optimize
from scipy.optimize import rosen, rosen_der

import distfd
from distfd.optimization.scipy_methods import METHODS

X0 = np.array([-1.2, 1.0])
NEAR = np.array([1.2, 1.2])
"""Where the Hessian is positive definite, as dogleg needs it."""


def start(method: str) -> Any:
    return NEAR if method == "dogleg" else X0


@pytest.mark.parametrize(
    "method",
    [pytest.param(name, marks=[pytest.mark.slow] if traits.second else []) for name, traits in METHODS.items()],
)
def test_speculation_changes_no_bit(method: Any) -> None:
    iterates: list[list[bytes]] = []
    counts: list[int] = []
    for speculative in (False, True, "auto"):
        seen: list[bytes] = []
        result = distfd.minimize(
            rosen,
            start(method),
            method=method,
            scheme="central",
            executor="serial",
            speculative=speculative,
            limits=distfd.Limits(max_iterations=200),
            callback=lambda x, seen=seen: seen.append(x.tobytes()),
        )
        assert result.fun < 0.2
        iterates.append(seen)
        counts.append(result.n_evaluations)
    assert iterates[0] == iterates[1] == iterates[2]
    assert len(iterates[0]) > 2


@pytest.mark.parametrize("method", METHODS)
def test_a_trial_that_fails_is_a_step_refused(method: Any) -> None:
    failed: list[Any] = []

    def fun(x: Any) -> float:
        # A valley with straight slopes: steps from far away go past it.
        if x[0] > 1.5 or x[1] > 1.5:
            failed.append(x.copy())
            raise ArithmeticError("diverged")
        return float(np.sum(np.sqrt(1 + (x - np.array([1.0, 0.5])) ** 2)))

    options = {"initial_tr_radius": 20.0} if method == "trust-constr" else {}
    if METHODS[method].second and method != "Newton-CG":
        options = {"initial_trust_radius": 20.0, "max_trust_radius": 50.0}
    result = distfd.minimize(
        fun, [-6.0, -5.0], method=method, scheme="central", executor="serial", options=options, speculative=True
    )
    np.testing.assert_allclose(result.x, [1.0, 0.5], atol=1e-3, err_msg=str(result))
    assert result.n_failed_trials == len(failed)
    if method in ("L-BFGS-B", "BFGS", "CG", "SLSQP", "trust-constr"):
        assert failed, "else this tests nothing"


def test_one_method_does_not_come_back_from_infinity() -> None:
    """Why failed trials are walls: if SciPy's TNC copes one day, this says so."""

    def fun(x: Any) -> float:
        return float(rosen(x)) if x[0] > -1.5 and abs(x[1]) < 2 else np.inf

    def gradient(x: Any) -> Any:
        return rosen_der(x) if np.isfinite(fun(x)) else np.zeros(2)

    result = scipy.optimize.minimize(fun, X0, jac=gradient, method="TNC")
    assert result.fun > 1


def test_a_method_that_is_none_or_takes_no_bounds_is_refused() -> None:
    with pytest.raises(distfd.InputError, match="method: must be one of L-BFGS, L-BFGS-B"):
        distfd.minimize(rosen, X0, method="Powell", executor="serial")  # type: ignore[arg-type]  # a mistake of the user's
    with pytest.raises(distfd.InputError, match="BFGS cannot handle bounds"):
        distfd.minimize(rosen, X0, method="bfgs", bounds=[(0, 1), (0, 1)], executor="serial")  # type: ignore[arg-type]  # case is free
    with pytest.raises(distfd.InputError, match=r"L-BFGS-B cannot handle constraints; .* SLSQP"):
        distfd.minimize(rosen, X0, constraints=distfd.Outputs(), executor="serial")
