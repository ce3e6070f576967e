"""What a session knows of its slots, from one wave to the next."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from distfd.scheduling.evaluation_times import EvaluationTimes
from distfd.workers.messages import SlotUp

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from distfd.workers.messages import SlotStarting


@dataclass
class SlotPool:
    """Slots, what is known of them, and what they still do for a wave that is over."""

    slots: int
    up: dict[int, SlotUp] = field(default_factory=dict)
    times: EvaluationTimes = field(default_factory=EvaluationTimes)
    starting: dict[int, tuple[SlotStarting, float]] = field(default_factory=dict)
    """Slots whose processes make J ready, and since when."""
    first_up: float | None = None
    """When a slot was up first in this wave."""
    dead_starts: int = 0
    """Workers in a row that died before they came so far, or while J was made ready, while none was up."""
    chunks: Iterator[int] = field(default_factory=itertools.count)
    """Numbers of chunks: never the same twice, so that a late report of an earlier wave is known as such."""
    draining: dict[int, tuple[float, set[int]]] = field(default_factory=dict)
    """Slots at work on what another slot was quicker with: since when, and the chunks still to be reported."""

    def reported(self, slot: int, chunk: int) -> None:
        """Note that a chunk whose result is no longer needed is done."""
        if slot in self.draining:
            chunks = self.draining[slot][1]
            chunks.discard(chunk)
            if not chunks:
                del self.draining[slot]

    def take(self, report: SlotStarting | SlotUp, now: float) -> None:
        """A slot's process is there, or J is ready in it."""
        if isinstance(report, SlotUp):
            self.up[report.slot] = report
            self.starting.pop(report.slot, None)
            self.dead_starts = 0
            if self.first_up is None:
                self.first_up = now
        else:
            self.starting[report.slot] = report, now

    def gone(self, slot: int) -> SlotUp | None:
        """A slot's process has ended; what it was, if it was up."""
        self.draining.pop(slot, None)
        self.starting.pop(slot, None)
        return self.up.pop(slot, None)

    def idle(self) -> list[int]:
        """Slots that are up and owe nothing to an earlier wave."""
        return [slot for slot in self.up if slot not in self.draining] if self.draining else list(self.up)

    def opened(self, slots: int, reports: Iterable[SlotStarting | SlotUp], now: float) -> None:
        """Take the slots as the executor has them at the beginning of a wave."""
        before, known = self.up, self.starting
        self.slots, self.up, self.starting, self.dead_starts, self.first_up = slots, {}, {}, 0, None
        for report in reports:
            self.take(report, now)
        self.first_up = -math.inf if self.up else None
        self.draining = {slot: owed for slot, owed in self.draining.items() if self.up.get(slot) == before.get(slot)}
        self.starting = {
            slot: known[slot] if slot in known and known[slot][0] == report else (report, since)
            for slot, (report, since) in self.starting.items()
        }
