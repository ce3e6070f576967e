"""``step="auto"``: measures the noise, chooses a step for each coordinate, and gives every slope an error bar."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from distfd.differentiation.evaluation_budget import Budget
from distfd.differentiation.method import Answer, Course
from distfd.differentiation.noise import ALIKE
from distfd.differentiation.probe_refinement import most_evaluations, refine
from distfd.differentiation.scale_search import scaled_survey
from distfd.differentiation.slope_comparison import compared

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from distfd.differentiation.base_point import BasePoint
    from distfd.differentiation.method import MultiRound
    from distfd.differentiation.noise_survey import Survey
    from distfd.differentiation.probe_pairs import Slopes

    Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class AutoStep(Course[Answer]):
    """Gradient, or Jacobian where ``vector``, with steps from the noise.

    Parameters
    ----------
    site : Site
    scale : (d,) ndarray
        Typical sizes; no probe is farther from x than a tenth of them. The scale of a tiny coordinate is searched for.
    vector : bool
    noise : float, optional
        The standard deviation of the noise, where the user knows it.
    repairs : bool
        Whether evaluations are reserved to repair coordinates along which J fails; see `probe_refinement.refine`.
    """

    site: BasePoint
    scale: Floats
    vector: bool = False
    noise: float | None = None
    repairs: bool = False

    def _course(self) -> MultiRound:
        """Two lines, a pair of points for each coordinate, and up to three rounds for doubtful coordinates."""
        site, moving = self.site, self.site.moving
        budget = Budget(most_evaluations(len(moving)), reserved=2 * len(moving))
        lines = yield from scaled_survey(site, self.scale, vector=self.vector, given=self.noise, budget=budget)
        found, scale = lines.found, lines.scale
        if not len(moving):
            return found.unmoved(site, vector=self.vector)
        search, slopes = yield from refine(
            site, moving, scale, found, vector=self.vector, budget=budget, repairs=self.repairs
        )
        value, bar, size = best(slopes)
        kinks = search.kinks()
        bar, texts = compared(site, found, value, bar, kinks=kinks, measured=self.noise is None)
        answer = found.answer(site, moving, value, bar, size, vector=self.vector)
        bent = np.zeros((len(site.x), kinks.shape[1]))
        bent[moving] = kinks
        return replace(
            answer,
            warnings=answer.warnings + texts + search.doubts(value, size),
            scheme="auto",
            scale=scale,
            kinks=bent.T if self.vector else bent[:, 0],
            typical_slope=_long_slopes(found),
            shortest_noise=_shortest_noise(found),
        )


def _long_slopes(found: Survey) -> Floats | None:
    """The range of J over the longest line, divided by the line's length in the scale of x, (m,)."""
    whole = [line for line in found.lines if np.isfinite(line.values).all() and line.reach > 0]
    if not whole:
        return None
    longest = max(whole, key=lambda line: line.reach)
    with np.errstate(over="ignore"):
        return np.asarray(np.ptp(longest.values, axis=0) / longest.reach)


def _shortest_noise(found: Survey) -> Floats | None:
    """The noise level over the shortest distances, (m,): what is noise to a long line may be waves to a short one.

    It is the level of all lines, but where the nearest line shows far less.
    """
    if not found.lines:
        return None
    nearest = min(found.lines, key=lambda line: line.spacing).roughness
    least = np.maximum(nearest, found.noise.quantum / np.sqrt(12))
    return np.where(ALIKE * least < found.noise.level, least, found.noise.level)


def best(slopes: Slopes) -> tuple[Floats, Floats, Floats]:
    """The slope with the smallest error bar for each coordinate and output, that bar, and each coordinate's step.

    The error bar is the sum of noise, truncation, and a part of the noise in the truncation: a truncation that was
    estimated from noisy values is too small as often as too large.
    """
    bars = slopes.noise + slopes.truncation
    formula = np.where(np.isfinite(bars) & np.isfinite(slopes.value), bars, np.inf).argmin(axis=0)
    taken = slopes.take(formula)
    return taken.value[0], (taken.noise + taken.truncation + 0.3 * taken.doubt)[0], taken.size[0]
