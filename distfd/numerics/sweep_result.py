"""What a step sweep says: the differences, where they agree, and what is right of each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from distfd.numerics.noise import Noise
    from distfd.numerics.noise_result import NoiseResult
    from distfd.numerics.pairs import Pairs

    Floats = NDArray[np.float64]

_PART = 0.3
"""Of the noise in a pair's correction, what counts for the formula that has been corrected by it."""
_APART = 1.5
"""A formula is out where it is farther from one with a smaller step than its bar and so many of that one's noises."""


@dataclass(frozen=True, eq=False)
class StepSweep:
    """Differences along a coordinates, at n steps each; arrays have a last axis (m,) where J has several outputs.

    Attributes
    ----------
    coordinates : (a,) ndarray of int
    labels : tuple of str
        What messages call them.
    x : (a,) ndarray
    value : float or (m,) ndarray
        J(x).
    noise : NoiseResult
        The noise that the bars are made from; of several outputs, that of the noisiest.
    step : (a, n) ndarray
        Realised sizes of steps, in order; NaN, at the end, where a coordinate has fewer.
    forward, central : (a, n) ndarrays
        The differences; near a bound "central" is one-sided, of second order too.
    forward_noise, central_noise : (a, n) ndarrays
        How far noise alone may put them off, with some 97 %.
    derivative, error : (a,) ndarrays
        The derivative as well as the sweep knows it, and half the width of an interval meant to hold it with 95 %; NaN
        where nothing honest can be said.
    best : (a,) ndarray
        The step (of a central difference, or the smaller of two that are extrapolated) that gave it.
    unseen : (a,) ndarray of int
        Steps that floating point, the bounds, or the text that J reads have no room for.
    failed : (a,) ndarray of int
        Steps at which J has no value.
    warnings : tuple of str
        Coordinates along which J does not change, or has a kink.
    n_evaluations, n_reused : int
    """

    coordinates: NDArray[np.int64]
    labels: tuple[str, ...]
    x: Floats
    value: float | Floats
    noise: NoiseResult
    step: Floats
    forward: Floats
    forward_noise: Floats
    central: Floats
    central_noise: Floats
    derivative: Floats
    error: Floats
    best: Floats
    unseen: NDArray[np.int64]
    failed: NDArray[np.int64]
    warnings: tuple[str, ...]
    n_evaluations: int
    n_reused: int
    bars: Noise = field(repr=False)

    def column(self, name: str, output: int = 0) -> Floats:
        """One of the arrays for one output of J: (a, n), or (a,)."""
        array = np.asarray(getattr(self, name))
        plain = self.derivative.ndim == 1
        return array if plain or name in ("step", "best") else array[..., output]

    def off(self, scheme: str, output: int = 0) -> Floats:
        """How wrong each "forward" or "central" difference is, or may be by its noise, (a, n)."""
        apart = np.abs(self.column(scheme, output) - self.column("derivative", output)[:, None])
        bar = np.nan_to_num(self.column("error", output))[:, None]
        return np.asarray(np.maximum(apart + bar, self.column(f"{scheme}_noise", output)))

    def __str__(self) -> str:
        from distfd.numerics.sweep_table import sweep_text

        return sweep_text(self)


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
