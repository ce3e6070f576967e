"""The loop in which the scheduler gives work to an executor's slots until a wave is over."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from distfd.core import awake_clock
from distfd.core.errors import ClusterError, InputError, TimeUpError
from distfd.evaluation.stall_notice import StallNotice
from distfd.results import events
from distfd.workers.messages import SlotUp

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from distfd.evaluation.session import Session
    from distfd.scheduling.assignment import Submit
    from distfd.scheduling.attempts import Attempts
    from distfd.scheduling.scheduler import Scheduler
    from distfd.workers.messages import Chunk

_TICK = 1.0
"""Seconds after which the loop asks the scheduler again even if no slot has reported."""
_TOLD = 0.5
"""Least seconds between two events that tell observers what is running."""

_SOON = 1.0
"""Seconds for which a slot may go on with a wave that is given up: to start another process takes as long."""


@dataclass(frozen=True)
class WorkGivenOut:
    """Every slot that is up has work; it comes once, before anything else."""


@dataclass(frozen=True)
class AttemptsEnded:
    """Attempts that have ended since the last step."""

    attempts: list[Attempts]


Step: TypeAlias = WorkGivenOut | AttemptsEnded


def run_event_loop(
    session: Session,
    scheduler: Scheduler,
    chunk: Callable[[Submit], Chunk],
    name: Callable[[int], str] = str,
) -> Generator[Step, None, None]:
    """Have slots evaluate what the scheduler gives out; the attempts that end, as they do.

    Closing the generator ends what runs: slots that are soon done anyway are left to it, and their results dropped.

    Parameters
    ----------
    chunk : callable
        What a slot is sent for a `Submit`.
    name : callable
        Number of a point -> what observers are told of it.

    Raises
    ------
    ClusterError
        If no slot can be had.
    TimeUpError
        If the job's time is up before all is done.
    InputError
        If this process was forked from the one that has the slots.
    """
    owner = os.getpid()
    try:
        yield from _run(session, scheduler, chunk, name, owner)
    except GeneratorExit:
        if not _are_the_parents(session, owner) and session.has_slots:
            _kill_busy(session, scheduler, 0.0 if session.executor.kills_are_free else _SOON)
        raise
    except BaseException:
        if _are_the_parents(session, owner):
            raise
        # A report may have been lost on the way (Ctrl-C while it was taken in): only new slots are sure to be known.
        session.stop()
        raise
    _kill_busy(session, scheduler)


def _are_the_parents(session: Session, owner: int) -> bool:
    """Whether the slots are those of another process, from which this one was forked."""
    return session.executor.has_own_processes and os.getpid() != owner


def _kill_busy(session: Session, scheduler: Scheduler, patience: float = 0.0) -> None:
    for slot in scheduler.abandon(awake_clock.now(), patience):
        session.executor.kill(slot)


def _run(
    session: Session,
    scheduler: Scheduler,
    chunk: Callable[[Submit], Chunk],
    name: Callable[[int], str],
    owner: int,
) -> Iterator[Step]:
    told = awake_clock.now()
    silence, first = StallNotice(told), True
    while not scheduler.finished:
        if _are_the_parents(session, owner):
            raise InputError(
                "this evaluation was begun in the process that this one was forked from, which alone can take its "
                "results; ask for them there, or evaluate here with executor='serial'"
            )
        looked = awake_clock.now()
        for submit in scheduler.issue(looked):
            session.executor.submit(submit.slot, chunk(submit))
        _check_time(session, scheduler)
        if first:
            first = False
            yield WorkGivenOut()
        ended = _take(session, scheduler, _patience(scheduler, looked, session.until))
        if ended:
            yield AttemptsEnded(ended)
        now = awake_clock.now()
        if session.until is not None and now >= session.until:
            yield WorkGivenOut()  # whoever waits no longer than that has a look
        if now - told > _TOLD:
            _tell_running(session, scheduler, name, now)
            told = now
        session.tell_silence(silence, now, going=bool(session.pool.up))
    if scheduler.broken is not None:
        raise ClusterError(scheduler.broken)


def _check_time(session: Session, scheduler: Scheduler) -> None:
    limit = session.policy.limit
    if limit is not None and scheduler.out_of_time(awake_clock.now()):
        raise TimeUpError(f"the time is up ({limit.why}); finished evaluations are kept, run it again to go on")


def _tell_running(session: Session, scheduler: Scheduler, name: Callable[[int], str], now: float) -> None:
    at_work = scheduler.at_work()
    if not at_work:
        return
    longest = min(at_work, key=lambda issued: issued.started)
    n = len(longest.index)
    what = name(int(longest.index[0])) if n == 1 else f"{n} points in a row"
    points = sum(len(issued.index) for issued in at_work)
    session.emit(events.Running(points, len(at_work), what, now - longest.started))


def _patience(scheduler: Scheduler, looked: float, until: float | None = None) -> float:
    """Seconds to wait for news.

    Parameters
    ----------
    looked : float
        When the scheduler was last asked what to issue: what has become due since has not been seen yet.
    until : float or None
        When whoever waits for the result waits no longer.
    """
    looks = (scheduler.next_deadline(), scheduler.next_issue(looked), until)
    now = awake_clock.now()
    return min((max(0.0, min(look - now, _TICK)) for look in looks if look is not None), default=_TICK)


def _take(session: Session, scheduler: Scheduler, wait: float) -> list[Attempts]:
    """Attempts that ended within a while, by report or by running too long."""
    ended = []
    for report in session.wait(wait):
        if isinstance(report, SlotUp):
            session.emit(events.SlotStarted(report.slot, report.host, report.pid, report.output))
        attempts = scheduler.take(report, awake_clock.now())
        if attempts is not None:
            ended.append(attempts)
    kills, overran = scheduler.overdue(awake_clock.now())
    for slot in kills:
        session.executor.kill(slot)
    return ended + overran
