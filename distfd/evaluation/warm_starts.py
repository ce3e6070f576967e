"""Warm starts: points evaluated from the state in which an earlier evaluation left J.

``baseline``: the baseline goes first, alone, from J's own first state; every other point of the call starts from the
state that it left. ``iterate``: every point, the baseline included, starts from the state that the last accepted
baseline left.

A value then depends on where it started, so its key has in it the key of the evaluation that left that state, whose
own key has in it where that one started. States themselves are held in memory alone: where a value is known from the
store and its state is not, the evaluation is made again for the state's sake.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from distfd.core.errors import InputError
from distfd.core.records import Batch, Status
from distfd.differentiation.method import Request
from distfd.evaluation.evaluate import evaluate, evaluate_in_steps
from distfd.evaluation.event_loop import WorkGivenOut
from distfd.evaluation.tally import gather
from distfd.evaluation.warm_states import MODES, WarmStarts

if TYPE_CHECKING:
    from collections.abc import Generator

    from numpy.typing import NDArray

    from distfd.evaluation.session import Session
    from distfd.evaluation.warm_states import Mode, WarmState
    from distfd.objectives.base import Objective


def make_warm(mode: str | None, objective: Objective) -> WarmStarts | None:
    """The memory of a session with warm starts; None where there are none.

    Raises
    ------
    InputError
        If there is no such mode, or J cannot start from a state.
    """
    if mode not in (None, *MODES):
        raise InputError(f"warm: must be baseline, iterate or None (was {mode!r})")
    objective.check_warm(mode)
    return None if mode is None else WarmStarts(mode)


def evaluate_warm(
    session: Session, warm: WarmStarts, request: Request, task: str
) -> Generator[WorkGivenOut | Batch, None, None]:
    """As `distfd.evaluation.evaluate.evaluate_in_steps`, each point from the state that the mode asks for.

    Raises
    ------
    ClusterError, StoreError
        As there.
    """
    baseline = request.baseline
    if baseline is None:
        yield from _from(session, warm, request, warm.start, task)
        return
    start = warm.of_baseline(request.points, baseline)
    if warm.mode == "iterate" or len(request.points) == 1:
        warm.use(start if warm.mode == "iterate" else None)
        yield from _from(session, warm, request, start, task)
        if warm.mode == "baseline":
            warm.use(warm.left(request.points, baseline))
        return
    alone, rest = np.array([baseline]), np.delete(np.arange(len(request.points)), baseline)
    first = Request(request.points.take(alone), 0, request.vector, request.lenient)
    good = False
    for step in _from(session, warm, first, None, task):
        good |= isinstance(step, Batch) and bool(_usable(session, step).any())
        yield _renumbered(step, alone)
    if good:
        warm.use(warm.left(first.points, 0))
        optional = np.flatnonzero(np.isin(rest, request.optional))
        others = Request(
            request.points.take(rest),
            None,
            request.vector,
            request.lenient,
            optional=optional,
            insist=request.insist,
        )
        for step in _from(session, warm, others, warm.start, task):
            yield _renumbered(step, rest)


def _from(
    session: Session, warm: WarmStarts, request: Request, start: WarmState | None, task: str
) -> Generator[WorkGivenOut | Batch, None, None]:
    """Evaluate from one state, and remember what the baseline left."""
    keys = request.points.keys(_salt(session.salt, warm.mode, start))
    baseline = request.baseline
    begin = None if start is None else lambda: _state(session, warm, start)
    for batch in evaluate_in_steps(session, request, task, keys=keys, begin=begin, capture=baseline):
        if isinstance(batch, WorkGivenOut):
            yield batch
            continue
        if baseline is not None and np.any((batch.index == baseline) & _usable(session, batch)):
            warm.note(request, start, bytes(keys[baseline]), batch.states.get(baseline))
        # The state goes no further: what keeps batches would keep it alive.
        yield replace(batch, states={}) if batch.states else batch


def _usable(session: Session, batch: Batch) -> NDArray[np.bool_]:
    """Which rows have a value, or as much of one as this session takes."""
    return np.asarray((batch.status == Status.OK) | (batch.partial & session.policy.keeps_partial))


def _state(session: Session, warm: WarmStarts, left: WarmState) -> NDArray[np.uint8]:
    """The state, which may have to be made again, from the first one on whose state is known."""
    chain = [left]
    while chain[-1].state is None and chain[-1].start is not None:
        chain.append(chain[-1].start)
    for link in reversed(chain):
        if link.state is None:
            _make_again(session, warm, link)
    assert left.state is not None, "just made"
    return left.state


def _make_again(session: Session, warm: WarmStarts, left: WarmState) -> None:
    """Evaluate for the state alone; it counts as an evaluation, under a key of its own."""
    before = None if left.start is None else left.start.state
    keys = left.request.points.keys(secrets.randbits(128))
    begin, batches = time.monotonic(), []
    again = evaluate(
        session,
        left.request,
        "state",
        keys=keys,
        begin=None if before is None else lambda: before,
        capture=left.request.baseline,
    )
    with contextlib.closing(again) as finished:
        for batch in finished:
            left.state = batch.states.get(0, left.state)
            batches.append(replace(batch, states={}))
    warm.again.append((gather(left.request, batches), batches, time.monotonic() - begin))
    if left.state is None:
        raise StateLostError
    left.start = None


class StateLostError(Exception):
    """An evaluation that gave a value before failed when it was made again; ``WarmStarts.again`` has its record."""


def _salt(salt: int, mode: Mode, start: WarmState | None) -> int:
    if start is None:
        return salt
    digest = hashlib.sha256(f"{salt:x} {mode} ".encode() + start.key).digest()
    return int.from_bytes(digest[:16])


def _renumbered(step: WorkGivenOut | Batch, numbers: NDArray[np.int64]) -> WorkGivenOut | Batch:
    """A batch by the numbers that its points have in the whole request."""
    if isinstance(step, WorkGivenOut):
        return step
    batch = step
    failures = {int(numbers[k]): failure for k, failure in batch.failures.items()}
    return replace(batch, index=numbers[batch.index], failures=failures)
