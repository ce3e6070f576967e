"""The contract of a store: values by the keys of their points."""

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
    """Values by the keys of their points (see `Points.keys`); only one thread of the driver calls it."""

    @abstractmethod
    def get(self, keys: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """(rows, size, flat): which of the (n, 2) keys have a value, and the values, ragged as in `Batch`."""

    @abstractmethod
    def put(self, keys: NDArray[np.uint64], batch: Batch) -> None:
        """Keep finished attempts; ``keys`` has a row for each row of the batch. They are durable when this returns.

        `get` only returns values of rows whose status is OK and whose numbers are finite; of several with the same key,
        the first one is kept.

        Raises
        ------
        StoreError
            If they cannot be kept.
        """

    def bits(self, keys: NDArray[np.uint64]) -> NDArray[np.uint8]:
        """Bits of the number type in which J returned each value, ``Batch.bits``, (n,) for (n, 2) keys.

        Steps depend on these bits. So a store that outlives its process must keep them, or a resumed run would plan
        other points than before. A value whose type is not known counts as a double.
        """
        return np.full(len(keys), DOUBLE, dtype=np.uint8)

    def seconds(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """(index, seconds) of the latest evaluations by earlier processes: the number in its request, and the duration.

        The result only helps to choose the order of work; it is empty if nothing is known.
        """
        return np.empty(0, dtype=np.int64), np.empty(0)

    def decision(self, key: bytes) -> int | None:  # noqa: ARG002  # overridden by stores that keep decisions
        """The decision under this key of 16 bytes; None if there is none."""
        return None

    def decide(self, key: bytes, value: int) -> None:  # noqa: B027  # as above
        """Keep a decision that depends on more than values, so that a resumed run decides in the same way.

        Raises
        ------
        StoreError
            If the decision cannot be kept.
        """

    def close(self) -> None:  # noqa: B027  # most stores have nothing to release
        """Release the store."""

    def begin_wave(self, points: Points, task: str, *, reused: int) -> None:  # noqa: B027  # for stores that are read
        """Note the start of a wave: its points, its task, and how many of its values the store had."""

    @property
    def awaits_leftovers(self) -> bool:
        """Whether workers of an earlier driver may still add to the values that `get` finds."""
        return False

    def spool_place(self) -> str | None:
        """The folder where workers leave long evaluations in case this process dies; None where there is none."""
        return None


def adapted(given: Any) -> Store | None:
    """A `Store` for any object that has ``get`` and ``put``; None for other objects."""
    if isinstance(given, Store):
        return given
    return _Adapted(given) if hasattr(given, "get") and hasattr(given, "put") else None


class _Adapted(Store):
    """Wraps an object that has the contract's abstract members, and perhaps some of the others."""

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
