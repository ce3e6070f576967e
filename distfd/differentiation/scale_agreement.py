"""Whether J looks alike near x and farther from it: slopes along lines of points, held against the derivative's own.

A J with ripples, or with noise that is the same at near points, has one slope over small distances and another over
large ones. Either may be the one that is wanted, so the user is told of both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from distfd.core.describe import numbered_output
from distfd.differentiation.stencils import coefficients

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from distfd.differentiation.noise import Noise

    Floats = NDArray[np.float64]

_LEAST_ORDER = 2
"""Points of a line, beside x, from which on its slope at x is formed."""
_BEFORE = 0.3
"""Of the correction before the last, what counts for how far a slope may be off."""
_SURE = 3.0
"""Slopes that are farther apart than so many of their bars are two."""
_WORTH = 1e-6
"""... unless they differ by less than this part of what the components add up to: rounding, whatever the bars say."""
_WHOLE = 0.1
"""Of all that J varies by, so much over short steps is all of it: of nothing but noise it is 0.8, of waves whose length
a step nearly is less, and of a J that is smooth over the longest ones 3e-4."""
_SHORT = 1e-2
"""Of the longest line, below which part one is short."""
_ROUND_OFF = 100.0
"""Changes of J that are no more than so many units in its last place are round-off."""
_CLEAR = 2.0
"""Bars by which a slope stands out of them."""


@dataclass(frozen=True, eq=False)
class Line:
    """J at x + i v for i = 0, 1, ... n - 1.

    Attributes
    ----------
    spacing : float
        How long v is against the scale of x.
    indices : (c,) ndarray of int
        The coordinates that v moves.
    move : (c,) ndarray
        v there.
    values : (n, m) ndarray
    """

    spacing: float
    indices: NDArray[np.int64]
    move: Floats
    values: Floats

    @property
    def reach(self) -> float:
        """How far the last point is from x, against the scale of x."""
        return self.spacing * (len(self.values) - 1)

    def slope(self, noise: Noise) -> tuple[Floats, Floats]:
        """The change of J for one v at x, and how far that may be off, (m,) both; NaN and inf where it cannot be told.

        Polynomials of rising degree through x and its next points; of each the correction that it makes to the one
        before, and its noise, say how far it may be off, and the best is taken.
        """
        n, m = self.values.shape
        rises = self.values[1:] - self.values[0]
        best, doubt = np.full(m, np.nan), np.full(m, np.inf)
        found: list[Floats] = []
        for order in range(_LEAST_ORDER, n):
            offsets = np.arange(1.0, order + 1)
            weights = coefficients(offsets) / offsets
            with np.errstate(over="ignore", invalid="ignore"):
                found.append(weights @ rises[:order])
                if len(found) > 2:
                    last, before = np.abs(found[-1] - found[-2]), np.abs(found[-2] - found[-3])
                    # Where points are too few for J's waves two corrections in a row are seldom small.
                    off = last + _BEFORE * before + noise.part(weights)
                    best, doubt = np.where(off < doubt, found[-1], best), np.fmin(off, doubt)
        return best, doubt


@dataclass(frozen=True, eq=False)
class Disagreement:
    """The line along which J changes most unlike its derivative at x.

    Attributes
    ----------
    line : Line
    along, expected : (m,) ndarrays
        The change of J for one v, by the line, and by the derivative.
    gap : (m,) ndarray
        How far these are apart; 0 in the outputs in which they agree.
    """

    line: Line
    along: Floats
    expected: Floats
    gap: Floats

    def widening(self, rows: NDArray[np.int64]) -> Floats:
        """What to add to the bars of coordinates (a,) so that they hold the slope along the line too, (a, m).

        The direction in which the two derivatives differ is not known: v has as large a part in each coordinate as in
        the others, and so has the gap.
        """
        line = self.line
        at = np.searchsorted(rows, line.indices)
        part = np.zeros((len(rows), len(self.gap)))
        with np.errstate(divide="ignore"):
            each = np.where(line.move != 0, 2.0 / np.sqrt(len(line.indices)) / np.abs(line.move), 0.0)
        part[at] = each[:, None] * self.gap
        return part


def disagreement(
    lines: Sequence[Line],
    noise: Noise,
    rows: NDArray[np.int64],
    value: Floats,
    bar: Floats,
    *,
    slack: Floats | None = None,
) -> Disagreement | None:
    """Where lines contradict the derivative; None where none does.

    Parameters
    ----------
    lines : sequence of Line
    noise : Noise
    rows : (a,) ndarray of int
        Coordinates whose derivative is known; all others stand still.
    value, bar : (a, m) ndarrays
        The derivative, and half the width of its interval.
    slack : (a, m) ndarray, optional
        How far the slopes to the sides of a kink are from the derivative, which is their mean; 0 where there is none.
        A line lies on one side of it.
    """
    worst: Disagreement | None = None
    most = 0.0
    for line in lines:
        at = np.searchsorted(rows, line.indices)
        if len(rows) == 0 or (at >= len(rows)).any() or (rows[np.minimum(at, len(rows) - 1)] != line.indices).any():
            continue  # it moves a coordinate that has no derivative
        along, doubt = line.slope(noise)
        with np.errstate(invalid="ignore", over="ignore"):
            expected = line.move @ value[at]
            allowed = _SURE * (doubt + np.abs(line.move) @ bar[at])
            if slack is not None:
                allowed = allowed + np.abs(line.move) @ slack[at]
            allowed = np.maximum(allowed, _WORTH * (np.abs(line.move) @ np.abs(value[at])))
            gap = np.where(np.abs(along - expected) > allowed, np.abs(along - expected), 0.0)
            part = float(np.max(np.nan_to_num(gap / np.maximum(np.abs(along), np.abs(expected))), initial=0.0))
        if part > most:
            worst, most = Disagreement(line, along, expected, gap), part
    return worst


def slope_warning(found: Disagreement, output: Callable[[int, int], str] = numbered_output) -> str:
    """The two slopes as a sentence."""
    j = int(np.argmax(found.gap))
    which = f" of {output(j, len(found.gap))}" if len(found.gap) > 1 else ""
    length = found.line.spacing
    near, wide = f"{found.expected[j] / length:.4g}", f"{found.along[j] / length:.4g}"
    return (
        f"J looks different at two scales: along one direction its slope{which} is {near} by the derivative and "
        f"{wide} by the values of J on a line out to {found.line.reach:.1g} (against the scale of x). The error bars "
        "are widened by the difference; "
        "set a step, or `scale`, of the size that matters to you"
    )


def unresolved(
    lines: Sequence[Line],
    value: Floats,
    bar: Floats,
    *,
    names: Callable[[NDArray[np.int64]], str],
    output: Callable[[int, int], str] = numbered_output,
) -> tuple[str, ...]:
    """A sentence where J varies over the shortest steps as much as over the longest, and a derivative hangs on it.

    That is noise, or a J whose own scale is far below all steps that were tried, such as sin(1e9 x); no values tell
    which. A derivative that stands clear of its bar is that of J's larger shape, and one within its bar was told of,
    unless another output is clear.

    Parameters
    ----------
    lines : sequence of Line
    value, bar : (a, m) ndarrays
        The derivative, and half the width of its interval; NaN where it is not known.
    names : callable
        Names rows (b,) of the coordinates.
    output : callable
        Names an output by its number and how many there are.
    """
    whole = [line for line in lines if np.isfinite(line.values).all()]
    far = max((line.reach for line in whole), default=0.0)
    near = [line for line in whole if line.reach < _SHORT * far]
    if not near:
        return ()
    with np.errstate(all="ignore"):
        every = np.ptp(np.concatenate([line.values for line in whole]), axis=0)
        ranges = np.array([np.ptp(line.values, axis=0) for line in near])
        digits = _ROUND_OFF * np.spacing(np.abs(whole[0].values).max(axis=0))
        alike = (ranges >= _WHOLE * every) & (ranges > digits)
        at_once = alike.any(axis=0)
        told = (bar > np.abs(value)).all(axis=1) & (value != 0).any(axis=1)
        hangs = at_once & (value != 0) & ~(np.abs(value) >= _CLEAR * bar) & ~told[:, None]
    if not hangs.any():
        return ()
    of = int(np.argmax(hangs.any(axis=0)))
    which = "" if hangs.shape[1] == 1 else f" in {output(of, hangs.shape[1])}"
    spacing = min(line.spacing for line, same in zip(near, alike[:, of], strict=True) if same)
    where = names(np.flatnonzero(hangs.any(axis=1)))
    text = (
        f"the derivative along {where} is not resolved{which}: J varies as much over steps of {spacing:.1g} as over "
        f"{far:.1g} (against the scale of x). That is noise, and more than the slope; or J's own scale is smaller than "
        "all steps that were tried: then give it as `scale`"
    )
    return (text,)
