"""How a slot's worker gets its J: at its start, and where another J takes the place of that one."""

from __future__ import annotations

import os
import pickle
import sys
from dataclasses import replace
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

from distfd.executors.ray import object_store
from distfd.executors.ray.code_shipping import packed_code
from distfd.executors.ray.connection import changed_since_start
from distfd.executors.ray.function_calls import RemoteFunction
from distfd.executors.ray.module_changes import ModuleChanges
from distfd.executors.ray.pickling import pickled, pickled_bytes
from distfd.executors.ray.worker import PickledObjective, RayWorker

if TYPE_CHECKING:
    from collections.abc import Mapping

    from distfd.executors.ray.code_shipping import ShippedCode
    from distfd.executors.ray.module_state import Amendment, Differing
    from distfd.executors.ray.placement_groups import PlacementGroups
    from distfd.executors.ray.resources import Resources
    from distfd.fingerprint.reads import Member
    from distfd.objectives.base import Objective
    from distfd.workers.messages import CallChunk


def driver_paths() -> list[str]:
    """Where this process looks for modules now, whatever directory it goes to later."""
    return [path if path.startswith(_HOOK) else os.path.realpath(path) for path in sys.path]


_HOOK = "__editable__."
"""How names begin that setuptools puts on the path for packages installed by ``pip install -e``; they are no places."""


class WorkerStarter:
    """Starts the worker of a slot; the objective is in the cluster then.

    What ties a worker to J is the pickled objective and the model that is made from it, so a worker that runs can
    `adopt` another.

    Parameters
    ----------
    objective : Objective
    resources : Resources
        Of one evaluation.
    places : PlacementGroups
    runtime_env : mapping, optional
        Ray's, for the workers.
    private : bool
        Whether the cluster is this process's own, on this machine; elsewhere workers may not see the user's files.

    Raises
    ------
    InputError
        If the objective cannot be pickled.
    """

    def __init__(
        self,
        objective: Objective,
        resources: Resources,
        places: PlacementGroups,
        *,
        runtime_env: Mapping[str, Any] | None = None,
        private: bool = True,
    ) -> None:
        import ray

        self._places, self._nodes, self._private = places, resources.nodes, private
        self._threads = max(1, int(resources.num_cpus))
        self._actor: Any = ray.remote(RayWorker)
        self._options: dict[str, Any] = {
            "num_cpus": resources.num_cpus,
            "num_gpus": resources.num_gpus,
            "memory": resources.memory,
            "resources": dict(resources.custom) or None,
            "label_selector": dict(resources.labels) or None,
            "runtime_env": dict(runtime_env) if runtime_env else None,
            "max_restarts": 0,
            "max_task_retries": 0,
        }
        self._changed: set[Member] = set()
        self._shared: Any = None
        self._packed: tuple[PickledObjective, frozenset[str] | None, bytes] | None = None
        """What was adopted last, as bytes."""
        self._given: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()
        """By worker, the code that it has been sent."""
        self._code = packed_code(objective, near=private)
        self._luggage = _sent(self._code)
        self.paths = driver_paths()
        """Where workers look for modules, first to last."""
        self._take(objective)

    def __call__(self, slot: int, *, light: bool = False) -> Any:
        """Start the worker of a slot; a light one holds no CPU."""
        return self._started(self._shared, slot, self._places.strategy(slot), light=light)

    def spare(self, node: str, *, light: bool) -> Any:
        """Start a worker that has no J yet, on a node by Ray's id."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        return self._started(PickledObjective(), -1, NodeAffinitySchedulingStrategy(node, soft=False), light=light)

    def _started(self, objective: Any, slot: int, strategy: Any, *, light: bool) -> Any:
        options = {**self._options, "num_cpus": 0} if light else self._options
        made = self._actor.options(**options, scheduling_strategy=strategy)
        worker = made.remote(objective, slot, self._threads, self.paths, nodes=self._nodes, luggage=self._luggage)
        self._given[worker] = self._luggage
        return worker

    def renew(self, objective: Objective) -> bool | None:
        """Take another objective, or the same one once more.

        Returns
        -------
        bool or None
            Whether workers have to `adopt` it; None where that will not do: files that they have imported are others.
        """
        code = packed_code(objective, near=self._private, before=self._code)
        if code.edited_since(self._code):
            return None
        before = self._digest
        if code is not self._code:
            self._code, self._luggage, before = code, _sent(code), b""
        self._take(objective)
        return self._digest != before

    def continues(self, other: WorkerStarter) -> bool:
        """Whether workers that another one has started may adopt this one's J: files that both know are the same."""
        return not self._code.edited_since(other._code)

    def adopt(self, worker: Any, slot: int, loaded: frozenset[str] | None = None, chunk: tuple[Any, ...] = ()) -> Any:
        """Have a worker that runs go on with the objective as it is now, in a slot; the reference to its answer.

        Parameters
        ----------
        loaded : frozenset of str, optional
            The user's modules here, where the worker was parked and has not let go of the J before.
        chunk : tuple
            The arguments of `RayWorker.run` for its first chunk, if it is to evaluate one in the same call.
        """
        luggage = None if self._given.get(worker) is self._luggage else self._luggage
        self._given[worker] = self._luggage
        if isinstance(self._shared, PickledObjective):
            # Bytes, which are made once: for an object Ray takes three times as long, once for each worker.
            if self._packed is None or self._packed[0] is not self._shared or self._packed[1] != loaded:
                self._packed = self._shared, loaded, pickle.dumps((self._shared, loaded), protocol=5)
            # ``loaded`` is in them.
            return worker.adopt.remote(self._packed[2], slot, luggage, None, *chunk)
        return worker.adopt.remote(self._shared, slot, luggage, loaded, *chunk)

    def release(self) -> None:
        """Forget the objective: what it holds may be large, and workers are to go on with another."""
        self._pickled, self._digest = PickledObjective(), b""
        self._shared = self._packed = None
        self._changes = ModuleChanges((), None, self._changed)

    def _take(self, objective: Objective) -> None:

        around = objective.surroundings
        if around is not None and self._private:
            # The servers have given workers the environment that this process had when it started them.
            around = around.with_environ(changed_since_start())
        changes = ModuleChanges(objective.parts, around, self._changed)
        fresh = PickledObjective(pickled(objective), around, changes.digests)
        hashed = blake2b(pickled_bytes((around, sorted(changes.digests.items()))))
        parts = fresh.pickled
        for part in (memoryview(parts.payload), *(buffer.data for buffer, _ in parts.buffers)):
            hashed.update(part.nbytes.to_bytes(8, "little"))
            hashed.update(part)
        fresh, given = _shared(fresh)
        # All at once, or an interrupt would leave the digest of one J with another.
        self._changes, self._pickled, self._shared, self._digest = changes, fresh, given, hashed.digest()

    def amendment(self, found: Differing) -> Amendment:
        """What a worker is to do that found members different; others to come are told at once.

        Raises
        ------
        InputError
            If J cannot be the same there.
        """
        answer = self._changes.amendment(found)
        if answer != self._pickled.amendment:
            self._pickled, self._shared = _shared(replace(self._pickled, amendment=answer))
        return answer

    def function(self, chunk: CallChunk) -> RemoteCall:
        """The function that a map calls, for workers to learn.

        Raises
        ------
        InputError
            If it cannot be pickled.
        """
        return RemoteCall(chunk, self._changed)


