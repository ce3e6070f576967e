"""Refines one pair of points a coordinate to slopes with error bars, in few further rounds.

The distance of the first pair is chosen so that truncation should be well below noise. A pair five times as far then
shows the truncation of the first, and the next pair moves in or out accordingly. Where there are many coordinates, only
the most doubtful get a second pair; they show how far the expected truncation of the others can be trusted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from distfd.core.points import single_points
from distfd.differentiation.diagnostics import flat_part_warnings, kink_warnings
from distfd.differentiation.method import Request
from distfd.differentiation.placement import place
from distfd.differentiation.probe_pairs import ProbePairs, no_pairs
from distfd.differentiation.stencils import SCHEMES

if TYPE_CHECKING:
    from collections.abc import Generator

    from numpy.typing import NDArray

    from distfd.differentiation.base_point import BasePoint
    from distfd.differentiation.evaluation_budget import Budget
    from distfd.differentiation.method import Wave
    from distfd.differentiation.noise_survey import Survey
    from distfd.differentiation.probe_pairs import Slopes

    Floats = NDArray[np.float64]

CAP = 0.1
"""No point is farther from x than this part of a coordinate's scale."""
ROUNDS = 3
"""Largest number of rounds after the first pair."""


def most_evaluations(coordinates: int) -> int:
    """Upper bound of evaluations for `noise_survey.survey` plus refinement, baseline included."""
    return 4 * coordinates + 38


_LOOKS = 3
"""Number of coordinates that get a second pair at once: they show how far expected truncation can be trusted."""
_REPAIR = 6
"""Number of evaluations reserved for repairs, in addition to two for each coordinate along which J failed."""
_FIRST = 0.72
"""The first distance, in units of (noise / variation)^(1/3): half the distance at which truncation and noise are equal
if J''' is as large as J's variation. So J''' may be 64 times as large before truncation is twice the noise."""
_FAR = 5.0
"""Factor from one pair to a farther one: far enough to show a J''' that matters."""
_SHRINK = 2.0
"""A truncation of more than this many standard deviations of the noise calls for a nearer pair, ..."""
_AIM = 0.15
"""... at a distance where truncation should be this many."""
_DOUBTFUL = 0.7
"""An expected truncation of more than this many standard deviations calls for a second pair."""
_TRUE = 1.0
"""A truncation below this many of its own standard deviations is not significant: J''' is small, so go farther out."""
_BEYOND = 10.0
"""A change of J of more than this many noise levels is not noise."""
_WORTH = 1.5
"""A pair farther out is worthwhile only if it is farther by more than this factor."""


