"""A method in few coordinates t, for a J of many: J(x + t_1 v_1 + ... + t_p v_p)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from distfd.core.describe import numbered
from distfd.core.points import dense_points
from distfd.differentiation.base_point import BasePoint
from distfd.differentiation.method import Answer, Request

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from distfd.core.points import Points
    from distfd.differentiation.method import Answer, Method, Wave

    Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Subspace:
    """A method of t, asked for points of x.

    Parameters
    ----------
    site : Site
        Of x, (d,).
    directions : (p, d) ndarray
    inner : Method
        A method at t = 0, (p,).
    """

    site: BasePoint
    directions: Floats
    inner: Method[Answer]

    def advance(self, waves: Sequence[Wave]) -> Request | Answer:
        """What the method of t says, with its points written as points of x."""
        seen: list[Wave] = []
        for wave in waves:
            asked = self.inner.advance(seen)
            assert isinstance(asked, Request)
            seen.append(replace(wave, request=asked))
        step = self.inner.advance(seen)
        return replace(step, points=self._points(step.points)) if isinstance(step, Request) else step

    def _points(self, points: Points) -> Points:
        rows = [self.site.x]
        for k in range(len(points)):
            moved = self.site.x + points.dense(k) @ self.directions
            rows.append(np.clip(moved, self.site.lower, self.site.upper))
        # The first is x itself, which the others are written against, and is not asked for again.
        return dense_points(rows).take(np.arange(1, len(rows)))


def random_directions(site: BasePoint, scale: Floats, count: int, seed: int = 0) -> Floats:
    """Directions (count, d) of length 1 against the scale, into the bounds; the same in every run.

    Parameters
    ----------
    site : Site
    scale : (d,) ndarray
    """
    rng = np.random.default_rng(seed)
    up, down = site.upper - site.x, site.x - site.lower
    reach = np.minimum(scale, np.maximum(up, down)) / np.sqrt(max(1, len(site.moving)))
    size = rng.uniform(0.5, 1.0, (count, len(site.x))) * rng.choice([-1.0, 1.0], (count, len(site.x)))
    # Where there is no room for a tenth of the reach on one side, all go to the other.
    ways = np.where(up < 0.1 * scale, -np.abs(size), np.where(down < 0.1 * scale, np.abs(size), size))
    ways = np.where((up < 0.1 * scale) & (down > up), -np.abs(size), ways)
    return np.where(site.lower == site.upper, 0.0, ways * reach)


def line_base_point(site: BasePoint, directions: Floats, label: Callable[[int], str] = numbered) -> BasePoint:
    """Where t may be, all of its p coordinates at once, so that x stays inside its bounds."""
    p = len(directions)
    up, down = site.upper - site.x, site.x - site.lower
    with np.errstate(divide="ignore", invalid="ignore"):
        ahead = np.where(directions > 0, up / directions, np.where(directions < 0, down / -directions, np.inf))
        behind = np.where(directions > 0, down / directions, np.where(directions < 0, up / -directions, np.inf))
    return BasePoint(np.zeros(p), -behind.min(axis=1) / p, ahead.min(axis=1) / p, label)
