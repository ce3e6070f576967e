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
    for j in np.flatnonzero((spread <= _ROUNDED_ALIKE * np.abs(typical)) & np.isfinite(typical)).tolist():
        digits = n_digits(float(value[j]))
        unit = 10.0 ** (np.floor(np.log10(abs(value[j]))) + 1 - digits) if value[j] else 0.0
        rounded = _DIGITS[0] <= digits <= _DIGITS[1] and abs(typical[j]) <= unit and many_digits(values[:, j])
        if not (steep[j] or rounded):
            continue
        where = f" of output {j}" if len(value) > 1 else ""
        why = f"it has {digits} digits, and J has all" if rounded else "it may be that of another x, or of another J"
        text = (
            f"f0 seems to be wrong: J at all other points differs from it by about the same amount{where}; {why}. Give "
            f"J(x) with all its digits, or leave f0 out (f0 = {value[j]:.17g}, J beside x about "
            f"{value[j] + typical[j]:.17g})"
        )
        return (text,)
    return ()


def _moves(points: Points) -> Floats:
    """How far each point is from x, in units of max(1, abs(x)) of the coordinate that moves most, (n,)."""
    x = points.x[points.indices]
    far = np.abs(points.values - x) / np.maximum(1.0, np.abs(x))
    moves = np.zeros(len(points))
    np.maximum.at(moves, np.repeat(np.arange(len(points)), np.diff(points.indptr)), far)
    return moves
