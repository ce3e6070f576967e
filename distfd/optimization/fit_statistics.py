"""What the residuals and the Jacobian at the end of a fit tell of its parameters."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Vector = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class FitStatistics:
    """First-order statistics of a least-squares fit (Seber & Wild 2003, Nonlinear Regression, 2.1).

    Parameters
    ----------
    x : (d,) ndarray
        The estimates.
    jacobian : (m, d) ndarray
        Of the residuals; scaled by the loss where that is robust, as SciPy scales it.
    cost : float
        Half the sum of squares, or of the loss.
    absolute_sigma : bool
        Whether residuals are in units of their known standard deviations; else their variance is estimated.
    """

    x: Vector
    jacobian: Vector
    cost: float
    absolute_sigma: bool = False

    @property
    def degrees_of_freedom(self) -> int:
        """Residuals less parameters, m - d."""
        return len(self.jacobian) - len(self.x)

    @property
    def variance(self) -> float:
        """Of a residual: 2 cost / (m - d), or 1 with absolute sigma; infinite where there are too few residuals."""
        if self.absolute_sigma:
            return 1.0
        return 2 * self.cost / self.degrees_of_freedom if self.degrees_of_freedom > 0 else np.inf

    @cached_property
    def covariance(self) -> Vector:
        """(d, d): the variance times the inverse of J^T J; infinite throughout where J has no full rank."""
        d = len(self.x)
        if self.degrees_of_freedom < 0 or not np.isfinite(self.variance):
            return np.full((d, d), np.inf)
        _, s, vt = np.linalg.svd(np.linalg.qr(self.jacobian, mode="r"))
        if s[-1] <= np.finfo(float).eps * max(self.jacobian.shape) * s[0]:
            return np.full((d, d), np.inf)
        return np.asarray(self.variance * (vt.T / s**2) @ vt)

    @property
    def standard_errors(self) -> Vector:
        """(d,): square roots of the covariance's diagonal."""
        return np.sqrt(np.diag(self.covariance))

    @property
    def correlation(self) -> Vector:
        """(d, d); NaN where a standard error is 0 or infinite."""
        errors = self.standard_errors
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(self.covariance / np.outer(errors, errors))

    def confidence_intervals(self, level: float = 0.95) -> Vector:
        """(d, 2): lower and upper ends, by Student's t with m - d degrees of freedom, or normal with absolute sigma.

        Raises
        ------
        InputError
            If level is not between 0 and 1.
        """
        from scipy.stats import norm, t

        if not 0 < level < 1:
            raise InputError(f"level: must be between 0 and 1, such as 0.95 (was {level!r})")
        law: Any = norm if self.absolute_sigma else t(max(self.degrees_of_freedom, 1))
        half = float(law.ppf((1 + level) / 2)) * self.standard_errors
        return np.stack((self.x - half, self.x + half), axis=1)
