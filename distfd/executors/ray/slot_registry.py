"""Who in this process has slots of which cluster: open sessions share them, and none waits for another without end.

A process has one connection to Ray, and may use it from several Evaluators and threads at once. Those whose waves are
waited for share the slots, each at least one; where there are more of them than slots, the last to come wait in line.
A wave that has begun and that nobody waits for now (the program does something else before it asks for the result)
keeps the slots that are at work for it, and lends the others. A session between two waves keeps its workers for the
next, until another wants their place.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from collections.abc import Iterator

_REST = 1.0
"""Seconds for which workers stay with a session between two waves, or with a wave that nobody waits for, though another
session could use their place."""
_EVERY = 0.1
"""Seconds between two looks for slots that others could lend."""


class Holder(Protocol):
    """An executor, as far as others need to know it."""

    def close(self) -> None:
        """Give every slot back."""

    def lend(self) -> None:
        """Give slots back that are idle, if there are more of them than its share; it may be in a wave."""

    def take_over(self) -> bool:
        """Take parked workers that it can use; whether it has fewer than its share still."""

    def stop_asking(self) -> bool:
        """Ask the cluster nothing more, as it is lost; whether no question is under way."""


@dataclass(eq=False)
class _Standing:
    cluster: str
    in_wave: bool
    since: float
    """Since when it is in a wave, or no longer."""
    driven: float
    """When its wave was last waited for."""
    waiting: bool = False
    """Whether it is waited for at this moment."""
    parked: bool = False
    """Whether nobody has it, and whoever comes next may take it over."""
    counts: bool = True
    """Whether it has a share of the cluster."""
    looked: float = -math.inf
    """When it last looked for slots that others could lend."""

    def in_use(self, now: float) -> bool:
        """Whether somebody waits for its wave, or did a moment ago."""
        return self.in_wave and (self.waiting or now - self.driven < _REST)


class SlotRegistry:
    """All executors of this process that have slots.

    Attributes
    ----------
    opening : RLock
        Held while one opens or closes: Ray's connection, and the environment that it reads, belong to the process.
    """

    def __init__(self) -> None:
        self.opening = threading.RLock()
        self._lock = threading.Lock()
        self._of: WeakKeyDictionary[Holder, _Standing] = WeakKeyDictionary()

    def begin(self, holder: Holder, cluster: str) -> None:
        """A wave of this one begins."""
        now = time.monotonic()
        with self._lock:
            known = self._of.get(holder)
            since = known.since if known is not None and known.in_wave and known.cluster == cluster else now
            self._of[holder] = _Standing(cluster, in_wave=True, since=since, driven=now)

    @contextlib.contextmanager
    def driving(self, holder: Holder) -> Iterator[None]:
        """Inside, a wave of this one is waited for; others first give back what they do not use."""
        with self._lock:
            known = self._of.get(holder)
        if known is None:
            yield
            return
        known.waiting = True
        try:
            self._have_others_lend(holder)
            yield
        finally:
            known.driven, known.waiting = time.monotonic(), False

    def _have_others_lend(self, holder: Holder) -> None:
        if len(self._of) < 2:
            return
        now = time.monotonic()
        with self._lock:
            mine = self._of.get(holder)
            if mine is None or now - mine.looked < _EVERY:
                return
            mine.looked = now
            others = [other for other in self._of if other is not holder]
        for other in others:
            other.lend()
        self._close_resting(holder, _REST, blocking=False)  # and take over at once what these have lent

    def rest(self, holder: Holder) -> None:
        """Its wave is over; it keeps its slots until another wants them."""
        with self._lock:
            if (known := self._of.get(holder)) is not None:
                known.in_wave, known.since = False, time.monotonic()

    def park(self, holder: Holder, cluster: str, *, counts: bool) -> None:
        """It has slots that nobody uses, for whoever comes next: it is closed as soon as another wants their place."""
        standing = _Standing(cluster, in_wave=False, since=-math.inf, driven=-math.inf, parked=True, counts=counts)
        with self._lock:
            self._of[holder] = standing

    def wanted(self, holder: Holder) -> bool:
        """Whether somebody else waits for a wave on the same cluster."""
        now = time.monotonic()
        return any(each.in_use(now) for each in self._others(holder))

    def waited(self, cluster: str) -> bool:
        """Whether somebody waits, at this moment, for a wave on this cluster."""
        with self._lock:
            return any(each.waiting for each in self._of.values() if each.cluster == cluster)

    def on(self, cluster: str) -> list[Holder]:
        """All that have slots of this cluster."""
        with self._lock:
            return [holder for holder, each in self._of.items() if each.cluster == cluster]

    def shares(self, holder: Holder) -> bool:
        """Whether somebody else has slots of the same cluster, or has given some back that wait to be taken over."""
        return bool(self._others(holder))

    def _others(self, holder: Holder) -> list[_Standing]:
        if len(self._of) < 2:
            return []
        with self._lock:
            mine = self._of.get(holder)
            return [each for each in self._of.values() if mine and each is not mine and each.cluster == mine.cluster]

    def end(self, holder: Holder) -> None:
        """It has given its slots back."""
        with self._lock:
            self._of.pop(holder, None)

    def make_room(self, holder: Holder) -> None:
        """Close those that are in no wave, as their idle workers hold what this one waits for; parked ones are left."""
        self._close_resting(holder, 0.0, blocking=True, parked=False)

    def _close_resting(self, holder: Holder, seconds: float, *, blocking: bool, parked: bool = True) -> None:
        if not self._of or not self.opening.acquire(blocking=blocking):
            return
        try:
            for other in self._resting(holder, seconds, parked=False):
                other.close()  # and park what it has
            if parked and holder.take_over():
                for other in self._resting(holder, seconds, parked=True):
                    other.close()
        finally:
            self.opening.release()

    def count(self, holder: Holder) -> int:
        """How many there are on the same cluster, this one included."""
        if len(self._of) < 2:
            return 1
        with self._lock:
            mine = self._of.get(holder)
            here = [each for each in self._of.values() if mine is not None and each.cluster == mine.cluster]
        return max(1, sum(each.counts for each in here))

    def share(self, holder: Holder, most: int) -> int:
        """Slots that this one should have, of ``most`` that there are for it; 0 where it has to wait in line."""
        if len(self._of) < 2:
            return most
        now = time.monotonic()
        with self._lock:
            mine = self._of.get(holder)
            here = [each for each in self._of.values() if mine is not None and each.cluster == mine.cluster]
        using = [each for each in here if each.in_use(now)]
        if mine is None or mine not in using:
            return 0 if using else most
        rank = sum((each.since, id(each)) < (mine.since, id(mine)) for each in using)
        if len(using) >= most:
            return int(rank < most)
        # Whole slots by the difference of rounded sums, so that none is left over.
        return most * (rank + 1) // len(using) - most * rank // len(using)

    def _resting(self, holder: Holder, seconds: float, *, parked: bool) -> list[Holder]:
        now = time.monotonic()
        with self._lock:
            return [
                other
                for other, each in self._of.items()
                if other is not holder
                and not each.in_wave
                and now - each.since >= seconds
                and (parked or not each.parked)
            ]


class Capacity(Protocol):
    """How many slots there are for one executor, as far as the cluster has a say in it."""

    @property
    def target(self) -> int:
        """Slots that it should have."""

    @property
    def capacity(self) -> int:
        """Slots that all together have."""

    @property
    def hopeless(self) -> str | None:
        """Why no evaluation will ever fit, once that is to be feared."""

    def rest(self, *, resting: bool) -> None:
        """Whether nobody evaluates there now, so that other drivers of the cluster may have its share."""

    def stop(self) -> bool:
        """Look no more; whether no look is under way."""


@dataclass(frozen=True)
class Fixed:
    """A private cluster: so many slots, all of them this process's."""

    target: int

    @property
    def hopeless(self) -> str | None:
        """Nothing is to be feared."""
        return None

    @property
    def capacity(self) -> int:
        """All of them."""
        return self.target

    def rest(self, *, resting: bool) -> None:
        """Nobody else is there."""

    def stop(self) -> bool:
        """Nothing is under way."""
        return True


class LocalShare:
    """Slots of one executor: what the cluster has for it, shared with the others of this process."""

    def __init__(self, registry: SlotRegistry, holder: Holder, cluster: Capacity, max_slots: int | None = None) -> None:
        self._registry, self._holder, self._cluster, self._max_slots = registry, holder, cluster, max_slots

    @property
    def hopeless(self) -> str | None:
        """Why no evaluation will ever fit, once that is to be feared."""
        return self._cluster.hopeless

    @property
    def target(self) -> int:
        """Slots that this executor should have."""
        n = self._registry.count(self._holder)
        if n < 2:
            return self._cluster.target
        # On a cluster that was joined each of them counts as a driver, and a driver has one slot at least.
        share = self._registry.share(self._holder, min(self._cluster.capacity, n * self._cluster.target))
        return share if self._max_slots is None else min(share, self._max_slots)

    def rest(self) -> None:
        """Have other drivers of the cluster use these slots, until `hand_to`."""
        self._cluster.rest(resting=True)

    def hand_to(self, holder: Holder) -> None:
        """From now on these are the slots of another executor."""
        self._holder = holder
        self._cluster.rest(resting=False)

    def stop(self) -> bool:
        """Look no more; whether no look is under way."""
        return self._cluster.stop()
