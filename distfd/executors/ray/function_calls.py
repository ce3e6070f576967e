"""Calls of any function on Ray's workers: function, items and what comes back as bytes."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from distfd.executors.ray.pickling import pickled_bytes
from distfd.workers.messages import CallBatch, CallChunk

if TYPE_CHECKING:
    from collections.abc import Callable

    from distfd.core.records import Batch


@dataclass(frozen=True)
class RemoteFunction:
    """A function as bytes; called with an item as bytes, it gives bytes.

    What goes wrong in reading or writing them is then the failure of one call, as what goes wrong in the function is.
    """

    payload: bytes

    def __call__(self, item: bytes) -> bytes:
        """Call it."""
        return pickled_bytes(_read(self.payload)(pickle.loads(item)))  # noqa: S301  # from the driver, by Ray


@lru_cache(maxsize=1)
def _read(payload: bytes) -> Callable[[Any], Any]:
    fun: Callable[[Any], Any] = pickle.loads(payload)  # noqa: S301  # from the driver, by Ray
    return fun


def packed_calls(chunk: CallChunk) -> CallChunk:
    """The same calls, for another process.

    Raises
    ------
    InputError
        If the function or an item cannot be pickled.
    """
    items = tuple(pickled_bytes(item) for item in chunk.items)
    return replace(chunk, fun=RemoteFunction(_bytes_of(chunk.fun)), items=items)


def unpacked_returns(batch: Batch) -> Batch:
    """The batch with what the calls gave back as objects again."""
    if not isinstance(batch, CallBatch):
        return batch
    return replace(batch, returned={k: pickle.loads(value) for k, value in batch.returned.items()})  # noqa: S301  # from a worker, by Ray


_last: list[tuple[Callable[[Any], Any], bytes]] = []


def _bytes_of(fun: Callable[[Any], Any]) -> bytes:
    """A map's function goes out with each of its chunks and is pickled once."""
    if not _last or _last[0][0] is not fun:
        _last[:] = [(fun, pickled_bytes(fun))]
    return _last[0][1]
