"""Every gradient method of SciPy, with open waves: the same iterates whatever was sent out ahead, and failed trials."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.optimize
from scipy.optimize import rosen

import distfd
from distfd.optimizing.methods import METHODS

X0 = np.array([-1.2, 1.0])
NEAR = np.array([0.8, 0.7])
"""Where the Hessian is positive definite, as dogleg needs it."""


def start(method: str) -> Any:
    return NEAR if method == "dogleg" else X0


@pytest.mark.parametrize("method", METHODS)
def test_speculation_changes_no_bit(method: str) -> None:
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
            limits=distfd.Limits(max_iterations=60),
            callback=lambda x, seen=seen: seen.append(x.tobytes()),  # type: ignore[misc]  # bound for ruff's sake
        )
        assert result.fun < 0.2
        iterates.append(seen)
        counts.append(result.n_evaluations)
    assert iterates[0] == iterates[1] == iterates[2]
    assert len(iterates[0]) > 2


@pytest.mark.parametrize("method", METHODS)
def test_a_trial_that_fails_is_a_step_refused(method: str) -> None:
    failed: list[Any] = []

    def fun(x: Any) -> float:
        # Past the line, a step into which the first trials from here take.
        if x[0] + x[1] > 2.05:
            failed.append(x.copy())
            raise ArithmeticError("diverged")
        return float(rosen(x) + 3 * (x[0] - 1.0) ** 2)

    x0 = [0.2, 0.2] if method == "dogleg" else [-0.5, 2.4]
    result = distfd.minimize(fun, x0, method=method, scheme="central", executor="serial", options=big_steps(method))
    assert result.fun < 1e-3, result.message
    assert result.n_failed_trials == len(failed)


def big_steps(method: str) -> dict[str, Any]:
    return {"initial_trust_radius": 10.0, "max_trust_radius": 50.0} if method in RADIUS else {}


RADIUS = ("trust-ncg", "trust-krylov", "dogleg", "trust-exact")


@pytest.mark.parametrize("method", ["L-BFGS-B", "BFGS", "CG", "TNC"])
def test_why_failed_trials_are_not_infinite(method: str) -> None:
    """SciPy's own line searches do not come back from +inf; if this fails one day, the wall can go."""

    def fun(x: Any) -> float:
        return float(rosen(x)) if x[0] > -1.5 and abs(x[1]) < 2 else np.inf

    def gradient(x: Any) -> Any:
        return scipy.optimize.rosen_der(x) if np.isfinite(fun(x)) else np.full(2, np.nan)

    with np.errstate(all="ignore"):
        result = scipy.optimize.minimize(fun, X0, jac=gradient, method=method)
    print(method, result.fun, result.nfev)


def test_a_method_that_is_none_or_takes_no_bounds_is_refused() -> None:
    with pytest.raises(distfd.InputError, match="method: must be one of L-BFGS-B"):
        distfd.minimize(rosen, X0, method="Powell", executor="serial")
    with pytest.raises(distfd.InputError, match="BFGS takes no bounds"):
        distfd.minimize(rosen, X0, method="bfgs", bounds=[(0, 1), (0, 1)], executor="serial")
    with pytest.raises(distfd.InputError, match="L-BFGS-B takes no constraints, .* SLSQP"):
        distfd.minimize(rosen, X0, constraints=distfd.Outputs(), executor="serial")
