"""The places of a directional check's points: x with all coordinates moved at once, by random multiples of the steps.

The multiples are computed from the bits of x, so the same x always gives the same points. All points stay inside the
bounds.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from distfd.core.errors import InputError
from distfd.core.points import Points

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from distfd.differentiation.base_point import BasePoint

    Floats = NDArray[np.float64]

SMALLEST, LARGEST = 0.6, 1.6
"""Range of the random multiples u, by which each coordinate is moved, in steps."""
_APART = 0.2
"""Least difference of abs(u) from 1. With u = 1 (or -1, for a pair) the check repeats the points of the derivative
where d = 1 or J is a sum of functions of one coordinate each, and cannot see its truncation."""
_LEAST = 0.1
"""A point is left out where bounds leave less than this part of its displacement."""

FIRST = {True: (0.5, -0.5), False: (2.0, -0.5)}
"""Weights of J - J(x) at two points for an estimate of the change along v of second order, by whether the pair is
symmetric: x + v and x - v if so, else x + v and x + 2 v."""
SECOND = {True: (1.0, 1.0), False: (-2.0, 1.0)}
"""As `FIRST`, for the second derivative along v."""


def multipliers(x: Floats, n: int, group: NDArray[np.int64] | None = None, draw: int = 0) -> Floats:
    """Numbers u (n,) of random signs and sizes, the same whenever x has the same bits; others for each ``draw``.

    Within a group (n,) of columns that the derivative moves together, neighbours have opposite signs, and the next but
    one another size. If an entry of one column is missing in the structure, its effect is in the entry of another
    column, and two equal multiples would hide that.
    """
    digest = hashlib.blake2b(np.ascontiguousarray(x).tobytes(), digest_size=16).digest()
    rng = np.random.default_rng(int.from_bytes(digest, "little") + draw)
    size = rng.uniform(SMALLEST, LARGEST, n)
    size = np.where(np.abs(size - 1) < _APART, size + np.copysign(_APART, size - 1), size)
    sign = rng.choice([-1.0, 1.0], n)
    if group is not None:
        place = _place_in_group(group)
        share = rng.random(n)
        size = np.where(place // 2 % 2 == 0, SMALLEST, 1 + _APART) + share * np.where(
            place // 2 % 2 == 0, 1 - _APART - SMALLEST, LARGEST - 1 - _APART
        )
        sign = np.where(place % 2 == 0, 1.0, -1.0) * sign[group]
    return np.asarray(size * sign)


def _place_in_group(group: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each member, how many members its group has before it."""
    order = np.argsort(group, kind="stable")
    first = np.flatnonzero(np.diff(group[order], prepend=-1))
    length = np.diff(np.append(first, len(group)))
    place = np.empty(len(group), dtype=np.int64)
    place[order] = np.arange(len(group)) - np.repeat(first, length)
    return place


def one_point(x: Floats, v: Floats, lower: Floats, upper: Floats) -> Floats:
    """Coordinates (a,) moved by v; by -v where only that fits; by a shortened v where neither fits: (1, a)."""
    here, there = _room(x, v, lower, upper), _room(x, -v, lower, upper)
    return np.clip(x + np.where((here < np.abs(v)) & (there > here), -v, v), lower, upper)[None]


def two_points(x: Floats, v: Floats, lower: Floats, upper: Floats) -> tuple[Floats, bool]:
    """Coordinates (a,) at x + v and x - v, and True, where these are inside the bounds; else at x + v and x + 2 v.

    In the second case v may be reversed or shortened to fit, and the flag is False.
    """
    here, there = _room(x, v, lower, upper), _room(x, -v, lower, upper)
    if (np.minimum(here, there) >= np.abs(v)).all():
        return np.stack((x + v, x - v)), True
    turned = np.where((here < 2 * np.abs(v)) & (there > here), -v, v)
    v = np.copysign(np.minimum(np.abs(turned), np.maximum(here, there) / 2), turned)
    return np.clip(np.stack((x + v, x + 2 * v)), lower, upper), False


def _room(x: Floats, v: Floats, lower: Floats, upper: Floats) -> Floats:
    return np.asarray(np.where(v > 0, upper - x, x - lower))


@dataclass(frozen=True, eq=False)
class Displaced:
    """Points that move several coordinates at once: their weights, and the displacements that J sees."""

    points: Points
    weights: Floats
    reach: Floats
    """sum_i weights_i (x_i - x), (d,)."""
    along: Floats
    """x_i - x, (q, d)."""


def moved(
    site: BasePoint, h: Floats, *, pair: bool, group: NDArray[np.int64] | None = None, draw: int = 0
) -> Displaced | None:
    """Moves all coordinates by random multiples of h (d,), to one point or a pair; None where J cannot see the move.

    ``group`` (d,) has the groups of columns of a sparse Jacobian, -1 for columns without one. Each ``draw`` has other
    multiples.
    """
    at = np.flatnonzero(h)
    if not len(at):
        return None
    x, lower, upper = site.x[at], site.lower[at], site.upper[at]
    together = None if group is None else np.unique(group[at], return_inverse=True)[1]
    v = multipliers(site.x, len(at), together, draw) * h[at]
    weights = np.ones(1)
    if pair:
        values, symmetric = two_points(x, v, lower, upper)
        weights = np.array(FIRST[symmetric])
    else:
        values = one_point(x, v, lower, upper)
    displaced = as_read(site, at, values)
    if displaced is None:
        return None
    along = np.zeros((len(values), len(site.x)))
    along[:, at] = displaced
    return Displaced(points_of(site.x, at, values), weights, weights @ along, along)


def points_of(x: Floats, at: NDArray[np.int64], values: Floats) -> Points:
    """The points at which these coordinates (a,) of x have these values (q, a)."""
    q, a = values.shape
    return Points(x, np.arange(q + 1, dtype=np.int64) * a, np.tile(at, q), values.ravel())


def as_read(site: BasePoint, at: NDArray[np.int64], values: Floats) -> Floats | None:
    """Displacements (q, a) as J reads them; None where the text that J reads does not show one of them."""
    try:
        return site.offsets(at, values.T).T
    except InputError:
        return None


def nodes_along(x: Floats, v: Floats, lower: Floats, upper: Floats, *, pair: bool) -> tuple[Floats, Floats]:
    """Multiples of v that stay inside the bounds, and their weights; 0 where less than `_LEAST` of v fits."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ahead, behind = (
            float(np.min(np.where(w != 0, _room(x, w, lower, upper) / np.abs(w), np.inf))) for w in (v, -v)
        )
    if pair and min(ahead, behind) >= 1:
        return np.array([1.0, -1.0]), np.array(FIRST[True])
    sign, room = (1.0, ahead) if ahead >= behind else (-1.0, behind)
    most = min(1.0, room / 2 if pair else room)
    if most < _LEAST:
        most = 0.0
    if pair:
        return sign * most * np.array([1.0, 2.0]), np.array(FIRST[False])
    return np.array([sign * most]), np.ones(1)


def is_turned(displaced: Floats, wanted: Floats) -> bool:
    """Whether the displacement, as J reads it, differs from the wanted direction by more than a thousandth."""
    return bool(np.linalg.norm(displaced - wanted) > 1e-3 * np.linalg.norm(wanted))
