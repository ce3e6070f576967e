"""Objects as bytes, by Ray's cloudpickle."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

_APART = 65_536
"""Bytes. Arrays of this size or more are not copied into the pickle, but stay beside it."""


@dataclass(frozen=True, eq=False)
class Pickled:
    """An object as bytes, with its large arrays beside them (pickle's protocol 5), where they need not be copied.

    Attributes
    ----------
    payload : bytes
    buffers : tuple of (NDArray[uint8], bool)
        The memory of each array, and whether that may be written to. They are the object's own until Ray has taken
        them.
    """

    payload: bytes = b""
    buffers: tuple[tuple[NDArray[np.uint8], bool], ...] = ()

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.payload) + sum(buffer.nbytes for buffer, _ in self.buffers)

    def load(self) -> Any:
        """The object again; its arrays are its own, and may be written to where the first ones might."""
        own = [bytearray(buffer) if writable else bytes(buffer) for buffer, writable in self.buffers]
        return pickle.loads(self.payload, buffers=own)  # noqa: S301  # from the driver, by Ray


def pickled(thing: object) -> Pickled:
    """Pickle as `pickled_bytes` does, but keep large arrays separate.

    Raises
    ------
    InputError
        If it cannot be pickled.
    """
    buffers: list[tuple[NDArray[np.uint8], bool]] = []

    def is_small(buffer: pickle.PickleBuffer) -> bool:
        with memoryview(buffer) as view:
            if view.nbytes < _APART or not view.contiguous:
                return True
        raw = buffer.raw()
        buffers.append((np.frombuffer(raw, dtype=np.uint8), not raw.readonly))
        return False

    return Pickled(pickled_bytes(thing, is_small), tuple(buffers))


def pickled_bytes(thing: object, in_band: Callable[[pickle.PickleBuffer], bool] | None = None) -> bytes:
    """Pickle by Ray's cloudpickle, which takes lambdas, notebook functions and classes by value.

    Parameters
    ----------
    thing : object
    in_band : callable, optional
        Whether a buffer is to be in the pickle (PEP 574's ``buffer_callback``); by default all are.

    Raises
    ------
    InputError
        If it cannot be pickled.
    """
    from ray import cloudpickle

    try:
        return bytes(cloudpickle.dumps(thing, buffer_callback=in_band))  # type: ignore[no-untyped-call]  # Ray's own lacks types
    except Exception as error:  # pickling runs code of whatever is pickled
        raise InputError(
            f"J cannot be sent to another process: {type(error).__name__}: {error}; make what cannot travel (open "
            "files, locks, connections) inside J, or in a simulator's setup()"
        ) from error
