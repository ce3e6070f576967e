"""Packs work directories of successful evaluations: one file for each point, in one folder of limited size."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import stat
import tarfile
import time
from typing import IO, TYPE_CHECKING, Any

from distfd.core.files import make_folders, open_plain, remove_unfinished, replace_file
from distfd.objectives.command.work_directory import contains, walk
from distfd.objectives.command.work_folder import OUTCOME

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from distfd.objectives.command.work_folder import WorkFolder

MOST_ARCHIVED = 1000
"""Largest number of archives in one folder; the oldest is removed for a new one."""

MOST_BYTES = 10 * 2**30
"""Largest total size of these archives, in bytes; the oldest are removed for a new one."""

_LARGEST = 64 * 2**20
"""Size in bytes above which a file is left out and named in the archive; outputs are not read from such files
either."""

_LEVELS = 64
"""Largest depth of nested folders; anything deeper is left out."""

_NAME = re.compile(r"evaluation-[0-9a-f]{16}\.tar\.gz")
"""Names of archives; another file beside them, such as evaluation-of-wings.csv.gz, is the user's."""


def archive_name(x: NDArray[np.float64]) -> str:
    """The archive's name for the point x, (d,): a digest, so the same point always has the same name."""
    return f"evaluation-{hashlib.sha256(x.astype('<f8').tobytes()).hexdigest()[:16]}.tar.gz"


def pack(folder: WorkFolder, target: Path, outcome: Mapping[str, Any]) -> None:
    """Packs a work directory into one file, which appears complete or not at all.

    Parameters
    ----------
    folder : WorkFolder
        The directory, opened by its descriptor. Plain files and links are packed (links as links). Left out, and named,
        are files beyond 64 MiB, pipes and devices, entries nested deeper than 64 folders, and links that are absolute
        or lead out of the folder, through which another archive unpacked on top could write.
    target : Path
        The archive's path; an existing one is replaced, and the oldest in its folder are removed if there are too many.
    outcome : mapping
        How the evaluation ended; packed as ``distfd-outcome.json``.

    Raises
    ------
    OSError
        If it cannot be written; nothing is left then.
    ForeignFileError
        If something else than a plain file of this user's has its name.
    """
    make_folders(target.parent)

    def write(file: IO[bytes]) -> None:
        left_out = []
        # Level 1: text is a fifth of its size with it, and the slot waits.
        with tarfile.open(fileobj=file, mode="w:gz", compresslevel=1) as archive:
            for name, parent, last, found in walk(folder.handle, _LEVELS):
                if name == OUTCOME:  # unpacking would write our own file through a link of that name
                    continue
                if _is_outside(folder.path, name, parent, last, found) or not _may_be_packed(name, found):
                    left_out.append(name)
                else:
                    _add(archive, name, parent, last, found)
            _add_outcome(archive, {**outcome, "left_out": left_out, "ended": time.time()})

    replace_file(target, write, sync=False)
    _make_room(target)


def _may_be_packed(name: str, found: os.stat_result) -> bool:
    if stat.S_ISDIR(found.st_mode):
        return name.count("/") + 1 < _LEVELS
    return stat.S_ISLNK(found.st_mode) or (stat.S_ISREG(found.st_mode) and found.st_size <= _LARGEST)


def _is_outside(folder: Path, name: str, parent: int, last: str, found: os.stat_result) -> bool:
    """Whether an entry is a link that is absolute or leads out of the folder."""
    if not stat.S_ISLNK(found.st_mode):
        return False
    return os.readlink(last, dir_fd=parent).startswith("/") or not contains(folder, folder / name)


def _add(archive: tarfile.TarFile, name: str, parent: int, last: str, found: os.stat_result) -> None:
    """Adds one entry of a directory, which is opened by its folder's descriptor."""
    info = tarfile.TarInfo(name)
    info.mode, info.mtime = stat.S_IMODE(found.st_mode), found.st_mtime
    if stat.S_ISLNK(found.st_mode):
        info.type, info.linkname = tarfile.SYMTYPE, os.readlink(last, dir_fd=parent)
        archive.addfile(info)
    elif stat.S_ISDIR(found.st_mode):
        info.type = tarfile.DIRTYPE
        archive.addfile(info)
    else:
        with open_plain(last, folder=parent) as file:
            info.size = os.fstat(file.fileno()).st_size
            archive.addfile(info, file)


def count_archives(folder: Path) -> int:
    """The number of archives in a folder."""
    return sum(1 for _ in _archives(folder))


def _add_outcome(archive: tarfile.TarFile, outcome: Mapping[str, Any]) -> None:
    text = (json.dumps(outcome, indent=1, default=str) + "\n").encode()
    info = tarfile.TarInfo(OUTCOME)
    info.size, info.mtime = len(text), int(outcome["ended"])
    archive.addfile(info, io.BytesIO(text))


def _make_room(newest: Path) -> None:
    """Removes the oldest archives beyond the limits, and half-written ones of killed workers."""
    found = []
    remove_unfinished(newest.parent, _NAME)
    for entry in _archives(newest.parent):
        with contextlib.suppress(OSError):  # another worker has removed it
            status = entry.stat(follow_symlinks=False)
            if stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid():
                found.append((status.st_mtime_ns, entry.name, status.st_size))
    total = sum(size for _, _, size in found)
    count = len(found)
    for _, name, size in sorted(found):
        if (count <= MOST_ARCHIVED and total <= MOST_BYTES) or name == newest.name:
            break
        (newest.parent / name).unlink(missing_ok=True)
        count, total = count - 1, total - size


def _archives(folder: Path) -> Iterator[os.DirEntry[str]]:
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        yield from (entry for entry in entries if _NAME.fullmatch(entry.name))
