"""Hessian-vector products from values of J alone: second-order differences of gradients at points along v.

H v ~ (g(x + t v) - g(x - t v)) / (2t), or (-3 g(x) + 4 g(x + t v) - g(x + 2t v)) / (2t) where bounds let v go one way
only. Each gradient g is made by second-order differences with the same offsets, so its error has the same form at each
point. That takes 4 or 6 evaluations a coordinate, where a whole Hessian takes d + 1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from distfd.core.points import Points, dense_points
from distfd.differentiation.assemble import Terms, assemble, weight_sums
from distfd.differentiation.check_points import Checkable, CheckPoints
from distfd.differentiation.diagnostics import no_movement_warnings, tight_bounds_warnings
from distfd.differentiation.direction_stencils import Ray, place_rays
from distfd.differentiation.hessian import BEND, PART, ROUNDED
from distfd.differentiation.hessian_check_points import beside_product
from distfd.differentiation.method import Answer, Request, Wave
from distfd.differentiation.placement import check_offsets, place
from distfd.differentiation.second_differences import SECOND
from distfd.differentiation.stencils import EPS, coefficients
from distfd.differentiation.value_precision import hides_nothing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from distfd.differentiation.base_point import BasePoint
    from distfd.differentiation.stencils import Stencil

_MOST_CHANGES = 2**22
"""If all points together have at most this many changes against x, they go in one request; else each gradient has its
own."""
_EVEN = 1e-9
"""Largest relative difference of two offsets, as J reads them, with which a central difference still needs no value
between the two points."""


@dataclass(frozen=True, eq=False)
class _Base:
    """A point on the line along v, and the weight of the gradient there: coefficient / divisor."""

    coordinates: NDArray[np.int64]
    values: NDArray[np.float64]
    coefficient: float
    divisor: float

    def point(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """The point as a dense array."""
        y = x.copy()
        y[self.coordinates] = self.values
        return y

    def halved(self, x: NDArray[np.float64]) -> _Base:
        """The point half as far from x, with the weight that belongs to it there."""
        at = x[self.coordinates]
        return replace(self, values=at + (self.values - at) / 2, divisor=self.divisor / 2)


@dataclass(frozen=True, eq=False)
class HessianVector(Checkable):
    """The Hessian of a J with one output, times v: (d,), 0 at coordinates that do not move.

    Parameters
    ----------
    site : Site
    v : (d,) ndarray
    t : float
            Step along v.
    h : (d,) ndarray
        Signed steps of the coordinates.
    scale : (d,) ndarray, optional
        Typical sizes of the coordinates, by which the entries are compared.
    stencil : Stencil
        Of second order: the sides of x on which the points are.
    far : HessianVector, optional
        The product at twice the distance. Then this one has its points at half the distance, on the same sides of x.
    """

    site: BasePoint
    v: NDArray[np.float64]
    t: float
    h: NDArray[np.float64]
    scale: NDArray[np.float64] | None = None
    stencil: Stencil = SECOND
    far: HessianVector | None = None

    def advance(self, waves: Sequence[Wave]) -> Request | Answer:
        """One request (or, where v has many entries, one for each gradient), then the answer."""
        requests = self.requests
        if len(waves) < len(requests):
            return requests[len(waves)]
        values = np.concatenate([wave.values for wave in waves])
        moving, d = self.site.moving, len(self.site.x)
        derivative, step = np.zeros(d), np.zeros(d)
        texts: tuple[str, ...] = ()
        if self.moves:
            derivative[moving] = assemble(self.terms, values, values[0])[:, 0]
            step[moving] = self.step
            if (values == values[0]).all():
                texts = () if hides_nothing(waves) else no_movement_warnings(self.site.label, moving, 0.0)
            else:
                texts = self._doubts(derivative[moving], float(np.abs(values[0, 0])))
        missing = np.flatnonzero(~np.isfinite(derivative))
        derivative[missing] = np.nan
        return Answer(derivative, values[0], step, missing, warnings=texts, scheme=self.stencil.name)

    @property
    def moves(self) -> bool:
        """Whether v moves any coordinate."""
        return bool(self._bases)

    @property
    def step(self) -> NDArray[np.float64]:
        """Realised steps of the coordinates that move, (a,), as J reads them."""
        read = 1.0 if self.site.written is None else self._moves[0][1][:, 0] / self._placed[0][:, 0]
        return np.asarray(self._placed[1] * read)

    def halved(self) -> HessianVector:
        """The product at half the distance."""
        return replace(self, t=self.t / 2, h=self.h / 2, far=self)

    def _doubts(self, product: NDArray[np.float64], level: float) -> tuple[str, ...]:
        """Warnings where bounds leave so little room, for a coordinate or for v, that the product is mere rounding."""
        moving = self.site.moving
        shrunk = np.abs(self._placed[1]) < 0.999 * np.abs(self.h[moving])
        along = max(float(np.abs(base.values - self.site.x[base.coordinates]).max()) for base in self._bases)
        wanted = self.t * float(np.abs(self.v[moving]).max())
        shrunk |= along < 0.4 * wanted
        if self.scale is None or not shrunk.any():
            return ()
        sums = weight_sums((1.0, self.terms, 0))
        rounding = ROUNDED * EPS * level * (sums.absolute + np.abs(sums.total)) / 2
        usual = BEND * level / self.scale[moving] * float(np.abs(self.v[moving] / self.scale[moving]).max())
        tight = shrunk & (rounding > PART * np.maximum(np.abs(product), usual))
        room = np.minimum(np.abs(self._placed[1]), along)
        return tight_bounds_warnings(self.site.label, moving[tight], room[tight])

    def check_points(self, waves: Sequence[Wave]) -> CheckPoints | None:
        """The check's points, for the one request; None where each gradient has a request of its own."""
        if waves or len(self.requests) > 1 or not self._bases:
            return None
        step = np.zeros(len(self.site.x))
        step[self.site.moving] = self._placed[1]
        bases = [(base.point(self.site.x), base.coefficient / base.divisor) for base in self._bases]
        return beside_product(self.site, self.v, step, bases, self.terms)

    @cached_property
    def _bases(self) -> list[_Base]:
        """Where gradients are taken. Half of the room is for v; the coordinates move from there by the other half."""
        site = self.site
        if self.far is not None:
            return [base.halved(site.x) for base in self.far._bases]  # noqa: SLF001  # of the same class
        half = replace(site, lower=(site.x + site.lower) / 2, upper=(site.x + site.upper) / 2)
        # With one spacing of room, half of it is none: such a coordinate is not fixed, and its part would be lost.
        lost = np.flatnonzero((half.lower == half.upper) & (site.lower != site.upper) & (self.v != 0))
        check_offsets(np.zeros((len(lost), 1)), lambda a: site.label(int(lost[a])))
        rays = place_rays(half, self.v[None], np.array([self.t]), self.stencil, np.abs(self.h))
        return [base for ray in rays for base in _weighed(ray, site.x)]

    @cached_property
    def _placed(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Nominal offsets (a, 2) and steps (a,) that fit at every base."""
        if self.far is not None:
            offsets, step = self.far._placed  # noqa: SLF001  # of the same class
            return offsets / 2, step / 2
        site, moving = self.site, self.site.moving
        low, high = np.zeros(len(site.x)), np.zeros(len(site.x))
        for base in self._bases:
            moved = base.values - site.x[base.coordinates]
            low[base.coordinates] = np.minimum(low[base.coordinates], moved)
            high[base.coordinates] = np.maximum(high[base.coordinates], moved)
        lower, upper = np.minimum(site.x, site.lower - low), np.maximum(site.x, site.upper - high)
        x = site.x[moving]
        values, step = place(x, self.h[moving], self.stencil, lower[moving], upper[moving])
        check_offsets(values - x[:, None], lambda a: site.label(int(moving[a])))
        return values - x[:, None], step

    @cached_property
    def _one_sided(self) -> NDArray[np.bool_]:
        offsets = self._placed[0]
        return np.asarray((offsets[:, 0] > 0) == (offsets[:, 1] > 0))

    @cached_property
    def _moves(self) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
        """For each base: the values of coordinates there, (a, 2), and their displacements as J sees them."""
        site, moving = self.site, self.site.moving
        found = []
        for base in self._bases:
            at = replace(site, x=base.point(site.x))
            values = at.x[moving, None] + self._placed[0]
            values = np.clip(values, site.lower[moving, None], site.upper[moving, None])
            found.append((values, at.offsets(moving, values)))
            if site.written is not None:
                check_offsets(found[-1][1], lambda a: site.label(int(moving[a])))
        return found

    @cached_property
    def _needs_base(self) -> NDArray[np.bool_]:
        """Coordinates whose differences use J at the base itself: central ones with equal offsets do not."""
        uneven = self._one_sided.copy()
        if self.site.written is not None:
            for _, offsets in self._moves:
                uneven |= np.abs(offsets.sum(axis=1)) > _EVEN * np.abs(offsets[:, 1] - offsets[:, 0])
        return uneven

    @cached_property
    def requests(self) -> list[Request]:
        """One request for all points, x first, or one request for each gradient."""
        site, bases = self.site, self._bases
        if not bases:
            return [Request(dense_points([site.x]), 0)]
        per_base = [self._points(k) for k in range(len(bases))]
        if len(bases[0].coordinates) * sum(len(points) for points in per_base) <= _MOST_CHANGES:
            rebased = [_rebased(points, base, site.x) for points, base in zip(per_base, bases, strict=True)]
            return [Request(_joined([dense_points([site.x]), *rebased]), 0)]
        # The baseline goes with the first gradient, whose points are written against its own base.
        back = bases[0].coordinates
        origin = Points(per_base[0].x, np.array([0, len(back)]), back, site.x[back])
        return [Request(_joined([origin, per_base[0]]), 0), *(Request(points) for points in per_base[1:])]

    def _points(self, k: int) -> Points:
        """Base k itself, if a coordinate needs J there, then the nodes of each coordinate, against the base."""
        base, values, moving = self._bases[k], self._moves[k][0], self.site.moving
        alone = [0] if self._needs_base.any() else []
        indptr = np.concatenate((alone, np.arange(values.size + 1))).astype(np.int64)
        return Points(base.point(self.site.x), indptr, np.repeat(moving, 2), values.ravel())

    @property
    def terms(self) -> Terms:
        """The weights of J at all points of the requests, a row for each coordinate that moves."""
        a, needs_base = len(self.site.moving), self._needs_base
        alone = int(needs_base.any())
        parts = []
        for k, base in enumerate(self._bases):
            offsets = self._moves[k][1]
            start = 1 + k * (2 * a + alone)
            span = offsets[:, 1] - offsets[:, 0]
            central = np.stack((-np.ones(a), np.ones(a)), axis=1), np.stack((span, span), axis=1)
            weights = np.where(needs_base[:, None], coefficients(offsets), central[0])
            divisors = np.where(needs_base[:, None], offsets, central[1])
            point = start + alone + np.arange(2 * a)
            parts.append((np.repeat(np.arange(a), 2), point, weights.ravel(), divisors.ravel(), base))
            for column in (0, 1) if alone else ():
                rows = np.flatnonzero(needs_base)
                own = np.full(len(rows), start)
                parts.append((rows, own, -weights[rows, column], divisors[rows, column], base))
        row, point, coefficient, divisor = (
            np.concatenate(columns)
            for columns in zip(
                *((r, p, base.coefficient * c, base.divisor * v) for r, p, c, v, base in parts), strict=True
            )
        )
        return Terms(a, row, point, coefficient, divisor)


@dataclass(frozen=True, eq=False)
class FourthOrderProduct(Checkable):
    """The product at h and at 2 h, combined so that their common error of second order cancels: fourth order.

    Parameters
    ----------
    far : HessianVector
        The product at 2 h.
    """

    far: HessianVector

    def advance(self, waves: Sequence[Wave]) -> Request | Answer:
        """The requests of both products, then the answer."""
        near = self.far.halved() if self.far.moves else self.far
        cut = len(near.requests)
        if len(waves) < cut + len(self.far.requests):
            return (near.requests + self.far.requests)[len(waves)]
        one, two = near.advance(waves[:cut]), self.far.advance(waves[cut:])
        assert isinstance(one, Answer), "all of its waves are there"
        assert isinstance(two, Answer), "all of its waves are there"
        with np.errstate(over="ignore", invalid="ignore"):
            derivative = (4 * one.derivative - two.derivative) / 3
        missing = np.flatnonzero(~np.isfinite(derivative))
        derivative[missing] = np.nan
        return replace(one, derivative=derivative, missing=missing, scheme="central4")

    def check_points(self, waves: Sequence[Wave]) -> CheckPoints | None:
        """The check's points of the product at h, for the last request."""
        near = self.far.halved() if self.far.moves else self.far
        if len(near.requests) > 1 or len(waves) != 1:
            return None
        return near.check_points(())


def _weighed(ray: Ray, x: NDArray[np.float64]) -> list[_Base]:
    """The bases along one part of v: its two nodes, and also x where both nodes are on one side."""
    o, at = ray.offsets, ray.coordinates
    if (o[0] < 0) != (o[1] < 0):
        span = float(o[1] - o[0])
        return [_Base(at, ray.values[1], 1.0, span), _Base(at, ray.values[0], -1.0, span)]
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):  # values that overflow count as missing
        c = coefficients(o)
        rest = -float(c[0] / o[0] + c[1] / o[1])
    nodes = [_Base(at, ray.values[k], float(c[k]), float(o[k])) for k in (0, 1)]
    return [*nodes, _Base(at, x[at], rest, 1.0)]


