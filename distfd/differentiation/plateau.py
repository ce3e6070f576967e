"""Where the differences of a step sweep agree."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from distfd.differentiation.noise import Noise
    from distfd.differentiation.probe_pairs import Pairs

    Floats = NDArray[np.float64]

_PART = 0.3
"""Of the noise in a pair's correction, what counts for the formula that has been corrected by it."""
_APART = 1.5
"""A formula is out where it is farther from one with a smaller step than its bar and so many of that one's noises."""


def plateau(pairs: Pairs, noise: Noise) -> tuple[Floats, Floats, Floats]:
    """The derivative (a, m) where differences agree, its bar (a, m), and the step (a,) that gave it.

    Of all formulas (each pair, and each two) the one with the smallest bar, of those that no formula with a smaller
    step contradicts (Lepski's principle): of a dozen truncations that were read off neighbours, one or the other is
    small by chance.
    """
    a, n = pairs.size.shape
    m = len(noise.level)
    if not n:
        return np.full((a, m), np.nan), np.full((a, m), np.nan), np.full(a, np.nan)
    slopes = pairs.slopes(noise)
    # A formula of two has no doubt of its own: its correction is as noisy as that of its smaller pair.
    doubt = slopes.doubt.copy()
    doubt[n:] = _PART * np.nan_to_num(slopes.doubt[: n - 1])
    bars = slopes.noise + slopes.truncation + doubt
    agrees = np.isfinite(bars) & np.isfinite(slopes.value)
    for g in range(n):
        with np.errstate(invalid="ignore"):
            apart = np.abs(slopes.value - slopes.value[g]) > bars + _APART * slopes.noise[g]
            agrees &= ~(apart & (slopes.size > slopes.size[g])[..., None])
    cost = np.where(agrees, bars, np.inf)
    formula = cost.argmin(axis=0)
    known = np.isfinite(cost.min(axis=0))
    value, bar = (np.take_along_axis(part, formula[None], axis=0)[0] for part in (slopes.value, bars))
    # A lone pair has no truncation to show.
    alone = pairs.count == 1
    value = np.where(alone[:, None], slopes.value[0], np.where(known, value, np.nan))
    step = np.take_along_axis(slopes.size, formula[:, 0][None], axis=0)[0]
    return value, np.where(known, bar, np.nan), step
