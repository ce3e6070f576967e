"""When nothing has been going on for so long that it is to be said, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distfd.scheduling.slot_pool import SlotPool

_FIRST = 15.0
"""Seconds of silence after which it is said,"""
_AGAIN = 30.0
"""and then said again."""


@dataclass
class StallNotice:
    """Since when nothing has been going on."""

    since: float
    told: float | None = None

    def look(self, now: float, *, going: bool) -> float | None:
        """Seconds of silence, where it is time to say so."""
        if going:
            self.since, self.told = now, None
        due = self.since + _FIRST if self.told is None else self.told + _AGAIN
        if now < due:
            return None
        self.told = now
        return now - self.since


def why_waiting(pool: SlotPool) -> str:
    """What slots are waited for, as far as this process can tell."""
    up = f"{len(pool.up)} of {pool.slots} slots are up" if pool.up else "no slot is up"
    if pool.starting:
        return f"{up}; J is being made ready (its constructor or setup()) in {len(pool.starting)}"
    return f"{up}; the cluster may be busy with other work"
