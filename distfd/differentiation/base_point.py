"""The point at which a derivative is wanted, its bounds, and the names of its coordinates."""

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
        The name of a coordinate in messages, by its number.
    written : callable, optional
        ``written(x, index, values)`` returns the offsets (a, n) from x, as J reads them, when coordinates (a,) become
        values (a, n). Given where J reads its numbers as text. By default J reads the floating-point numbers
        themselves.
    output : callable
        ``output(j, m)``: the name of output j in messages, for a J with m outputs.
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
        """Offsets, as J sees them, of coordinates (a,) that become values (a, n); they divide differences.

        Raises
        ------
        InputError
            If J cannot see them move, because its numbers are written with too few digits.
        """
        return values - self.x[index, None] if self.written is None else self.written(self.x, index, values)
