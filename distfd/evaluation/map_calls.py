"""A map over slots: any function, any items, past the store."""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core.errors import EvaluationError
from distfd.core.points import Points
from distfd.core.records import Status
from distfd.evaluation.event_loop import drive
from distfd.scheduling.evaluation_times import Times
from distfd.scheduling.scheduler import Scheduler
from distfd.workers.protocols import Calls, Chunk

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from distfd.core.records import Batch
    from distfd.evaluation.session import Session
    from distfd.scheduling.assignment import Submit

_NO_POINTS = Points(np.empty(0), np.zeros(1, np.int64), np.empty(0, np.int64), np.empty(0))


def call_each(session: Session, fun: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
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
    session.start()
    # These calls say nothing of how long J takes.
    pool = replace(session.pool, times=Times())
    epoch = time.time() - time.monotonic()
    scheduler = Scheduler(np.arange(len(items)), None, session.policy, pool, epoch=epoch)
    returned: dict[int, Any] = {}
    failed: list[Batch] = []
    with contextlib.closing(drive(session, scheduler, lambda submit: _chunk(submit, fun, items, session))) as driven:
        for ended in driven:
            for attempts in ended:
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


def _chunk(submit: Submit, fun: Callable[[Any], Any], items: Sequence[Any], session: Session) -> Chunk:
    calls = Calls(fun, tuple(items[k] for k in submit.index.tolist()))
    return Chunk(
        submit.chunk,
        submit.index,
        _NO_POINTS,
        True,
        session.policy.timeout,
        submit.budget,
        calls=calls,
        recycle=session.recycle,
    )
