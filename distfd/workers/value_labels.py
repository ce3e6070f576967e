"""The labels of J's outputs where J returns a Series: numbers are taken by place, so their order must not change.

Each worker reads the labels of each value (`LabelReader`). The driver sees to it that all values have them in one order
(`LabelOrder`), whichever process they come from.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core.records import Failure, Status
from distfd.core.structure_kinds import is_series

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from distfd.core.records import Batch

UNLABELLED = 0
"""The digest of a value without labels."""

_TEXT = (
    "J returned a Series whose labels are other ones, or in another order, than those of another value of J, and "
    "outputs are told apart by their place alone; return them in one order, as by Series.reindex(labels), or without "
    "labels (Series.to_numpy()) if the order is the same"
)


class LabelReader:
    """Reads which labels J's outputs have, and in which order, as a number of 63 bits.

    Two values with the same number have their outputs in the same order. Labels that are real numbers or times may
    move with x (as the output times of a solver do), so only their ranks count.
    """

    def __init__(self) -> None:
        self._index: Any = None
        self._digest = UNLABELLED

    def digest(self, raw: Any) -> int:
        """The number of what J returned; `UNLABELLED` for all but a Series of several outputs."""
        if not is_series(raw) or len(raw) < 2:
            return UNLABELLED
        if raw.index is not self._index:
            self._index, self._digest = raw.index, _digest(raw.index)
        return self._digest


def _digest(index: Any) -> int:
    moves = getattr(index.dtype, "kind", "O") in "fmM"
    labels = np.argsort(np.argsort(index, kind="stable"), kind="stable") if moves else index
    told = hashlib.blake2b(repr(labels.tolist()).encode(errors="backslashreplace"), digest_size=8).digest()
    return int.from_bytes(told, "big") >> 1 or 1


@dataclass(frozen=True, eq=False)
class LabelOrder:
    """The order in which an objective's values have their labels: that of the first one, for each number of outputs.

    Attributes
    ----------
    salt : int
        Separates objectives.
    decision, decide : callable
        Recall and keep a number under a key of 16 bytes, as `Store` does.
    """

    salt: int
    decision: Callable[[bytes], int | None]
    decide: Callable[[bytes, int], None]

    def checked(self, batch: Batch, complex_: NDArray[np.bool_]) -> Batch:
        """The batch, in which values whose labels have another order have failed.

        Parameters
        ----------
        complex_ : (n,) bool ndarray
            Which points of the request are complex, so that their values have two numbers for each output.
        """
        if batch.labels is None:
            return batch
        rows = np.flatnonzero((batch.status == Status.OK) & (batch.labels != UNLABELLED))
        outputs = np.where(complex_[batch.index[rows]], batch.size[rows] // 2, batch.size[rows])
        wrong = []
        for m in np.unique(outputs).tolist():
            mine = rows[outputs == m]
            labels = batch.labels[mine]
            wrong += mine[labels != self._order(m, int(labels[0]))].tolist()
        if not wrong:
            return batch
        status = batch.status.copy()
        status[wrong] = Status.ERROR
        kept = batch.take(np.setdiff1d(np.arange(len(batch)), wrong))
        size = batch.size.copy()
        size[wrong] = 0
        failures = dict.fromkeys(batch.index[wrong].tolist(), Failure(Status.ERROR, _TEXT))
        return replace(batch, status=status, size=size, flat=kept.flat, failures={**batch.failures, **failures})

    def _order(self, m: int, found: int) -> int:
        """The order of the first value with m outputs; ``found`` is taken for it if there was none."""
        key = hashlib.blake2b(f"labels {self.salt} {m}".encode(), digest_size=16).digest()
        known = self.decision(key)
        if known is None:
            self.decide(key, found)
        return found if known is None else known
