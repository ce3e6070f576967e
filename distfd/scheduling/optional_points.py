"""Points that a wave can do without: they go out last, once each, and nobody waits long for them."""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING

import numpy as np

from distfd.scheduling.evaluation_times import backup_due

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from distfd.scheduling.slot_queues import Issued

_PATIENCE, _SLACK = 1.2, 0.1
"""An optional point is late once it has taken so many times the longest evaluation of its wave, and so many seconds
more: an evaluation that began with the last others should be done by then."""


def fits_in_idle_slots(points: int, optional: int, slots: int) -> bool:
    """Whether so many optional points leave a wave of so many others at the same number of rounds.

    Parameters
    ----------
    points, optional : int
        Points that are to be evaluated.
    slots : int
        Evaluations at once, when the wave starts.
    """
    return slots > 1 and points > 0 and -(-(points + optional) // slots) == -(-points // slots)


class OptionalPoints:
    """Which of a wave's optional points wait, and which are with a slot.

    Parameters
    ----------
    index : (n,) ndarray
        Their numbers.
    insist : bool
        Whether they are worth a round of their own.
    """

    def __init__(self, index: NDArray[np.int64], *, insist: bool) -> None:
        self.insist = insist
        self._all: frozenset[int] = frozenset(index.tolist())
        self._waiting: deque[int] = deque(index.tolist())
        self._at_work: set[int] = set()
        self._longest = 0.0

    def __len__(self) -> int:
        """How many are neither done nor given up."""
        return len(self._waiting) + len(self._at_work)

    def __contains__(self, point: int) -> bool:
        return point in self._all

    @property
    def waiting(self) -> bool:
        """Whether any has not gone out yet."""
        return bool(self._waiting)

    def mask(self, index: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of these points are optional."""
        if not self._all:
            return np.zeros(len(index), dtype=bool)
        return np.array([k in self._all for k in index.tolist()], dtype=bool)

    def take(self) -> NDArray[np.int64]:
        """The next that waits, for a slot."""
        point = self._waiting.popleft()
        self._at_work.add(point)
        return np.array([point], dtype=np.int64)

    def next(self) -> int:
        """The next that waits."""
        return self._waiting[0]

    def again(self, index: NDArray[np.int64]) -> None:
        """A slot gave these back without having begun."""
        for point in index.tolist():
            self._at_work.discard(point)
            self._waiting.append(point)

    def over(self, index: NDArray[np.int64]) -> None:
        """These are done, well or not, or given up."""
        self._at_work.difference_update(index.tolist())

    def drop_waiting(self) -> NDArray[np.int64]:
        """Give up those that wait."""
        index = np.array(list(self._waiting), dtype=np.int64)
        self._waiting.clear()
        return index

    def saw(self, seconds: float) -> None:
        """One of the other points took so long."""
        self._longest = max(self._longest, seconds)

    def due(self, issued: Issued, usual: float, delay: float) -> float:
        """When one that is with a slot is late; ``usual`` seconds an evaluation takes, ``delay`` the way there."""
        seconds = max(self._longest, usual)
        if self.insist:
            return backup_due(issued.started, seconds) + delay if seconds else math.inf
        return issued.started + _PATIENCE * seconds + delay + _SLACK
