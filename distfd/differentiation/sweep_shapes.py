"""Finds, in a step sweep, shapes of J for which no step is right: a jump at x, a kink, two slopes at two scales.

All three are seen in how differences change from decade to decade of the step, not in the noise level: on a line of
points, a jump or a ripple looks like noise.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from distfd.core.describe import numbered_output
from distfd.differentiation.noise import FOUND, confidence
from distfd.differentiation.probe_pairs import ProbePairs

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from distfd.differentiation.noise import Noise

    Floats = NDArray[np.float64]
    Label = Callable[[int], str]

_JUMP_STEPS = 4
"""A jump must have the same height at this many steps, the smallest ones: over three decades, ..."""
_SAME = 0.02
"""... within this part of the height."""
_SHARP = 6.0
"""The slopes on the two sides of x differ if their difference is more than this many standard deviations of its
noise."""
_KINK = 0.6
"""At a kink, the smallest of three such differences at successive steps is more than this part of the largest."""
_NEAR_RUN, _FAR_RUN = 3, 2
"""Number of successive steps that show a slope. There are many steps near x; far from x, truncation leaves few."""
_NEAR_SCATTER, _FAR_SCATTER = 0.05, 0.2
"""Largest range of the slopes within each run, as a part of the gap between the two slopes."""
_NO_NOISE = 0.01
"""If slopes at three steps agree within this part of their noise, that noise is not there: by chance one run in ten
thousand agrees so."""
_WITHIN = 10.0
"""Slopes at smaller steps agree with a run of three if the distance is no more than this many times the run's noise."""
_ROUNDING = 1e4
"""The test for missing noise needs a noise level above this many units in the last place of J(x)."""
_APART = 0.01
"""Two slopes that differ by less than this part of the larger one count as one."""


@dataclass(frozen=True, eq=False)
class Jumps:
    """Jumps of J at x: J(x) is not the limit of J from at least one side.

    Attributes
    ----------
    height : (a, 2, m) ndarray
        The limit of J from above x and from below x, minus J(x); 0 where J is continuous from that side.
    """

    height: Floats

    @property
    def any(self) -> NDArray[np.bool_]:
        """Whether each coordinate has a jump, (a,)."""
        return np.asarray((self.height != 0).any(axis=(1, 2)))

    @property
    def smooth_side(self) -> Floats:
        """The side from which J is continuous, (a,): 1 for above x, -1 for below x, 0 for both or none."""
        above, below = (self.height[:, k] != 0 for k in (0, 1))
        only_above, only_below = (above & ~below).any(axis=1), (below & ~above).any(axis=1)
        return np.where(only_below & ~above.any(axis=1), 1.0, np.where(only_above & ~below.any(axis=1), -1.0, 0.0))

    @property
    def lone(self) -> Floats:
        """Height of J(x) alone, (a, m): the limit of J from both sides, minus J(x); 0 where the limits differ."""
        above, below = self.height[:, 0], self.height[:, 1]
        alike = np.abs(above - below) <= _SAME * np.abs(above + below)
        return np.where(alike, (above + below) / 2, 0.0)

    def warnings(self, label: Label, rows: NDArray[np.int64]) -> tuple[str, ...]:
        """A warning for each coordinate with a jump."""
        texts = []
        for a in np.flatnonzero(self.any):
            name, side = label(int(rows[a])), self.smooth_side[a]
            by = f"{np.abs(self.height[a]).max():.3g}"
            if side:
                smooth, other = ("above", "below") if side > 0 else ("below", "above")
                texts.append(
                    f"J jumps at x along {name}: by {by}, just {other} x. There is no derivative at x; the one given "
                    f"here is that of the side {smooth} x"
                )
            else:
                texts.append(
                    f"J(x) is out of line with J on both sides of x along {name}, by {by}: an outlier, a jump at x "
                    "itself, or a model that is in another state at its first evaluation"
                )
        return tuple(texts)


def find_jumps(pairs: ProbePairs, quantum: Floats) -> Jumps:
    """Jumps at x: J changes by the same amount at all of the smallest steps, and by more than its output's rounding.

    Parameters
    ----------
    pairs : ProbePairs
    quantum : (m,) ndarray
        The unit in which J is rounded, 0 where it is not. At the edge of a rounded value, J jumps by one unit.
    """
    a, n = pairs.size.shape
    height = np.zeros((a, 2, len(quantum)))
    if n < _JUMP_STEPS:
        return Jumps(height)
    offsets = pairs.offsets[:, :_JUMP_STEPS]
    for k, up in enumerate((True, False)):
        there = (offsets > 0) == up
        # Near a bound, both points of a pair are on one side; use the nearer one.
        first = there.argmax(axis=2)
        known = there.any(axis=2).all(axis=1) & (pairs.count >= _JUMP_STEPS)
        rises = np.take_along_axis(pairs.rises[:, :_JUMP_STEPS], first[:, :, None, None], axis=2)[:, :, 0]
        typical = np.median(rises, axis=1)
        with np.errstate(invalid="ignore"):
            same = np.ptp(rises, axis=1) <= _SAME * np.abs(typical)
            found = known[:, None] & same & (np.abs(typical) > 1.5 * quantum)
        height[:, k] = np.where(found, typical, 0.0)
    return Jumps(height)


