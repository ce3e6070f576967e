"""A lower bound of how much J can still fall from the end of a run, by a step against the gradient there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from distfd.optimization.seen_point import Seen

    Floats = NDArray[np.float64]


_BESIDE = 1e-4
"""Distance from a bound, relative to max(1, |x|), at which interior-point methods may end: the bound holds x there."""


@dataclass(frozen=True, eq=False)
class Descent:
    """A step that lowers J.

    Attributes
    ----------
    step : (d,) ndarray
    decrease : float
        Decrease of J by the step.
    """

    step: Floats
    decrease: float


def remaining_descent(
    curvatures: Floats, unsure: Floats, end: Seen, free: NDArray[np.bool_], bounds: tuple[Floats, Floats]
) -> Descent | None:
    """The step -g / c inside the bounds, where c is the largest curvature that was seen along any step of the run.

    If no curvature is larger than c, J falls by at least g^2 / 2 c. Near a kink, slopes that differ over a short step
    make c large. If no curvature is significant, c is the smallest of their upper limits. None if there were no
    curvatures.

    Parameters
    ----------
    curvatures, unsure : (n,) ndarrays
        Second derivatives of J along steps of the run, and the possible error of each caused by noise.
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
