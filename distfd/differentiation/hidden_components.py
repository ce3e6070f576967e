"""Finds components that are lost in the noise seen by a directional check, although the whole derivative holds.

The check compares sums over all components, so it says nothing about a component that hardly changes the sum. But its
residual also estimates the noise in J, and the effect of that noise on each component is known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.differentiation.diagnostics import listed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from distfd.differentiation.base_point import BasePoint

    Floats = NDArray[np.float64]

_OFF = 0.1
"""A component is hidden where the noise in it is more than this part of the component ..."""
_MATTERS = 0.01
"""... where a change smaller than this part of the largest change of its output counts as if it had that size."""
_SURE = 1.5
"""The noise counts this many times, as its standard deviation is estimated from one residual only."""


@dataclass(frozen=True, eq=False)
class Entries:
    """The entries of a derivative, (e,) each.

    Attributes
    ----------
    output : (e,) ndarray of int
    coordinates : (e, k) ndarray of int
        One for first derivatives, two for second ones.
    value : (e,) ndarray
    size : (e,) ndarray
        Entry times size is the change of J along the steps.
    unit : (e,) ndarray
        Standard deviation of an entry if J had noise of standard deviation 1.
    """

    output: NDArray[np.int64]
    coordinates: NDArray[np.int64]
    value: Floats
    size: Floats
    unit: Floats


def first_derivatives(derivative: Any, size: Floats, unit: Floats) -> Entries:
    """The entries of a gradient or Jacobian, from each coordinate's step and its effect of noise, (d,)."""
    if isinstance(derivative, np.ndarray):
        table = np.atleast_2d(derivative)
        outputs, rows = np.nonzero(np.isfinite(table))
        value = table[outputs, rows]
    else:
        entries = derivative.tocoo()
        outputs, rows, value = entries.row.astype(np.int64), entries.col.astype(np.int64), np.asarray(entries.data)
    return Entries(outputs, rows[:, None], value, size[rows], unit[rows])


def may_hide(error: float | None, d: int) -> bool:
    """Whether noise that makes this relative error in d coordinates can hide any entry that matters.

    The noise of one entry is at most that of all, and all changes together are at most d times the largest one.
    """
    return error is None or _SURE * error * d >= _OFF * _MATTERS


def hidden_warnings(entries: Entries, noise: Floats, site: BasePoint, *, finds_steps: bool) -> tuple[str, ...]:
    """A sentence on the entries that noise of this size hides; nothing if there are none.

    Parameters
    ----------
    entries : Entries
    noise : (m,) ndarray
        Standard deviation of each output's noise, as seen by the check.
    site : BasePoint
    finds_steps : bool
        Whether ``step="auto"`` supports this kind of derivative.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        changes = np.abs(entries.value) * entries.size
        most = np.zeros(len(noise))
        np.fmax.at(most, entries.output, changes)
        bars = _SURE * noise[entries.output] * entries.unit * entries.size
        hidden = (bars > _OFF * np.maximum(changes, _MATTERS * most[entries.output])) & (entries.value != 0)
    if not hidden.any():
        return ()
    outputs, rows = entries.output[hidden], np.unique(entries.coordinates[hidden])
    of = f" of {listed(lambda j: site.output(j, len(noise)), np.unique(outputs))}" if len(noise) > 1 else ""
    remedy = "step='auto' finds steps, and error bars" if finds_steps else "take a larger step"
    text = (
        f"small components of the derivative{of} are not known to 10 %, along {listed(site.label, rows)}: J at one "
        f"more point differs from what the derivative predicts, as if J had noise of about {noise[outputs[0]]:.1g}, "
        f"and such noise changes these components by more than 10 %; {remedy}"
    )
    return (text,)
