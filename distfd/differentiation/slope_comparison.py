"""Compares a derivative with the lines that measured J's noise, and says where J has other slopes at other scales."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from distfd.differentiation.diagnostics import listed
from distfd.differentiation.scale_agreement import disagreement, slope_warning, unresolved
from distfd.differentiation.stencils import coefficients

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from distfd.differentiation.base_point import BasePoint
    from distfd.differentiation.noise_survey import Survey

    Floats = NDArray[np.float64]

_FEWEST = 2
"""Least number of points along a coordinate that give its slope at x, with an error."""
_NEAREST = 4
"""Number of points along a coordinate, the nearest, that give its slope at x."""


def compared(
    site: BasePoint,
    found: Survey,
    value: Floats,
    bar: Floats,
    *,
    kinks: Floats,
    measured: bool,
) -> tuple[Floats, tuple[str, ...]]:
    """The error bars of a derivative along the coordinates that move, wider where a line contradicts it, and why.

    Parameters
    ----------
    site : Site
    found : Survey
        With the lines, and the noise that they show.
    value, bar : (a, m) ndarrays
        The derivative, and its error bar (half the width of its interval).
    kinks : (a, m) ndarray
        At a kink, the distance of the one-sided slopes from the derivative; 0 elsewhere.
    measured : bool
        Whether the noise is what the lines show, and not given by the user.
    """
    rows = site.moving
    if measured:
        texts = unresolved(found.lines, value, bar, names=lambda at: listed(site.label, rows[at]), output=site.output)
        if texts:  # what is not resolved has no slope to compare
            return bar, texts
    other = disagreement(found.lines, found.noise, rows, value, bar, slack=kinks)
    return (bar, ()) if other is None else (bar + other.widening(rows), (slope_warning(other, site.output),))


def second_difference_warnings(
    site: BasePoint, found: Survey, singles: Mapping[tuple[int, float], float]
) -> tuple[str, ...]:
    """A warning where the points of second differences show other slopes of J, of one output, than lines near x.

    Parameters
    ----------
    site : Site
    found : Survey
        With the lines, and the noise that they show.
    singles : mapping
        J where one coordinate was moved, by its number and its value.
    """
    rows = site.moving
    value, bar = np.zeros((len(rows), 1)), np.zeros((len(rows), 1))
    beside: dict[int, list[tuple[float, float]]] = {int(k): [] for k in rows}
    for (k, at), there in singles.items():
        if k in beside and np.isfinite(there) and at != site.x[k]:
            beside[k].append((at - float(site.x[k]), there - float(found.baseline[0])))
    for i, near in enumerate(beside.values()):
        if len(near) < _FEWEST:
            return ()
        t, rises = np.array(sorted(near, key=lambda one: abs(one[0]))[:_NEAREST]).T
        weights, fewer = coefficients(t) / t, coefficients(t[:-1]) / t[:-1]
        value[i] = weights @ rises
        bar[i] = np.abs(value[i] - fewer @ rises[:-1]) + found.noise.part(weights)
    other = disagreement(found.lines, found.noise, rows, value, bar)
    if other is None:
        return ()
    length = other.line.spacing
    near_slope, wide_slope = (f"{float(part[0]) / length:.4g}" for part in (other.expected, other.along))
    text = (
        f"J looks different at two scales: along one direction its slope is {near_slope} by the points of the second "
        f"differences and {wide_slope} by the values of J on a line out to {other.line.reach:.1g} (against the scale "
        "of x). The errors are those of the points' scale alone; set `scale`, or a step, of the size that matters"
    )
    return (text,)
