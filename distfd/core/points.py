"""Points, stored as changes against one x instead of a dense n x d array, and their keys."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import ArrayLike, NDArray

    from distfd.core.records import Batch


_LANES = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F)

_IMAGINARY = np.uint64(0x165667B19E3779F9)


@dataclass(frozen=True, eq=False)
class Points:
    """n points: point k is ``x`` with ``x[indices[s]] = values[s]`` for s in ``indptr[k]:indptr[k + 1]``.

    The layout is that of a compressed sparse row matrix. A point without changes is x itself (the baseline). If
    ``values`` is complex, a point is complex if one of its own values has an imaginary part; all others are real.
    """

    x: NDArray[np.float64]
    indptr: NDArray[np.int64]
    indices: NDArray[np.int64]
    values: NDArray[Any]

    def __len__(self) -> int:
        return len(self.indptr) - 1

    @property
    def imaginary(self) -> NDArray[np.bool_]:
        """Which points are complex, (n,)."""
        if self.values.dtype.kind != "c":
            return np.zeros(len(self), dtype=bool)
        counts = np.concatenate(([0], np.cumsum(self.values.imag != 0)))
        return np.asarray(counts[self.indptr[1:]] > counts[self.indptr[:-1]])

    def changes(self, k: int) -> tuple[NDArray[np.int64], NDArray[Any]]:
        """The changed coordinates of point k and their new values, which are complex only if the point is."""
        part = slice(int(self.indptr[k]), int(self.indptr[k + 1]))
        values = self.values[part]
        if values.dtype.kind == "c" and not values.imag.any():
            values = values.real
        return self.indices[part], values

    def dense(self, k: int) -> NDArray[Any]:
        """Point k as a fresh, writable (d,) array."""
        indices, values = self.changes(k)
        at = self.x.astype(values.dtype)
        at[indices] = values
        return at

    def take(self, numbers: NDArray[np.int64]) -> Points:
        """The points with these numbers, in this order, against the same x."""
        starts, ends = self.indptr[numbers], self.indptr[numbers + 1]
        counts = ends - starts
        indptr = np.concatenate(([0], np.cumsum(counts)))
        flat = np.arange(indptr[-1]) + np.repeat(starts - indptr[:-1], counts)
        return Points(self.x, indptr, self.indices[flat], self.values[flat])

    def keys(self, salt: int = 0) -> NDArray[np.uint64]:
        """The key of each point, two 64-bit numbers that identify it, (n, 2).

        A key is the sum of a hash for each coordinate's index and bits, so it does not depend on which x the point is
        written against and costs O(changes), not O(d). Sums wrap at 2^64. ``salt`` (128 bits) separates objectives.
        An imaginary part other than 0 adds its own hash, so a real point has the same key in real and complex requests.
        """
        unreal = np.flatnonzero(self.values.imag) if self.values.dtype.kind == "c" else np.zeros(0, np.int64)
        lanes = []
        for lane, part in zip(_LANES, (salt, salt >> 64), strict=True):
            seed = np.uint64((lane ^ part) & 0xFFFFFFFFFFFFFFFF)
            base = _hash(np.arange(len(self.x)), self.x, seed).sum(dtype=np.uint64)
            change = _hash(self.indices, self.values.real, seed) - _hash(self.indices, self.x[self.indices], seed)
            change[unreal] += _hash(self.indices[unreal], self.values.imag[unreal], seed ^ _IMAGINARY)
            total = np.concatenate((np.zeros(1, np.uint64), np.cumsum(change, dtype=np.uint64)))
            lanes.append(base + total[self.indptr[1:]] - total[self.indptr[:-1]])
        return np.stack(lanes, axis=1)


def join_points(parts: Sequence[Points]) -> Points:
    """Joins several sets of points; all must be written against the same x."""
    indptr, end = [np.zeros(1, dtype=np.int64)], 0
    for part in parts:
        indptr.append(part.indptr[1:] + end)
        end += int(part.indptr[-1])
    indices, values = (np.concatenate([getattr(part, name) for part in parts]) for name in ("indices", "values"))
    return Points(parts[0].x, np.concatenate(indptr), indices, values)


def single_points(x: NDArray[np.float64], coordinates: NDArray[np.int64], values: NDArray[np.float64]) -> Points:
    """The points, n of them, of which each changes one of these coordinates, (n,), to one of these values, (n,)."""
    return Points(x, np.arange(len(values) + 1), coordinates, values)


def dense_points(rows: Sequence[ArrayLike]) -> Points:
    """Points, given as one or more (d,) arrays, written as changes against the first."""
    at = [np.array(row, dtype=np.float64) for row in rows]
    x = at[0]
    # Compare bits, not values, as J may tell -0.0 from 0.0.
    changed = [np.flatnonzero(row.view(np.uint64) != x.view(np.uint64)) for row in at]
    indptr = np.cumsum([0, *(len(c) for c in changed)], dtype=np.int64)
    return Points(
        x, indptr, np.concatenate(changed), np.concatenate([row[c] for row, c in zip(at, changed, strict=True)])
    )


def _hash(index: NDArray[np.int64], value: NDArray[np.float64], seed: np.uint64) -> NDArray[np.uint64]:
    """Hash (index, bits of value) with two rounds of the splitmix64 finaliser (Steele, Lea & Flood 2014)."""
    with np.errstate(over="ignore"):
        z = _mix(index.astype(np.uint64) * np.uint64(_LANES[0]) + seed)
        return _mix(z ^ np.ascontiguousarray(value).view(np.uint64))


def _mix(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def find_repeats(keys: NDArray[np.uint64]) -> dict[int, NDArray[np.int64]]:
    """Points that equal an earlier one, by the number of that one: equal points are evaluated only once."""
    if len(np.unique(keys[:, 0])) == len(keys):
        return {}
    # There are repeats, which is rare: a slower method finds which points repeat which.
    _, first, which = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    first_of = first[which.reshape(-1)]
    again = np.flatnonzero(first_of != np.arange(len(keys)))
    return {int(k): again[first_of[again] == k] for k in np.unique(first_of[again])}


def repeated(final: Batch, repeats: dict[int, NDArray[np.int64]]) -> Iterator[Batch]:
    """The outcome of evaluated points, repeated for the points that equal them."""
    for r in [r for r, k in enumerate(final.index.tolist()) if k in repeats] if repeats else ():
        k = int(final.index[r])
        same = final.take(np.full(len(repeats[k]), r))
        failures = dict.fromkeys(repeats[k].tolist(), final.failures[k]) if k in final.failures else {}
        yield replace(same, index=repeats[k], failures=failures, reused=True)
