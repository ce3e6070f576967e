"""Columns as a CSV file, and as a pandas DataFrame."""

from __future__ import annotations

import csv
import io
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from distfd.core.errors import InputError
from distfd.core.files import file_path, write_named

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping


def write_csv(path: str | os.PathLike[str], columns: Mapping[str, Any]) -> None:
    """Write equally long columns; floats have every digit, what is not known (NaN) is empty.

    A text that a spreadsheet would take for a formula begins with an apostrophe, unless it is a number. The file is its
    owner's alone, and there whole or not at all.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    path = file_path("path", path)
    cells = [_cells(column) for column in columns.values()]

    def write(file: IO[bytes]) -> None:
        text = io.TextIOWrapper(file, encoding="utf-8", errors="backslashreplace", newline="", write_through=True)
        writer = csv.writer(text)
        writer.writerow(map(_inert, columns))
        writer.writerows(zip(*cells, strict=True))
        text.detach()

    try:
        write_named(path, write)
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
        return [_inert(cell) if isinstance(cell, str) else cell for cell in cells]
    return ["" if unknown else repr(cell).strip("()") for cell, unknown in zip(cells, np.isnan(array), strict=True)]


_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
"""How a cell begins that spreadsheets take for a formula, or from which they strip what hides one."""


def _inert(text: str) -> str:
    """A text as a spreadsheet will show it: one that begins like a formula has an apostrophe before it."""
    if not text.lstrip(" ").startswith(_FORMULA):
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text
