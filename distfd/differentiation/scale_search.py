"""The scale of coordinates that are tiny: whether J changes over x itself, or over 1 as it does elsewhere.

Where x is 1e-9, a parameter may be one whose natural size is 1e-9 (a permeability, a rate), or one of size 1 that
happens to be next to 0. A line of points that takes the one for the other sees either nothing of J or nothing but its
ruins. So lines keep to the smaller size, and one point a tiny coordinate tells which it is: a J that changes so much
over a tenth of x that it would change a thousand times by itself over 1 has the scale of x. Where it changes by less, a
second point tells whether it goes on in a straight line.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from distfd.core.points import Points, join_points, single_points
from distfd.core.records import Status
from distfd.differentiation.evaluation_budget import Budget
from distfd.differentiation.method import Answer, Request, follow
from distfd.differentiation.noise import UNKNOWN
from distfd.differentiation.noise_survey import Survey, open_survey, survey
from distfd.differentiation.steps import own_sizes

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from numpy.typing import NDArray

    from distfd.differentiation.base_point import BasePoint
    from distfd.differentiation.method import MultiRound, Wave

    Floats = NDArray[np.float64]

_TINY = 1e-2
"""A coordinate whose own size is below this part of its default scale is tiny; above, either will do."""
_NEAR = 0.1
"""Where the point is that tells: at this part of the coordinate's own size."""
_SEEN = 8.0
"""A change of so many noise levels is one."""
_STEEP = 1e3
"""J does not change by so many times its own size over a scale that suits it."""
_BENT = 0.5
"""A change that is off by this part from what a straight line says."""
_STILL = 1e-5
"""J is as good as constant over a coordinate's own size where it changes by less than this part of itself."""


@dataclass(frozen=True, eq=False)
class ScaledSurvey:
    """What the lines said, and at which scale.

    Attributes
    ----------
    found : Survey
        Its ``extra`` is what the caller asked for.
    scale : (d,) ndarray
        The typical size of each coordinate, as it was given or found.
    """

    found: Survey
    scale: Floats


def safe_sizes(site: BasePoint, scale: Floats, part: float = _TINY) -> Floats:
    """Each coordinate's scale, and where that is but the default max(1, abs(x)) of a tiny one, its own size: (d,).

    A coordinate is tiny whose own size is below ``part`` of the default one.
    """
    own = own_sizes(site.x, site.lower, site.upper)
    tiny = (scale == np.maximum(1.0, np.abs(site.x))) & (own < part * scale) & (site.lower < site.upper)
    return np.where(tiny, own, scale)


def scaled_survey(
    site: BasePoint,
    scale: Floats,
    *,
    vector: bool,
    given: float | None = None,
    extra: Points | None = None,
    budget: Budget | None = None,
) -> Generator[Request, Wave, ScaledSurvey]:
    """As `survey`, at the scale that tiny coordinates turn out to have.

    It takes one evaluation or two more for each of these, and new lines where any of them has the default scale: 37 and
    2 for each tiny coordinate at most, as lines are repeated at one of the scales alone.
    """
    budget = Budget() if budget is None else budget
    safe = safe_sizes(site, scale)
    tiny = np.flatnonzero(safe < scale)
    if not len(tiny):
        found = yield from survey(site, scale, vector=vector, given=given, extra=extra, budget=budget)
        return ScaledSurvey(found, scale)
    points, offsets = _beside(site, tiny, _NEAR * safe[tiny])
    parts = points if extra is None else join_points([points, extra])
    opened = yield from open_survey(site, safe, vector=vector, budget=budget, given=given, extra=parts)
    early = opened.failed
    if early:  # nothing is known of the noise, and so of what moves J
        opened = yield from opened.repeated(budget)
    baseline, level = opened.baseline, opened.found().level
    rises, others = opened.extra[: len(tiny)] - baseline, opened.extra[len(tiny) :]
    with np.errstate(all="ignore"):
        size = np.maximum(np.abs(baseline), np.abs(rises + baseline))
        seen = np.abs(rises) > _SEEN * level
        times = scale[tiny] / np.abs(offsets)
        steep = ~np.isfinite(rises) | (seen & (np.abs(rises) * times[:, None] > _STEEP * size))
    small = np.asarray(steep.any(axis=1))
    doubtful = np.flatnonzero(~small & seen.any(axis=1))
    if len(doubtful):
        at = tiny[doubtful]
        points, further = _beside(site, at, _NEAR * np.sqrt(safe[at] * scale[at]))
        outputs = len(baseline) if vector else None
        wave = yield budget.spend(Request(points, None, vector, lenient=True, outputs=outputs))
        with np.errstate(all="ignore"):
            straight = rises[doubtful] * (further / offsets[doubtful])[:, None]
            allowed = _BENT * np.abs(straight) + _SEEN * level
            bent = ~(np.abs(wave.values - baseline - straight) <= allowed) & seen[doubtful]
        small[doubtful] = bent.any(axis=1) | (wave.status != Status.OK)
    chosen = scale.copy()
    chosen[tiny[small]] = safe[tiny[small]]
    if not small.all():
        # How much J varies, and noise that is alike at near points, are seen at the scale that it has.
        earlier = opened.noise
        opened = yield from open_survey(site, chosen, vector=vector, budget=budget, given=given, baseline=baseline)
        if early and UNKNOWN in opened.noise.status:
            opened = replace(opened, noise=earlier)
    if not early:
        opened = yield from opened.repeated(budget)
    return ScaledSurvey(replace(opened.found(), extra=others), chosen)


@dataclass(frozen=True, eq=False)
class ScaleSearch:
    """The typical sizes of the coordinates and nothing else: the answer's ``scale``.

    Parameters
    ----------
    site : BasePoint
    scale : (d,) ndarray
        Default or given sizes.
    vector : bool
    """

    site: BasePoint
    scale: Floats
    vector: bool = False

    def advance(self, waves: Sequence[Wave]) -> Request | Answer:
        """The lines of the noise, and a point or two for each tiny coordinate."""
        return follow(self._course(), waves)

    def _course(self) -> MultiRound:
        lines = yield from scaled_survey(self.site, self.scale, vector=self.vector)
        nothing = np.zeros(len(self.site.x))
        return Answer(nothing, lines.found.baseline, nothing, np.empty(0, dtype=np.int64), scale=lines.scale)


def line_survey(site: BasePoint, scale: Floats, *, vector: bool) -> Generator[Request, Wave, Survey]:
    """As `survey`, for the noise alone: at the safe scale, and at the other where J stands still over that."""
    safe = safe_sizes(site, scale)
    found = yield from survey(site, safe, vector=vector)
    tiny = np.count_nonzero(safe < scale)
    if tiny and tiny == len(site.moving) and (found.variation <= _STILL * np.abs(found.baseline)).all():
        found = yield from survey(site, scale, vector=vector)
    return found


def _beside(site: BasePoint, rows: NDArray[np.int64], distance: Floats) -> tuple[Points, Floats]:
    """A point beside x along each coordinate, away from 0 unless bounds are there, and how far J sees it."""
    x, low, high = site.x[rows], site.lower[rows], site.upper[rows]
    side = np.where(x >= 0, 1.0, -1.0)
    with np.errstate(over="ignore"):
        room = np.where(side > 0, high - x, x - low)
        other = np.where(side > 0, x - low, high - x)
    side = np.where((room < distance) & (other > room), -side, side)
    values = np.clip(x + side * np.minimum(distance, np.maximum(room, other)), low, high)
    offsets = site.offsets(rows, values[:, None])[:, 0]
    return single_points(site.x, rows, values), offsets
