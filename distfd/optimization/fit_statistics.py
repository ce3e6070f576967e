"""Statistics of a fit's parameters from the residuals and the Jacobian at its end."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core.errors import InputError
from distfd.core.validation import is_number

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Vector = NDArray[np.float64]

_TAKES_PART = 1e-6
"""Squared components of a unit vector in the Jacobian's null space that are below this are round-off."""
_LINKED = 1e-3
"""Two parameters can replace each other if their entry in the null space's projector is at least this."""


@dataclass(frozen=True, eq=False)
class FitStatistics:
    """First-order statistics of a least-squares fit (Seber & Wild 2003, Nonlinear Regression, 2.1).

    Parameters
    ----------
    x : (d,) ndarray
        The estimates.
    jacobian : (m, d) ndarray
        Jacobian of the residuals; with a robust loss, scaled as SciPy scales it.
    cost : float
        Half the sum of squares, or half the sum of the loss.
    absolute_sigma : bool
        Whether residuals are in units of their known standard deviations. If not, their variance is estimated.
    active : (d,) ndarray of bool, optional
        Parameters held by a bound: they are not estimates, and the other parameters' statistics are those of a fit
        without them.
    slope_variance : (d,) ndarray, optional
        Variances of the cost's gradient that come from the error bars of the Jacobian; see `slope_variance`.
    accuracy : float or (d,) ndarray
        Relative errors of the Jacobian's columns; parameters cannot be told apart below this.
    linear : bool
        Whether the loss is the sum of squares.
    """

    x: Vector
    jacobian: Vector
    cost: float
    absolute_sigma: bool = False
    active: NDArray[np.bool_] | None = None
    slope_variance: Vector | None = None
    accuracy: float | Vector = 0.0
    linear: bool = True

    @property
    def free(self) -> NDArray[np.int64]:
        """Numbers of the parameters that no bound holds."""
        return np.arange(len(self.x)) if self.active is None else np.flatnonzero(~self.active)

    @property
    def fixed(self) -> NDArray[np.bool_]:
        """Parameters that do not move at all, (d,): they are held by bounds, and no slope was taken along them."""
        if self.active is None:
            return np.zeros(len(self.x), dtype=bool)
        return np.asarray(self.active & ~np.any(self.jacobian != 0, axis=0))

    @property
    def degrees_of_freedom(self) -> int:
        """Number of residuals minus number of parameters that no bound holds."""
        return len(self.jacobian) - len(self.free)

    @property
    def chi_square(self) -> float:
        """Sum of squares, or of the loss: 2 cost."""
        return 2 * self.cost

    @property
    def reduced_chi_square(self) -> float:
        """2 cost / (m - d); NaN where there are no degrees of freedom."""
        return self.chi_square / self.degrees_of_freedom if self.degrees_of_freedom > 0 else np.nan

    @property
    def aic(self) -> float:
        """Akaike's criterion, up to a constant that depends on the data only.

        It is m log(chi2 / m) + 2 d, or chi2 + 2 d with absolute sigma. It is NaN where it means nothing: with a robust
        loss, which is no likelihood, and for a perfect fit.
        """
        m = len(self.jacobian)
        if not self.linear or not m:
            return np.nan
        if self.absolute_sigma:
            return self.chi_square + 2 * len(self.free)
        return m * float(np.log(self.chi_square / m)) + 2 * len(self.free) if self.cost > 0 else np.nan

    @property
    def variance(self) -> float:
        """Variance of a residual: 2 cost / (m - d), or 1 with absolute sigma; infinite with too few residuals."""
        if self.absolute_sigma:
            return 1.0
        return self.chi_square / self.degrees_of_freedom if self.degrees_of_freedom > 0 else np.inf

    @cached_property
    def _unit_columns(self) -> tuple[Vector, Vector, Vector]:
        """Norms of the free columns, and singular values and right vectors (rows) of the columns at unit length."""
        factor = np.linalg.qr(self.jacobian[:, self.free], mode="r")
        norms = np.linalg.norm(factor, axis=0)
        _, s, vt = np.linalg.svd(factor / np.where(norms > 0, norms, 1.0))
        return norms, np.concatenate((s, np.zeros(len(norms) - len(s)))), vt

    @property
    def singular_values(self) -> Vector:
        """Singular values of the Jacobian with unit columns, largest first: one for each parameter no bound holds."""
        return self._unit_columns[1].copy()

    @property
    def condition(self) -> float:
        """Largest singular value over the smallest; above 30 some are hard to tell apart (Belsley et al. 1980)."""
        s = self._unit_columns[1]
        return float(s[0] / s[-1]) if len(s) and s[-1] > 0 else np.inf if len(s) else np.nan

    @cached_property
    def _null_projector(self) -> Vector:
        """Projector onto combinations of free parameters (with unit columns) that do not change the residuals."""
        null = self._unit_columns[2][~self._known]
        return np.asarray(null.T @ null)

    @cached_property
    def _known(self) -> NDArray[np.bool_]:
        """Which singular values are significant: above the effect of errors in the columns that take part."""
        _, s, vt = self._unit_columns
        errors = np.broadcast_to(np.asarray(self.accuracy, dtype=np.float64), self.x.shape)[self.free]
        least = np.maximum(np.finfo(float).eps * max(self.jacobian.shape), np.linalg.norm(vt * errors, axis=1))
        return np.asarray(s > least * s[0]) if len(s) else np.zeros(0, dtype=bool)

    @property
    def undetermined(self) -> NDArray[np.bool_]:
        """Parameters, (d,), that can be changed, alone or with others, without any change of the residuals."""
        found = np.zeros(len(self.x), dtype=bool)
        found[self.free] = np.diag(self._null_projector) > _TAKES_PART
        return found

    @property
    def not_told_apart(self) -> list[list[int]]:
        """Groups of parameters, by number, in which the others can compensate a change of one.

        A parameter without any influence is a group of its own.
        """
        projector, left = self._null_projector, np.flatnonzero(np.diag(self._null_projector) > _TAKES_PART).tolist()
        groups = []
        while left:
            group, to_see = [], [left.pop(0)]
            while to_see:
                k = to_see.pop()
                group.append(k)
                linked = [
                    j for j in left if abs(projector[k, j]) > _LINKED * np.sqrt(projector[k, k] * projector[j, j])
                ]
                left = [j for j in left if j not in linked]
                to_see += linked
            groups.append(sorted(int(self.free[k]) for k in group))
        return groups

    @cached_property
    def covariance(self) -> Vector:
        """The covariance matrix, (d, d): the variance times A^-1, A = J^T J, plus A^-1 D A^-1 for errors D of slopes.

        It is infinite for parameters that are not determined (for all of them, if there are too few residuals to
        estimate the variance), and NaN for parameters held by a bound.
        """
        d, free = len(self.x), self.free
        whole = np.full((d, d), np.nan)
        if not np.isfinite(self.variance):
            whole[np.ix_(free, free)] = np.inf
            return whole
        norms, s, vt = self._unit_columns
        known = self._known
        inverse = (vt[known].T / s[known] ** 2) @ vt[known] if len(free) else np.zeros((0, 0))
        sizes = np.where(norms > 0, norms, 1.0)
        inverse = inverse / np.outer(sizes, sizes)
        found = self.variance * inverse
        if self.slope_variance is not None:
            found = found + (inverse * self.slope_variance[free]) @ inverse
        lost = self.undetermined[free]
        found[lost, :] = np.inf
        found[:, lost] = np.inf
        whole[np.ix_(free, free)] = found
        return whole

    @property
    def standard_errors(self) -> Vector:
        """Standard errors, (d,): square roots of the covariance's diagonal; NaN where a bound holds the parameter."""
        return np.sqrt(np.diag(self.covariance))

    @property
    def correlation(self) -> Vector:
        """The correlation matrix, (d, d); NaN where a standard error is 0, infinite or NaN."""
        errors = self.standard_errors
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(self.covariance / np.outer(errors, errors))

    def confidence_intervals(self, level: float = 0.95) -> Vector:
        """Lower and upper ends, (d, 2), by Student's t with m - d degrees of freedom, or normal with absolute sigma.

        Raises
        ------
        InputError
            If level is not between 0 and 1.
        """
        from scipy.stats import norm, t

        if not is_number(level) or not 0 < level < 1:
            raise InputError(f"level: must be between 0 and 1, such as 0.95 (was {level!r})")
        law: Any = norm if self.absolute_sigma else t(max(self.degrees_of_freedom, 1))
        half = float(law.ppf((1 + level) / 2)) * self.standard_errors
        return np.stack((self.x - half, self.x + half), axis=1)


