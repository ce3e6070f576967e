"""The residuals that SciPy's curve_fit makes of a model's values and the data."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core.errors import InputError
from distfd.optimization.robust_loss import Loss

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Vector = NDArray[np.float64]


def spread_of(sigma: Any, ydata: Any) -> NDArray[Any]:
    """Sigma as an array with one element for each of ydata, also where it is None or one number.

    SciPy scales a Jacobian row by row only for arrays; that also widens the one row of a model that returns one number.
    """
    given = np.asarray(1.0 if sigma is None else sigma)
    return np.full(np.size(ydata), given.ravel()[0]) if given.size == 1 else given


def fitted_points(xdata: Any, ydata: Any, *, omit: bool) -> NDArray[np.bool_]:
    """Which of ydata SciPy fits; with ``omit``, not those where ydata or the last dimension of xdata is NaN."""
    measured = np.asarray(ydata)
    lacks = np.zeros(measured.shape, dtype=bool)
    if not omit or measured.dtype.kind not in "fc":
        return ~lacks
    lacks = np.isnan(measured)
    if isinstance(xdata, (list, tuple, np.ndarray)):
        with contextlib.suppress(TypeError, ValueError):  # xdata may not be numbers, or have another length than ydata
            at = np.isnan(np.asarray(xdata, dtype=np.float64))
            lacks = lacks | at.any(axis=tuple(range(at.ndim - 1)))
    return np.asarray(~lacks)


@dataclass(frozen=True, eq=False)
class CurveResiduals:
    """The residuals that SciPy makes of the model's values, and their cost.

    Attributes
    ----------
    measured : (n,) ndarray
    spread : (n,) or (n, n) ndarray
        Standard deviations, or the lower Cholesky factor of a covariance.
    loss : Loss
    """

    measured: Vector
    spread: Vector
    loss: Loss

    def of(self, values: Vector) -> Vector:
        """The residuals (n,) of the model's values, (n,) or (1,)."""
        return self.scaled(values - self.measured)

    def scaled(self, rows: Vector) -> Vector:
        """Rows, (n, ...) or (1, ...), in units of the standard deviations."""
        wide = np.broadcast_to(rows, (len(self.measured), *rows.shape[1:]))
        if self.spread.ndim == 1:
            return np.asarray(wide / (self.spread if wide.ndim == 1 else self.spread[:, None]))
        from scipy.linalg import solve_triangular

        return np.asarray(solve_triangular(self.spread, wide, lower=True, check_finite=False))

    def cost(self, values: Vector) -> float:
        """The cost of the model's values."""
        return self.loss.cost(self.of(values))


def residuals_of(
    ydata: Any, spread: NDArray[Any], fitted: NDArray[np.bool_], options: Mapping[str, Any]
) -> CurveResiduals | None:
    """How SciPy makes residuals of the model's values; None where it refuses the data, or where they are unusual."""
    try:
        measured = np.asarray(ydata, dtype=np.float64)[fitted]
        if spread.ndim == 2:
            covariance = np.asarray(spread, dtype=np.float64)[np.ix_(fitted, fitted)]
            spread = np.asarray(np.linalg.cholesky(covariance), dtype=np.float64)
        else:
            spread = np.asarray(spread, dtype=np.float64)[fitted]
        loss = Loss(options.get("loss", "linear"), options.get("f_scale", 1.0))
    except (TypeError, ValueError, IndexError, np.linalg.LinAlgError, InputError):  # SciPy says what is wrong
        return None
    usual = fitted.ndim == 1 and np.isfinite(measured).all() and np.isfinite(spread).all()
    return CurveResiduals(measured, spread, loss) if usual else None
