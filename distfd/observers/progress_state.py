"""How far things are, from events: what every kind of progress display shows."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import numpy as np

from distfd.core.records import Status
from distfd.results import events

if TYPE_CHECKING:
    from collections.abc import Callable

_FEW = 5
"""Failures that are told one by one."""

_ROUNDS = 4
"""Rounds since the first news after which the rate is right within a quarter, even where slots end at the same time."""

_ENDED = (Status.CRASH, Status.TIMEOUT, Status.LOST)
"""How an attempt fails whose process ends with it."""


class ProgressState:
    """Counts events; nothing is printed, and an event costs a microsecond or two.

    Parameters
    ----------
    clock : callable
        Seconds.

    Attributes
    ----------
    task : str
        What the wave is for.
    total, done, failed : int
        Evaluations of the wave, those that are final, and those of them that have no value.
    reused : int
        Points of the wave whose values were known before.
    running : int
        Slots that are at work, as last heard.
    iteration, value, gradient_norm, measure
        Of an optimizer; None where there is none.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.task = ""
        self.total = self.done = self.failed = self.reused = self.waves = 0
        self.all_failed = 0
        self.running = 0
        self.slots = 0
        self.up: set[int] = set()
        self.iteration: int | None = None
        self.value: float | None = None
        self.measure = "J"
        self.gradient_norm: float | None = None
        self._longest: tuple[str, float] | None = None
        self._told = 0
        self.began = clock()
        self._first: tuple[float, int] | None = None
        self._seconds, self._timed = 0.0, 0
        """Of the wave's evaluations that have a value, and how many they are."""
        self._news = self.began
        """When an evaluation last ended, or had to be begun again."""

    def take(self, event: events.Event) -> str | None:
        """Count an event; what is to be said of it at once, if anything."""
        if isinstance(event, events.BatchFinished):
            self._finished(event)
        elif isinstance(event, events.Running):
            self.running, self._longest = event.busy, (event.longest.split(", x = ")[0], self._clock() - event.seconds)
        elif isinstance(event, events.WaveStarted):
            self._started(event)
        elif isinstance(event, events.SlotStarted):
            self.up.add(event.slot)
        elif isinstance(event, (events.WaveEnded, events.Stopped)):
            self.running, self._longest = 0, None
        elif isinstance(event, events.AttemptFailed):
            return self._failure(event)
        elif isinstance(event, events.Waiting):
            return f"waiting for {event.seconds:.0f} s: {event.reason}"
        elif isinstance(event, events.Iterated):
            self.iteration, self.value, self.gradient_norm = event.iteration, event.value, event.gradient_norm
            self.measure = event.measure
            return f"iteration {event.iteration}: {self.iterate}"
        return None

    @property
    def elapsed(self) -> float:
        """Seconds since the wave began."""
        return self._clock() - self.began

    @property
    def rate(self) -> float | None:
        """Evaluations a second; None until that can be told."""
        if self._first is None:
            return None
        # The wait for workers to start says nothing of the rate, and with few rounds the first batch says all.
        since, before = self._first
        seconds, done = self._clock() - since, self.done - before
        return done / seconds if done and seconds > 0 else None

    @property
    def left(self) -> float | None:
        """Seconds that the wave may still take; None until that can be told, and where what is awaited is overdue.

        The rate alone promises too little while slots end their evaluations at about the same time, and says nothing
        of one that was killed and begun again. So it is at least one evaluation, and in the first rounds at least what
        the rounds that are left take; of these the first began when something last ended.
        """
        if not self.rate:
            return None
        by_rate, silent = (self.total - self.done) / self.rate, self._clock() - self._news
        mean = self._seconds / self._timed if self._timed else 0.0
        if silent > 2 * max(mean, 1 / self.rate) and silent > by_rate:
            return None
        slots = max(1, self.slots)
        few = self.done - self._first[1] < _ROUNDS * slots if self._first is not None else False
        rounds = math.ceil((self.total - self.done) / slots) if few else int(self.done < self.total)
        return max(by_rate, rounds * mean - silent)

    @property
    def rounds(self) -> tuple[int, int]:
        """Rounds that are done, and all of the wave: points over slots."""
        slots = max(1, self.slots)
        return self.done // slots, math.ceil(self.total / slots)

    @property
    def longest(self) -> tuple[str, float] | None:
        """What has been running for longest, and for how many seconds."""
        return None if self._longest is None else (self._longest[0], self._clock() - self._longest[1])

    @property
    def iterate(self) -> str:
        """J, or the cost of a fit, and |g| of the optimizer's last iterate."""
        if self.value is None:
            return ""
        norm = "" if self.gradient_norm is None else f", |g| = {self.gradient_norm:.3g}"
        return f"{self.measure} = {self.value:.8g}{norm}"

    def _started(self, event: events.WaveStarted) -> None:
        self.task, self.reused, self.slots = event.task, event.n_reused, event.slots
        self.total, self.done, self.failed = event.n_points - event.n_reused, 0, 0
        self.waves += 1
        self.began = self._news = self._clock()
        self._first, self._seconds, self._timed = None, 0.0, 0

    def _finished(self, event: events.BatchFinished) -> None:
        n, failed = len(event.batch), len(event.batch.failures)
        self.done += n
        self.failed += failed
        self.all_failed += failed
        self._news = self._clock()
        seconds = event.batch.ended - event.batch.started
        seconds = seconds[(event.batch.status == Status.OK) & np.isfinite(seconds) & (seconds > 0)]
        self._seconds, self._timed = self._seconds + float(seconds.sum()), self._timed + len(seconds)
        if self._first is None:
            self._first = self._clock(), self.done

    def _failure(self, event: events.AttemptFailed) -> str | None:
        # It runs no longer; what does is told of within a second.
        if self._longest is not None and self._longest[0] == event.label.split(", x = ")[0]:
            self._longest = None
        if event.failure.status in _ENDED:
            self.running = max(0, self.running - 1)
        if event.again:
            self._news = self._clock()
        self._told += 1
        if self._told > _FEW + 1:
            return None
        if self._told == _FEW + 1:
            return "further failures are counted, and not told one by one"
        again = "; trying again" if event.again else ""
        return f"failed: {event.label}: {event.failure.text} (attempt {event.attempt}{again})"


def duration(seconds: float) -> str:
    """Seconds in the words of a clock: 48 s, 3 min 20 s, 5 h 12 min, 3 d 4 h."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    for size, unit, part, smaller in ((60, "min", 1, "s"), (3600, "h", 60, "min"), (86400, "d", 3600, "h")):
        whole, rest = divmod(round(seconds / part), size // part)
        if seconds < {60: 3600, 3600: 86400}.get(size, math.inf):
            return f"{whole} {unit} {rest} {smaller}" if rest else f"{whole} {unit}"
    raise AssertionError("the last unit takes all")
