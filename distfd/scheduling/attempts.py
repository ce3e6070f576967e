"""What counts: attempts by point, what is tried again, and which points are final."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from distfd.core.records import Batch, Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from distfd.core.records import Failure
    from distfd.scheduling.optional_points import OptionalPoints
    from distfd.workers.messages import SlotStarting, SlotUp


@dataclass(frozen=True, eq=False)
class Attempts:
    """Attempts that ended; ``final`` marks those that are not tried again."""

    batch: Batch
    final: NDArray[np.bool_]


def failed_attempts(
    failure: Failure,
    index: NDArray[np.int64],
    process: SlotUp | SlotStarting | None,
    slot: int,
    *,
    started: float,
    ended: float,
) -> Batch:
    """Attempts at these points, which all ended by this; times since the epoch."""
    n = len(index)
    return Batch(
        index=index,
        status=np.full(n, failure.status, dtype=np.uint8),
        size=np.zeros(n, dtype=np.int64),
        flat=np.empty(0),
        started=np.full(n, started),
        ended=np.full(n, ended),
        attempt=np.ones(n, dtype=np.int32),
        host=process.host if process else "",
        pid=process.pid if process else 0,
        slot=slot,
        failures=dict.fromkeys(index.tolist(), failure),
    )


class Ledger:
    """Counts the attempts of one wave, and which of its points are final.

    Parameters
    ----------
    total : int
        Points of the wave.
    wanted : int
        Points of it that are to be evaluated.
    baseline : int or None
        The point whose failure ends the wave.
    retries : mapping
        Further tries after the first, by the status that ended it.
    keeps_partial : bool
        Whether a baseline with some of J's outputs has not failed.
    optional : OptionalPoints
        Points that are tried once, and that nothing waits for.
    """

    def __init__(
        self,
        total: int,
        wanted: int,
        baseline: int | None,
        retries: Mapping[Status, int],
        optional: OptionalPoints,
        *,
        keeps_partial: bool = False,
    ) -> None:
        self._retries = retries
        self._keeps_partial = keeps_partial
        self._optional = optional
        self._baseline = baseline
        self._tries: dict[int, dict[Status, int]] = {}
        self._final = np.zeros(total, dtype=bool)
        self._wanted = wanted
        self.unfinished = wanted
        self.baseline_failed = False

    @property
    def half_done(self) -> bool:
        """Whether at least half of the points are final."""
        return 2 * self.unfinished <= self._wanted

    def open(self, index: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of these points are not final."""
        return ~self._final[index]

    def charge(self, batch: Batch, *, last: bool = False) -> Attempts:
        """Count attempts and decide which are final: all of them, if these are the last that are made."""
        final = np.ones(len(batch), dtype=bool)
        attempt = batch.attempt.copy()
        for r in self._charged_rows(batch):
            k, status = int(batch.index[r]), Status(int(batch.status[r]))
            tries = self._tries.setdefault(k, {})
            attempt[r] = 1 + sum(tries.values())
            tries[status] = tries.get(status, 0) + 1
            once = last or k in self._optional
            final[r] = once or status == Status.OK or tries[status] > self._retries.get(status, 0)
        self._final[batch.index[final]] = True
        self.unfinished -= int((final & ~self._optional.mask(batch.index)).sum())
        if batch.failures and self._baseline is not None:
            failed = final & (batch.index == self._baseline) & (batch.status != Status.OK)
            self.baseline_failed |= bool(np.any(failed & ~batch.partial if self._keeps_partial else failed))
        return Attempts(replace(batch, attempt=attempt), final)

    def give_up(self, index: NDArray[np.int64]) -> None:
        """These optional points get no value."""
        self._final[index] = True

    def is_last(self, k: int, status: Status) -> bool:
        """Whether an attempt at a point that ends so is not followed by another."""
        return self._tries.get(k, {}).get(status, 0) >= self._retries.get(status, 0)

    def _charged_rows(self, batch: Batch) -> Iterable[int]:
        """Rows that failed now or before; the rest, nearly all, are first tries that went well."""
        if not batch.failures and not self._tries:
            return ()
        return [r for r in range(len(batch)) if batch.status[r] != Status.OK or int(batch.index[r]) in self._tries]
