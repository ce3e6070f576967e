"""Second derivatives by one formula at two distances: the best value, and its error bar."""

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
"""Best ratio of truncation to noise at the nearer distance, for the formula that combines both distances: its noise is
1.4 times as large as that of the nearer formula, and its truncation a tenth."""
_SEEN = 1.5
"""A truncation is significant above this many of its standard deviations."""
_ROUGH, _SURE = 0.3, 3.0
"""The derivatives over both distances differ if one is smaller by this part, and the difference is this many standard
deviations of its noise."""
_MATTERS = 3.0
"""... and it matters if J, bent so much, would change by this many times what it changes over the scale of x: for a
smooth J it is about once."""
_FARTHER, _NEARER = 5.0, 0.02
"""Largest factors by which the next distance may be farther or nearer."""
_WORTH = 2.0
"""A change of the distance by a smaller factor is not worth its evaluations."""
OUTWARD = 1.3
"""The first distance, in units of (noise / variation)^(1/4) of a typical size. At twice this distance, truncation and
noise are equal if J's fourth derivative is as large as J's variation, (48 noise / J'''')^(1/4)."""


@dataclass(frozen=True, eq=False)
class SecondSlopes:
    """Values, error bars and better distances of n second derivatives.

    Attributes
    ----------
    value, bar : (n,) ndarrays
        The best value, and half the width of an interval meant to hold the derivative; NaN where there is none.
    factor : (n,) ndarray
        Factor by which the distance of the points should be changed; 1 where it is good.
    rough : (n,) ndarray
        1 where the derivatives over both distances differ far beyond noise, 0 elsewhere.
    """

    value: Floats
    bar: Floats
    factor: Floats
    rough: Floats

    def better(self, other: SecondSlopes) -> SecondSlopes:
        """For each derivative, the value with the smaller bar of the two; the factor is that of ``other``."""
        taken = np.isfinite(other.value) & (~np.isfinite(self.value) | (other.bar < self.bar))
        value, bar, rough = (
            np.where(taken, theirs, own)
            for own, theirs in ((self.value, other.value), (self.bar, other.bar), (self.rough, other.rough))
        )
        return SecondSlopes(value, bar, other.factor, rough)


def at_two_distances(  # noqa: PLR0917  # two distances have two of each
    near: Floats, far: Floats, terms: Terms, twice: Terms, shift: int, noise: Noise, *, alike: bool = True
) -> SecondSlopes:
    """The best of three formulas: at a distance, at twice that, and both combined to cancel the second-order error.

    Parameters
    ----------
    near, far : (n,) ndarrays
        The values by the formula at both distances.
    terms, twice : Terms
        The weights of both.
    shift : int
        Offset of the point numbers in ``twice``, where the points of both stand one behind the other.
    noise : Noise
        The noise of the one output.
    alike : bool
        Whether the points of one are those of the other at twice the distance. If not, there is no combined formula.
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
        rough = (bend > _ROUGH) & (apart > _SURE * seen[:, 0])
        factor = (_AIM * close[:, 0] / truncation[0]) ** 0.25
        factor = np.where(truncation[0] < _SEEN * doubt[0], _FARTHER, factor)
    factor = np.where(np.isfinite(near) & np.isfinite(far), np.clip(factor, _NEARER, _FARTHER), 1 / 8)
    known = np.isfinite(value)
    return SecondSlopes(
        np.where(known, value, np.nan),
        np.where(known, bar, np.nan),
        np.nan_to_num(factor, nan=1.0),
        rough.astype(float),
    )


def nothing_seen(n: int) -> SecondSlopes:
    """As many derivatives, none of which is known."""
    return SecondSlopes(np.full(n, np.nan), np.full(n, np.nan), np.ones(n), np.zeros(n))


def rough_rows(seen: SecondSlopes, reach: Floats, variation: float) -> NDArray[np.bool_]:
    """Which of n second derivatives are those of no smooth J, and matter.

    Parameters
    ----------
    reach : (n,) ndarray
        By this factor a derivative becomes a change of J over the scale of x.
    variation : float
        How much J changes over the scale of x.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        return np.asarray((seen.rough > 0) & (np.abs(seen.value) * reach > _MATTERS * variation))


def misplaced(factor: Floats) -> NDArray[np.bool_]:
    """Whether another distance is worth its evaluations, (n,)."""
    return np.asarray((factor > _WORTH) | (factor < 1 / _WORTH))
