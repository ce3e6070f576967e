"""The life of a work directory: made, locked while in use, then removed, or kept with a file on how it ended."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import socket
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distfd.core.files import make_folders, open_plain, parse_json, read_plain, stands_at
from distfd.objectives.command.work_directory import PARAMETERS, STDERR, STDOUT, empty, remove

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

OUTCOME = "distfd-outcome.json"
"""Name of the file in directories that are kept. An unlocked directory without it was left by a killed run."""

MOST_KEPT = 100
"""Largest number of directories of failed evaluations that are kept in one place."""

_LARGEST_LOG, _LARGEST_OUTCOME = 64 * 2**20, 2**20
_IN_WORK, _IN_TEMPORARY = "evaluation-", "distfd-evaluation-"


class WorkFolder:
    """A new, empty, private directory, locked as long as this process lives and uses it.

    Parameters
    ----------
    work : path or None
        The folder where it is made; None for the folder of temporary files.
    """

    def __init__(self, work: str | Path | None) -> None:
        if work is not None:
            try:
                make_folders(Path(work))
            except OSError as error:
                if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
                    raise
                work = None  # another node, where the driver's path cannot be made
        prefix = f"{_IN_WORK if work else _IN_TEMPORARY}{_host()}-"
        while True:
            self.path = Path(tempfile.mkdtemp(prefix=prefix, dir=work))
            handle = _held(self.path)
            if handle is not None:
                break
        self._lock = handle

    def keep(self, outcome: Mapping[str, Any]) -> None:
        """Keeps the directory, with a file on how the evaluation ended; of huge logs only the ends are kept."""
        # Use the descriptor, as the program may have replaced these files, and the directory, by links.
        with contextlib.suppress(OSError):  # the disk may be full
            for name in (STDOUT, STDERR):
                with contextlib.suppress(OSError):
                    _cut(name, self.handle)
            text = json.dumps({**outcome, "ended": time.time()}, indent=1, default=str)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(OUTCOME, dir_fd=self.handle)
            _write_new(OUTCOME, self.handle, text.encode() + b"\n")
        self._release()

    def discard(self) -> None:
        """Removes the directory."""
        empty(self.handle)
        with contextlib.suppress(OSError):
            if self.is_in_place():
                self.path.rmdir()
        self._release()

    @property
    def handle(self) -> int:
        """A descriptor of the directory, independent of what is at its path now."""
        return self._lock

    def is_in_place(self) -> bool:
        """Whether the path still leads to the directory, and not through a link that the program left."""
        return stands_at(self.path, self.handle)

    def _release(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def _held(path: Path) -> int | None:
    """A locked descriptor of a new directory; None if a sweep took it before it was locked.

    Whoever locks it first has it. A rule by age would need clocks, and that of a file server may differ.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:  # a sweep holds it, to remove it
        os.close(handle)
        return None
    except OSError:
        return handle  # this file system has no locks, so sweeps remove nothing
    if stands_at(path, handle):
        return handle
    os.close(handle)
    return None


def sweep(work: str | Path | None) -> int:
    """Removes the directories of interrupted evaluations, whose process is gone and wrote no outcome.

    Returns
    -------
    int
        The number of directories on this host that are still in use.
    """
    left = 0
    # Leave directories of other hosts: they may be in use there, and not every shared file system shares locks.
    for path in list(_folders(work, _host())):
        with contextlib.suppress(OSError):  # another worker may be sweeping too
            # The name alone does not prove that distfd made the directory.
            if (path / OUTCOME).exists() or not ((path / PARAMETERS).exists() or not any(path.iterdir())):
                continue
            left += 1
            _remove_unheld(path)
            left -= 1
    return left


def _remove_unheld(path: Path) -> None:
    """Removes a directory that is not in use.

    Raises
    ------
    OSError
        If it is in use, or already gone.
    """
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # In the meantime another process may have used it and written its outcome.
        if not (path / OUTCOME).exists():
            remove(path)
    finally:
        os.close(handle)


def sweep_all(work: str | Path, seconds: float = 3.0) -> None:
    """Sweeps until no interrupted directory is left: processes that were just killed hold theirs a moment longer."""
    give_up = time.monotonic() + seconds
    while sweep(work) and time.monotonic() < give_up:
        time.sleep(0.1)


def make_room(work: str | Path | None, since: float) -> bool:
    """Whether a directory of a failed evaluation may be kept; those older than ``since`` are removed for it."""
    kept = [path for path in _folders(work) if (path / OUTCOME).exists()]
    if len(kept) < MOST_KEPT:
        return True
    ended = sorted((_ended(path), path) for path in kept)
    while len(ended) >= MOST_KEPT and ended[0][0] < since:
        remove(ended.pop(0)[1])
    return len(ended) < MOST_KEPT


def _ended(path: Path) -> float:
    """When its evaluation ended, by the host's clock, as for ``since``; a file server's clock may differ."""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        return float(parse_json(read_plain(path / OUTCOME, _LARGEST_OUTCOME))["ended"])
    return path.stat().st_mtime


def count_kept(work: str | Path) -> int:
    """The number of directories of ended evaluations that are kept in a folder."""
    return sum((path / OUTCOME).exists() for path in _folders(work))


def _folders(work: str | Path | None, host: str = ".+") -> Iterator[Path]:
    """The user's directories with names as by `WorkFolder`."""
    named = re.compile(f"{_IN_WORK if work else _IN_TEMPORARY}{host}-[a-z0-9_]{{8}}")
    with contextlib.suppress(OSError), os.scandir(work or tempfile.gettempdir()) as entries:
        for entry in entries:
            if not named.fullmatch(entry.name) or not entry.is_dir(follow_symlinks=False):
                continue
            if entry.stat(follow_symlinks=False).st_uid == os.getuid():
                yield Path(entry.path)


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9]", "-", socket.gethostname())


def _cut(name: str, folder: int) -> None:
    with open_plain(name, folder=folder) as stream:
        if stream.seek(0, os.SEEK_END) <= _LARGEST_LOG:
            return
        stream.seek(-_LARGEST_LOG // 4, os.SEEK_END)
        end = stream.read()
    os.unlink(name, dir_fd=folder)
    _write_new(name, folder, b"[the beginning was cut off: the file was too large to be kept]\n" + end)


def _write_new(name: str, folder: int, content: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(name, flags, 0o600, dir_fd=folder), "wb") as file:  # noqa: PTH123  # opens a descriptor
        file.write(content)
