"""Functions on columns of keys and values that all stores use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from distfd.core.records import Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from distfd.core.records import Batch


def key_blobs(keys: NDArray[np.uint64]) -> list[bytes]:
    """Each row of (n, 2) keys as 16 bytes, little endian."""
    blobs: list[bytes] = np.ascontiguousarray(keys, dtype="<u8").view("V16").reshape(-1).tolist()
    return blobs


def valid_rows(batch: Batch) -> NDArray[np.bool_]:
    """Which rows of a batch hold a final value: the status is OK and all numbers are finite.

    A NaN is never reused: callers that accept a NaN (as SciPy's approx_derivative does) compute it anew.
    """
    valid = np.asarray(batch.status == Status.OK)
    finite = np.isfinite(batch.flat)
    if not finite.all():
        valid[np.repeat(np.arange(len(batch)), batch.size)[~finite]] = False
    return valid


def found(
    rows: Sequence[int], values: Sequence[float | NDArray[np.float64] | None]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """The result of a lookup, (rows, size, flat), from the values that were found."""
    if not rows:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
    if not any(isinstance(value, np.ndarray) for value in values):
        return np.array(rows, np.int64), np.ones(len(rows), np.int64), np.array(values, np.float64)
    parts = [np.atleast_1d(np.asarray(value, np.float64)) for value in values]
    return np.array(rows, np.int64), np.array([len(part) for part in parts], np.int64), np.concatenate(parts)
