"""Takes variables that are fixed by bounds out of a problem: most of SciPy's methods cannot handle them."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class FreeVariables:
    """The variables that can move; the others keep their values in x.

    Parameters
    ----------
    x : (d,) ndarray
        The point that holds the values of the fixed variables.
    free : (d,) ndarray of bool
    """

    x: Floats
    free: NDArray[np.bool_]

    @property
    def at(self) -> NDArray[np.int64]:
        """Numbers of the free variables, (f,)."""
        return np.flatnonzero(self.free)

    def whole(self, z: Floats) -> Floats:
        """All variables, (d,), given the free ones z, (f,)."""
        x = self.x.copy()
        x[self.free] = z
        return x

    def of_free(self, fun: Callable[[Floats], Any]) -> Callable[[Floats], Any]:
        """A function of all variables as one of the free variables."""
        return lambda z: fun(self.whole(z))

    def gradient(self, fun: Callable[[Floats], Any]) -> Callable[[Floats], Any]:
        """The gradient, (d,), or Jacobian, (m, d), dense or sparse, as one of the free variables."""
        return lambda z: _columns(fun(self.whole(z)), self.at)

    def product(self, fun: Callable[[Floats, Floats], Floats]) -> Callable[[Floats, Floats], Floats]:
        """A function for Hessian-vector products, as one of the free variables."""

        def of_free(z: Floats, v: Floats) -> Floats:
            longer = np.zeros(len(self.x))
            longer[self.free] = v
            return np.asarray(fun(self.whole(z), longer)[self.free])

        return of_free

    def hessian(self, fun: Callable[[Floats], Floats]) -> Callable[[Floats], Floats]:
        """The Hessian, (d, d), as one of the free variables."""
        return lambda z: np.asarray(fun(self.whole(z)))[np.ix_(self.at, self.at)]

    def bounds(self, given: Any) -> Any:
        """SciPy's Bounds, or pairs, for the free variables; None stays None."""
        if given is None or self.free.all():
            return given
        if not hasattr(given, "lb"):
            return [pair for pair, free in zip(given, self.free, strict=True) if free]
        from scipy.optimize import Bounds

        parts = (given.lb, given.ub, given.keep_feasible)
        return Bounds(*(np.broadcast_to(part, self.free.shape)[self.free] for part in parts))

    def constraint(self, given: Any) -> Any:
        """A constraint in SciPy's form, as one of the free variables."""
        if self.free.all():
            return given
        if isinstance(given, dict):
            jac = given.get("jac")
            return {
                **given,
                "fun": lambda z, *args: given["fun"](self.whole(z), *args),
                **({"jac": lambda z, *args: _columns(jac(self.whole(z), *args), self.at)} if callable(jac) else {}),
            }
        made = copy.copy(given)
        if hasattr(given, "A"):
            fixed = given.A[:, np.flatnonzero(~self.free)] @ self.x[~self.free]
            made.A, made.lb, made.ub = given.A[:, self.at], given.lb - fixed, given.ub - fixed
            return made
        made.fun = self.of_free(given.fun)
        if callable(given.jac):
            made.jac = self.gradient(given.jac)
        if callable(given.hess):
            made.hess = lambda z, v: _block(given.hess(self.whole(z), v), self.at)
        if given.finite_diff_jac_sparsity is not None:
            made.finite_diff_jac_sparsity = _columns(given.finite_diff_jac_sparsity, self.at)
        return made

    def options(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """SciPy's options; where one has a number or row for each variable, only those of free variables are kept."""
        d = len(self.x)
        made = dict(given)
        for key, value in given.items():
            if isinstance(value, (list, tuple, np.ndarray)) and np.shape(value) in ((d,), (d, d)):
                array = np.asarray(value)
                made[key] = array[self.at] if array.ndim == 1 else array[np.ix_(self.at, self.at)]
        return made

    def result(self, found: Any) -> Any:
        """SciPy's result with arrays for all variables; slopes and curvatures of fixed ones are 0."""
        found.x = self.whole(np.asarray(found.x))
        for key in ("jac", "grad", "hess", "hess_inv"):
            small, n = found.get(key), len(self.at)
            if isinstance(small, np.ndarray) and small.shape == (n,):
                found[key] = np.zeros(len(self.x))
                found[key][self.at] = small
            elif key != "jac" and isinstance(small, np.ndarray) and small.shape == (n, n):
                found[key] = np.zeros((len(self.x), len(self.x)))
                found[key][np.ix_(self.at, self.at)] = small
        return found


def _block(hessian: Any, at: NDArray[np.int64]) -> Any:
    """Rows and columns of a Hessian, dense or sparse, or of a LinearOperator."""
    dense = hessian @ np.eye(hessian.shape[1]) if not hasattr(hessian, "__getitem__") else hessian
    return dense[at][:, at]


def _columns(derivative: Any, at: NDArray[np.int64]) -> Any:
    """The elements ``at`` of a gradient, (d,), or the columns ``at`` of a matrix, (m, d)."""
    found = derivative if hasattr(derivative, "ndim") else np.asarray(derivative)
    return found[at] if found.ndim == 1 else found[:, at]
