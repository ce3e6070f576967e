"""Evaluations as one structured array, for those who count and plot them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core.records import Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from distfd.core.points import Points
    from distfd.core.records import Batch
    from distfd.differentiation.method import Request

    Waves = Sequence[tuple[Request, Sequence[Batch]]]

BASELINE, SEVERAL = -1, -2
"""What stands for a coordinate where none was moved, and where more than one was."""


def evaluation_array(waves: Waves) -> NDArray[Any]:
    """One row for each evaluation, in the order in which they came.

    Returns
    -------
    structured ndarray
        ``wave`` and ``point`` (its number there); ``coordinate`` that was moved (-1 at the baseline, -2 where several
        were) and its ``displacement`` (NaN for several); ``value``, a float, complex at the points of a complex step,
        or (m,) where J has m outputs, NaN where it failed; ``status``, to be compared with `distfd.Status`;
        ``attempt`` (1 for a first try, 0 where the value was known before); ``started`` and ``ended``, seconds since
        the epoch by the clock of ``host``; ``pid``, ``slot``, ``reused``.
    """
    waves = [(request, full) for request, batches in waves if (full := [batch for batch in batches if len(batch)])]
    array = np.zeros(sum(len(batch) for _, batches in waves for batch in batches), dtype=_dtype(waves))
    end = 0
    for number, (request, batches) in enumerate(waves):
        start, end = end, end + sum(map(len, batches))
        _fill(array[start:end], request.points, batches)
        array["wave"][start:end] = number
    return array


def _outputs(request: Request, batches: Sequence[Batch]) -> int:
    """How many outputs J has in a wave; a complex number is two of a batch's."""
    if not request.vector:
        return 1
    index, size = (np.concatenate([getattr(batch, name) for batch in batches]) for name in ("index", "size"))
    return max(1, int(np.where(request.points.imaginary[index], size // 2, size).max()))


def _dtype(waves: Waves) -> np.dtype[Any]:
    unreal = any(request.points.values.dtype.kind == "c" for request, _ in waves)
    outputs = max((_outputs(request, batches) for request, batches in waves), default=1)
    number: Any = np.complex128 if unreal else np.float64
    host = max((len(batch.host) for _, batches in waves for batch in batches), default=1)
    return np.dtype(
        [
            ("wave", np.int32),
            ("point", np.int64),
            ("coordinate", np.int64),
            ("displacement", number),
            ("value", number, (outputs,)) if outputs > 1 else ("value", number),
            ("status", np.uint8),
            ("attempt", np.int32),
            ("started", np.float64),
            ("ended", np.float64),
            ("host", f"U{max(host, 1)}"),
            ("pid", np.int64),
            ("slot", np.int32),
            ("reused", np.bool_),
        ]
    )


def _fill(rows: NDArray[Any], points: Points, batches: Sequence[Batch]) -> None:
    """Take one wave's batches, all at once: there may be as many of them as points."""
    index = np.concatenate([batch.index for batch in batches])
    rows["point"] = index
    for name in ("status", "attempt", "started", "ended"):
        rows[name] = np.concatenate([getattr(batch, name) for batch in batches])
    lengths = [len(batch) for batch in batches]
    for name in ("host", "pid", "slot", "reused"):
        rows[name] = np.repeat(np.array([getattr(batch, name) for batch in batches]), lengths)
    _fill_places(rows, points, index)
    size = np.concatenate([batch.size for batch in batches])
    _fill_values(rows, points.imaginary[index], size, np.concatenate([batch.flat for batch in batches]))


def _fill_places(rows: NDArray[Any], points: Points, index: NDArray[np.int64]) -> None:
    moved = points.indptr[index + 1] - points.indptr[index]
    rows["coordinate"] = np.where(moved == 0, BASELINE, SEVERAL)
    rows["displacement"] = np.where(moved == 0, 0.0, np.nan)
    one = np.flatnonzero(moved == 1)
    at = points.indptr[index[one]]
    rows["coordinate"][one] = points.indices[at]
    rows["displacement"][one] = points.values[at] - points.x[points.indices[at]]


def _fill_values(
    rows: NDArray[Any], unreal: NDArray[np.bool_], size: NDArray[np.int64], flat: NDArray[np.float64]
) -> None:
    values = rows["value"]
    values[...] = np.nan
    table = values.reshape(len(rows), -1)
    starts = np.cumsum(size) - size
    for complex_ in (False, True) if rows.dtype["value"].base.kind == "c" else (False,):
        width = table.shape[1] * (1 + complex_)
        # A row of another size failed: J had another number of outputs there than elsewhere.
        fits = np.flatnonzero((unreal == complex_) & (size == width) & (rows["status"] == Status.OK))
        numbers = flat[starts[fits][:, None] + np.arange(width)]
        table[fits] = np.ascontiguousarray(numbers).view(np.complex128) if complex_ else numbers
