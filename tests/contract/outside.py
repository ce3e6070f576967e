"""An executor and a store as somebody outside would write them: from their base classes alone."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING, Any

import numpy as np
from ray import cloudpickle

from distfd.core.records import Batch, Failure, Status
from distfd.executors.base import Executor
from distfd.stores.base import Store
from distfd.workers.exception_transport import with_exceptions, with_packed_exceptions
from distfd.workers.messages import Chunk, ChunkDone, Report, SlotLost, SlotUp
from distfd.workers.threads import pin_threads
from distfd.workers.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from distfd.objectives.base import Objective

_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["ray.cloudpickle", "distfd.workers.worker"])  # what takes long to import

_worker: Worker | None = None


def _begin(objective: bytes, slot: int) -> tuple[str, int]:
    global _worker  # noqa: PLW0603  # what a process of a pool keeps from call to call
    pin_threads(1)
    _worker = Worker(cloudpickle.loads(objective), slot, own_process=True)
    _worker.prepare()
    return _worker.host, _worker.pid


def _run(chunk: bytes) -> bytes:
    assert _worker is not None
    batch = _worker.run(cloudpickle.loads(chunk))
    return packed((with_packed_exceptions(batch, packed), _worker.worn))


def _close() -> None:
    if _worker is not None:
        _worker.close()


def packed(something: object) -> bytes:
    made: bytes = cloudpickle.dumps(something)  # type: ignore[no-untyped-call]  # Ray has no types
    return made


class PoolExecutor(Executor):
    """A pool of one process a slot."""

    slots = 2

    def __init__(self) -> None:
        self._objective: Objective | None = None
        self._pools: dict[int, ProcessPoolExecutor] = {}
        self._up: dict[int, SlotUp] = {}
        self._calls: dict[Future[Any], tuple[int, int | None]] = {}

    def open(self, objective: Objective) -> Sequence[SlotUp]:
        if objective is not self._objective:
            self.close()
            self._objective = objective
            for slot in range(self.slots):
                self._start(slot)
        return list(self._up.values())

    def _start(self, slot: int) -> None:
        self._pools[slot] = pool = ProcessPoolExecutor(1, _processes)
        self._calls[pool.submit(_begin, packed(self._objective), slot)] = slot, None

    def submit(self, slot: int, chunk: Chunk) -> None:
        self._calls[self._pools[slot].submit(_run, packed(chunk))] = slot, chunk.id

    def wait(self, seconds: float) -> list[Report]:
        wait(self._calls, timeout=seconds, return_when=FIRST_COMPLETED)
        reports: list[Report] = []
        for call in [call for call in self._calls if call.done()]:
            if call not in self._calls:
                continue  # its slot was lost a moment ago
            slot, chunk = self._calls.pop(call)
            try:
                said = call.result()
            except BrokenProcessPool as error:
                reports.append(SlotLost(slot, Failure(Status.CRASH, f"the worker died: {error}")))
                self.kill(slot)
                continue
            if chunk is None:
                self._up[slot] = SlotUp(slot, *said)
                reports.append(self._up[slot])
                continue
            batch, worn = cloudpickle.loads(said)
            if len(batch):
                reports.append(ChunkDone(slot, chunk, with_exceptions(batch)))
            if worn:
                reports.append(SlotLost(slot, Failure(Status.LOST, "its process has had its time")))
                self.kill(slot)
        return reports

    def kill(self, slot: int) -> None:
        self._end(slot)
        self._start(slot)

    def _end(self, slot: int) -> None:
        self._up.pop(slot, None)
        self._calls = {call: about for call, about in self._calls.items() if about[0] != slot}
        for process in list((self._pools[slot]._processes or {}).values()):
            process.kill()
        self._pools.pop(slot).shutdown(wait=True, cancel_futures=True)

    def close(self) -> None:
        busy = {slot for slot, _ in self._calls.values()}
        wait([self._pools[slot].submit(_close) for slot in self._up.keys() - busy], timeout=5.0)
        for slot in list(self._pools):
            self._end(slot)
        self._objective = None


class DictStore(Store):
    """Values in a dictionary."""

    def __init__(self) -> None:
        self._values: dict[bytes, NDArray[np.float64]] = {}

    def get(self, keys: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        known = {row: self._values[key.tobytes()] for row, key in enumerate(keys) if key.tobytes() in self._values}
        size = np.array([len(value) for value in known.values()], np.int64)
        return np.array(list(known), np.int64), size, np.concatenate([np.empty(0), *known.values()])

    def put(self, keys: NDArray[np.uint64], batch: Batch) -> None:
        if len(keys) != len(batch):
            raise ValueError(f"{len(keys)} keys for {len(batch)} evaluations")
        values = np.split(batch.flat, batch.offsets[1:-1])
        for key, status, value in zip(keys, batch.status, values if len(batch) else [], strict=True):
            if status == Status.OK and np.isfinite(value).all():
                self._values.setdefault(key.tobytes(), value.copy())
