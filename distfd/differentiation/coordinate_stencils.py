"""One stencil along each of several coordinates: its points, and the weights of their values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core.points import Points
from distfd.differentiation.assemble import Terms
from distfd.differentiation.complex_step import imaginary_step
from distfd.differentiation.placement import check_offsets, place
from distfd.differentiation.stencils import coefficients

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from distfd.differentiation.base_point import BasePoint
    from distfd.differentiation.stencils import Stencil


@dataclass(frozen=True, eq=False)
class Lines:
    """A stencil of n nodes along each of ``a`` coordinates.

    Attributes
    ----------
    x : (d,) ndarray
    moving : (a,) ndarray of int
        The coordinates.
    values : (a, n) ndarray
        The values of the coordinates, one column for each node; complex for an imaginary stencil.
    offsets : (a, n) ndarray
        Displacements as J sees them: x + h as floating point or J's input text has it, less x. Differences are divided
        by them. For an imaginary stencil, the imaginary parts.
    step : (a,) ndarray
        Realised steps.
    """

    x: NDArray[np.float64]
    moving: NDArray[np.int64]
    values: NDArray[Any]
    offsets: NDArray[np.float64]
    step: NDArray[np.float64]

    @property
    def points(self) -> Points:
        """The point x itself (number 0), then the nodes of each coordinate in turn."""
        n = self.values.shape[1]
        indptr = np.concatenate(([0, 0], np.arange(1, self.values.size + 1)))
        return Points(self.x, indptr, np.repeat(self.moving, n), self.values.ravel())

    @property
    def terms(self) -> Terms:
        """First derivatives, a row for each coordinate, from the values at ``points``."""
        a, n = self.offsets.shape
        return Terms(
            n_rows=a,
            row=np.repeat(np.arange(a), n),
            point=np.arange(1, a * n + 1),
            coefficient=coefficients(self.offsets).ravel(),
            divisor=self.offsets.ravel(),
        )


def place_lines(site: BasePoint, moving: NDArray[np.int64], h: NDArray[np.float64], stencil: Stencil) -> Lines:
    """Put a stencil along coordinates that may move, inside their bounds.

    Parameters
    ----------
    site : Site
    moving : (a,) ndarray of int
        Coordinates with lower < upper.
    h : (a,) ndarray
        Signed steps of these coordinates; they may change to suit bounds and rounding.
    stencil : Stencil

    Raises
    ------
    InputError
        If points coincide in floating point or in the text that J reads, or overflow.
    """
    at = site.x[moving]
    if stencil.imaginary:
        # Real parts do not change, so they stay within their bounds.
        step = h * stencil.nodes[0]
        offsets = step[:, None]
        check_offsets(offsets, lambda a: site.label(int(moving[a])))
        return Lines(site.x, moving, imaginary_step(at[:, None], offsets), offsets, step)
    values, step = place(at, h, stencil, site.lower[moving], site.upper[moving])
    offsets = values - at[:, None]
    check_offsets(offsets, lambda a: site.label(int(moving[a])))
    if site.written is not None:
        read = site.offsets(moving, values)
        check_offsets(read, lambda a: site.label(int(moving[a])))
        offsets, step = read, step * (read[:, 0] / offsets[:, 0])
    return Lines(site.x, moving, values, offsets, step)
