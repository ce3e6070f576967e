"""The evaluations of a result: objects when they are looked at one by one, columns when by the million."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from distfd.core.describe import point_label
from distfd.core.records import Evaluation, Status
from distfd.results.csv_export import data_frame, write_csv

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from distfd.core.points import Points
    from distfd.core.records import Batch
    from distfd.differentiation.method import Request

    Waves = Sequence[tuple[Request, Sequence[Batch]]]
    import os
    from collections.abc import Callable


BASELINE, SEVERAL = -1, -2
"""What stands for a coordinate where none was moved, and where more than one was."""


def evaluation_array(waves: Waves) -> NDArray[Any]:
    """One row for each evaluation, in the order in which they came.

    Returns
    -------
    structured ndarray
        ``wave`` and ``point`` (its number there); ``coordinate`` that was moved (-1 at the baseline, -2 where several
        were) and its ``displacement`` (NaN for several); ``value``, a float, complex at the points of a complex step,
        or (m,) where J has m outputs, NaN where it failed; ``status``, to be compared with `distfd.Status`;
        ``attempt`` (1 for a first try, 0 where the value was known before); ``started`` and ``ended``, seconds since
        the epoch by the clock of ``host``; ``pid``, ``slot``, ``reused``.
    """
    waves = [(request, full) for request, batches in waves if (full := [batch for batch in batches if len(batch)])]
    array = np.zeros(sum(len(batch) for _, batches in waves for batch in batches), dtype=_dtype(waves))
    end = 0
    for number, (request, batches) in enumerate(waves):
        start, end = end, end + sum(map(len, batches))
        _fill(array[start:end], request.points, batches)
        array["wave"][start:end] = number
    return array


def _outputs(request: Request, batches: Sequence[Batch]) -> int:
    """How many outputs J has in a wave; a complex number is two of a batch's."""
    if not request.vector:
        return 1
    index, size = (np.concatenate([getattr(batch, name) for batch in batches]) for name in ("index", "size"))
    return max(1, int(np.where(request.points.imaginary[index], size // 2, size).max()))


def _dtype(waves: Waves) -> np.dtype[Any]:
    unreal = any(request.points.values.dtype.kind == "c" for request, _ in waves)
    outputs = max((_outputs(request, batches) for request, batches in waves), default=1)
    number: Any = np.complex128 if unreal else np.float64
    host = max((len(batch.host) for _, batches in waves for batch in batches), default=1)
    return np.dtype(
        [
            ("wave", np.int32),
            ("point", np.int64),
            ("coordinate", np.int64),
            ("displacement", number),
            ("value", number, (outputs,)) if outputs > 1 else ("value", number),
            ("status", np.uint8),
            ("attempt", np.int32),
            ("started", np.float64),
            ("ended", np.float64),
            ("host", f"U{max(host, 1)}"),
            ("pid", np.int64),
            ("slot", np.int32),
            ("reused", np.bool_),
        ]
    )


def _fill(rows: NDArray[Any], points: Points, batches: Sequence[Batch]) -> None:
    """Take one wave's batches, all at once: there may be as many of them as points."""
    index = np.concatenate([batch.index for batch in batches])
    rows["point"] = index
    for name in ("status", "attempt", "started", "ended"):
        rows[name] = np.concatenate([getattr(batch, name) for batch in batches])
    lengths = [len(batch) for batch in batches]
    for name in ("host", "pid", "slot", "reused"):
        rows[name] = np.repeat(np.array([getattr(batch, name) for batch in batches]), lengths)
    _fill_places(rows, points, index)
    size = np.concatenate([batch.size for batch in batches])
    _fill_values(rows, points.imaginary[index], size, np.concatenate([batch.flat for batch in batches]))


def _fill_places(rows: NDArray[Any], points: Points, index: NDArray[np.int64]) -> None:
    moved = points.indptr[index + 1] - points.indptr[index]
    rows["coordinate"] = np.where(moved == 0, BASELINE, SEVERAL)
    rows["displacement"] = np.where(moved == 0, 0.0, np.nan)
    one = np.flatnonzero(moved == 1)
    at = points.indptr[index[one]]
    rows["coordinate"][one] = points.indices[at]
    rows["displacement"][one] = points.values[at] - points.x[points.indices[at]]


def _fill_values(
    rows: NDArray[Any], unreal: NDArray[np.bool_], size: NDArray[np.int64], flat: NDArray[np.float64]
) -> None:
    values = rows["value"]
    values[...] = np.nan
    table = values.reshape(len(rows), -1)
    starts = np.cumsum(size) - size
    for complex_ in (False, True) if rows.dtype["value"].base.kind == "c" else (False,):
        width = table.shape[1] * (1 + complex_)
        # A row of another size failed: J had another number of outputs there than elsewhere.
        fits = np.flatnonzero((unreal == complex_) & (size == width) & (rows["status"] == Status.OK))
        numbers = flat[starts[fits][:, None] + np.arange(width)]
        table[fits] = np.ascontiguousarray(numbers).view(np.complex128) if complex_ else numbers


class Evaluations(Sequence[Evaluation]):
    """All evaluations of a result.

    By number each is an `Evaluation`, made when it is looked at; by name (``evaluations["value"]``) a column of
    `array`, or "seconds", which is ended - started.
    """

    def __init__(self, waves: Sequence[tuple[Request, Sequence[Batch]]], label: Callable[[int], str]) -> None:
        self._waves = waves
        self._batches = [(request, batch) for request, batches in waves for batch in batches]
        self._ends = np.cumsum([len(batch) for _, batch in self._batches], dtype=np.int64)
        self._label = label
        self._offsets: dict[int, NDArray[np.int64]] = {}
        self._array: NDArray[Any] | None = None

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __repr__(self) -> str:
        return f"<{len(self)} evaluations: .array, .to_dataframe(), .to_csv(path), or one by one>"

    @overload
    def __getitem__(self, i: int) -> Evaluation: ...
    @overload
    def __getitem__(self, i: slice) -> list[Evaluation]: ...
    @overload
    def __getitem__(self, i: str) -> NDArray[Any]: ...
    def __getitem__(self, i: int | slice | str) -> Evaluation | list[Evaluation] | NDArray[Any]:
        if isinstance(i, str):
            return self.array["ended"] - self.array["started"] if i == "seconds" else self.array[i]
        if isinstance(i, slice):
            return [self[k] for k in range(*i.indices(len(self)))]
        row = range(len(self))[i]
        at = int(np.searchsorted(self._ends, row, side="right"))
        request, batch = self._batches[at]
        if at not in self._offsets:  # once a batch, or looking at all of a long one takes the square of its length
            self._offsets[at] = batch.offsets
        r = row - int(self._ends[at]) + len(batch)
        return evaluation(request, batch, r, self._label, self._offsets[at])

    @property
    def array(self) -> NDArray[Any]:
        """All of them as one structured array, see `evaluation_array`; made once, read-only."""
        if self._array is None:
            self._array = evaluation_array(self._waves)
            self._array.setflags(write=False)
        return self._array

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """The structured array, for ``np.asarray(evaluations)``."""
        return np.array(self.array, dtype=dtype, copy=True) if copy else np.asarray(self.array, dtype=dtype)

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write one line an evaluation; statuses are words, times seconds since the epoch.

        Raises
        ------
        InputError
            If the file cannot be written.
        """
        write_csv(path, self._columns())

    def to_dataframe(self) -> Any:
        """A pandas.DataFrame, one row an evaluation; statuses are words, times seconds since the epoch.

        Raises
        ------
        InputError
            If pandas is not installed.
        """
        return data_frame(self._columns())

    def _columns(self) -> dict[str, Any]:
        columns: dict[str, Any] = {}
        for name in self.array.dtype.names or ():
            column = self.array[name]
            if name == "status":
                columns[name] = np.array([status.word for status in Status])[column]
            elif column.ndim > 1:
                columns |= {f"value{a}": column[:, a] for a in range(column.shape[1])}
            else:
                columns[name] = column
        columns["seconds"] = self["seconds"]
        columns["message"] = self._messages()
        return columns

    def _messages(self) -> list[str]:
        messages: list[str] = []
        for _, batch in self._batches:
            failures = batch.failures
            told = (failures[k].text if k in failures else "" for k in batch.index.tolist())
            messages += told if failures else [""] * len(batch)
        return messages


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
