"""Progress as JSON, one object a line, for programs that watch."""

from __future__ import annotations

import json
import math
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TextIO

from distfd.observers.progress_state import ProgressState
from distfd.results import events

if TYPE_CHECKING:
    from collections.abc import Callable

_EVERY = 1.0
"""Seconds between two lines about one wave."""


class JsonLines:
    """Writes what happens; each line has ``time``, ``event`` and what belongs to it.

    Parameters
    ----------
    stream : text file
        Default: standard error.
    clock : callable
        Seconds.
    """

    def __init__(self, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream or sys.stderr
        self._clock = clock
        self._standing = ProgressState(clock)
        self._last = clock()

    def __call__(self, event: events.Event) -> None:
        """Take one event."""
        standing = self._standing
        standing.take(event)
        if isinstance(event, (events.BatchFinished, events.Running)):
            now = self._clock()
            if now - self._last >= _EVERY:
                self._last = now
                self._progress()
        elif isinstance(event, events.WaveStarted):
            self.write("wave_started", task=event.task, total=standing.total, reused=event.n_reused, slots=event.slots)
        elif isinstance(event, events.WaveEnded):
            self.write("wave_ended", task=event.task, finished=event.n_evaluations, failed=event.n_failed)
        elif isinstance(event, events.AttemptFailed):
            cause, status = event.failure.text, event.failure.status.word
            self.write(
                "failed", point=event.label, attempt=event.attempt, status=status, cause=cause, again=event.again
            )
        elif isinstance(event, events.Iterated):
            found = {"iteration": event.iteration, "value": event.value, "gradient_norm": event.gradient_norm}
            self.write("iterated", **found, measure=event.measure)
        elif isinstance(event, events.Waiting):
            self.write("waiting", seconds=round(event.seconds, 1), reason=event.reason)

    def say(self, text: str) -> None:
        """A remark."""
        self.write("remark", text=text)

    def write(self, kind: str, **fields: Any) -> None:
        """One line."""
        plain = {key: value if _finite(value) else None for key, value in fields.items()}
        line = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": kind, **plain}
        print(json.dumps(line, allow_nan=False), file=self._stream, flush=True)

    def close(self) -> None:
        """Nothing is left open by lines."""

    def _progress(self) -> None:
        standing = self._standing
        left, rate, longest = standing.left, standing.rate, standing.longest
        self.write(
            "progress",
            task=standing.task,
            finished=standing.done,
            total=standing.total,
            failed=standing.failed,
            running=standing.running,
            slots=standing.slots,
            rate=None if rate is None else round(rate, 4),
            seconds_left=None if left is None else round(left, 1),
            longest=None if longest is None else {"point": longest[0], "seconds": round(longest[1], 1)},
        )


def _finite(value: Any) -> bool:
    return not isinstance(value, float) or math.isfinite(value)
