"""Columns as a CSV file, and as a pandas DataFrame."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core.errors import InputError

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping


def write_csv(path: str | os.PathLike[str], columns: Mapping[str, Any]) -> None:
    """Write equally long columns; floats have every digit, what is not known (NaN) is empty.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    cells = [_cells(column) for column in columns.values()]
    try:
        with Path(path).open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            writer.writerows(zip(*cells, strict=True))
    except OSError as error:
        raise InputError(
            f"{path} cannot be written: {error.strerror}; give a path in a directory that exists"
        ) from error


def data_frame(columns: Mapping[str, Any]) -> Any:
    """A pandas.DataFrame of the columns.

    Raises
    ------
    InputError
        If pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise InputError(
            "to_dataframe: needs pandas, which is not installed; pip install 'distfd[report]', or use to_csv or numpy"
        ) from error
    return pd.DataFrame(dict(columns))


def _cells(column: Any) -> list[Any]:
    array = np.asarray(column)
    cells: list[Any] = array.tolist()
    if array.dtype.kind not in "fc":
        return cells
    return ["" if unknown else repr(cell).strip("()") for cell, unknown in zip(cells, np.isnan(array), strict=True)]
