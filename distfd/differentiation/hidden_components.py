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
"""The noise counts this many times, as its standard deviation is estimated from one or two numbers only."""
_LEAST, _LEAST_OF_ROUNDING = 1e-7, 1e-4
"""Noise that points near x show is held against the largest change in an entry's own row, but a change smaller than a
part of the largest of all counts as if it had that size. The second part is for noise that may be mere rounding: at the
steps of second differences its effect is about 1e-7 of the largest change, and no news in a row of zeros."""
_UNIFORM = 12**-0.5
"""The standard deviation of rounding, in units in the last place."""
_ROUNDING = 100.0
"""Noise of up to this many units in the last place of J, or of the terms that J is made of, may be mere rounding."""


@dataclass(frozen=True)
class NearNoise:
    """The noise that points near x show, as a standard deviation; J(x); and the relative rounding error of its type.

    Where J does not even change from point to point, it still has its rounding.
    """

    seen: float
    value: float
    roundoff: float

    @property
    def level(self) -> float:
        """The standard deviation of the noise, that of rounding at least."""
        return max(self.seen, _UNIFORM * self.roundoff * abs(self.value))


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


def hidden_warnings(
    entries: Entries, noise: Floats, site: BasePoint, *, finds_steps: bool, near: NearNoise | None = None
) -> tuple[str, ...]:
    """A sentence on the entries that noise of this size hides; nothing if there are none.

    Parameters
    ----------
    entries : Entries
    noise : (m,) ndarray
        Standard deviation of each output's noise, as the check's residual has it.
    site : BasePoint
    finds_steps : bool
        Whether ``step="auto"`` supports this kind of derivative.
    near : NearNoise, optional
        Of second derivatives.
    """
    changes, most = _changes(entries, len(noise))
    hidden = _hidden(entries, noise, changes, most)
    with np.errstate(over="ignore", invalid="ignore"):
        why, size = "J at one more point differs from what the derivative predicts, as if J had", noise
        if near is not None:
            unit = _SURE * entries.unit * entries.size
            small = (near.level * unit > _OFF * _least(entries, changes, most, near, site.x)) & (entries.value != 0)
            if small.any():
                hidden |= small
                why, size = "J at three points near x shows", np.array([near.level])
    if not hidden.any():
        return ()
    outputs, rows = entries.output[hidden], np.unique(entries.coordinates[hidden])
    of = f" of {listed(lambda j: site.output(j, len(noise)), np.unique(outputs))}" if len(noise) > 1 else ""
    remedy = "step='auto' finds steps, and error bars" if finds_steps else "take a larger step"
    text = (
        f"small components of the derivative{of} are not known to 10 %, along {listed(site.label, rows)}: {why} "
        f"noise of about {size[outputs[0]]:.1g}, and such noise changes these components by more than 10 %; {remedy}"
    )
    return (text,)


def hidden_coordinates(entries: Entries, noise: Floats) -> NDArray[np.int64]:
    """The coordinates of the entries that noise of this size, (m,), hides."""
    return np.unique(entries.coordinates[_hidden(entries, noise, *_changes(entries, len(noise)))])


def _changes(entries: Entries, m: int) -> tuple[Floats, Floats]:
    """The change of J along the steps by each entry, (e,), and the largest for each output, (m,)."""
    with np.errstate(over="ignore", invalid="ignore"):
        changes = np.abs(entries.value) * entries.size
        most = np.zeros(m)
        np.fmax.at(most, entries.output, changes)
    return changes, most


def _hidden(entries: Entries, noise: Floats, changes: Floats, most: Floats) -> NDArray[np.bool_]:
    """Which entries noise of this size, (m,), hides, (e,)."""
    with np.errstate(over="ignore", invalid="ignore"):
        in_entries = _SURE * noise[entries.output] * entries.unit * entries.size
        matters = np.maximum(changes, _MATTERS * most[entries.output])
        return np.asarray((in_entries > _OFF * matters) & (entries.value != 0))


def _least(entries: Entries, changes: Floats, most: Floats, near: NearNoise, x: Floats) -> Floats:
    """The changes by which entries count, (e,): their own, or what matters in their rows where this is more."""
    rounding = near.level <= _ROUNDING * near.roundoff * _terms(entries, near.value, x)
    least = (_LEAST_OF_ROUNDING if rounding else _LEAST) * most[entries.output]
    return np.asarray(np.maximum.reduce((changes, _MATTERS * _largest_of_row(entries, changes, most), least)))


def _terms(entries: Entries, value: float, x: Floats) -> float:
    """The size of the terms that J is made of, by J(x) and by the derivative: rounding of J is relative to them."""
    parts = np.abs(entries.value) * np.maximum(entries.size, np.abs(x[entries.coordinates]).prod(axis=1))
    return max(abs(value), float(np.nan_to_num(parts).max(initial=0.0)))


def _largest_of_row(entries: Entries, changes: Floats, most: Floats) -> Floats:
    """The largest change in each entry's row, (e,); of a second derivative, in the one of its two rows with less.

    ``most`` is the largest of each output, which is the row of a first derivative.
    """
    if entries.coordinates.shape[1] == 1:
        return np.asarray(most[entries.output])
    largest = np.zeros(int(entries.coordinates.max(initial=0)) + 1)
    for rows in entries.coordinates.T:
        np.fmax.at(largest, rows, changes)
    return np.asarray(largest[entries.coordinates].min(axis=1))
