"""A lock on a file that the kernel gives back when its holder ends, however it ends."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from weakref import WeakSet

from distfd.core.errors import StoreError

if TYPE_CHECKING:
    from pathlib import Path

_held: WeakSet[FileLock] = WeakSet()


class FileLock:
    """An exclusive flock(2) on ``path``, held from construction to `release`.

    The file stays behind, and means nothing by being there: to remove it would let two processes lock two files of one
    name. It says who holds the lock.

    Raises
    ------
    StoreError
        If someone holds it, or the file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreError(
                f"the lock file {path} cannot be written: {error.strerror}; "
                "make its directory exist and be writable, or choose another output"
            ) from error
        try:
            _take(fd, path)
            _sign(fd)
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd
        _held.add(self)

    def release(self) -> None:
        """Give the lock back; a second call does nothing."""
        _held.discard(self)
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def holder(path: Path) -> str | None:
    """Who holds the lock at ``path`` at this moment, in words, or None if nobody does."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        # Shared and at once given back: _take tries again, so a look never costs a driver its lock.
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return _read(fd)
    finally:
        os.close(fd)
    return None


def _take(fd: int, path: Path) -> None:
    for _ in range(20):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.005)
        except OSError as error:
            raise StoreError(
                f"{path} cannot be locked: {error.strerror}; "
                "put the output on a file system that has locks (local, or NFS mounted with them)"
            ) from error
        else:
            return
    raise StoreError(
        f"{path.with_suffix('')} is in use by {_read(fd)}; "
        "wait for it to end or stop it, or choose another output (a run can be watched with `distfd status`)"
    )


def _sign(fd: int) -> None:
    since = datetime.now(UTC).isoformat(timespec="seconds")
    note = json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": since})
    try:
        os.ftruncate(fd, 0)
        os.pwrite(fd, note.encode(), 0)
    except OSError:
        # A full disk: the lock holds all the same, only its note is missing.
        return


def _read(fd: int) -> str:
    try:
        note = json.loads(os.pread(fd, 4096, 0))
        return f"process {note['pid']} on {note['host']} since {note['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


def _drop_in_child() -> None:
    # A forked child shares the lock: left open there, it would outlive a killed driver.
    for lock in list(_held):
        lock.release()


os.register_at_fork(after_in_child=_drop_in_child)
