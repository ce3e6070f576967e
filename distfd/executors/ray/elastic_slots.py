"""Slots that come and go while a wave runs: with the nodes of a cluster, and with the other drivers that use it.

`ClusterCapacity` counts what the cluster has for this driver, `fair_slots` shares it between drivers, `request` asks an
autoscaler for more, and `ElasticSlots` starts and ends slots accordingly.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import threading
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from distfd.core.errors import ClusterError
from distfd.core.records import NOTHING
from distfd.executors.ray.internals import ClusterNotes, dead_jobs, starting_nothing
from distfd.executors.ray.resources import count_slots, live_nodes
from distfd.executors.ray.thread_ending import ThreadEnding
from distfd.workers.messages import ChunkDone

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from distfd.executors.ray.options import ClusterOptions
    from distfd.executors.ray.resources import Resources
    from distfd.executors.ray.slot_registry import LocalShare


def fair_slots(me: str, wants: Mapping[str, float], capacity: int) -> int:
    """The number of slots of one driver: as many as it wants, or else an equal share (max-min fairness).

    Each driver computes this for itself; as all see the same wants, their slots add up to the capacity.

    Parameters
    ----------
    me : str
    wants : mapping
        By driver, the share of the cluster that it can use at most, 0 to 1.
    capacity : int
        Evaluations such as mine that fit into the whole cluster.

    References
    ----------
    Bertsekas & Gallager, Data Networks, 2nd ed. (1992), section 6.5.2: max-min flow control by water-filling.
    """
    left, shares = 1.0, {}
    rest = sorted(wants, key=lambda name: (wants[name], name))
    for k, name in enumerate(rest):
        shares[name] = min(wants[name], left / (len(rest) - k))
        left -= shares[name]
    before = sum(shares[name] for name in sorted(shares) if name < me)
    # Whole slots by the difference of rounded sums, so that none is left over.
    return max(1, int(capacity * (before + shares[me]) + 1e-6) - int(capacity * before + 1e-6))


def slots_to_leave(slots: Iterable[int], count: int, up: Collection[int], busy: Collection[int]) -> list[int]:
    """Which slots are given back: first those that have not come up, then idle ones, then busy ones."""
    return sorted(slots, key=lambda slot: (slot in busy, slot in up, -slot))[: max(0, count)]


Ask = dict[str, Any]
"""A request for ``bundles`` times the resources ``needs`` on nodes with these ``labels``, as JSON data."""


def asked_for(resources: Resources, slots: int) -> Ask:
    """The requests that make room for so many evaluations at once."""
    spread = resources.nodes > 1
    return {
        "needs": resources.on_each_node if spread else resources.needs,
        "labels": dict(resources.labels),
        "bundles": slots * resources.nodes,
    }


def request(asks: Iterable[Ask]) -> None:
    """Ask the cluster's autoscaler, if there is one, to make room for all of this, and for nothing else.

    The cluster remembers one request, whoever made it, until the next.
    """
    import ray
    from ray.autoscaler.sdk import request_resources

    asks = list(asks)
    bundles = [dict(ask["needs"]) for ask in asks for _ in range(ask["bundles"])]
    labels = (
        [dict(ask["labels"]) for ask in asks for _ in range(ask["bundles"])] if any(a["labels"] for a in asks) else None
    )
    if ray.util.client.ray.is_connected():  # type: ignore[no-untyped-call]  # Ray lacks types
        # Ray's client has no such call.
        remote: Any = ray.remote(num_cpus=0)(request_resources)
        ray.get(remote.remote(bundles=bundles, bundle_label_selectors=labels))
    else:
        request_resources(bundles=bundles, bundle_label_selectors=labels)


_EVERY = 2.0
"""Seconds between two counts of the cluster, and between two notes that tell other drivers that this one lives."""

_DEAD = 15.0
"""Seconds without a new note after which another driver counts as gone, if Ray does not report its end before."""

_HOPE = 1200.0
"""Seconds to wait for a node on which an evaluation fits: autoscalers take minutes to add one."""


class ClusterCapacity:
    """Counts the cluster's slots in a thread of its own, as Ray's calls never return if the head hangs.

    Each driver writes the share of the cluster that it can use into the cluster's key-value store, anew every two
    seconds; so each sees all others, and one whose job is dead is forgotten. No clocks are compared. What it wants an
    autoscaler to make room for stands there too: an autoscaler knows of one request, so each makes that of all.

    Parameters
    ----------
    resources : Resources
        Of one evaluation.
    options : ClusterOptions
    connected : callable
        Whether this process is still connected to the same cluster.
    """

    def __init__(self, resources: Resources, options: ClusterOptions, connected: Callable[[], bool]) -> None:
        self._resources, self._options, self._connected = resources, options, connected
        self._notes = ClusterNotes(b"distfd")
        self._key = f"driver:{uuid.uuid4().hex}"
        self._beat = 0
        self._seen: dict[str, tuple[bytes, float]] = {}
        count = options.request_slots
        self._ask = None if count is None else asked_for(resources, count)
        self._others: dict[str, Ask] = {}
        self._requested: list[Ask] = []
        self._fitted = time.monotonic()
        self._resting = False
        self._ended = ThreadEnding()
        self._thread = threading.Thread(target=self._run, name="distfd counts nodes", daemon=True)
        self.target = 1
        """Slots that this driver should have."""
        self.capacity = 1
        """Slots that all drivers have together."""
        self.hopeless: str | None = None
        """Why no node will probably ever fit an evaluation; None as long as there is hope."""

    def start(self) -> None:
        """Look once, and then again and again.

        Raises
        ------
        ClusterError
            If no node can run an evaluation, and no other was asked for.
        """
        if self._ask is None:
            count_slots(self._resources, live_nodes(), None)
        self.look()
        self._thread.start()

    def rest(self, *, resting: bool) -> None:
        """Whether this driver evaluates nothing; others hear of it with its next note, and take its share then."""
        self._resting = resting

    def stop(self) -> bool:
        """End the thread and remove this driver's note; whether the thread makes no call of Ray any more."""
        self._ended.tell()
        if self._thread.is_alive():
            self._thread.join(1.0 if self._ask is None else 15.0)  # room that nobody gives back costs money
        return not self._thread.is_alive()

    def look(self) -> None:
        """Count nodes and drivers."""
        now = time.monotonic()
        try:
            capacity = count_slots(self._resources, live_nodes(), None)
            self._fitted = now
        except ClusterError as error:
            if now - self._fitted > _HOPE:
                self.hopeless = f"{error}; no such node has come in {_HOPE / 60:.0f} minutes"
            capacity = 0
        self.capacity = max(1, capacity)
        most = min(self._options.max_slots or capacity, capacity)
        wants = {self._key: most / capacity if capacity else 1.0, **self._look_at_others(now)}
        self._tell(0.0 if self._resting else wants[self._key])
        if self._ask is not None:
            self._request([*self._others.values(), self._ask])
        self.target = min(fair_slots(self._key, wants, capacity), max(1, most))

    def _look_at_others(self, now: float) -> dict[str, float]:
        found: dict[str, float] = {}
        dead: set[str] | None = None
        asks: dict[str, Ask] = {}
        for key in self._notes.names("driver:"):
            told = self._notes.get(key)
            if key == self._key or told is None:
                continue
            before, since = self._seen.get(key, (b"", now))
            self._seen[key] = told, since if told == before else now
            if now - self._seen[key][1] > _DEAD:
                self._notes.remove(key)
                continue
            dead = dead_jobs() if dead is None else dead
            with contextlib.suppress(ValueError, KeyError, TypeError):  # of another version of distfd
                said = json.loads(told)
                if said.get("job") in dead:
                    self._notes.remove(key)
                    continue
                found[key] = min(1.0, max(0.0, float(said["wants"])))
                if said["asks"] is not None:
                    asks[key] = said["asks"]
        self._others = asks
        return found

    def _tell(self, wants: float) -> None:
        import ray

        self._beat += 1
        job = ray.get_runtime_context().get_job_id()
        told = json.dumps({"wants": wants, "beat": self._beat, "job": job, "asks": self._ask})
        self._notes.put(self._key, told)

    def _request(self, asks: list[Ask]) -> None:
        asks.sort(key=json.dumps)
        # The cluster remembers what was asked last: a driver that knew less of the others may have spoken since.
        if asks != self._requested or self._others:
            request(asks)
            self._requested = asks

    @starting_nothing()
    def _run(self) -> None:
        while not self._ended.wait(_EVERY) and self._connected():
            # What goes wrong once may go well the next time, and a cluster that is lost is seen by `ray_watch`.
            with contextlib.suppress(Exception):
                self.look()
        if not self._connected():
            return
        with contextlib.suppress(Exception):
            self._notes.remove(self._key)
            if self._ask is not None:
                self._look_at_others(time.monotonic())  # one that has left since wants no room any more
                request(sorted(self._others.values(), key=json.dumps))


