"""How much lower J is sure to get from where a method ended, by a step against the gradient there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from distfd.optimization.seen_point import Seen

    Floats = NDArray[np.float64]


_BESIDE = 1e-4
"""Distance from a bound, as a part of max(1, |x|), at which interior-point methods may end: the bound holds x there."""


@dataclass(frozen=True, eq=False)
class Descent:
    """A step down.

    Attributes
    ----------
    step : (d,) ndarray
    decrease : float
        Of J.
    """

    step: Floats
    decrease: float


def remaining_descent(
    curvatures: Floats, unsure: Floats, end: Seen, free: NDArray[np.bool_], bounds: tuple[Floats, Floats]
) -> Descent | None:
    """The step -g / c inside the bounds, with the largest curvature c that was seen along any step of the run.

    J then falls by at least g^2 / 2 c: a lower bound where no curvature is larger. Beside a kink the slopes that differ
    over a short step make a large c. Where no curvature is sure, the least of what they may be is taken. None where
    there is none.

    Parameters
    ----------
    curvatures, unsure : (n,) ndarrays
        Second derivatives of J along steps of the run, and by how much each may be off for noise.
    end : Seen
    free : (d,) bool ndarray
        Variables that no bound holds.
    bounds : pair of (d,) ndarrays
    """
    if not len(curvatures):
        return None
    size = np.abs(curvatures)
    sure = size > unsure
    curvature = float(size[sure].max() if sure.any() else (size + unsure).min())
    gradient = np.where(free, end.gradient, 0.0)
    with np.errstate(all="ignore"):
        wanted = end.x - gradient / curvature
        inside = np.clip(wanted, *bounds)
        held = (inside != wanted) & (np.abs(inside - end.x) <= _BESIDE * np.maximum(1.0, np.abs(end.x)))
        gradient = np.where(held, 0.0, gradient)
        step = np.where(held, 0.0, inside - end.x)
        decrease = -float(gradient @ step) - curvature * float(step @ step) / 2
    return Descent(step, decrease) if np.isfinite(decrease) else None
