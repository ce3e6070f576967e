"""Points that are with two slots at once: a straggler and its backup. The first valid value counts."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from distfd.scheduling.slot_queues import Issued


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


def portions(
    late: Sequence[Issued],
    single: Callable[[NDArray[np.int64]], NDArray[np.int64]],
    at_once: Callable[[int], int],
) -> list[NDArray[np.int64]]:
    """What is late, in portions for one slot each, the most promising first.

    Parameters
    ----------
    late : sequence of Issued
    single : callable
        Which of some points may have a backup.
    at_once : callable
        How many of so many points go to a slot at once.
    """
    # What has not begun is sure to gain by a second slot; of the rest, what has taken longest is likeliest to.
    late = sorted(late, key=lambda issued: (issued.started < math.inf, issued.started))
    alone = [single(issued.index) for issued in late if issued.lone]
    others = [single(issued.index) for issued in late if not issued.lone]
    if not others:
        return alone
    # A point that went alone goes alone again; short ones may share a slot.
    index, size = np.concatenate(others), at_once(sum(map(len, others)))
    return alone + [index[begin : begin + size] for begin in range(0, len(index), size)]
