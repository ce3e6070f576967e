"""The loop: points and an objective in, finished evaluations out. It knows nothing of derivatives."""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from distfd.core import awake_clock
from distfd.core.describe import coordinate_label, point_label
from distfd.core.points import find_repeats, repeated
from distfd.core.records import DOUBLE, Batch, Status
from distfd.evaluation import usual_times
from distfd.evaluation.event_loop import WorkGivenOut, run_event_loop
from distfd.evaluation.optional_choice import OptionalChoice
from distfd.results import events
from distfd.scheduling.scheduler import Scheduler
from distfd.workers.messages import Chunk, EvaluationChunk
from distfd.workers.spool import Spool
from distfd.workers.value_labels import LabelOrder

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    from numpy.typing import NDArray

    from distfd.core.points import Points
    from distfd.differentiation.method import Request
    from distfd.evaluation.session import Session
    from distfd.scheduling.assignment import Submit
    from distfd.scheduling.attempts import Attempts
    from distfd.stores.base import Store


def evaluate(
    session: Session,
    request: Request,
    task: str = "values",
    *,
    keys: NDArray[np.uint64] | None = None,
    begin: Callable[[], NDArray[np.uint8]] | None = None,
    capture: int | None = None,
) -> Generator[Batch, None, None]:
    """As `evaluate_in_steps`, without a word of when work is given out."""
    with contextlib.closing(
        evaluate_in_steps(session, request, task, keys=keys, begin=begin, capture=capture)
    ) as steps:
        for step in steps:
            if isinstance(step, Batch):
                yield step


def evaluate_in_steps(
    session: Session,
    request: Request,
    task: str = "values",
    *,
    keys: NDArray[np.uint64] | None = None,
    begin: Callable[[], NDArray[np.uint8]] | None = None,
    capture: int | None = None,
) -> Generator[WorkGivenOut | Batch, None, None]:
    """Evaluate a request's points, those that the store does not have.

    Yields what is final as it becomes so: first, in one batch, what the store had; then, if there is anything to
    evaluate, a `WorkGivenOut`; last, as cancelled, optional points that were late. Ends early where the baseline fails
    for good. Closing the generator ends what runs; what was yielded is in the store.

    Parameters
    ----------
    keys : (n, 2) ndarray of uint64, optional
        The points' keys, where these are not those of the session.
    begin : callable, optional
        The state from which each point is evaluated (see `Chunk`); asked for only if there is something to evaluate.
    capture : int, optional
        The point after which J's state is wanted, in the ``states`` of its batch.

    Raises
    ------
    ClusterError
        If no slot can be had.
    StoreError
        If a result cannot be stored.
    """
    with session.wave():
        yield from _steps(session, request, task, keys, begin, capture)


def _steps(  # noqa: PLR0917  # private, called once above
    session: Session,
    request: Request,
    task: str,
    keys: NDArray[np.uint64] | None,
    begin: Callable[[], NDArray[np.uint8]] | None,
    capture: int | None,
) -> Generator[WorkGivenOut | Batch, None, None]:
    points, store = request.points, session.store
    keys = points.keys(session.salt) if keys is None else keys
    repeats = find_repeats(keys)
    choice = OptionalChoice(session, request, keys)
    reused, index, optional = _known(session, choice, keys, repeats)
    if len(index) or choice.needs_a_wave(optional):
        session.start()
        if store.awaits_leftovers:
            # Starting takes a while, in which the workers of a driver that was killed may have left what they were at.
            reused, index, optional = _known(session, choice, keys, repeats)
    taken = choice.taken(index, optional)
    n = len(index) + len(taken)
    state = begin() if n and begin is not None else None
    session.emit(events.WaveStarted(task, len(points) - len(optional) + len(taken), len(reused), session.pool.slots))
    if len(reused):
        yield reused
    outcome = _Outcome(len(points))
    if n:
        if not session.pool.times.count:
            session.pool.times.recall(len(points), *store.seconds())
            if session.executor.has_own_processes and session.policy.timeout is None and session.policy.limit is None:
                # Else a point might not be begun, or not be blamed, for the sake of a guess.
                session.pool.times.guess = usual_times.guess(session.objective)
        left_out = np.setdiff1d(optional, taken)
        asked = points.take(np.delete(np.arange(len(points)), left_out)) if len(left_out) else points
        spool = _announced(session, asked, task, keys, len(reused))
        chunk = _chunks(session, request, state, capture, spool)
        with contextlib.closing(_computed(session, request, keys, repeats, chunk, index, taken)) as steps:
            for step in steps:
                outcome.note(step)
                if session.given is not None and isinstance(step, Batch):
                    session.given.compare(step, points.imaginary)
                yield step
    if outcome.ended[index].all():  # else the baseline has failed
        yield from choice.unvalued(taken, optional[~outcome.ended[optional]], outcome.valued)


