"""Tables of numbers against time: input signals of an FMU, and measurements."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core.errors import InputError
from distfd.core.files import at_home, open_plain
from distfd.core.suggestions import did_you_mean

if TYPE_CHECKING:
    from numpy.typing import NDArray

MISSING = "NA"
"""Content of a cell without a value: its row is left out. An empty cell may be a mistake, and is refused."""


@dataclass(frozen=True, eq=False)
class Signal:
    """The values of an input in time.

    Parameters
    ----------
    times : (n,) ndarray
        Times in order; two equal ones make a jump.
    values : (n,) ndarray
        Values at these times. Between two times, a continuous input is interpolated linearly; another keeps the earlier
        value. Before the first and after the last time it is constant.
    continuous : bool
    """

    times: NDArray[np.float64]
    values: NDArray[np.float64]
    continuous: bool

    def at(self, time: float) -> float:
        """The value at a time; at a jump, the value after it."""
        k = int(np.searchsorted(self.times, time, side="right"))
        if k == 0:
            return float(self.values[0])
        if k == len(self.times) or not self.continuous:
            return float(self.values[k - 1])
        begin, end = self.times[k - 1], self.times[k]
        part = (time - begin) / (end - begin)
        return float(self.values[k - 1] + part * (self.values[k] - self.values[k - 1]))

    def before(self, time: float) -> float:
        """The value at a time; at a jump, the value before it."""
        k = int(np.searchsorted(self.times, time, side="left"))
        if 0 < k < len(self.times) and self.times[k] == time and self.continuous:
            return float(self.values[k])
        return float(self.values[k - 1]) if k > 0 and not self.continuous else self.at(time)

    @property
    def jumps(self) -> list[float]:
        """The times of the jumps."""
        if self.continuous:
            return [float(time) for time in np.unique(self.times[1:][np.diff(self.times) == 0])]
        changed = np.flatnonzero(np.diff(self.values)) + 1
        return [float(time) for time in np.unique(self.times[changed])]


def make_signal(what: str, given: Any, base: Path, *, column: str, continuous: bool) -> Signal:
    """A signal from a number, a CSV file, or ``{times: [...], values: [...]}``.

    Raises
    ------
    InputError
        If ``given`` is none of these.
    """
    if isinstance(given, (int, float)) and not isinstance(given, bool):
        if not math.isfinite(given):
            raise InputError(f"{what}: must be finite (given {given!r})")
        return Signal(np.array([0.0]), np.array([float(given)]), continuous)
    if isinstance(given, (str, Path)):
        return Signal(*read_series(what, {"file": given}, base, column=column), continuous)
    if isinstance(given, Mapping) and "file" in given:
        return Signal(*read_series(what, given, base, column=column), continuous)
    if isinstance(given, Mapping) and set(given) == {"times", "values"}:
        times, values = (_numbers(f"{what}: {key}", given[key]) for key in ("times", "values"))
        return Signal(*_series(what, times, values), continuous)
    raise InputError(
        f"{what}: is a number, a CSV file with the columns time and {column}, {{file, time, column}}, or "
        f"{{times: [...], values: [...]}} (given {given!r})"
    )


def read_series(
    what: str, given: Mapping[str, Any], base: Path, *, column: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Times and values, (n,) each, from two columns of a CSV file with a header.

    Parameters
    ----------
    given : mapping
        ``file``, and optionally ``time`` (default: the column time, or else the first) and ``column``.
    column : str
        Default name of the value's column; in a file with two columns, the other column is used whatever its name.

    Raises
    ------
    InputError
        If the file cannot be read, has no such column, or does not contain numbers in order of time; if a cell is empty
        or no number, the message names line and column. Rows with NA as the value are left out.
    """
    if unknown := set(given) - {"file", "time", "column"}:
        raise InputError(f"{what}: has no key {min(unknown)!r}; it has file, time and column")
    path = base / at_home(given["file"])
    header, rows = _table(what, path)
    time_at = _column(what, path, header, given["time"]) if given.get("time") is not None else _time_column(header)
    wanted = given.get("column")
    if wanted is None and len(header) == 2 and column not in header:
        value_at = 1 - time_at
    else:
        value_at = _column(what, path, header, column if wanted is None else wanted)
    cells = [(number, row) for number, row in rows if row[value_at].strip() != MISSING]
    if not cells:
        raise InputError(f"{what}: {path}: column {header[value_at]!r} has no number, only {MISSING}")
    for line, row in cells:
        for k in (time_at, value_at):
            if not _is_number(row[k]):
                raise InputError(
                    f"{what}: {path}, line {line}, column {header[k]!r}: {_no_number(row[k], k != time_at)}"
                )
    table = np.array([[_cell(row[k]) for k in (time_at, value_at)] for _, row in cells], dtype=np.float64)
    return _series(f"{what}: {path}", table[:, 0], table[:, 1])


