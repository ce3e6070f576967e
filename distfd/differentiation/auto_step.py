"""``step="auto"``: read the noise, probe each coordinate where it allows, and give every slope an error bar."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from distfd.differentiation.method import follow
from distfd.differentiation.noise_survey import survey
from distfd.differentiation.probe_refinement import best, refine

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from distfd.differentiation.base_point import BasePoint
    from distfd.differentiation.method import Answer, MultiRound, Request, Wave

    Floats = NDArray[np.float64]


def most_evaluations(coordinates: int) -> int:
    """The most that `AutoStep` takes, J(x), lines that are repeated and repairs among them."""
    return 4 * coordinates + 38


@dataclass(frozen=True, eq=False)
class AutoStep:
    """Gradient, or Jacobian where ``vector``, with steps from the noise; never more than 4 d + 38 evaluations.

    Parameters
    ----------
    site : Site
    scale : (d,) ndarray
        Typical sizes; no probe is farther from x than a tenth of them.
    vector : bool
    noise : float, optional
        The standard deviation of the noise, where the user knows it.
    """

    site: BasePoint
    scale: Floats
    vector: bool = False
    noise: float | None = None

    def advance(self, waves: Sequence[Wave]) -> Request | Answer:
        """Two lines, a pair for each coordinate, and up to three rounds for those that are in doubt."""
        return follow(self._course(), waves)

    def _course(self) -> MultiRound:
        site, moving = self.site, self.site.moving
        found = yield from survey(site, self.scale, vector=self.vector, given=self.noise)
        if not len(moving):
            return found.unmoved(site, vector=self.vector)
        left = most_evaluations(len(moving)) - found.n_evaluations
        search, slopes = yield from refine(site, moving, self.scale, found, vector=self.vector, most=left)
        value, bar, size = best(slopes)
        bar, sided = search.with_kinks(bar), search.one_sided()
        answer = search.found.answer(site, moving, value, bar, size, vector=self.vector, one_sided=sided)
        return replace(answer, warnings=answer.warnings + search.doubts(), scheme="auto")
