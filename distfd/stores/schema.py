"""The tables of a store file: the meaning of each column, and the file's description of itself."""

from __future__ import annotations

import json
import re
import sqlite3
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache

VERSION = 4
APPLICATION_ID = int.from_bytes(b"dFD1", "big")
"""Marks the file as a store of distfd in the SQLite header, where file(1) sees it too."""

DAMAGED = "damaged"
"""The status of a row whose checksum did not match: the row is kept and never used again."""

COLUMNS = (
    *("key", "wave", "point", "moved", "coordinate", "x", "attempt", "status", "value", "first"),
    *("started", "ended", "host", "pid", "slot", "message", "detail", "bits", "checksum"),
)
"""Columns of the table of attempts, in the order in which rows are written and read."""

COLUMNS_1 = tuple(name for name in COLUMNS if name not in ("wave", "moved", "coordinate", "x", "bits"))
"""Columns of version 1; version 2 only lacked the last column, bits."""

INDEXES = {"value_of_key": "status = 'ok'", "failures_of_key": "status <> 'ok'"}
"""Partial indexes with one value for each point. They are partial so that failed attempts do not slow down lookups."""

ADD_BITS = "ALTER TABLE attempts ADD COLUMN bits INTEGER"
"""Stored bits of the significand of J's own number type (``Batch.bits``), NULL for a double.

The column is added by ALTER TABLE in new files too, so that a file of version 2 can be upgraded without copying its
rows."""

DECISIONS = """CREATE TABLE decisions (
    key BLOB PRIMARY KEY, -- what was decided on, 16 bytes
    value INTEGER NOT NULL,
    checksum INTEGER NOT NULL -- crc32 of the two
)"""
"""Decisions that depend on more than values (on slots), which a resumed run repeats. Version 3 did not have this
table."""

_SCHEMA = (
    """CREATE TABLE attempts (
    id INTEGER PRIMARY KEY,
    key BLOB NOT NULL, -- the point's identity, 16 bytes
    wave INTEGER, -- the request it belonged to
    point INTEGER NOT NULL, -- its number in its request
    moved INTEGER, -- how many coordinates differ from the request's x
    coordinate INTEGER, -- the first of these
    x REAL, -- and its value
    attempt INTEGER NOT NULL, -- 1 for a first try
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
    checksum INTEGER NOT NULL -- crc32 of all the others
)""",
    ADD_BITS,
    f"CREATE UNIQUE INDEX value_of_key ON attempts (key) WHERE {INDEXES['value_of_key']}",
    f"CREATE INDEX failures_of_key ON attempts (key, status) WHERE {INDEXES['failures_of_key']}",
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT)",
    DECISIONS,
    "CREATE TABLE parameters (coordinate INTEGER PRIMARY KEY, name TEXT NOT NULL)",
    """CREATE TABLE waves (
    id INTEGER PRIMARY KEY,
    task TEXT NOT NULL, -- gradient, jacobian, values ...
    points INTEGER NOT NULL, -- in the request
    reused INTEGER NOT NULL, -- of them, those whose values were known
    started REAL NOT NULL, -- seconds since the epoch
    x TEXT -- the request's x as JSON, where it is short
)""",
    """CREATE VIEW evaluations AS SELECT
    a.id, a.wave, a.point,
    coalesce(p.name, 'x' || a.coordinate)
        || CASE WHEN a.moved > 1 THEN ' and ' || (a.moved - 1) || ' more' ELSE '' END AS parameter,
    a.x, a.attempt, a.status,
    a.first AS value,
    length(a.value) / 8 AS numbers,
    strftime('%Y-%m-%dT%H:%M:%fZ', a.started, 'unixepoch') AS started,
    strftime('%Y-%m-%dT%H:%M:%fZ', a.ended, 'unixepoch') AS ended,
    round(a.ended - a.started, 6) AS seconds,
    a.host, a.pid, a.slot,
    a.message AS cause,
    a.message, a.detail,
    lower(hex(a.key)) AS key
FROM attempts a LEFT JOIN parameters p ON p.coordinate = a.coordinate""",
)


@dataclass(frozen=True)
class Meta:
    """A store file's description of itself."""

    version: int
    fingerprint: str | None
    names: tuple[str, ...] | None
    created: str


def write_schema(connection: sqlite3.Connection, fingerprint: str | None, names: tuple[str, ...] | None) -> None:
    """Makes the tables in an empty database, with the description of the file."""
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    make_tables(connection)
    created = datetime.now(UTC).isoformat(timespec="seconds")
    write_meta(connection, Meta(VERSION, fingerprint, names, created))


def make_tables(connection: sqlite3.Connection) -> None:
    """Makes the tables, indexes and the view, all empty."""
    for statement in _SCHEMA:
        connection.execute(statement)


def has_schema(connection: sqlite3.Connection) -> bool:
    """Whether the tables, indexes and views exist, with exactly the text of this version."""
    return _expected() <= _objects(connection)