def one_sided(pairs: ProbePairs, side: Floats) -> ProbePairs:
    """The points on one side of x only, (a,), 1 for above and -1 for below; two neighbours make a pair."""
    nearest = np.abs(pairs.offsets).argmin(axis=2)
    own = np.sign(pairs.offsets) == side[:, None, None]
    at = np.where(own.all(axis=2), nearest, own.argmax(axis=2))
    offsets = np.take_along_axis(pairs.offsets, at[..., None], axis=2)[..., 0]
    rises = np.take_along_axis(pairs.rises, at[..., None, None], axis=2)[:, :, 0]
    offsets = np.where(own.any(axis=2), offsets, np.nan)
    n = offsets.shape[1] // 2 * 2
    both = np.stack((offsets[:, 0:n:2], offsets[:, 1:n:2]), axis=2)
    moved = np.stack((rises[:, 0:n:2], rises[:, 1:n:2]), axis=2)
    size = np.where(np.isfinite(both).all(axis=2), np.abs(both[..., 0]), np.nan)
    return ProbePairs(size, both, moved)


def contradicts_noise(pairs: ProbePairs, noise: Noise, value: Floats) -> bool:
    """Whether slopes at three successive steps agree so well that the measured noise cannot exist near x.

    Noise near the rounding of J(x), ``value`` (m,), is not tested: an exact J has less noise than that.
    """
    return bool((_agreements(pairs, noise, value)[0] >= 0).any())


def noise_of_agreement(pairs: ProbePairs, noise: Noise, value: Floats) -> Noise:
    """The noise with which slopes at three successive steps agree, for outputs where they contradict the given one.

    Slopes at smaller steps must agree with them too, but for that noise: if J has plateaus near x, they do not.
    """
    first, spread = _agreements(pairs, noise, value)
    with np.errstate(invalid="ignore"):
        level = np.maximum(spread, np.spacing(np.abs(value)))
        slopes = pairs.slopes(noise).value[: pairs.size.shape[1]]
        chosen = np.take_along_axis(slopes, np.maximum(first, 0)[None], axis=0)
        smaller = np.arange(len(slopes))[:, None, None] < first
        apart = np.abs(slopes - chosen) * pairs.size.T[..., None]
        whole = ~(smaller & ~(apart <= _WITHIN * level)).any(axis=0)
    there = (first >= 0).any(axis=0) & (whole | (first < 0)).all(axis=0)
    return replace(
        noise,
        level=np.where(there, np.max(np.where(first >= 0, level, 0.0), axis=0, initial=0.0), noise.level),
        factor=np.where(there, confidence(np.array([_NEAR_RUN - 1])), noise.factor),
    )


def _agreements(pairs: ProbePairs, noise: Noise, value: Floats) -> tuple[NDArray[np.int64], Floats]:
    """The first of three steps at which slopes contradict the noise, -1 without any, and their spread, (a, m) both.

    The spread is that of the slopes, as noise in J's values would cause it: of all three at the smallest step, or of
    the last two at the middle one, whichever is more, as slopes may agree by chance.
    """
    n = pairs.size.shape[1]
    slopes = pairs.slopes(noise)
    large = noise.level > _ROUNDING * np.spacing(np.abs(value))
    large &= np.array([status == FOUND for status in noise.status])
    first = np.full((pairs.size.shape[0], len(noise.level)), -1, dtype=np.int64)
    spread = np.full(first.shape, np.nan)
    for g in range(n - _NEAR_RUN + 1):
        run, expected = slopes.value[g : g + _NEAR_RUN], slopes.deviation[g]
        with np.errstate(invalid="ignore"):
            apart = np.ptp(run, axis=0)
            new = (first < 0) & (apart < _NO_NOISE * expected) & (run != 0).all(axis=0) & large
            size = np.fmax(apart * pairs.size[:, g, None], np.abs(run[2] - run[1]) * pairs.size[:, g + 1, None])
        first[new] = g
        spread = np.where(new, size, spread)
    return first, spread


