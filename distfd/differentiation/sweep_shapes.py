"""What a step sweep shows of J's shape that no step mends: a jump at x, a kink, one slope near by and another far off.

All three are read off how differences change from decade to decade of the step, not off the noise level: a jump or a
ripple passes for noise along a line of points.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from distfd.core.describe import numbered_output
from distfd.differentiation.noise import FOUND
from distfd.differentiation.probe_pairs import ProbePairs

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from distfd.differentiation.noise import Noise

    Floats = NDArray[np.float64]
    Label = Callable[[int], str]

_JUMP_STEPS = 4
"""Steps, the smallest ones, over which J's change must be the same to be a jump: three decades."""
_SAME = 0.02
"""... within this part of it."""
_SHARP = 6.0
"""Deviations of the noise from which on the slopes on the two sides of x differ."""
_KINK = 0.6
"""They differ by as much at three steps in a row, within this part, where J has a kink."""
_NEAR_RUN, _FAR_RUN = 3, 2
"""Steps in a row that make a slope: near x there are many; far from it truncation leaves few."""
_NEAR_SCATTER, _FAR_SCATTER = 0.05, 0.2
"""How far they may differ, as a part of what is between the two slopes."""
_NO_NOISE = 0.01
"""Slopes that differ by this part of their noise show that there is none: by chance one run in ten thousand does."""
_ROUNDING = 1e4
"""Units in the last place of J(x)."""
_APART = 0.01
"""Two slopes that differ by less, as a part of the larger, are one."""


@dataclass(frozen=True, eq=False)
class Jumps:
    """Where J(x) is not what J tends to as x is approached.

    Attributes
    ----------
    height : (a, 2, m) ndarray
        J just above x, and just below it, minus J(x); 0 where J is continuous from that side.
    """

    height: Floats

    @property
    def any(self) -> NDArray[np.bool_]:
        """Coordinates with a jump, (a,)."""
        return np.asarray((self.height != 0).any(axis=(1, 2)))

    @property
    def smooth_side(self) -> Floats:
        """The side from which J is continuous, (a,): 1 above x, -1 below it, 0 where it is both or none."""
        above, below = (self.height[:, k] != 0 for k in (0, 1))
        only_above, only_below = (above & ~below).any(axis=1), (below & ~above).any(axis=1)
        return np.where(only_below & ~above.any(axis=1), 1.0, np.where(only_above & ~below.any(axis=1), -1.0, 0.0))

    @property
    def lone(self) -> Floats:
        """By how much J(x) alone is out of line, (a, m): what J tends to from both sides, minus J(x)."""
        above, below = self.height[:, 0], self.height[:, 1]
        alike = np.abs(above - below) <= _SAME * np.abs(above + below)
        return np.where(alike, (above + below) / 2, 0.0)

    def warnings(self, label: Label, rows: NDArray[np.int64]) -> tuple[str, ...]:
        """A sentence for each coordinate with a jump."""
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
    """Jumps at x: J changes by the same amount however small the step is, and by more than its output's rounding.

    Parameters
    ----------
    pairs : ProbePairs
    quantum : (m,) ndarray
        The unit in which J is rounded, 0 where it is not: at the edge of a rounded value J jumps by one.
    """
    a, n = pairs.size.shape
    height = np.zeros((a, 2, len(quantum)))
    if n < _JUMP_STEPS:
        return Jumps(height)
    offsets = pairs.offsets[:, :_JUMP_STEPS]
    for k, up in enumerate((True, False)):
        there = (offsets > 0) == up
        # Near a bound both points of a pair are on one side; the nearer one will do.
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
    """The points on one side of x alone, (a,) 1 above it and -1 below, two neighbours a pair."""
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
    """Whether three steps in a row agree much better than that noise would let them: near x it is not there.

    Noise next to the rounding of J(x), ``value`` (m,), is not in question: a J that is exact has less.
    """
    n = pairs.size.shape[1]
    slopes = pairs.slopes(noise)
    large = noise.level > _ROUNDING * np.spacing(np.abs(value))
    large &= np.array([status == FOUND for status in noise.status])
    for g in range(n - _NEAR_RUN + 1):
        run, expected = slopes.value[g : g + _NEAR_RUN], slopes.deviation[g]
        with np.errstate(invalid="ignore"):
            if ((np.ptp(run, axis=0) < _NO_NOISE * expected) & (run != 0).all(axis=0) & large).any():
                return True
    return False


@dataclass(frozen=True, eq=False)
class TwoSlopes:
    """Where central differences agree on one slope over small steps and on another over large ones.

    Attributes
    ----------
    near, far : (a, m) ndarrays
        The slopes; NaN where there are no two.
    near_step, far_step : (a,) ndarrays
        The largest step that shows the one, and the smallest that shows the other.
    """

    near: Floats
    far: Floats
    near_step: Floats
    far_step: Floats

    def warnings(
        self, label: Label, rows: NDArray[np.int64], output: Callable[[int, int], str] = numbered_output
    ) -> tuple[str, ...]:
        """A sentence for each coordinate with two slopes."""
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
    """Runs of steps, near by and far off, within each of which differences agree, and not with the other run's.

    Of a smooth J the error of a central difference changes a hundredfold from decade to decade, and noise tenfold: no
    two steps in a row agree by either.
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
            # Of printed output small changes are lost, and slopes of 0 are no slopes.
            least = int(np.sum(np.abs(pairs.rises[i, : pairs.count[i], :, j]).max(axis=1) <= 2 * noise.quantum[j]))
            found = _two_runs(slopes[: pairs.count[i], i, j], least)
            if found is not None:
                first, second = found
                near[i, j], far[i, j] = slopes[first, i, j], slopes[second, i, j]
                steps[i] = pairs.size[i, first], pairs.size[i, second]
    return TwoSlopes(near, far, steps[:, 0], steps[:, 1])


def _two_runs(slopes: Floats, least: int) -> tuple[int, int] | None:
    """The last step of the near run and the first of the far one, in slopes (n,) by size of step; None without two.

    Those before number ``least`` count for nothing.
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
    """Where the slopes on both sides of x differ by as much at three steps in a row, a hundredfold apart, (a,).

    Of a smooth J that difference, J'' h, falls with the step. The first of the three is the smallest step at which it
    stands out of the noise; an outlier among the values makes one step stand out, and not the next two.
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
        # One step that stands out and is not followed may be an outlier; of two in a row J bends there.
        open_ &= ~(stands_out[g] & stands_out[g + 1] & ~alike)
    return np.asarray(kinked.any(axis=1))
