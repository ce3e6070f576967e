"""``step="auto"``: read the noise, probe each coordinate where it allows, and give every slope an error bar."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from distfd.differentiation.method import follow
from distfd.differentiation.probe_refinement import refine
from distfd.differentiation.scale_agreement import disagreement, slope_warning
from distfd.differentiation.scale_search import scaled_survey

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from distfd.differentiation.base_point import BasePoint
    from distfd.differentiation.method import Answer, MultiRound, Request, Wave
    from distfd.differentiation.probe_pairs import Slopes

    Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class AutoStep:
    """Gradient, or Jacobian where ``vector``, with steps from the noise.

    Parameters
    ----------
    site : Site
    scale : (d,) ndarray
        Typical sizes; no probe is farther from x than a tenth of them. That of a tiny coordinate is looked for.
    vector : bool
    noise : float, optional
        The standard deviation of the noise, where the user knows it.
    reserve : int
        Evaluations that are left to repairs; see `probe_refinement.refine`.
    """

    site: BasePoint
    scale: Floats
    vector: bool = False
    noise: float | None = None
    reserve: int = 0

    def advance(self, waves: Sequence[Wave]) -> Request | Answer:
        """Two lines, a pair for each coordinate, and up to three rounds for those that are in doubt."""
        return follow(self._course(), waves)

    def _course(self) -> MultiRound:
        site, moving = self.site, self.site.moving
        lines = yield from scaled_survey(site, self.scale, vector=self.vector, given=self.noise)
        found, scale, spent = lines.found, lines.scale, lines.evaluations
        if not len(moving):
            return found.unmoved(site, vector=self.vector)
        search, slopes = yield from refine(
            site, moving, scale, found, vector=self.vector, spent=spent, reserve=self.reserve
        )
        value, bar, size = best(slopes)
        # A line lies on one side of a kink, where J's slope is not the mean of both; the kink itself is told.
        smooth = () if search.kinked().any() else found.lines
        other = disagreement(smooth, found.noise, moving, value, bar)
        texts: tuple[str, ...] = ()
        if other is not None:
            bar, texts = bar + other.widening(moving), (slope_warning(other),)
        answer = found.answer(site, moving, value, bar, size, vector=self.vector)
        return replace(answer, warnings=answer.warnings + texts + search.doubts(), scheme="auto", scale=scale)


def best(slopes: Slopes) -> tuple[Floats, Floats, Floats]:
    """For each coordinate and output the slope with the smallest bar, that bar, and the coordinate's step.

    The bar is its noise and its truncation, and a part of what noise adds to the latter: a truncation that was read
    off noisy values comes out too small as often as too large.
    """
    bars = slopes.noise + slopes.truncation
    formula = np.where(np.isfinite(bars) & np.isfinite(slopes.value), bars, np.inf).argmin(axis=0)
    taken = slopes.take(formula)
    return taken.value[0], (taken.noise + taken.truncation + 0.3 * taken.doubt)[0], taken.size[0]
