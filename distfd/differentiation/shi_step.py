"""Chooses steps by bisection on a test ratio (Shi, Xie, Xuan & Nocedal, SIAM J. Sci. Comput. 44(4), 2022)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from distfd.core.points import single_points
from distfd.differentiation.method import Answer, Course, Request
from distfd.differentiation.probe_refinement import CAP
from distfd.differentiation.scale_search import scaled_survey

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from distfd.differentiation.base_point import BasePoint
    from distfd.differentiation.method import MultiRound

    Floats = NDArray[np.float64]

LEAST, MOST = 1.5, 6.0
"""Range wanted for the test ratio, that is, signal over noise in the test difference."""
ROUNDS = 8
"""Largest number of rounds. The search never ends where the derivative in the test is 0: the step is then the largest
allowed."""
_NODES = np.array([[1.0, 4.0, np.nan, np.nan], [1.0, -1.0, 3.0, -3.0]])
"""Nodes of the test difference in units of h: forward, then central."""
_TEST = np.array([[-4.0, 1.0, 0.0, 0.0], [-3.0, 3.0, 1.0, -1.0]])
_SLOPE = np.array([[1.0, 0.0, 0.0, 0.0], [0.5, -0.5, 0.0, 0.0]])
_GROWTH = np.array([4.0, 3.0])
_ERROR = np.array([1 / 12, 1 / 24])
"""Truncation of the slope, in units of the test difference over h: 6 h^2 J'' / 12 h and 4 h^3 J''' / 24 h."""


@dataclass(frozen=True, eq=False)
class ShiStep(Course[Answer]):
    """Forward or central differences, each coordinate's step bisected until its test ratio is between 1.5 and 6.

    The ratio is abs(J(x + 4h) - 4 J(x + h) + 3 J(x)) / 8 e for forward differences, and abs(J(x + 3h) - 3 J(x + h) + 3
    J(x - h) - J(x - 3h)) / 8 e for central ones, with e a bound of the noise. All coordinates share the rounds.

    Parameters
    ----------
    site : Site
    scale : (d,) ndarray
    central : bool
        Whether to use central differences; a coordinate too near a bound then takes forward ones, into the bounds.
    vector : bool
    noise : float, optional
        The standard deviation of the noise; measured where not given.
    """

    site: BasePoint
    scale: Floats
    central: bool = False
    vector: bool = False
    noise: float | None = None

    def _course(self) -> MultiRound:
        """The lines for the noise, up to 8 rounds of points, then the answer."""
        site, rows = self.site, self.site.moving
        lines = yield from scaled_survey(site, self.scale, vector=self.vector, given=self.noise)
        found, sizes = lines.found, lines.scale
        if not len(rows):
            return found.unmoved(site, vector=self.vector)
        x, noise, m = site.x[rows], found.noise, len(found.baseline)
        bound = noise.bound
        up, down = site.upper[rows] - x, x - site.lower[rows]
        # The literature starts from a step for a J that varies by 1 over a distance of 1; scale it to J's variation.
        ratio = float(np.median(np.fmax(bound, found.level) / found.variation))
        start = np.minimum((3 * ratio) ** (1 / 3), CAP) * sizes[rows]
        kind = np.where(self.central & (np.minimum(up, down) >= 3 * start), 1, 0)
        start = np.where(kind == 1, start, 2 / np.sqrt(3) * np.sqrt(ratio) * sizes[rows])
        room = np.where(kind == 1, np.minimum(up, down) / 3, np.maximum(up, down) / 4)
        most = np.minimum(CAP * sizes[rows], room)
        side = np.where((kind == 1) | (up >= down), 1.0, -1.0)
        search = _Bisection(np.minimum(start, most), most, _GROWTH[kind])
        test, rises = np.full((len(rows), m), np.nan), np.full((len(rows), 4, m), np.nan)
        offsets = np.full((len(rows), 4), np.nan)
        for _ in range(ROUNDS):
            at = np.flatnonzero(search.open)
            if not len(at):
                break
            moved = x[at, None] + (side * search.h)[at, None] * _NODES[kind[at]]
            moved = np.clip(moved, site.lower[rows[at], None], site.upper[rows[at], None])
            there = np.isfinite(_NODES[kind[at]])
            points = single_points(site.x, np.repeat(rows[at], there.sum(axis=1)), moved[there])
            wave = yield Request(points, None, self.vector, outputs=m if self.vector else None)
            new = np.zeros((len(at), 4, m))
            new[there] = wave.values - found.baseline
            seen = np.abs((_TEST[kind[at]][..., None] * new).sum(axis=1))
            with np.errstate(invalid="ignore", divide="ignore"):
                search.judge(at, np.median(seen / (8 * bound), axis=1))
            # Where a point has no value, keep what was seen before; values of some outputs are better than none.
            good = np.isfinite(seen).all(axis=1) | (np.isfinite(seen).any(axis=1) & np.isnan(offsets[at, 0]))
            kept = at[good]
            realised = site.offsets(rows[at], np.where(there, moved, x[at, None]))
            rises[kept], offsets[kept], test[kept] = new[good], realised[good], seen[good]
        # Differences are divided by the realised offset, as that is how far floating point moved x.
        first, second = offsets[:, 0], np.where(kind == 1, -offsets[:, 1], 0.0)
        h = np.where(kind == 1, (first + second) / 2, first)
        with np.errstate(invalid="ignore", divide="ignore"):
            weights = np.where(_SLOPE[kind] == 0, 0.0, _SLOPE[kind] / h[:, None])
            value = (_SLOPE[kind][..., None] * rises).sum(axis=1) / h[:, None]
            bar = noise.part(weights) + test * (_ERROR[kind] / np.abs(h))[:, None]
        answer = found.answer(site, rows, value, bar, h, vector=self.vector)
        return replace(answer, warnings=answer.warnings + found.no_change_warnings(site, rows, rises))


class _Bisection:
    """The state of the bisection: lower limit l, upper limit u and step h of each coordinate."""

    def __init__(self, start: Floats, most: Floats, growth: Floats) -> None:
        self.h, self.most, self.growth = start.copy(), most, growth
        self.low, self.high = np.zeros_like(start), np.full_like(start, np.inf)
        self.open = most > 0

    def judge(self, at: NDArray[np.int64], ratio: Floats) -> None:
        """Moves h by the test ratio; a ratio that is not a number means that the points were too far out."""
        above = (ratio > MOST) | ~np.isfinite(ratio)
        below = ratio < LEAST
        self.low[at[below]], self.high[at[above]] = self.h[at[below]], self.h[at[above]]
        low, high, h = self.low[at], self.high[at], self.h[at]
        between = np.where(np.isfinite(high), (low + high) / 2, h)
        moved = np.where(np.isinf(high), h * self.growth[at], np.where(low == 0, h / self.growth[at], between))
        moved = np.minimum(moved, self.most[at])
        settled = ~(above | below) | (moved == h)
        self.h[at] = np.where(settled, h, moved)
        self.open[at] = ~settled