def _sent(code: ShippedCode) -> Any:
    """As an argument of calls."""
    return object_store.put(code, code.size)


_Pickled = TypeVar("_Pickled", PickledObjective, RemoteFunction)


def _shared(thing: _Pickled) -> tuple[_Pickled, Any]:
    """As it is from now on, whatever becomes of the arrays it was made from; and as an argument of calls."""
    given = object_store.put(thing, thing.pickled.size)
    if thing.pickled.buffers:
        thing = object_store.get(given, _PATIENCE)  # of which Ray makes no copy
    return thing, given


_PATIENCE = 600.0
"""Seconds in which Ray's store of this node gives back what it has just been given."""


class RemoteCall:
    """A map's function, sent ahead of its calls."""

    def __init__(self, chunk: CallChunk, changed: set[Member]) -> None:

        self.series = chunk.series
        self._changes = ModuleChanges((chunk.fun,), None, changed)
        self._function, self._shared = _shared(RemoteFunction(pickled(chunk.fun), self._changes.digests))

    def teach(self, worker: Any) -> Any:
        """Have a worker take it; the reference to its answer."""
        return worker.learn.remote(self._shared)

    def amendment(self, found: Differing) -> Amendment:
        """As that of a `WorkerStarter`."""
        answer = self._changes.amendment(found)
        if answer != self._function.amendment:
            self._function, self._shared = _shared(replace(self._function, amendment=answer))
        return answer
