"""Components that are small beside the noise which a directional check has seen, where the derivative as a whole holds.

The check compares sums over all components, so that it says nothing of those that hardly matter there. But its residual
is also an estimate of the noise in J, and that noise moves each component by a known amount.
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
"""A component is hidden where noise moves it by more than this part of itself ..."""
_MATTERS = 0.01
"""... or of this part of the largest change of its output, if that is more: less is no matter."""
_SURE = 1.5
"""Standard deviations of the noise that count: it is known from one residual."""


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
        Times this, an entry is a change of J along the steps.
    unit : (e,) ndarray
        By how much noise of standard deviation 1 in J moves an entry.
    """

    output: NDArray[np.int64]
    coordinates: NDArray[np.int64]
    value: Floats
    size: Floats
    unit: Floats


def first_derivatives(derivative: Any, size: Floats, unit: Floats) -> Entries:
    """The entries of a gradient or Jacobian, with steps and the effect of noise by coordinate, (d,)."""
    if isinstance(derivative, np.ndarray):
        table = np.atleast_2d(derivative)
        outputs, rows = np.nonzero(np.isfinite(table))
        value = table[outputs, rows]
    else:
        entries = derivative.tocoo()
        outputs, rows, value = entries.row.astype(np.int64), entries.col.astype(np.int64), np.asarray(entries.data)
    return Entries(outputs, rows[:, None], value, size[rows], unit[rows])


def may_hide(error: float | None, d: int) -> bool:
    """Whether noise that makes this relative error of a derivative by d coordinates can hide any entry that matters.

    No entry's noise is more than that of all, and all changes together are at most d times the largest.
    """
    return error is None or _SURE * error * d >= _OFF * _MATTERS


def hidden_warnings(entries: Entries, noise: Floats, site: BasePoint, *, finds_steps: bool) -> tuple[str, ...]:
    """A sentence on the entries that noise of this size hides; none, if there are none.

    Parameters
    ----------
    entries : Entries
    noise : (m,) ndarray
        Standard deviation of each output's noise, as the check has seen it.
    site : BasePoint
    finds_steps : bool
        Whether ``step="auto"`` is there for such a derivative.
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
