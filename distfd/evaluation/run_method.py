"""From a method to its answer: what it asks for is evaluated, counted and told, wave by wave."""

from __future__ import annotations

import contextlib
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar, cast

import numpy as np

from distfd.core import awake_clock
from distfd.core.records import Status
from distfd.differentiation.method import Request
from distfd.differentiation.value_precision import step_bits, wave_bits
from distfd.evaluation.evaluate import evaluate_in_steps, stored_batch
from distfd.evaluation.event_loop import WorkGivenOut
from distfd.evaluation.outcome import failure_error
from distfd.evaluation.tally import Tally, gather
from distfd.evaluation.warm_starts import evaluate_warm
from distfd.results import events

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from distfd.core.records import Batch
    from distfd.differentiation.method import Answer, Method, PointValues, Wave
    from distfd.evaluation.session import Session

A = TypeVar("A", bound="Answer | PointValues")


@dataclass(frozen=True, eq=False)
class Finished:
    """Evaluations that are final, and the request that they belong to."""

    request: Request
    batch: Batch


def run_method(
    session: Session, method: Method[A], task: str, label: Callable[[int], str], *, raises: bool
) -> tuple[A, Tally]:
    """Evaluate what the method asks for until it answers.

    Parameters
    ----------
    label : callable
        Coordinate number -> what messages call it.
    raises : bool
        Whether any failure is an error, and not only one of the baseline.

    Raises
    ------
    EvaluationError
        Where a failure is an error.
    """
    tally = Tally()
    steps = iterate_method(session, method, task, label, tally, raises=raises)
    while True:
        try:
            next(steps)
        except StopIteration as ended:
            return cast("A", ended.value), tally


def iterate_method(
    session: Session,
    method: Method[A],
    task: str,
    label: Callable[[int], str],
    tally: Tally,
    *,
    raises: bool,
) -> Generator[WorkGivenOut | Finished, None, A]:
    """As `run_method`, by and by: yields what is final as it becomes so, and that a wave's work is given out.

    Closing the generator ends what runs; the tally then counts what was finished.

    Parameters
    ----------
    tally : Tally
        Is added to, wave by wave.
    """
    waves: list[Wave] = []
    if session.warm is not None:
        session.warm.begin()
    while isinstance(step := _advanced(method, waves), Request):
        waves.append((yield from _wave(session, step, task, label, tally, raises=raises)))
    return step


def answer_from_store(session: Session, method: Method[A]) -> A | None:
    """The method's answer where the store has all points that it asks for, else None.

    A store does not know of J's failures, and points that start from another's state have other keys: where either
    matters there is no answer.
    """
    waves: list[Wave] = []
    while isinstance(step := _advanced(method, waves), Request):
        batch = stored_batch(session, step)
        if len(np.setdiff1d(np.arange(len(step.points)), np.concatenate((batch.index, step.optional)))):
            return None
        waves.append(gather(step, [batch]))
    return step


def _advanced(method: Method[A], waves: list[Wave]) -> Request | A:
    """What the method says next. How its arithmetic ends is told by what it answers, whatever numpy is set to raise."""
    with np.errstate(all="ignore"):
        return method.advance(waves)


def _wave(
    session: Session,
    request: Request,
    task: str,
    label: Callable[[int], str],
    tally: Tally,
    *,
    raises: bool,
) -> Generator[WorkGivenOut | Finished, None, Wave]:
    begin, began, warm = time.monotonic(), awake_clock.now(), session.warm
    batches: list[Batch] = []
    source = evaluate_in_steps(session, request, task) if warm is None else evaluate_warm(session, warm, request, task)
    again = 0.0
    try:
        with contextlib.closing(source) as finished:
            for step in finished:
                if isinstance(step, WorkGivenOut):
                    yield step
                else:
                    batches.append(step)
                    yield Finished(request, step)
    finally:
        for wave, made, seconds in warm.taken_again() if warm is not None else ():
            again += seconds
            _count(session, wave, made, "state", seconds, tally)
            _refuse(wave, made, label, raises=True)
        # In any case: what was finished before a wave was cancelled or interrupted counts as well.
        with np.errstate(all="ignore"):
            wave = gather(request, batches)
        _count(session, wave, batches, task, time.monotonic() - begin - again, tally, began)
    _refuse(wave, batches, label, raises=raises)
    own = wave.required
    if (own.status == Status.OK).any():
        session.bits, session.known = step_bits(wave_bits(own)), session.known.after(own)
    return wave


def _count(  # noqa: PLR0917  # private, called twice above
    session: Session,
    wave: Wave,
    batches: list[Batch],
    task: str,
    seconds: float,
    tally: Tally,
    began: float = math.inf,
) -> None:
    """Count a wave that took so many seconds, and that ``began`` then on the clock of slots."""
    up = session.pool.first_up
    start = 0.0 if up is None or not batches else min(max(0.0, up - began), seconds)
    before = tally.n_evaluations, tally.n_failed, tally.ideal_seconds
    tally.add(wave, batches, session.pool.slots, seconds, start)
    now = tally.n_evaluations, tally.n_failed, tally.ideal_seconds
    session.emit(events.WaveEnded(task, now[0] - before[0], now[1] - before[1], seconds, now[2] - before[2]))


def _refuse(wave: Wave, batches: list[Batch], label: Callable[[int], str], *, raises: bool) -> None:
    error = failure_error(wave, batches, label, always=raises)
    if error is not None:
        raise error