def _no_number(cell: str, may_miss: bool) -> str:
    hint = f"; write {MISSING} if there is no value at this time" if may_miss else ""
    return (f"{cell!r} is not a finite number" if cell.strip() else "the cell is empty") + hint


def _table(what: str, path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The header of a CSV file, and its rows with their line numbers."""
    try:
        with open_plain(path, follow=True) as file:
            text = file.read().decode("utf-8-sig")
    except FileNotFoundError as error:
        there = [other.name for other in path.parent.glob("*.csv")] if path.parent.is_dir() else []
        raise InputError(f"{what}: {path} does not exist{did_you_mean(path.name, there)}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{what}: {path}: {error}") from error
    lines = text.splitlines()
    delimiter = ";" if lines and ";" in lines[0] else "\t" if lines and "\t" in lines[0] else ","
    rows = [
        (number, row)
        for number, row in enumerate(csv.reader(lines, delimiter=delimiter), start=1)
        if any(cell.strip() for cell in row) and not row[0].lstrip().startswith("#")
    ]
    if len(rows) < 2:
        raise InputError(f"{what}: {path} has no rows below its header")
    header = [cell.strip() for cell in rows[0][1]]
    if all(_is_number(cell) for cell in header):
        raise InputError(f"{what}: {path} has no header: its first line names the columns, such as time,level")
    for number, row in rows[1:]:
        if len(row) != len(header):
            raise InputError(f"{what}: {path}, line {number}: has {len(row)} cells, and the header {len(header)}")
    return header, rows[1:]


def _time_column(header: list[str]) -> int:
    names = [name.lower() for name in header]
    return next((names.index(name) for name in ("time", "t") if name in names), 0)


def _column(what: str, path: Path, header: list[str], name: Any) -> int:
    if name in header:
        return header.index(name)
    raise InputError(
        f"{what}: {path} has no column {name!r}{did_you_mean(str(name), header)}; it has {', '.join(header)[:200]}"
    )


def _cell(text: str) -> float:
    found = float(text)
    if not math.isfinite(found):
        raise ValueError(text)
    return found


def _is_number(text: str) -> bool:
    try:
        _cell(text)
    except ValueError:
        return False
    return True


def _numbers(what: str, given: Any) -> NDArray[np.float64]:
    try:
        found = np.array(given, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{what}: is a list of numbers (given {given!r})") from error
    if found.ndim != 1 or not found.size or not np.isfinite(found).all():
        raise InputError(f"{what}: is a list of finite numbers (given {given!r})")
    return found


def _series(
    what: str, times: NDArray[np.float64], values: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if len(times) != len(values) or not len(times):
        raise InputError(f"{what}: there are {len(values)} values at {len(times)} times")
    if (np.diff(times) < 0).any():
        k = int(np.flatnonzero(np.diff(times) < 0)[0])
        raise InputError(f"{what}: times must be in order, and {times[k + 1]:g} comes after {times[k]:g}")
    return times, values
