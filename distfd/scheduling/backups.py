"""Points that are with two slots at once: a straggler and its backup. The first valid value counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Backups:
    """How many slots are at work on a point, for the points that have, or had, more than one."""

    def __init__(self) -> None:
        self._copies: dict[int, int] = {}

    def __bool__(self) -> bool:
        return bool(self._copies)

    def without(self, index: NDArray[np.int64]) -> NDArray[np.int64]:
        """Those of the points that have no backup."""
        return index[[k not in self._copies for k in index.tolist()]] if self._copies else index

    def add(self, index: NDArray[np.int64]) -> None:
        """These points are now with one slot more."""
        for k in index.tolist():
            self._copies[k] = self._copies.get(k, 1) + 1

    def release(self, index: NDArray[np.int64]) -> NDArray[np.bool_]:
        """A slot is done with these points, well or not; which of them no other slot is at work on."""
        alone = np.ones(len(index), dtype=bool)
        if self._copies:
            for r, k in enumerate(index.tolist()):
                left = self._copies.pop(k, 1) - 1
                if left:
                    self._copies[k] = left
                    alone[r] = False
        return alone
