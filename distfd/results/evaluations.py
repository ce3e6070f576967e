"""The evaluations of a result: objects when they are looked at one by one, columns when by the million."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from distfd.core.describe import point_label
from distfd.core.records import Evaluation, Status
from distfd.results.attempt_array import evaluation_array
from distfd.results.csv_export import data_frame, write_csv

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from numpy.typing import NDArray

    from distfd.core.records import Batch
    from distfd.differentiation.method import Request


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
