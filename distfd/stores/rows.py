"""Converts finished attempts to rows of a store file, with a checksum for each row."""

from __future__ import annotations

import struct
from functools import lru_cache
from itertools import pairwise, repeat
from typing import TYPE_CHECKING, Any
from zlib import crc32

import numpy as np

from distfd.core.records import DOUBLE, Status
from distfd.stores.columns import key_blobs, valid_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from distfd.core.points import Points
    from distfd.core.records import Batch

_NUMBERS = np.dtype(
    [(name, "<i8") for name in ("wave", "point", "moved", "coordinate", "attempt", "pid", "slot")]
    + [(name, "<f8") for name in ("x", "started", "ended")]
)
_PACK = struct.Struct("<7q3d").pack
_FIRST = struct.Struct("<d").unpack_from
_BITS = struct.Struct("<B").pack
_NAN, _INFINITY = float("nan"), float("inf")
_NONE = -1
"""Stands for NULL in the checksum, in columns of integers."""
_UNKEPT = "the value is not finite, so it is not used again"


def rows_of(keys: NDArray[np.uint64], batch: Batch, wave: int | None, points: Points | None) -> Iterator[Any]:
    """The rows of a batch, with columns in the order of `schema.COLUMNS`; points that never started have no row.

    Parameters
    ----------
    wave : int or None
        Number of the request.
    points : Points or None
        Points of the request, if known.
    """
    status = batch.status.copy()
    status[~valid_rows(batch) & (status == Status.OK)] = Status.ERROR
    begun = np.flatnonzero(status != Status.NOT_RUN)
    if len(begun) < len(batch):
        keys, batch, status = keys[begun], batch.take(begun), status[begun]
    numbers = _numbers(batch, wave, points)
    host = _text(batch.host)
    words, messages, details, ends = _texts(batch, status, host)
    values = _values(batch)
    packed, width = numbers.tobytes(), _NUMBERS.itemsize
    blobs = key_blobs(keys)
    bits: Iterable[int | None] = repeat(None, len(batch))
    if batch.bits is not None:
        bits = [None if each == DOUBLE else each for each in batch.bits.tolist()]
        ends = [end if each is None else end + _BITS(each) for end, each in zip(ends, bits, strict=True)]
    sums = [
        crc32(end, crc32(packed[at : at + width], crc32(value, crc32(key))))
        for key, value, at, end in zip(blobs, values, range(0, len(packed), width), ends, strict=True)
    ]
    moved, coordinate, x = (_nullable(numbers[name]) for name in ("moved", "coordinate", "x"))
    n = len(batch)
    columns = (
        *(blobs, repeat(wave, n), batch.index.tolist(), moved, coordinate, x, batch.attempt.tolist(), words),
        *(values, _firsts(batch, values), _nullable(batch.started), _nullable(batch.ended)),
        *(repeat(host, n), repeat(int(batch.pid), n), repeat(int(batch.slot), n), messages, details),
        *(bits, sums),
    )
    return zip(*columns, strict=True)


def decision_checksum(key: bytes, value: int) -> int:
    """The checksum that a decision's row must have."""
    return crc32(repr(value).encode(), crc32(key))


def row_checksum(*columns: Any) -> int | None:
    """The checksum of a row, from its other columns as SQLite returns them; None if they cannot be a valid row.

    distfd needs checksums of its own, as SQLite has none for its data.
    """
    key, wave, point, moved, coordinate, x, attempt, status, value, first = columns[:10]
    started, ended, host, pid, slot, message, detail, bits = columns[10:]
    try:
        packed = _PACK(
            *(_NONE if wave is None else wave, point),
            *(_NONE if moved is None else moved, _NONE if coordinate is None else coordinate),
            *(attempt, pid, slot),
            *(_NAN if x is None else x + 0.0, _NAN if started is None else started, _NAN if ended is None else ended),
        )
        if first != first_number(value):
            return None
        end = _end(status, host, message, detail) + (b"" if bits is None else _BITS(bits))
        return crc32(end, crc32(packed, crc32(value, crc32(key))))
    except (struct.error, TypeError, UnicodeError):
        return None


def first_number(value: bytes) -> float | None:
    """The first number of a value, for people who read the file; None if there is none, or it is not finite."""
    if len(value) < 8:
        return None
    (number,) = _FIRST(value)
    return number if abs(number) < _INFINITY else None


def _numbers(batch: Batch, wave: int | None, points: Points | None) -> NDArray[Any]:
    """The numeric columns as they go into the checksum."""
    table = np.empty(len(batch), _NUMBERS)
    table["wave"] = _NONE if wave is None else wave
    table["point"], table["attempt"], table["pid"], table["slot"] = batch.index, batch.attempt, batch.pid, batch.slot
    table["moved"], table["coordinate"], table["x"] = _NONE, _NONE, np.nan
    if points is not None:
        starts = points.indptr[batch.index]
        moved = points.indptr[batch.index + 1] - starts
        table["moved"] = moved
        some = moved > 0
        table["coordinate"][some] = points.indices[starts[some]]
        table["x"][some] = points.values[starts[some]].real
    table["started"], table["ended"] = batch.started, batch.ended
    for name in ("x", "started", "ended"):
        # Use one NaN and one zero, as SQLite does not keep the others apart.
        table[name] = np.where(np.isnan(table[name]), np.nan, table[name] + 0.0)
    return table


def _texts(
    batch: Batch, status: NDArray[np.uint8], host: str
) -> tuple[Iterable[str], Iterable[str | None], Iterable[str | None], Iterable[bytes]]:
    """Statuses, messages, details, and the part of the checksum that comes from texts."""
    n = len(batch)
    if (status == Status.OK).all():
        word = Status.OK.word
        return repeat(word, n), repeat(None, n), repeat(None, n), repeat(_end(word, host, None, None), n)
    words = [Status(code).word for code in status.tolist()]
    messages: list[str | None] = []
    details: list[str | None] = []
    for index, now, before in zip(batch.index.tolist(), status.tolist(), batch.status.tolist(), strict=True):
        failure = batch.failures.get(index)
        unkept = _UNKEPT if now != before else None
        messages.append(_text(failure.text) if failure else unkept)
        details.append(_text(failure.detail) if failure else None)
    ends = [_end(*row) for row in zip(words, repeat(host, n), messages, details, strict=True)]
    return words, messages, details, ends


@lru_cache(maxsize=128)
def _end(status: str, host: str, message: str | None, detail: str | None) -> bytes:
    return repr((status, host, message, detail)).encode()


def _values(batch: Batch) -> list[bytes]:
    data = np.ascontiguousarray(batch.flat, dtype="<f8")
    if (batch.size == 1).all():
        parts: list[bytes] = data.view("V8").tolist()
        return parts
    whole = data.tobytes()
    offsets = (8 * batch.offsets).tolist()
    return [whole[a:b] for a, b in pairwise(offsets)]


def _firsts(batch: Batch, values: list[bytes]) -> Iterable[float | None]:
    if (batch.size == 1).all() and np.isfinite(batch.flat).all():
        numbers: list[float | None] = batch.flat.tolist()
        return numbers
    return map(first_number, values)


def _nullable(column: NDArray[Any]) -> list[Any]:
    values: list[Any] = column.tolist()
    missing = np.isnan(column) if column.dtype.kind == "f" else column == _NONE
    for row in np.flatnonzero(missing).tolist():
        values[row] = None
    return values


def _text(text: str) -> str:
    # A program's output may not be UTF-8, and SQLite accepts nothing else.
    return text.encode(errors="backslashreplace").decode()
