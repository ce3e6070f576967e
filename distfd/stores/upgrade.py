"""Upgrades store files of earlier versions to the present tables, with all their content."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any
from zlib import crc32

from distfd.stores.rows import row_checksum
from distfd.stores.schema import ADD_BITS, COLUMNS, DAMAGED, DECISIONS, INDEXES, VERSION, make_tables, write_meta

if TYPE_CHECKING:
    import sqlite3

    from distfd.stores.schema import Meta

_NEW = ("wave", "moved", "coordinate", "x", "bits")
"""Columns that version 1 did not have; version 2 only lacked the last one."""


def upgrade(connection: sqlite3.Connection, meta: Meta) -> Meta:
    """Upgrades a file of an earlier version to the present tables, in one transaction."""
    now = replace(meta, version=VERSION)
    if meta.version == 1:
        _copy_attempts(connection, now)
        return now
    connection.execute("BEGIN IMMEDIATE")
    if meta.version == 2:
        # Without bits, a row's checksum is the same as in version 2, so no row must be rewritten.
        connection.execute(ADD_BITS)
    connection.execute(DECISIONS)
    write_meta(connection, now)
    connection.execute("COMMIT")
    return now


def _copy_attempts(connection: sqlite3.Connection, now: Meta) -> None:
    """Copies the attempts of a version 1 file into new tables; damaged rows stay marked as damaged."""
    connection.create_function("sound_1", 4, _sound_1, deterministic=True)
    connection.create_function("row_checksum", len(COLUMNS) - 1, _checksum, deterministic=True)
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("DROP VIEW evaluations")
    for index in INDEXES:
        connection.execute(f"DROP INDEX {index}")
    connection.execute("DROP TABLE meta")
    connection.execute("ALTER TABLE attempts RENAME TO earlier")
    make_tables(connection)
    write_meta(connection, now)
    unsound = "UPDATE earlier SET status = ? WHERE NOT sound_1(key, value, status, checksum)"
    connection.execute(unsound, (DAMAGED,))
    values = ", ".join("NULL" if name in _NEW else name for name in COLUMNS[:-1])
    connection.execute(
        f"INSERT INTO attempts ({', '.join(COLUMNS)}) SELECT {values}, row_checksum({values}) FROM earlier"  # noqa: S608  # our own names
    )
    connection.execute("DROP TABLE earlier")
    connection.execute("COMMIT")


def _sound_1(key: Any, value: Any, status: Any, checksum: Any) -> bool:
    """Whether the row has the checksum of version 1."""
    try:
        return bool(crc32(status.encode(), crc32(value, crc32(key))) == checksum)
    except (AttributeError, TypeError, UnicodeError):
        return False


def _checksum(*columns: Any) -> int:
    found = row_checksum(*columns)
    return -1 if found is None else found  # only for damaged rows, whose checksum is never compared