@dataclass(frozen=True, eq=False)
class Search:
    """The state of the search: coordinates, and the pairs that they have so far.

    Attributes
    ----------
    site : Site
    rows : (a,) ndarray of int
        The coordinates.
    scale, reach : (a,) ndarrays
        Typical sizes, and the largest distance allowed for a pair.
    found : Survey
    pairs : Pairs
    first : (a,) ndarray
        Distance of the first pair.
    tried : (a,) ndarray
        Distance of the latest pair, whether it has values or not.
    spare : Pairs
        The first pair of each coordinate, even if some outputs lack a value; used where a coordinate has no other pair.
    """

    site: BasePoint
    rows: NDArray[np.int64]
    scale: Floats
    reach: Floats
    found: Survey
    pairs: ProbePairs
    first: Floats
    tried: Floats
    spare: ProbePairs

    def expected(self) -> Floats:
        """The expected truncation of the first pair, (a, m), if J''' / J'' and J'' / J' have the same size.

        The coordinates together give the length over which J's slope changes, between a tenth of the scale and all of
        it.
        """
        slope, curvature, scale = *self._first_derivatives(), self.scale[:, None]
        bent = np.sqrt(np.mean((curvature * scale**2) ** 2, axis=0))
        length = np.clip(np.sqrt(np.mean((slope * scale) ** 2, axis=0)) / np.maximum(bent, 1e-300), 0.1, 1.0) * scale
        return np.asarray(np.maximum(curvature / length, slope / length**2) * self.first[:, None] ** 2 / 6)

    def doubts(self, value: Floats, size: Floats) -> tuple[str, ...]:
        """Warnings about coordinates along which J does not change, or not near x, or has a kink.

        Parameters
        ----------
        value : (a, m) ndarray
            The derivative.
        size : (a,) ndarray
            The distance of the pair that it is from.
        """
        pairs, site = self.pairs, self.site
        if not pairs.size.shape[1] or not len(self.rows):
            return ()
        rises = pairs.rises.reshape(len(self.rows), -1, pairs.rises.shape[-1])
        texts = self.found.no_change_warnings(site, self.rows, rises)
        texts += flat_part_warnings(
            site.label, self.rows[self.flat() & (value == 0).all(axis=1) & (size == pairs.size[:, 0])]
        )
        return texts + kink_warnings(site.label, self.rows[self.kinked()])

    def flat(self) -> NDArray[np.bool_]:
        """Coordinates, (a,), whose nearest pair shows no change of J although a farther one does, beyond rounding.

        For a smooth J with a minimum at x, the change at the nearest pair may be lost in J's rounding. It is that at
        the farther pair divided by a low power of the ratio of the distances, which is at most 25 on the way outward.
        """
        pairs = self.pairs
        rises = np.abs(np.nan_to_num(pairs.rises, nan=0.0))
        with np.errstate(invalid="ignore"):
            ratio = np.clip(np.nan_to_num(pairs.size / pairs.size[:, :1], nan=1.0), 1.0, _FAR**2)
        seen = rises.max(axis=2) > _BEYOND * ratio[..., None] ** 4 * self.found.level
        return np.asarray((rises[:, 0] == 0).all(axis=(1, 2)) & seen.any(axis=(1, 2)) & (pairs.count > 0))

    def kinked(self) -> NDArray[np.bool_]:
        """Coordinates with a kink, (a,): one-sided slopes differ beyond noise, and as much near x as far from it.

        For a smooth J, the difference of the one-sided slopes falls with the distance.
        """
        pairs, noise = self.pairs, self.found.noise
        if not pairs.size.shape[1]:
            return np.zeros(len(self.rows), dtype=bool)
        last, every = np.maximum(pairs.count - 1, 0), np.arange(len(self.rows))
        ratio = pairs.size[every, last] / pairs.size[:, 0]
        near, deviation = pairs.curvature(0, noise)
        far = np.zeros_like(near)
        for g in range(pairs.size.shape[1]):
            far = np.where((last == g)[:, None], pairs.curvature(g, noise)[0], far)
        with np.errstate(invalid="ignore"):
            sharp = (np.abs(near) > 0.6 * ratio[:, None] * np.abs(far)) & (np.abs(near) > 6 * deviation)
            return np.asarray((ratio > 3) & sharp.any(axis=1))

    def kinks(self) -> Floats:
        """Half the difference of the one-sided slopes at a kink, (a, m); 0 where there is none."""
        if not self.pairs.size.shape[1]:
            return np.zeros((len(self.rows), len(self.found.baseline)))
        curvature, deviation = self.pairs.curvature(0, self.found.noise)
        half = (np.abs(curvature) + 2 * deviation) * self.pairs.size[:, :1] / 2
        return np.where(self.kinked()[:, None], np.nan_to_num(half), 0.0)

    def _first_derivatives(self) -> tuple[Floats, Floats]:
        """Absolute J' and J'' by the smallest pair, at least their noise; 0 where there is no pair."""
        noise = self.found.noise
        if not self.pairs.size.shape[1]:
            nothing = np.zeros((len(self.rows), len(self.found.baseline)))
            return nothing, nothing
        slopes = self.pairs.slopes(noise)
        curvature, deviation = self.pairs.curvature(0, noise)
        return (
            np.nan_to_num(np.maximum(np.abs(slopes.value[0]), slopes.deviation[0])),
            np.nan_to_num(np.abs(curvature) + deviation),
        )