class _Outcome:
    """Which of n points have been evaluated, and which of them have a value."""

    def __init__(self, n: int) -> None:
        self.ended, self.valued = np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)

    def note(self, step: WorkGivenOut | Batch) -> None:
        """These are final."""
        if isinstance(step, Batch):
            self.ended[step.index] = True
            self.valued[step.index] = step.status == Status.OK


def _computed(  # noqa: PLR0917  # private, called once
    session: Session,
    request: Request,
    keys: NDArray[np.uint64],
    repeats: dict[int, NDArray[np.int64]],
    chunk: Callable[[Submit], Chunk],
    index: NDArray[np.int64],
    optional: NDArray[np.int64],
) -> Generator[WorkGivenOut | Batch, None, None]:
    """What slots make of these points, stored before it is yielded."""
    store, name = session.store, _namer(request, session)
    order, complex_ = LabelOrder(session.salt, store.decision, store.decide), request.points.imaginary
    scheduler = Scheduler(
        index,
        request.baseline,
        session.policy,
        session.pool,
        epoch=time.time() - awake_clock.now(),
        total=len(request.points),
        optional=optional,
        insist=request.insist,
    )
    with contextlib.closing(run_event_loop(session, scheduler, chunk, name)) as driven:
        for step in driven:
            if isinstance(step, WorkGivenOut):
                yield step
                continue
            ended = [replace(attempts, batch=order.checked(attempts.batch, complex_)) for attempts in step.attempts]
            uncounted = [order.checked(batch, complex_) for batch in scheduler.uncounted()]
            # All that has come in is stored before the caller, who may stop here, sees any of it.
            _keep(store, keys, [*(attempts.batch for attempts in ended), *uncounted])
            for attempts in ended:
                _tell_failures(session, attempts, name)
                final = attempts.batch if attempts.final.all() else attempts.batch.take(attempts.final)
                if len(final):
                    session.emit(events.BatchFinished(final))
                    yield final
                    yield from repeated(final, repeats)
    _keep(store, keys, [order.checked(batch, complex_) for batch in scheduler.uncounted()])


def _keep(store: Store, keys: NDArray[np.uint64], batches: list[Batch]) -> None:
    for batch in batches:
        store.put(keys[batch.index], batch)


def _known(
    session: Session, choice: OptionalChoice, keys: NDArray[np.uint64], repeats: Mapping[int, NDArray[np.int64]]
) -> tuple[Batch, NDArray[np.int64], NDArray[np.int64]]:
    """What the store has, and the numbers of the points without a value: those that must have one, and others."""
    reused = _from_store(_with_given(session, keys, session.store.get(keys)))
    if len(reused):
        bits = session.store.bits(keys[reused.index])
        if session.given is not None:
            bits = np.where((keys[reused.index] == session.given.key).all(axis=1), session.given.bits, bits)
        reused = replace(reused, bits=None if (bits == DOUBLE).all() else bits)
    unknown = np.ones(len(keys), dtype=bool)
    unknown[np.concatenate((reused.index, *repeats.values()))] = False
    return reused, *choice.split(np.flatnonzero(unknown))


def _with_given(
    session: Session, keys: NDArray[np.uint64], found: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """What the store has, and the value that the caller has told, unless the store has one there."""
    rows, size, flat = found
    if session.given is None:
        return found
    here = np.setdiff1d(np.flatnonzero((keys == session.given.key).all(axis=1)), rows)
    value = np.tile(session.given.value, len(here))
    return np.append(rows, here), np.append(size, np.full(len(here), len(session.given.value))), np.append(flat, value)


def _announced(session: Session, points: Points, task: str, keys: NDArray[np.uint64], n_reused: int) -> Spool | None:
    """Tell the store what is coming; where workers leave what this process may not live to take."""
    session.store.begin_wave(points, task, reused=n_reused)
    place = session.spool_place()
    return None if place is None else Spool(place, keys)


def _chunks(
    session: Session,
    request: Request,
    state: NDArray[np.uint8] | None,
    capture: int | None,
    spool: Spool | None,
) -> Callable[[Submit], Chunk]:
    """What a slot is sent for a `Submit`."""

    def chunk(submit: Submit) -> Chunk:
        return EvaluationChunk(
            submit.chunk,
            submit.index,
            request.points.take(submit.index),
            request.vector,
            session.policy.timeout,
            submit.budget,
            request.lenient,
            state=state,
            capture=capture,
            recycle=session.recycle,
            spool=None if spool is None else Spool(spool.place, spool.keys[submit.index]),
        )

    return chunk


def stored_batch(session: Session, request: Request) -> Batch:
    """What the store has of a request's points; nothing is evaluated."""
    return _from_store(session.store.get(request.points.keys(session.salt)))


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
