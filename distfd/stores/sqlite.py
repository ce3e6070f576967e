"""Evaluations in one SQLite file that outlives the process that computes them."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from distfd.errors import InputError, StoreError
from distfd.records import Status
from distfd.stores import sqlite_file
from distfd.stores.columns import key_blobs, valid_rows
from distfd.stores.lock import FileLock
from distfd.stores.schema import Meta, row_checksum, write_meta
from distfd.stores.summary import count_computed, count_failed_attempts

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from distfd.records import Batch

_INSERT = """INSERT INTO attempts
(key, point, attempt, status, value, first, started, ended, host, pid, slot, message, detail, checksum)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (key) WHERE status = 'ok' DO NOTHING"""

_LOOKUP = "SELECT id, key, value, checksum FROM attempts WHERE status = 'ok' AND key IN ({})"
_LOOKUP_KEYS = 500
"""Keys in one query; SQLite's own limit on its parameters was 999 for long."""

_SECONDS = """SELECT point, ended - started FROM attempts
WHERE status = 'ok' AND ended >= started AND point >= 0 ORDER BY id DESC LIMIT 10000"""

_UNKEPT = "the value is not finite, so it is not used again"


class SQLiteStore:
    """Attempts in an SQLite file, values bit for bit (`distfd.protocols.Store`).

    One process at a time, one thread at a time; others look with `distfd.stores.summary.read_summary` or the sqlite3
    tool (``SELECT * FROM evaluations``). What `put` was given is on the disk when it returns.

    Parameters
    ----------
    path : path
        The file; made where it is missing. A file that is damaged, or no store, is renamed beside it and a new one
        begun.
    fingerprint : str, optional
        Identity of the objective whose values these are; not compared where None.
    names : sequence of str, optional
        The parameters' names; not compared where None.

    Attributes
    ----------
    path : Path
    quarantined : Path or None
        Where a damaged file was put.
    bad_rows : int
        Rows found, since opening, whose checksum does not match. They are kept, marked, and never returned.

    Raises
    ------
    InputError
        If the file holds evaluations of another objective, or of other parameters.
    StoreError
        If another process has it open, or it cannot be read or written.
    """

    def __init__(self, path: str | Path, *, fingerprint: str | None = None, names: Sequence[str] | None = None) -> None:
        # Resolved, so that a change of directory or a second name for the file leads to the same file and lock.
        self.path = Path(path).resolve()
        self.quarantined: Path | None = None
        self.bad_rows = 0
        self._connection: sqlite3.Connection | None = None
        self._lock = FileLock(self.path.with_name(self.path.name + ".lock"))
        try:
            self._open(fingerprint, None if names is None else tuple(names))
        except BaseException:
            self.close()
            raise

    def get(self, keys: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """(rows, size, flat): which of the (n, 2) keys have a value, and the values, ragged as in `Batch`."""
        blobs = key_blobs(keys)
        values: dict[bytes, bytes] = {}
        bad: list[int] = []
        with self._transaction() as connection:
            for start in range(0, len(blobs), _LOOKUP_KEYS):
                part = blobs[start : start + _LOOKUP_KEYS]
                hits = connection.execute(_LOOKUP.format(",".join("?" * len(part))), part)
                for id_, key, value, checksum in hits:
                    if row_checksum(key, value, Status.OK.word) == checksum:
                        values[key] = value
                    else:
                        bad.append(id_)
            sqlite_file.mark_damaged(connection, bad)
        self.bad_rows += len(bad)
        rows = [row for row, blob in enumerate(blobs) if blob in values]
        parts = [values[blobs[row]] for row in rows]
        flat = np.frombuffer(b"".join(parts), dtype="<f8").astype(np.float64)
        return np.array(rows, np.int64), np.array([len(part) // 8 for part in parts], np.int64), flat

    def put(self, keys: NDArray[np.uint64], batch: Batch) -> None:
        """Keep finished attempts, the failed ones too; the first valid value of a point stays."""
        if len(keys) != len(batch):
            raise ValueError(f"{len(keys)} keys for {len(batch)} evaluations")
        with self._transaction() as connection:
            if not self._is_in_place():
                raise StoreError(
                    f"the store {self.path} was removed or replaced while in use; "
                    "run again to begin where the file that is there ends"
                )
            connection.executemany(_INSERT, _attempts(keys, batch))

    def seconds(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """(index, seconds) of the latest evaluations that are kept, oldest first."""
        with self._transaction() as connection:
            rows = connection.execute(_SECONDS).fetchall()[::-1]
        return np.array([row[0] for row in rows], np.int64), np.array([row[1] for row in rows], np.float64)

    def n_computed(self) -> int:
        """How many points were computed in all sessions: those with a value, and those that only failed."""
        with self._transaction() as connection:
            return count_computed(connection)

    def n_failed_attempts(self) -> int:
        """How many attempts failed in all sessions."""
        with self._transaction() as connection:
            return count_failed_attempts(connection)

    def close(self) -> None:
        """Release the file and its lock; a second call does nothing."""
        connection, self._connection = self._connection, None
        try:
            if connection is not None:
                sqlite_file.disconnect(connection)
        finally:
            self._lock.release()

    def _open(self, fingerprint: str | None, names: tuple[str, ...] | None) -> None:
        with sqlite_file.storage_errors(self.path):
            if not self.path.exists():
                if sqlite_file.has_companions(self.path):
                    # SQLite would read the log of the file that is gone into the one that takes its place.
                    self._put_aside("a log is there without its file")
                sqlite_file.create(self.path, fingerprint, names)
            try:
                opened = sqlite_file.connect(self.path)
            except sqlite_file.DamagedFileError as error:
                self._put_aside(str(error))
                sqlite_file.create(self.path, fingerprint, names)
                opened = sqlite_file.connect(self.path)
            self._connection, meta, self.bad_rows = opened
            now = self.path.stat()
            self._identity = (now.st_dev, now.st_ino)
            self._compare(meta, fingerprint, names)

    def _put_aside(self, reason: str) -> None:
        self.quarantined = sqlite_file.quarantine(self.path)
        warnings.warn(
            f"{self.path} is damaged or no store of distfd ({reason}); it was renamed to {self.quarantined.name} "
            "and a new one begun",
            RuntimeWarning,
            stacklevel=4,
        )

    def _compare(self, meta: Meta, fingerprint: str | None, names: tuple[str, ...] | None) -> None:
        remedy = "start afresh with --fresh (the old run is kept beside), or choose another output"
        if None not in (fingerprint, meta.fingerprint) and fingerprint != meta.fingerprint:
            raise InputError(
                f"{self.path} holds evaluations of another objective (fingerprint {meta.fingerprint:.12}, now "
                f"{fingerprint:.12}): its code, arguments, files or the data it refers to differ; {remedy}"
            )
        if names is not None and meta.names is not None and names != meta.names:
            raise InputError(
                f"{self.path} holds evaluations for other parameter names ({_differ(meta.names, names)}); {remedy}"
            )
        claimed = replace(meta, fingerprint=fingerprint or meta.fingerprint, names=names or meta.names)
        if claimed != meta:
            with self._transaction() as connection:
                write_meta(connection, claimed)

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


def _attempts(keys: NDArray[np.uint64], batch: Batch) -> Iterator[tuple[object, ...]]:
    """The rows of a batch; what was never begun is no attempt."""
    data = np.ascontiguousarray(batch.flat, dtype="<f8").tobytes()
    ends = (8 * batch.offsets[1:]).tolist()
    starts = (8 * batch.offsets[:-1]).tolist()
    host, pid, slot = _text(batch.host), int(batch.pid), int(batch.slot)
    columns = (key_blobs(keys), batch.index, batch.attempt, batch.status, valid_rows(batch), batch.started, batch.ended)
    for r, (key, index, attempt, code, valid, started, ended) in enumerate(
        zip(*(c if isinstance(c, list) else c.tolist() for c in columns), strict=True)
    ):
        status = Status(code)
        if status is Status.NOT_RUN:
            continue
        failure = batch.failures.get(index)
        message, detail = (failure.text, failure.detail) if failure else (None, None)
        if status is Status.OK and not valid:
            status, message = Status.ERROR, _UNKEPT
        value = data[starts[r] : ends[r]]
        yield (
            *(key, index, attempt, status.word, value, sqlite_file.first_number(value)),
            *(started, ended, host, pid, slot, _text(message), _text(detail)),
            row_checksum(key, value, status.word),
        )


def _text(text: str | None) -> str | None:
    # A program's output may hold what is not UTF-8; SQLite takes nothing else.
    return None if text is None else text.encode(errors="backslashreplace").decode()


def _differ(old: tuple[str, ...], new: tuple[str, ...]) -> str:
    if len(old) != len(new):
        return f"{len(old)} there, {len(new)} now"
    at = next(k for k, (a, b) in enumerate(zip(old, new, strict=True)) if a != b)
    return f"number {at} is {old[at]!r} there and {new[at]!r} now"
