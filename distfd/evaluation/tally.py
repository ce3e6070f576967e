"""From finished batches to waves and tallies."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core.records import DOUBLE, Failure, Status
from distfd.differentiation.method import Wave

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from distfd.core.records import Batch
    from distfd.differentiation.method import Request


_AT_ONCE = 1_000_000
"""Numbers that are put in their places in one go; with more, it would matter that they are copied first."""


def gather(request: Request, batches: Sequence[Batch]) -> Wave:
    """One wave from its batches, the same whatever the order in which they came.

    A complex value is two numbers of its batch. The request (else the baseline; else the first point that has a value)
    says how many outputs J has; a point with another number of them has failed. One that failed in some outputs only
    has those that it has.
    """
    n = len(request.points)
    status = np.full(n, Status.NOT_RUN, dtype=np.uint8)
    size = np.zeros(n, dtype=np.int64)
    failures: dict[int, Failure] = {}
    index = _joined(batches, "index", np.int64)
    status[index], size[index] = _joined(batches, "status", np.uint8), _joined(batches, "size", np.int64)
    partial = (status == Status.ERROR) & (size > 0)
    for batch in batches:
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
    columns = [(batch.index, batch.size, batch.flat) for batch in batches]
    if columns and sum(len(flat) for _, _, flat in columns) <= _AT_ONCE:
        columns = [
            (np.concatenate(index), np.concatenate(size), np.concatenate(flat))
            for index, size, flat in [zip(*columns, strict=True)]
        ]
    for index, size, flat in columns:
        fits = size == wanted[index]
        if len(index) and fits.all():
            table[index] = flat.reshape(len(index), -1)
        elif fits.any():
            table[index[fits]] = flat[np.repeat(fits, size)].reshape(int(fits.sum()), -1)
    return table


def _joined(batches: Sequence[Batch], name: str, dtype: type) -> NDArray[Any]:
    """A column of all batches, one after the other: with many slots there are as many batches."""
    return np.concatenate([np.empty(0, dtype), *(getattr(batch, name) for batch in batches)])


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
        self.waves.append((request, batches))
        self.wall_seconds += wall_seconds
        self.start_seconds += start_seconds
        self.n_reused += sum(len(batch) for batch in batches if batch.reused)
        # Not optional points that were not waited for.
        made = [batch for batch in batches if not (batch.reused or (batch.status == Status.CANCELLED).all())]
        if not made:
            return
        index = _joined(made, "index", np.int64)
        self.n_evaluations += len(index)
        extra = np.isin(index, request.optional)
        self.n_optional += int(extra.sum())
        # By the wave: a value of another size than the baseline's is a failure that the batch does not know of.
        self.n_failed += int(((wave.status[index] != Status.OK) & ~extra).sum())
        self.n_retried += int((_joined(made, "attempt", np.int32) - 1).sum())
        seconds = _joined(made, "ended", np.float64) - _joined(made, "started", np.float64)
        self.ideal_seconds += max(float(seconds.max()), float(seconds.sum()) / slots)

    @property
    def efficiency(self) -> float | None:
        """Ideal over wall time; None where nothing was computed."""
        return self.ideal_seconds / self.wall_seconds if self.n_evaluations and self.wall_seconds else None
