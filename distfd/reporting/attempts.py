"""Every attempt that a run's store holds, as columns, and the failed ones with their causes."""

from __future__ import annotations

import os
import sqlite3
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core.errors import StoreError
from distfd.core.files import parse_json
from distfd.core.records import Status
from distfd.stores import sqlite_file

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_SHOWN = 200
"""Largest number of failed attempts that are read with their causes; as many kinds as possible are among them."""

# In the order of `DTYPE`.
_COLUMNS = """SELECT coalesce(point, -1), coalesce({place}, -3), coalesce(attempt, -1), status, first, started, ended,
host, coalesce(pid, -1), coalesce(slot, -1) FROM attempts ORDER BY id LIMIT ?"""
# A cancelled duplicate is no failure. The second condition lets SQLite use its index.
_FAILURE = "status NOT IN ('ok', 'cancelled') AND status <> 'ok'"
# The path of a program's work directory does not belong to the cause of its failure.
_CAUSE = (
    "substr(coalesce(message, ''), 1, coalesce(nullif(instr(message, '; work directory '), 0) - 1, length(message)))"
)
_CAUSES = f"""SELECT status, {_CAUSE}, count(*), count(DISTINCT key) FROM attempts
WHERE {_FAILURE} GROUP BY 1, 2 ORDER BY 3 DESC LIMIT 50"""  # noqa: S608  # of our own words
_FAILED = """SELECT point, {place}, attempt, status, coalesce(message, ''), coalesce(detail, ''), started, ended,
host, pid, slot
FROM (SELECT *, row_number() OVER (PARTITION BY status, {cause} ORDER BY id) AS nth FROM attempts WHERE {failure})
ORDER BY nth, id LIMIT ?"""
_POINT = """SELECT w.x, a.moved, a.coordinate, a.x, coalesce(a.message, '') FROM attempts a
LEFT JOIN waves w ON w.id = a.wave ORDER BY a.id LIMIT 1 OFFSET ?"""
# Stores of version 1 have only a point's number in its request.
_PLACES = {
    True: "CASE WHEN moved IS NULL THEN -3 WHEN moved = 0 THEN -1 WHEN moved = 1 THEN coordinate ELSE -2 END",
    False: "-3",
}
BASELINE, SEVERAL, UNKNOWN = -1, -2, -3
"""Stand for a coordinate where none was moved, where several were moved, and where it is not known."""

DTYPE = np.dtype(
    [
        ("point", np.int64),
        ("coordinate", np.int64),
        ("attempt", np.int32),
        ("status", np.uint8),
        ("value", np.float64),
        ("started", np.float64),
        ("ended", np.float64),
        ("host", np.int32),
        ("pid", np.int64),
        ("slot", np.int32),
    ]
)
_TEXTS = ("status", "host")
_STORED = np.dtype([(name, "O" if name in _TEXTS else kind) for name, kind, *_ in DTYPE.descr])
"""As a store has them: texts, as bytes, where `DTYPE` has numbers."""


@dataclass(frozen=True)
class FailedAttempt:
    """One attempt that failed; times are seconds since the epoch."""

    point: int
    coordinate: int
    attempt: int
    status: str
    message: str
    detail: str
    started: float
    ended: float
    host: str
    pid: int
    slot: int


@dataclass(frozen=True, eq=False)
class Attempts:
    """The attempts in a store.

    ``rows`` have the type `DTYPE`, in the order of storage; ``host`` is an index into ``hosts``; ``value`` is the first
    number of J; ``causes`` are (status, message, attempts, points).
    """

    rows: NDArray[Any] = field(default_factory=lambda: np.zeros(0, DTYPE))
    hosts: tuple[str, ...] = ()
    causes: tuple[tuple[str, str, int, int], ...] = ()
    failed: tuple[FailedAttempt, ...] = ()
    trouble: str = ""
    """Why the store could not be read."""


