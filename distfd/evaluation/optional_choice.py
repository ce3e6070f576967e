"""Which optional points of a request are evaluated: decided when its wave starts, and decided alike when it is resumed.

The choice may rest on the number of slots, so the store keeps it: a run that is resumed, on however many slots, asks
for the same points as it would have without the interruption, and a finished one for none.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from distfd.scheduling.attempts import failed_attempts
from distfd.scheduling.optional_points import fits_in_idle_slots
from distfd.scheduling.speculative_copies import UNWAITED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from distfd.core.records import Batch
    from distfd.differentiation.method import Request
    from distfd.evaluation.session import Session

LEFT_OUT, TAKEN, SPENT, SPENT_AT_COST = 0, 1, 2, 3
"""What the store has of a choice: without the points; with them; and that they came to no value, where they were to
cost no round, and where they were insisted on. Those are not evaluated again."""


class OptionalChoice:
    """The choice for one request.

    Parameters
    ----------
    session : Session
    request : Request
    keys : (n, 2) ndarray of uint64
        The points' keys.
    """

    def __init__(self, session: Session, request: Request, keys: NDArray[np.uint64]) -> None:
        self._session = session
        self._request = request
        self._key = hashlib.blake2b(np.ascontiguousarray(keys, dtype="<u8").tobytes(), digest_size=16).digest()
        self._kept = session.store.decision(self._key) if len(request.optional) else None

    def split(self, index: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Of the points without a value: those that must have one, and those that the method can do without."""
        optional = np.isin(index, self._request.optional)
        return index[~optional], index[optional]

    def needs_a_wave(self, optional: NDArray[np.int64]) -> bool:
        """Whether optional points are evaluated even if there is nothing else to evaluate."""
        return bool(len(optional)) and self._request.insist and not self._is_spent

    def taken(self, index: NDArray[np.int64], optional: NDArray[np.int64]) -> NDArray[np.int64]:
        """Of these optional points those that are evaluated, all or none; the slots are there, and ``index`` too."""
        return optional if self._takes(len(index), len(optional)) else optional[:0]

    def _takes(self, wanted: int, optional: int) -> bool:
        if not optional or self._is_spent:
            return False
        if self._request.insist:
            self._keep(TAKEN)
            return True
        if not wanted:
            return False
        if self._kept is None:
            free = self._session.executor.idle_slots_are_free
            fits = free and fits_in_idle_slots(wanted, optional, self._session.pool.slots)
            self._keep(TAKEN if fits else LEFT_OUT)
        return self._kept == TAKEN

    def unvalued(self, taken: NDArray[np.int64], left: NDArray[np.int64], valued: NDArray[np.bool_]) -> Iterator[Batch]:
        """Points that were taken, now or before, and have come to nothing; they have had their one try.

        Parameters
        ----------
        taken : (k,) ndarray of int
            The points that were given to slots in this wave.
        left : (l,) ndarray of int
            Optional points that no evaluation has ended at, nor the store has.
        valued : (n,) ndarray of bool
            By number of point, whether this wave has given it a value.
        """
        before = self._kept in (TAKEN, SPENT, SPENT_AT_COST)
        if not valued[taken].all() or (before and len(left)):
            self._keep_spent()
        if before and len(left):
            yield _given_up(left)

    def _keep_spent(self) -> None:
        if not self._is_spent:
            self._keep(SPENT_AT_COST if self._request.insist else SPENT)

    @property
    def _is_spent(self) -> bool:
        return self._kept == SPENT_AT_COST or (self._kept == SPENT and not self._request.insist)

    def _keep(self, choice: int) -> None:
        self._kept = choice
        self._session.store.decide(self._key, choice)


def _given_up(index: NDArray[np.int64]) -> Batch:
    """Points that were not waited for, as a batch."""
    batch = failed_attempts(UNWAITED, index, None, -1, started=np.nan, ended=np.nan)
    return replace(batch, attempt=np.zeros(len(index), dtype=np.int32))
