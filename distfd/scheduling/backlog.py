"""Points that wait for a slot: those never given out, those that go again, and those that must go by themselves."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Backlog:
    """Points in the order in which they go out.

    Parameters
    ----------
    index : (n,) ndarray
        Numbers of the points.
    expected : ndarray, optional
        Seconds to expect, by number of point; the points then go out longest first, as the last to begin decides when
        all are done (Graham 1969: within 4/3 of the best).
    """

    def __init__(self, index: NDArray[np.int64], expected: NDArray[np.float64] | None = None) -> None:
        self._ends: NDArray[np.float64] | None = None
        if expected is not None:
            index = index[np.argsort(-expected[index], kind="stable")]
            self._ends = np.cumsum(expected[index])
        self._fresh = index
        self._cursor = 0
        self._again: deque[NDArray[np.int64]] = deque()
        self._alone: deque[int] = deque()
        self._apart: deque[int] = deque()
        self._suspects: set[int] = set()
        self._count = len(index)

    def __len__(self) -> int:
        return self._count

    def seconds(self, mean: float) -> float:
        """What all that waits will take, where an evaluation of which nothing is known takes the mean."""
        if self._ends is None:
            return self._count * mean
        left = len(self._fresh) - self._cursor
        before = self._ends[self._cursor - 1] if self._cursor else 0.0
        return float(self._ends[-1] - before) + (self._count - left) * mean if left else self._count * mean

    def again(self, index: NDArray[np.int64]) -> None:
        """Have these go out once more."""
        if len(index):
            self._again.append(index)
            self._count += len(index)

    def alone(self, index: NDArray[np.int64]) -> None:
        """Have each of these go out by itself, before the others; suspects after them."""
        for k in index.tolist():
            (self._apart if k in self._suspects else self._alone).append(k)
        self._count += len(index)

    def suspect(self, k: int) -> None:
        """Have this point go out, from now on, where nothing else is at work, once nothing else waits."""
        self._suspects.add(k)

    @property
    def suspects(self) -> bool:
        """Whether there is, or was, any point that is suspected."""
        return bool(self._suspects)

    def next(self, *, lone: bool = True) -> int | None:
        """The point that goes out next, if there is any; the next of those that need not go alone, if not ``lone``."""
        if lone and self._alone:
            return self._alone[0]
        if self._again:
            return int(self._again[0][0])
        if self._cursor < len(self._fresh):
            return int(self._fresh[self._cursor])
        return self._apart[0] if lone and self._apart else None

    def take_alone(self) -> NDArray[np.int64]:
        """The next that must go alone; empty where there is none."""
        if not self._alone:
            return np.empty(0, dtype=np.int64)
        self._count -= 1
        return np.array([self._alone.popleft()], dtype=np.int64)

    def take_apart(self) -> NDArray[np.int64]:
        """The next of the suspects, once nothing else waits; else empty."""
        if not self._apart or self._count > len(self._apart):
            return np.empty(0, dtype=np.int64)
        self._count -= 1
        return np.array([self._apart.popleft()], dtype=np.int64)

    def take(self, seconds: float, mean: float | None) -> NDArray[np.int64]:
        """The next points, as many as take about that long, one at least; one where no time is known."""
        if self._again:
            index = self._again.popleft()
            size = _points(seconds, mean)
            if len(index) > size:
                self._again.appendleft(index[size:])
                index = index[:size]
        else:
            begin = self._cursor
            self._cursor = min(len(self._fresh), begin + max(1, self._fitting(seconds, mean)))
            index = self._fresh[begin : self._cursor]
        self._count -= len(index)
        return index

    def take_all(self) -> NDArray[np.int64]:
        """All that waits."""
        alone = np.array([*self._alone, *self._apart], dtype=np.int64)
        index = np.concatenate((alone, *self._again, self._fresh[self._cursor :]))
        self._alone.clear()
        self._apart.clear()
        self._again.clear()
        self._cursor, self._count = len(self._fresh), 0
        return index

    def _fitting(self, seconds: float, mean: float | None) -> int:
        if self._ends is None:
            return _points(seconds, mean)
        before = self._ends[self._cursor - 1] if self._cursor else 0.0
        return int(np.searchsorted(self._ends, before + seconds, side="right")) - self._cursor


def _points(seconds: float, mean: float | None) -> int:
    return 1 if mean is None else max(1, round(seconds / max(mean, 1e-9)))