def read_attempts(path: Path) -> Attempts:
    """All attempts; none, with the reason, if there is no readable store."""
    if not os.path.lexists(path):
        return Attempts(trouble=f"there is no {path.name}")
    try:
        connection = sqlite_file.connect_read_only(path)
        try:
            connection.text_factory = _text
            connection.execute("BEGIN")
            known = {column for _, column, *_ in connection.execute("PRAGMA table_info(attempts)")}
            place = _PLACES["moved" in known]
            # A row takes at least 24 bytes.
            most = path.stat().st_blocks * 512 // 24 + 1000
            connection.text_factory = bytes  # few texts differ in these columns: each is decoded once
            found = np.fromiter(connection.execute(_COLUMNS.format(place=place), (most,)), _STORED)
            connection.text_factory = _text
            causes = tuple((str(word), str(text), n, m) for word, text, n, m in connection.execute(_CAUSES))
            asked = _FAILED.format(place=place, cause=_CAUSE, failure=_FAILURE)
            failed = tuple(_failed(row) for row in connection.execute(asked, (_SHOWN,)))
        finally:
            connection.close()
        rows, hosts = _columns(found)
    except (sqlite3.Error, OSError, StoreError) as error:
        return Attempts(trouble=f"{path.name} cannot be read: {error}")
    except (TypeError, ValueError, OverflowError) as error:
        return Attempts(trouble=f"{path.name} contains something that distfd did not write: {error}")
    return Attempts(rows, hosts, causes, failed)


@dataclass(frozen=True)
class StoredPoint:
    """The point of one attempt, as far as the store has it."""

    base: list[float] | None
    """The x of its request; None if that was too long to be stored."""
    moved: int | None
    """Number of coordinates that differ from ``base``."""
    coordinate: int | None
    value: float | None
    """The first of these coordinates, and its value."""
    message: str

    def x(self, d: int) -> list[float] | None:
        """The whole point of ``d`` coordinates; None where it is not known."""
        if self.base is None or len(self.base) != d or self.moved not in (0, 1):
            return None
        if self.moved == 0:
            return list(self.base)
        if self.coordinate is None or self.value is None or not 0 <= self.coordinate < d:
            return None
        return [self.value if k == self.coordinate else one for k, one in enumerate(self.base)]


def read_point(path: Path, row: int) -> StoredPoint | None:
    """The point of one attempt, by its index in `read_attempts`; None if the store does not have it."""
    try:
        connection = sqlite_file.connect_read_only(path)
        try:
            connection.text_factory = _text
            found = connection.execute(_POINT, (row,)).fetchone()
        finally:
            connection.close()
        if found is None:
            return None
        x, moved, coordinate, value, message = found
        base = parse_json(x) if isinstance(x, str) else None
        return StoredPoint(
            base=[float(one) for one in base] if isinstance(base, list) else None,
            moved=None if moved is None else int(moved),
            coordinate=None if coordinate is None else int(coordinate),
            value=None if value is None else float(value),
            message=str(message),
        )
    except (sqlite3.Error, OSError, StoreError, TypeError, ValueError, OverflowError, RecursionError):
        return None


def _text(raw: bytes) -> str:
    return raw.decode(errors="replace")


def _columns(found: NDArray[Any]) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Rows of the type `DTYPE`, and the names of hosts, from those of a store."""
    rows = np.zeros(len(found), DTYPE)
    for name, *_ in DTYPE.descr:
        if name not in _TEXTS:
            rows[name] = found[name]
    words = {one.word.encode(): int(one) for one in Status}
    rows["status"] = [words.get(word, int(Status.ERROR)) for word in found["status"].tolist()]
    host = found["host"].tolist()
    names = {raw: _text(raw) if isinstance(raw, bytes) else str(raw or "") for raw in set(host)}
    hosts = tuple(sorted(set(names.values())))
    place = {name: k for k, name in enumerate(hosts)}
    number = {raw: place[name] for raw, name in names.items()}
    rows["host"] = [number[raw] for raw in host]
    return rows, hosts


def _failed(row: tuple[Any, ...]) -> FailedAttempt:
    point, coordinate, attempt, status, message, detail, started, ended, host, pid, slot = row
    return FailedAttempt(
        point=int(point),
        coordinate=UNKNOWN if coordinate is None else int(coordinate),
        attempt=int(attempt or 0),
        status=str(status),
        message=str(message),
        detail=str(detail),
        started=np.nan if started is None else float(started),
        ended=np.nan if ended is None else float(ended),
        host=str(host or ""),
        pid=-1 if pid is None else int(pid),
        slot=-1 if slot is None else int(slot),
    )
