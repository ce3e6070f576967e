"""What a program wrote, as numbers: one small class for each kind of output, and a registry of them."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from distfd.errors import InputError
from distfd.objectives.values import OutputError, number, read_bytes, read_text, short

if TYPE_CHECKING:
    from pathlib import Path


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
        walked = ""
        for part in self.pointer.split("/")[1:]:
            at = self._step(at, part.replace("~1", "/").replace("~0", "~"), walked)
            walked += "/" + part
        return at

    def _step(self, at: Any, key: str, walked: str) -> Any:
        where = walked or "the document"
        if isinstance(at, dict):
            if key not in at:
                raise OutputError(f"{where} has no {key!r}; it has: {short(', '.join(map(str, at)))}")
            return at[key]
        if isinstance(at, list):
            if not re.fullmatch("0|[1-9][0-9]*", key) or int(key) >= len(at):
                raise OutputError(f"{where} has no element {key!r}; it has {len(at)}, counted from 0")
            return at[int(key)]
        raise OutputError(f"{where} is {short(at)}, which has no {key!r}")


@dataclass(frozen=True)
class CsvCell:
    """``csv: {column: stress, row: 1}``: a header's name or a number from 1; rows from 1 below the header.

    Row -1 is the last; without a row it is the whole column, as an array. ``delimiter`` is a comma by default.
    """

    column: str | int
    row: int | None = None
    delimiter: str = ","

    def __post_init__(self) -> None:
        if not (isinstance(self.column, str) or (_is_int(self.column) and self.column >= 1)):
            raise InputError(f"csv: column is a name in the header or a number from 1 (given {self.column!r})")
        if self.row is not None and (not _is_int(self.row) or self.row == 0):
            raise InputError(f"csv: row is a number from 1 below the header, or -1 for the last (given {self.row!r})")
        if not isinstance(self.delimiter, str) or len(self.delimiter) != 1:
            raise InputError(f"csv: delimiter is one character (given {self.delimiter!r})")

    def read(self, path: Path) -> Any:
        """The cell, or the column."""
        try:
            reader = csv.reader(read_text(path).splitlines(), delimiter=self.delimiter, strict=True)
            rows = [row for row in reader if row]
        except csv.Error as error:
            raise OutputError(f"it is not CSV, or was cut: {error}") from error
        if not rows:
            raise OutputError("it is empty")
        header, body = [name.strip() for name in rows[0]], rows[1:]
        column = self._find(header)
        if self.row is None:
            return [self._cell(header, body, k, column) for k in range(len(body))]
        row = self.row - 1 if self.row > 0 else len(body) + self.row
        if not 0 <= row < len(body):
            raise OutputError(f"it has no row {self.row}, only {len(body)} below the header")
        return self._cell(header, body, row, column)

    def _find(self, header: list[str]) -> int:
        if isinstance(self.column, int):
            if self.column > len(header):
                raise OutputError(f"it has no column {self.column}, only {len(header)}")
            return self.column - 1
        if header.count(self.column) != 1:
            raise OutputError(
                f"{header.count(self.column)} columns are called {self.column!r}; header: {short(header)}"
            )
        return header.index(self.column)

    def _cell(self, header: list[str], body: list[list[str]], row: int, column: int) -> float:
        if len(body[row]) != len(header):
            raise OutputError(f"row {row + 1} has {len(body[row])} cells, the header {len(header)}: was the file cut?")
        try:
            return number(body[row][column])
        except OutputError as error:
            raise OutputError(f"row {row + 1}, column {self.column!r}: {error}") from error


@dataclass(frozen=True)
class Regex:
    r"""``regex: "mass = (\S+)"``: must match exactly once; its one group is the number. ^ and $ match at lines."""

    pattern: str

    def __post_init__(self) -> None:
        groups = _compile("regex", self.pattern).groups
        if groups != 1:
            raise InputError(f"regex: {self.pattern!r} has {groups} groups (...), and needs one: the number")

    def read(self, path: Path) -> float:
        """The number in the one match."""
        found = [match.group(1) for match in re.finditer(self.pattern, read_text(path), re.MULTILINE)]
        if len(found) != 1:
            raise OutputError(f"the regex {self.pattern!r} matches {len(found)} times, and must match exactly once")
        if found[0] is None:
            raise OutputError(f"the regex {self.pattern!r} matches, but its group is empty")
        return number(found[0])


@dataclass(frozen=True)
class Columns:
    """``columns: {line: 12, from: 21, to: 32}``: characters of a line, both inclusive; all count from 1.

    The line may be a regex that matches within exactly one line; line -1 is the last.
    """

    line: int | str
    first: int
    last: int

    def __post_init__(self) -> None:
        if isinstance(self.line, str):
            _compile("columns: line", self.line)
        elif not _is_int(self.line) or self.line == 0:
            raise InputError(f"columns: line is a number from 1, or a regex (given {self.line!r})")
        if not (_is_int(self.first) and _is_int(self.last) and 1 <= self.first <= self.last):
            raise InputError(f"columns: 1 <= from <= to must hold (given {self.first!r}, {self.last!r})")

    def read(self, path: Path) -> float:
        """The number in these columns."""
        lines = read_text(path).split("\n")
        if ended := lines[-1] == "":
            lines.pop()
        at = self._find(lines)
        line = lines[at]
        cut = not ended and at == len(lines) - 1
        if len(line) < self.first or (cut and len(line) < self.last):
            raise OutputError(f"line {at + 1} ends at column {len(line)}: {short(line)}")
        try:
            return number(line[self.first - 1 : self.last])
        except OutputError as error:
            raise OutputError(f"line {at + 1}, columns {self.first}-{self.last}: {error}") from error

    def _find(self, lines: list[str]) -> int:
        if isinstance(self.line, str):
            found = [k for k, line in enumerate(lines) if re.search(self.line, line)]
            if len(found) != 1:
                raise OutputError(f"{len(found)} lines match {self.line!r}, and exactly one must")
            return found[0]
        at = self.line - 1 if self.line > 0 else len(lines) + self.line
        if not 0 <= at < len(lines):
            raise OutputError(f"it has no line {self.line}, only {len(lines)}")
        return at


@dataclass(frozen=True)
class NpyElement:
    """``npy: 3`` or ``npy: [0, 2]``: an element of a NumPy array, from 0; ``npy: []`` is the whole array."""

    index: int | tuple[int, ...]

    def __post_init__(self) -> None:
        index = tuple(self.index) if isinstance(self.index, (list, tuple)) else (self.index,)
        if not all(map(_is_int, index)):
            raise InputError(f"npy: an index is a whole number from 0 or a list of them (given {self.index!r})")
        object.__setattr__(self, "index", index)

    def read(self, path: Path) -> Any:
        """The element."""
        content = io.BytesIO(read_bytes(path))
        try:
            array = np.load(content, allow_pickle=False)
        except (ValueError, EOFError, OSError) as error:
            raise OutputError(f"it is no .npy file, or was cut: {error}") from error
        if not isinstance(array, np.ndarray):
            raise OutputError("it is an .npz archive, not one array")
        if array.ndim == 0 and self.index == (0,):
            return array[()]
        try:
            return array[self.index]
        except IndexError as error:
            raise OutputError(f"its array has the shape {array.shape}: {error}") from error


def _compile(what: str, pattern: Any) -> re.Pattern[str]:
    if not isinstance(pattern, str):
        raise InputError(f"{what}: a regex is text (given {pattern!r})")
    try:
        return re.compile(pattern, re.MULTILINE)
    except re.error as error:
        raise InputError(f"{what}: {pattern!r} is no regex: {error}") from error


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
