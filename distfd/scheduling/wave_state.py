"""All that is known of one wave: its points, who has them, and what came of them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from distfd.scheduling.attempts import Ledger
from distfd.scheduling.backlog import Backlog
from distfd.scheduling.chunk_sizes import next_due
from distfd.scheduling.optional_points import OptionalPoints
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
    from distfd.scheduling.slot_queues import ChunksByTime, Issued


_FEW = 64
"""Slots that are looked at each time."""
_GRACE = 3.0
"""Seconds past its timeout that a model which limits itself is given to say so."""


class WaveState:
    """The books of a wave; what is done with them is in `assignment`, `deadlines` and `lost_slots`.

    Parameters
    ----------
    index, baseline, policy, pool, epoch, total, optional, insist
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
        optional: NDArray[np.int64],
        insist: bool,
    ) -> None:
        self.total = total or int(max(index.max(initial=-1), optional.max(initial=-1))) + 1
        self.baseline, self.policy, self.pool, self.epoch = baseline, policy, pool, epoch
        self.estimates = WorkEstimates(pool.times, self.total)
        first = baseline is not None and baseline in index
        self.backlog = Backlog(index[index != baseline] if first else index, self.estimates.by_point)
        if first:
            self.backlog.alone(np.array([baseline]))
        self.forget_slots()
        self.late_scan: tuple[float, float] | None = None
        """When chunks were last looked at for stragglers, and when the first of them is late."""
        self.copies = SpeculativeCopies()
        self.discarded = DiscardedAttempts(epoch)
        self.optional = OptionalPoints(optional, insist=insist)
        self.ledger = Ledger(
            self.total, len(index), baseline, policy.retries, self.optional, keeps_partial=policy.keeps_partial
        )

    def forget_slots(self) -> None:
        """Nothing is with any slot."""
        self.queues = SlotQueues()
        self.kill_times = self.queues.watch(self._kill_time)
        self._refill_times: ChunksByTime | None = None
        self._refills: list[tuple[int, Issued]] = []

    def refills(self, now: float) -> list[int]:
        """Slots that may be given a chunk before they are done with the one that they have.

        Not one that is late: nobody knows for how long what is queued behind it would wait.
        """
        if (times := self._refill_chunks()) is None:
            return []
        self._refills += times.take_until(now)
        self._refills = [(slot, head) for slot, head in self._refills if self._may_refill(slot, head, now)]
        return [slot for slot, _ in self._refills]

    def next_refill(self) -> float | None:
        """When one more slot may be given a chunk ahead of time."""
        times = self._refill_chunks()
        first = None if times is None else times.first()
        return None if first is None or first == math.inf else first

    def _refill_chunks(self) -> ChunksByTime | None:
        if self._refill_times is None and self.estimates.each is not None:
            # Before anything is known of times, no chunk has one.
            self._refill_times = self.queues.watch(lambda head: next_due(head.started, self.estimates.chunk(head)))
        return self._refill_times

    def _may_refill(self, slot: int, head: Issued, now: float) -> bool:
        queue = self.queues.of(slot)
        alone = len(queue) == 1 and queue[0] is head and not head.lone
        return alone and slot in self.pool.up and now < head.started + self.estimates.chunk(head)

    def idle(self) -> list[int]:
        """Slots that have nothing to do."""
        if len(self.queues) >= len(self.pool.up):  # as nearly always; looking at each of 10,000 slots takes 2 ms
            return []
        idle = [slot for slot in self.queues.emptied if slot in self.pool.up and slot not in self.pool.draining]
        if len(idle) + len(self.queues) < len(self.pool.up) or len(self.pool.up) <= _FEW:
            # Some have had nothing yet, or still do what nobody wants any more; and few are soon looked at.
            idle = [slot for slot in self.pool.idle() if slot not in self.queues]
        if not self.backlog.suspects:
            return idle
        closed = {self.host(slot) for slot, queue in self.queues if queue[0].apart}
        return [slot for slot in idle if self.host(slot) not in closed]

    def _kill_time(self, issued: Issued) -> float:
        """When a slot that is at this chunk is to be killed; infinite without a timeout."""
        if self.policy.timeout is None:
            return math.inf
        # Between points a slot looks at its budget, so at any time one evaluation is running that began in it.
        slack = issued.budget if len(issued.index) > 1 else 0.0
        return issued.started + self.policy.timeout + slack + (_GRACE if self.policy.limits_itself else 0.0)

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
        """Those of the points that are not final and have no backup; optional ones get none."""
        return self.copies.without(index[self.ledger.open(index) & ~self.optional.mask(index)])

    def released(self, index: NDArray[np.int64]) -> NDArray[np.int64]:
        """Points given out whose attempt came to nothing: those that are neither final nor with another slot."""
        return index[self.copies.release(index) & self.ledger.open(index)] if self.copies else index

    def charge(self, batch: Batch, *, last: bool = False) -> Attempts:
        """Count attempts; what is to be tried again goes out alone."""
        attempts = self.ledger.charge(batch, last=last)
        self.optional.over(batch.index)
        if not attempts.final.all():
            self.backlog.alone(batch.index[~attempts.final])
        return attempts
