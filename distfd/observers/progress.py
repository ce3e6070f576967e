"""Progress as plain lines with a time in front."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, TextIO

from distfd import events

if TYPE_CHECKING:
    from collections.abc import Callable

_EVERY = 5.0
"""Seconds between two lines about one wave."""


class ProgressLines:
    """Says what happens, never more than a line every few seconds about one wave.

    Parameters
    ----------
    stream : text file
        Default: standard error, so that standard output holds the result alone.
    clock : callable
        Seconds.
    """

    def __init__(self, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream or sys.stderr
        self._clock = clock
        self._total = self._done = self._failed = 0
        self._last = clock()
        self._first: float | None = None
        self._done_before = 0
        self._slots: set[int] = set()

    def __call__(self, event: events.Event) -> None:
        """Take one event."""
        if isinstance(event, events.WaveStarted):
            self._started(event)
        elif isinstance(event, events.BatchFinished):
            self._done += len(event.batch)
            self._failed += len(event.batch.failures)
            self._tick()
        elif isinstance(event, events.AttemptFailed):
            again = "; trying again" if event.again else ""
            self.say(f"failed: {event.label}: {event.failure.text} (attempt {event.attempt}{again})")
        elif isinstance(event, events.SlotStarted):
            self._slots.add(event.slot)
        elif isinstance(event, events.Waiting):
            self.say(f"waiting for {event.seconds:.0f} s: {event.reason}")
        elif isinstance(event, events.Iterated):
            self.say(f"iteration {event.iteration}: J = {event.value:.8g}")
        elif isinstance(event, events.WaveEnded):
            self._ended(event)

    def say(self, text: str) -> None:
        """Print one line."""
        print(time.strftime("%H:%M:%S"), text, file=self._stream, flush=True)

    def _started(self, event: events.WaveStarted) -> None:
        if self._total == 0 and self._first is None and event.n_points > event.n_reused:
            # The first of a run, which has workers to start; an optimizer's later ones go by too fast to be told.
            known = f", {event.n_reused} more are known" if event.n_reused else ""
            self.say(f"{event.task}: {event.n_points - event.n_reused} evaluations to begin with{known}")
        self._total, self._done, self._failed = event.n_points - event.n_reused, 0, 0
        self._last, self._first = self._clock(), None

    def _tick(self) -> None:
        now = self._clock()
        if self._first is None:
            # Starting workers takes a while once; it says nothing of the rate.
            self._first, self._done_before = now, self._done
        if now - self._last < _EVERY or self._done >= self._total:
            return
        self._last = now
        since = self._done - self._done_before
        left = f", about {(now - self._first) / since * (self._total - self._done):.0f} s left" if since else ""
        failed = f", {self._failed} failed" if self._failed else ""
        self.say(f"{self._done}/{self._total} evaluations{failed}, {len(self._slots)} slots{left}")

    def _ended(self, event: events.WaveEnded) -> None:
        if event.wall_seconds < _EVERY:
            return
        failed = f", {event.n_failed} failed" if event.n_failed else ""
        self.say(f"{event.task}: {event.n_evaluations} evaluations{failed} in {event.wall_seconds:.1f} s")
