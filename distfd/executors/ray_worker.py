"""The worker's side of the Ray executor: what runs inside each slot's process."""

from __future__ import annotations

import contextlib
import os
import pickle
import subprocess
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from distfd.errors import InputError
from distfd.points import Points
from distfd.processes import start_reaper
from distfd.protocols import Chunk
from distfd.threads import pin_threads
from distfd.work import Worker

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from distfd.protocols import Model, Objective
    from distfd.records import Batch


inside = False
"""Whether this process is a worker."""


@dataclass(frozen=True)
class PickledObjective:
    """An objective as bytes, read only where it is made, so that what goes wrong there is a failed evaluation."""

    payload: bytes
    limits_itself: bool

    def fingerprint(self) -> str | None:
        """The driver knows it; a worker has no use for it."""
        return None

    def make(self) -> Model:
        """Read the objective and make its model."""
        objective: Objective = pickle.loads(self.payload)  # noqa: S301  # from the driver, by Ray
        return objective.make()


@dataclass(frozen=True, eq=False)
class SlimChunk:
    """A chunk without its x, which travels by itself."""

    id: int
    index: NDArray[np.int64]
    indptr: NDArray[np.int64]
    indices: NDArray[np.int64]
    values: NDArray[np.float64]
    vector: bool
    timeout: float | None
    budget: float
    lenient: bool

    @classmethod
    def of(cls, chunk: Chunk) -> SlimChunk:
        """The chunk without x."""
        points = chunk.points
        return cls(
            chunk.id,
            chunk.index,
            points.indptr,
            points.indices,
            points.values,
            chunk.vector,
            chunk.timeout,
            chunk.budget,
            chunk.lenient,
        )

    def with_x(self, x: NDArray[np.float64]) -> Chunk:
        """The chunk again."""
        points = Points(x, self.indptr, self.indices, self.values)
        return Chunk(self.id, self.index, points, self.vector, self.timeout, self.budget, self.lenient)


class RayWorker:
    """One slot's process; made a Ray actor by the executor."""

    def __init__(self, objective: PickledObjective, slot: int, threads: int, paths: list[str]) -> None:
        global inside  # noqa: PLW0603  # it says what this process is
        inside = True
        pin_threads(threads)
        # Programs that J starts die with this process, however it ends.
        with contextlib.suppress(subprocess.CalledProcessError):
            # Ray kills a leaving worker's children, and so this one where it ends while it begins.
            start_reaper(os.environ)
        # What the driver can import, the worker can, where the files are there too; in the driver's order, or a name
        # could mean another module here than there.
        sys.path[:] = [*paths, *(path for path in sys.path if path not in paths)]
        self._worker = Worker(objective, slot)

    def hello(self) -> tuple[str, int]:
        """Make J ready; host and process id."""
        self._worker.prepare()
        return self._worker.host, self._worker.pid

    def run(self, chunk: SlimChunk, x: NDArray[np.float64]) -> Batch:
        """Evaluate a chunk; exceptions travel as bytes, as the driver may not be able to read them."""
        batch = self._worker.run(chunk.with_x(x))
        if not batch.failures:
            return batch
        packed = {k: replace(failure, exception=_packed(failure.exception)) for k, failure in batch.failures.items()}
        return replace(batch, failures=packed)

    def close(self) -> None:
        """End J in good order."""
        self._worker.close()


def pickled_bytes(thing: object) -> bytes:
    """Pickle by Ray's cloudpickle, which takes lambdas, notebook functions and classes by value.

    Raises
    ------
    InputError
        If it cannot be pickled.
    """
    from ray import cloudpickle

    try:
        return bytes(cloudpickle.dumps(thing))  # type: ignore[no-untyped-call]  # Ray's own lacks types
    except Exception as error:  # pickling runs code of whatever is pickled
        raise InputError(
            f"J cannot be sent to another process: {type(error).__name__}: {error}; make what cannot travel (open "
            "files, locks, connections) inside J, or in a simulator's setup()"
        ) from error


class _Packed(Exception):  # noqa: N818  # it stands for an exception on its way
    """An exception as bytes."""


def _packed(error: BaseException | None) -> BaseException | None:
    try:
        return None if error is None else _Packed(pickled_bytes(error))
    except InputError:
        return None  # its text and traceback go anyway


def unpacked(batch: Batch) -> Batch:
    """The batch with its exceptions again, those that can be read here."""
    if not batch.failures:
        return batch
    failures = {}
    for k, failure in batch.failures.items():
        error = None
        if isinstance(failure.exception, _Packed):
            # The module of its class may not be there, or its own unpickling may fail.
            with contextlib.suppress(Exception):
                error = pickle.loads(failure.exception.args[0])  # noqa: S301  # from a worker, by Ray
        failures[k] = replace(failure, exception=error if isinstance(error, BaseException) else None)
    return replace(batch, failures=failures)
