"""What `distfd.least_squares` returns: SciPy's result, and what it tells of the parameters. Imports scipy.optimize."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scipy.optimize import OptimizeResult

from distfd.core.errors import InputError
from distfd.optimization.fit_statistics import FitStatistics

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vector = NDArray[np.float64]

_MOST = 5e7
"""Entries up to which a sparse Jacobian is made dense (400 MB)."""


class FitResult(OptimizeResult):  # type: ignore[misc]  # SciPy has no types
    """A fit's result; standard errors are of first order, and those of bounded parameters take no notice of bounds."""

    @property
    def statistics(self) -> FitStatistics:
        """Of x, jac and cost.

        Raises
        ------
        InputError
            If the fit has no Jacobian, or a sparse one that is too large to be made dense.
        """
        jacobian: Any = self.get("jac")
        if jacobian is None:
            raise InputError("the fit has no Jacobian, as it ended before one was known: there are no standard errors")
        if hasattr(jacobian, "toarray"):
            m, d = jacobian.shape
            if m * d > _MOST:
                raise InputError(f"standard errors need a dense Jacobian, and {m} x {d} is too large for that")
            jacobian = jacobian.toarray()
        return FitStatistics(self["x"], jacobian, float(self["cost"]))

    @property
    def covariance(self) -> Vector:
        """(d, d); see `FitStatistics`."""
        return self.statistics.covariance

    @property
    def standard_errors(self) -> Vector:
        """(d,), infinite where the data do not determine the parameters."""
        return self.statistics.standard_errors

    @property
    def correlation(self) -> Vector:
        """(d, d)."""
        return self.statistics.correlation

    @property
    def residuals(self) -> Vector:
        """(m,), as ``fun``."""
        return self["fun"]  # type: ignore[no-any-return]  # a dictionary of anything

    def confidence_intervals(self, level: float = 0.95) -> Vector:
        """(d, 2): by Student's t with m - d degrees of freedom."""
        return self.statistics.confidence_intervals(level)
