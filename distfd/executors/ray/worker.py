"""The worker's side of the Ray executor: what runs inside each slot's process."""

from __future__ import annotations

import contextlib
import functools
import os
import pickle
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from distfd.core.errors import InputError
from distfd.core.points import Points
from distfd.executors.ray.function_calls import RemoteFunction, packed_calls, unpacked_returns
from distfd.executors.ray.imported_files import ImportedFiles
from distfd.executors.ray.internals import forget_classes, leave_children_to_the_reaper
from distfd.executors.ray.module_state import (
    Amendment,
    Differing,
    MembersBefore,
    OthersBefore,
    amend,
    differing,
)
from distfd.executors.ray.pickling import Pickled, returned_bytes
from distfd.executors.ray.placement_groups import publish_hosts
from distfd.workers.exception_transport import with_exceptions, with_packed_exceptions
from distfd.workers.fresh_imports import import_modules
from distfd.workers.messages import CallChunk, Chunk, EvaluationChunk
from distfd.workers.processes import start_reaper
from distfd.workers.surroundings import SurroundingsSetter
from distfd.workers.threads import pin_threads
from distfd.workers.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from distfd.core.records import Batch
    from distfd.executors.ray.code_shipping import ShippedCode
    from distfd.fingerprint.reads import Member
    from distfd.objectives.base import Objective
    from distfd.workers.model import Model
    from distfd.workers.surroundings import Surroundings


inside = False
"""Whether this process is a worker."""


@dataclass(frozen=True)
class PickledObjective:
    """An objective as bytes, read only where it is made, so that what goes wrong there is a failed evaluation.

    Attributes
    ----------
    pickled : Pickled
    surroundings : Surroundings or None
        Those that J is to have; None: the worker's own.
    members : mapping
        What J reads by name in modules that are imported here, and its digest on the driver.
    amendment : Amendment
        What is known already to differ.
    places : mapping
        Where the driver's files are on this node, those that are elsewhere.
    """

    pickled: Pickled = field(default_factory=Pickled)
    surroundings: Surroundings | None = None
    members: Mapping[Member, str] = field(default_factory=dict)
    amendment: Amendment = field(default_factory=Amendment)
    places: Mapping[str, str] = field(default_factory=dict)

    def make(self) -> Model:
        """Read the objective and make its model."""
        objective: Objective = self.pickled.load()
        return (objective.with_files_at(self.places) if self.places else objective).make()


@dataclass(frozen=True)
class Refusal:
    """A worker's answer that J cannot be here what it is on the driver: why."""

    text: str


@dataclass(frozen=True)
class Stale:
    """A worker's answer that it is not fit for another J, and another worker is to be started.

    It has imported modules whose files have been edited since, or which may have taken over what was set here for
    another J, or J has left threads or programs running.
    """


Here: TypeAlias = tuple[str, int, str, str]
"""That a process is there: host, process id, Ray's id of the node, and the file that J's prints go to."""


_ELSEWHERE = np.empty(0)
"""Stands for an x that is sent separately."""
_NOWHERE = Points(np.empty(0), np.zeros(1, dtype=np.int64), np.empty(0, dtype=np.int64), np.empty(0))
_NO_POINTS = EvaluationChunk(-1, np.empty(0, dtype=np.int64), _NOWHERE, vector=False, timeout=None, budget=0.0)


def packed_chunk(chunk: Chunk, *, with_x: bool) -> bytes:
    """A chunk as bytes: Ray passes them on as they are, which takes a third of what it spends on objects."""
    if isinstance(chunk, CallChunk):
        return pickle.dumps(packed_calls(chunk), protocol=5)
    return pickle.dumps(chunk if with_x else replace(chunk, points=replace(chunk.points, x=_ELSEWHERE)), protocol=5)


def unpacked_chunk(payload: bytes, x: NDArray[np.float64] | None) -> Chunk:
    """The chunk again."""
    chunk: Chunk = pickle.loads(payload)  # noqa: S301  # from the driver, by Ray
    if x is None or isinstance(chunk, CallChunk):
        return chunk
    return replace(chunk, points=replace(chunk.points, x=x))


