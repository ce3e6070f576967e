"""The noise in J, seen at three points so near x that J has no other reason to leave a parabola there.

The residual of a second derivative's check contains the truncation too, and is one number. With J at x + k delta for k
from 0 to 3, delta a small part of the steps, J(x + k delta) - k^2 (delta' H delta) / 2 is a straight line in k, up to
the noise of J: what is left beside the line are two independent numbers of the noise's own standard deviation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from distfd.differentiation.check_displacements import as_read, multipliers, points_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from distfd.core.points import Points
    from distfd.differentiation.base_point import BasePoint
    from distfd.differentiation.method import Answer

    Floats = NDArray[np.float64]

SHARE = 1 / 1024
"""The displacement as a part of the derivative's step. J''' adds SHARE^3, and a wrong derivative SHARE^2, of what they
add to the change of J over a step."""
_EVEN = 1e-9
"""Largest relative difference of the three displacements, as J reads them, with which the slope still drops out."""
_LINE_REST = np.array([[1, -1, -1, 1], [-1, 3, -3, 1]]) / np.sqrt([[4], [20]])
"""The orthonormal polynomials of second and third degree on four equidistant points: what a straight line leaves."""


@dataclass(frozen=True, eq=False)
class NearPoints:
    """Three points near x, in a row with it.

    Attributes
    ----------
    points : Points
    curvature : callable
        ``curvature(answer)``: delta' H delta by the derivative.
    """

    points: Points
    curvature: Callable[[Answer], float]

    def noise(self, values: Floats, answer: Answer) -> float | None:
        """The standard deviation of J's noise, from J at the points, (3,); None where it is no number."""
        steps = np.arange(4.0)
        with np.errstate(over="ignore", invalid="ignore"):
            changes = np.concatenate(([0.0], values - float(answer.value[0].real)))
            rest = _LINE_REST @ (changes - steps**2 * self.curvature(answer) / 2)
            found = float(np.sqrt(np.mean(rest**2)))
        return found if np.isfinite(found) else None


def inward(site: BasePoint, moving: NDArray[np.int64], size: Floats) -> Floats:
    """A displacement (a,) of random sign and size, a small part of the steps (a,), that bounds let be trebled."""
    delta = SHARE * size * multipliers(site.x, len(moving))
    room = np.where(delta > 0, site.upper[moving] - site.x[moving], site.x[moving] - site.lower[moving])
    return np.asarray(np.where(room < 3 * np.abs(delta), -delta, delta))


def in_a_row(site: BasePoint, moving: NDArray[np.int64], delta: Floats) -> tuple[Points, Floats] | None:
    """Three points in a row with x, and the displacement (a,) between them; None where J cannot see them as such.

    Parameters
    ----------
    site : BasePoint
    moving : (a,) ndarray of int
    delta : (a,) ndarray
        The wanted displacement.
    """
    x, lower, upper = site.x[moving], site.lower[moving], site.upper[moving]
    # A multiple of the distance of neighbouring numbers: then x + k delta is exact, and the slope drops out.
    unit = np.spacing(np.abs(x) + 4 * np.abs(delta))
    delta = np.trunc(delta / unit) * unit
    values = x + np.array([[1.0], [2.0], [3.0]]) * delta
    inside = (values >= lower) & (values <= upper) & np.isfinite(values)
    if not delta.any() or not inside.all():
        return None
    read = as_read(site, moving, values)
    if read is None or np.abs(np.diff(read, axis=0) - read[0]).max() > _EVEN * np.abs(read).max():
        return None
    return points_of(site.x, moving, values), read[0]


def near_product(site: BasePoint, base: Floats, direction: Floats) -> NearPoints | None:
    """Points near x along the direction of a Hessian-vector product, towards one of its points (d,)."""
    found = in_a_row(site, site.moving, SHARE * (base - site.x)[site.moving])
    if found is None:
        return None
    points, delta = found
    with np.errstate(over="ignore"):  # a coordinate that is 0 has no rounding
        k = int(np.argmax(np.abs(delta) / np.spacing(np.abs(site.x[site.moving]))))  # best known beside its rounding
    part = delta[k] / direction[site.moving][k]  # delta = part v
    return NearPoints(points, lambda answer: float(part * (delta @ answer.derivative[site.moving])))
