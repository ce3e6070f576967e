"""A store in an SQLite file, which outlives the process that computes the values."""

from __future__ import annotations

import json
import os
import time
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core.errors import InputError, StoreError
from distfd.core.files import ForeignFileError
from distfd.core.records import DOUBLE, Status
from distfd.core.warning import warn
from distfd.stores import sqlite_file
from distfd.stores.base import Store
from distfd.stores.columns import key_blobs
from distfd.stores.file_lock import FileLock
from distfd.stores.filesystem import network_filesystem
from distfd.stores.rows import decision_checksum, row_checksum, rows_of
from distfd.stores.schema import COLUMNS, Meta, write_meta
from distfd.stores.spool_intake import SpoolIntake
from distfd.stores.summary import count_computed, count_failed_attempts
from distfd.workers import spool

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from distfd.core.points import Points
    from distfd.core.records import Batch


def claimed(meta: Meta, path: Path, fingerprint: str | None, names: tuple[str, ...] | None) -> Meta:
    """The description that the file gets; None for ``fingerprint`` or ``names`` means that it is not compared.

    Raises
    ------
    InputError
        If the file belongs to another objective, or to other parameters.
    """
    remedy = "start afresh with --fresh (the old run is kept beside), or choose another output"
    if None not in (fingerprint, meta.fingerprint) and fingerprint != meta.fingerprint:
        raise InputError(
            f"{path} holds evaluations of another objective (fingerprint {meta.fingerprint:.12}, now "
            f"{fingerprint:.12}): its code, program, arguments, files or the data it refers to differ; {remedy}"
        )
    if names is not None and meta.names is not None and names != meta.names:
        raise InputError(f"{path} holds evaluations for other parameter names ({_differ(meta.names, names)}); {remedy}")
    return replace(meta, fingerprint=fingerprint or meta.fingerprint, names=names or meta.names)


def _differ(old: tuple[str, ...], new: tuple[str, ...]) -> str:
    if len(old) != len(new):
        return f"{len(old)} there, {len(new)} now"
    at = next(k for k, (a, b) in enumerate(zip(old, new, strict=True)) if a != b)
    return f"number {at} is {old[at]!r} there and {new[at]!r} now"


_SHORT = 1000
"""Largest number of coordinates for which x is written, as an optimisation has thousands of waves."""


@dataclass
class Wave:
    """A request whose evaluations are put into a store; it is entered in the file with the first of them."""

    points: Points
    task: str
    reused: int
    started: float = field(default_factory=time.time)
    _number: int | None = None

    def enter(self, connection: sqlite3.Connection) -> int:
        """The wave's number in the file; must run in a transaction that also commits evaluations of the wave."""
        if self._number is None or not connection.execute(_THERE, (self._number,)).fetchone():
            x = json.dumps(self.points.x.tolist()) if len(self.points.x) <= _SHORT else None
            row = (self.task, len(self.points), self.reused, self.started, x)
            self._number = int(connection.execute(_ENTER, row).lastrowid or 0)
        return self._number


# If a transaction failed, its entry for the wave was rolled back too.
_THERE = "SELECT 1 FROM waves WHERE id = ?"

_ENTER = "INSERT INTO waves (task, points, reused, started, x) VALUES (?, ?, ?, ?, ?)"

_INSERT = f"""INSERT INTO attempts ({", ".join(COLUMNS)}) VALUES ({", ".join("?" * len(COLUMNS))})
ON CONFLICT (key) WHERE status = 'ok' DO NOTHING"""  # noqa: S608  # our own names

_OPENED_WITH = "SELECT key, value FROM attempts WHERE status = 'ok' AND id <= ? AND key IN ({})"

_ADDED_SINCE = f"SELECT id, {', '.join(COLUMNS)} FROM attempts WHERE status = 'ok' AND id > ? AND key IN ({{}})"  # noqa: S608  # as above

_BITS = "SELECT key, bits FROM attempts WHERE status = 'ok' AND bits IS NOT NULL AND key IN ({})"

_LOOKUP_KEYS = 500
"""Number of keys in one query; SQLite's limit on parameters was 999 for a long time."""

_KEY, _VALUE, _STATUS = (COLUMNS.index(name) for name in ("key", "value", "status"))

_COUNT_OF = "SELECT count(DISTINCT key) FROM attempts WHERE status = 'ok' AND key IN ({})"

_TRIES = """SELECT count(*) FILTER (WHERE status <> 'ok'), count(*) FILTER (WHERE status = 'ok')
FROM attempts WHERE key = ?"""

_SECONDS = """SELECT point, ended - started FROM attempts
WHERE status = 'ok' AND ended >= started AND point >= 0 ORDER BY id DESC LIMIT 10000"""

