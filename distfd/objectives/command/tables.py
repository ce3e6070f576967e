"""Cells of a table: a comma-separated one, or columns with blank space between them."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from distfd.core.errors import InputError
from distfd.objectives.command.values import OutputError, number, read_text, short

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class CsvCell:
    """``csv: {column: stress, row: 1}``: a header's name or a number from 1; rows from 1 below the header.

    Parameters
    ----------
    column : str or int
    row : int, "all" or None
        -1 is the last; "all", or neither this nor ``where``, is the whole column, as an array.
    where : mapping, optional
        The one row whose cells have these values: ``{case: cruise, mach: 0.8}``. Numbers are compared as numbers.
    delimiter : str
        One character, or "whitespace" for any run of blanks and tabs.
    skip : int
        Lines before the header.
    header : bool
        False: the first row holds values, and columns have numbers alone.
    """

    column: str | int
    row: int | str | None = None
    where: Mapping[str, str | float] | None = None
    delimiter: str = ","
    skip: int = 0
    header: bool = True

    def __post_init__(self) -> None:
        if not (isinstance(self.column, str) or (_is_int(self.column) and self.column >= 1)):
            raise InputError(f"csv: column is a name in the header or a number from 1 (given {self.column!r})")
        if self.row not in (None, "all") and (not _is_int(self.row) or self.row == 0):
            raise InputError(f"csv: row is a number from 1 below the header, -1 for the last, or all ({self.row!r})")
        if self.where is not None and (self.row is not None or not isinstance(self.where, Mapping) or not self.where):
            raise InputError(f"csv: where is a mapping {{header: value}} in place of row (given {self.where!r})")
        if self.delimiter != "whitespace" and (not isinstance(self.delimiter, str) or len(self.delimiter) != 1):
            raise InputError(f"csv: delimiter is one character, or whitespace (given {self.delimiter!r})")
        if not _is_int(self.skip) or self.skip < 0:
            raise InputError(f"csv: skip is a number of lines (given {self.skip!r})")
        if not self.header and (isinstance(self.column, str) or self.where):
            raise InputError("csv: without a header a column has a number, and where has no names to look for")

    def read(self, path: Path) -> Any:
        """The cell, or the column."""
        rows = self._rows(read_text(path).splitlines()[self.skip :])
        if not rows:
            raise OutputError("it is empty")
        header = [name.strip() for name in rows[0]]
        body = rows[1:] if self.header else rows
        column = self._find(header, self.column)
        if self.where is not None:
            return self._cell(header, body, self._row_where(header, body, self.where), column)
        if not isinstance(self.row, int):
            return [self._cell(header, body, k, column) for k in range(len(body))]
        row = self.row - 1 if self.row > 0 else len(body) + self.row
        if not 0 <= row < len(body):
            raise OutputError(f"it has no row {self.row}, only {len(body)} below the header")
        return self._cell(header, body, row, column)

    def _rows(self, lines: list[str]) -> list[list[str]]:
        if self.delimiter == "whitespace":
            return [cells for line in lines if (cells := line.split())]
        try:
            return [row for row in csv.reader(lines, delimiter=self.delimiter, strict=True) if row]
        except csv.Error as error:
            raise OutputError(f"it is not CSV, or was cut: {error}") from error

    def _find(self, header: list[str], column: str | int) -> int:
        if isinstance(column, int):
            if column > len(header):
                raise OutputError(f"it has no column {column}, only {len(header)}")
            return column - 1
        if header.count(column) != 1:
            names = short(", ".join(header))
            raise OutputError(f"{header.count(column)} columns are called {column!r}; the header is {names}")
        return header.index(column)

    def _row_where(self, header: list[str], body: list[list[str]], where: Mapping[str, str | float]) -> int:
        at = {self._find(header, name): value for name, value in where.items()}
        found = [k for k, row in enumerate(body) if all(_same(row, column, value) for column, value in at.items())]
        if len(found) != 1:
            asked = ", ".join(f"{name} = {value}" for name, value in where.items())
            raise OutputError(f"{len(found)} rows have {asked}, and exactly one must")
        return found[0]

    def _cell(self, header: list[str], body: list[list[str]], row: int, column: int) -> float:
        if len(body[row]) != len(header):
            raise OutputError(f"row {row + 1} has {len(body[row])} cells, the header {len(header)}: was the file cut?")
        try:
            return number(body[row][column])
        except OutputError as error:
            raise OutputError(f"row {row + 1}, column {self.column!r}: {error}") from error


def _same(row: list[str], column: int, value: str | float) -> bool:
    if column >= len(row):
        return False
    cell = row[column].strip()
    try:
        return number(cell) == number(str(value))
    except OutputError:
        return cell == str(value)


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
