"""A point of which an optimisation knows J and its derivative."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from distfd.results.derivative_result import DerivativeResult

FEASIBLE = 1e-6
"""A violation of constraints up to which a point counts as feasible: SciPy's methods end at about 1e-8 to 1e-6."""


@dataclass(frozen=True, eq=False)
class Seen:
    """A point with its value and its derivative.

    Attributes
    ----------
    x : (d,) ndarray
    value : float
        What is minimised.
    result : DerivativeResult
    gradient : (d,) ndarray
        Of what is minimised.
    violation : float
        How far the worst constraint is from being kept; 0 where there is none.
    measured : bool
        Whether the derivative is one of differences; that of a model says nothing of J's slopes.
    """

    x: NDArray[np.float64]
    value: float
    result: DerivativeResult
    gradient: NDArray[np.float64]
    violation: float = 0.0
    measured: bool = True

    def summary(self) -> DerivativeResult:
        """The result as that of the one number that is minimised."""
        result = self.result
        if not np.ndim(result.value) and result.derivative is self.gradient:
            return result
        return replace(result, value=self.value, derivative=self.gradient, error=None)

    def better_than(self, other: Seen | None) -> bool:
        """Whether it is nearer to being feasible, or both are feasible and its value is lower."""
        return other is None or self.rank < other.rank

    def replaces(self, other: Seen | None) -> bool:
        """Whether it is the same point, looked at again: its derivative is then the better one."""
        return other is not None and self.rank == other.rank and self.x.tobytes() == other.x.tobytes()

    @property
    def rank(self) -> tuple[float, float]:
        """By which points are ordered, the best one first."""
        return rank_of(self.value, self.violation)


def rank_of(value: float, violation: float) -> tuple[float, float]:
    """By which points are ordered, the best one first: feasible ones by value, after them the others by violation."""
    return (0.0 if violation <= FEASIBLE else violation, np.inf if np.isnan(value) else value)
