"""Evaluations on a Ray cluster: one actor a slot.

An actor keeps its process, and with it J's model, for the whole session; a chunk of points goes to it by one call, and
a second one may wait behind the first. Ray's own retries are off: the scheduler counts attempts.
"""

from __future__ import annotations

import contextlib
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from distfd.errors import InputError
from distfd.executors import ray_worker
from distfd.executors.ray_join import Resources, connection, count_slots, join, make_resources
from distfd.executors.ray_pickling import pickled_bytes
from distfd.executors.ray_places import Places
from distfd.executors.ray_worker import PickledObjective, RayWorker, packed_chunk, unpacked_batch
from distfd.protocols import ChunkDone, SlotLost, SlotUp
from distfd.records import Failure, Status
from distfd.recycle import RECYCLED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from distfd.protocols import Chunk, Objective, Report

_BY_VALUE = 65_536
"""Bytes of x up to which it travels with each chunk; above, once a wave."""
_CLOSE_SECONDS = 5.0


_opened: WeakSet[RayExecutor] = WeakSet()


@dataclass(frozen=True)
class _Call:
    """What an outstanding Ray reference stands for; ``chunk`` is None for a worker's hello."""

    slot: int
    chunk: int | None


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
    resources : Resources or mapping, optional
        What one evaluation needs: ``num_cpus`` (1), ``num_gpus`` (0), ``memory`` (bytes), ``custom`` ({name: amount}),
        ``nodes`` (1): with several, it holds the first three on each, and J finds the nodes' names, with commas
        between them, in the environment variable DISTFD_HOSTS, and a program in the file hosts.txt too.
    show_output : bool
        Whether what J prints is printed here too; Ray's log files have it in any case.
    **needs
        ``num_gpus``, ``memory``, ``custom`` and ``nodes`` may also be given here, for short.

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
        resources: Resources | Mapping[str, Any] | None = None,
        show_output: bool = True,
        **needs: Any,
    ) -> None:
        for name, value in (("num_cpus", num_cpus), ("max_slots", max_slots)):
            if value is not None and value < 1:
                raise InputError(f"{name}: must be at least 1 (was {value})")
        self._show_output = show_output
        self._address, self._num_cpus, self._max_slots = address, num_cpus, max_slots
        self._resources = (
            resources if isinstance(resources, Resources) else make_resources({**(resources or {}), **needs})
        )
        self._objective: Objective | None = None
        self._actors: list[Any] = []
        self._up: dict[int, SlotUp] = {}
        self._calls: dict[Any, _Call] = {}
        self._cluster: str | None = None
        self._make: Any = None
        self._put: dict[str, tuple[NDArray[Any], Any]] = {}
        self._worn: set[int] = set()
        self._places = Places(self._resources)

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

    def open(self, objective: Objective) -> Sequence[SlotUp]:
        """Join or start the cluster and start a worker in each slot; those that are up already.

        Raises
        ------
        ClusterError
            If the cluster cannot be reached, or can never run an evaluation.
        """
        if ray_worker.inside:
            raise InputError("the ray executor cannot be used inside an evaluation; use executor='serial' there")
        join(self._address, self._num_cpus, show_output=self._show_output)
        import ray

        for other in list(_opened):
            # Idle slots of another executor of this process would keep the CPUs that this one waits for.
            if other is not self and not any(call.chunk is not None for call in other._calls.values()):  # noqa: SLF001  # of its own kind
                other.close()
        _opened.add(self)

        cluster = connection()
        if self._objective is objective and self._actors and self._cluster == cluster:
            return list(self._up.values())
        if self._cluster == cluster:
            self.close()
        slots = count_slots(self._resources, self._max_slots)
        self._forget()
        self._cluster = cluster
        pickled = ray.put(PickledObjective(pickled_bytes(objective), objective.limits_itself))
        paths = [str(Path(path).resolve()) for path in sys.path]
        threads = max(1, int(self._resources.num_cpus))
        actor, nodes = ray.remote(RayWorker), self._resources.nodes
        options: dict[str, Any] = {
            "num_cpus": self._resources.num_cpus,
            "num_gpus": self._resources.num_gpus,
            "memory": self._resources.memory,
            "resources": dict(self._resources.custom) or None,
            "max_restarts": 0,
            "max_task_retries": 0,
        }
        place = self._places.strategy
        self._make = lambda slot: actor.options(**options, scheduling_strategy=place(slot)).remote(
            pickled, slot, threads, paths, nodes
        )
        self._actors = [None] * slots
        for slot in range(slots):
            self._start(slot)
        self._objective = objective  # only now: an interrupt on the way leaves nothing that looks open
        return []

    def submit(self, slot: int, chunk: Chunk) -> None:
        """Queue a chunk on a slot's worker."""
        x = chunk.points.x
        small = x.nbytes <= _BY_VALUE
        state = chunk.state
        if state is not None and state.nbytes > _BY_VALUE:
            chunk = replace(chunk, state=None)
        else:
            state = None
        ref = self._actors[slot].run.remote(
            packed_chunk(chunk, with_x=small),
            None if small else self._shared("x", x),
            None if state is None else self._shared("state", state),
        )
        self._calls[ref] = _Call(slot, chunk.id)

    def wait(self, seconds: float) -> Sequence[Report]:
        """What the workers reported."""
        import ray

        if not self._calls:
            time.sleep(min(seconds, 0.05))
            return []
        calls = list(self._calls)
        ready, _ = ray.wait(calls, num_returns=1, timeout=seconds, fetch_local=False)
        if ready and len(calls) > 1:
            ready, _ = ray.wait(calls, num_returns=len(calls), timeout=0, fetch_local=False)
        # In the order of submission: what a worker did before it died comes before its death.
        came = set(ready)
        reports = [self._report(ref) for ref in calls if ref in came]
        return [report for report in reports if report is not None] + self._recycled()

    def kill(self, slot: int) -> None:
        """End a slot's process and start another."""
        import ray

        with contextlib.suppress(Exception):  # it may be gone already
            ray.kill(self._actors[slot], no_restart=True)
        self._calls = {ref: call for ref, call in self._calls.items() if call.slot != slot}
        self._start(slot)

    def close(self) -> None:
        """End all workers; the cluster stays, for the next call of this process."""
        if not self._actors:
            self._forget()
            return
        import ray

        if ray.is_initialized() and connection() == self._cluster:
            busy = {call.slot for call in self._calls.values()}
            bye = [self._actors[slot].close.remote() for slot in self._up if slot not in busy]
            if bye:
                ray.wait(bye, num_returns=len(bye), timeout=_CLOSE_SECONDS)
            for actor in self._actors:
                with contextlib.suppress(Exception):  # it may be gone already
                    ray.kill(actor, no_restart=True)
            self._places.free()
        self._forget()

    def _forget(self) -> None:
        self._actors, self._calls, self._objective = [], {}, None
        self._up.clear()
        self._put.clear()
        self._worn.clear()

    def _start(self, slot: int) -> None:
        self._actors[slot] = self._make(slot)
        self._calls[self._actors[slot].hello.remote()] = _Call(slot, None)
        self._up.pop(slot, None)
        self._worn.discard(slot)

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

    def _shared(self, what: str, array: NDArray[Any]) -> Any:
        """A reference to an x or a state, put into the object store once a wave, from where each node gets it once."""
        import ray

        if what not in self._put or self._put[what][0] is not array:
            self._put[what] = array, ray.put(array)
        return self._put[what][1]

    def _report(self, ref: Any) -> Report | None:
        import ray

        call = self._calls.pop(ref, None)
        if call is None:
            return None  # its slot was lost a moment ago
        try:
            result = ray.get(ref)
        except ray.exceptions.RayError as error:
            self.kill(call.slot)  # it may live on where only the call failed
            return SlotLost(call.slot, _failure(error))
        if call.chunk is not None:
            batch = unpacked_batch(result)
            if batch.last:
                self._worn.add(call.slot)
            # Untouched points are not handed back, or they would go to the same process again.
            return ChunkDone(call.slot, call.chunk, batch) if len(batch) else None
        self._up[call.slot] = SlotUp(call.slot, *result)
        return self._up[call.slot]


def _failure(error: Exception) -> Failure:
    """What a lost worker means."""
    from ray import exceptions

    text = " ".join(str(error).split())
    if isinstance(error, exceptions.OutOfMemoryError) or "OUT_OF_MEMORY" in text or "running low on memory" in text:
        return Failure(Status.CRASH, "the worker was killed because its node ran out of memory", str(error))
    # Ray tells a lost node from a lost process by these words alone.
    if isinstance(error, exceptions.ActorUnavailableError) or "its node has died" in text:
        return Failure(Status.LOST, "the node of the worker was lost", str(error))
    if "creation task" in text:
        last = next(line for line in reversed(str(error).splitlines()) if line.strip())
        return Failure(Status.CRASH, f"the worker could not start: {last.strip()}{_missing_here(last)}", str(error))
    if isinstance(error, exceptions.RayTaskError):
        return Failure(Status.CRASH, f"the worker failed outside J: {type(error).__name__}", str(error))
    return Failure(Status.CRASH, "the worker process died (a signal, os._exit, or no memory left)", str(error))


def _missing_here(line: str) -> str:
    return "; install distfd on the nodes of the cluster, in its Python" if "'distfd'" in line else ""