def _rebased(points: Points, base: _Base, x: NDArray[np.float64]) -> Points:
    """Points written against the base, rewritten against x: each gets the base's changes, except those it undoes."""
    s, n = len(base.coordinates), len(points)
    counts = np.diff(points.indptr)
    own = np.full(len(x), -1)
    own[base.coordinates] = np.arange(s)
    values = np.tile(base.values, (n, 1))
    point = np.repeat(np.arange(n), counts)
    inside = own[points.indices] >= 0
    values[point[inside], own[points.indices[inside]]] = points.values[inside]
    extra = np.bincount(point[~inside], minlength=n)
    indptr = np.concatenate(([0], np.cumsum(s + extra)))
    indices, flat = np.empty(indptr[-1], dtype=np.int64), np.empty(indptr[-1])
    along = (indptr[:-1, None] + np.arange(s)).ravel()
    indices[along], flat[along] = np.tile(base.coordinates, n), values.ravel()
    last = indptr[1:][point[~inside]] - 1  # a point has at most one change besides those of the base
    indices[last], flat[last] = points.indices[~inside], points.values[~inside]
    return Points(x, indptr, indices, flat)


def _joined(parts: Sequence[Points]) -> Points:
    """Joins points that are all written against the same x into one sequence."""
    starts = np.cumsum([0, *(part.indptr[-1] for part in parts)])
    indptr = np.concatenate([[0], *(part.indptr[1:] + start for part, start in zip(parts, starts, strict=False))])
    return Points(
        parts[0].x,
        indptr.astype(np.int64),
        np.concatenate([part.indices for part in parts]),
        np.concatenate([part.values for part in parts]),
    )
