"""Slots that come and go while a wave runs: with the cluster's nodes, and with the other drivers that use it."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from distfd.core.errors import ClusterError
from distfd.core.records import NOTHING
from distfd.executors.ray.ray_share import slots_to_leave
from distfd.workers.protocols import ChunkDone

if TYPE_CHECKING:
    from collections.abc import Collection

    from distfd.executors.ray.elastic_slots import Census


@dataclass(frozen=True)
class Change:
    """Slots to start and to end now, and chunks that go back untouched before those end."""

    start: tuple[int, ...] = ()
    end: tuple[int, ...] = ()
    back: tuple[ChunkDone, ...] = ()


class Resizing:
    """Which slots are to be given back once they are idle, and what they are sent meanwhile.

    No evaluation is cut off: one that has begun is waited for. What a leaving slot is given meanwhile is not
    sent.

    Parameters
    ----------
    census : Census
    """

    def __init__(self, census: Census) -> None:
        self._census = census
        self._leaving: set[int] = set()
        self._refused: list[ChunkDone] = []

    def refuses(self, slot: int, chunk: int) -> bool:
        """Whether a slot takes no more chunks; this one goes back with its end."""
        if slot in self._leaving:
            self._refused.append(ChunkDone(slot, chunk, NOTHING))
        return slot in self._leaving

    def lost(self, slot: int) -> None:
        """A slot's process is given up with all that it had."""
        self._refused = [done for done in self._refused if done.slot != slot]

    def change(self, slots: Collection[int], up: Collection[int], busy: Collection[int]) -> Change:
        """What is to be done now.

        Parameters
        ----------
        slots, up, busy : collection of int
            Those there are, those whose processes are ready, those that have chunks.

        Raises
        ------
        ClusterError
            If no node has fitted an evaluation for very long.
        """
        if self._census.hopeless is not None:
            raise ClusterError(self._census.hopeless)
        staying = [slot for slot in slots if slot not in self._leaving]
        over = len(staying) - self._census.target
        self._leaving.update(slots_to_leave(staying, over, up, busy))
        start = tuple(itertools.islice((k for k in itertools.count() if k not in slots), max(0, -over)))
        end = tuple(sorted(slot for slot in self._leaving if slot not in busy))
        back = tuple(done for done in self._refused if done.slot in end)
        self._refused = [done for done in self._refused if done.slot not in end]
        self._leaving.difference_update(end)
        return Change(start, end, back)

    def stop(self) -> bool:
        """Look no more; whether no look is under way."""
        return self._census.stop()
