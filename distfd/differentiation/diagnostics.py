"""Reasons to doubt a derivative, as sentences that name its coordinates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Label = Callable[[int], str]

_NAMED = 5
"""Coordinates that a sentence names; of more it gives the number."""


def no_movement_warnings(label: Label, rows: NDArray[np.int64], quantum: float) -> tuple[str, ...]:
    """For coordinates (a,) that were moved without any change in J.

    ``quantum`` is the unit in which J is rounded, 0 where it has all its digits.
    """
    if not len(rows):
        return ()
    if quantum > 0:
        why = f"J has few digits (it is a multiple of {quantum:.3g}), and smaller changes are lost: use a larger step"
        return (f"J did not change at all along {_listed(label, rows)}. {why}",)
    why = "either J does not depend on it, or the step is too small to show it"
    return (f"J did not change at all along {_listed(label, rows)}: {why}",)


def noise_warnings(label: Label, rows: NDArray[np.int64], value: Floats, bar: Floats) -> tuple[str, ...]:
    """For coordinates (a,) whose slopes (a, m) are all within their bars."""
    with np.errstate(invalid="ignore"):
        lost = (bar > np.abs(value)).all(axis=1) & (value != 0).any(axis=1)
    if not lost.any():
        return ()
    at = np.flatnonzero(lost)
    one = ""
    if len(at) == 1 and value.shape[1] == 1:
        one = f" ({value[at[0], 0]:.3g} +- {bar[at[0], 0]:.3g})"
    return (f"noise above the signal: the derivative along {_listed(label, rows[at])} is not told from 0{one}",)


def kink_warnings(label: Label, rows: NDArray[np.int64]) -> tuple[str, ...]:
    """For coordinates (a,) along which J has one slope on one side of x, and another on the other."""
    if not len(rows):
        return ()
    why = "its slopes on the two sides disagree, however near they are taken, and the derivative is their mean"
    return (f"J seems to have a kink at x along {_listed(label, rows)}: {why}",)


def _listed(label: Label, rows: NDArray[np.int64]) -> str:
    names = ", ".join(label(int(k)) for k in rows[:_NAMED])
    return names if len(rows) <= _NAMED else f"{names} and {len(rows) - _NAMED} more"
