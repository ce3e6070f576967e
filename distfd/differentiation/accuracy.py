"""``accuracy``: forward differences first, then central ones for the coordinates whose error bar is too wide."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from distfd.core.points import single_points
from distfd.differentiation.auto_step import best
from distfd.differentiation.evaluation_budget import Budget
from distfd.differentiation.method import Answer, Course, Request
from distfd.differentiation.noise_survey import survey
from distfd.differentiation.placement import check_offsets, place
from distfd.differentiation.probe_refinement import CAP, most_evaluations, refine
from distfd.differentiation.scale_search import scaled_survey
from distfd.differentiation.slope_comparison import compared
from distfd.differentiation.stencils import SCHEMES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from distfd.differentiation.base_point import BasePoint
    from distfd.differentiation.method import MultiRound
    from distfd.differentiation.noise_survey import Survey
    from distfd.differentiation.probe_refinement import Search

    Floats = NDArray[np.float64]

FLOOR = 0.01
"""A component smaller than this part of the largest one (each times its scale) only needs the absolute accuracy of a
component of this size: the relative error of a component near 0 means nothing, and no search for a minimum needs it."""
_SAMPLE = 3
"""Number of coordinates that are refined in any case. They show how far the expected curvature of the others is
wrong."""
_SAFETY = 3.0
"""Factor: a coordinate that was not refined may be this many times more curved, against expectation, than any refined
one."""


@dataclass(frozen=True, eq=False)
class AccuracyUpgrade(Course[Answer]):
    """Gradient, or Jacobian where ``vector``, every component as accurate as wanted where the noise allows it.

    Forward differences come first. The error bar of each is its noise plus h/2 times its expected curvature. A
    coordinate whose bar is above ``accuracy`` times its component goes through the rounds of `AutoStep`. The curvature
    found there corrects the expected curvature of the other coordinates. The three worst coordinates go through these
    rounds in any case.

    Parameters
    ----------
    site : Site
    scale : (d,) ndarray
    accuracy : float
        The relative error that is wanted.
    h : (d,) ndarray, optional
        Signed forward steps; where None, 2 sqrt(noise / curvature).
    vector : bool
    noise : float, optional
        The standard deviation of the noise, where the user knows it.
    """

    site: BasePoint
    scale: Floats
    accuracy: float
    h: Floats | None = None
    vector: bool = False
    noise: float | None = None

    def _course(self) -> MultiRound:
        """Lines and forward differences, then the rounds of `probe_refinement` for some coordinates."""
        site, rows = self.site, self.site.moving
        if not len(rows):
            found = yield from survey(site, self.scale, vector=self.vector)
            return found.unmoved(site, vector=self.vector)
        budget = Budget(most_evaluations(len(rows)) + len(rows), reserved=(2 + (self.h is None)) * len(rows))
        if self.h is None:
            lines = yield from scaled_survey(site, self.scale, vector=self.vector, given=self.noise, budget=budget)
            found, scale = lines.found, lines.scale
            ratio = float(np.median(found.level / found.variation))
            size = np.minimum(2 * np.sqrt(ratio), CAP) * scale[rows]
            values, step = self._forward(np.maximum(size, 8 * np.spacing(np.abs(site.x[rows]))))
            outputs = len(found.baseline) if self.vector else None
            points = single_points(site.x, rows, values.ravel())
            budget.reserved -= len(rows)
            wave = yield budget.spend(Request(points, None, self.vector, outputs=outputs))
            there = wave.values
        else:
            values, step = self._forward(self.h[rows])
            extra = single_points(site.x, rows, values.ravel())
            lines = yield from scaled_survey(
                site, self.scale, vector=self.vector, given=self.noise, extra=extra, budget=budget
            )
            found, scale = lines.found, lines.scale
            there = found.extra
        offsets = site.offsets(rows, values)
        with np.errstate(over="ignore", invalid="ignore"):
            value = (there - found.baseline) / offsets
        curvature = self._expected(found, value, scale)
        bar = _bar(found, offsets, curvature)
        done = np.zeros(len(rows), dtype=bool)
        texts: tuple[str, ...] = ()
        kinks = np.zeros(value.shape)
        more = np.zeros(len(found.baseline))
        for _ in range(2):
            worst = np.argsort(-np.nan_to_num(self._excess(value, bar, scale[rows]), nan=np.inf), kind="stable")
            wanting = np.flatnonzero(~done & ~(self._excess(value, bar, scale[rows]) <= 1))
            sample = worst[: 0 if done.any() else _SAMPLE]
            at = np.union1d(wanting, sample)
            if not len(at):
                break
            search, slopes = yield from refine(site, rows[at], scale, found, vector=self.vector, budget=budget)
            value[at], bar[at], step[at] = best(slopes)
            done[at], kinks[at] = True, search.kinks()
            texts += search.doubts(value[at], step[at])
            rest = np.flatnonzero(~done)
            more = np.maximum(more, _more_curved(search, found, curvature[at]))
            bar[rest] = _bar(found, offsets[rest], curvature[rest] * more)
        bar, doubts = compared(site, found, value, bar, kinks=kinks, measured=self.noise is None)
        answer = found.answer(site, rows, value, bar, step, vector=self.vector)
        names = [name for name, some in (("forward", ~done), ("central", done)) if some.any()]
        return replace(
            answer, warnings=answer.warnings + doubts + texts, scheme=" and ".join(names) or "forward", scale=scale
        )

    def _forward(self, h: Floats) -> tuple[Floats, Floats]:
        site, rows = self.site, self.site.moving
        values, step = place(site.x[rows], h, SCHEMES["forward"], site.lower[rows], site.upper[rows])
        check_offsets(values - site.x[rows, None], lambda a: site.label(int(rows[a])))
        return values, step

    def _expected(self, found: Survey, value: Floats, scale: Floats) -> Floats:
        """The expected J'' of each coordinate, (a, m): over one scale, the slope changes by its own size."""
        scale = scale[self.site.moving, None]
        known = np.maximum(np.isfinite(value).sum(axis=0), 1)
        typical = np.sqrt(np.nansum((value * scale) ** 2, axis=0) / known) if len(value) else found.variation
        return np.asarray(np.maximum(np.maximum(found.variation, typical), np.abs(value) * scale) / scale**2)

    def _excess(self, value: Floats, bar: Floats, scale: Floats) -> Floats:
        """The error bar of each coordinate divided by the bar that is wanted, (a,); the largest over the outputs."""
        scale = scale[:, None]
        size = np.abs(value) * scale
        least = FLOOR * np.nan_to_num(size).max(axis=0) if len(size) else size
        with np.errstate(invalid="ignore", divide="ignore"):
            excess = bar * scale / (self.accuracy * np.maximum(size, least))
        # 0 / 0: the component is exactly 0 and its error bar is 0, so it is accurate enough.
        return np.asarray(np.where(bar == 0, 0.0, excess).max(axis=1))


def _bar(found: Survey, offsets: Floats, curvature: Floats) -> Floats:
    return found.noise.part(1 / offsets) + np.abs(offsets) / 2 * curvature


def _more_curved(search: Search, found: Survey, expected: Floats) -> Floats:
    """Upper bound on true curvature over expected curvature, (m,), from the coordinates that were refined."""
    seen, deviation = search.pairs.curvature(0, found.noise)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.nan_to_num(np.abs(seen) / np.maximum(expected, deviation))
    return np.asarray(_SAFETY * ratio.max(axis=0).clip(0.3))
