"""What each slot has been given and not yet handed back."""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np
    from numpy.typing import NDArray

_STALE = 64
"""Entries of a heap, beside those of chunks at work, that are let be: to clear them out takes as long as they do."""


@dataclass(eq=False)
class Issued:
    """A chunk with a slot."""

    chunk: int
    index: NDArray[np.int64]
    expected: float
    """Seconds it should take; infinite where nothing is known."""
    budget: float
    started: float
    """When it came to the head of its slot's queue; infinite before."""
    lone: bool
    """Whether nothing may be queued behind it."""
    apart: bool = False
    """Whether nothing else may be at work on its host."""


class SlotQueues:
    """Chunks by slot, the one at work first."""

    def __init__(self) -> None:
        self._of: dict[int, deque[Issued]] = {}
        self._watching: list[ChunksByTime] = []
        self.emptied: dict[int, None] = {}
        """Slots that have handed everything back, or lost it, and have been given nothing since."""

    def __len__(self) -> int:
        return len(self._of)

    def __contains__(self, slot: int) -> bool:
        return slot in self._of

    def __iter__(self) -> Iterator[tuple[int, deque[Issued]]]:
        """Slots that have something, and what."""
        return iter(list(self._of.items()))

    def __bool__(self) -> bool:
        return bool(self._of)

    def of(self, slot: int) -> deque[Issued]:
        """What a slot has."""
        return self._of.get(slot, deque())

    def watch(self, time: Callable[[Issued], float]) -> ChunksByTime:
        """The chunks at work by a time of each, those that are at work now included."""
        made = ChunksByTime(self, time)
        self._watching.append(made)
        for slot, queue in self._of.items():
            made.began(slot, queue[0])
        return made

    def add(self, slot: int, issued: Issued) -> None:
        """Queue a chunk on a slot."""
        queue = self._of.setdefault(slot, deque())
        queue.append(issued)
        self.emptied.pop(slot, None)
        if len(queue) == 1:
            self._began(slot, issued)

    def done(self, slot: int, chunk: int, now: float) -> Issued | None:
        """A slot has handed a chunk back, and begins the next; None if it was not given it, or has lost it since."""
        queue = self._of.get(slot, deque())
        issued = next((issued for issued in queue if issued.chunk == chunk), None)
        if issued is not None:
            at_work = queue[0]
            queue.remove(issued)
            if not queue:
                del self._of[slot]
                self.emptied[slot] = None
            elif queue[0] is not at_work:
                queue[0].started = min(queue[0].started, now)
                self._began(slot, queue[0])
        return issued

    def drop(self, slot: int) -> deque[Issued]:
        """A slot has lost all that it had."""
        self.emptied[slot] = None
        return self._of.pop(slot, deque())

    def _began(self, slot: int, issued: Issued) -> None:
        for each in self._watching:
            each.began(slot, issued)


class ChunksByTime:
    """Chunks at work, by a time of each: to find the first takes as long with 10,000 slots as with ten.

    Parameters
    ----------
    queues : SlotQueues
    time : callable
        The time of a chunk, which does not change once it is at work.
    """

    def __init__(self, queues: SlotQueues, time: Callable[[Issued], float]) -> None:
        self._queues, self._time = queues, time
        self._heap: list[tuple[float, int, int]] = []

    def began(self, slot: int, issued: Issued) -> None:
        """A chunk is at work now."""
        if len(self._heap) > 2 * len(self._queues) + _STALE:
            self._heap = [entry for entry in self._heap if self._at_work(*entry[1:])]
            heapq.heapify(self._heap)
        heapq.heappush(self._heap, (self._time(issued), issued.chunk, slot))

    def first(self) -> float | None:
        """The earliest time of a chunk that is at work; None where none is."""
        while self._heap and not self._at_work(*self._heap[0][1:]):
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def take_until(self, now: float) -> list[tuple[int, Issued]]:
        """Slots, and chunks at work, whose time has come; they are not told again."""
        found = []
        while (time := self.first()) is not None and time <= now:
            _, _, slot = heapq.heappop(self._heap)
            found.append((slot, self._queues.of(slot)[0]))
        return found

    def _at_work(self, chunk: int, slot: int) -> bool:
        queue = self._queues.of(slot)
        return bool(queue) and queue[0].chunk == chunk
