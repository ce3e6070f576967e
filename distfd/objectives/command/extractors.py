"""What a program wrote, as numbers: one small class for each kind of output, and a registry of them."""

from __future__ import annotations

import csv
import io
import json
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from distfd.core.errors import InputError
from distfd.core.suggestions import did_you_mean, pointers_to
from distfd.objectives.command.values import LARGEST, OutputError, number, read_bytes, read_text, short, timed
from distfd.workers.bounded_regex import groups, lines_with

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


_NUMERIC_END, _NUMERIC_BEGIN = re.compile(r"[-+.0-9eEdD]+\Z"), re.compile(r"[-+.0-9eEdD]+")
"""What can be in a number, at the end or at the beginning of a text."""


class Extractor(Protocol):
    """Takes a value from one file."""

    def read(self, path: Path) -> Any:
        """The value in the file; OutputError where there is none."""


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
        """What the pointer points to."""
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
        """The keys and indices on the way."""
        return [part.replace("~1", "/").replace("~0", "~") for part in self.pointer.split("/")[1:]]

    @classmethod
    def walk(cls, document: Any, parts: Sequence[str]) -> Any:
        """What is there at the end of this way; OutputError where there is nothing."""
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

    ``which`` says which match is meant where there are several: "first", "last", a number from 1 (from the end: -1),
    or "all" for an array of all of them.
    """

    pattern: str
    which: int | str | None = None

    def __post_init__(self) -> None:
        _check_which(self.which)
        groups = _compile("regex", self.pattern).groups
        if groups != 1:
            raise InputError(f"regex: {self.pattern!r} has {groups} groups (...), and needs one: the number")

    def read(self, path: Path) -> Any:
        """The number in the match that is meant, or an array of all."""
        with timed("regex", self.pattern) as seconds:
            found = groups(self.pattern, read_text(path), seconds)
        meant = [self._number(found[k]) for k in _meant(len(found), self.which, f"the regex '{self.pattern}' matches")]
        return meant if self.which == "all" else meant[0]

    def _number(self, text: str | None) -> float:
        if text is None:
            raise OutputError(f"the regex '{self.pattern}' matches, but its group is empty")
        return number(text)


@dataclass(frozen=True)
class Columns:
    """``columns: {line: 12, from: 21, to: 32}``: characters of a line, both inclusive; all count from 1.

    The line may be a regex that matches within exactly one line, or, with ``which`` as for `Regex`, within several;
    line -1 is the last.
    """

    line: int | str
    first: int
    last: int
    which: int | str | None = None

    def __post_init__(self) -> None:
        _check_which(self.which)
        if isinstance(self.line, str):
            _compile("columns: line", self.line)
        elif not _is_int(self.line) or self.line == 0:
            raise InputError(f"columns: line is a number from 1, or a regex (given {self.line!r})")
        elif self.which is not None:
            raise InputError("which: goes with a line that is found by a regex")
        if not (_is_int(self.first) and _is_int(self.last) and 1 <= self.first <= self.last):
            raise InputError(f"columns: 1 <= from <= to must hold (given {self.first!r}, {self.last!r})")

    def read(self, path: Path) -> Any:
        """The number in these columns, or an array of those of all lines."""
        lines = read_text(path).split("\n")
        if ended := lines[-1] == "":
            lines.pop()
        meant = [self._cell(lines, at, cut=not ended and at == len(lines) - 1) for at in self._find(lines)]
        return meant if self.which == "all" else meant[0]

    def _cell(self, lines: list[str], at: int, *, cut: bool) -> float:
        line = lines[at]
        if len(line) < self.first or (cut and len(line) < self.last):
            raise OutputError(f"line {at + 1} ends at column {len(line)}: {short(line)}")
        if whole := _cut_number(line, self.first - 1, self.last):
            raise OutputError(
                f"line {at + 1}: columns {self.first}-{self.last} cut the number {short(whole)}; widen them, or take a "
                "regex if these are two numbers"
            )
        try:
            return number(line[self.first - 1 : self.last])
        except OutputError as error:
            raise OutputError(f"line {at + 1}, columns {self.first}-{self.last}: {error}") from error

    def _find(self, lines: list[str]) -> list[int]:
        if isinstance(self.line, str):
            with timed("regex of the line", self.line) as seconds:
                found = lines_with(self.line, "\n".join(lines), seconds)
            return [found[k] for k in _meant(len(found), self.which, f"the regex '{self.line}' of the line matches")]
        at = self.line - 1 if self.line > 0 else len(lines) + self.line
        if not 0 <= at < len(lines):
            raise OutputError(f"it has no line {self.line}, only {len(lines)}")
        return [at]


def _cut_number(line: str, first: int, last: int) -> str:
    """The number of which line[first:last] is only a part; empty where its ends are those of a number.

    Full columns leave no blank between two numbers, so a digit beside the field is no proof: it is where both together
    are one number. 12345.6789 beside 0.1234 is none.
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
    return True


def _check_which(which: Any) -> None:
    if not (which in (None, "first", "last", "all") or (_is_int(which) and which != 0)):
        raise InputError(f"which: first, last, all, or a number from 1 or, from the end, -1 (given {which!r})")


def _meant(n: int, which: int | str | None, what: str) -> list[int]:
    """Which of n matches are meant, counted from 0."""
    if which == "all" and n:
        return list(range(n))
    if which is None:
        if n != 1:
            more = "; `which` can say which is meant: first, last, all or a number" if n else ""
            raise OutputError(f"{what} {n} times, and must match exactly once{more}")
        return [0]
    at = {"first": 1, "last": -1, "all": 1}.get(which, 0) if isinstance(which, str) else which
    if abs(at) > n:
        raise OutputError(f"{what} {n} times, and match {which} is asked for")
    return [at - 1 if at > 0 else n + at]


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


@dataclass(frozen=True)
class NpyElement:
    """``npy: 3`` or ``npy: [0, 2]``: an element of a NumPy array, from 0; ``npy: []`` or "all" is the whole array.

    ``npy: {array: pressure, index: 3}`` is one of an .npz archive; without ``index`` the whole of it.
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
        """The element."""
        content = io.BytesIO(read_bytes(path))
        try:
            loaded = np.load(content, allow_pickle=False)
            array = loaded if isinstance(loaded, np.ndarray) else self._member(loaded)
        except (ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
            if isinstance(error, OutputError):
                raise
            kind = "npy" if self.array is None else "npz"
            raise OutputError(f"it is no .{kind} file, or was cut: {error}") from error
        if self.array is not None and array is loaded:
            raise OutputError(f"it is one array, not an .npz archive with {self.array!r}; write npy: index")
        if array.ndim == 0 and self.index == (0,):
            return array[()]
        try:
            return array[self.index]
        except IndexError as error:
            raise OutputError(f"its array has the shape {array.shape}: {error}") from error

    def _member(self, archive: Any) -> Any:
        names = ", ".join(archive.files)
        if self.array is None:
            raise OutputError(f"it is an .npz archive, not one array; write npy: {{array: one of {short(names)}}}")
        if self.array not in archive.files:
            raise OutputError(f"it has no array {self.array!r}; it has: {short(names)}")
        # Compressed zeros grow a thousandfold.
        entries = (self.array, f"{self.array}.npy")
        size = max(entry.file_size for entry in archive.zip.infolist() if entry.filename in entries)
        if size > LARGEST:
            raise OutputError(f"its array is too large: {size / 2**20:.0f} MiB, the limit is {LARGEST // 2**20} MiB")
        return archive[self.array]
