"""Stencils along any direction: how far bounds let it go, and what floating point makes of x + t v."""

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
"""How far aside, relatively, numbers as written may move J from the direction that is differenced."""


@dataclass(frozen=True, eq=False)
class Ray:
    """A stencil of n nodes along u, which is 0 but at some coordinates.

    Attributes
    ----------
    row : int
        The direction it is part of.
    coordinates : (s,) ndarray of int
    values : (n, s) ndarray
        What these become, one row a node; complex for an imaginary stencil.
    offsets : (n,) ndarray
        How far along u each node really is.
    step : float
        The realised step.
    """

    row: int
    coordinates: NDArray[np.int64]
    values: NDArray[Any]
    offsets: NDArray[np.float64]
    step: float


def lengths(directions: NDArray[np.float64], h: NDArray[np.float64]) -> NDArray[np.float64]:
    """T = 1 / |v / h|_2 for directions v (p, d) and steps h (d,) > 0: where v is e_k, t is h_k, bit for bit; 0 for 0.

    Measured in its coordinates' own steps, x + t v is as far from x as x + h_k e_k is. A sum of functions of one
    coordinate each would rather have the largest norm of v / h (each coordinate moves by its own step), a function of
    the coordinates' sum the 1-norm; this one is the same factor, at most sqrt(d), from both.
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

    Coordinates that do not move count as 0. A direction that bounds shorten, as it leaves them both ways, is parted:
    what can go forward, and what cannot, have a ray each, and the derivative along it is the sum of theirs.

    Parameters
    ----------
    site : Site
    directions : (p, d) ndarray
    t : (p,) ndarray
        Steps: x + t v.
    stencil : Stencil
    h : (d,) ndarray
        Typical steps > 0 of the coordinates, by which displacements are compared.

    Raises
    ------
    InputError
        If points coincide in floating point, or are past what it holds.
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
    """How far along u each coordinate may go, backward (<= 0) and forward (>= 0)."""
    with np.errstate(over="ignore"):
        to_lower, to_upper = (site.lower[at] - site.x[at]) / u, (site.upper[at] - site.x[at]) / u
    return np.minimum(to_lower, to_upper), np.maximum(to_lower, to_upper)


def _parts(
    site: BasePoint, at: NDArray[np.int64], u: NDArray[np.float64], t: float, stencil: Stencil
) -> Sequence[NDArray[np.bool_]]:
    """All coordinates, or two parts of them where all together would have to take shorter steps."""
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
        return Ray(row, at, values, offsets, float(offsets[0] / (nodes[0, 0] / step[0])))


def _as_written(  # noqa: PLR0917  # private, called once
    site: BasePoint,
    row: int,
    at: NDArray[np.int64],
    values: NDArray[np.float64],
    u: NDArray[np.float64],
    h: NDArray[np.float64],
) -> NDArray[np.float64]:
    """What each node (n, s) is displaced by as J reads it.

    Each coordinate is rounded to its own digits, which may turn the displacement away from the direction: what is
    differenced would then be another derivative.
    """
    displaced = site.offsets(at, values.T).T
    along = _realised(displaced, u, h)[:, None] * u
    far = np.maximum(np.linalg.norm(displaced / h, axis=1), np.finfo(float).tiny)
    turned = np.linalg.norm((displaced - along) / h, axis=1) / far
    if turned.max() > _STRAIGHT:
        raise InputError(
            f"step: the numbers written for a step along direction {row} leave that direction by {turned.max():.0%} of "
            "the step, as they are rounded to too few digits; use a larger step, or more digits in the formats"
        )
    return displaced


def _realised(displaced: NDArray[np.float64], u: NDArray[np.float64], h: NDArray[np.float64]) -> NDArray[np.float64]:
    """The t for which t u is nearest to what each node (n, s) is displaced by, in units of h.

    Along one coordinate the realised step is known exactly. Along several, each rounds by itself and no t fits all; the
    nearest one leaves what the rounding of x itself makes of J: an error of eps |x| in x, over t.
    """
    if len(u) == 1:
        return np.asarray(displaced[:, 0] / u[0])
    unit = u / h
    largest = np.abs(unit).max()
    unit = unit / largest
    return np.asarray((displaced / h) @ unit / (unit @ unit) / largest)
