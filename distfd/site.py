"""Where a derivative is wanted: the point, how far each coordinate may go, and what it is called."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from distfd.describe import numbered

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Site:
    """A point and its surroundings.

    Attributes
    ----------
    x, lower, upper : (d,) ndarrays
        Checked: x finite, lower <= x <= upper.
    label : callable
        Coordinate number -> what messages call it.
    """

    x: NDArray[np.float64]
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]
    label: Callable[[int], str] = numbered

    @property
    def moving(self) -> NDArray[np.int64]:
        """The coordinates that may move; where lower == upper the derivative is 0 and costs nothing."""
        return np.flatnonzero(self.lower != self.upper)
