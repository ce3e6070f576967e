"""Batches for tests of stores, and whether what comes back is what was put."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from distfd.core.records import Batch, Status

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from distfd.stores.sqlite import SQLiteStore


def vectors(numbers: list[int], size: int = 2) -> Batch:
    """Values that tell which key they belong to."""
    n = len(numbers)
    return Batch(
        index=np.arange(n),
        status=np.full(n, Status.OK, np.uint8),
        size=np.full(n, size),
        flat=np.repeat(np.array(numbers, np.float64) * 1.1, size),
        started=np.full(n, 1.7e9),
        ended=np.full(n, 1.7e9),
        attempt=np.ones(n, np.int32),
        host="node",
        pid=1,
        slot=0,
    )


def keys(numbers: list[int]) -> NDArray[np.uint64]:
    return np.array([(n, n * 7919 + 1) for n in numbers], np.uint64).reshape(-1, 2)


def wrong_values(store: SQLiteStore, numbers: list[int], size: int = 2) -> tuple[int, int]:
    """(how many are known, how many of these are not what was put)."""
    rows, sizes, flat = store.get(keys(numbers))
    right = vectors([numbers[row] for row in rows.tolist()], size)
    if sizes.tolist() == right.size.tolist() and flat.tobytes() == right.flat.tobytes():
        return len(rows), 0
    return len(rows), 1