def slope_variance(weighted: Vector, error: Vector) -> Vector:
    """Variances of J^T f, (d,), from the error bars of J; each bar is 1.96 standard deviations of its own error.

    A fit ends where the gradient by differences, (J + E)^T f, is 0, instead of J^T f. To first order this point is A^-1
    E^T f away from the least-squares solution, with A = J^T J.

    Parameters
    ----------
    weighted : (m,) ndarray
        Residuals f, times rho' of a robust loss.
    error : (m, d) ndarray
        Half widths of 95 % intervals; an unknown width (NaN) adds nothing.
    """
    return np.asarray((weighted**2) @ (np.nan_to_num(error, posinf=0.0) / _BAR) ** 2)


_BAR = 1.959963984540054
"""Number of standard deviations in half the width of a 95 % interval."""


def total_squares(measured: ArrayLike, sigma: ArrayLike = 1.0) -> float:
    """Sum of squares of data (m,) around their weighted mean, in units of sigma."""
    y = np.asarray(measured, dtype=np.float64)
    weight = 1 / np.broadcast_to(np.asarray(sigma, dtype=np.float64), y.shape) ** 2
    return float(np.sum(weight * (y - np.average(y, weights=weight)) ** 2))


def held_by_bounds(  # noqa: PLR0917  # called once, with keywords
    x: Vector, gradient: Vector, curvature: Vector, lower: Vector, upper: Vector, sizes: Vector
) -> NDArray[np.int64]:
    """Which bound holds each parameter, (d,): -1 for the lower one, 1 for the upper one, 0 for none.

    A bound holds a parameter if x is on it (as near as methods that stay inside get) and the step along this parameter
    to the least cost crosses it, or if both bounds are equal.

    Parameters
    ----------
    x, gradient : (d,) ndarrays
        The best point, and the cost's gradient there.
    curvature : (d,) ndarray
        The cost's second derivative along each parameter by Gauss and Newton: sums of squares of the Jacobian's
        columns.
    sizes : (d,) ndarray
        Sizes of the parameters, used where bounds do not give a range.
    """
    width = upper - lower
    near = _NEAR * np.where(np.isfinite(width), width, np.where(sizes > 0, sizes, 1.0))
    with np.errstate(invalid="ignore"):  # 0 / 0 or inf - inf, where there is no curvature and no bound
        low = (x - lower <= near) & (gradient > 0) & (gradient >= curvature * (x - lower))
        high = (upper - x <= near) & (gradient < 0) & (-gradient >= curvature * (upper - x))
    return np.where(low | (width == 0), -1, np.where(high, 1, 0)).astype(np.int64)


_NEAR = 1e-5
"""Distance at which a parameter is on a bound, as a part of its range or of its size."""
