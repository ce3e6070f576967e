"""Looks at a J(x) that the caller gave, beside J at the other points: a wrong one spoils all one-sided differences."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from distfd.core.records import Status
from distfd.differentiation.method import Answer, Request
from distfd.differentiation.rounding_quantum import many_digits, n_digits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from distfd.core.points import Points
    from distfd.differentiation.method import Method, Wave

    Floats = NDArray[np.float64]

_ALIKE = 0.01
"""Changes of J from the given value to all points are alike if they differ by no more than this part of them."""
_STEEP = 20.0
"""Such changes are none of J's if they are this many times those of a J that changes by its own size over the scale of
x."""
_ROUNDED_ALIKE = 0.35
"""The same limit as `_ALIKE` where rounding of the given value explains the changes."""
_LINE = 2
"""Least number of points along a coordinate that show J at x."""
_DIGITS = (4, 13)
"""A rounded number has between so many decimal digits. One with fewer may be J's exact value at round x."""


@dataclass(frozen=True, eq=False)
class GivenValue:
    """A method whose baseline is a value that the caller gave; its answer says where that value seems to be wrong.

    Parameters
    ----------
    method : Method
    value : (m,) ndarray
        The given J(x).
    """

    method: Method[Answer]
    value: Floats

    def advance(self, waves: Sequence[Wave]) -> Request | Answer:
        """The method's request or answer."""
        step = self.method.advance(waves)
        if isinstance(step, Request):
            return step
        return replace(step, warnings=step.warnings + given_value_warnings(self.value, waves[0]))


def given_value_warnings(value: Floats, wave: Wave) -> tuple[str, ...]:
    """A warning where J changes by the same amount from the given value (m,) to every other point of a wave.

    For a smooth J, changes along different coordinates differ. If all are alike, they may be the error of the given
    value: it was rounded, or is that of another x or another J.
    """
    points = wave.request.points
    moves = _moves(points)
    others = (wave.status == Status.OK) & (moves > 0) & ~np.asarray(points.imaginary, dtype=bool)
    if others.sum() < 2 or wave.values.shape[1] != len(value):
        return ()
    values, far = wave.values[others].real, float(np.median(moves[others]))
    with np.errstate(all="ignore"):
        rises = values - value
        typical, spread = np.median(rises, axis=0), np.ptp(rises, axis=0)
        size = np.maximum(np.abs(values).max(axis=0), np.abs(value))
        steep = (spread <= _ALIKE * np.abs(typical)) & (np.abs(typical) > _STEEP * far * size)
        alike = (spread <= _ROUNDED_ALIKE * np.abs(typical)) & np.isfinite(typical)
        along, curved = _along_lines(points, wave, others, value)
        missed = np.median(along, axis=0) if len(along) > 1 else np.full(len(value), np.nan)
        near = np.isfinite(missed) & (alike | curved | (value != 0))
        apart = np.ptp(along, axis=0) / np.abs(missed) if len(along) > 1 else missed
        near &= apart <= _ROUNDED_ALIKE
        steep |= near & (apart <= _ALIKE) & (np.abs(missed) > (_STEEP * far) ** 2 * size)
    for j in np.flatnonzero(alike | near).tolist():
        digits = n_digits(float(value[j]))
        unit = 10.0 ** (np.floor(np.log10(abs(value[j]))) + 1 - digits) if value[j] else 0.0
        off = float(missed[j] if near[j] else typical[j])
        rounded = _DIGITS[0] <= digits <= _DIGITS[1] and abs(off) <= unit and many_digits(values[:, j])
        if not (steep[j] or rounded):
            continue
        where = f" of output {j}" if len(value) > 1 else ""
        why = f"it has {digits} digits, and J has all" if rounded else "it may be that of another x, or of another J"
        text = (
            f"f0 seems to be wrong: J at all other points differs from it by about the same amount{where}; {why}. Give "
            f"J(x) with all its digits, or leave f0 out (f0 = {value[j]:.17g}, J beside x about "
            f"{value[j] + off:.17g})"
        )
        return (text,)
    return ()


def _along_lines(points: Points, wave: Wave, others: NDArray[np.bool_], value: Floats) -> tuple[Floats, bool]:
    """How far J at x, by a polynomial through the points along each coordinate, is from the given value.

    Returns
    -------
    missed : (a, m) ndarray
        For each of the coordinates along which there are two points or more.
    curved : bool
        Whether there are three or more along each: a parabola, whose minimum of 0 may be at x, is not missed then.
    """
    alone = np.flatnonzero(others & (np.diff(points.indptr) == 1))
    at = points.indptr[alone]
    along, t = points.indices[at], points.values[at] - points.x[points.indices[at]]
    order = np.lexsort((np.abs(t), along))
    _, first, count = np.unique(along[order], return_index=True, return_counts=True)
    missed = []
    for n in np.unique(count[count >= _LINE]).tolist():
        rows = order[first[count == n, None] + np.arange(n)]
        apart = t[rows][:, None, :] - t[rows][:, :, None]
        apart[:, range(n), range(n)] = 1.0
        ratio = np.broadcast_to(t[rows][:, None, :], apart.shape) / apart
        ratio[:, range(n), range(n)] = 1.0
        weights = ratio.prod(axis=2)  # Lagrange's, at x
        missed.append(np.einsum("an,anm->am", weights, wave.values[alone[rows]].real) - value)
    known = np.concatenate(missed) if missed else np.empty((0, len(value)))
    return known, bool((count > _LINE).all())


def _moves(points: Points) -> Floats:
    """How far each point is from x, in units of max(1, abs(x)) of the coordinate that moves most, (n,)."""
    x = points.x[points.indices]
    far = np.abs(points.values - x) / np.maximum(1.0, np.abs(x))
    moves = np.zeros(len(points))
    np.maximum.at(moves, np.repeat(np.arange(len(points)), np.diff(points.indptr)), far)
    return moves
