"""From finished batches to waves and tallies."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from distfd.core.records import DOUBLE, Failure, Status
from distfd.differentiation.method import Wave

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from distfd.core.records import Batch
    from distfd.differentiation.method import Request


def gather(request: Request, batches: Sequence[Batch]) -> Wave:
    """One wave from its batches, the same whatever the order in which they came.

    A complex value is two numbers of its batch. The request (else the baseline; else the first point that has a value)
    says how many outputs J has; a point with another number of them has failed. One that failed in some outputs only
    has those that it has.
    """
    n = len(request.points)
    status = np.full(n, Status.NOT_RUN, dtype=np.uint8)
    size = np.zeros(n, dtype=np.int64)
    partial = np.zeros(n, dtype=bool)
    failures: dict[int, Failure] = {}
    for batch in batches:
        status[batch.index] = batch.status
        size[batch.index] = batch.size
        partial[batch.index] = batch.partial
        failures.update(batch.failures)
    bits = _bits(batches, n)
    complex_ = request.points.imaginary
    size[complex_] //= 2
    good = np.flatnonzero((status == Status.OK) | partial)
    at_baseline = request.baseline is not None and request.baseline in good
    first = size[request.baseline] if at_baseline else size[good[0]] if len(good) else 1
    outputs = (request.outputs or int(first)) if request.vector else 1
    for k in good[size[good] != outputs].tolist():
        known = "x" if at_baseline or request.outputs else "other points"
        text = f"J returned {size[k]} outputs here and {outputs} at {known}"
        if not request.vector:
            text = f"J must return a number; it returned {size[k]} (for several outputs use jacobian)"
        failures[k] = Failure(Status.ERROR, text)
        status[k] = Status.ERROR
    if not complex_.any():
        table = _table(batches, np.full(n, outputs), np.full((n, outputs), np.nan))
        return Wave(request, table, status, failures, bits)
    values = np.full((n, outputs), complex(np.nan, np.nan))
    real = np.full((n, outputs), np.nan)
    values[~complex_] = _table(batches, np.where(complex_, -1, outputs), real)[~complex_]
    _table(batches, np.where(complex_, 2 * outputs, -1), values.view(np.float64))
    return Wave(request, values, status, failures, bits)


def _bits(batches: Sequence[Batch], n: int) -> NDArray[np.uint8] | None:
    """Bits of each point's number type, (n,); None where all are doubles."""
    if all(batch.bits is None for batch in batches):
        return None
    bits = np.full(n, DOUBLE, dtype=np.uint8)
    for batch in batches:
        if batch.bits is not None:
            bits[batch.index] = batch.bits
    return bits


def _table(batches: Sequence[Batch], wanted: NDArray[np.int64], table: NDArray[np.float64]) -> NDArray[np.float64]:
    """Put the values that are ``wanted[k]`` numbers long into row k of the table."""
    for batch in batches:
        fits = batch.size == wanted[batch.index]
        part = batch if fits.all() else batch.take(fits)
        if len(part):
            table[part.index] = part.flat.reshape(len(part), -1)
    return table


@dataclass
class Tally:
    """What one call has cost so far."""

    waves: list[tuple[Request, list[Batch]]] = field(default_factory=list)
    n_evaluations: int = 0
    n_reused: int = 0
    n_optional: int = 0
    """Evaluations of points that the method could have done without."""
    n_failed: int = 0
    """Points that failed for good; not those."""
    n_retried: int = 0
    ideal_seconds: float = 0.0
    wall_seconds: float = 0.0
    start_seconds: float = 0.0
    """Of these, until the first slot was up."""

    def add(
        self, wave: Wave, batches: list[Batch], slots: int, wall_seconds: float, start_seconds: float = 0.0
    ) -> None:
        """Count one wave."""
        request = wave.request
        optional = set(request.optional.tolist())
        self.waves.append((request, batches))
        self.wall_seconds += wall_seconds
        self.start_seconds += start_seconds
        longest = total = 0.0
        for batch in batches:
            if batch.reused:
                self.n_reused += len(batch)
                continue
            if (batch.status == Status.CANCELLED).all():
                continue  # optional points that were not waited for
            self.n_evaluations += len(batch)
            extra = [r for r, k in enumerate(batch.index.tolist()) if k in optional] if optional else []
            self.n_optional += len(extra)
            # By the wave: a value of another size than the baseline's is a failure that the batch does not know of.
            failed = wave.status[batch.index] != Status.OK
            self.n_failed += int(failed.sum()) - int(failed[extra].sum())
            self.n_retried += int((batch.attempt - 1).sum())
            seconds = batch.ended - batch.started
            longest, total = max(longest, float(seconds.max())), total + float(seconds.sum())
        self.ideal_seconds += max(longest, total / slots)

    @property
    def efficiency(self) -> float | None:
        """Ideal over wall time; None where nothing was computed."""
        return self.ideal_seconds / self.wall_seconds if self.n_evaluations and self.wall_seconds else None
