"""Stencils along any direction: how far bounds allow them, and where floating point puts x + t v."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core.errors import InputError
from distfd.differentiation.complex_step import imaginary_step
from distfd.differentiation.placement import check_offsets, place

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from distfd.differentiation.base_point import BasePoint
    from distfd.differentiation.stencils import Stencil


_STRAIGHT = 0.01
"""Rounding of J's numbers as text may turn a displacement away from its direction by this relative amount at most."""


@dataclass(frozen=True, eq=False)
class Ray:
    """A stencil of n nodes along a sparse vector u.

    Attributes
    ----------
    row : int
        The number of the direction that the stencil belongs to.
    coordinates : (s,) ndarray of int
    values : (n, s) ndarray
        The values of these coordinates, one row for each node; complex for an imaginary stencil.
    offsets : (n,) ndarray
        The realised distance of each node along u.
    step : float
        The realised step.
    turned : float
        The largest part of a node's displacement that is not along u, as floating point has rounded its coordinates.
    """

    row: int
    coordinates: NDArray[np.int64]
    values: NDArray[Any]
    offsets: NDArray[np.float64]
    step: float
    turned: float = 0.0


def lengths(directions: NDArray[np.float64], h: NDArray[np.float64]) -> NDArray[np.float64]:
    """T = 1 / |v / h|_2 for directions v (p, d) and steps h (d,) > 0: where v is e_k, t is h_k, bit for bit; 0 for 0.

    Measured in the coordinates' own steps, x + t v is as far from x as x + h_k e_k is. For a sum of functions of one
    coordinate each, the largest norm of v / h would be best (each coordinate moves by its own step), and for a function
    of the coordinates' sum the 1-norm. The 2-norm is between them: it is at most sqrt(d) from each.
    """
    t = np.zeros(len(directions))
    for p, v in enumerate(directions):
        at = np.flatnonzero(v)
        if len(at):
            reach = h[at] / np.abs(v[at])
            shortest = reach.min()
            t[p] = shortest / np.sqrt(np.sum((shortest / reach) ** 2))
    return t


def place_rays(
    site: BasePoint, directions: NDArray[np.float64], t: NDArray[np.float64], stencil: Stencil, h: NDArray[np.float64]
) -> list[Ray]:
    """Put a stencil along each direction, inside the bounds.

    Coordinates that do not move count as 0. Where bounds would shorten a direction on both sides, the direction is
    split: the coordinates that can go forward and those that cannot have a stencil each, and the derivative is the sum
    of both.

    Parameters
    ----------
    site : Site
    directions : (p, d) ndarray
    t : (p,) ndarray
        Steps t of x + t v.
    stencil : Stencil
    h : (d,) ndarray
        Typical steps > 0 of the coordinates, by which displacements are compared.

    Raises
    ------
    InputError
        If points coincide in floating point, or overflow.
    """
    rays: list[Ray] = []
    fixed = site.lower == site.upper
    for p, v in enumerate(directions):
        at = np.flatnonzero(np.where(fixed, 0.0, v))
        parts = _parts(site, at, v[at], t[p], stencil) if len(at) else ()
        rays += [_ray(site, p, at[part], v[at[part]], t[p], stencil, h) for part in parts]
    if rays:
        check_offsets(np.stack([ray.offsets for ray in rays]), lambda k: f"direction {rays[k].row}")
    return rays


def _room(
    site: BasePoint, at: NDArray[np.int64], u: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How far bounds let each coordinate go along u, backward (<= 0) and forward (>= 0)."""
    with np.errstate(over="ignore"):
        to_lower, to_upper = (site.lower[at] - site.x[at]) / u, (site.upper[at] - site.x[at]) / u
    return np.minimum(to_lower, to_upper), np.maximum(to_lower, to_upper)


def _parts(
    site: BasePoint, at: NDArray[np.int64], u: NDArray[np.float64], t: float, stencil: Stencil
) -> Sequence[NDArray[np.bool_]]:
    """All coordinates, or two groups of them where the whole direction would need a shorter step."""
    whole = np.ones(len(at), dtype=bool)
    if stencil.imaginary:
        return [whole]
    back, forth = _room(site, at, u)
    _, step = place(np.zeros(1), np.array([t]), stencil, back.max(keepdims=True), forth.min(keepdims=True))
    ahead = forth >= -back
    if abs(step[0]) >= 0.999 * abs(t) or ahead.all() or not ahead.any():
        return [whole]
    return [ahead, ~ahead]


def _ray(  # noqa: PLR0917  # private, called once
    site: BasePoint,
    row: int,
    at: NDArray[np.int64],
    u: NDArray[np.float64],
    t: float,
    stencil: Stencil,
    h: NDArray[np.float64],
) -> Ray:
    x = site.x[at]
    if stencil.imaginary:
        nodes = t * np.array(stencil.nodes)
        displaced = nodes[:, None] * u
        return Ray(row, at, imaginary_step(x, displaced), _realised(displaced, u, h[at]), float(nodes[0]))
    back, forth = _room(site, at, u)
    nodes, step = place(np.zeros(1), np.array([t]), stencil, back.max(keepdims=True), forth.min(keepdims=True))
    with np.errstate(over="ignore", invalid="ignore"):
        # x + (upper - x) / u * u may round to one ulp past upper.
        values = np.clip(x + nodes[0][:, None] * u, site.lower[at], site.upper[at])
        displaced = values - x if site.written is None else _as_written(site, row, at, values, u, h[at])
        offsets = _realised(displaced, u, h[at])
        turned = _turned(displaced, offsets, u, h[at])
        return Ray(row, at, values, offsets, float(offsets[0] / (nodes[0, 0] / step[0])), turned)


def _as_written(  # noqa: PLR0917  # private, called once
    site: BasePoint,
    row: int,
    at: NDArray[np.int64],
    values: NDArray[np.float64],
    u: NDArray[np.float64],
    h: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Displacements of each node (n, s) as J reads them.

    Each coordinate is rounded to its own number of digits. That may turn the displacement away from the direction, and
    the difference would then be another derivative.
    """
    displaced = site.offsets(at, values.T).T
    turned = _turned(displaced, _realised(displaced, u, h), u, h)
    if turned > _STRAIGHT:
        raise InputError(
            f"step: the numbers written for a step along direction {row} leave that direction by {turned:.0%} of "
            "the step, as they are rounded to too few digits; use a larger step, or more digits in the formats"
        )
    return displaced


def _turned(
    displaced: NDArray[np.float64], offsets: NDArray[np.float64], u: NDArray[np.float64], h: NDArray[np.float64]
) -> float:
    """The largest part of a displacement (n, s) that is not along u, measured in units of h."""
    far = np.maximum(np.linalg.norm(displaced / h, axis=1), np.finfo(float).tiny)
    return float((np.linalg.norm((displaced - offsets[:, None] * u) / h, axis=1) / far).max())


def _realised(displaced: NDArray[np.float64], u: NDArray[np.float64], h: NDArray[np.float64]) -> NDArray[np.float64]:
    """The t for which t u is nearest to the displacement of each node (n, s), measured in units of h.

    Along one coordinate, the realised step is known exactly. Along several, each coordinate is rounded by itself and no
    t fits them all. The nearest t leaves an error in J that corresponds to an error of eps |x| in x, divided by t.
    """
    if len(u) == 1:
        return np.asarray(displaced[:, 0] / u[0])
    unit = u / h
    largest = np.abs(unit).max()
    unit = unit / largest
    return np.asarray((displaced / h) @ unit / (unit @ unit) / largest)
