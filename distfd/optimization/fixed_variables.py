"""Variables that bounds fix, taken out of a problem before SciPy sees it: most of its methods know nothing of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class FreeVariables:
    """The variables that can move, of a point whose others stay.

    Parameters
    ----------
    x : (d,) ndarray
        Holds the values of those that are fixed.
    free : (d,) ndarray of bool
    """

    x: Floats
    free: NDArray[np.bool_]

    @property
    def at(self) -> NDArray[np.int64]:
        """Their numbers, (f,)."""
        return np.flatnonzero(self.free)

    def whole(self, z: Floats) -> Floats:
        """All variables, (d,), where those that are free are z, (f,)."""
        x = self.x.copy()
        x[self.free] = z
        return x

    def of_free(self, fun: Callable[[Floats], Any]) -> Callable[[Floats], Any]:
        """The function as one of the free variables."""
        return lambda z: fun(self.whole(z))

    def gradient(self, fun: Callable[[Floats], Any]) -> Callable[[Floats], Any]:
        """The gradient, (d,), or Jacobian, (m, d), dense or sparse, as one of the free variables."""
        return lambda z: _columns(fun(self.whole(z)), self.at)

    def product(self, fun: Callable[[Floats, Floats], Floats]) -> Callable[[Floats, Floats], Floats]:
        """A product of the Hessian and a vector."""

        def of_free(z: Floats, v: Floats) -> Floats:
            longer = np.zeros(len(self.x))
            longer[self.free] = v
            return np.asarray(fun(self.whole(z), longer)[self.free])

        return of_free

    def hessian(self, fun: Callable[[Floats], Floats]) -> Callable[[Floats], Floats]:
        """The Hessian, (d, d), as one of the free variables."""
        return lambda z: np.asarray(fun(self.whole(z)))[np.ix_(self.at, self.at)]

    def options(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """SciPy's options, those with a number or a row for each variable for the free ones alone."""
        d = len(self.x)
        made = dict(given)
        for key, value in given.items():
            if isinstance(value, (list, tuple, np.ndarray)) and np.shape(value) in ((d,), (d, d)):
                array = np.asarray(value)
                made[key] = array[self.at] if array.ndim == 1 else array[np.ix_(self.at, self.at)]
        return made

    def result(self, found: Any) -> Any:
        """SciPy's result with arrays for all variables: fixed ones have slopes and curvatures of 0."""
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


def _columns(derivative: Any, at: NDArray[np.int64]) -> Any:
    """Of a gradient, (d,), these numbers; of a matrix, (m, d), these columns."""
    return derivative[at] if derivative.ndim == 1 else derivative[:, at]
