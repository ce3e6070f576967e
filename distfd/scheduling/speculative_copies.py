"""Points that are with two slots at once, counted, and the attempts that were made in vain."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from distfd.core.records import Failure, Status
from distfd.scheduling.attempts import failed_attempts
from distfd.workers.recycle import RECYCLED

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from distfd.core.records import Batch
    from distfd.scheduling.slot_queues import Issued
    from distfd.workers.messages import SlotUp


_QUICKER = Failure(Status.CANCELLED, "another slot was quicker")
UNWAITED = Failure(Status.CANCELLED, "it was optional, and late when all others were done")


class DiscardedAttempts:
    """What duplicates came to, and what went with a node: charged to nobody, and nobody's value.

    Of a chunk of several points, all shorter than a second, nobody knows which was at work, so it is left out.

    Parameters
    ----------
    epoch : float
        Seconds to add to the ``now`` of all calls to get time since the epoch.
    """

    def __init__(self, epoch: float) -> None:
        self._epoch = epoch
        self._batches: list[Batch] = []

    def take(self) -> list[Batch]:
        """What has come in since this was asked last."""
        batches, self._batches = self._batches, []
        return batches

    def too_late(self, batch: Batch) -> None:
        """These rows came after others had settled their points."""
        if len(batch):
            n = len(batch)
            failures = {
                k: replace(_QUICKER, text=f"{_QUICKER.text}; it failed: {batch.failures[k].text}")
                if k in batch.failures
                else _QUICKER
                for k in batch.index.tolist()
            }
            status = np.full(n, Status.CANCELLED, dtype=np.uint8)
            size = np.zeros(n, dtype=np.int64)
            self._batches.append(replace(batch, status=status, size=size, flat=np.empty(0), failures=failures))

    def given_up(self, issued: Issued, up: SlotUp | None, slot: int, now: float) -> None:
        """Its slot was ended, as another was quicker."""
        self._cut_off(issued, _QUICKER, up, slot, now)

    def not_waited_for(self, issued: Issued, up: SlotUp | None, slot: int, now: float) -> None:
        """It was optional and late, and its slot was ended."""
        self._cut_off(issued, UNWAITED, up, slot, now)

    def lost(self, issued: Issued, failure: Failure, up: SlotUp | None, slot: int, now: float) -> None:
        """Its slot was lost by no fault of its own; not one that had been told to go, and had begun nothing more."""
        if failure != RECYCLED:
            self._cut_off(issued, failure, up, slot, now)

    def _cut_off(self, issued: Issued, failure: Failure, up: SlotUp | None, slot: int, now: float) -> None:
        if len(issued.index) != 1 or not issued.started < np.inf:
            return
        times = {"started": self._epoch + issued.started, "ended": self._epoch + now}
        self._batches.append(failed_attempts(failure, issued.index, up, slot, **times))


class SpeculativeCopies:
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
