"""Extractors: read numbers from what a program wrote, with one small class for each kind of output."""

from __future__ import annotations

import csv
import io
import json
import re
import zipfile
import zlib
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain, islice
from tokenize import TokenError
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from distfd.core.errors import InputError
from distfd.core.suggestions import did_you_mean, pointers_to
from distfd.objectives.command.text_files import flagged, groups_found, lines_of, matching_lines, numbered_line
from distfd.objectives.command.values import LARGEST, OutputError, number, read_bytes, read_text, short

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from distfd.objectives.command.text_files import Line


_NUMERIC_END, _NUMERIC_BEGIN = re.compile(r"[-+.0-9eEdD]+\Z"), re.compile(r"[-+.0-9eEdD]+")
"""Characters that may belong to a number, at the end or at the start of a text."""


class Extractor(Protocol):
    """Reads a value from one file."""

    def read(self, path: Path) -> Any:
        """The value in the file; raises OutputError if there is none."""


@dataclass(frozen=True)
class JsonPointer:
    """``json: /results/0/mass``: RFC 6901; "" is the whole document."""

    pointer: str

    def __post_init__(self) -> None:
        if not isinstance(self.pointer, str) or (self.pointer and not self.pointer.startswith("/")):
            raise InputError(f"json: a pointer starts with /, such as /results/0/mass (given {self.pointer!r})")
        if re.search("~(?![01])", self.pointer):
            raise InputError(f"json: in a pointer ~ is written ~0 and a / inside a name ~1 (given {self.pointer!r})")

    def read(self, path: Path) -> Any:
        """The value that the pointer points to."""
        try:
            at = json.loads(read_text(path))
        except (json.JSONDecodeError, RecursionError) as error:
            raise OutputError(f"it is not JSON, or was cut: {error}") from error
        try:
            return self.walk(at, self.parts)
        except OutputError as error:
            others = [] if "did you mean" in str(error) else pointers_to(at, self.parts[-1])
            raise OutputError(f"{error}; did you mean json: {others[0]}" if others else str(error)) from None

    @property
    def parts(self) -> list[str]:
        """The keys and indices of the path."""
        return [part.replace("~1", "/").replace("~0", "~") for part in self.pointer.split("/")[1:]]

    @classmethod
    def walk(cls, document: Any, parts: Sequence[str]) -> Any:
        """The value at the end of this path; raises OutputError if there is none."""
        at = document
        for k, part in enumerate(parts):
            at = cls._step(at, part, "".join(f"/{above}" for above in parts[:k]))
        return at

    @staticmethod
    def _step(at: Any, key: str, walked: str) -> Any:
        where = walked or "the document"
        if isinstance(at, dict):
            if key not in at:
                meant = did_you_mean(key, map(str, at))
                raise OutputError(f"{where} has no {key!r}; it has: {short(', '.join(map(str, at)))}{meant}")
            return at[key]
        if isinstance(at, list):
            if not re.fullmatch("0|[1-9][0-9]*", key) or int(key) >= len(at):
                raise OutputError(f"{where} has no element {key!r}; it has {len(at)}, counted from 0")
            return at[int(key)]
        raise OutputError(f"{where} is {short(at)}, which has no {key!r}")


@dataclass(frozen=True)
class Regex:
    r"""``regex: "mass = (\S+)"``: must match exactly once; its one group is the number. ^ and $ match at lines.

    ``which`` chooses among several matches: "first", "last", a number from 1 (negative ones count from the end), or
    "all" for an array of all matches.
    """

    pattern: str
    which: int | str | None = None

    def __post_init__(self) -> None:
        _check_which(self.which)
        groups = _compile("regex", self.pattern).groups
        if groups != 1:
            raise InputError(f"regex: {self.pattern!r} has {groups} groups (...), and needs one: the number")

    def read(self, path: Path) -> Any:
        """The number in the chosen match, or an array of all."""
        meant = [self._number(group) for group in groups_found(path, self.pattern, self.which)]
        return meant if self.which == "all" else meant[0]

    def _number(self, text: str | None) -> float:
        if text is None:
            raise OutputError(f"the regex '{self.pattern}' matches, but its group is empty")
        return number(text)


@dataclass(frozen=True)
class Columns:
    """``columns: {line: 12, from: 21, to: 32}``: characters of a line, both inclusive; all count from 1.

    The line may be a regex that is found in exactly one line, or, with ``which`` as for `Regex`, in several; line -1 is
    the last.
    """

    line: int | str
    first: int
    last: int
    which: int | str | None = None

    def __post_init__(self) -> None:
        _check_line("columns", self.line, self.which)
        if not (_is_int(self.first) and _is_int(self.last) and 1 <= self.first <= self.last):
            raise InputError(f"columns: 1 <= from <= to must hold (given {self.first!r}, {self.last!r})")

    def read(self, path: Path) -> Any:
        """The number in these columns, or an array of those of all chosen lines."""
        meant = [self._cell(line) for line in _lines(path, self.line, self.which)]
        return meant if self.which == "all" else meant[0]

    def _cell(self, at: Line) -> float:
        line = at.text
        if len(line) < self.first or (not at.ended and len(line) < self.last):
            raise OutputError(f"line {at.number + 1} ends at column {len(line)}: {short(line)}")
        if whole := _cut_number(line, self.first - 1, self.last):
            raise OutputError(
                f"line {at.number + 1}: columns {self.first}-{self.last} cut the number {short(whole)}; widen them, or "
                "take a regex if these are two numbers"
            )
        try:
            return number(line[self.first - 1 : self.last])
        except OutputError as error:
            raise OutputError(f"line {at.number + 1}, columns {self.first}-{self.last}: {error}") from error


