"""Opening a store file: made whole or not at all, checked before it is believed, put aside if it is damaged."""

from __future__ import annotations

import os
import sqlite3
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from distfd.core.errors import StoreError
from distfd.core.files import owner_only
from distfd.stores.filesystem import network_filesystem
from distfd.stores.rows import row_checksum
from distfd.stores.schema import (
    APPLICATION_ID,
    COLUMNS,
    DAMAGED,
    INDEXES,
    VERSION,
    Meta,
    has_schema,
    read_meta,
    write_schema,
)
from distfd.stores.upgrade import upgrade

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BUSY_SECONDS = 30
"""How long a write waits for someone who reads or writes the file with another tool."""

_LITTLE_ROOM = 65_536
"""Bytes; SQLite asks for memory that is shared in pieces of half of it."""

_HALF_DONE = (sqlite3.SQLITE_READONLY_ROLLBACK, sqlite3.SQLITE_READONLY_RECOVERY)

_COMPANIONS = ("", "-wal", "-shm", "-journal")


class DamagedFileError(Exception):
    """What is at the path is no store, or no longer one."""


def create(path: Path, fingerprint: str | None, names: tuple[str, ...] | None) -> None:
    """Make an empty store at ``path``, which a kill leaves either absent or whole."""
    part = path.with_name(path.name + ".part")
    with storage_errors(path):
        part.unlink(missing_ok=True)
        try:
            # Made before SQLite opens it, for its mode, which the journals beside it then have too.
            os.close(owner_only(str(part), os.O_RDWR | os.O_CREAT | os.O_EXCL))
            connection = sqlite3.connect(_uri(part, "rw"), uri=True, isolation_level=None)
            try:
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute("BEGIN")
                write_schema(connection, fingerprint, names)
                connection.execute("COMMIT")
            finally:
                connection.close()
        except BaseException:
            with suppress(OSError):
                part.unlink(missing_ok=True)
            raise
        part.replace(path)
        _sync_directory(path.parent)


def connect(path: Path) -> tuple[sqlite3.Connection, Meta, int]:
    """Open the store at ``path``, check it, and make its commits durable.

    Returns
    -------
    connection, meta, bad_rows
        In autocommit mode; ``bad_rows`` counts rows that are gone, and those whose checksum does not match, which are
        marked as damaged.

    Raises
    ------
    DamagedFileError
        If the file is not a whole store.
    """
    with path.open("rb") as file:
        header = file.read(20)
    # Beside the name: SQLite takes a file of a format version above 2 for one that must not be written.
    if header[:16] != b"SQLite format 3\0" or not {*header[18:]} <= {1, 2}:
        raise DamagedFileError("it does not begin as an SQLite file does")
    connection = sqlite3.connect(
        _uri(path, "rw"), uri=True, isolation_level=None, timeout=BUSY_SECONDS, check_same_thread=False
    )
    # Damaged text need not be UTF-8, and is to fail its checksum rather than the query.
    connection.text_factory = lambda raw: raw.decode(errors="surrogateescape")
    try:
        meta, lost = _checked(connection, path)
        _make_durable(connection, path)
        bad_rows = lost + _mark_bad_rows(connection)
    except (sqlite3.Error, ValueError, KeyError, TypeError) as error:
        connection.close()
        if is_damage(error):
            raise DamagedFileError(str(error)) from error
        raise
    except BaseException:
        connection.close()
        raise
    return connection, meta, bad_rows


def connect_read_only(path: Path) -> sqlite3.Connection:
    """Open the store at ``path`` to look at it, whether or not someone writes it."""
    connection = sqlite3.connect(_uri(path, "ro"), uri=True, isolation_level=None, timeout=BUSY_SECONDS)
    try:
        connection.execute("PRAGMA schema_version")
    except sqlite3.OperationalError as error:
        connection.close()
        if error.sqlite_errorcode in _HALF_DONE:
            # A killed driver left a change half done, which whoever reads next takes back.
            return sqlite3.connect(_uri(path, "rw"), uri=True, isolation_level=None, timeout=BUSY_SECONDS)
        if path.with_name(path.name + "-wal").exists():
            raise
        # A directory without write permission: SQLite cannot make its shared memory there, and needs none.
        connection = sqlite3.connect(_uri(path, "ro") + "&immutable=1", uri=True, isolation_level=None)
    return connection


def has_companions(path: Path) -> bool:
    """Whether a log or journal of the file is there."""
    return any(path.with_name(path.name + companion).exists() for companion in _COMPANIONS[1:])


