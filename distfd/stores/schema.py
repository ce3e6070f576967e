"""The tables of a store file, and the checksums that guard what is in them."""

from __future__ import annotations

import json
import sqlite3
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache

VERSION = 1
APPLICATION_ID = int.from_bytes(b"dFD1", "big")
"""Marks the file as ours in the SQLite header, where file(1) sees it too."""

DAMAGED = "damaged"
"""The status of a row whose checksum did not match: kept, and never used again."""

_SCHEMA = (
    """CREATE TABLE attempts (
    id INTEGER PRIMARY KEY,
    key BLOB NOT NULL, -- the point's identity, 16 bytes
    point INTEGER NOT NULL, -- its number in its request
    attempt INTEGER NOT NULL,
    status TEXT NOT NULL,
    value BLOB NOT NULL, -- float64, little endian
    first REAL, -- the first number of value, for people
    started REAL, -- seconds since the epoch
    ended REAL,
    host TEXT,
    pid INTEGER,
    slot INTEGER,
    message TEXT,
    detail TEXT,
    checksum INTEGER NOT NULL -- crc32 of key, value, status
)""",
    # One value a point. Partial, so that failed attempts cost the lookup nothing.
    "CREATE UNIQUE INDEX value_of_key ON attempts (key) WHERE status = 'ok'",
    "CREATE INDEX failures_of_key ON attempts (key, status) WHERE status <> 'ok'",
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT)",
    """CREATE VIEW evaluations AS SELECT
    id, point, attempt, status,
    first AS value,
    length(value) / 8 AS numbers,
    strftime('%Y-%m-%dT%H:%M:%fZ', started, 'unixepoch') AS started,
    strftime('%Y-%m-%dT%H:%M:%fZ', ended, 'unixepoch') AS ended,
    round(ended - started, 6) AS seconds,
    host, pid, slot, message,
    lower(hex(key)) AS key
FROM attempts""",
)


@dataclass(frozen=True)
class Meta:
    """What a store file says of itself."""

    version: int
    fingerprint: str | None
    names: tuple[str, ...] | None
    created: str


def write_schema(connection: sqlite3.Connection, fingerprint: str | None, names: tuple[str, ...] | None) -> None:
    """Make the tables in an empty database."""
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    for statement in _SCHEMA:
        connection.execute(statement)
    created = datetime.now(UTC).isoformat(timespec="seconds")
    write_meta(connection, Meta(VERSION, fingerprint, names, created))


def has_schema(connection: sqlite3.Connection) -> bool:
    """Whether the tables, indexes and views are there, letter by letter."""
    return _expected() <= _objects(connection)


def write_meta(connection: sqlite3.Connection, meta: Meta) -> None:
    """Write what the file says of itself, with a checksum."""
    names = None if meta.names is None else json.dumps(meta.names)
    values = {"schema": str(meta.version), "fingerprint": meta.fingerprint, "names": names, "created": meta.created}
    values["checksum"] = _checksum_of(values)
    connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", values.items())


def read_meta(connection: sqlite3.Connection) -> Meta | None:
    """What the file says of itself, or None if that does not match its checksum."""
    values = dict(connection.execute("SELECT name, value FROM meta"))
    if values.pop("checksum", None) != _checksum_of(values):
        return None
    names = values["names"]
    return Meta(
        version=int(values["schema"]),
        fingerprint=values["fingerprint"],
        names=None if names is None else tuple(json.loads(names)),
        created=values["created"],
    )


def row_checksum(key: bytes, value: bytes, status: str) -> int:
    """The checksum of a row; SQLite itself has none for what it stores."""
    return zlib.crc32(status.encode(), zlib.crc32(value, zlib.crc32(key)))


def _checksum_of(values: dict[str, str | None]) -> str:
    return f"{zlib.crc32(json.dumps(values, sort_keys=True).encode()):08x}"


def _objects(connection: sqlite3.Connection) -> set[tuple[str, str, str]]:
    return set(connection.execute("SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL"))


@cache
def _expected() -> frozenset[tuple[str, str, str]]:
    connection = sqlite3.connect(":memory:")
    try:
        write_schema(connection, None, None)
        return frozenset(_objects(connection))
    finally:
        connection.close()
