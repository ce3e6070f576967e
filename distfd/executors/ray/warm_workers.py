"""Workers that stay for the next call: a session that closes parks them here, and the next one adopts them.

Parked workers belong to nobody. They end as soon as another executor of this process wants their place, when something
else on the cluster waits for room, after an idle time, and when the process leaves Ray. Only sound, idle workers of a J
that is a function are parked; those that adopt them make J anew, so that no call sees what an earlier one has left.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import math
import os
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from distfd.executors.ray.connection import connection, forked
from distfd.executors.ray.internals import ended_servers, keeps_classes_apart, others_wait, starting_nothing
from distfd.executors.ray.pickling import pickled_bytes
from distfd.executors.ray.worker_start import driver_paths

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from distfd.executors.ray.nodes import Nodes
    from distfd.executors.ray.options import ClusterOptions
    from distfd.executors.ray.placement_groups import PlacementGroups
    from distfd.executors.ray.resources import Resources
    from distfd.executors.ray.slot_registry import LocalShare, SlotRegistry
    from distfd.executors.ray.slots import Slots
    from distfd.objectives.base import Objective

_LOOK = 0.5
"""Seconds between two looks for what else on the cluster waits for room; such a look takes some milliseconds."""

_LONGEST = 2.0
"""Seconds after which it looks even if calls follow on each other."""
_log = logging.getLogger("distfd")


@dataclass(frozen=True)
class HandingOn:
    """Whether the workers of an executor may go on in another session, and in which.

    Attributes
    ----------
    options : ClusterOptions
    resources : Resources
    show_output : bool
    seconds : float
        For which idle workers stay; 0: not at all.
    """

    options: ClusterOptions
    resources: Resources
    show_output: bool
    seconds: float

    def key(self, objective: Objective, cluster: str, paths: list[str]) -> Hashable:
        """What another executor must have in common with this one to take over its workers."""
        options = self.options
        return (
            cluster,
            pickled_bytes((self.resources, sorted(options.runtime_env.items()))),
            (options.address, options.num_cpus, options.max_slots),
            self.show_output,
            type(objective),
            objective.surroundings is None,
            tuple(paths),
        )

    def fitting_key(self, objective: Objective, cluster: str) -> Hashable | None:
        """The key of parked workers that this executor may take over for this J; None: of none."""
        return self.key(objective, cluster, driver_paths()) if self.allows(objective) else None

    def allows(self, objective: Objective) -> bool:
        """Whether workers of this J may go on in another session."""
        return bool(self.seconds) and self.suits(objective) and sees_who_waits()

    def suits(self, objective: Objective) -> bool:
        """Whether J and what it needs let its workers stay for the next call."""
        needs = self.resources
        plain = needs.nodes == 1 and not needs.num_gpus and not needs.custom
        clean = objective.leaves_process_clean and keeps_classes_apart()
        return plain and self.options.request_slots is None and clean


@dataclass(eq=False)
class ParkedWorkers:
    """The workers of a session that has ended, with all that the next one needs to go on with them.

    Attributes
    ----------
    key : hashable
        What an executor must have in common with the one that parked them.
    cluster : str
        The connection by which they were started.
    share : LocalShare or None
        None for the workers of slots that a session has given back: another one takes them one by one.
    """

    key: Hashable
    cluster: str
    slots: Slots
    nodes: Nodes
    places: PlacementGroups
    share: LocalShare | None = None
    since: float = field(default_factory=time.monotonic)
    until: float = math.inf
    """When they end, by time.monotonic()."""
    pool: WarmWorkers | None = None
    """The pool in which they are parked; None before that."""

    @property
    def connected(self) -> bool:
        """Whether this process still has the connection by which they were started."""
        return connection() == self.cluster

    def close(self) -> None:
        """End them, unless somebody has taken them; the caller holds ``registry.opening``."""
        if self.pool is not None:
            self.pool.close(self)

    def end(self) -> None:
        """End them; they are parked no longer."""
        try:
            with contextlib.suppress(Exception):  # whoever uses the cluster next finds out what is the matter with it
                if not forked() and not self.nodes.lost and self.connected:
                    with starting_nothing():
                        self.slots.end()
                        self.places.free()
        finally:
            self.forget()

    def forget(self) -> None:
        """Stop checking the cluster for these workers, without a call to them."""
        self.slots.stop()
        self.nodes.stop()

    def lend(self) -> None:
        """Do nothing: parked workers are all given back at once, by `close`."""

    def take_over(self) -> bool:
        """Nothing: they are in no wave."""
        return False

    def stop_asking(self) -> bool:
        """Ask the cluster nothing more, as it is lost; whether no question is under way."""
        return self.slots.stop()


class WarmWorkers:
    """All workers that this process keeps for its next call.

    Parameters
    ----------
    registry : SlotRegistry
        Where those who want their place find them.
    """

    def __init__(self, registry: SlotRegistry) -> None:
        self._registry = registry
        self._parked: list[ParkedWorkers] = []
        self._lock = threading.RLock()
        """Guards the list. It is taken by itself, as Ctrl-C inside of a Condition's own methods leaves it held."""
        self._changed = threading.Condition(self._lock)
        """Tells the thread that ends idle workers of a change."""
        self._thread: threading.Thread | None = None
        self._looked = time.monotonic()
        self._look_at = 0.0
        """When the thread looks next at what it keeps, by time.monotonic()."""
        self._told = self._registered = self._ending = False
        self._pid = os.getpid()

    def park(self, parked: ParkedWorkers, seconds: float) -> None:
        """Keep workers for so many seconds, unless somebody wants them or their place before."""
        parked.pool, parked.until = self, parked.since + seconds
        if self._ending:
            parked.forget()  # a thread is at work while the interpreter ends
            return
        with contextlib.suppress(Exception):
            import ray.autoscaler.v2.sdk  # noqa: F401  # here, and not while somebody may leave Ray
        with self._lock:
            if not self._registered:
                self._registered, self._pid, self._looked = True, os.getpid(), time.monotonic()
                atexit.register(self._at_exit)
            if not self._parked:
                # Not at once: that would be in the way of a call which follows on this one. Where calls follow on each
                # other all the time, whoever waits for their room is seen all the same.
                self._look_at = min(time.monotonic() + _LOOK, self._looked + _LONGEST)
            self._parked.append(parked)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="distfd ends idle workers", daemon=True)
                self._thread.start()
            self._changed.notify()
        self._registry.park(parked, parked.cluster, counts=parked.share is not None)
        if parked.share is not None:
            self._tell(len(parked.slots), seconds)

    def take(self, key: Hashable, cluster: str) -> ParkedWorkers | None:
        """Workers for an executor that has this key; they are no longer kept. Those of a lost connection are dropped.

        The caller holds ``registry.opening``.
        """
        self._drop(lambda each: each.cluster != cluster or each.nodes.lost)
        with self._lock:
            fitting = [each for each in self._parked if each.key == key and each.share]
            found = max(fitting, key=lambda each: len(each.slots), default=None)
            self._parked = [each for each in self._parked if each is not found]
        if found is not None:
            self._registry.end(found)
        return found

    def drop(self, cluster: str) -> None:
        """Forget the workers on a cluster that is lost; the caller holds ``registry.opening``."""
        self._drop(lambda each: each.cluster == cluster)

    def _drop(self, stale: Callable[[ParkedWorkers], bool]) -> None:
        with self._lock:
            dropped = [each for each in self._parked if stale(each)]
            self._parked = [each for each in self._parked if each not in dropped]
        for each in dropped:
            self._registry.end(each)
            each.forget()

    def like(self, key: Hashable) -> list[ParkedWorkers]:
        """Those of executors that have this key; the caller holds ``registry.opening``."""
        with self._lock:
            return [each for each in self._parked if each.key == key]

    def end(self, key: Hashable | None = None, *, but: Hashable | None = None) -> None:
        """End the parked workers of executors that have this key, by default all; or all but those of one key."""
        if forked():
            return
        with self._registry.opening:
            with self._lock:
                chosen = [each for each in self._parked if key is None or each.key == key]
                chosen = [each for each in chosen if but is None or each.key != but]
            for each in chosen:
                self.close(each)

    def close(self, parked: ParkedWorkers) -> None:
        """End these workers; the caller holds ``registry.opening``."""
        with self._lock:
            if parked not in self._parked:
                return  # they have been taken, or ended, meanwhile
            self._parked.remove(parked)
        self._registry.end(parked)
        parked.end()

    def __len__(self) -> int:
        with self._lock:
            return sum(len(each.slots) for each in self._parked)

    def _run(self) -> None:
        while self._wait():
            # Under this lock distfd leaves Ray; and whatever is given back to Ray after that ends the process, a
            # reference that this thread lets go of too.
            with self._registry.opening, starting_nothing():
                self._look()

    def _wait(self) -> bool:
        """Wait until there is something to look at; whether this thread is to go on."""
        with self._lock:
            while self._parked and not self._ending:
                now, due = time.monotonic(), min(self._look_at, *(each.until for each in self._parked))
                if now >= due:
                    self._looked, self._look_at = now, now + _LOOK
                    return True
                self._changed.wait(due - now)
            self._thread = None
            return False

    def _look(self) -> None:
        """End those whose time is over, or whose place somebody wants, or that are unfit; the caller holds the lock.

        Whatever goes wrong with some, the thread goes on: nobody else ends the others.
        """
        with self._lock:
            parked, now = list(self._parked), time.monotonic()
        over = [each for each in parked if each.until <= now]
        with contextlib.suppress(Exception):
            # A head that is gone would be waited for, and this lock with it.
            here = parked[0].connected and not parked[0].nodes.lost and not parked[0].nodes.doubted
            if here and ended_servers():
                return  # who leaves the cluster drops these
            if len(over) < len(parked) and here and others_wait():
                # A session of this process that waits takes those that it can use, or has them closed.
                over = [each for each in parked if now - each.since > _LONGEST or not self._registry.wanted(each)]
        with contextlib.suppress(Exception):
            self._check(parked)
        gone = [each for each in parked if each not in over and (each.nodes.lost or not len(each.slots))]
        for each in [*over, *gone]:
            with contextlib.suppress(Exception):
                self.close(each)

    def _check(self, parked: list[ParkedWorkers]) -> None:
        """End the workers of these that are unfit for another J; not yet of those that a next call may be taking."""
        for each in parked:
            with contextlib.suppress(Exception):
                idle = time.monotonic() - each.since >= _LOOK
                if idle and not each.nodes.lost and not each.nodes.doubted and each.connected:
                    each.slots.release()
                    each.slots.check_parked()

    def _at_exit(self) -> None:
        """Leave Ray to end them, as it does when it disconnects; a thread that asks it something then would crash."""
        if self._pid != os.getpid() or forked():
            return
        with self._lock:
            self._ending = True
            parked, self._parked = self._parked, []
            thread = self._thread
            self._changed.notify_all()
        if thread is not None and thread is not threading.current_thread():
            thread.join(2.0)
        for each in parked:
            each.forget()

    def _tell(self, count: int, seconds: float) -> None:
        if self._told:
            return
        self._told = True
        by_hand = hasattr(sys, "ps1") or "ipykernel" in sys.modules
        _log.log(
            logging.WARNING if by_hand else logging.INFO,
            "distfd keeps %d idle worker%s for the next call, for %g s. distfd.shutdown() ends them, and the cluster "
            "that distfd started. RayExecutor(keep_idle='30min') keeps them longer, and keep_idle=0 ends them at once. "
            "(This message appears once.)",
            count,
            "" if count == 1 else "s",
            seconds,
        )


def sees_who_waits() -> bool:
    """Whether this process can see what on the cluster waits for room: not through Ray's client (``ray://``)."""
    import ray

    return not ray.util.client.ray.is_connected()  # type: ignore[no-untyped-call]  # Ray lacks types
