"""From finished batches to waves, tallies and results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from distfd.describe import point_label
from distfd.numerics.plan import Wave
from distfd.records import Batch, Evaluation, Failure, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from distfd.numerics.plan import Request


def gather(request: Request, batches: Sequence[Batch]) -> Wave:
    """One wave from its batches, the same whatever the order in which they came.

    A complex value is two numbers of its batch. The request (else the baseline; else the first point that has a value)
    says how many outputs J has; a point with another number of them has failed.
    """
    n = len(request.points)
    status = np.full(n, Status.NOT_RUN, dtype=np.uint8)
    size = np.zeros(n, dtype=np.int64)
    failures: dict[int, Failure] = {}
    for batch in batches:
        status[batch.index] = batch.status
        size[batch.index] = batch.size
        failures.update(batch.failures)
    complex_ = request.points.imaginary
    size[complex_] //= 2
    good = np.flatnonzero(status == Status.OK)
    at_baseline = request.baseline is not None and bool(status[request.baseline] == Status.OK)
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
        return Wave(request, _table(batches, np.full(n, outputs), np.full((n, outputs), np.nan)), status, failures)
    values = np.full((n, outputs), complex(np.nan, np.nan))
    real = np.full((n, outputs), np.nan)
    values[~complex_] = _table(batches, np.where(complex_, -1, outputs), real)[~complex_]
    _table(batches, np.where(complex_, 2 * outputs, -1), values.view(np.float64))
    return Wave(request, values, status, failures)


def _table(batches: Sequence[Batch], wanted: NDArray[np.int64], table: NDArray[np.float64]) -> NDArray[np.float64]:
    """Put the values that are ``wanted[k]`` numbers long into row k of the table."""
    for batch in batches:
        fits = batch.size == wanted[batch.index]
        part = batch if fits.all() else batch.take(fits)
        if len(part):
            table[part.index] = part.flat.reshape(len(part), -1)
    return table


class Evaluations(Sequence[Evaluation]):
    """All evaluations of a result, made into objects only when looked at."""

    def __init__(self, waves: Sequence[tuple[Request, Sequence[Batch]]], label: Callable[[int], str]) -> None:
        self._batches = [(request, batch) for request, batches in waves for batch in batches]
        self._ends = np.cumsum([len(batch) for _, batch in self._batches], dtype=np.int64)
        self._label = label
        self._offsets: dict[int, NDArray[np.int64]] = {}

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    @overload
    def __getitem__(self, i: int) -> Evaluation: ...
    @overload
    def __getitem__(self, i: slice) -> list[Evaluation]: ...
    def __getitem__(self, i: int | slice) -> Evaluation | list[Evaluation]:
        if isinstance(i, slice):
            return [self[k] for k in range(*i.indices(len(self)))]
        row = range(len(self))[i]
        at = int(np.searchsorted(self._ends, row, side="right"))
        request, batch = self._batches[at]
        if at not in self._offsets:  # once a batch, or looking at all of a long one takes the square of its length
            self._offsets[at] = batch.offsets
        r = row - int(self._ends[at]) + len(batch)
        return evaluation(request, batch, r, self._label, self._offsets[at])


def evaluation(
    request: Request,
    batch: Batch,
    r: int,
    label: Callable[[int], str],
    offsets: NDArray[np.int64] | None = None,
) -> Evaluation:
    """Row r of a batch as an object; ``offsets`` are the batch's, where they are at hand."""
    k = int(batch.index[r])
    offsets = batch.offsets if offsets is None else offsets
    numbers = batch.flat[offsets[r] : offsets[r + 1]]
    indices, values = request.points.changes(k)
    if values.dtype.kind == "c":
        numbers = np.ascontiguousarray(numbers).view(np.complex128)
    return Evaluation(
        index=k,
        label=point_label(request.points, k, label),
        status=Status(int(batch.status[r])),
        value=None if not len(numbers) else numbers[0].item() if len(numbers) == 1 else numbers,
        changes=tuple(zip(indices.tolist(), values.tolist(), strict=True)),
        attempt=int(batch.attempt[r]),
        started=float(batch.started[r]),
        ended=float(batch.ended[r]),
        host=batch.host,
        pid=batch.pid,
        slot=batch.slot,
        reused=batch.reused,
        failure=batch.failures.get(k),
    )


@dataclass
class Tally:
    """What one call has cost so far."""

    waves: list[tuple[Request, list[Batch]]] = field(default_factory=list)
    n_evaluations: int = 0
    n_reused: int = 0
    n_failed: int = 0
    n_retried: int = 0
    ideal_seconds: float = 0.0
    wall_seconds: float = 0.0

    def add(self, wave: Wave, batches: list[Batch], slots: int, wall_seconds: float) -> None:
        """Count one wave."""
        request = wave.request
        self.waves.append((request, batches))
        self.wall_seconds += wall_seconds
        longest = total = 0.0
        for batch in batches:
            if batch.reused:
                self.n_reused += len(batch)
                continue
            self.n_evaluations += len(batch)
            # By the wave: a value of another size than the baseline's is a failure that the batch does not know of.
            self.n_failed += int((wave.status[batch.index] != Status.OK).sum())
            self.n_retried += int((batch.attempt - 1).sum())
            seconds = batch.ended - batch.started
            longest, total = max(longest, float(seconds.max())), total + float(seconds.sum())
        self.ideal_seconds += max(longest, total / slots)

    @property
    def efficiency(self) -> float | None:
        """Ideal over wall time; None where nothing was computed."""
        return self.ideal_seconds / self.wall_seconds if self.n_evaluations and self.wall_seconds else None


@dataclass(frozen=True, eq=False)
class DerivativeResult:
    """A derivative and what is known of it.

    Attributes
    ----------
    derivative : ndarray or sparse array
        (d,) for a gradient or Hessian-vector product, (m, d) for a Jacobian (csr where its sparsity was given), (d, d)
        for a Hessian, (p,) or (p, m) for p directions, (m,) for a Jacobian-vector product; NaN where missing.
    value : float or (m,) ndarray
        J(x).
    error : ndarray or None
        Half width of an interval meant to hold the derivative with at least 95 %; None where nothing is known.
    step : (d,) ndarray
        Realised steps; 0 at coordinates that do not move. Along directions: (p,).
    scheme : str
    missing : (n,) ndarray of int
        Coordinates (or directions) without a derivative.
    n_evaluations : int
        Points computed in this call, the baseline included.
    n_reused : int
        Points whose values were known before.
    n_failed, n_retried : int
        Points that failed for good, and further tries.
    wall_seconds : float
    efficiency : float or None
        Ideal time over wall time, where the ideal is max(longest evaluation, total / slots), summed over waves.
    evaluations : sequence of Evaluation
    warnings : tuple of str
        Reasons to doubt it, by coordinate name.
    noise : float or None
        The noise level of J, where it was measured or given.
    repaired : mapping of int to str
        With on_failure="repair": coordinates along which J failed, and what their derivatives were formed from
        instead. Where there are error bars, theirs are NaN: nothing is known of them.
    """

    derivative: Any
    value: float | NDArray[np.float64]
    error: NDArray[np.float64] | None
    step: NDArray[np.float64]
    scheme: str
    missing: NDArray[np.int64]
    n_evaluations: int
    n_reused: int
    n_failed: int
    n_retried: int
    wall_seconds: float
    efficiency: float | None
    evaluations: Sequence[Evaluation] = field(repr=False)
    ideal_seconds: float = 0.0
    slots: int = 1
    warnings: tuple[str, ...] = ()
    noise: float | None = None
    repaired: Mapping[int, str] = field(default_factory=dict)
