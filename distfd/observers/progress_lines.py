"""Progress as plain lines with a time in front."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, TextIO

from distfd.core.printable import printable
from distfd.observers.progress_state import ProgressState, duration
from distfd.results import events

if TYPE_CHECKING:
    from collections.abc import Callable

_EVERY = 5.0
"""Seconds between two lines about one wave, until it has taken ten times that; then a tenth of what it has taken."""
_MANY = 10
"""Iterations that have a line each, however fast they come."""
_SLOW = 10.0
"""Seconds from which on the evaluation that runs longest is named."""


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
        self._standing = ProgressState(clock)
        self._last = clock()
        self._told = False

    def __call__(self, event: events.Event) -> None:
        """Take one event."""
        said = self._standing.take(event)
        if isinstance(event, (events.BatchFinished, events.Running)):
            self._tick()
        elif isinstance(event, events.WaveStarted):
            self._started(event)
        elif isinstance(event, events.Iterated):
            if event.iteration <= _MANY or self._clock() - self._last >= _EVERY:
                self._last = self._clock()
                self.say(said or "")
        elif isinstance(event, events.WaveEnded):
            self._ended(event)
        elif said:
            self.say(said)

    def say(self, text: str) -> None:
        """Print one line."""
        print(time.strftime("%H:%M:%S"), printable(text), file=self._stream, flush=True)

    def close(self) -> None:
        """Nothing is left open by lines."""

    def _started(self, event: events.WaveStarted) -> None:
        new = event.n_points - event.n_reused
        if self._standing.waves == 1 and new:
            # The first of a run, which has workers to start; an optimizer's later ones go by too fast to be told.
            known = f", {event.n_reused} more are known" if event.n_reused else ""
            slots = f"{event.slots} slot{'s' if event.slots != 1 else ''}"
            self.say(f"{event.task}: {new} evaluation{'s' if new != 1 else ''} to begin with on {slots}{known}")
        self._told = False
        if self._standing.iteration is None:
            self._last = self._clock()

    def _tick(self) -> None:
        standing, now = self._standing, self._clock()
        if now - self._last < max(_EVERY, standing.elapsed / 10) or standing.done >= standing.total:
            return
        self._last, self._told = now, True
        self.say(progress_text(standing))

    def _ended(self, event: events.WaveEnded) -> None:
        if not self._told:
            return  # who reads has seen no more than its beginning, and is about to see the result
        failed = f", {event.n_failed} failed" if event.n_failed else ""
        self.say(f"{event.task}: {event.n_evaluations} evaluations{failed} in {duration(event.wall_seconds)}")


def progress_text(standing: ProgressState) -> str:
    """One line on how far the wave is."""
    parts = [f"{standing.done}/{standing.total} evaluations"]
    parts += [f"{standing.failed} failed"] if standing.failed else []
    parts += [f"{len(standing.up)} slot{'s' if len(standing.up) != 1 else ''}"]
    parts += [f"about {duration(standing.left)} left"] if standing.left is not None else []
    longest = standing.longest
    if longest is not None and longest[1] >= _SLOW:
        parts.append(f"longest at work: {longest[0]}, {duration(longest[1])}")
    return ", ".join(parts)
