"""Opens store files: they are made whole or not at all, checked before use, and put aside if damaged."""

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
    has_odd_kinds,
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
"""Seconds that a write waits for another tool that reads or writes the file."""

_LITTLE_ROOM = 65_536
"""Bytes of free space below which SQLite may fail: it allocates shared memory in pieces of half of this."""

_HALF_DONE = (sqlite3.SQLITE_READONLY_ROLLBACK, sqlite3.SQLITE_READONLY_RECOVERY)

_COMPANIONS = ("", "-wal", "-shm", "-journal")


_JOURNAL_MAGIC = b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7"
"""The last bytes of a journal that names a super-journal."""

_SUFFIX = ".sqlite"
"""Of the names of stores: nobody's tables and texts have it."""
_START = 1_000_000
"""Bytes at the start of a file without SQLite's header in which signs of a store are looked for."""
_PAGE = 4096
"""Bytes of one page of a store; the file has whole pages."""
_SIGNS = (b"SQLite format", APPLICATION_ID.to_bytes(4, "big"), b"CREATE TABLE attempts")
"""What the first page of a store holds."""

_SECONDS = 2.0
_BYTES_A_SECOND = 20e6
"""A query may take a base time plus a second for each so many bytes of the file; distfd's slowest query takes a tenth
of that."""
_STEPS = 20_000
"""Number of SQLite instructions between two checks of the time."""


class DamagedFileError(Exception):
    """The file at the path is not a store, or no longer a valid one."""


class OtherFileError(DamagedFileError):
    """The file at the path shows no sign of ever having been a store."""


def create(path: Path, fingerprint: str | None, names: tuple[str, ...] | None) -> None:
    """Makes an empty store at ``path``; after a kill it is either complete or absent."""
    part = path.with_name(unused_name(path.name))
    with storage_errors(path):
        try:
            # Make the file before SQLite opens it, to set its mode; the journals beside it get the same mode.
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
    """Opens the store at ``path``, checks it, and makes its commits durable.

    Returns
    -------
    connection, meta, bad_rows
        The connection is in autocommit mode. ``bad_rows`` counts rows that are lost, and rows whose checksum does not
        match, which are marked as damaged.

    Raises
    ------
    DamagedFileError
        If the file is not a complete store.
    OtherFileError
        If it is no SQLite file, has not the name of one, and shows no sign of ever having been a store.
    """
    check_files(path)
    with open_plain(path) as file:
        start = file.read(_START)
    header = start[:20]
    # Check the version as well: SQLite refuses to write a file whose format version is above 2.
    if header[:16] != b"SQLite format 3\0" or not {*header[18:]} <= {1, 2}:
        ours = path.suffix == _SUFFIX or _may_have_been_a_store(start, path.stat().st_size)
        kind = DamagedFileError if ours else OtherFileError
        raise kind("it does not begin as an SQLite file does")
    connection = sqlite3.connect(
        _uri(path, "rw"), uri=True, isolation_level=None, timeout=BUSY_SECONDS, check_same_thread=False
    )
    # Damaged text may not be UTF-8; let it fail its checksum, not the query.
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


def _may_have_been_a_store(start: bytes, size: int) -> bool:
    """Whether a file without SQLite's header, with this start, may be a damaged store and not a file of the user's."""
    if not start.strip(b"\0"):
        return True  # empty, or zeros, as a file system leaves it after a crash
    if b"\0" not in start:
        return False  # text
    return size % _PAGE == 0 or any(sign in start for sign in _SIGNS)


def connect_read_only(path: Path) -> sqlite3.Connection:
    """Opens the store at ``path`` for reading, even while it is written; queries end in limited time.

    Raises
    ------
    StoreError
        If it is not a plain file, or has tables, views or triggers that distfd did not make, which are never read.
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
            # A killed driver left a transaction half done; the next reader rolls it back.
            return sqlite3.connect(_uri(path, "rw"), uri=True, isolation_level=None, timeout=BUSY_SECONDS)
        if path.with_name(path.name + "-wal").exists():
            raise
        # The directory is read-only: SQLite cannot make its shared memory there, and does not need it.
        connection = sqlite3.connect(_uri(path, "ro") + "&immutable=1", uri=True, isolation_level=None)
    except BaseException:
        connection.close()
        raise
    return connection


def check_files(path: Path, *, reading: bool = False) -> None:
    """Checks that SQLite, which opens files by name and follows links, will only touch the store's own files.

    The files are checked without opening them: closing a file would release SQLite's locks on it in this process.

    Parameters
    ----------
    path : Path
        The store.
    reading : bool
        Whether the store is only read; then it may belong to another user.

    Raises
    ------
    ForeignFileError
        If one of the files is not a plain file, or also has a name elsewhere (a hard link).
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
    """Refuses a journal that names another journal: SQLite would remove the named file, wherever it is.

    See https://www.sqlite.org/fileformat2.html#the_rollback_journal. distfd's own journals never do, as each belongs to
    one file.
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
    """Makes SQLite interrupt queries that take longer than any query of distfd can on a file of this size."""
    begin = time.thread_time()
    size = path.stat().st_blocks * 512
    limit = _SECONDS + size / _BYTES_A_SECOND

    def late() -> bool:
        # Measure this thread's own time: a busy machine or a slow disk must not look like an attack.
        return time.thread_time() - begin > limit

    connection.set_progress_handler(late, _STEPS)


def refuse_foreign(connection: sqlite3.Connection, path: Path) -> None:
    """Checks that nothing in the file runs code of its own.

    Raises
    ------
    ForeignFileError
        If something does; the message names it.
    """
    if found := foreign_object(connection):
        raise ForeignFileError(
            f"{path} has {found}, which distfd did not make: it is left alone; drop that with the sqlite3 tool if the "
            "file is yours, or choose another output"
        )


def has_companions(path: Path) -> bool:
    """Whether the file has a log or journal beside it."""
    return any(path.with_name(path.name + companion).exists() for companion in _COMPANIONS[1:])


def quarantine(path: Path) -> Path:
    """Renames the file and its companions to a name that says that they are damaged; returns the new path."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    with storage_errors(path):
        check_files(path)
        # A log without its file can be renamed too.
        first = next(name for name in ("", *_COMPANIONS[1:]) if os.path.lexists(f"{path}{name}"))
        moved = put_aside(path.with_name(path.name + first), f"{path.name}.damaged-{stamp}{first}")
        aside = moved.with_name(moved.name.replace(f".damaged-{stamp}{first}", f".damaged-{stamp}", 1))
        for companion in _COMPANIONS[1:]:
            with suppress(FileNotFoundError):
                # Rename companions to match the file's new name, where SQLite looks for them.
                put_aside(path.with_name(path.name + companion), aside.name + companion)
        _sync_directory(path.parent)
    return aside