def quarantine(path: Path) -> Path:
    """Rename the file and its companions to a name that says so; returns the new path."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    aside, n = path.with_name(f"{path.name}.damaged-{stamp}"), 1
    while aside.exists() or has_companions(aside):
        n += 1
        aside = path.with_name(f"{path.name}.damaged-{stamp}-{n}")
    with storage_errors(path):
        for companion in _COMPANIONS:
            with suppress(FileNotFoundError):
                path.with_name(path.name + companion).rename(aside.with_name(aside.name + companion))
        _sync_directory(path.parent)
    return aside


def mark_damaged(connection: sqlite3.Connection, ids: list[int]) -> None:
    """Take rows out of use; their points can then be given a value again."""
    connection.executemany("UPDATE attempts SET status = ? WHERE id = ?", [(DAMAGED, id_) for id_ in ids])


def disconnect(connection: sqlite3.Connection) -> None:
    """Close, leaving one plain file that can be copied and read anywhere, where nobody is reading it."""
    with suppress(sqlite3.Error):
        connection.execute("PRAGMA busy_timeout = 0")
        connection.execute("PRAGMA journal_mode = DELETE")
    connection.close()


def is_damage(error: Exception) -> bool:
    """Whether an error speaks of the file's content, not of the disk, the permissions or another process."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return not isinstance(error, sqlite3.ProgrammingError)
    return code == sqlite3.SQLITE_IOERR_SHORT_READ or code & 0xFF in _DAMAGE


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn what SQLite and the system say of a disk into a StoreError with a remedy."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        text = (isinstance(error, OSError) and error.strerror) or str(error)
        if code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN) and _room(path.parent) < _LITTLE_ROOM:
            # SQLite says that a disk is full only where it was the database or its log that found no space.
            code, text = sqlite3.SQLITE_FULL, f"{text}, as its disk is full"
        remedy = _REMEDIES.get(
            code, "see to its disk (a quota, a limit on the size of files), or choose another output"
        )
        raise StoreError(f"the store {path}: {text}; {remedy}; what was committed before is kept") from error


_DAMAGE = (
    *(sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT, sqlite3.SQLITE_TOOBIG),
    # What a table of another form answers: no such column, a text where a number should be.
    *(sqlite3.SQLITE_ERROR, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_CONSTRAINT),
)

_REMEDIES = {
    sqlite3.SQLITE_FULL: "make room on its disk and run again",
    sqlite3.SQLITE_READONLY: "make the file and its directory writable, or choose another output",
    sqlite3.SQLITE_CANTOPEN: "make its directory exist and be writable, or choose another output",
    sqlite3.SQLITE_PERM: "make the file and its directory writable, or choose another output",
    sqlite3.SQLITE_BUSY: f"another tool has held the file for {BUSY_SECONDS} s: close it and run again",
    sqlite3.SQLITE_LOCKED: f"another tool has held the file for {BUSY_SECONDS} s: close it and run again",
    sqlite3.SQLITE_CORRUPT: "it was damaged while in use: run again, and it is checked and put aside",
    sqlite3.SQLITE_NOTADB: "it was damaged while in use: run again, and it is checked and put aside",
}


def _checked(connection: sqlite3.Connection, path: Path) -> tuple[Meta, int]:
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if tables and not tables & {"attempts", "meta"}:
            raise StoreError(f"{path} is the database of another program, and is left alone; choose another path")
        raise DamagedFileError("it is an SQLite file, but not one of distfd's")
    meta = read_meta(connection)
    if meta is None:
        raise DamagedFileError("what it says of itself does not match its checksum")
    if meta.version > VERSION:
        raise StoreError(
            f"the store {path} was written by a newer distfd (schema {meta.version}, known {VERSION}); "
            "upgrade distfd, or choose another output"
        )
    lost = 0
    if _complaint(connection, "integrity_check"):
        complaint = _complaint(connection, "quick_check")
        if complaint:
            raise DamagedFileError(complaint)
        # The tables are sound and an index is not: it holds nothing of its own, but may know of rows that are gone.
        lost = sum(max(0, _count(connection, index) - _count(connection, None, index)) for index in INDEXES)
        connection.execute("REINDEX")
    if meta.version < VERSION:
        meta = upgrade(connection, meta)
    if not has_schema(connection):
        raise DamagedFileError("its tables are not those of a store")
    return meta, lost


def _count(connection: sqlite3.Connection, index: str | None, like: str | None = None) -> int:
    """Rows that an index has, or that the table has of those which an index should have."""
    by = "NOT INDEXED" if index is None else f"INDEXED BY {index}"
    query = f"SELECT count(*) FROM attempts {by} WHERE {INDEXES[like or index or '']}"  # noqa: S608  # our own names
    return int(connection.execute(query).fetchone()[0])


def _complaint(connection: sqlite3.Connection, check: str) -> str | None:
    (answer,) = connection.execute(f"PRAGMA {check}(1)").fetchone()
    return None if answer == "ok" else str(answer)


def _make_durable(connection: sqlite3.Connection, path: Path) -> None:
    # A write-ahead log needs memory that all who open the file share, so it is for local file systems only.
    journal = "DELETE" if network_filesystem(path) else "WAL"
    connection.execute(f"PRAGMA journal_mode = {journal}")
    # With FULL each commit is on the disk when it returns, in either mode.
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA temp_store = MEMORY")


def _mark_bad_rows(connection: sqlite3.Connection) -> int:
    rows = connection.execute(f"SELECT id, {', '.join(COLUMNS)} FROM attempts WHERE status <> ?", (DAMAGED,))  # noqa: S608  # our own names
    bad = [id_ for id_, *columns, checksum in rows if row_checksum(*columns) != checksum]
    if bad:
        connection.execute("BEGIN IMMEDIATE")
        mark_damaged(connection, bad)
        connection.execute("COMMIT")
    return len(bad)


def _room(directory: Path) -> float:
    """Bytes that are free; infinite where that cannot be told."""
    try:
        found = os.statvfs(directory)
    except OSError:
        return float("inf")
    return found.f_bavail * found.f_frsize if found.f_favail or not found.f_files else 0.0


def _uri(path: Path, mode: str) -> str:
    return f"{path.absolute().as_uri()}?mode={mode}"


def _sync_directory(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
