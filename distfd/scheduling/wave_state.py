"""All that is known of one wave: its points, who has them, and what came of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from distfd.scheduling.attempts import Ledger
from distfd.scheduling.backlog import Backlog
from distfd.scheduling.slot_queues import SlotQueues
from distfd.scheduling.speculative_copies import DiscardedAttempts, SpeculativeCopies
from distfd.scheduling.work_estimates import WorkEstimates

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from distfd.core.records import Batch
    from distfd.scheduling.attempts import Attempts
    from distfd.scheduling.policy import Policy
    from distfd.scheduling.slot_pool import SlotPool
    from distfd.scheduling.slot_queues import Issued


class WaveState:
    """The books of a wave; what is done with them is in `issuing`, `deadlines` and `losses`.

    Parameters
    ----------
    index, baseline, policy, pool, epoch, total
        As for `distfd.scheduling.scheduler.Scheduler`.
    """

    def __init__(
        self,
        index: NDArray[np.int64],
        baseline: int | None,
        policy: Policy,
        pool: SlotPool,
        *,
        epoch: float,
        total: int | None,
    ) -> None:
        self.total = total or int(index.max(initial=-1)) + 1
        self.baseline, self.policy, self.pool, self.epoch = baseline, policy, pool, epoch
        self.estimates = WorkEstimates(pool.times, self.total)
        first = baseline is not None and baseline in index
        self.backlog = Backlog(index[index != baseline] if first else index, self.estimates.by_point)
        if first:
            self.backlog.alone(np.array([baseline]))
        self.queues = SlotQueues()
        self.copies = SpeculativeCopies()
        self.discarded = DiscardedAttempts(epoch)
        self.ledger = Ledger(self.total, len(index), baseline, policy.retries)

    def idle(self) -> list[int]:
        """Slots that have nothing to do."""
        if len(self.queues) >= len(self.pool.up):  # as nearly always; looking at each of 10,000 slots takes 2 ms
            return []
        idle = [slot for slot in self.pool.idle() if slot not in self.queues]
        if not self.backlog.suspects:
            return idle
        closed = {self.host(slot) for slot, queue in self.queues if queue[0].apart}
        return [slot for slot in idle if self.host(slot) not in closed]

    def host(self, slot: int) -> str | None:
        """Where a slot is, if that is known."""
        up = self.pool.up.get(slot)
        return None if up is None else up.host

    def at_work(self) -> set[str | None]:
        """Hosts on which a slot is at work, for this wave or still for one before."""
        return {self.host(slot) for slot in (*(slot for slot, _ in self.queues), *self.pool.draining)}

    def unwanted(self, queue: Iterable[Issued]) -> bool:
        """Whether all that a slot has was settled by others."""
        return not any(self.ledger.open(issued.index).any() for issued in queue)

    def single(self, index: NDArray[np.int64]) -> NDArray[np.int64]:
        """Those of the points that are not final and have no backup."""
        return self.copies.without(index[self.ledger.open(index)])

    def released(self, index: NDArray[np.int64]) -> NDArray[np.int64]:
        """Points given out whose attempt came to nothing: those that are neither final nor with another slot."""
        return index[self.copies.release(index) & self.ledger.open(index)] if self.copies else index

    def charge(self, batch: Batch, *, last: bool = False) -> Attempts:
        """Count attempts; what is to be tried again goes out alone."""
        attempts = self.ledger.charge(batch, last=last)
        if not attempts.final.all():
            self.backlog.alone(batch.index[~attempts.final])
        return attempts
