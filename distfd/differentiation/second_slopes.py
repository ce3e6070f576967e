"""Second derivatives by the same formula at two distances: which value is best, and how well it is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from distfd.differentiation.assemble import weight_sums

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from distfd.differentiation.assemble import Terms
    from distfd.differentiation.noise import Noise

    Floats = NDArray[np.float64]

_AIM = 10.0
"""Truncation over noise at the nearer distance that is best for the formula of both: its own noise is 1.4 times as
large, and its truncation a tenth."""
_SEEN = 1.5
"""A truncation of so many deviations is one."""
_FARTHER, _NEARER = 5.0, 0.02
"""How much farther or nearer the next look may be."""
_WORTH = 2.0
"""A change of the distance by less is not worth its evaluations."""
OUTWARD = 1.3
"""The first distance, in units of (noise / variation)^(1/4) of a typical size: twice as far, truncation and noise are
alike where J's fourth derivative is as large as J varies, (48 noise / J'''')^(1/4)."""


@dataclass(frozen=True, eq=False)
class SecondSlopes:
    """What is known of n second derivatives.

    Attributes
    ----------
    value, bar : (n,) ndarrays
        The best value, and half the width of an interval meant to hold the derivative; NaN where there is none.
    factor : (n,) ndarray
        By how much farther apart the points should be; 1 where they are well placed.
    """

    value: Floats
    bar: Floats
    factor: Floats

    def better(self, other: SecondSlopes) -> SecondSlopes:
        """Of each the one with the smaller bar; the factor of the latter."""
        taken = np.isfinite(other.value) & (~np.isfinite(self.value) | (other.bar < self.bar))
        return SecondSlopes(
            np.where(taken, other.value, self.value), np.where(taken, other.bar, self.bar), other.factor
        )


def at_two_distances(  # noqa: PLR0917  # two of each
    near: Floats, far: Floats, terms: Terms, twice: Terms, shift: int, noise: Noise, *, alike: bool = True
) -> SecondSlopes:
    """The best of: the formula at a distance, at twice that, and both without their common error of second order.

    Parameters
    ----------
    near, far : (n,) ndarrays
        The values.
    terms, twice : Terms
        Their weights.
    shift : int
        By how much the numbers of the points of ``twice`` are shifted, where both are put behind each other.
    noise : Noise
        Of the one output.
    alike : bool
        Whether the points of one are those of the other, twice as far: else there is no third formula.
    """
    both = (4 * near - far) / 3
    _, close = noise.spread(weight_sums((1.0, terms, 0)))
    _, wide = noise.spread(weight_sums((1.0, twice, 0)))
    _, joint = noise.spread(weight_sums((4 / 3, terms, 0), (-1 / 3, twice, shift)))
    seen, _ = noise.spread(weight_sums((-1.0, terms, 0), (1.0, twice, shift)))
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        apart = np.abs(far - near)
        bend = apart / np.maximum(np.abs(near), np.abs(far))
        part = 1 / 3 if alike else 1.0
        truncation = np.array([part * apart, (1 + part) * apart, part * apart * np.clip(2 * bend, 0.1, 1.0)])
        doubt = np.array([part, 1 + part, 0.0])[:, None] * seen[:, 0]
        bars = np.array([close[:, 0], wide[:, 0], joint[:, 0]]) + truncation + 0.3 * doubt
        if not alike:
            bars[2] = np.inf
        values = np.array([near, far, both])
        best = np.where(np.isfinite(bars) & np.isfinite(values), bars, np.inf).argmin(axis=0)[None]
        value, bar = (np.take_along_axis(part, best, axis=0)[0] for part in (values, bars))
        factor = (_AIM * close[:, 0] / truncation[0]) ** 0.25
        factor = np.where(truncation[0] < _SEEN * doubt[0], _FARTHER, factor)
    factor = np.where(np.isfinite(near) & np.isfinite(far), np.clip(factor, _NEARER, _FARTHER), 1 / 8)
    known = np.isfinite(value)
    return SecondSlopes(np.where(known, value, np.nan), np.where(known, bar, np.nan), np.nan_to_num(factor, nan=1.0))


def misplaced(factor: Floats) -> NDArray[np.bool_]:
    """Where another distance is worth its evaluations."""
    return np.asarray((factor > _WORTH) | (factor < 1 / _WORTH))
