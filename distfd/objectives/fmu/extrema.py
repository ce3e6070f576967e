"""The largest value of an output between the times at which it is read.

The largest of the values that were read is that of one time, and stays with this time when a parameter moves the peak:
its derivative is off by an error of first order in the step, and jumps where another time takes over. A parabola
through the largest value and its two neighbours follows the peak.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def largest(times: NDArray[np.float64], values: NDArray[np.float64]) -> float:
    """The top of a smooth course that was read at these times, (n,) both.

    It is that of the parabola through the largest value and those before and after it, by divided differences. Where
    the largest value is the first or the last one, or one beside it is as large (a course that is cut off at a limit),
    it is that value.
    """
    k = int(np.argmax(values))
    if not 0 < k < len(values) - 1 or not values[k - 1] < values[k] > values[k + 1]:
        return float(values[k])
    before, after = times[k] - times[k - 1], times[k + 1] - times[k]
    rise, fall = (values[k] - values[k - 1]) / before, (values[k + 1] - values[k]) / after
    slope = (rise * after + fall * before) / (before + after)
    bend = (fall - rise) / (before + after)
    return float(values[k] - slope * slope / (4 * bend))
