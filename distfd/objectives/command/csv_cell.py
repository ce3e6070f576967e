"""A cell or a column of a table: CSV, other delimiters, or words between blanks, with whatever stands around it."""

from __future__ import annotations

import csv
import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from distfd.core.errors import InputError
from distfd.objectives.command.extractors import checked_delimiter, checked_regex, is_int
from distfd.objectives.command.text_files import flagged, lines_of
from distfd.objectives.command.values import OutputError, number, short

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_THOUSANDS = re.compile(r"[-+]?[1-9][0-9]{0,2}(?:\.[0-9]{3})+")
"""A whole number with points between thousands, where a comma is the decimal mark."""


_MARKS = {"tab": "\t", "semicolon": ";", "comma": ",", "whitespace": None}
"""Delimiters that may be meant, by their names in the configuration, as `str.split` takes them."""


@dataclass(frozen=True)
class CsvCell:
    """``csv: {column: stress, row: 1}``: a header's name or a number from 1; rows from 1 below the header.

    Parameters
    ----------
    column : str or int
    row : int, "all" or None
        -1 is the last row; "all", or neither ``row`` nor ``where``, means the whole column, as an array.
    where : mapping, optional
        Values that identify one row by its cells: ``{case: cruise, mach: 0.8}``. Numbers are compared as numbers.
    delimiter : str
        One character, or "tab", "comma", "semicolon", or "whitespace" for any run of blanks and tabs.
    skip : int
        Number of lines to skip before the header.
    header : bool
        False if the first row holds values; columns are then given by number.
    comment : str, optional
        The start of lines that are comments. If the first row has only numbers, the last comment before it is the
        header.
    decimal : str
        The decimal mark, "." or ",".
    start, until : str, optional
        Regular expressions: the table starts behind the first line in which ``start`` is found, and ends before the
        next line in which ``until`` is found.
    """

    column: str | int
    row: int | str | None = None
    where: Mapping[str, str | float] | None = None
    delimiter: str = ","
    skip: int = 0
    header: bool = True
    comment: str | None = None
    decimal: str = "."
    start: str | None = None
    until: str | None = None

    def __post_init__(self) -> None:
        if not (isinstance(self.column, str) or (is_int(self.column) and self.column >= 1)):
            raise InputError(f"csv: column is a name in the header or a number from 1 (given {self.column!r})")
        if self.row not in (None, "all") and (not is_int(self.row) or self.row == 0):
            raise InputError(f"csv: row is a number from 1 below the header, -1 for the last, or all ({self.row!r})")
        if self.where is not None and (self.row is not None or not isinstance(self.where, Mapping) or not self.where):
            raise InputError(f"csv: where is a mapping {{header: value}} in place of row (given {self.where!r})")
        object.__setattr__(self, "delimiter", checked_delimiter("csv", self.delimiter))
        if not is_int(self.skip) or self.skip < 0:
            raise InputError(f"csv: skip is a number of lines (given {self.skip!r})")
        if not self.header and (isinstance(self.column, str) or self.where):
            raise InputError("csv: without a header a column has a number, and where has no names to look for")
        if self.decimal not in (".", ",") or self.decimal == self.delimiter:
            raise InputError(f"csv: decimal is . or , and none that is the delimiter too (given {self.decimal!r})")
        if self.comment is not None and (not isinstance(self.comment, str) or not self.comment.strip()):
            raise InputError(f"csv: comment is what lines begin with, such as # (given {self.comment!r})")
        for what, pattern in (("start", self.start), ("until", self.until)):
            if pattern is not None:
                checked_regex(f"csv: {what}", pattern)

    def read(self, path: Path) -> Any:
        """The cell, or the column."""
        remarks: list[str] = []
        rows = self._rows(self._lines(path, remarks))
        try:
            first = next(rows, None)
            if first is None:
                raise OutputError("it is empty")
            header, body = self._header(first, remarks, rows)
            column = self._find(header, self.column)
            if self.where is not None:
                return self._cell(header, *self._row_where(header, body, self.where), column)
            if not isinstance(self.row, int):
                return [self._cell(header, k, row, column) for k, row in enumerate(body)]
            return self._cell(header, *self._row(body, self.row), column)
        except csv.Error as error:
            raise OutputError(f"it is not CSV, or was cut: {error}") from error

    def _lines(self, path: Path, remarks: list[str]) -> Iterator[str]:
        """The lines of the table; appends the last comment before its first row to ``remarks``."""
        lines = lines_of(path)
        if self.start is not None:
            for _, is_start in (within := flagged(lines, self.start)):
                if is_start:
                    break
            else:
                raise OutputError(f"start: no line matches '{self.start}'")
            lines = (line for line, _ in within)
        ended = flagged(islice(lines, self.skip, None), self.until) if self.until is not None else None
        for line, is_end in ended or ((line, False) for line in islice(lines, self.skip, None)):
            if is_end:
                return
            if self.comment is not None and line.lstrip().startswith(self.comment):
                remarks[:] = [line.lstrip()[len(self.comment) :]]
                continue
            yield line

    def _rows(self, lines: Iterator[str]) -> Iterator[list[str]]:
        if self.delimiter == "whitespace":
            return (cells for line in lines if (cells := line.split()))
        return (row for row in csv.reader(lines, delimiter=self.delimiter, strict=True) if row)

    def _header(
        self, first: list[str], remarks: list[str], rows: Iterator[list[str]]
    ) -> tuple[list[str], Iterator[list[str]]]:
        """The names of the columns (without a header, the cells of the first row), and the rows below."""
        if not self.header:
            return first, chain([first], rows)
        if remarks and all(self._is_number(cell) for cell in first):
            return [name.strip() for name in next(self._rows(iter(remarks)), [])], chain([first], rows)
        if isinstance(self.column, int) and self.where is None and all(self._is_number(cell) for cell in first):
            raise OutputError(
                f"its first row holds numbers alone, {short(', '.join(first))}, and would be left out as a header: say "
                "header: false, and skip: 1 beside it if they are names"
            )
        names = [name.strip() for name in first]
        if self.delimiter == "whitespace" and names[0] == "#":
            names = names[1:]
        return names, rows

    def _number(self, cell: str) -> float:
        if self.decimal == "," and _THOUSANDS.fullmatch(cell.strip()):
            raise OutputError(
                f"{short(cell)} has a point where decimal is a comma: is it between thousands? If the table has points "
                "in its numbers, leave out `decimal`"
            )
        return number(cell.replace(",", ".") if self.decimal == "," else cell)

    def _is_number(self, cell: str) -> bool:
        try:
            number(cell.replace(",", ".") if self.decimal == "," else cell)
        except OutputError:
            return False
        return True

    def _find(self, header: list[str], column: str | int) -> int:
        if isinstance(column, int):
            if column > len(header):
                raise OutputError(f"it has no column {column}, only {len(header)}")
            return column - 1
        if column not in header:
            header = [name.lstrip("#").strip() for name in header]
        if header.count(column) != 1:
            names = short(", ".join(header))
            others = [name for name, mark in _MARKS.items() if len(header) == 1 and column in header[0].split(mark)]
            hint = f"; is the delimiter {others[0]}?" if others else ""
            raise OutputError(f"{header.count(column)} columns are called {column!r}; the header is {names}{hint}")
        return header.index(column)

    def _row(self, body: Iterator[list[str]], row: int) -> tuple[int, list[str]]:
        count = 0
        if row > 0:
            for count, cells in enumerate(body, start=1):
                if count == row:
                    return row - 1, cells
        else:
            last: deque[list[str]] = deque(maxlen=-row)
            for cells in body:
                last.append(cells)
                count += 1
            if len(last) == -row:
                return count + row, last[0]
        raise OutputError(f"it has no row {row}, only {count} below the header")

    def _row_where(
        self, header: list[str], body: Iterator[list[str]], where: Mapping[str, str | float]
    ) -> tuple[int, list[str]]:
        at = {self._find(header, name): value for name, value in where.items()}
        found, row = 0, (0, [""])
        for k, cells in enumerate(body):
            if all(self._same(cells, column, value) for column, value in at.items()):
                found, row = found + 1, (k, cells)
        if found != 1:
            asked = ", ".join(f"{name} = {value}" for name, value in where.items())
            raise OutputError(f"{found} rows have {asked}, and exactly one must")
        return row

    def _cell(self, header: list[str], row: int, cells: list[str], column: int) -> float:
        if len(cells) != len(header):
            raise OutputError(
                f"row {row + 1} has {len(cells)} cells, the header {len(header)}: was the file cut? Where other "
                "text follows the table, say by `until` where it ends; where comments stand in it, say by `comment` "
                "how they begin"
            )
        try:
            return self._number(cells[column])
        except OutputError as error:
            raise OutputError(f"row {row + 1}, column {self.column!r}: {error}") from error

    def _same(self, row: list[str], column: int, value: str | float) -> bool:
        if column >= len(row):
            return False
        cell = row[column].strip()
        try:
            return self._number(cell) == number(str(value))
        except OutputError:
            return cell == str(value)
