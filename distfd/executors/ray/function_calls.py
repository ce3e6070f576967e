"""Calls of any function on Ray's workers; the function, its items and its results are sent as bytes."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from distfd.executors.ray.module_state import Amendment
from distfd.executors.ray.pickling import Pickled, pickled_bytes, returned_bytes
from distfd.workers.messages import CallBatch, CallChunk

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from distfd.core.records import Batch
    from distfd.fingerprint.reads import Member


@dataclass(frozen=True, eq=False)
class RemoteFunction:
    """A function as bytes; called with an item as bytes, it gives bytes.

    So an error in reading or writing one of them is the failure of one call, like an error in the function.

    Attributes
    ----------
    pickled : Pickled
    members : mapping
        What it reads by name in modules that are imported, and its digest on the driver.
    amendment : Amendment
        The members that are known to differ between driver and worker.
    """

    pickled: Pickled
    members: Mapping[Member, str] = field(default_factory=dict)
    amendment: Amendment = field(default_factory=Amendment)
    _read: list[Callable[[Any], Any]] = field(default_factory=list, repr=False)
    """The function, once it was read."""

    def __call__(self, item: bytes) -> bytes:
        """Call it."""
        if not self._read:
            self._read.append(self.pickled.load())
        return returned_bytes(self._read[0](pickle.loads(item)))  # noqa: S301  # from the driver, by Ray


def packed_calls(chunk: CallChunk) -> CallChunk:
    """The same calls, for another process that has the function.

    Raises
    ------
    InputError
        If an item cannot be pickled.
    """
    return replace(chunk, fun=_elsewhere, series=None, items=tuple(pickled_bytes(item) for item in chunk.items))


def _elsewhere(item: Any) -> Any:
    """Stands for a function that is sent separately."""
    raise NotImplementedError(item)


def unpacked_returns(batch: Batch) -> Batch:
    """The batch with the return values of the calls as objects again."""
    if not isinstance(batch, CallBatch):
        return batch
    return replace(batch, returned={k: pickle.loads(value) for k, value in batch.returned.items()})  # noqa: S301  # from a worker, by Ray
