"""Compares the derivative with slopes of J along lines of points, near x and farther away.

A J with ripples, or with noise that is the same at near points, has one slope over small distances and another over
large ones. Either may be the wanted one, so the user is told of both.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from distfd.core.describe import numbered_output
from distfd.differentiation.noise import confidence
from distfd.differentiation.stencils import coefficients

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from distfd.differentiation.noise import Noise

    Floats = NDArray[np.float64]

_LEAST_ORDER = 2
"""Least number of points of a line, besides x, that give a slope at x."""
_BEFORE = 0.3
"""Weight of the last correction but one in the estimated error of a slope."""
_SURE = 3.0
"""Two slopes are different if they are farther apart than this many of their error bars."""
_WORTH = 1e-6
"""... and by more than this part of the sum of the components' absolute terms: less is rounding, whatever the bars
say."""
_WHOLE = 0.1
"""J varies as much over short steps as in all if the ratio of the two ranges is above this. For pure noise it is 0.8,
for waves about as long as a step it is less, and for a J that is smooth over the longest steps it is 3e-4."""
_SHORT = 1e-2
"""A line is short if its length is below this part of the longest line's."""
_PARABOLA = 3
"""Number of coefficients of a parabola."""
_LESS = 10.0
"""A line shows less noise than all lines together if its level is smaller by more than this factor. Of seven values of
pure noise, one set in 5,000 lies so near a parabola."""
_ROUND_OFF = 100.0
"""Changes of J by no more than this many units in its last place are round-off."""
_CLEAR = 2.0
"""A slope is significant if it is more than this many error bars from 0."""


@dataclass(frozen=True, eq=False)
class Line:
    """J at x + i v for i = 0, 1, ... n - 1.

    Attributes
    ----------
    spacing : float
        The length of v in the scale of x.
    indices : (c,) ndarray of int
        The coordinates that v moves.
    move : (c,) ndarray
            v in these coordinates.
    values : (n, m) ndarray
    """

    spacing: float
    indices: NDArray[np.int64]
    move: Floats
    values: Floats

    @property
    def reach(self) -> float:
        """Distance of the last point from x, in the scale of x."""
        return self.spacing * (len(self.values) - 1)

    @property
    def roughness(self) -> Floats:
        """The standard deviation of the values about a parabola, and at least what rounding makes, (m,)."""
        basis = np.vander(np.linspace(-1.0, 1.0, len(self.values)), _PARABOLA, increasing=True)
        with np.errstate(all="ignore"):
            left = self.values - basis @ (np.linalg.pinv(basis) @ self.values)
            level = np.sqrt(np.sum(left**2, axis=0) / max(self._freedom, 1))
            return np.asarray(np.maximum(level, _ROUND_OFF * np.spacing(np.abs(self.values).max(axis=0))))

    @property
    def _freedom(self) -> int:
        return len(self.values) - _PARABOLA

    def slope(self, noise: Noise) -> tuple[Floats, Floats]:
        """The change of J for one v at x, and its possible error, (m,) both; NaN and inf where neither can be told.

        It is the slope of a polynomial through x and the next points. Polynomials of rising degree are tried. The error
        of each is estimated by its correction to the one before and its noise; the one with the smallest error wins.
        """
        n, m = self.values.shape
        rises = self.values[1:] - self.values[0]
        best, doubt = np.full(m, np.nan), np.full(m, np.inf)
        found: list[Floats] = []
        noise = self._own(noise)
        for order in range(_LEAST_ORDER, n):
            offsets = np.arange(1.0, order + 1)
            weights = coefficients(offsets) / offsets
            with np.errstate(over="ignore", invalid="ignore"):
                found.append(weights @ rises[:order])
                if len(found) > 2:
                    last, before = np.abs(found[-1] - found[-2]), np.abs(found[-2] - found[-3])
                    # If the points are too few to resolve J's waves, two corrections in a row are seldom both small.
                    off = last + _BEFORE * before + noise.part(weights)
                    best, doubt = np.where(off < doubt, found[-1], best), np.fmin(off, doubt)
        return best, doubt

    def _own(self, noise: Noise) -> Noise:
        """The noise that this line shows, where that is far less than ``noise``, of all lines; see `estimate`.

        What is noise to a long line is the shape of J to a short one, whose points then lie on a parabola. Where J is
        the same at two of them in turn, steps of J or of x as a program reads it may be all that they show.
        """
        level, freedom = self.roughness, self._freedom
        with np.errstate(all="ignore"):
            smooth = (_LESS * level < noise.level) & (noise.quantum == 0) & (freedom >= _PARABOLA)
            smooth &= (np.diff(self.values, axis=0) != 0).all(axis=0)
        factor = np.where(smooth, confidence(np.array([freedom])), noise.factor)
        return replace(noise, level=np.where(smooth, level, noise.level), factor=factor)


