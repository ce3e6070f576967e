"""Hessians with steps from the noise, and an error for each entry."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from distfd.core.points import Points, join_points
from distfd.differentiation.assemble import assemble
from distfd.differentiation.diagnostics import noise_warnings, rough_warnings, unexpected_diagonal_warnings
from distfd.differentiation.hessian import missing_rows
from distfd.differentiation.method import Answer, Course, Request
from distfd.differentiation.probe_refinement import CAP
from distfd.differentiation.scale_search import scaled_survey
from distfd.differentiation.second_differences import SECOND, place_differences, sides
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
    from distfd.differentiation.hessian_pattern import HessianPattern
    from distfd.differentiation.method import MultiRound, Wave
    from distfd.differentiation.noise import Noise
    from distfd.differentiation.noise_survey import Survey
    from distfd.differentiation.stencils import Stencil

    Floats = NDArray[np.float64]
    Numbers = NDArray[np.int64]

ROUNDS = 3
"""Largest number of rounds for the diagonal: the first, and two at other distances."""
_COARSE = 10.0
"""A pair is evaluated again if its truncation is this many times what better distances would leave."""


@dataclass(frozen=True, eq=False)
class NoisyHessian(Course[Answer]):
    """Second derivatives of a J with one output, with error bars.

    First the lines of `noise_survey`. Then each coordinate's own points at h and 2 h, which show noise and truncation
    of the diagonal; again at better steps where these are too large. Then the pairs at those steps; once more for pairs
    that are more curved than their coordinates.

    Parameters
    ----------
    site : Site
    pattern : HessianPattern
    scale : (d,) ndarray
        Typical sizes; no point is farther from x than a tenth of them. The scale of a tiny coordinate is searched for.
    stencil : Stencil
        The sides of x on which the points are.
    noise : float, optional
        The standard deviation of the noise, where the user knows it.
    h : (d,) ndarray, optional
        Signed steps to be used unchanged; the method then only adds the error bars.
    """

    site: BasePoint
    pattern: HessianPattern
    scale: Floats
    stencil: Stencil = SECOND
    noise: float | None = None
    h: Floats | None = None

    def _course(self) -> MultiRound:
        """Requests for the lines, the diagonal in up to three rounds, and the pairs in up to two; then the answer."""
        lines = yield from scaled_survey(self.site, self.scale, vector=False, given=self.noise)
        return (yield from replace(self, scale=lines.scale).differences(lines.found))

    def differences(self, found: Survey) -> MultiRound:
        """What follows the lines: the diagonal, the pairs, and the answer."""
        pattern = self.pattern
        a, n = len(pattern.moving), len(pattern.first)
        if not a:
            return self._answer(found, nothing_seen(0), nothing_seen(0), np.zeros(0), {})
        known: dict[tuple[int, float], float] = {}
        h = self._first(found)
        own, step = nothing_seen(a), h.copy()
        at = np.arange(a)
        for _ in range(1 if self.h is not None else ROUNDS):
            seen, _, placed = yield from self._looked_at(_alone(pattern, at), h[at], found, known)
            better = own.better(
                SecondSlopes(*(_spread(part, at, a) for part in (seen.value, seen.bar, seen.factor, seen.rough)))
            )
            taken = (better.bar != own.bar) & np.isfinite(better.bar)
            step = np.where(taken, _spread(placed, at, a), step)
            own = better
            wanted = self._within(_spread(np.abs(placed) * seen.factor, at, a))
            moved = wanted / np.abs(_spread(placed, at, a))
            at = np.flatnonzero(misplaced(np.nan_to_num(moved, nan=1.0)))
            h[at] = np.copysign(wanted[at], self._signs()[at])
            if not len(at):
                break
        mixed = nothing_seen(n)
        if n:
            _, mixed, _ = yield from self._looked_at(pattern, step, found, known)
            coarse = np.flatnonzero((mixed.factor < _COARSE**-0.5) & np.isfinite(mixed.value))
            if len(coarse) and self.h is None:
                part, nearer = _pairs(pattern, coarse), np.ones(a)
                for side in (pattern.first, pattern.second):
                    np.minimum.at(nearer, side[coarse], mixed.factor[coarse])
                rows = np.searchsorted(pattern.moving, part.moving)
                _, again, _ = yield from self._looked_at(part, (step * nearer)[rows], found, known)
                every = SecondSlopes(
                    *(_spread(p, coarse, n) for p in (again.value, again.bar, again.factor, again.rough))
                )
                mixed = mixed.better(every)
        return self._answer(found, own, mixed, step, known)

    def _signs(self) -> Floats:
        return np.where(self.site.x[self.pattern.moving] >= 0, 1.0, -1.0)

    def _first(self, found: Survey) -> Floats:
        moving = self.pattern.moving
        if self.h is not None:
            return self.h[moving].copy()
        size = OUTWARD * float(found.level[0] / found.variation[0]) ** 0.25 * self.scale[moving]
        return np.asarray(self._within(size) * self._signs())

    def _within(self, size: Floats) -> Floats:
        """Steps > 0 limited so that no point is farther than `CAP`, and every point differs from x."""
        x, scale = self.site.x[self.pattern.moving], self.scale[self.pattern.moving]
        return np.asarray(np.maximum(np.minimum(size, CAP / 2 * scale), 64 * np.spacing(np.abs(x))))

    def _looked_at(
        self, pattern: HessianPattern, h: Floats, found: Survey, known: dict[tuple[int, float], float]
    ) -> Generator[Request, Wave, tuple[SecondSlopes, SecondSlopes, Floats]]:
        """What J at h and 2 h shows of a pattern's diagonal and pairs, and the steps that bounds allowed."""
        far = place_differences(self.site, pattern, 2 * h, sides(self.stencil))
        near = far.halved()
        grids = near, far
        singles = [(int(k), float(v)) for g in grids for k, v in zip(g.singles.indices, g.singles.values, strict=True)]
        new = list(dict.fromkeys(one for one in singles if one not in known))
        own = Points(self.site.x, np.arange(len(new) + 1), *_columns(new))
        doubles = [grid.doubles for grid in grids]
        wave = yield Request(join_points([own, *doubles]), None, outputs=1)
        values = wave.values[:, 0]
        known.update(zip(new, values[: len(new)].tolist(), strict=True))
        alone = np.array([known[one] for one in singles])
        ends = np.cumsum([len(new), len(doubles[0]), len(doubles[1])])
        cut = len(near.singles.indices)
        parts = []
        for k, (grid, mine) in enumerate(zip(grids, (alone[:cut], alone[cut:]), strict=True)):
            column = np.concatenate((found.baseline, mine, values[ends[k] : ends[k + 1]]))
            parts.append(assemble(grid.terms, column[:, None], found.baseline)[:, 0])
        shift = 1 + cut + len(doubles[0])
        slopes = at_two_distances(parts[0], parts[1], near.terms, far.terms, shift, supposed_noise(found))
        a = len(pattern.moving)
        split = [
            SecondSlopes(slopes.value[part], slopes.bar[part], slopes.factor[part], slopes.rough[part])
            for part in (slice(None, a), slice(a, None))
        ]
        return split[0], split[1], near.step

    def _answer(
        self,
        found: Survey,
        own: SecondSlopes,
        mixed: SecondSlopes,
        step: Floats,
        known: dict[tuple[int, float], float],
    ) -> Answer:
        pattern, site = self.pattern, self.site
        level = float(found.noise.level[0])
        bars = [np.where(np.isfinite(level), part.bar, np.nan) for part in (own, mixed)]
        steps = np.zeros(len(site.x))
        steps[pattern.moving] = step
        lost = _lost(pattern, own, mixed)
        rough = rough_rows(own, self.scale[pattern.moving] ** 2, float(found.variation[0]))
        absent = pattern.moving[~pattern.diagonal & (np.abs(own.value) > 2 * bars[0])]
        return Answer(
            pattern.filled(own.value, mixed.value),
            found.baseline,
            steps,
            missing_rows(pattern, own.value, mixed.value),
            error=pattern.filled(*bars),
            warnings=noise_warnings(site.label, pattern.moving[lost], own.value[lost][:, None], own.bar[lost][:, None])
            + unexpected_diagonal_warnings(site.label, absent)
            + (found.unknown(site) if len(own.value) else ())
            + second_difference_warnings(site, found, known)
            + rough_warnings(site.label, pattern.moving[rough]),
            noise=level if np.isfinite(level) else None,
            scheme="auto" if self.h is None else "richardson",
        )


