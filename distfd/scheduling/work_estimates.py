"""What the work of one wave should take, and how much of it is a slot's."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from distfd.scheduling.chunk_sizes import alone, budget, chunk_seconds, even_seconds, least_seconds, next_due

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np
    from numpy.typing import NDArray

    from distfd.scheduling.backlog import Backlog
    from distfd.scheduling.evaluation_times import EvaluationTimes
    from distfd.scheduling.slot_queues import Issued, SlotQueues

_FEW = 64
"""Slots that are asked each time."""
_DRIFT = 0.03
"""The part of the work in a wave that may be done before slots are asked again what they have."""
_CRUMBS = 0.25
"""A part of the shortest chunk that is not worth one."""


class WorkEstimates:
    """Seconds to expect, from the times of a session.

    Parameters
    ----------
    times : Times
    total : int
        Points of the wave.
    """

    def __init__(self, times: EvaluationTimes, total: int) -> None:
        self._times = times
        self._total = total
        self._added_up: tuple[float, float] | None = None
        self.by_point = times.expected(total)
        """Seconds to expect of each point; None where they are alike or not known."""

    @property
    def long(self) -> bool:
        """Whether each evaluation takes so long that none is queued behind another, as far as one can tell."""
        median = self._times.median
        return self.by_point is None and median is not None and next_due(0.0, median) == math.inf

    def of(self, index: NDArray[np.int64]) -> float:
        """What these points should take, one after the other; infinite where nothing is known, but for a guess."""
        if self.by_point is not None:
            return float(self.by_point[index].sum())
        median = self._times.median if self._times.count else None
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
        guess = self._times.guess
        return issued.expected if issued.expected < math.inf or guess is None else guess * len(issued.index)

    def budget(self, index: NDArray[np.int64]) -> float:
        """Seconds after which a slot hands these points back, done or not."""
        expected = self.of(index)
        even = self.by_point is None and self._times.even
        return budget(max(len(index) * (self._times.mean or 0.0), expected if expected < math.inf else 0.0), even=even)

    @property
    def each(self) -> float | None:
        """Seconds by which points that are alike are counted out; None until one has ended."""
        even = self.by_point is None and self._times.even
        # As `of` counts what slots have: by another measure than what waits, shares would come out wrong.
        return self._times.median if even else self._times.mean

    def unfinished(self, backlog: Backlog, queues: SlotQueues, now: float) -> float | None:
        """Seconds of work that wait or that slots still have before them; to give some of it out changes nothing there.

        None where shares do not depend on it. Where slots are many, what they have is added up anew only once it has
        changed by a few parts in a hundred: to ask 10,000 slots takes 30 ms.
        """
        each = self.each
        if each is None or self.by_point is not None or alone(each) or not self._times.even:
            return None
        waiting = backlog.seconds(each)
        if len(queues) > _FEW and self._added_up is not None:
            at, whole = self._added_up
            # To give work out changes nothing there, and every slot at work takes one second off in one second.
            passed = len(queues) * (now - at)
            if passed <= _DRIFT * whole:
                return max(waiting, whole - passed)
        whole = waiting + sum(self.left(queue, now) for _, queue in queues)
        self._added_up = now, whole
        return whole

    def share(self, own: float, unfinished: float | None, backlog: Backlog, slots: int) -> float:
        """Seconds of the waiting work that a slot is to be given; 0 if that is not worth a chunk behind others.

        Parameters
        ----------
        own : float
            Seconds of work that the slot still has before it.
        unfinished : float or None
            See there.
        backlog : Backlog
        slots : int
        """
        each = self.each
        if each is None:
            return 0.0
        if self.by_point is None and alone(each):
            return each  # whatever waits
        waiting = backlog.seconds(each)
        least = least_seconds(self._total * each, slots)
        seconds = chunk_seconds(waiting, slots, least) if unfinished is None else even_seconds(unfinished, slots, own)
        if seconds < least and own:
            return 0.0
        # What would be left for a chunk of its own goes along, where it is next to nothing.
        return waiting if waiting - seconds < _CRUMBS * least else max(seconds, least)

    def points(self, waiting: int, slots: int) -> int:
        """How many of so many points go to a slot at once."""
        median = max(self._times.median or 0.0, 1e-9)
        return max(1, round(chunk_seconds(waiting * median, slots) / median))

    def left(self, queue: Iterable[Issued], now: float) -> float:
        """Seconds that a slot should still take for what it has; infinite where nothing is known."""
        return sum(max(0.0, self.chunk(issued) - max(0.0, now - issued.started)) for issued in queue)
