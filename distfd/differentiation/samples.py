"""What earlier requests say of J along single coordinates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from distfd.core.records import Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from distfd.core.records import Failure
    from distfd.differentiation.method import Wave

    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]

_SAME = 1e-6
"""Two points that are nearer to each other than this part of the step, or two ulps, are one: rounding at a bound, and
of the step that follows from it, costs as much."""


@dataclass(frozen=True, eq=False)
class Samples:
    """Real points that move one of a coordinates each, in the order in which they were asked for.

    Attributes
    ----------
    x : (a,) ndarray
        The coordinates themselves.
    row : (s,) ndarray of int
        Which of the coordinates each point moves.
    at : (s,) ndarray
        What it becomes.
    ok : (s,) ndarray of bool
    values : (s, m) ndarray
    """

    x: Floats
    row: NDArray[np.int64]
    at: Floats
    ok: Flags
    values: Floats

    def near(self, at: Floats, h: Floats) -> tuple[Flags, Flags, Floats, Floats]:
        """For the points at which each coordinate becomes ``at``, (a,): is there a value, was J asked, and for what.

        ``h``, (a,), are the steps, which say how near a point is the same one.
        """
        a = len(at)
        ok, asked = np.zeros(a, dtype=bool), np.zeros(a, dtype=bool)
        values, known = np.full((a, self.values.shape[1]), np.nan), np.full(a, np.nan)
        apart = _SAME * h + 2 * np.spacing(np.abs(self.x))
        with np.errstate(invalid="ignore"):
            same = np.flatnonzero(np.abs(self.at - at[self.row]) <= apart[self.row])
        row = self.row[same]
        ok[row], asked[row], values[row], known[row] = self.ok[same], True, self.values[same], self.at[same]
        return ok, asked, values, known

    def nearest(self) -> Floats:
        """How far the nearest point of each coordinate is, (a,); inf where there is none."""
        distance = np.full(len(self.x), np.inf)
        np.minimum.at(distance, self.row, np.abs(self.at - self.x[self.row]))
        return distance


def failed_coordinates(waves: Sequence[Wave]) -> dict[int, tuple[complex, Failure | None]]:
    """Coordinates along which J failed: where first, as an offset, and why."""
    found: dict[int, tuple[complex, Failure | None]] = {}
    for wave in waves:
        points = wave.request.points
        for k in np.flatnonzero((wave.status != Status.OK) & (np.diff(points.indptr) == 1)).tolist():
            indices, values = points.changes(k)
            i = int(indices[0])
            found.setdefault(i, (complex(values[0] - points.x[i]), wave.failures.get(k)))
    return found


def gather_samples(waves: Sequence[Wave], x: Floats, rows: NDArray[np.int64], outputs: int) -> Samples:
    """The samples of these coordinates, (a,) in rising order."""
    row, at, ok, values = [], [], [], []
    for wave in waves:
        points = wave.request.points
        single = np.flatnonzero((np.diff(points.indptr) == 1) & ~points.imaginary)
        changed = points.indices[points.indptr[single]]
        mine = np.isin(changed, rows)
        single, changed = single[mine], changed[mine]
        row.append(np.searchsorted(rows, changed))
        at.append(points.values[points.indptr[single]].real)
        ok.append(wave.status[single] == Status.OK)
        values.append(wave.values[single].real)
    return Samples(
        x[rows],
        np.concatenate([np.empty(0, dtype=np.int64), *row]),
        np.concatenate([np.empty(0), *at]),
        np.concatenate([np.empty(0, dtype=bool), *ok]),
        np.concatenate([np.empty((0, outputs)), *values]),
    )
