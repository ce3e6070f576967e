"""One request's entry in a store file: what was asked for, for those who read it."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3

    from distfd.core.points import Points

_SHORT = 1000
"""Coordinates up to which x is written: an optimisation has thousands of waves."""


@dataclass
class Wave:
    """A request whose evaluations are put into a store; entered with the first of them."""

    points: Points
    task: str
    reused: int
    started: float = field(default_factory=time.time)
    _number: int | None = None

    def enter(self, connection: sqlite3.Connection) -> int:
        """Its number in the file, inside a transaction that also commits evaluations of it."""
        if self._number is None or not connection.execute(_THERE, (self._number,)).fetchone():
            x = json.dumps(self.points.x.tolist()) if len(self.points.x) <= _SHORT else None
            row = (self.task, len(self.points), self.reused, self.started, x)
            self._number = int(connection.execute(_ENTER, row).lastrowid or 0)
        return self._number


# A transaction that failed has taken the entry back with it.
_THERE = "SELECT 1 FROM waves WHERE id = ?"
_ENTER = "INSERT INTO waves (task, points, reused, started, x) VALUES (?, ?, ?, ?, ?)"