@dataclass(frozen=True, eq=False)
class TwoSlopes:
    """Where central differences agree on one slope over small steps, and on another over large ones.

    Attributes
    ----------
    near, far : (a, m) ndarrays
        The slopes; NaN where J does not have two.
    near_step, far_step : (a,) ndarrays
        The largest step that shows ``near``, and the smallest that shows ``far``.
    """

    near: Floats
    far: Floats
    near_step: Floats
    far_step: Floats

    def warnings(
        self, label: Label, rows: NDArray[np.int64], output: Callable[[int, int], str] = numbered_output
    ) -> tuple[str, ...]:
        """A warning for each coordinate with two slopes."""
        texts = []
        m = self.near.shape[1]
        for a in np.flatnonzero(np.isfinite(self.near).any(axis=1)):
            j = int(np.nanargmax(np.abs(self.near[a] - self.far[a])))
            which = f" of {output(j, m)}" if m > 1 else ""
            texts.append(
                f"J looks different at two scales along {label(int(rows[a]))}: its slope{which} is "
                f"{self.near[a, j]:.5g} for steps up to {self.near_step[a]:.2g} and {self.far[a, j]:.5g} for steps "
                f"from {self.far_step[a]:.2g} on"
            )
        return tuple(texts)


def find_two_slopes(pairs: ProbePairs, noise: Noise) -> TwoSlopes:
    """Finds two runs of steps, small and large ones: differences agree within each, but not between the two.

    For a smooth J, the truncation of a central difference changes a hundredfold from decade to decade, and noise
    tenfold, so neither makes two successive steps agree.
    """
    a, n = pairs.size.shape
    m = pairs.rises.shape[3]
    near, far = np.full((a, m), np.nan), np.full((a, m), np.nan)
    steps = np.full((a, 2), np.nan)
    if n < _NEAR_RUN + _FAR_RUN:
        return TwoSlopes(near, far, steps[:, 0], steps[:, 1])
    slopes = pairs.slopes(noise).value[:n]
    for i in range(a):
        for j in range(m):
            # Small changes of printed output are lost; a slope of 0 at such steps does not count.
            least = int(np.sum(np.abs(pairs.rises[i, : pairs.count[i], :, j]).max(axis=1) <= 2 * noise.quantum[j]))
            found = _two_runs(slopes[: pairs.count[i], i, j], least)
            if found is not None:
                first, second = found
                near[i, j], far[i, j] = slopes[first, i, j], slopes[second, i, j]
                steps[i] = pairs.size[i, first], pairs.size[i, second]
    return TwoSlopes(near, far, steps[:, 0], steps[:, 1])


def _two_runs(slopes: Floats, least: int) -> tuple[int, int] | None:
    """The last step of the near run and the first of the far one, in slopes (n,) in order of step; None without two.

    Slopes before number ``least`` are not used.
    """
    best: tuple[int, int] | None = None
    most = 0.0
    for end in range(least + _NEAR_RUN - 1, len(slopes) - _FAR_RUN):
        run = slopes[end - _NEAR_RUN + 1 : end + 1]
        for start in range(end + 1, len(slopes) - _FAR_RUN + 1):
            other = slopes[start : start + _FAR_RUN]
            gap = abs(float(run.mean() - other.mean()))
            size = max(abs(float(run.mean())), abs(float(other.mean())))
            alike = np.ptp(run) <= _NEAR_SCATTER * gap and np.ptp(other) <= _FAR_SCATTER * min(
                gap, abs(float(other.mean()))
            )
            if alike and gap > _APART * size and gap > most:
                best, most = (end, start), gap
    return best


def find_kinks(pairs: ProbePairs, noise: Noise) -> NDArray[np.bool_]:
    """Where the slopes on both sides of x differ by as much at three successive steps, over two decades, (a,).

    For a smooth J this difference, J'' h, falls with the step. The first of the three is the smallest step at which the
    difference is above the noise. An outlier among the values affects one step, but not the next two.
    """
    a, n = pairs.size.shape
    m = len(noise.level)
    if n < 3:
        return np.zeros(a, dtype=bool)
    bends, stands_out = np.zeros((n, a, m)), np.zeros((n, a, m), dtype=bool)
    for g in range(n):
        curvature, deviation = pairs.curvature(g, noise)
        with np.errstate(invalid="ignore"):
            bends[g] = curvature * pairs.size[:, g, None]
            stands_out[g] = np.abs(curvature) > _SHARP * deviation
    kinked, open_ = np.zeros((a, m), dtype=bool), np.ones((a, m), dtype=bool)
    for g in range(n - 2):
        three = bends[g : g + 3]
        with np.errstate(invalid="ignore"):
            alike = (np.abs(three).min(axis=0) > _KINK * np.abs(three).max(axis=0)) & (
                np.abs(three.sum(axis=0)) >= np.abs(three).sum(axis=0)
            )
        alike &= stands_out[g : g + 3].all(axis=0)
        kinked |= open_ & alike
        # If only one step is above the noise, it may be an outlier; if two are and differ, J is curved there, without a
        # kink.
        open_ &= ~(stands_out[g] & stands_out[g + 1] & ~alike)
    return np.asarray(kinked.any(axis=1))