_WORTH_SYNCING = 1.0
"""A commit waits for the disk if its evaluations took at least this many seconds."""


class SQLiteStore(Store):
    """Attempts in an SQLite file, values bit for bit (`distfd.stores.base.Store`).

    Only one process and one thread may write. Others can look with `distfd.stores.summary.read_summary` or the sqlite3
    tool (``SELECT * FROM evaluations``). When `put` returns, the evaluations survive a kill of the process. They also
    survive a crash of the machine, except the last second's worth of evaluations that take less than a second each.

    Parameters
    ----------
    path : path
        The file; made if it is missing. A store that is damaged is renamed, and a new one is started.
    fingerprint : str, optional
        Identity of the objective whose values these are; None is not compared.
    names : sequence of str, optional
        The parameters' names; None is not compared.
    spool : path, optional
        A folder where workers leave long evaluations that a killed driver cannot receive (`distfd.workers.spool`). They
        are taken in when the store is opened again. Default: beside the file.

    Attributes
    ----------
    path : Path
    quarantined : Path or None
        Where a damaged file was put.
    bad_rows : int
        Number of rows found since opening whose checksum does not match. They are kept, marked, and never returned.

    Raises
    ------
    InputError
        If the file holds evaluations of another objective, or of other parameters.
    StoreError
        If another process has the file open, it cannot be read or written, or it is a file of something else.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        fingerprint: str | None = None,
        names: Sequence[str] | None = None,
        spool: str | Path | None = None,
    ) -> None:
        # Resolve links, so that after a change of directory, or by a second name, the file and lock are still the same.
        self.path = Path(os.path.realpath(path))
        self._linked = self.path.name != Path(path).name or Path(path).is_symlink()
        self.quarantined: Path | None = None
        self.bad_rows = 0
        self._connection: sqlite3.Connection | None = None
        self._wave: Wave | None = None
        self._unsynced = 0.0
        self._logs = self._waits = True
        self._checked = self._checked_version = 0
        self._leftovers: SpoolIntake | None = None
        self._lock = FileLock(self.path.with_name(self.path.name + ".lock"))
        try:
            self._open(fingerprint, None if names is None else tuple(names))
            root = self.path.with_name(self.path.name + ".spool") if spool is None else Path(os.path.realpath(spool))
            self._leftovers = SpoolIntake(root)
            self._take_in(self._leftovers)
        except BaseException:
            self.close()
            raise

    def get(self, keys: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """(rows, size, flat): which of the (n, 2) keys have a value, and the values, ragged as in `Batch`."""
        if self._leftovers is not None and self.awaits_leftovers:
            self._take_in(self._leftovers)
        blobs = key_blobs(keys)
        values: dict[bytes, bytes] = {}
        bad: list[int] = []
        with self._transaction() as connection:
            if self._checked and _data_version(connection) != self._checked_version:
                self._checked = 0  # another connection has written to the file since
            for start in range(0, len(blobs), _LOOKUP_KEYS):
                part = blobs[start : start + _LOOKUP_KEYS]
                holders = ",".join("?" * len(part))
                if self._checked:
                    values.update(connection.execute(_OPENED_WITH.format(holders), (self._checked, *part)))
                added = connection.execute(_ADDED_SINCE.format(holders), (self._checked, *part))
                for id_, *columns, checksum in added:
                    if row_checksum(*columns) == checksum:
                        values[columns[_KEY]] = columns[_VALUE]
                    else:
                        bad.append(id_)
            sqlite_file.mark_damaged(connection, bad)
        self.bad_rows += len(bad)
        rows = [row for row, blob in enumerate(blobs) if blob in values]
        parts = [values[blobs[row]] for row in rows]
        flat = np.frombuffer(b"".join(parts), dtype="<f8").astype(np.float64)
        return np.array(rows, np.int64), np.array([len(part) // 8 for part in parts], np.int64), flat

    def bits(self, keys: NDArray[np.uint64]) -> NDArray[np.uint8]:
        """Bits of the number type in which J returned each value, (n,)."""
        blobs, known = key_blobs(keys), dict[bytes, int]()
        with self._transaction() as connection:
            for start in range(0, len(blobs), _LOOKUP_KEYS):
                part = blobs[start : start + _LOOKUP_KEYS]
                known.update(connection.execute(_BITS.format(",".join("?" * len(part))), part))
        return np.array([known.get(blob, DOUBLE) for blob in blobs], dtype=np.uint8)

    def begin_wave(self, points: Points, task: str, *, reused: int) -> None:
        """Note the points that the following batches belong to, for people who read the file."""
        self._wave = Wave(points, task, reused)

    def put(self, keys: NDArray[np.uint64], batch: Batch) -> None:
        """Keep finished attempts, including failed ones; the first valid value of a point is kept."""
        if len(keys) != len(batch):
            raise ValueError(f"{len(keys)} keys for {len(batch)} evaluations")
        seconds = batch.ended - batch.started
        self._put(keys, batch, self._wave, float(np.nansum(seconds)))
        if self._leftovers is not None and (long := seconds >= spool.SECONDS).any():
            self._leftovers.forget(key.hex() for key in key_blobs(keys[long]))

    @property
    def awaits_leftovers(self) -> bool:
        """Whether workers of an earlier session may still leave evaluations, which `get` then finds."""
        return self._leftovers is not None and self._leftovers.of_earlier_sessions

    def spool_place(self) -> str | None:
        """A folder where workers leave evaluations in case this process dies; None where there can be none."""
        return None if self._leftovers is None else self._leftovers.place()

    def seconds(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """(index, seconds) of the latest evaluations that are kept, oldest first."""
        with self._transaction() as connection:
            rows = connection.execute(_SECONDS).fetchall()[::-1]
        return np.array([row[0] for row in rows], np.int64), np.array([row[1] for row in rows], np.float64)

    def decision(self, key: bytes) -> int | None:
        """The decision under this key; None if there is none, or its row is damaged."""
        with self._transaction() as connection:
            row = connection.execute("SELECT value, checksum FROM decisions WHERE key = ?", (key,)).fetchone()
        return None if row is None or row[1] != decision_checksum(key, row[0]) else int(row[0])

    def decide(self, key: bytes, value: int) -> None:
        """Keep a decision; it replaces an earlier one under the same key."""
        with self._transaction() as connection:
            row = (key, value, decision_checksum(key, value))
            connection.execute("INSERT OR REPLACE INTO decisions VALUES (?, ?, ?)", row)

    def n_computed(self) -> int:
        """Number of points computed in all sessions: those with a value, and those that only failed."""
        with self._transaction() as connection:
            return count_computed(connection)

    def n_failed_attempts(self) -> int:
        """Number of attempts that failed in all sessions."""
        with self._transaction() as connection:
            return count_failed_attempts(connection)

    def close(self) -> None:
        """Release the file and its lock; a second call does nothing."""
        leftovers, self._leftovers = self._leftovers, None
        try:
            if leftovers is not None and self._connection is not None:
                self._close_spool(leftovers)
        finally:
            self._disconnect()

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        try:
            if connection is not None:
                sqlite_file.disconnect(connection)
        finally:
            self._lock.release()

    def _put(self, keys: NDArray[np.uint64], batch: Batch, wave: Wave | None, seconds: float) -> None:
        """Writes rows in one commit; ``seconds`` is the time that computing them took."""
        self._unsynced += seconds
        self._sync(durable=self._unsynced >= _WORTH_SYNCING)
        self._lock.renew()
        with self._transaction() as connection:
            if not self._is_in_place():
                raise StoreError(
                    f"the store {self.path} was removed or replaced while in use; "
                    "run again to begin where the file that is there ends"
                )
            number = None if wave is None else wave.enter(connection)
            if _schema_version(connection) != self._schema:
                self._check_schema(connection)
            before, points = connection.total_changes, None if wave is None else wave.points
            rows = list(rows_of(keys, batch, number, points))
            connection.executemany(_INSERT, rows)
            if connection.total_changes - before != len(rows):
                self._check_kept(connection, rows)
        if self._unsynced >= _WORTH_SYNCING:
            self._unsynced = 0.0

    def _check_schema(self, connection: sqlite3.Connection) -> None:
        """Checks that nobody has added a trigger, or anything else that acts on writes, to the file."""
        sqlite_file.refuse_foreign(connection, self.path)
        self._schema = _schema_version(connection)

    def _check_kept(self, connection: sqlite3.Connection, rows: list[tuple[Any, ...]]) -> None:
        """Checks that all values are in the file: a value that was not inserted must have been there before."""
        wanted = list({row[_KEY] for row in rows if row[_STATUS] == Status.OK.word})
        for start in range(0, len(wanted), _LOOKUP_KEYS):
            part = wanted[start : start + _LOOKUP_KEYS]
            (known,) = connection.execute(_COUNT_OF.format(",".join("?" * len(part))), part).fetchone()
            if known != len(part):
                raise StoreError(
                    f"the store {self.path} did not keep {len(part) - known} of {len(part)} values that were put into "
                    "it; look for what acts on its tables, or choose another output"
                )

    def _sync(self, *, durable: bool) -> None:
        """Sets whether the next commit waits for the disk. If not, the kernel has the data: a kill cannot undo it."""
        if self._connection is not None and self._waits != durable and self._logs:
            self._connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            self._waits = durable

    def _take_in(self, leftovers: SpoolIntake, *, own: bool = False) -> None:
        """Commits evaluations that workers left, then removes their files."""
        for path, key, batch in leftovers.found(own=own):
            with self._transaction() as connection:
                tries, known = connection.execute(_TRIES, (key_blobs(key)[0],)).fetchone()
            if not known:
                numbered = replace(batch, attempt=np.array([1 + tries], np.int32))
                self._put(key, numbered, None, float((batch.ended - batch.started)[0]))
            path.unlink(missing_ok=True)

    def _close_spool(self, leftovers: SpoolIntake) -> None:
        try:
            self._take_in(leftovers, own=True)
        except StoreError:
            return  # the error was reported, or the next session takes these in and reports it
        leftovers.close()

    def _open(self, fingerprint: str | None, names: tuple[str, ...] | None) -> None:
        with sqlite_file.storage_errors(self.path):
            sqlite_file.check_files(self.path)
            if not self.path.exists():
                if sqlite_file.has_companions(self.path):
                    # SQLite would apply the old file's log to the new file.
                    self._put_aside("a log is there without its file")
                self._refuse_link("there is nothing")
                sqlite_file.create(self.path, fingerprint, names)
            try:
                opened = self._connect()
            except sqlite_file.DamagedFileError as error:
                self._refuse_link(f"that is no store of distfd's ({error})")
                if isinstance(error, sqlite_file.OtherFileError):
                    raise ForeignFileError(
                        f"{self.path} is a file of something else, and no store of distfd's ({error}); it was not "
                        "changed: give another path, or move that file away"
                    ) from None
                self._put_aside(str(error))
                sqlite_file.create(self.path, fingerprint, names)
                opened = self._connect()
            self._connection, meta, self.bad_rows = opened
            self._schema = _schema_version(self._connection)
            # The checksums of all rows so far were compared a moment ago.
            (self._checked,) = self._connection.execute("SELECT ifnull(max(id), 0) FROM attempts").fetchone()
            self._checked_version = _data_version(self._connection)
            now = self.path.stat()
            self._identity = (now.st_dev, now.st_ino)
            # Without a write-ahead log, only FULL keeps the file whole in a crash.
            (journal,) = self._connection.execute("PRAGMA journal_mode").fetchone()
            self._logs = journal == "wal"
            self._claim(meta, fingerprint, names)
            self._tell_bad_rows()

    def _connect(self) -> tuple[sqlite3.Connection, Meta, int]:
        if not network_filesystem(self.path):
            # On network file systems, flock is emulated by byte locks, which SQLite takes itself.
            self._lock.hold_too(self.path)
        return sqlite_file.connect(self.path)

    def _refuse_link(self, what: str) -> None:
        """Refuses to make or rename a file through a link: the user, or a stranger, named the link, not its target."""
        if self._linked:
            raise ForeignFileError(
                f"the path of the store is a link to {self.path}, and {what}; nothing was written: give the path itself"
            )

    def _tell_bad_rows(self) -> None:
        if self.bad_rows:
            warn(
                f"{self.bad_rows} evaluations in {self.path} are damaged; they are kept, marked, and evaluated again",
                RuntimeWarning,
            )

    def _put_aside(self, reason: str) -> None:
        self._refuse_link(f"that is no store of distfd's ({reason})")
        self.quarantined = sqlite_file.quarantine(self.path)
        warn(
            f"{self.path} is damaged or no store of distfd ({reason}); it was renamed to {self.quarantined.name} "
            "and a new one begun",
            RuntimeWarning,
        )

    def _claim(self, meta: Meta, fingerprint: str | None, names: tuple[str, ...] | None) -> None:
        mine = claimed(meta, self.path, fingerprint, names)
        if mine != meta:
            with self._transaction() as connection:
                write_meta(connection, mine)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        connection = self._connection
        if connection is None:
            raise StoreError(f"the store {self.path} is closed")
        with sqlite_file.storage_errors(self.path):
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    def _is_in_place(self) -> bool:
        try:
            now = self.path.stat()
        except FileNotFoundError:
            return False
        return (now.st_dev, now.st_ino) == self._identity


def _data_version(connection: sqlite3.Connection) -> int:
    """A number that changes when another connection has written to the file."""
    return int(connection.execute("PRAGMA data_version").fetchone()[0])


def _schema_version(connection: sqlite3.Connection) -> int:
    """A number that changes with the tables, views and triggers of the file."""
    return int(connection.execute("PRAGMA schema_version").fetchone()[0])
