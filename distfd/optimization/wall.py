"""What a method is told of a trial at which J failed: a wall to turn back from, not an error."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Vector = NDArray[np.float64]


def wall(x: Vector, value: float, gradient: Vector, trial: Vector) -> tuple[float, Vector]:
    """A value and a gradient at a trial without either, such that the method comes back to a quarter of the step.

    They are those of the parabola along s = trial - x that has J's value and slope at x and its least value at s / 4:
    J(trial) = J(x) + a and dJ/dx = 3 a s / |s|^2 there, with a = |gradient . s|. The value is above J(x), so that no
    method of descent accepts it; and it is finite with a slope, as TNC does not come back from +inf, and a NaN for the
    gradient there, which line searches ask for too, is nowhere safe.

    Parameters
    ----------
    x, gradient : (d,) ndarray
        The best point so far, and the gradient there.
    value : float
        J(x).
    trial : (d,) ndarray
    """
    step = trial - x
    square = float(step @ step)
    rise = max(abs(float(gradient @ step)), 1e-8 * max(1.0, abs(value)))
    return value + rise, 3 * rise * step / square if square else np.zeros(len(step))
