"""Evaluations on a Ray cluster: one actor a slot.

An actor keeps its process, and with it J's model, for the whole session; a chunk of points goes to it by one call, and
a second one may wait behind the first. Ray's own retries are off: the scheduler counts attempts.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from distfd.errors import InputError
from distfd.executors import ray_worker
from distfd.executors.ray_capacity import Resources, count_slots, live_nodes, make_resources
from distfd.executors.ray_census import Census
from distfd.executors.ray_failures import HUNG, IDLE, RETURNED, failure_of, node_lost
from distfd.executors.ray_join import connection, is_private, join
from distfd.executors.ray_leave import leave
from distfd.executors.ray_nodes import Nodes
from distfd.executors.ray_options import ClusterOptions
from distfd.executors.ray_parcels import Parcels
from distfd.executors.ray_places import Places
from distfd.executors.ray_resize import Resizing
from distfd.executors.ray_start import starter
from distfd.executors.ray_worker import unpacked_batch
from distfd.protocols import ChunkDone, SlotLost, SlotStarting, SlotUp
from distfd.records import Failure, Status
from distfd.recycle import RECYCLED
from distfd.time_limit import find_time_limit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from distfd.protocols import Chunk, Objective, Report

_CLOSE_SECONDS = 5.0
_IDLE = 0.02
"""Seconds without a word of a worker after which it is asked whether it is there before it gets a point alone."""


_opened: WeakSet[RayExecutor] = WeakSet()


@dataclass(frozen=True)
class _Call:
    """What an outstanding Ray reference stands for; ``chunk`` is None while a worker makes itself and J ready."""

    slot: int
    chunk: int | None = None
    ready: bool = False
    """Whether J is ready once it returns."""
    held: Chunk | None = None
    """What goes out once it returns: nobody knows whether a worker that was idle is still there."""


class RayExecutor:
    """Slots on a Ray cluster, joined or started when first needed.

    Parameters
    ----------
    address : str, optional
        "local" (always a private cluster), "auto" (one running on this machine), "host:port", "ray://host:port".
        None takes the cluster this process is connected to, else RAY_ADDRESS, else starts a private one, which ends
        with the process.
    num_cpus : int, optional
        CPUs that a private cluster counts; all cores by default. Evaluations that mostly wait can share cores: count
        more than there are.
    max_slots : int, optional
        Evaluations at once, at most.
    request_slots : int, optional
        Evaluations at once for which an autoscaler is to make room.
    stop_before, max_wall_time : float, optional
        Seconds. `TimeUpError` is raised so long before the Slurm job's end, or that of the time that may be taken from
        now on; no evaluation is begun that should take longer than what is left until then.
    runtime_env : mapping, optional
        Ray's, for the workers. Modules of your own, and a program's files, reach other hosts without it.
    resources : Resources or mapping, optional
        What one evaluation needs: ``num_cpus`` (1), ``num_gpus`` (0), ``memory`` (bytes), ``custom`` ({name: amount}),
        ``nodes`` (1): with several, it holds the first three on each, and J finds the nodes' names, with commas
        between them, in the environment variable DISTFD_HOSTS, and a program in the file hosts.txt too. ``labels``:
        those of the nodes it may run on.
    show_output : bool
        Whether what J prints is printed here too; Ray's log files have it in any case.
    **needs
        ``num_gpus``, ``memory``, ``custom``, ``nodes`` and ``labels`` may also be given here, for short.

    Raises
    ------
    InputError
        If an argument makes no sense.
    """

    def __init__(
        self,
        *,
        address: str | None = None,
        num_cpus: int | None = None,
        max_slots: int | None = None,
        request_slots: int | None = None,
        stop_before: float | None = None,
        max_wall_time: float | None = None,
        runtime_env: Mapping[str, Any] | None = None,
        resources: Resources | Mapping[str, Any] | None = None,
        show_output: bool = True,
        **needs: Any,
    ) -> None:
        self._options = ClusterOptions(address, num_cpus, max_slots, request_slots, runtime_env or {})
        self.time_limit = find_time_limit(stop_before, max_wall_time)
        self._show_output = show_output
        self._resources = (
            resources if isinstance(resources, Resources) else make_resources({**(resources or {}), **needs})
        )
        self._objective: Objective | None = None
        self._actors: dict[int, Any] = {}
        self._up: dict[int, SlotUp] = {}
        self._calls: dict[Any, _Call] = {}
        self._cluster: str | None = None
        self._make: Any = None
        self._parcels = Parcels()
        self._worn: set[int] = set()
        self._places = Places(self._resources)
        self._starting: dict[int, SlotStarting] = {}
        self._nodes: Nodes | None = None
        self._heard: dict[int, float] = {}
        self._resizing: Resizing | None = None

    apart = True
    """Evaluations run in other processes, which may end one after this process has died."""

    @property
    def slots(self) -> int:
        """Evaluations at once; 0 before `open`."""
        return len(self._actors)

    @property
    def duplicates_are_free(self) -> bool:
        """False where custom resources, such as licences, are asked for: a duplicate takes another."""
        return not self._resources.custom

    def open(self, objective: Objective) -> Sequence[SlotUp | SlotStarting]:
        """Join or start the cluster and start a worker in each slot; those that are there already.

        Raises
        ------
        ClusterError
            If the cluster cannot be reached, was lost since, or can never run an evaluation.
        """
        if ray_worker.inside:
            raise InputError("the ray executor cannot be used inside an evaluation; use executor='serial' there")
        self._check()
        join(self._options.address, self._options.num_cpus, show_output=self._show_output)

        for other in list(_opened):
            # Idle slots of another executor of this process would keep the CPUs that this one waits for.
            if other is not self and not any(call.chunk is not None for call in other._calls.values()):  # noqa: SLF001  # of its own kind
                other.close()
        _opened.add(self)

        cluster = connection()
        if self._objective is objective and self._actors and self._cluster == cluster:
            return [*self._up.values(), *self._starting.values()]
        if self._cluster == cluster:
            self.close()
        private = is_private(cluster)
        slots = count_slots(self._resources, live_nodes(), self._options.max_slots) if private else None
        self._forget()
        self._cluster = cluster
        self._nodes = Nodes(private=private)
        if slots is None:
            census = Census(self._resources, self._options, self._connected)
            census.start()
            slots, self._resizing = census.target, Resizing(census)
        self._make = starter(
            objective, self._resources, self._places, runtime_env=self._options.runtime_env, ship=not private
        )
        for slot in range(slots):
            self._start(slot)
        self._objective = objective  # only now: an interrupt on the way leaves nothing that looks open
        return []

    def submit(self, slot: int, chunk: Chunk) -> None:
        """Queue a chunk on a slot's worker."""
        if self._resizing is not None and self._resizing.refuses(slot, chunk.id):
            return
        idle = time.monotonic() - self._heard.get(slot, 0.0) > _IDLE and not self._owes(slot)
        if idle and len(chunk.index) == 1:
            # If it has died since, the point must not be blamed.
            self._calls[self._actors[slot].here.remote()] = _Call(slot, chunk.id, held=chunk)
        else:
            self._send(slot, chunk)

    def _send(self, slot: int, chunk: Chunk) -> None:
        self._calls[self._actors[slot].run.remote(*self._parcels.pack(chunk))] = _Call(slot, chunk.id)

    def wait(self, seconds: float) -> Sequence[Report]:
        """What the workers reported.

        Raises
        ------
        ClusterLostError
            If the cluster is gone; `close` then leaves it without a word to its servers.
        """
        import ray

        self._check()
        if not self._calls:
            time.sleep(min(seconds, 0.05))
            return self._resized()
        calls = list(self._calls)
        # Ready is what is here: what lies on a node that hangs could be waited for without end.
        ready, _ = ray.wait(calls, num_returns=1, timeout=seconds)
        if ready and len(calls) > 1:
            ready, _ = ray.wait(calls, num_returns=len(calls), timeout=0)
        # In the order of submission: what a worker did before it died comes before its death.
        came = set(ready)
        reports = [self._report(ref) for ref in calls if ref in came]
        return [report for report in reports if report is not None] + self._recycled() + self._hung() + self._resized()

    def kill(self, slot: int) -> None:
        """End a slot's process and start another."""
        self._kill(slot)
        self._start(slot)

    def _kill(self, slot: int) -> None:
        import ray

        with contextlib.suppress(Exception):  # it may be gone already
            ray.kill(self._actors[slot], no_restart=True)
        self._calls = {ref: call for ref, call in self._calls.items() if call.slot != slot}
        if self._resizing is not None:
            self._resizing.lost(slot)

    def close(self) -> None:
        """End all workers; the cluster stays, for the next call of this process."""
        if self._nodes is not None and self._nodes.lost:
            if self._connected():
                leave(private=self._nodes.private)
            self._places = Places(self._resources)
            self._forget()
            return
        if not self._actors:
            self._forget()
            return
        import ray

        if self._connected():
            busy = {call.slot for call in self._calls.values()}
            bye = [self._actors[slot].close.remote() for slot in self._up if slot not in busy]
            if bye:
                ray.wait(bye, num_returns=len(bye), timeout=_CLOSE_SECONDS)
            for actor in self._actors.values():
                with contextlib.suppress(Exception):  # it may be gone already
                    ray.kill(actor, no_restart=True)
            self._places.free()
        self._forget()

    def _check(self) -> None:
        """See that the cluster is still there; if it is not, leave it."""
        if self._nodes is not None and self._nodes.lost:
            nodes, connected = self._nodes, self._connected()
            self.close()
            if connected:  # or the caller has left it, and it may be gone for that reason
                nodes.check()

    def _connected(self) -> bool:
        import ray

        return bool(ray.is_initialized()) and connection() == self._cluster

    def _forget(self) -> None:
        self._actors, self._calls, self._objective = {}, {}, None
        if self._resizing is not None:
            self._resizing.stop()
        self._resizing = None
        if self._nodes is not None:
            self._nodes.stop()
        self._nodes = None
        self._starting.clear()
        self._heard.clear()
        self._up.clear()
        self._parcels.clear()
        self._worn.clear()

    def _start(self, slot: int) -> None:
        self._actors[slot] = worker = self._make(slot)
        self._calls[worker.here.remote()] = _Call(slot)
        self._calls[worker.hello.remote()] = _Call(slot, ready=True)
        self._clear(slot)

    def _clear(self, slot: int) -> None:
        """Forget what a slot's process was."""
        self._up.pop(slot, None)
        self._starting.pop(slot, None)
        if self._nodes is not None:
            self._nodes.left(slot)
        self._worn.discard(slot)

    def _owes(self, slot: int) -> bool:
        return any(call.slot == slot for call in self._calls.values())

    def _hung(self) -> list[Report]:
        """Slots on nodes that do not answer; Ray starts their workers elsewhere, once it sees it too."""
        slots = self._nodes.hung() if self._nodes is not None else []
        for slot in slots:
            self.kill(slot)
        return [SlotLost(slot, HUNG) for slot in slots]

    def _resized(self) -> list[Report]:
        """Start slots where the cluster has more for this driver; end those that are over, once they are idle."""
        if self._resizing is None:
            return []
        busy = {call.slot for call in self._calls.values() if call.chunk is not None}
        change = self._resizing.change(self._actors, self._up, busy)
        for slot in change.start:
            self._start(slot)
        for slot in change.end:
            self._kill(slot)
            self._places.free(slot)
            self._clear(slot)
            del self._actors[slot]
        return [*change.back, *(SlotLost(slot, RETURNED) for slot in change.end)]

    def _recycled(self) -> list[Report]:
        """Slots whose processes have had their time, once all that they were given is in; others take their place.

        A report may come before that of an earlier chunk, so none is killed that still owes one. What it was given
        since it knew comes back at once, untouched.
        """
        owing = {call.slot for call in self._calls.values()}
        worn = [slot for slot in self._worn if slot not in owing]
        for slot in worn:
            self.kill(slot)
        return [SlotLost(slot, RECYCLED) for slot in worn]

    def _report(self, ref: Any) -> Report | None:
        import ray

        call = self._calls.pop(ref, None)
        if call is None:
            return None  # its slot was lost a moment ago
        try:
            result = ray.get(ref)
        except ray.exceptions.RayError as error:
            failure = self._blame(call, failure_of(error))
            self.kill(call.slot)  # it may live on where only the call failed
            return SlotLost(call.slot, failure)
        self._heard[call.slot] = time.monotonic()
        if call.held is not None:
            self._send(call.slot, call.held)
            return None
        if call.chunk is None:
            return self._came(call, *result)
        batch = unpacked_batch(result)
        if batch.last:
            self._worn.add(call.slot)
        # Untouched points are not handed back, or they would go to the same process again.
        return ChunkDone(call.slot, call.chunk, batch) if len(batch) else None

    def _came(self, call: _Call, host: str, pid: int, node: str, output: str) -> SlotUp | SlotStarting:
        """A worker is there, and with the second call J is."""
        slot = call.slot
        if call.ready:
            self._starting.pop(slot, None)
            self._up[slot] = SlotUp(slot, host, pid, output)
            return self._up[slot]
        if self._nodes is not None:
            self._nodes.came(slot, node)
        self._starting[slot] = SlotStarting(slot, host, pid)
        return self._starting[slot]

    def _blame(self, call: _Call, failure: Failure) -> Failure:
        """Why a worker was lost: by what it did, while it did nothing, or with its node."""
        if failure.status != Status.CRASH:
            return failure
        if self._nodes is not None and self._nodes.gone(call.slot):
            return node_lost(failure.detail)
        return failure if call.held is None else IDLE
