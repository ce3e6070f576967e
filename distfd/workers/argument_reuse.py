"""Handing J one point after another: as copies, or, where a copy would cost more than J, as one array changed in place.

J may keep its x or write to it. So each point is a copy of its own, until J is seen to take so little time that copying
d numbers shows; if it has then neither kept nor changed what it was given, further points are changed in place in one
array, of which J sees a read-only view, and put back after it.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from distfd.core.points import Points

_SHOWS = 0.02
"""Copies may take this part of J's own time."""
_FEW = 4
"""Coordinates of a point, on average, that are changed one by one: with so few, arrays of indices take ten times as
long after J has waited for a millisecond."""


class ArgumentLender:
    """Calls J with points, of which it remembers how J treats them."""

    def __init__(self) -> None:
        self._careful = False
        """Whether J has kept or changed an x: it is given copies for good."""
        self._copying = self._calling = 0.0
        self._base: NDArray[Any] | None = None
        self._points: Points | None = None
        self._changes: _Changes | None = None

    def call(self, fun: Callable[[NDArray[Any]], Any], points: Points, k: int) -> Any:
        """``fun`` at point k; whatever it raises passes through."""
        if self._careful or self._copying <= _SHOWS * self._calling or points.values.dtype.kind == "c":
            return self._with_copy(fun, points, k)
        return self._in_place(fun, points, k)

    def end(self) -> None:
        """No more points against this x."""
        self._base = self._points = self._changes = None

    def _with_copy(self, fun: Callable[[NDArray[Any]], Any], points: Points, k: int) -> Any:
        begin = time.perf_counter()
        x = points.dense(k)
        ours = sys.getrefcount(x)  # how many that is depends on the Python
        called = time.perf_counter()
        value = fun(x)
        ended = time.perf_counter()
        # The latest evaluation decides; the first of a process has imports and caches in it.
        self._copying, self._calling = called - begin, ended - called
        if not self._careful and self._copying > _SHOWS * self._calling:
            self._careful = sys.getrefcount(x) > ours or not _same_bits(x, points.dense(k))
        return value

    def _in_place(self, fun: Callable[[NDArray[Any]], Any], points: Points, k: int) -> Any:
        if self._base is None or self._changes is None or self._points is not points:
            self._base, self._points, self._changes = points.x.copy(), points, _Changes(points)
        base = self._base
        self._changes.make(base, k)
        view = base.view()
        view.flags.writeable = False
        ours = sys.getrefcount(view), sys.getrefcount(base)
        try:
            value = fun(view)
        except ValueError as error:
            self._base = None
            if "read-only" not in str(error):
                raise
            self._careful = True
            return fun(points.dense(k))
        except BaseException:
            self._base = None  # the traceback may hold it
            raise
        if sys.getrefcount(view) > ours[0] or sys.getrefcount(base) > ours[1] or view.flags.writeable:
            self._careful, self._base = True, None  # J keeps this one as it is, or may have written to it
        else:
            self._changes.undo(base, k)
        return value


class _Changes:
    """What the points change in x, made in an array and undone there."""

    def __init__(self, points: Points) -> None:
        self._few = len(points.indices) <= _FEW * len(points)
        columns: tuple[NDArray[Any], ...] = points.indices, points.values, points.x[points.indices]
        self._starts = points.indptr.tolist()
        self._at: Any
        self._new: Any
        self._old: Any
        self._at, self._new, self._old = (each.tolist() for each in columns) if self._few else columns

    def make(self, base: NDArray[Any], k: int) -> None:
        """Make those of point k in an array that is x."""
        self._put(base, k, self._new)

    def undo(self, base: NDArray[Any], k: int) -> None:
        """Make it x again."""
        self._put(base, k, self._old)

    def _put(self, base: NDArray[Any], k: int, values: Any) -> None:
        begin, end = self._starts[k], self._starts[k + 1]
        if self._few:
            for s in range(begin, end):
                base[self._at[s]] = values[s]
        else:
            base[self._at[begin:end]] = values[begin:end]


def _same_bits(a: NDArray[Any], b: NDArray[Any]) -> bool:
    return bool(np.array_equal(a.view(np.uint8), b.view(np.uint8)))
