"""What each slot has been given and not yet handed back."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray


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

    def add(self, slot: int, issued: Issued) -> None:
        """Queue a chunk on a slot."""
        self._of.setdefault(slot, deque()).append(issued)

    def done(self, slot: int, chunk: int, now: float) -> Issued | None:
        """A slot has handed a chunk back, and begins the next; None if it was not given it, or has lost it since."""
        queue = self._of.get(slot, deque())
        issued = next((issued for issued in queue if issued.chunk == chunk), None)
        if issued is not None:
            queue.remove(issued)
            if queue:
                queue[0].started = min(queue[0].started, now)
            else:
                del self._of[slot]
        return issued

    def drop(self, slot: int) -> deque[Issued]:
        """A slot has lost all that it had."""
        return self._of.pop(slot, deque())