def _lines(path: Path, line: int | str, which: int | str | None, below: int = 0) -> list[Line]:
    """The chosen lines, by number or by a regex."""
    if isinstance(line, str):
        return matching_lines(path, line, which, below)
    return [numbered_line(path, line)]


def _check_line(what: str, line: Any, which: Any) -> None:
    _check_which(which)
    if isinstance(line, str):
        _compile(f"{what}: line", line)
    elif not _is_int(line) or line == 0:
        raise InputError(f"{what}: line is a number from 1, or a regex (given {line!r})")
    elif which is not None:
        raise InputError("which: goes with a line that is found by a regex")


@dataclass(frozen=True)
class Token:
    """``token: {line: 'TOTAL ENERGY', below: 2, field: 3}``: a word in the line that is ``below`` lines under a match.

    Words are separated by blanks, or by another delimiter, and count from 1 (-1 is the last). The line is found as for
    `Columns`.
    """

    line: int | str
    field: int
    below: int = 0
    delimiter: str = "whitespace"
    which: int | str | None = None

    def __post_init__(self) -> None:
        _check_line("token", self.line, self.which)
        if not _is_int(self.field) or self.field == 0:
            raise InputError(f"token: field is a number from 1, or from the end by -1 (given {self.field!r})")
        if not _is_int(self.below) or self.below < 0 or (self.below and not isinstance(self.line, str)):
            raise InputError(
                f"token: below is a number of lines >= 0 after line, which must then be a regex (given {self.below!r})"
            )
        object.__setattr__(self, "delimiter", _delimiter("token", self.delimiter))

    def read(self, path: Path) -> Any:
        """The number in the chosen word, or an array of those of all chosen lines."""
        meant = [self._word(line) for line in _lines(path, self.line, self.which, self.below)]
        return meant if self.which == "all" else meant[0]

    def _word(self, line: Line) -> float:
        words = line.text.split(None if self.delimiter == "whitespace" else self.delimiter)
        if abs(self.field) > len(words):
            where = f"line {line.number + 1}"
            raise OutputError(f"{where} has no field {self.field}, only {len(words)}: {short(line.text)}")
        try:
            return number(words[self.field - (self.field > 0)])
        except OutputError as error:
            raise OutputError(f"line {line.number + 1}, field {self.field}: {error}: {short(line.text)}") from error


_DELIMITERS = {"tab": "\t", "comma": ",", "semicolon": ";", "whitespace": "whitespace"}
"""Delimiters that have a name."""


def _delimiter(what: str, given: Any) -> str:
    found = _DELIMITERS.get(given, given) if isinstance(given, str) else given
    if found != "whitespace" and (not isinstance(found, str) or len(found) != 1):
        raise InputError(f"{what}: delimiter is one character, or {', '.join(_DELIMITERS)} (given {given!r})")
    return str(found)


def _cut_number(line: str, first: int, last: int) -> str:
    """The number of which line[first:last] is only a part; empty if the field holds whole numbers.

    Full columns leave no blank between two numbers, so a digit beside the field proves nothing. The field is cut only
    where the text across its edge is one number: 12345.6789 beside 0.1234 is not.
    """
    inside = line[first:last]
    begin = _NUMERIC_END.search(line, 0, first) if inside[:1].strip() else None
    end = _NUMERIC_BEGIN.match(line, last) if inside[-1:].strip() else None
    left, right = (found[0] if found else "" for found in (begin, end))
    for whole in (left + inside + right, left + inside, inside + right):
        if len(whole) > len(inside) and _is_number(whole):
            return whole.strip()
    return ""


def _is_number(text: str) -> bool:
    try:
        number(text)
    except OutputError:
        return False
    # Full columns make 12.5 and -3 look like 12.5-3; only three digits are surely an exponent without a letter.
    return not re.search(r"[0-9.][+-][0-9]{1,2}$", text.strip())


def _check_which(which: Any) -> None:
    if not (which in (None, "first", "last", "all") or (_is_int(which) and which != 0)):
        raise InputError(f"which: first, last, all, or a number from 1 or, from the end, -1 (given {which!r})")


