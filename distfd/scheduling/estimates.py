"""What the work of one wave should take, and how much of it is a slot's."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from distfd.scheduling.chunks import budget, chunk_seconds, even_seconds

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np
    from numpy.typing import NDArray

    from distfd.scheduling.backlog import Backlog
    from distfd.scheduling.queues import Issued, Queues
    from distfd.scheduling.times import Times


class Estimates:
    """Seconds to expect, from the times of a session.

    Parameters
    ----------
    times : Times
    total : int
        Points of the wave.
    """

    def __init__(self, times: Times, total: int) -> None:
        self._times = times
        self.by_point = times.expected(total)
        """Seconds to expect of each point; None where they are alike or not known."""

    def of(self, index: NDArray[np.int64]) -> float:
        """What these points should take, one after the other; infinite where nothing is known."""
        if self.by_point is not None:
            return float(self.by_point[index].sum())
        median = self._times.median
        return math.inf if median is None else median * len(index)

    def one(self, point: int) -> float:
        """What a point should take; 0 where nothing is known."""
        if self.by_point is not None:
            return float(self.by_point[point])
        return self._times.median or 0.0

    def chunk(self, issued: Issued) -> float:
        """What a chunk should take."""
        if issued.expected == math.inf:  # nothing was known when it went out
            issued.expected = self.of(issued.index)
        return issued.expected

    def budget(self, index: NDArray[np.int64]) -> float:
        """Seconds after which a slot hands these points back, done or not."""
        expected = self.of(index)
        even = self.by_point is None and self._times.even
        return budget(max(len(index) * (self._times.mean or 0.0), expected if expected < math.inf else 0.0), even=even)

    def share(self, slot: int, now: float, backlog: Backlog, queues: Queues, slots: int) -> float:
        """Seconds of the waiting work that a slot is to be given."""
        mean = self._times.mean
        if mean is None:
            return 0.0
        waiting = backlog.seconds(mean)
        if self.by_point is not None or not self._times.even:
            return chunk_seconds(waiting, slots)
        left = {busy: self.left(queue, now) for busy, queue in queues}
        return even_seconds(waiting + sum(left.values()), slots, left.get(slot, 0.0))

    def points(self, waiting: int, slots: int) -> int:
        """How many of so many points go to a slot at once."""
        median = max(self._times.median or 0.0, 1e-9)
        return max(1, round(chunk_seconds(waiting * median, slots) / median))

    def left(self, queue: Iterable[Issued], now: float) -> float:
        """Seconds that a slot should still take for what it has; infinite where nothing is known."""
        return sum(max(0.0, self.chunk(issued) - max(0.0, now - issued.started)) for issued in queue)
