"""A point at which an optimisation knows J and its derivative."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from distfd.results.derivative_result import DerivativeResult

FEASIBLE = 1e-6
"""Largest violation of constraints of a feasible point: SciPy's methods end at about 1e-8 to 1e-6."""


@dataclass(frozen=True, eq=False)
class Seen:
    """A point with its value and its derivative.

    Attributes
    ----------
    x : (d,) ndarray
    value : float
        The value of the function that is minimised.
    result : DerivativeResult
    gradient : (d,) ndarray
        The gradient of the function that is minimised.
    violation : float
        The largest violation of a constraint; 0 if there is none.
    measured : bool
        Whether the derivative comes from differences. One from a model says nothing about J's slopes.
    """

    x: NDArray[np.float64]
    value: float
    result: DerivativeResult
    gradient: NDArray[np.float64]
    violation: float = 0.0
    measured: bool = True

    def summary(self) -> DerivativeResult:
        """The result as one for the single number that is minimised."""
        result = self.result
        if not np.ndim(result.value) and result.derivative is self.gradient:
            return result
        return replace(result, value=self.value, derivative=self.gradient, error=None)

    def better_than(self, other: Seen | None) -> bool:
        """Whether this point violates constraints less, or is feasible like the other and has the lower value."""
        return other is None or self.rank < other.rank

    def replaces(self, other: Seen | None) -> bool:
        """Whether both are the same point, so that this newer derivative is the better one."""
        return other is not None and self.rank == other.rank and self.x.tobytes() == other.x.tobytes()

    @property
    def rank(self) -> tuple[float, float]:
        """The key by which points are sorted, the best one first."""
        return rank_of(self.value, self.violation)


def rank_of(value: float, violation: float) -> tuple[float, float]:
    """The key by which points are sorted: feasible ones first, by value; then the others, by violation."""
    return (0.0 if violation <= FEASIBLE else violation, np.inf if np.isnan(value) else value)
