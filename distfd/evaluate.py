"""The loop: points and an objective in, finished evaluations out. It knows nothing of derivatives."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from distfd import events
from distfd.describe import coordinate_label, point_label
from distfd.errors import ClusterError
from distfd.protocols import Chunk, SlotUp
from distfd.records import Batch, Status
from distfd.scheduler import Policy, Pool, Scheduler

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from numpy.typing import NDArray

    from distfd.plan import Request
    from distfd.protocols import Executor, Objective, Observer, Store
    from distfd.scheduler import Attempts

_TICK = 1.0
"""Seconds after which the loop looks round even if nothing was reported."""
_QUIET = 30.0
"""Seconds without any slot after which that is said."""


@dataclass
class Session:
    """What stays from one wave to the next: the slots, the store and who watches.

    Attributes
    ----------
    salt : int
        Separates this objective's values from others' in the store.
    """

    objective: Objective
    executor: Executor
    store: Store
    observers: Sequence[Observer]
    policy: Policy
    salt: int = 0
    names: Sequence[str] | None = None
    pool: Pool = field(default_factory=lambda: Pool(slots=1))

    def emit(self, event: events.Event) -> None:
        """Show an event to every observer."""
        for observer in self.observers:
            observer(event)

    def start(self) -> None:
        """Have the executor start its slots, if it has not yet."""
        before, self.pool.up = self.pool.up, {up.slot: up for up in self.executor.open(self.objective)}
        for up in self.pool.up.values():
            if before.get(up.slot) != up:
                self.emit(events.SlotStarted(up.slot, up.host, up.pid))
        self.pool.slots = max(1, self.executor.slots)
        self.pool.dead_starts = 0

    def stop(self) -> None:
        """Give the slots back; the next wave starts others."""
        self.executor.close()
        self.pool.up.clear()


def evaluate(session: Session, request: Request, task: str = "values") -> Generator[Batch, None, None]:
    """Evaluate a request's points, those that the store does not have.

    Yields what is final as it becomes so: first, in one batch, what the store had. Ends early where the baseline fails
    for good. Closing the generator ends what runs; what was yielded is in the store.

    Raises
    ------
    ClusterError
        If no slot can be had.
    StoreError
        If a result cannot be stored.
    """
    points, store = request.points, session.store
    keys = points.keys(session.salt)
    reused = _from_store(store.get(keys))
    todo = np.ones(len(points), dtype=bool)
    todo[reused.index] = False
    index = np.flatnonzero(todo)
    if len(index):
        session.start()
    session.emit(events.WaveStarted(task, len(points), len(reused), session.pool.slots))
    if len(reused):
        yield reused
    if not len(index):
        return
    scheduler = Scheduler(index, request.baseline, session.policy, session.pool, epoch=time.time() - time.monotonic())
    name = _namer(request, session)
    try:
        for ended in _run(session, scheduler, request):
            # All that has come in is stored before the caller, who may stop here, sees any of it.
            for attempts in ended:
                store.put(keys[attempts.batch.index], attempts.batch)
            for attempts in ended:
                _tell_failures(session, attempts, name)
                final = attempts.batch if attempts.final.all() else attempts.batch.take(attempts.final)
                if len(final):
                    session.emit(events.BatchFinished(final))
                    yield final
    except GeneratorExit:
        _kill_busy(session, scheduler)
        raise
    except BaseException:
        # A report may have been lost on the way (Ctrl-C while it was taken in): only new slots are sure to be known.
        session.stop()
        raise
    _kill_busy(session, scheduler)


def _kill_busy(session: Session, scheduler: Scheduler) -> None:
    for slot in scheduler.abandon():
        session.executor.kill(slot)


def _run(session: Session, scheduler: Scheduler, request: Request) -> Iterator[list[Attempts]]:
    """Drive the scheduler and the executor until the wave is over."""
    executor, timeout = session.executor, session.policy.timeout
    last_seen = time.monotonic()
    while not scheduler.finished:
        for submit in scheduler.issue(time.monotonic()):
            part = request.points.take(submit.index)
            chunk = Chunk(submit.chunk, submit.index, part, request.vector, timeout, submit.budget, request.lenient)
            executor.submit(submit.slot, chunk)
        deadline = scheduler.next_deadline()
        wait = _TICK if deadline is None else min(_TICK, max(0.0, deadline - time.monotonic()))
        ended = _take(session, scheduler, wait)
        if ended:
            yield ended
        now = time.monotonic()
        if session.pool.up:
            last_seen = now
        elif now - last_seen > _QUIET:
            session.emit(events.Waiting(now - last_seen, "no slot is up; the cluster may be busy with other work"))
            last_seen = now
    if scheduler.broken is not None:
        raise ClusterError(scheduler.broken)


def _take(session: Session, scheduler: Scheduler, wait: float) -> list[Attempts]:
    """Attempts that ended within a while, by report or by running too long."""
    ended = []
    for report in session.executor.wait(wait):
        if isinstance(report, SlotUp):
            session.emit(events.SlotStarted(report.slot, report.host, report.pid))
        attempts = scheduler.take(report, time.monotonic())
        if attempts is not None:
            ended.append(attempts)
    kills, overran = scheduler.overdue(time.monotonic())
    for slot in kills:
        session.executor.kill(slot)
    return ended + overran


def _from_store(found: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]) -> Batch:
    rows, size, flat = found
    n = len(rows)
    return Batch(
        index=rows,
        status=np.full(n, Status.OK, dtype=np.uint8),
        size=size,
        flat=flat,
        started=np.full(n, np.nan),
        ended=np.full(n, np.nan),
        attempt=np.zeros(n, dtype=np.int32),
        host="",
        pid=0,
        slot=-1,
        reused=True,
    )


def _namer(request: Request, session: Session) -> Callable[[int], str]:
    label = coordinate_label(session.names)
    return lambda k: point_label(request.points, k, label)


def _tell_failures(session: Session, attempts: Attempts, name: Callable[[int], str]) -> None:
    batch = attempts.batch
    if not batch.failures:
        return
    for r in np.flatnonzero(batch.status != Status.OK):
        k = int(batch.index[r])
        session.emit(
            events.AttemptFailed(
                label=name(k),
                attempt=int(batch.attempt[r]),
                failure=batch.failures[k],
                again=not attempts.final[r],
                host=batch.host,
                pid=batch.pid,
            )
        )
