"""Opening a store file: made whole or not at all, checked before it is believed, put aside if it is damaged."""

from __future__ import annotations

import os
import sqlite3
import stat
import time
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from distfd.core.errors import StoreError
from distfd.core.files import ForeignFileError, check_ours, kind_of, open_plain, owner_only, put_aside, unused_name
from distfd.stores.filesystem import network_filesystem
from distfd.stores.rows import row_checksum
from distfd.stores.schema import (
    APPLICATION_ID,
    COLUMNS,
    DAMAGED,
    INDEXES,
    VERSION,
    Meta,
    foreign_object,
    has_schema,
    is_readable,
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


_JOURNAL_MAGIC = b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7"
"""How a journal ends that names a super-journal."""

_SECONDS = 2.0
_BYTES_A_SECOND = 20e6
"""A query may take so long, and so much longer for each byte of the file; the slowest of distfd's takes a tenth."""
_STEPS = 20_000
"""Instructions of SQLite's between two looks at the clock."""


class DamagedFileError(Exception):
    """What is at the path is no store, or no longer one."""


def create(path: Path, fingerprint: str | None, names: tuple[str, ...] | None) -> None:
    """Make an empty store at ``path``, which a kill leaves either absent or whole."""
    part = path.with_name(unused_name(path.name))
    with storage_errors(path):
        try:
            # Made before SQLite opens it, for its mode, which the journals beside it then have too.
            os.close(owner_only(str(part), os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW))
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
    check_files(path)
    with open_plain(path) as file:
        header = file.read(20)
    # Beside the name: SQLite takes a file of a format version above 2 for one that must not be written.
    if header[:16] != b"SQLite format 3\0" or not {*header[18:]} <= {1, 2}:
        raise DamagedFileError("it does not begin as an SQLite file does")
    connection = sqlite3.connect(
        _uri(path, "rw"), uri=True, isolation_level=None, timeout=BUSY_SECONDS, check_same_thread=False
    )
    # Damaged text need not be UTF-8, and is to fail its checksum rather than the query.
    connection.text_factory = lambda raw: raw.decode(errors="surrogateescape")
    _limit_time(connection, path)
    try:
        meta, lost = _checked(connection, path)
        _make_durable(connection, path)
        bad_rows = lost + _mark_bad_rows(connection)
        connection.set_progress_handler(None, 0)
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
    """Open the store at ``path`` to look at it, whether or not someone writes it; queries end in a bounded time.

    Raises
    ------
    StoreError
        If it is no plain file, or has tables, views or triggers that distfd did not make: none of them is read.
    """
    check_files(path, reading=True)
    connection = _opened_read_only(path)
    try:
        _limit_time(connection, path)
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA cell_size_check = ON")
        refuse_foreign(connection, path)
        _refuse_unreadable(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _refuse_unreadable(connection: sqlite3.Connection, path: Path) -> None:
    if not is_readable(connection):
        raise StoreError(f"{path} has not the tables of a store of distfd's; give the output of a run")


def _opened_read_only(path: Path) -> sqlite3.Connection:
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
    except BaseException:
        connection.close()
        raise
    return connection


def check_files(path: Path, *, reading: bool = False) -> None:
    """See that SQLite, which opens files by their names and follows links, will touch the store's own files alone.

    They are looked at and not opened: to close a file would give back the locks that SQLite has on it in this process.

    Parameters
    ----------
    path : Path
        The store.
    reading : bool
        Whether it is only read; then it may be another user's.

    Raises
    ------
    ForeignFileError
        If one of them is no plain file, or is a file of another place too.
    """
    for companion in _COMPANIONS:
        file = path.with_name(path.name + companion)
        if not reading:
            check_ours(file, names=1)
            continue
        try:
            found = file.lstat()
        except OSError:
            continue
        if not stat.S_ISREG(found.st_mode) or (companion and found.st_nlink > 1):
            what = kind_of(found) if not stat.S_ISREG(found.st_mode) else "a file that has a second name elsewhere"
            raise ForeignFileError(f"{file} is {what}, and no file of a store; it is not read")
    _refuse_named_journal(path.with_name(path.name + "-journal"))


def _refuse_named_journal(journal: Path) -> None:
    """Refuse a journal that names another one: SQLite would remove the file of that name, wherever it is.

    https://www.sqlite.org/fileformat2.html#the_rollback_journal; distfd's own never do, as they are of one file each.
    """
    try:
        with open_plain(journal) as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 8))
            end = file.read(8)
    except OSError:
        return
    if end == _JOURNAL_MAGIC:
        raise ForeignFileError(f"{journal} names other files, as no journal of distfd's does; move it away")


def _limit_time(connection: sqlite3.Connection, path: Path) -> None:
    """Have queries interrupted that take longer than any can on a file of this size."""
    begin = time.thread_time()
    size = path.stat().st_blocks * 512
    limit = _SECONDS + size / _BYTES_A_SECOND

    def late() -> bool:
        # Of this thread's own time, as a machine that is busy, or a disk that is slow, is no attack.
        return time.thread_time() - begin > limit

    connection.set_progress_handler(late, _STEPS)


def refuse_foreign(connection: sqlite3.Connection, path: Path) -> None:
    """See that nothing in the file runs code of its own.

    Raises
    ------
    ForeignFileError
        Names what does.
    """
    if found := foreign_object(connection):
        raise ForeignFileError(
            f"{path} has {found}, which distfd did not make: it is left alone; drop that with the sqlite3 tool if the "
            "file is yours, or choose another output"
        )


def has_companions(path: Path) -> bool:
    """Whether a log or journal of the file is there."""
    return any(path.with_name(path.name + companion).exists() for companion in _COMPANIONS[1:])


def quarantine(path: Path) -> Path:
    """Rename the file and its companions to a name that says so; returns the new path."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    with storage_errors(path):
        check_files(path)
        # Without its file a log has a name all the same.
        first = next(name for name in ("", *_COMPANIONS[1:]) if os.path.lexists(f"{path}{name}"))
        moved = put_aside(path.with_name(path.name + first), f"{path.name}.damaged-{stamp}{first}")
        aside = moved.with_name(moved.name.replace(f".damaged-{stamp}{first}", f".damaged-{stamp}", 1))
        for companion in _COMPANIONS[1:]:
            with suppress(FileNotFoundError):
                # Beside it under its own name, where SQLite looks for it.
                put_aside(path.with_name(path.name + companion), aside.name + companion)
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
    sqlite3.SQLITE_INTERRUPT: "no store of its size takes so long to be read: it is damaged, or not distfd's",
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
    refuse_foreign(connection, path)
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
