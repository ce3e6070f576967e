"""A variable that bounds fix, beside constraints: every method that takes both ends at the optimum."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import scipy.sparse
from scipy.optimize import Bounds, LinearConstraint, NonlinearConstraint

import distfd

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.filterwarnings("ignore:delta_grad == 0.0", "ignore:Singular Jacobian", "ignore:Constraint opt")
BOUNDS = Bounds([-9, -9, 1], [9, 9, 1])


def far(x: Any) -> float:
    return float((x[0] - 1) ** 2 + (x[1] - 2) ** 2 + (x[2] - 3) ** 2)


def disc(x: Any) -> Any:
    return x[0] ** 2 + x[1] ** 2 + x[2]


LINE = [0.25, 1.25, 1.0], 5.125  # by hand: the foot of (1, 2) on x0 + x1 = 1.5
CIRCLE = [1 / np.sqrt(5), 2 / np.sqrt(5), 1.0], (np.sqrt(5) - 1) ** 2 + 4  # the point of the unit circle next to (1, 2)


@pytest.mark.parametrize("method", ["trust-constr", "SLSQP"])
@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: LinearConstraint([[1, 1, 1]], -np.inf, 2.5), LINE),
        (lambda: LinearConstraint(scipy.sparse.csr_array([[1.0, 1.0, 1.0]]), -np.inf, 2.5), LINE),
        (lambda: NonlinearConstraint(disc, -np.inf, 2), CIRCLE),
        (lambda: NonlinearConstraint(disc, -np.inf, 2, jac=lambda x: [[2 * x[0], 2 * x[1], 1.0]]), CIRCLE),
        (
            lambda: NonlinearConstraint(
                disc,
                -np.inf,
                2,
                jac=lambda x: np.array([[2 * x[0], 2 * x[1], 1.0]]),
                hess=lambda _, v: v[0] * np.diag([2.0, 2.0, 0.0]),
            ),
            CIRCLE,
        ),
        (lambda: {"type": "ineq", "fun": lambda x, most: most - x.sum(), "args": (2.5,)}, LINE),
        (lambda: {"type": "ineq", "fun": lambda x: 2.5 - x.sum(), "jac": lambda _: -np.ones(3)}, LINE),
        (lambda: distfd.Outputs([-np.inf], [2.5]), LINE),
    ],
    ids=["linear", "sparse", "nonlinear", "with its Jacobian", "with its Hessian", "dict", "dict, Jacobian", "outputs"],
)
def test_it_ends_at_the_optimum(method: Any, make: Callable[[], Any], expected: tuple[Any, float]) -> None:
    constraint = make()
    if method == "SLSQP" and scipy.sparse.issparse(getattr(constraint, "A", None)):
        constraint.A = constraint.A.toarray()  # SciPy's SLSQP takes no other
    fun = (lambda x: np.array([far(x), x.sum()])) if isinstance(constraint, distfd.Outputs) else far
    start = [0.0, 0.0, 1.0]
    found = distfd.minimize(fun, start, method=method, bounds=BOUNDS, constraints=constraint, executor="serial")
    assert found.success, found.message
    np.testing.assert_allclose(found.x, expected[0], atol=2e-3)
    np.testing.assert_allclose(found.fun, expected[1], rtol=1e-3)
    assert found.x[2] == 1.0
    assert found.derivative.derivative.shape == (3,)