def refine(
    site: BasePoint,
    rows: NDArray[np.int64],
    scale: Floats,
    found: Survey,
    *,
    vector: bool,
    budget: Budget,
    repairs: bool = False,
) -> Generator[Request, Wave, tuple[Search, Slopes]]:
    """Evaluates pairs until the slopes are known as well as the noise allows.

    Parameters
    ----------
    site : Site
    rows : (a,) ndarray of int
        Coordinates that may move.
    scale : (d,) ndarray
    found : Survey
    vector : bool
    budget : Budget
        It must hold at least 2 a evaluations for the first pairs; further pairs use what is free in it.
    repairs : bool
        Whether coordinates along which J fails will be repaired; evaluations are then reserved for that.

    Returns
    -------
    search : Search
    slopes : Slopes
        All formulas; where a coordinate has only one pair, with the expected truncation.
    """
    search = _begin(site, rows, scale, found)
    wanted = np.where(search.reach > 0, search.first, np.nan)
    outputs = len(found.baseline) if vector else None
    for turn in range(ROUNDS + 1):
        asked = np.flatnonzero(np.isfinite(wanted))
        if not len(asked):
            break
        values, search = _place(search, asked, wanted[asked])
        points = single_points(site.x, np.repeat(rows[asked], 2), values.ravel())
        wave = yield budget.spend(Request(points, None, vector, outputs=outputs))
        search = _take(search, asked, values, wave)
        if turn == 0:
            budget.reserved = max(0, budget.reserved - 2 * len(rows))
            failed = int(np.count_nonzero(search.pairs.count == 0))
            budget.reserved += (2 * failed + _REPAIR) * bool(repairs and failed)
            wanted = _check(search, min(_LOOKS, budget.free // 2))
        elif turn < ROUNDS:
            wanted = _further(search, budget.free // 2)
    search = replace(search, pairs=search.pairs.or_else(search.spare))
    return search, _judged(search)


def _begin(site: BasePoint, rows: NDArray[np.int64], scale: Floats, found: Survey) -> Search:
    up, down = site.upper[rows] - site.x[rows], site.x[rows] - site.lower[rows]
    # Where both points of a pair are on one side, the farther one is at twice the pair's distance.
    room = np.maximum(np.minimum(up, down), np.maximum(up, down) / 2)
    reach = np.minimum(CAP * scale[rows], room)
    ratio = float(np.median(found.level / found.variation))
    least = 8 * np.spacing(np.abs(site.x[rows]))
    first = np.minimum(np.maximum(_FIRST * ratio ** (1 / 3) * scale[rows], least), reach)
    none = no_pairs(len(rows), len(found.baseline))
    return Search(site, rows, scale[rows], reach, found, none, first, first, none)


def _place(search: Search, asked: NDArray[np.int64], size: Floats) -> tuple[Floats, Search]:
    site, at = search.site, search.rows[asked]
    size = np.maximum(size, 8 * np.spacing(np.abs(site.x[at])))
    values, step = place(site.x[at], size, SCHEMES["central"], site.lower[at], site.upper[at])
    tried = search.tried.copy()
    tried[asked] = np.abs(step)
    return values, replace(search, tried=tried)


def _take(search: Search, asked: NDArray[np.int64], values: Floats, wave: Wave) -> Search:
    a, m = len(search.rows), len(search.found.baseline)
    size, offsets, rises = np.full(a, np.nan), np.full((a, 2), np.nan), np.full((a, 2, m), np.nan)
    offsets[asked] = search.site.offsets(search.rows[asked], values)
    size[asked] = np.abs(offsets[asked, 0])
    rises[asked] = wave.values.reshape(len(asked), 2, m) - search.found.baseline
    spare = search.spare if search.spare.size.shape[1] else no_pairs(a, m).add(size, offsets, rises, partial=True)
    return replace(search, pairs=search.pairs.add(size, offsets, rises), spare=spare)


def _check(search: Search, room: int) -> Floats:
    """Distances of second pairs, (a,), NaN for none: for the ``room`` most doubtful coordinates."""
    slopes = search.pairs.slopes(search.found.noise)
    with np.errstate(invalid="ignore", divide="ignore"):
        doubt = np.median(search.expected() / slopes.deviation[0], axis=1)
    failed = search.pairs.count == 0
    order = np.argsort(-np.where(failed, np.inf, np.nan_to_num(doubt)), kind="stable")[:room]
    wanted = np.full(len(search.rows), np.nan)
    wanted[order] = np.where(failed, search.tried / 8, _outward(search))[order]
    return wanted


def _outward(search: Search) -> Floats:
    """Five times as far; the largest distance allowed, if that is far enough; else nearer, if noise is large."""
    far, near = search.first * _FAR, search.first / 2.5
    return np.where(far <= 1.01 * search.reach, far, np.where(2 * search.first <= search.reach, search.reach, near))


def _further(search: Search, room: int) -> Floats:
    """Distances of the next pairs, (a,): nearer if truncation is large, farther if it is small, NaN for none."""
    slopes, pairs = search.pairs.slopes(search.found.noise), search.pairs
    a, n = pairs.size.shape
    count, smallest = pairs.count, pairs.size[:, 0]
    last, every = np.maximum(count - 1, 0), np.arange(a)
    largest = pairs.size[every, last]
    with np.errstate(invalid="ignore", divide="ignore"):
        bends = slopes.truncation[0] / slopes.deviation[0]
        corrected = slopes.truncation[n] / slopes.deviation[0] if n > 1 else bends
        left = np.median(np.fmin(bends, corrected), axis=1)
        straight = np.median(slopes.truncation[last, every] / slopes.doubt[last, every], axis=1) <= _TRUE
        bent = np.median(bends, axis=1)
        doubt = np.median(search.expected() * _trust(search, slopes) / slopes.deviation[0], axis=1)
    checked, unseen, room_out = count > 1, count == 1, largest * _WORTH < search.reach
    out = checked & straight & room_out
    # If most coordinates with two pairs show no truncation, the others have little too, and all may go farther out.
    all_out = bool(out.any()) and np.mean((straight | ~room_out)[checked]) > 0.67
    bending, look = checked & (left > _SHRINK), unseen & ((doubt > _DOUBTFUL) | (all_out & room_out))
    choices = [
        (count == 0, search.tried / 8, np.inf),
        (bending, smallest * _nearer(bent), 10 + left),
        (look & (doubt > _SHRINK), smallest * _nearer(doubt), 5 + doubt),
        (look, _outward(search), 5 + doubt),
        (out, np.minimum(search.reach, largest * _FAR), 1.0),
    ]
    conditions = [chosen for chosen, _, _ in choices]
    wanted = np.select(conditions, [size for _, size, _ in choices], np.nan)
    order = np.argsort(-np.select(conditions, [np.broadcast_to(rank, a) for _, _, rank in choices], 0.0), kind="stable")
    wanted[order[room:]] = np.nan
    return wanted


def _nearer(bent: Floats) -> Floats:
    """Factor for a nearer distance: truncation falls with the square of the distance, and noise as 1/distance rises."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.clip((_AIM / bent) ** (1 / 3), 1e-3, 1.0)


def _trust(search: Search, slopes: Slopes) -> Floats:
    """Correction factor of the expected truncation, (m,): the largest one seen where there are two pairs."""
    checked = search.pairs.count > 1
    if not checked.any():
        return np.ones(len(search.found.baseline))
    back = (search.first / search.pairs.size[:, 0])[:, None] ** 2
    seen = np.maximum(slopes.truncation[0] - slopes.doubt[0], 0.0) * back
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.clip(np.nan_to_num((seen / search.expected())[checked]).max(axis=0), 0.05, 1e6))


def _judged(search: Search) -> Slopes:
    slopes = search.pairs.slopes(search.found.noise)
    alone = (search.pairs.count == 1)[:, None]
    truncation, doubt = slopes.truncation.copy(), slopes.doubt.copy()
    truncation[0] = np.where(alone, search.expected() * _trust(search, slopes), truncation[0])
    doubt[0] = np.where(alone, 0.0, doubt[0])
    return replace(slopes, truncation=truncation, doubt=doubt)