class RayWorker:
    """One slot's process; made a Ray actor by the executor."""

    def __init__(
        self,
        objective: PickledObjective,
        slot: int,
        threads: int,
        paths: list[str],
        *,
        nodes: int = 1,
        luggage: ShippedCode | None = None,
    ) -> None:
        global inside  # noqa: PLW0603  # it says what this process is
        inside = True
        pin_threads(threads)
        publish_hosts(nodes)
        # Programs that J starts die with this process, however it ends.
        with contextlib.suppress(subprocess.CalledProcessError):
            # Ray kills a leaving worker's children, and so this one where it ends while it begins.
            start_reaper(os.environ)
        self._slot = slot
        self._places: Mapping[str, str] = {}
        self._around = SurroundingsSetter()
        self._taught: PickledObjective | RemoteFunction = objective
        self._function: RemoteFunction | None = None
        self._files = ImportedFiles()
        self._members: list[MembersBefore] = []
        self._found: frozenset[Member] = frozenset()
        """Members that were last found to differ."""
        self._unpatched: frozenset[str] | None = None
        """Modules that were imported before any member was set here; None where none was."""
        if luggage is not None:
            if not luggage.near:
                leave_children_to_the_reaper()
            paths, self._places = luggage.unpacked(paths)
        # What the driver can import, the worker can, where the files are there too; in the driver's order, or a name
        # could mean another module here than there.
        sys.path[:] = [*paths, *(path for path in sys.path if path not in paths)]
        self._path = list(sys.path)
        self._others: OthersBefore | None = None
        self._here: Here | None = None
        self._tried = False
        """Whether this process has imported every module of distfd that an evaluation needs."""
        self._worker = Worker(replace(objective, places=self._places), slot, own_process=True)
        self._files.note_helpers()

    def here(self) -> Here:
        """Report that this process runs, and where."""
        if self._here is None:
            import ray

            node = ray.get_runtime_context().get_node_id()
            self._here = self._worker.host, self._worker.pid, node, _printed_to()
        return self._here

    def hello(self) -> Here | Differing | Refusal:
        """Make J ready, and the way to it, and say so."""
        return self._made_ready()

    def release(self) -> tuple[str, ...] | None:
        """End J and forget it, so that `adopt` may bring the next one.

        Returns
        -------
        tuple of str or None
            The user's modules that have been imported here; None where J has left something that runs, or something
            in one of them, or has imported one while it ran: nobody knows what that was before.
        """
        self._worker.close()
        self._taught, self._function = PickledObjective(), None
        self._worker = Worker(self._taught, self._slot, own_process=True, evaluations=self._worker.evaluations)
        forget_classes()
        sys.path[:] = self._path
        self._files.look()
        self._files.clear_caches()
        others = self._others
        used = self._files.left_behind or any(members.changed for members in self._members)
        used = used or (others is not None and others.changed(self._files.modules))
        self._members.clear()
        self._others = None
        return None if used else self._files.modules

    def adopt(
        self,
        objective: PickledObjective | bytes,
        slot: int,
        luggage: ShippedCode | None = None,
        loaded: frozenset[str] | None = None,
        *chunk: Any,
    ) -> Here | Differing | Refusal | Stale | bytes:
        """Go on with another J, in this slot.

        Parameters
        ----------
        objective : PickledObjective or bytes
            As bytes, with ``loaded``.
        luggage : ShippedCode, optional
            The driver's files; None where they are those that this worker has.
        loaded : frozenset of str, optional
            The driver's modules, where this worker is to let go of a J that it was parked with: one that has imported
            others is not fit.
        *chunk
            The arguments of `run`, where a chunk is to be evaluated at once, if J is ready.

        Returns
        -------
        bytes
            The answer of `run`.
        """
        answer = self._adopted(objective, slot, luggage, loaded)
        return self.run(*chunk) if chunk and isinstance(answer, tuple) else answer

    def _adopted(
        self,
        objective: PickledObjective | bytes,
        slot: int,
        luggage: ShippedCode | None,
        loaded: frozenset[str] | None,
    ) -> Here | Differing | Refusal | Stale:
        if isinstance(objective, bytes):
            objective, loaded = _unpacked_adoption(objective)
        self._slot = slot
        if loaded is not None:
            modules = self.release()
            if modules is None or not loaded.issuperset(modules):
                return Stale()
        sys.path[:] = self._path
        if self._files.edited() or (loaded is None and self._files.left_behind):
            return Stale()
        if luggage is not None:
            _, self._places = luggage.unpacked([])
        self._members.clear()
        self._worker.close()
        there, made = replace(objective, places=self._places), self._worker.evaluations
        self._worker = Worker(there, self._slot, own_process=True, evaluations=made)
        self._taught = objective
        return self._made_ready()

    def learn(self, function: RemoteFunction) -> Here | Differing | Refusal:
        """Take a function whose calls come next."""
        self._function = self._taught = function
        return self._agreed()

    def amend(self, amendment: Amendment) -> Here | Differing | Refusal | Stale:
        """Have the driver's members in place of those that were found to differ."""
        if isinstance(self._taught, PickledObjective) and self._took_what_was_set(self._found & amendment.left):
            return Stale()
        self._taught = replace(self._taught, amendment=amendment)
        if isinstance(self._taught, RemoteFunction):
            self._function = self._taught
        answer = self._agreed(amended=bool(amendment.patch))
        return answer if isinstance(answer, (Differing, Refusal)) else self._prepared(answer)

    def _made_ready(self) -> Here | Differing | Refusal:
        answer = self._agreed()
        return answer if isinstance(answer, (Differing, Refusal)) else self._prepared(answer)

    def _prepared(self, answer: Here) -> Here:
        if isinstance(self._taught, PickledObjective):
            self._worker.prepare()
            if not self._tried:
                self.run(packed_chunk(_NO_POINTS, with_x=True))  # whatever is imported at the first is so now
                self._tried = True
            self._files.look()
            self._others = OthersBefore(self._files.modules, {member.module for member in self._taught.members})
        return answer

    def _agreed(self, *, amended: bool = False) -> Here | Differing | Refusal:
        """See that what J refers to in this process is what it is on the driver."""
        taught = self._taught
        if isinstance(taught, PickledObjective) and taught.surroundings is not None:
            try:
                self._around.set(taught.surroundings, keep_directory=_has_folder_of_its_own())
            except InputError as error:
                return Refusal(str(error))
        if any(member.module not in sys.modules for member in taught.members):
            with self._around.over_imports():
                import_modules(taught.members)
        if taught.amendment.patch and self._unpatched is None:
            self._unpatched = frozenset(sys.modules)
        amend(taught.amendment.patch)
        found = differing(taught.members, taught.amendment)
        self._found = frozenset(found)
        if found:
            return Differing(found, self._worker.host, amended)
        self._members.append(MembersBefore(taught.members, taught.amendment))
        return self.here()

    def _took_what_was_set(self, members: frozenset[Member]) -> bool:
        """Whether one of these, which nobody has set on the driver, may hold what was set here for another J.

        A module that is imported after a member of another was set takes that over: ``from settings import K``.
        """
        return self._unpatched is not None and any(member.module not in self._unpatched for member in members)

    def run(
        self, payload: bytes, x: NDArray[np.float64] | None = None, state: NDArray[np.uint8] | None = None
    ) -> bytes:
        """Evaluate a chunk; x and state are None where they are in the chunk."""
        chunk = unpacked_chunk(payload, x)
        if isinstance(chunk, CallChunk):
            assert self._function is not None, "it was sent before"
            chunk = replace(chunk, fun=self._function)
        elif state is not None:
            chunk = replace(chunk, state=state)
        batch = self._worker.run(chunk)
        start_reaper(os.environ)  # again, where J has ended it
        return packed_reply(batch, worn=self._worker.worn)

    def close(self) -> None:
        """End J in good order."""
        self._worker.close()


