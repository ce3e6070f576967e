"""Reads a store file from outside, during a run or afterwards."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from distfd.core.errors import StoreError
from distfd.stores import sqlite_file
from distfd.stores.columns import key_blobs
from distfd.stores.file_lock import holder
from distfd.stores.schema import read_meta

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

# The second condition holds for all of these, and tells SQLite that its index of failures can be used.
_FAILED_ATTEMPTS = (
    "SELECT count(*) FROM attempts WHERE status IN ('error', 'crash', 'timeout', 'lost') AND status <> 'ok'"
)
_ONLY_FAILED = """SELECT count(DISTINCT key) FROM attempts f
WHERE status IN ('error', 'crash', 'timeout', 'lost') AND status <> 'ok'
AND NOT EXISTS (SELECT 1 FROM attempts v WHERE v.key = f.key AND v.status = 'ok')"""


_LOOKUP_KEYS = 500
"""Number of keys in one query; SQLite's limit on parameters was 999 for a long time."""

_COUNTS = "SELECT status, count(*) FROM attempts GROUP BY status LIMIT 1000"


@dataclass(frozen=True)
class StoreSummary:
    """The content of a store, and who writes it; ``attempts`` has counts by status name."""

    path: Path
    fingerprint: str | None
    names: tuple[str, ...] | None
    created: str
    n_computed: int
    n_values: int
    n_failed_attempts: int
    attempts: Mapping[str, int]
    writer: str | None
    """The process that has the store open, in words; None if there is none."""


def read_summary(path: str | Path) -> StoreSummary:
    """The content of the store at ``path``; takes no lock and changes nothing.

    Raises
    ------
    StoreError
        If there is no store there, or it is damaged.
    """
    path = Path(os.path.realpath(path))  # unlike this, resolve() raises for circular links
    if not os.path.lexists(path):
        raise StoreError(f"there is no store at {path}; is this the output of a run?")
    with sqlite_file.storage_errors(path):
        connection = sqlite_file.connect_read_only(path)
        try:
            # Read in one transaction, so that all numbers are of the same moment.
            connection.execute("BEGIN")
            return _summary(connection, path)
        finally:
            connection.close()


def count_since(path: str | Path, since: float) -> int:
    """Values that were found at or after a time, in seconds since the epoch; takes no lock and changes nothing.

    Raises
    ------
    StoreError
        If the store is damaged.
    """
    with sqlite_file.storage_errors(Path(path)):
        connection = sqlite_file.connect_read_only(Path(path))
        try:
            query = "SELECT count(*) FROM attempts WHERE status = 'ok' AND ended >= ?"
            return int(connection.execute(query, (since,)).fetchone()[0])
        finally:
            connection.close()


def count_known(path: str | Path, keys: NDArray[np.uint64]) -> int:
    """How many of the (n, 2) keys have a value; takes no lock and changes nothing.

    Raises
    ------
    StoreError
        If the store is damaged.
    """
    blobs = list(set(key_blobs(keys)))
    with sqlite_file.storage_errors(Path(path)):
        connection = sqlite_file.connect_read_only(Path(path))
        try:
            found = 0
            for start in range(0, len(blobs), _LOOKUP_KEYS):
                part = blobs[start : start + _LOOKUP_KEYS]
                query = f"SELECT count(*) FROM attempts WHERE status = 'ok' AND key IN ({','.join('?' * len(part))})"  # noqa: S608  # placeholders only
                found += int(connection.execute(query, part).fetchone()[0])
            return found
        finally:
            connection.close()


def count_computed(connection: sqlite3.Connection) -> int:
    """Number of points with a value, plus points with only failed attempts."""
    return _count_values(connection) + int(connection.execute(_ONLY_FAILED).fetchone()[0])


def count_failed_attempts(connection: sqlite3.Connection) -> int:
    """Number of attempts that ended with an error, a crash, a timeout, or the loss of their node."""
    return int(connection.execute(_FAILED_ATTEMPTS).fetchone()[0])


def _count_values(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT count(*) FROM attempts WHERE status = 'ok'").fetchone()[0])


def _summary(connection: sqlite3.Connection, path: Path) -> StoreSummary:
    meta = read_meta(connection)
    if meta is None:
        raise StoreError(f"the store {path} is damaged; run again, and it is put aside and a new one begun")
    return StoreSummary(
        path=path,
        fingerprint=meta.fingerprint,
        names=meta.names,
        created=meta.created,
        n_computed=count_computed(connection),
        n_values=_count_values(connection),
        n_failed_attempts=count_failed_attempts(connection),
        attempts={str(word): n for word, n in connection.execute(_COUNTS)},
        writer=holder(path.with_name(path.name + ".lock")),
    )