@dataclass(frozen=True, eq=False)
class Disagreement:
    """The line along which the change of J differs most from the derivative's prediction.

    Attributes
    ----------
    line : Line
    along, expected : (m,) ndarrays
        The change of J for one v, by the line and by the derivative.
    gap : (m,) ndarray
        The difference of both; 0 in the outputs where they agree.
    """

    line: Line
    along: Floats
    expected: Floats
    gap: Floats

    def widening(self, rows: NDArray[np.int64]) -> Floats:
        """The amount by which to widen the bars of coordinates (a,) so that they cover the line's slope too, (a, m).

        The direction in which the derivatives differ is not known. v has equal parts in all its coordinates, and the
        gap is shared out in the same way.
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
    """The line that contradicts the derivative most; None where no line does.

    Parameters
    ----------
    lines : sequence of Line
    noise : Noise
    rows : (a,) ndarray of int
        Coordinates whose derivative is known; the others do not move.
    value, bar : (a, m) ndarrays
        The derivative, and its error bar (half the width of its interval).
    slack : (a, m) ndarray, optional
        At a kink, the distance of the one-sided slopes from the derivative, which is their mean; 0 elsewhere. A line
        lies on one side of the kink.
    """
    worst: Disagreement | None = None
    most = 0.0
    for line in lines:
        at = np.searchsorted(rows, line.indices)
        if len(rows) == 0 or (at >= len(rows)).any() or (rows[np.minimum(at, len(rows) - 1)] != line.indices).any():
            continue  # the line moves a coordinate that has no derivative
        along, doubt = line.slope(noise)
        with np.errstate(invalid="ignore", over="ignore"):
            expected = line.move @ value[at]
            # The signs of v are random, so the errors of its coordinates add up as those of independent numbers do.
            allowed = _SURE * (doubt + np.sqrt(line.move**2 @ bar[at] ** 2))
            if slack is not None:
                allowed = allowed + np.abs(line.move) @ slack[at]
            allowed = np.maximum(allowed, _WORTH * (np.abs(line.move) @ np.abs(value[at])))
            gap = np.where(np.abs(along - expected) > allowed, np.abs(along - expected), 0.0)
            part = float(np.max(np.nan_to_num(gap / np.maximum(np.abs(along), np.abs(expected))), initial=0.0))
        if part > most:
            worst, most = Disagreement(line, along, expected, gap), part
    return worst


def slope_warning(found: Disagreement, output: Callable[[int, int], str] = numbered_output) -> str:
    """A sentence with both slopes."""
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
    """A warning where J varies over the shortest steps as much as over the longest, and a derivative depends on it.

    The reason is noise, or a J whose own scale is far below all tried steps, such as sin(1e9 x); values cannot tell
    which. There is no warning for a derivative that is well above its error bar, as it is the slope of J's larger
    shape. Nor is there one for a derivative within its bar, which other warnings report, unless another output is
    significant.

    Parameters
    ----------
    lines : sequence of Line
    value, bar : (a, m) ndarrays
        The derivative, and its error bar (half the width of its interval); NaN where it is not known.
    names : callable
        Returns the names of the coordinates with row numbers (b,), as a text.
    output : callable
        Returns the name of an output, by its number and the number of outputs.
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
