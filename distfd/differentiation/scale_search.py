"""Finds the scale of tiny coordinates: J may change over distances of abs(x), or of 1.

Where x is 1e-9, a parameter may have the natural size 1e-9 (a permeability, a rate), or the size 1 with a value that
happens to be near 0. A line of points at the wrong one of the two scales sees no change of J, or only values far
outside J's sensible range. So lines use the smaller size, and one further point a tiny coordinate decides: if J changes
over a tenth of x so much that it would change by a thousand times itself over 1, then x is the scale. If J changes by
less, a second point shows whether the change is linear.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from distfd.core.points import Points, join_points, single_points
from distfd.core.records import Status
from distfd.differentiation.evaluation_budget import Budget
from distfd.differentiation.method import Answer, Course, Request
from distfd.differentiation.noise import UNKNOWN
from distfd.differentiation.noise_survey import Survey, open_survey, survey
from distfd.differentiation.steps import own_sizes

if TYPE_CHECKING:
    from collections.abc import Generator

    from numpy.typing import NDArray

    from distfd.differentiation.base_point import BasePoint
    from distfd.differentiation.method import MultiRound, Wave

    Floats = NDArray[np.float64]

_TINY = 1e-2
"""A coordinate is tiny if its own size is below this part of its default scale; otherwise both scales will do."""
_NEAR = 0.1
"""Distance of the deciding point, as a part of the coordinate's own size."""
_SEEN = 8.0
"""A change of J is real if it is more than this many noise levels."""
_STEEP = 1e3
"""If J would change by more than this many times its own size over a scale, the scale is too large."""
_BENT = 0.5
"""A change is nonlinear if it differs from the linear prediction by this part."""
_STILL = 1e-5
"""J counts as constant over a coordinate's own size if it changes by less than this part of itself."""


@dataclass(frozen=True, eq=False)
class ScaledSurvey:
    """The result of the lines, and the scale that they have.

    Attributes
    ----------
    found : Survey
        The survey; its ``extra`` are the values of the caller's points.
    scale : (d,) ndarray
        The typical size of each coordinate, as it was given or found.
    """

    found: Survey
    scale: Floats


def safe_sizes(site: BasePoint, scale: Floats, part: float = _TINY) -> Floats:
    """Each coordinate's scale, (d,); a tiny coordinate with the default scale max(1, abs(x)) gets its own size.

    A coordinate is tiny if its own size is below ``part`` of the default scale.
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

    It takes one or two further evaluations for each tiny coordinate, and new lines if any of them has the default
    scale. In all, these are at most 37 plus 2 for each tiny coordinate, as lines are repeated at one of the scales
    only.
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
    if early:  # the noise is not known, so no change of J is known to be real
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
        # J's variation, and noise that is the same at near points, must be measured at the scale that was found.
        earlier = opened.noise
        opened = yield from open_survey(site, chosen, vector=vector, budget=budget, given=given, baseline=baseline)
        if early and UNKNOWN in opened.noise.status:
            opened = replace(opened, noise=earlier)
    if not early:
        opened = yield from opened.repeated(budget)
    return ScaledSurvey(replace(opened.found(), extra=others), chosen)


@dataclass(frozen=True, eq=False)
class ScaleSearch(Course[Answer]):
    """A method that finds the typical sizes of the coordinates only: the answer's ``scale``.

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

    def _course(self) -> MultiRound:
        """The lines for the noise, one or two points for each tiny coordinate, then the answer."""
        lines = yield from scaled_survey(self.site, self.scale, vector=self.vector)
        nothing = np.zeros(len(self.site.x))
        return Answer(nothing, lines.found.baseline, nothing, np.empty(0, dtype=np.int64), scale=lines.scale)


def line_survey(site: BasePoint, scale: Floats, *, vector: bool) -> Generator[Request, Wave, Survey]:
    """As `survey`, for the noise alone: at the safe sizes, and at the default scale if J does not change there."""
    safe = safe_sizes(site, scale)
    found = yield from survey(site, safe, vector=vector)
    tiny = np.count_nonzero(safe < scale)
    if tiny and tiny == len(site.moving) and (found.variation <= _STILL * np.abs(found.baseline)).all():
        found = yield from survey(site, scale, vector=vector)
    return found


def _beside(site: BasePoint, rows: NDArray[np.int64], distance: Floats) -> tuple[Points, Floats]:
    """A point beside x along each coordinate, away from 0 if bounds allow, and its displacement as J sees it."""
    x, low, high = site.x[rows], site.lower[rows], site.upper[rows]
    side = np.where(x >= 0, 1.0, -1.0)
    with np.errstate(over="ignore"):
        room = np.where(side > 0, high - x, x - low)
        other = np.where(side > 0, x - low, high - x)
    side = np.where((room < distance) & (other > room), -side, side)
    values = np.clip(x + side * np.minimum(distance, np.maximum(room, other)), low, high)
    offsets = site.offsets(rows, values[:, None])[:, 0]
    return single_points(site.x, rows, values), offsets
