"""Where the points of a directional check are: x with all coordinates moved at once, by random multiples of the steps.

The multiples follow from the bits of x, so that a plan that is made again has the same points. All points stay inside
the bounds.
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
"""Sizes of the multiples u."""
_APART = 0.2
"""By how much sizes differ from 1 at least: where d = 1, or J is a sum of functions of one coordinate each, u = 1 (or
-1, for a pair) repeats what the derivative was made of, and its truncation drops out."""
_LEAST = 0.1
"""A point that bounds leave less than this part of its way is not worth evaluating."""

FIRST = {True: (0.5, -0.5), False: (2.0, -0.5)}
"""Weights of J - J(x) at the points of a pair, for a change of second order: of x + v and x - v, and of x + v and
x + 2 v."""
SECOND = {True: (1.0, 1.0), False: (-2.0, 1.0)}
"""The same for the second derivative along v."""


def multipliers(x: Floats, n: int) -> Floats:
    """Numbers u (n,) of random signs and sizes, the same whenever x has the same bits."""
    digest = hashlib.blake2b(np.ascontiguousarray(x).tobytes(), digest_size=16).digest()
    rng = np.random.default_rng(int.from_bytes(digest, "little"))
    size = rng.uniform(SMALLEST, LARGEST, n)
    size = np.where(np.abs(size - 1) < _APART, size + np.copysign(_APART, size - 1), size)
    return np.asarray(size * rng.choice([-1.0, 1.0], n))


def one_point(x: Floats, v: Floats, lower: Floats, upper: Floats) -> Floats:
    """Coordinates (a,) moved by v, by -v where only that has room, or as far as there is room: (1, a)."""
    here, there = _room(x, v, lower, upper), _room(x, -v, lower, upper)
    return np.clip(x + np.where((here < np.abs(v)) & (there > here), -v, v), lower, upper)[None]


def two_points(x: Floats, v: Floats, lower: Floats, upper: Floats) -> tuple[Floats, bool]:
    """Coordinates (a,) moved to x + v and x - v, where all have room, and True; else to x + v and x + 2 v.

    For the latter v is turned, or shortened, where it has to be.
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
    """Points that move several coordinates at once: their weights, and by how much J is moved, in sum and each."""

    points: Points
    weights: Floats
    reach: Floats
    """sum_i weights_i (x_i - x), (d,)."""
    along: Floats
    """x_i - x, (q, d)."""


def moved(site: BasePoint, h: Floats, *, pair: bool) -> Displaced | None:
    """All coordinates moved by random multiples of h (d,), to one point or to a pair; None where J cannot see them."""
    at = np.flatnonzero(h)
    if not len(at):
        return None
    x, lower, upper = site.x[at], site.lower[at], site.upper[at]
    v = multipliers(site.x, len(at)) * h[at]
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
    """Displacements (q, a) as J reads them; None where the text that it reads does not show one of them."""
    try:
        return site.offsets(at, values.T).T
    except InputError:
        return None


def nodes_along(x: Floats, v: Floats, lower: Floats, upper: Floats, *, pair: bool) -> tuple[Floats, Floats]:
    """Multiples of v that stay inside the bounds, and their weights; all 0 where there is no room worth the name."""
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
    """Whether the numbers as J reads them lead elsewhere by more than a thousandth."""
    return bool(np.linalg.norm(displaced - wanted) > 1e-3 * np.linalg.norm(wanted))