def _unpacked_adoption(payload: bytes) -> tuple[PickledObjective, frozenset[str] | None]:
    """The first and the last argument of `RayWorker.adopt`."""
    given: tuple[PickledObjective, frozenset[str] | None] = pickle.loads(payload)  # noqa: S301  # from the driver, by Ray
    return given


@functools.cache
def _has_folder_of_its_own() -> bool:
    """Whether Ray has put this process into a folder that the user has given it."""
    import ray

    return bool(dict(ray.get_runtime_context().runtime_env).get("working_dir"))


def _printed_to() -> str:
    """The file of Ray's that standard output is; there is no such link on macOS."""
    with contextlib.suppress(OSError):
        file = Path("/proc/self/fd/1").readlink()
        return str(file) if file.suffix == ".out" else ""
    return ""


def packed_reply(batch: Batch, *, worn: bool) -> bytes:
    """A batch as bytes, and whether the process is to be replaced."""
    return pickle.dumps((with_packed_exceptions(batch, returned_bytes), worn), protocol=5)


def unpacked_reply(payload: bytes) -> tuple[Batch, bool]:
    """The batch again, with the exceptions that can be read here, and whether the process is to be replaced."""
    batch, worn = pickle.loads(payload)  # noqa: S301  # from a worker, by Ray
    return with_exceptions(unpacked_returns(batch)), worn
