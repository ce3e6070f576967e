"""The worker's side of the Ray executor: what runs inside each slot's process."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import subprocess
import sys
from dataclasses import dataclass, field, replace
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from distfd.core.points import Points
from distfd.executors.ray.function_calls import packed_calls, unpacked_returns
from distfd.executors.ray.pickling import pickled_bytes
from distfd.executors.ray.placement_groups import publish_hosts
from distfd.workers.exception_transport import with_exceptions, with_packed_exceptions
from distfd.workers.messages import CallChunk, Chunk, EvaluationChunk
from distfd.workers.processes import start_reaper
from distfd.workers.threads import pin_threads
from distfd.workers.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from distfd.core.records import Batch
    from distfd.executors.ray.code_shipping import ShippedCode
    from distfd.objectives.base import Objective
    from distfd.workers.model import Model


inside = False
"""Whether this process is a worker."""
_SETTING = "kill_child_processes_on_worker_exit"


@dataclass(frozen=True)
class PickledObjective:
    """An objective as bytes, read only where it is made, so that what goes wrong there is a failed evaluation."""

    payload: bytes
    places: Mapping[str, str] = field(default_factory=dict)
    """Where the driver's files are on this node, those that are elsewhere."""

    def make(self) -> Model:
        """Read the objective and make its model."""
        objective: Objective = pickle.loads(self.payload)  # noqa: S301  # from the driver, by Ray
        return (objective.with_files_at(self.places) if self.places else objective).make()


_ELSEWHERE = np.empty(0)
"""In the place of an x that travels by itself."""
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
        if luggage is not None:
            _leave_children_to_the_reaper()
            paths, places = luggage.unpacked(paths)
            objective = replace(objective, places=places)
        # What the driver can import, the worker can, where the files are there too; in the driver's order, or a name
        # could mean another module here than there.
        sys.path[:] = [*paths, *(path for path in sys.path if path not in paths)]
        self._worker = Worker(objective, slot, own_process=True)

    def here(self) -> tuple[str, int, str, str]:
        """That this process is there: host, process id, Ray's id of the node, and the file that J's prints go to."""
        import ray

        return self._worker.host, self._worker.pid, ray.get_runtime_context().get_node_id(), _printed_to()

    def hello(self) -> tuple[str, int, str, str]:
        """Make J ready, and the way to it, and say so."""
        self._worker.prepare()
        self.run(packed_chunk(_NO_POINTS, with_x=True))  # whatever is imported at the first is so now
        return self.here()

    def run(
        self, payload: bytes, x: NDArray[np.float64] | None = None, state: NDArray[np.uint8] | None = None
    ) -> bytes:
        """Evaluate a chunk; x and state are None where they are in the chunk."""
        chunk = unpacked_chunk(payload, x)
        if state is not None and isinstance(chunk, EvaluationChunk):
            chunk = replace(chunk, state=state)
        return packed_reply(self._worker.run(chunk), worn=self._worker.worn)

    def close(self) -> None:
        """End J in good order."""
        self._worker.close()


def _leave_children_to_the_reaper() -> None:
    """Have Ray not end the children of this process before it: J would run on, and return a value without them.

    The setting is that of a cluster which others have started, but each worker reads it as it leaves.
    """
    import ray._raylet as core  # no public part of Ray

    if not Path("/proc").exists():
        return
    with contextlib.suppress(Exception), Path(core.__file__).open("rb") as file:
        # One that it does not know ends the process.
        if mmap(file.fileno(), 0, access=ACCESS_READ).find(_SETTING.encode()) >= 0:
            core.Config.initialize(json.dumps({_SETTING: False}))  # type: ignore[attr-defined]  # Ray lacks types


def _printed_to() -> str:
    """The file of Ray's that standard output is; there is no such link on macOS."""
    with contextlib.suppress(OSError):
        file = Path("/proc/self/fd/1").readlink()
        return str(file) if file.suffix == ".out" else ""
    return ""


def packed_reply(batch: Batch, *, worn: bool) -> bytes:
    """A batch as bytes, and whether the process is to be replaced."""
    return pickle.dumps((with_packed_exceptions(batch, pickled_bytes), worn), protocol=5)


def unpacked_reply(payload: bytes) -> tuple[Batch, bool]:
    """The batch again, with the exceptions that can be read here, and whether the process is to be replaced."""
    batch, worn = pickle.loads(payload)  # noqa: S301  # from a worker, by Ray
    return with_exceptions(unpacked_returns(batch)), worn
