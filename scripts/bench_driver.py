"""What one report costs the driver, with ever more slots: the scheduler alone, over slots that take virtual time.

python scripts/bench_driver.py            # a minute or two

Each line has microseconds of processor time a report, without a timeout and with one. Reports of the first round, when
all slots begin, are not counted.
"""

from __future__ import annotations

import heapq
import time

import numpy as np

from distfd.core.records import Batch, Status
from distfd.scheduling.policy import Policy
from distfd.scheduling.scheduler import Scheduler
from distfd.scheduling.slot_pool import SlotPool
from distfd.workers.messages import ChunkDone, SlotUp

ROUNDS, REPORTS, SPREAD = 6, 1000, 0.3


def finished(index: np.ndarray, begun: float, each: float, slot: int) -> Batch:
    """What a slot makes of a chunk whose evaluations take so many seconds each."""
    n = len(index)
    started = begun + np.arange(n) * each
    return Batch(
        index=index,
        status=np.full(n, Status.OK, np.uint8),
        size=np.ones(n, np.int64),
        flat=np.ones(n),
        started=started,
        ended=started + each,
        attempt=np.ones(n, np.int32),
        host=f"host{slot // 4}",
        pid=slot,
        slot=slot,
    )


def microseconds(slots: int, seconds: float, timeout: float | None) -> float:
    """Of the driver, for a report, where evaluations take so many seconds, more or less."""
    rng = np.random.default_rng(0)
    pool = SlotPool(slots=slots)
    pool.opened(slots, [SlotUp(k, f"host{k // 4}", k) for k in range(slots)], 0.0)
    policy = Policy({Status.ERROR: 0, Status.CRASH: 2, Status.TIMEOUT: 0}, timeout, False, True, None, None)
    scheduler = Scheduler(np.arange(slots * ROUNDS), 0, policy, pool)
    at_work: list[tuple[float, int, int, np.ndarray, float]] = []

    def give_out(now: float) -> None:
        for submit in scheduler.issue(now):
            each = seconds * (1 + SPREAD * rng.random())
            heapq.heappush(at_work, (now + each * len(submit.index), submit.chunk, submit.slot, submit.index, each))

    give_out(0.0)
    spent = count = 0.0
    while at_work and not scheduler.finished and count < slots + REPORTS:
        now, chunk, slot, index, each = heapq.heappop(at_work)
        report = ChunkDone(slot, chunk, finished(index, now - each * len(index), each, slot))
        begin = time.process_time()
        scheduler.take(report, now)
        scheduler.overdue(now)
        give_out(now)
        scheduler.next_deadline()
        scheduler.next_issue(now)
        scheduler.out_of_time(now)
        spent += (time.process_time() - begin) * (count >= slots)
        count += 1
    return spent / max(1, count - slots) * 1e6


def main() -> None:
    """A line for each number of slots, for short and for long evaluations."""
    for seconds in (0.2, 5.0):
        print(f"evaluations of {seconds:g} s")
        for slots in (100, 1000, 4000, 10_000):
            without, within = (microseconds(slots, seconds, timeout) for timeout in (None, 600.0))
            print(f"{slots:7} slots: {without:6.0f} us a report, {within:6.0f} with a timeout")


if __name__ == "__main__":
    main()
