"""A map over slots: any function, any items, past the store."""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core import awake_clock
from distfd.core.errors import EvaluationError
from distfd.core.records import Status
from distfd.evaluation.event_loop import AttemptsEnded, run_event_loop
from distfd.scheduling.evaluation_times import EvaluationTimes
from distfd.scheduling.scheduler import Scheduler
from distfd.workers.messages import CallBatch, CallChunk

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from distfd.core.records import Batch
    from distfd.evaluation.session import Session
    from distfd.scheduling.assignment import Submit


def map_calls(session: Session, fun: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
    """``[fun(item) for item in items]``, each call on a slot; what it costs and how it fails is treated as J is.

    Raises
    ------
    Exception
        What ``fun`` raised, at the first of the items at which it did.
    EvaluationError
        If a call came to nothing otherwise.
    ClusterError
        If no slot can be had.
    """
    if not items:
        return []
    with session.wave():
        return _called(session, fun, items)


def _called(session: Session, fun: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
    session.start()
    # These calls say nothing of how long J takes.
    pool = replace(session.pool, times=EvaluationTimes())
    epoch = time.time() - awake_clock.now()
    scheduler = Scheduler(np.arange(len(items)), None, session.policy, pool, epoch=epoch)
    series = object()
    returned: dict[int, Any] = {}
    failed: list[Batch] = []
    with contextlib.closing(
        run_event_loop(session, scheduler, lambda submit: _chunk(submit, fun, items, session, series))
    ) as driven:
        for step in driven:
            for attempts in step.attempts if isinstance(step, AttemptsEnded) else ():
                if isinstance(attempts.batch, CallBatch):  # and not that of a slot that was lost
                    returned.update(attempts.batch.returned)
                lost = attempts.final & (attempts.batch.status != Status.OK)
                failed += [attempts.batch.take(lost)] if lost.any() else []
    failures = {k: failure for batch in failed for k, failure in batch.failures.items()}
    if failures:
        k = min(failures)
        if isinstance(failures[k].exception, Exception):
            raise failures[k].exception  # type: ignore[misc]  # narrowed above
        raise EvaluationError(f"item {k} failed: {failures[k].text}")
    return [returned[k] for k in range(len(items))]


def _chunk(
    submit: Submit, fun: Callable[[Any], Any], items: Sequence[Any], session: Session, series: object
) -> CallChunk:
    chosen = tuple(items[k] for k in submit.index.tolist())
    timeout = session.policy.timeout
    return CallChunk(submit.chunk, submit.index, fun, chosen, timeout, submit.budget, session.recycle, series)
