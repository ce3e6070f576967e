"""A store in memory: values live as long as the call or session that computed them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from distfd.core.records import DOUBLE
from distfd.stores.base import Store
from distfd.stores.columns import found, key_blobs, valid_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from distfd.core.records import Batch


class MemoryStore(Store):
    """Values in a dictionary (`distfd.stores.base.Store`).

    The first valid value of a point is kept. Later ones come from duplicates of stragglers, and a value that was
    returned must not change afterwards.
    """

    def __init__(self) -> None:
        self._values: dict[bytes, float | NDArray[np.float64]] = {}
        self._bits: dict[bytes, int] = {}
        """Number types of the values that are not doubles, by key."""
        self._decisions: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self._values)

    def get(self, keys: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """(rows, size, flat): which of the (n, 2) keys have a value, and the values, ragged as in `Batch`."""
        known = self._values.get
        values = [known(key) for key in key_blobs(keys)]
        rows = [row for row, value in enumerate(values) if value is not None]
        return found(rows, [values[row] for row in rows])

    def put(self, keys: NDArray[np.uint64], batch: Batch) -> None:
        """Keep the values of the rows that are OK and finite."""
        if len(keys) != len(batch):
            raise ValueError(f"{len(keys)} keys for {len(batch)} evaluations")
        rows = np.flatnonzero(valid_rows(batch))
        keep = self._values.setdefault
        blobs = key_blobs(keys[rows])
        starts = batch.offsets[:-1][rows]
        sizes = batch.size[rows]
        if batch.bits is not None:
            for key, bits in zip(blobs, batch.bits[rows].tolist(), strict=True):
                if bits != DOUBLE and key not in self._values:
                    self._bits.setdefault(key, bits)
        if np.all(sizes == 1):
            for key, value in zip(blobs, batch.flat[starts].tolist(), strict=True):
                keep(key, value)
            return
        for key, start, size in zip(blobs, starts.tolist(), sizes.tolist(), strict=True):
            # A copy, so that one kept value does not keep the whole batch alive.
            keep(key, batch.flat[start : start + size].copy())

    def bits(self, keys: NDArray[np.uint64]) -> NDArray[np.uint8]:
        """Bits of the number type in which J returned each value, (n,)."""
        if not self._bits:
            return super().bits(keys)
        return np.array([self._bits.get(key, DOUBLE) for key in key_blobs(keys)], dtype=np.uint8)

    def decision(self, key: bytes) -> int | None:
        """The decision under this key; None if there is none."""
        return self._decisions.get(key)

    def decide(self, key: bytes, value: int) -> None:
        """Keep a decision."""
        self._decisions[key] = value

    def close(self) -> None:
        """Forget all values and decisions."""
        self._values.clear()
        self._bits.clear()
        self._decisions.clear()
