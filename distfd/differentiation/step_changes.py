"""How much J changes over the steps along coordinates, and whether it is linear there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from distfd.core.records import Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from distfd.core.points import Points
    from distfd.differentiation.method import Answer, Wave

    Floats = NDArray[np.float64]
    Numbers = NDArray[np.int64]

_FARTHEST = 4.5
"""Points that are farther away than this many steps belong to something else, such as a search for the structure."""
_AT_ONCE = 1_000_000
"""About as many numbers are looked at at once: coordinates times outputs."""
_RATIO_DIGITS = 4
"""Decimals by which two lines are the same."""
_BENT = 0.3
"""J is not linear over the step if its slopes to the points of a line differ by this part of the largest one."""
_BESIDE = 1e-2
"""The size of an output counts as at least this part of the largest output."""


def changes_over_steps(
    kind: str, answer: Answer, waves: Sequence[Wave], moved: Floats, *, known: Floats, imaginary: bool
) -> tuple[Floats, Floats]:
    """The largest relative changes of J along some coordinates, over all outputs.

    An output's size is the largest one seen, and at least a part of the largest output. A point that moves several
    coordinates counts for each of them.

    Parameters
    ----------
    kind : str
        Of the derivative.
    answer : Answer
    waves : sequence of Wave
        In x, with the points that the derivative is made from.
    moved : (d,) ndarray
        By how much these points move the coordinates of interest; 0 for the others.
    known : (m,) ndarray
        The largest absolute value of each output in earlier waves; empty before the first.
    imaginary : bool
        Whether the derivative is by complex steps: their length makes no error.

    Returns
    -------
    change : (d,) ndarray
    bent : (d,) ndarray
        The same over the outputs that are far from linear over the step, by points that lie on a line through x.
    """
    m, d = len(answer.value), len(moved)
    dense = kind in ("gradient", "jacobian", "hessian") and isinstance(answer.derivative, np.ndarray)
    size, seen = np.abs(answer.value), []
    if len(known) == m:
        size = np.maximum(size, known)
    for wave in waves:
        if wave.values.shape[1] == m:
            together = np.diff(wave.request.points.indptr)
            good = (wave.status == Status.OK) & (together == 1 if dense else together > 0)
            size = np.maximum(size, np.max(np.abs(wave.values.real), axis=0, initial=0.0, where=good[:, None]))
            seen.append((wave, good))
    size = np.maximum(size, _BESIDE * size.max(initial=0.0))
    change, bent = np.zeros(d), np.zeros(d)
    rows, sparse = np.flatnonzero(moved), kind == "jacobian" and not dense
    some = len(rows) if sparse else max(1, _AT_ONCE // m)
    for start in range(0, len(rows), max(1, some)):
        part = np.zeros(d)
        part[rows[start : start + some]] = moved[rows[start : start + some]]
        found = [_rises(kind, answer, wave, good, part) for wave, good in seen]
        at, output, line, shift, rise = (np.concatenate(parts) for parts in zip(*found, strict=True))
        if not len(at):
            continue
        # A complex step's length makes no error, and points of a Hessian's product lie on no line through x.
        slope = rise / (np.nan if imaginary or kind == "hvp" else shift)
        order = np.lexsort((line, output, at))
        key = np.stack((at, output, line))[:, order]
        first = np.flatnonzero(np.append(True, (key[:, 1:] != key[:, :-1]).any(axis=0)))
        largest = np.nan_to_num(np.fmax.reduceat((np.abs(rise) / size[output])[order], first))
        high, low = np.fmax.reduceat(slope[order], first), np.fmin.reduceat(slope[order], first)
        curved = high - low > _BENT * np.maximum(np.abs(high), np.abs(low))
        np.maximum.at(change, at[order][first], largest)
        np.maximum.at(bent, at[order][first], np.where(curved, largest, 0.0))
    return change, bent


def _rises(
    kind: str, answer: Answer, wave: Wave, good: NDArray[np.bool_], moved: Floats
) -> tuple[Numbers, Numbers, Floats, Floats, Floats]:
    """Changes of J from x, with one row for each point of a wave, coordinate of interest and output.

    Parameters
    ----------
    good : (n,) ndarray of bool
        The points that count.
    moved : (d,) ndarray
        As for `changes_over_steps`.

    Returns
    -------
    at, output : (q,) ndarrays of int
        The coordinate and the output.
    line : (q,) ndarray
        The same for points on one line through x.
    shift, rise : (q,) ndarrays
        By how much the coordinate and J changed.
    """
    points = wave.request.points
    shifts = points.values.real - points.x[points.indices]
    near = np.abs(shifts) <= _FARTHEST * moved[points.indices]
    entry = np.flatnonzero(near & (moved[points.indices] > 0))
    point = np.searchsorted(points.indptr, entry, side="right") - 1
    entry, point = entry[good[point]], point[good[point]]
    which, output = _outputs_of(kind, answer, points.indices[entry])
    if kind == "jacobian" and not isinstance(answer.derivative, np.ndarray):
        alone = _moved_entries(answer, points, point[which], output) == 1
        which, output = which[alone], output[alone]
    there = wave.values[point[which], output]
    rise = np.abs(there.imag) if np.iscomplexobj(there) else there - answer.value[output]
    # Points on one line move their coordinates in one ratio.
    length = np.sqrt(np.bincount(np.repeat(np.arange(len(points)), np.diff(points.indptr)), shifts**2, len(points)))
    line = np.round(np.abs(shifts[entry]) / length[point], _RATIO_DIGITS)
    return points.indices[entry][which], output, line[which], shifts[entry][which], rise


def _outputs_of(kind: str, answer: Answer, coordinates: Numbers) -> tuple[Numbers, Numbers]:
    """The outputs that depend on each of some coordinates (n,), one after another.

    Returns
    -------
    which, output : (q,) ndarrays of int
        The place of a coordinate in ``coordinates``, and the number of an output.
    """
    m = len(answer.value)
    if kind != "jacobian" or isinstance(answer.derivative, np.ndarray):
        return np.repeat(np.arange(len(coordinates)), m), np.tile(np.arange(m), len(coordinates))
    entries = answer.derivative.tocoo()
    order = np.argsort(entries.col, kind="stable")
    starts = np.searchsorted(entries.col[order], np.arange(len(answer.step) + 1))
    count = starts[coordinates + 1] - starts[coordinates]
    which = np.repeat(np.arange(len(coordinates)), count)
    within = np.arange(len(which)) - np.repeat(np.cumsum(count) - count, count)
    return which, entries.row[order][starts[coordinates][which] + within].astype(np.int64)


def _moved_entries(answer: Answer, points: Points, point: Numbers, output: Numbers) -> Numbers:
    """How many entries of a sparse Jacobian, (q,), belong to an output and to coordinates that a point moves."""
    from scipy.sparse import csr_array

    entries = answer.derivative.tocoo()
    m, d = entries.shape
    pattern = csr_array((np.ones(len(entries.row), dtype=np.int64), (entries.col, entries.row)), shape=(d, m))
    moves = csr_array(
        (np.ones(len(points.indices), dtype=np.int64), points.indices, points.indptr), shape=(len(points), d)
    )
    both = (moves @ pattern).tocoo()
    known = both.row.astype(np.int64) * m + both.col
    order = np.argsort(known)
    place = np.searchsorted(known[order], point * m + output)
    return np.asarray(both.data[order][place])  # each of them moves one at least
