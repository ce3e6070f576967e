"""The points of a directional check of Hessians and their products with vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from distfd.core.points import dense_points
from distfd.differentiation.check_displacements import (
    FIRST,
    SECOND,
    SMALLEST,
    as_read,
    multipliers,
    points_of,
    two_points,
)
from distfd.differentiation.check_points import CheckPoints, entry_noise, noise_of_terms, norms
from distfd.differentiation.hidden_components import Entries, first_derivatives
from distfd.differentiation.near_noise import NearPoints, in_a_row, inward, near_product

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from distfd.differentiation.assemble import Terms
    from distfd.differentiation.base_point import BasePoint
    from distfd.differentiation.hessian_pattern import HessianPattern
    from distfd.differentiation.method import Answer

    Floats = NDArray[np.float64]

_SYMMETRIC = 1e-9
"""Largest relative difference of the two displacements of a pair, as J reads them, with which the slope still drops out
of a second difference."""
_BASES_IN_A_ROW = 3
"""The most bases of a Hessian-vector product whose direction is one line: x and two points."""


def beside_hessian(  # noqa: PLR0917  # all of them are needed
    site: BasePoint, pattern: HessianPattern, step: Floats, terms: Terms, nominal: Floats, draw: int = 0
) -> CheckPoints | None:
    """The check of a Hessian: the second difference along v, from a pair of points.

    All coordinates that may move are moved, so that the check also sees entries that a mask lacks.

    Parameters
    ----------
    site : BasePoint
    pattern : HessianPattern
    step : (a,) ndarray
        The realised steps of the pattern's coordinates.
    terms : Terms
        How the entries are formed: first the diagonal entries of the pattern's coordinates, then its pairs.
    nominal : (d,) ndarray
        The steps without regard to bounds, by which coordinates are moved that have no entry in the pattern.
    draw : int
        Number of the random displacement.
    """
    moving = pattern.moving
    if not len(moving):
        return None
    size = np.abs(step)
    others = np.setdiff1d(site.moving, moving)
    h = np.zeros(len(site.x))
    h[others], h[moving] = np.abs(nominal[others]), size
    every = np.concatenate((moving, others))
    v = multipliers(site.x, len(every), draw=draw) * h[every]
    values, symmetric = two_points(site.x[every], v, site.lower[every], site.upper[every])
    displaced = as_read(site, every, values)
    if displaced is None:
        return None
    weights = np.array(SECOND[symmetric])
    if np.abs(weights @ displaced).max() > _SYMMETRIC * np.abs(displaced).max() and site.written is not None:
        return None  # the slope, far larger than the curvature, would not cancel
    own = np.arange(len(moving))
    first, second = np.concatenate((own, pattern.first)), np.concatenate((own, pattern.second))
    times = np.where(first == second, 1.0, 2.0)
    form = times * 0.5 * (weights @ (displaced[:, first] * displaced[:, second]))
    area = np.sqrt(times) * size[first] * size[second]
    # Coordinates without a diagonal entry are moved too. Their entry, 0, is not computed from values and has no noise.
    made = np.concatenate((pattern.diagonal, np.ones(len(pattern.first), dtype=bool)))
    amplification, gain = noise_of_terms(terms, np.where(made, form, 0.0), np.where(made, area, 0.0), weights)
    rows, columns, unit = moving[first], moving[second], entry_noise(terms)

    def entries(answer: Answer) -> Floats:
        return np.asarray(answer.derivative[rows, columns]).ravel()

    def curvature(answer: Answer, delta: Floats) -> float:
        return float((times * delta[first] * delta[second]) @ entries(answer))

    def each(answer: Answer) -> Entries:
        outputs = np.zeros(len(rows), dtype=np.int64)
        return Entries(outputs, np.column_stack((rows, columns)), entries(answer), size[first] * size[second], unit)

    near = in_a_row(site, moving, inward(site, moving, size))
    return CheckPoints(
        points=points_of(site.x, every, values),
        weights=weights,
        predicted=lambda answer: np.array([form @ entries(answer)]),
        changes=lambda answer: norms((area * entries(answer)).reshape(1, -1)),
        amplification=amplification,
        gain=gain,
        h=h,
        entries=each,
        near=None if near is None else NearPoints(near[0], lambda answer: curvature(answer, near[1])),
        again=lambda: beside_hessian(site, pattern, step, terms, nominal, draw + 1),
    )


def beside_product(  # noqa: PLR0917  # all of them are needed
    site: BasePoint, v: Floats, step: Floats, bases: Sequence[tuple[Floats, float]], terms: Terms, draw: int = 0
) -> CheckPoints | None:
    """The check of a Hessian-vector product: the change of the slope along another direction w, between points along v.

    The check takes a pair of points at each base, and the base itself where bounds let a coordinate move to one side
    only.

    Parameters
    ----------
    site : BasePoint
    v : (d,) ndarray
    step : (d,) ndarray
        Steps of the coordinates.
    bases : sequence of (point, weight)
        Points (d,) along v, and the weights of the gradients there.
    terms : Terms
        How the components of the moving coordinates are formed.
    draw : int
        Number of the random displacement.
    """
    moving = site.moving
    if not len(moving) or not bases:
        return None
    h = np.zeros(len(site.x))
    h[moving] = np.abs(step[moving])
    nodes, along = _displacements_at_bases(site, h, [at for at, _ in bases], draw)
    w = nodes[0]
    if not w.any() or (site.written is not None and as_read(site, moving, (site.x + w)[None, moving]) is None):
        return None
    rows, weights = [site.x], []
    for at, weight in bases:
        for node, part in zip(nodes, along, strict=True):
            point = np.clip(at + node, site.lower, site.upper)
            if (point != site.x).any():  # J there is known, and all values are compared with it
                rows.append(point)
                weights.append(weight * part)
    first = bases[0][0]
    reach = np.asarray(along) @ (np.clip(first + nodes, site.lower, site.upper) - first)
    unit = np.zeros(len(site.x))
    unit[moving] = entry_noise(terms)
    amplification, gain = noise_of_terms(terms, reach[moving], h[moving], np.array(weights))
    return CheckPoints(
        points=dense_points(rows).take(np.arange(1, len(rows))),
        weights=np.array(weights),
        predicted=lambda answer: np.array([reach @ answer.derivative]),
        changes=lambda answer: norms((h * answer.derivative).reshape(1, -1)),
        amplification=amplification,
        gain=gain,
        h=h,
        entries=lambda answer: first_derivatives(answer.derivative, h, unit),
        # More bases than that lie along parts of v, and the product says nothing of J's curvature along a part.
        near=near_product(site, bases[0][0], v) if len(bases) <= _BASES_IN_A_ROW else None,
        again=lambda: beside_product(site, v, step, bases, terms, draw + 1),
    )


def _displacements_at_bases(
    site: BasePoint, h: Floats, bases: Sequence[Floats], draw: int
) -> tuple[Floats, Sequence[float]]:
    """Displacements (2 or 3, d) that fit at every base, and the weights of J there, which sum to 0."""
    up = np.min([site.upper - at for at in bases], axis=0)
    down = np.min([at - site.lower for at in bases], axis=0)
    moving, w = site.moving, np.zeros(len(h))
    w[moving] = multipliers(site.x, len(moving), draw=draw) * h[moving]
    room = np.minimum(up, down)
    if (room[moving] >= SMALLEST * h[moving]).all():
        w = np.copysign(np.minimum(np.abs(w), room), w)
        return np.stack((w, -w)), FIRST[True]
    nodes, _ = two_points(np.zeros(len(h)), w, -down, up)
    first, second = FIRST[False]
    return np.vstack((nodes, np.zeros(len(h)))), (first, second, -first - second)
