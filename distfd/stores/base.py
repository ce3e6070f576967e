"""The contract of a store: values by the identity of their points."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core.records import DOUBLE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from distfd.core.points import Points
    from distfd.core.records import Batch


class Store(ABC):
    """Values by the identity of their points (see `Points.keys`); one driver thread calls it."""

    @abstractmethod
    def get(self, keys: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """(rows, size, flat): which of the (n, 2) keys have a value, and the values, ragged as in `Batch`."""

    @abstractmethod
    def put(self, keys: NDArray[np.uint64], batch: Batch) -> None:
        """Keep finished attempts; ``keys`` has a row for each row of the batch. Durable when it returns.

        A value to find again is that of a row whose status is OK and whose numbers are finite; the first one of a key
        stays.

        Raises
        ------
        StoreError
            If they cannot be kept.
        """

    def bits(self, keys: NDArray[np.uint64]) -> NDArray[np.uint8]:
        """Bits of the number type in which J returned each value, ``Batch.bits``, (n,) for (n, 2) keys.

        Steps are chosen by them, so a store that outlives its process must keep them if a run that goes on is to plan
        what it planned before. What is not known counts as a double.
        """
        return np.full(len(keys), DOUBLE, dtype=np.uint8)

    def seconds(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """(index, seconds): number in its request, and duration, of the latest evaluations kept by earlier processes.

        A hint for the order of work, no more; empty where none is at hand.
        """
        return np.empty(0, dtype=np.int64), np.empty(0)

    def decision(self, key: bytes) -> int | None:  # noqa: ARG002  # for stores that remember
        """What was decided under this key, 16 bytes; None where nothing was."""
        return None

    def decide(self, key: bytes, value: int) -> None:  # noqa: B027  # as above
        """Keep a decision that rests on more than values, so that a run that is resumed decides alike.

        Raises
        ------
        StoreError
            If it cannot be kept.
        """

    def close(self) -> None:  # noqa: B027  # most have nothing to release
        """Release the store."""

    def begin_wave(self, points: Points, task: str, *, reused: int) -> None:  # noqa: B027  # for stores that are read
        """Take note that a wave begins: what is asked for, and how many of its points the store had."""

    @property
    def awaits_leftovers(self) -> bool:
        """Whether workers of an earlier driver may still add to the values that `get` finds."""
        return False

    def spool_place(self) -> str | None:
        """The folder where workers leave long evaluations in case this process dies; None where there is none."""
        return None


def adapted(given: Any) -> Store | None:
    """A store, or an object of another class that has ``get`` and ``put``, as a `Store`; None if it is neither."""
    if isinstance(given, Store):
        return given
    return _Adapted(given) if hasattr(given, "get") and hasattr(given, "put") else None


class _Adapted(Store):
    """An object that has the contract's abstract members, and perhaps some of the others."""

    def __init__(self, given: Any) -> None:
        self._given = given

    def get(self, keys: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        rows, size, flat = self._given.get(keys)
        return rows, size, flat

    def put(self, keys: NDArray[np.uint64], batch: Batch) -> None:
        self._given.put(keys, batch)

    def bits(self, keys: NDArray[np.uint64]) -> NDArray[np.uint8]:
        found: NDArray[np.uint8] = getattr(self._given, "bits", super().bits)(keys)
        return found

    def seconds(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        index, seconds = getattr(self._given, "seconds", super().seconds)()
        return index, seconds

    def decision(self, key: bytes) -> int | None:
        value: int | None = getattr(self._given, "decision", super().decision)(key)
        return value

    def decide(self, key: bytes, value: int) -> None:
        getattr(self._given, "decide", super().decide)(key, value)

    def close(self) -> None:
        getattr(self._given, "close", super().close)()

    def begin_wave(self, points: Points, task: str, *, reused: int) -> None:
        getattr(self._given, "begin_wave", super().begin_wave)(points, task, reused=reused)

    @property
    def awaits_leftovers(self) -> bool:
        return bool(getattr(self._given, "awaits_leftovers", False))

    def spool_place(self) -> str | None:
        place: str | None = getattr(self._given, "spool_place", super().spool_place)()
        return place