@dataclass(frozen=True)
class Change:
    """Slots to start and to end now, and chunks that are handed back unevaluated before those end."""

    start: tuple[int, ...] = ()
    end: tuple[int, ...] = ()
    back: tuple[ChunkDone, ...] = ()


class ElasticSlots:
    """Decides which slots to start, and which to give back once they are idle.

    No evaluation is cut off: a slot that is to be given back finishes the one that it has begun. Chunks that it gets
    meanwhile are not sent to it, and are handed back.

    Parameters
    ----------
    census : LocalShare
        How many slots there should be.
    """

    def __init__(self, census: LocalShare) -> None:
        self._census = census
        self._leaving: set[int] = set()
        self._refused: list[ChunkDone] = []

    def refuses(self, slot: int, chunk: int) -> bool:
        """Whether a slot takes no more chunks; this one goes back with its end."""
        if slot in self._leaving:
            self._refused.append(ChunkDone(slot, chunk, NOTHING))
        return slot in self._leaving

    def lost(self, slot: int) -> None:
        """Note that a slot's process is gone with all chunks that it had."""
        self._refused = [done for done in self._refused if done.slot != slot]

    def lacking(self, started: int) -> int:
        """How many slots there are too few if the processes of so many have started.

        Those that are still to leave are at work, and so have started.
        """
        return max(0, self._census.target - (started - len(self._leaving)))

    def settled(self, slots: int) -> bool:
        """Whether no slot is to be started or ended if there are so many now."""
        return not self._leaving and slots == self._census.target and self._census.hopeless is None

    def change(self, slots: Collection[int], up: Collection[int], busy: Collection[int]) -> Change:
        """The slots to start and to end now.

        Parameters
        ----------
        slots, up, busy : collection of int
            All slots, those whose processes are ready, and those that have chunks.

        Raises
        ------
        ClusterError
            If no node has fitted an evaluation for very long.
        """
        if self._census.hopeless is not None:
            raise ClusterError(self._census.hopeless)
        self._leaving.intersection_update(slots)  # some may have been dropped since
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
        """Stop counting the cluster; whether no count is under way."""
        return self._census.stop()
