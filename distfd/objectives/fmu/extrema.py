"""The largest value of an output between the communication points.

The largest of the values at these points stays at one point when a parameter moves the peak, so its derivative has an
error of first order in the step, and jumps where another point takes over. A parabola through the largest value and its
two neighbours follows the peak.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def largest(times: NDArray[np.float64], values: NDArray[np.float64]) -> float:
    """The maximum of a smooth signal with values at these times, (n,) both.

    It is the maximum of the parabola through the largest value and its two neighbours, by divided differences. If the
    largest value is the first or the last, or a neighbour is as large (the signal is cut off at a limit), the result is
    the largest value itself.
    """
    k = int(np.argmax(values))
    if not 0 < k < len(values) - 1 or not values[k - 1] < values[k] > values[k + 1]:
        return float(values[k])
    before, after = times[k] - times[k - 1], times[k + 1] - times[k]
    rise, fall = (values[k] - values[k - 1]) / before, (values[k + 1] - values[k]) / after
    slope = (rise * after + fall * before) / (before + after)
    bend = (fall - rise) / (before + after)
    return float(values[k] - slope * slope / (4 * bend))
