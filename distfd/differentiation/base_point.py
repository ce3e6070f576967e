"""Where a derivative is wanted: the point, how far each coordinate may go, and what it is called."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from distfd.core.describe import numbered, numbered_output

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class BasePoint:
    """A point and its surroundings.

    Attributes
    ----------
    x, lower, upper : (d,) ndarrays
        Checked: x finite, lower <= x <= upper.
    label : callable
        Coordinate number -> what messages call it.
    written : callable, optional
        ``written(x, index, values)``: offsets (a, n) from x, as J reads them, of coordinates (a,) that become values
        (a, n); for a J that gets its numbers in writing. By default J reads what floating point holds.
    output : callable
        ``output(j, m)``: what messages call output j of a J with m outputs.
    """

    x: NDArray[np.float64]
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]
    label: Callable[[int], str] = numbered
    written: Callable[[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]], NDArray[np.float64]] | None = None
    output: Callable[[int, int], str] = numbered_output

    @property
    def moving(self) -> NDArray[np.int64]:
        """The coordinates that may move; where lower == upper the derivative is 0 and costs nothing."""
        return np.flatnonzero(self.lower != self.upper)

    def offsets(self, index: NDArray[np.int64], values: NDArray[np.float64]) -> NDArray[np.float64]:
        """How far J sees coordinates (a,) moved that become values (a, n): what differences are divided by, (a, n).

        Raises
        ------
        InputError
            If J cannot see them move, because of the way in which its numbers are written.
        """
        return values - self.x[index, None] if self.written is None else self.written(self.x, index, values)