def foreign_object(connection: sqlite3.Connection) -> str:
    """What in the file would run code when it is read or written, in words; empty if nothing does.

    A view, a trigger or a virtual table in a stranger's file can run for ever, or discard what is written. The view of
    this version is recognised by its text, and the view of version 1 is never read.
    """
    ours = {name: sql for kind, name, sql in _expected() if kind == "view"}
    for kind, name, table, sql in connection.execute(_EVERYTHING):
        called, mine = f"{name!r:.60}", table in _TABLES
        if kind == "trigger":
            found = f"the trigger {called} on {table!r:.60}"
        elif kind == "view":
            found = "" if name in ours else f"the view {called}"
        elif kind == "table" and _VIRTUAL.match(str(sql or "")):
            found = f"the virtual table {called}"
        elif kind == "table":
            computed = mine and _has_hidden_columns(connection, table)
            found = f"columns in its table {table} that are computed" if computed else ""
        elif kind == "index":
            found = f"the index {called} on {table}" if mine and sql is not None and name not in INDEXES else ""
        else:
            found = f"{called}, which is of an unknown kind"
        if found:
            return found
    return ""


def has_odd_kinds(connection: sqlite3.Connection) -> bool:
    """Whether the list of tables has a kind that SQLite does not write, which only damage makes."""
    kinds = {kind for kind, *_ in connection.execute(_EVERYTHING)}
    return not kinds <= {"table", "index", "view", "trigger"}


def is_readable(connection: sqlite3.Connection) -> bool:
    """Whether the tables have exactly the text of version 2 or later, or the columns of version 1.

    Call this before anything else is read, after `foreign_object` has found nothing.
    """
    if has_schema(connection) or any(earlier <= _objects(connection) for earlier in _of_earlier_versions()):
        return True
    found = {(kind, name) for kind, name, *_ in connection.execute(_EVERYTHING)}
    if not {("table", "attempts"), ("table", "meta")} <= found:
        return False
    columns = {table: _columns(connection, table) for table in ("attempts", "meta")}
    return columns == {"attempts": COLUMNS_1, "meta": ("name", "value")}


def write_meta(connection: sqlite3.Connection, meta: Meta) -> None:
    """Writes the file's description of itself, with a checksum."""
    names = None if meta.names is None else json.dumps(meta.names)
    values = {"schema": str(meta.version), "fingerprint": meta.fingerprint, "names": names, "created": meta.created}
    values["checksum"] = _checksum_of(values)
    connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", values.items())
    # The table parameters serves the view only; what counts is in meta, with its checksum.
    connection.execute("DELETE FROM parameters")
    connection.executemany("INSERT INTO parameters VALUES (?, ?)", enumerate(meta.names or ()))


def read_meta(connection: sqlite3.Connection) -> Meta | None:
    """The file's description of itself, or None if it does not match its checksum."""
    values = dict(connection.execute("SELECT name, value FROM meta LIMIT 100"))
    try:
        if values.pop("checksum", None) != _checksum_of(values):
            return None
        names = None if values["names"] is None else json.loads(values["names"])
        fingerprint, created = values["fingerprint"], values["created"]
        version = int(values["schema"] or 0)
    except (KeyError, TypeError, ValueError, RecursionError):  # a stranger's file may have a valid checksum as well
        return None
    listed = names is None or (isinstance(names, list) and all(isinstance(name, str) for name in names))
    if not (listed and isinstance(created, str) and isinstance(fingerprint, (str, type(None)))):
        return None
    return Meta(version, fingerprint, None if names is None else tuple(names), created)


def _checksum_of(values: dict[str, str | None]) -> str:
    return f"{zlib.crc32(json.dumps(values, sort_keys=True).encode()):08x}"


_TABLES = ("attempts", "decisions", "meta", "parameters", "waves")
_VIRTUAL = re.compile(r"\s*CREATE\s+VIRTUAL\b", re.IGNORECASE)
_EVERYTHING = "SELECT type, name, tbl_name, sql FROM sqlite_schema LIMIT 1000"


def _has_hidden_columns(connection: sqlite3.Connection, table: str) -> bool:
    return any(row[-1] for row in connection.execute(f"PRAGMA table_xinfo({table})"))


def _columns(connection: sqlite3.Connection, table: str) -> tuple[str, ...]:
    """Names of a table's columns, without the row number."""
    return tuple(row[1] for row in connection.execute(f"PRAGMA table_xinfo({table})") if row[1] != "id")


def _objects(connection: sqlite3.Connection) -> set[tuple[str, str, str]]:
    return set(connection.execute("SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL"))


@cache
def _expected() -> frozenset[tuple[str, str, str]]:
    return _made_by(_SCHEMA)


@cache
def _of_earlier_versions() -> tuple[frozenset[tuple[str, str, str]], ...]:
    """The schemas of versions 2 and 3."""
    lacked = (ADD_BITS, DECISIONS), (DECISIONS,)
    return tuple(_made_by(tuple(statement for statement in _SCHEMA if statement not in each)) for each in lacked)


def _made_by(statements: tuple[str, ...]) -> frozenset[tuple[str, str, str]]:
    connection = sqlite3.connect(":memory:")
    try:
        for statement in statements:
            connection.execute(statement)
        return frozenset(_objects(connection))
    finally:
        connection.close()
