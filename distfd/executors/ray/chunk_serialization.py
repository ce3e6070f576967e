"""How a chunk is sent to a worker: as bytes, with references to large arrays in Ray's object store."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from distfd.executors.ray.worker import packed_chunk
from distfd.workers.messages import CallChunk

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from distfd.workers.messages import Chunk

_BY_VALUE = 65_536
"""Bytes. An x or a state up to this size is sent with each chunk; a larger one is sent to each node once a wave."""


class ChunkSerializer:
    """Packs chunks; an x or a state that is large is put into the object store once a wave.

    Parameters
    ----------
    assure : callable
        Sees that the cluster is there: where this node's raylet is gone, Ray ends the process that puts something.
    """

    def __init__(self, assure: Callable[[], None]) -> None:
        self._assure = assure
        self._put: dict[str, tuple[NDArray[Any], Any]] = {}

    def pack(self, chunk: Chunk) -> tuple[Any, ...]:
        """The chunk as bytes, and references to x and state where these are not in it; Ray takes time for each."""
        if isinstance(chunk, CallChunk):
            return (packed_chunk(chunk, with_x=True),)
        x, state = chunk.points.x, chunk.state
        small = x.nbytes <= _BY_VALUE
        if state is not None and state.nbytes > _BY_VALUE:
            chunk = replace(chunk, state=None)
        else:
            state = None
        payload = packed_chunk(chunk, with_x=small)
        if small and state is None:
            return (payload,)
        return payload, None if small else self._shared("x", x), None if state is None else self._shared("state", state)

    def _shared(self, what: str, array: NDArray[Any]) -> Any:
        """A reference from which each node gets the array once."""
        import ray

        if what not in self._put or self._put[what][0] is not array:
            self._assure()
            self._put[what] = array, ray.put(array)
        return self._put[what][1]