def mark_damaged(connection: sqlite3.Connection, ids: list[int]) -> None:
    """Marks rows as damaged, so that their points can get a value again."""
    connection.executemany("UPDATE attempts SET status = ? WHERE id = ?", [(DAMAGED, id_) for id_ in ids])


def disconnect(connection: sqlite3.Connection) -> None:
    """Closes the connection; if nobody reads the file, leaves one plain file that can be copied and read anywhere."""
    with suppress(sqlite3.Error):
        connection.execute("PRAGMA busy_timeout = 0")
        connection.execute("PRAGMA journal_mode = DELETE")
    connection.close()


def is_damage(error: Exception) -> bool:
    """Whether an error is about the file's content, not about the disk, permissions or another process."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return not isinstance(error, sqlite3.ProgrammingError)
    return code == sqlite3.SQLITE_IOERR_SHORT_READ or code & 0xFF in _DAMAGE


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """A context that turns errors of SQLite and the system about a disk into a StoreError with a remedy."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        text = (isinstance(error, OSError) and error.strerror) or str(error)
        if code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN) and _room(path.parent) < _LITTLE_ROOM:
            # SQLite reports a full disk only if the database or its log found no space.
            code, text = sqlite3.SQLITE_FULL, f"{text}, as its disk is full"
        remedy = _REMEDIES.get(
            code, "see to its disk (a quota, a limit on the size of files), or choose another output"
        )
        raise StoreError(f"the store {path}: {text}; {remedy}; what was committed before is kept") from error
    except UnicodeDecodeError as error:  # Python cannot read what SQLite says, which quotes the file
        told = error.object.decode(errors="replace")
        remedy = _REMEDIES[sqlite3.SQLITE_CORRUPT]
        raise StoreError(f"the store {path}: {told}; {remedy}; what was committed before is kept") from error


_DAMAGE = (
    *(sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT, sqlite3.SQLITE_TOOBIG),
    # Errors for a table of another form: no such column, or a text where a number should be.
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
    if has_odd_kinds(connection):
        raise DamagedFileError("its list of tables is damaged")
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
        # The tables are sound but an index is not. It holds no data of its own, but it may show rows that are lost.
        lost = sum(max(0, _count(connection, index) - _count(connection, None, index)) for index in INDEXES)
        connection.execute("REINDEX")
    if meta.version < VERSION:
        meta = upgrade(connection, meta)
    if not has_schema(connection):
        raise DamagedFileError("its tables are not those of a store")
    return meta, lost


def _count(connection: sqlite3.Connection, index: str | None, like: str | None = None) -> int:
    """Number of rows in an index, or in the table as far as the index ``like`` should have them."""
    by = "NOT INDEXED" if index is None else f"INDEXED BY {index}"
    query = f"SELECT count(*) FROM attempts {by} WHERE {INDEXES[like or index or '']}"  # noqa: S608  # our own names
    return int(connection.execute(query).fetchone()[0])


def _complaint(connection: sqlite3.Connection, check: str) -> str | None:
    (answer,) = connection.execute(f"PRAGMA {check}(1)").fetchone()
    return None if answer == "ok" else str(answer)


def _make_durable(connection: sqlite3.Connection, path: Path) -> None:
    # A write-ahead log needs memory shared by all processes that open the file, so use it on local file systems only.
    journal = "DELETE" if network_filesystem(path) else "WAL"
    connection.execute(f"PRAGMA journal_mode = {journal}")
    # With FULL, each commit is on the disk when it returns, in both journal modes.
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
    """Number of free bytes; infinite where that is not known."""
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
