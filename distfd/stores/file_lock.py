"""A lock on a file, which the kernel releases when its holder ends, in whatever way."""

from __future__ import annotations

import fcntl
import json
import os
import re
import socket
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from weakref import WeakSet

from distfd.core.errors import StoreError
from distfd.core.files import ForeignFileError, open_ours, open_plain, parse_json, stands_at

if TYPE_CHECKING:
    from pathlib import Path

_held: WeakSet[FileLock] = WeakSet()

_LONGEST_NOTE = 4096
_NOTE = re.compile(rb'\{"pid": \d+, "host": "[^\n]*\}|\{[^\n]{0,40}|\0*')
"""The content of a lock file; it may be cut by a full disk, or be zeros after a crash of the machine."""


class FileLock:
    """An exclusive flock(2) on ``path``, held from construction to `release`.

    The file stays after the release; its existence means nothing. Removing it could let two processes lock two
    different files of the same name. Its content says who holds the lock.

    Raises
    ------
    StoreError
        If another process holds the lock, or the file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1
        self._also: list[int] = []
        self._fd = _acquire(path)
        _held.add(self)

    def hold_too(self, file: Path) -> None:
        """Lock a second file as well, so that removing the lock file lets no other process in.

        The descriptor stays open until `release`: closing one would release all other locks of this process on the
        file.
        """
        fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            _take(fd, self._path)
        except BaseException:
            os.close(fd)
            raise
        self._also.append(fd)

    def renew(self) -> None:
        """Take the lock again if its file was removed or replaced in the meantime.

        Raises
        ------
        StoreError
            If another process has taken the lock.
        """
        if self._fd < 0 or stands_at(self._path, self._fd):
            return
        earlier, self._fd = self._fd, _acquire(self._path)
        os.close(earlier)

    def release(self) -> None:
        """Release the lock; a second call does nothing."""
        _held.discard(self)
        fd, self._fd = self._fd, -1
        also, self._also = self._also, []
        for each in (*also, *([fd] if fd >= 0 else [])):
            os.close(each)


def holder(path: Path) -> str | None:
    """Who holds the lock at ``path`` now, in words; None if nobody does."""
    try:
        with open_plain(path) as file:
            fd = os.dup(file.fileno())
    except OSError:
        return None
    try:
        # A shared lock, released at once: _take tries again, so this check never costs a driver its lock.
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return _read(fd)
    finally:
        os.close(fd)
    return None


def _acquire(path: Path) -> int:
    """A descriptor of the file at ``path``, which is then locked and signed."""
    while True:
        try:
            fd = open_ours(path, os.O_RDWR | os.O_CREAT)
        except OSError as error:
            raise StoreError(
                f"the lock file {path} cannot be written: {error.strerror}; "
                "make its directory exist and be writable, or choose another output"
            ) from error
        try:
            _take(fd, path)
            # If the file was removed between the two calls, a lock on it is worthless.
            if stands_at(path, fd):
                _sign(fd, path)
                return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)


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


def _sign(fd: int, path: Path) -> None:
    if os.fstat(fd).st_size and not _is_note(fd):
        raise ForeignFileError(
            f"{path} is no lock file of distfd's, which would be written over; move it away, or choose another output"
        )
    since = datetime.now(UTC).isoformat(timespec="seconds")
    note = json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": since})
    try:
        os.ftruncate(fd, 0)
        os.pwrite(fd, note.encode(), 0)
    except OSError:
        # The disk is full: the lock holds nevertheless, only its note is missing.
        return


def _is_note(fd: int) -> bool:
    """Whether the file holds a note as written by `_sign`, or the beginning of one."""
    try:
        return _NOTE.fullmatch(os.pread(fd, _LONGEST_NOTE + 1, 0)) is not None
    except OSError:
        return False


def _read(fd: int) -> str:
    try:
        note = parse_json(os.pread(fd, _LONGEST_NOTE, 0))
        host, since = str(note["host"])[:255], str(note["since"])[:40]
        return f"process {int(note['pid'])} on {host} since {since}"
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return "another process"


def _drop_in_child() -> None:
    # A forked child shares the lock: if it kept the descriptor, the lock would outlive a killed driver.
    for lock in list(_held):
        lock.release()


os.register_at_fork(after_in_child=_drop_in_child)
