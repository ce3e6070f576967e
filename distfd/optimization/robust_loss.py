"""The cost of residuals for the loss functions of scipy.optimize.least_squares."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core.errors import InputError
from distfd.core.suggestions import did_you_mean
from distfd.core.validation import is_number

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Vector = NDArray[np.float64]


def _huber(z: Vector) -> tuple[Vector, Vector, Vector]:
    root = np.sqrt(np.maximum(z, 1.0))
    return np.where(z <= 1, z, 2 * root - 1), 1 / root, np.where(z <= 1, 0.0, -0.5 / root**3)


_LOSSES: dict[str, Callable[[Vector], tuple[Vector, Vector, Vector]]] = {
    "linear": lambda z: (z, np.ones(len(z)), np.zeros(len(z))),
    "soft_l1": lambda z: (2 * (np.sqrt(1 + z) - 1), 1 / np.sqrt(1 + z), -0.5 / (1 + z) ** 1.5),
    "huber": _huber,
    "cauchy": lambda z: (np.log1p(z), 1 / (1 + z), -1 / (1 + z) ** 2),
    "arctan": lambda z: (np.arctan(z), 1 / (1 + z**2), -2 * z / (1 + z**2) ** 2),
}
"""The functions rho with first and second derivatives, as in SciPy's documentation."""


@dataclass(frozen=True)
class Loss:
    """C^2 / 2 sum rho((f / C)^2) of residuals f.

    Parameters
    ----------
    loss : str or callable
        As for scipy.optimize.least_squares.
    scale : float
        C, SciPy's ``f_scale``.

    Raises
    ------
    InputError
        If no loss has that name, or the scale is no number > 0.
    """

    loss: Any = "linear"
    scale: float = 1.0

    def __post_init__(self) -> None:
        if not callable(self.loss) and not (isinstance(self.loss, str) and self.loss in _LOSSES):
            raise InputError(
                f"loss: must be one of {', '.join(_LOSSES)}, or a function (was {self.loss!r})"
                f"{did_you_mean(self.loss, _LOSSES)}"
            )
        if not is_number(self.scale) or not 0 < self.scale < math.inf:
            raise InputError(f"f_scale: must be a finite number > 0, in units of residuals (was {self.scale!r})")

    def cost(self, f: Vector) -> float:
        """The cost of residuals (m,); infinite where they are too large to be squared."""
        if self.loss == "linear":
            with np.errstate(over="ignore"):
                return 0.5 * float(f @ f)
        return 0.5 * self.scale**2 * float(np.sum(self._rho(f)[0]))

    def gradient(self, f: Vector, jacobian: Any) -> Vector:
        """Of the cost, from residuals (m,) and their Jacobian (m, d)."""
        weighted = f if self.loss == "linear" else self._rho(f)[1] * f
        with np.errstate(over="ignore"):
            return np.asarray(jacobian.T @ weighted)

    def weights(self, f: Vector) -> tuple[Vector, Vector]:
        """Weights for residuals (m,): rho' for the cost's gradient, and rho' + 2 z rho'' for its curvature.

        The gradient is J' (rho' f). The Hessian is J' diag(rho' + 2 z rho'') J plus the term of the residuals' own
        curvature (Triggs et al. 2000).
        """
        if self.loss == "linear":
            return np.ones(len(f)), np.ones(len(f))
        _, first, second = self._rho(f)
        return np.asarray(first), np.asarray(first + 2 * (f / self.scale) ** 2 * second)

    def scaled(self, f: Vector, jacobian: Any) -> Any:
        """The Jacobian (m, d) with rows times sqrt(rho' + 2 rho'' z), as in SciPy's result; no factor is below eps.

        Its J^T J is then the Gauss-Newton approximation of the cost's Hessian (Triggs et al. 2000, section 4.3).
        """
        if self.loss == "linear":
            return jacobian
        _, first, second = self._rho(f)
        rows = np.sqrt(np.maximum(first + 2 * second * (f / self.scale) ** 2, np.finfo(float).eps))
        if isinstance(jacobian, np.ndarray):
            return jacobian * rows[:, None]
        from scipy.sparse import diags_array

        return (diags_array(rows) @ jacobian).tocsr()

    def _rho(self, f: Vector) -> tuple[Vector, Vector, Vector]:
        z = (f / self.scale) ** 2
        if callable(self.loss):
            rho = self.loss(z)
            return rho[0], rho[1], rho[2]
        return _LOSSES[self.loss](z)
