"""Hessian-vector products with steps from the noise, and an error for each entry."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from distfd.differentiation.assemble import assemble
from distfd.differentiation.diagnostics import noise_warnings, rough_warnings
from distfd.differentiation.direction_stencils import lengths
from distfd.differentiation.hessian_vector import HessianVector
from distfd.differentiation.method import Answer, Course, Request
from distfd.differentiation.noisy_hessian import supposed_noise
from distfd.differentiation.probe_refinement import CAP
from distfd.differentiation.scale_search import scaled_survey
from distfd.differentiation.second_differences import SECOND
from distfd.differentiation.second_slopes import (
    OUTWARD,
    SecondSlopes,
    at_two_distances,
    misplaced,
    nothing_seen,
    rough_rows,
)
from distfd.differentiation.slope_comparison import second_difference_warnings

if TYPE_CHECKING:
    from collections.abc import Generator

    from numpy.typing import NDArray

    from distfd.differentiation.base_point import BasePoint
    from distfd.differentiation.method import MultiRound, Wave
    from distfd.differentiation.noise_survey import Survey
    from distfd.differentiation.stencils import Stencil

    Floats = NDArray[np.float64]

ROUNDS = 2
"""Largest number of distances that are tried."""


@dataclass(frozen=True, eq=False)
class NoisyProduct(Course[Answer]):
    """The Hessian of a J with one output, times v, with error bars.

    First the lines of `noise_survey`. Then gradients along v at a distance and at twice that, which show noise and
    truncation of the product; again at a better distance where these are too large.

    Parameters
    ----------
    site : Site
    v : (d,) ndarray
    scale : (d,) ndarray
        Typical sizes; no point is farther from x than a tenth of them, along v and along a coordinate. The scale of a
        tiny coordinate is searched for.
    noise : float, optional
        The standard deviation of the noise, where the user knows it.
    steps : (float, (d,) ndarray), optional
        Steps along v and of the coordinates, to be used unchanged; the method then only adds the error bars.
    stencil : Stencil
        A second-order stencil: the sides of x on which the points are.
    """

    site: BasePoint
    v: Floats
    scale: Floats
    noise: float | None = None
    steps: tuple[float, Floats] | None = None
    stencil: Stencil = SECOND

    def _course(self) -> MultiRound:
        """Requests for the lines and for the products, in one round or two; then the answer."""
        lines = yield from scaled_survey(self.site, self.scale, vector=False, given=self.noise)
        return (yield from replace(self, scale=lines.scale).products(lines.found))

    def products(self, found: Survey) -> MultiRound:
        """What follows the lines: the products at one or two distances, and the answer."""
        moving = self.site.moving
        a = len(moving)
        best = nothing_seen(a)
        size = min(OUTWARD * float(found.level[0] / found.variation[0]) ** 0.25, CAP / 2)
        step = np.zeros(a)
        singles: dict[tuple[int, float], float] = {}
        for _ in range(ROUNDS if self.steps is None else 1):
            near = self._placed(size)
            if near is None:
                best = SecondSlopes(np.zeros(a), np.zeros(a), np.ones(a), np.zeros(a))
                break
            seen = yield from self._looked_at(near, found, singles)
            better = best.better(seen)
            step = np.where((better.bar != best.bar) & np.isfinite(better.bar), near.step, step)
            best = better
            moved = min(size * float(np.median(seen.factor)), CAP / 2)
            if not misplaced(np.array([moved / size])).any():
                break
            size = moved
        return self._answer(found, best, step, singles)

    def _placed(self, size: float) -> HessianVector | None:
        """The product with this part of the typical sizes as its step; None where v moves nothing."""
        x = self.site.x
        t, h = float(lengths(self.v[None], self.scale)[0]) * size, self.scale * size
        t, h = (t, h) if self.steps is None else self.steps
        h = np.copysign(np.maximum(np.abs(h), 64 * np.spacing(np.abs(x))), np.where(x >= 0, 1.0, -1.0))
        far = HessianVector(self.site, self.v, 2 * t, 2 * h, self.scale, self.stencil)
        return far.halved() if far.moves else None

    def _looked_at(
        self, near: HessianVector, found: Survey, singles: dict[tuple[int, float], float]
    ) -> Generator[Request, Wave, SecondSlopes]:
        far = near.far
        assert far is not None, "made from it"
        parts, starts = [], []
        for product in (near, far):
            column = [found.baseline[:, None]]
            for k, request in enumerate(product.requests):
                own = np.arange(0 if k else 1, len(request.points))
                points = request.points.take(own)
                values = (yield Request(points, None, outputs=1)).values
                column.append(values)
                alone = np.flatnonzero(np.diff(points.indptr) == 1)
                at = points.indptr[alone]
                where = zip(points.indices[at].tolist(), points.values[at].tolist(), strict=True)
                singles.update(zip(where, values[alone, 0].tolist(), strict=True))
            values = np.concatenate(column)
            starts.append(len(values))
            parts.append(assemble(product.terms, values, values[0])[:, 0])
        return at_two_distances(parts[0], parts[1], near.terms, far.terms, starts[0], supposed_noise(found))

    def _answer(
        self, found: Survey, best: SecondSlopes, step: Floats, singles: dict[tuple[int, float], float]
    ) -> Answer:
        site, moving = self.site, self.site.moving
        level = float(found.noise.level[0])
        derivative, error, steps = np.zeros((3, len(site.x)))
        derivative[moving], steps[moving] = best.value, step
        error[moving] = np.where(np.isfinite(level) | (best.bar == 0), best.bar, np.nan)
        missing = np.flatnonzero(np.isnan(derivative))
        reach = self.scale[moving] * float(lengths(self.v[None], self.scale)[0])
        rough = rough_rows(best, reach, float(found.variation[0]))
        told = np.abs(best.value) > best.bar
        none = np.zeros(0, dtype=np.int64) if told.any() else np.arange(len(moving))
        return Answer(
            derivative,
            found.baseline,
            steps,
            missing,
            error=error,
            # Many entries of a product may well be 0. A warning is worthwhile only if none can be told from 0.
            warnings=noise_warnings(site.label, moving[none], best.value[none, None], best.bar[none, None])
            + (found.unknown(site) if len(moving) else ())
            + second_difference_warnings(site, found, singles)
            + rough_warnings(site.label, moving[rough]),
            noise=level if np.isfinite(level) else None,
            scheme="auto" if self.steps is None else "richardson",
        )