def supposed_noise(found: Survey) -> Noise:
    """The noise by which steps are chosen: the measured one, or that of rounding where it is not known."""
    return replace(found.noise, level=found.level)


def _spread(part: Floats, at: Numbers, n: int) -> Floats:
    whole = np.full(n, np.nan)
    whole[at] = part
    return whole


def _columns(singles: list[tuple[int, float]]) -> tuple[Numbers, Floats]:
    return np.array([k for k, _ in singles], dtype=np.int64), np.array([v for _, v in singles], dtype=np.float64)


def _alone(pattern: HessianPattern, at: Numbers) -> HessianPattern:
    """A pattern of these coordinates' diagonal entries, without pairs."""
    none = np.zeros(0, dtype=np.int64)
    return replace(pattern, moving=pattern.moving[at], diagonal=pattern.diagonal[at], first=none, second=none)


def _pairs(pattern: HessianPattern, at: Numbers) -> HessianPattern:
    """A pattern of these pairs, and the coordinates in them."""
    first, second = pattern.first[at], pattern.second[at]
    used = np.unique(np.concatenate((first, second)))
    first, second = np.searchsorted(used, first), np.searchsorted(used, second)
    return replace(_alone(pattern, used), first=first, second=second)


def _lost(pattern: HessianPattern, own: SecondSlopes, mixed: SecondSlopes) -> NDArray[np.bool_]:
    """Coordinates, (a,), none of whose entries can be told from 0."""
    with np.errstate(invalid="ignore"):
        told = np.abs(own.value) > own.bar
        for side in (pattern.first, pattern.second):
            np.logical_or.at(told, side, np.abs(mixed.value) > mixed.bar)
    return ~told
