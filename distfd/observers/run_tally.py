"""What a run has come to so far, for the result of one that ends before its time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from distfd.results import events

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from distfd.results.derivative_result import DerivativeResult


class RunTally:
    """Counts points, tries and failures as they come, and keeps the best point of an optimisation."""

    def __init__(self) -> None:
        self.n_reused = 0
        self.n_retried = 0
        self._failed_before = self._failed_now = 0
        self.ideal_seconds = 0.0
        self.iterations = 0
        self.first_up: float | None = None
        """When the first slot was up, on the clock of `time.monotonic`."""
        self.first: DerivativeResult | None = None
        self.best: DerivativeResult | None = None
        self.best_x: NDArray[np.float64] | None = None

    @property
    def n_failed(self) -> int:
        """Points that failed for good."""
        return self._failed_before + self._failed_now

    def __call__(self, event: events.Event) -> None:
        """Take one event."""
        if isinstance(event, events.WaveStarted):
            self.n_reused += event.n_reused
            self._failed_before, self._failed_now = self.n_failed, 0
        elif isinstance(event, events.AttemptFailed):
            self.n_retried += event.again
            self._failed_now += not event.again
        elif isinstance(event, events.SlotStarted):
            self.first_up = self.first_up or time.monotonic()
        elif isinstance(event, events.WaveEnded):
            self.ideal_seconds += event.ideal_seconds
            # Only when all are in is it known which outputs have the wrong number of values.
            self._failed_now = event.n_failed
        elif isinstance(event, events.Iterated):
            self.iterations = event.iteration
        elif isinstance(event, events.Improved):
            self.first = self.first or event.result
            self.best, self.best_x = event.result, np.array(event.x)