def _compile(what: str, pattern: Any) -> re.Pattern[str]:
    if not isinstance(pattern, str):
        raise InputError(f"{what}: a regex is text (given {pattern!r})")
    try:
        return re.compile(pattern, re.MULTILINE)
    except re.error as error:
        raise InputError(f"{what}: {pattern!r} is no regex: {error}") from error


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


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
        if not (isinstance(self.column, str) or (_is_int(self.column) and self.column >= 1)):
            raise InputError(f"csv: column is a name in the header or a number from 1 (given {self.column!r})")
        if self.row not in (None, "all") and (not _is_int(self.row) or self.row == 0):
            raise InputError(f"csv: row is a number from 1 below the header, -1 for the last, or all ({self.row!r})")
        if self.where is not None and (self.row is not None or not isinstance(self.where, Mapping) or not self.where):
            raise InputError(f"csv: where is a mapping {{header: value}} in place of row (given {self.where!r})")
        object.__setattr__(self, "delimiter", _delimiter("csv", self.delimiter))
        if not _is_int(self.skip) or self.skip < 0:
            raise InputError(f"csv: skip is a number of lines (given {self.skip!r})")
        if not self.header and (isinstance(self.column, str) or self.where):
            raise InputError("csv: without a header a column has a number, and where has no names to look for")
        if self.decimal not in (".", ",") or self.decimal == self.delimiter:
            raise InputError(f"csv: decimal is . or , and none that is the delimiter too (given {self.decimal!r})")
        if self.comment is not None and (not isinstance(self.comment, str) or not self.comment.strip()):
            raise InputError(f"csv: comment is what lines begin with, such as # (given {self.comment!r})")
        for what, pattern in (("start", self.start), ("until", self.until)):
            if pattern is not None:
                _compile(f"csv: {what}", pattern)

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
        names = [name.strip() for name in first]
        if self.delimiter == "whitespace" and names[0] == "#":
            names = names[1:]
        return names, rows

    def _number(self, cell: str) -> float:
        return number(cell.replace(",", ".") if self.decimal == "," else cell)

    def _is_number(self, cell: str) -> bool:
        try:
            self._number(cell)
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
            raise OutputError(f"{header.count(column)} columns are called {column!r}; the header is {names}")
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


_BROKEN_ARRAY = (
    *(ValueError, EOFError, OSError, SyntaxError, TypeError, OverflowError, MemoryError, TokenError, KeyError),
    *(zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError),
)
"""Exceptions of NumPy for files that are not arrays, or are damaged."""


@dataclass(frozen=True)
class NpyElement:
    """``npy: 3`` or ``npy: [0, 2]``: an element of a NumPy array, from 0; ``npy: []`` or "all" is the whole array.

    ``npy: {array: pressure, index: 3}`` reads an array of an .npz archive; without ``index`` the whole array.
    """

    index: Any
    array: str | None = None

    def __post_init__(self) -> None:
        index = () if self.index == "all" else self.index
        index = tuple(index) if isinstance(index, (list, tuple)) else (index,)
        if not all(isinstance(k, int) and not isinstance(k, bool) for k in index):
            raise InputError(f"npy: an index is a whole number from 0 or a list of them (given {self.index!r})")
        object.__setattr__(self, "index", index)

    def read(self, path: Path) -> Any:
        """The element, or the whole array."""
        loaded: Any = None
        try:
            # Map a large array, so that one element of it does not read all of it into memory.
            large = path.stat().st_size > LARGEST
            source = path if large else io.BytesIO(read_bytes(path))
            loaded = np.load(source, mmap_mode="r" if large else None, allow_pickle=False)
            array = loaded if isinstance(loaded, np.ndarray) else self._member(loaded)
        except _BROKEN_ARRAY as error:
            if isinstance(error, OutputError):
                raise
            kind = "npy" if self.array is None else "npz"
            raise OutputError(f"it is no .{kind} file, or was cut: {error}") from error
        finally:
            if isinstance(loaded, np.lib.npyio.NpzFile):
                loaded.close()
        if self.array is not None and array is loaded:
            raise OutputError(f"it is one array, not an .npz archive with {self.array!r}; write npy: index")
        if array.ndim == 0 and self.index == (0,):
            return array[()]
        try:
            return np.array(array[self.index])
        except IndexError as error:
            raise OutputError(f"its array has the shape {array.shape}: {error}") from error

    def _member(self, archive: Any) -> Any:
        names = ", ".join(archive.files)
        if self.array is None:
            raise OutputError(f"it is an .npz archive, not one array; write npy: {{array: one of {short(names)}}}")
        if self.array not in archive.files:
            raise OutputError(f"it has no array {self.array!r}; it has: {short(names)}")
        # Check the unpacked size, as compressed zeros grow a thousandfold.
        entries = (self.array, f"{self.array}.npy")
        size = max(entry.file_size for entry in archive.zip.infolist() if entry.filename in entries)
        if size > LARGEST:
            raise OutputError(f"its array is too large: {size / 2**20:.0f} MiB, the limit is {LARGEST // 2**20} MiB")
        return archive[self.array]
