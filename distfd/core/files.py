"""The one way in which distfd makes, changes and reads files, so that no link leads a write to a file of the user's.

A directory may come from a stranger, and hold links, pipes and devices under the names that distfd uses. So a file is
written under a new name that nobody else has (O_CREAT, O_EXCL), and renamed; a file that is added to is opened without
following a link, and must be a plain file with one name only; a file that is read must be a plain one too. The
directory is opened once, and all names are looked up in it.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import secrets
import stat
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from distfd.core.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_NAME = re.compile(r"\..+\.[0-9a-f]{16}\.part")
"""Names of files that are still being written; see `unused_name`."""
_DAY = 86400.0
"""Seconds after which a file that is still being written is left over from a process that was killed."""
_LONGEST_STEM = 50
"""Characters of a name that are kept in a name made from it: names end at 255 bytes."""


class ForeignFileError(StoreError):
    """What stands in the place of one of distfd's files is none of them, such as a link: nothing was changed."""


class NotPlainError(OSError):
    """What is to be read is no plain file, but a pipe, a device, a link or a directory."""

    def __init__(self, path: str | os.PathLike[str], what: str) -> None:
        super().__init__(errno.EINVAL, f"it is {what}, not a plain file", os.fspath(path))


def at_home(path: str | os.PathLike[str]) -> Path:
    """The path with ~ and ~user written out; as it is where there is no such user."""
    try:
        return Path(path).expanduser()
    except (RuntimeError, ValueError):
        return Path(path)


def owner_only(path: str, flags: int) -> int:
    """For ``open(..., opener=owner_only)``: a file that this makes has the mode 0600 from its first moment."""
    return os.open(path, flags, 0o600)


def write_own(path: Path, text: str) -> None:
    """Write a text to a new file in a directory of ours, with the mode 0600 whatever the umask."""
    with open(path, "w", encoding="utf-8", errors="surrogateescape", opener=owner_only) as file:
        file.write(text)


def make_folders(path: Path) -> None:
    """Make a directory and those above it that are missing, all for their owner alone, whatever the umask.

    Raises
    ------
    OSError
        If one cannot be made, or is there and no directory.
    """
    missing = []
    at = path
    while not at.exists() and at != at.parent:
        missing.append(at)
        at = at.parent
    for folder in reversed(missing):
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
    if not path.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), os.fspath(path))


@contextlib.contextmanager
def opened_folder(path: str | os.PathLike[str], *, follow: bool = True) -> Iterator[int]:
    """A file descriptor of a directory, by which names in it are looked up."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    handle = os.open(path, flags)
    try:
        yield handle
    finally:
        os.close(handle)


def unused_name(name: str) -> str:
    """A name for a file that is to become ``name``: hidden, and of 64 random bits."""
    return f".{name[:_LONGEST_STEM]}.{secrets.token_hex(8)}.part"


def replace_file(path: Path, write: Callable[[IO[bytes]], object], *, mode: int = 0o600, sync: bool = True) -> None:
    """Write a file whole or not at all: what was there before stays until the new one is on the disk.

    Parameters
    ----------
    path : Path
    write : callable
        Is given the file, open for bytes.
    mode : int
        Permissions of the new file.
    sync : bool
        Whether to wait until it is on the disk; a kill of the process leaves it whole in either case.

    Raises
    ------
    ForeignFileError
        If something else than a plain file of this user's is there under that name, or the directory is none.
    OSError
        If it cannot be written; nothing of it is left then.
    """
    with opened_folder(path.parent) as folder:
        check_ours(path, folder=folder)
        part = unused_name(path.name)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        handle = os.open(part, flags, mode, dir_fd=folder)
        try:
            with open(handle, "wb") as file:  # noqa: PTH123  # a descriptor
                os.fchmod(handle, mode)
                write(file)
                file.flush()
                if sync:
                    os.fsync(handle)
            os.rename(part, path.name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            # On a disk that is full it would take the room that the evaluations need.
            with contextlib.suppress(OSError):
                os.unlink(part, dir_fd=folder)
            raise


def open_to_add(path: Path, *, folder: int | None = None) -> int:
    """A file descriptor that adds to the end of a plain file of ours; made where it is missing.

    Raises
    ------
    ForeignFileError
        If it is a link, a pipe or another thing, or has a second name (a hard link) by which it is a file of another
        place too.
    OSError
        If it cannot be opened.
    """
    return open_ours(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, folder=folder)


def open_ours(path: Path, flags: int, *, folder: int | None = None) -> int:
    """Open a file that is changed where it is, as `open_to_add` says, with these flags."""
    name: str | Path = path.name if folder is not None else path
    flags |= os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        handle = os.open(name, flags, 0o600, dir_fd=folder)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.EISDIR):
            check_ours(path, folder=folder, names=1)
        raise
    try:
        _refuse(path, os.fstat(handle), _owner(path, folder), names=1)
        os.set_blocking(handle, True)
    except BaseException:
        os.close(handle)
        raise
    return handle


def check_ours(path: Path, *, folder: int | None = None, names: int | None = None) -> bool:
    """See that what stands under a name is a plain file of this user's, if anything; whether there is something.

    Parameters
    ----------
    path : Path
    folder : int, optional
        The directory's descriptor, in which only the last part of the path is looked up.
    names : int, optional
        How many names (hard links) it may have, for a file that is changed where it is.

    Raises
    ------
    ForeignFileError
        If it is anything else.
    """
    try:
        found = os.stat(path.name if folder is not None else path, dir_fd=folder, follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return False
    _refuse(path, found, _owner(path, folder), names)
    return True


def check_own_folder(path: Path) -> bool:
    """See that a directory that distfd empties is a real one of this user's, if it is there; whether it is.

    Raises
    ------
    ForeignFileError
        If it is a link or another thing.
    """
    try:
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    if not stat.S_ISDIR(found.st_mode):
        raise _foreign(path, kind_of(found))
    return True


def open_plain(path: str | os.PathLike[str], *, follow: bool = False, folder: int | None = None) -> IO[bytes]:
    """Open a plain file to read it; a pipe that nobody writes to, or a device without an end, is refused at once.

    Parameters
    ----------
    path : path
    follow : bool
        Whether a link may lead to it, as where the user has named the file.
    folder : int, optional
        A directory's descriptor, in which the path is looked up.

    Raises
    ------
    NotPlainError, OSError
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY | (0 if follow else os.O_NOFOLLOW)
    try:
        # What it is comes first: to open a device can already do something.
        _refuse_to_read(path, os.stat(path, dir_fd=folder, follow_symlinks=follow))
        handle = os.open(path, flags, dir_fd=folder)
    except ValueError as error:  # a NUL in its name
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), os.fspath(path)) from error
    try:
        _refuse_to_read(path, os.fstat(handle))
        return open(handle, "rb")  # noqa: PTH123  # a descriptor
    except BaseException:
        os.close(handle)
        raise


_PIECE = 2**20
"""Bytes that are read at a time of what has no size."""


def read_plain(path: str | os.PathLike[str], most: int, *, follow: bool = False) -> bytes:
    """The bytes of a plain file.

    Raises
    ------
    NotPlainError, OSError
        If it is no plain file, cannot be read, or has more than ``most`` bytes.
    """
    with open_plain(path, follow=follow) as file:
        # By its size: a read of so many bytes as it may have would take the memory for them first.
        found = file.read(min(most, os.fstat(file.fileno()).st_size) + 1)
        while len(found) <= most and (more := file.read(_PIECE)):  # it grows, or the file system tells no size
            found += more
    if len(found) > most:
        raise OSError(errno.EFBIG, f"it has more than {most / 1e6:g} MB", os.fspath(path))
    return found


def parse_json(text: str | bytes) -> Any:
    """What JSON says that may come from a stranger; a whole number beyond 64 bits becomes a float, and then maybe inf.

    Python's own whole numbers have no end, and fail far from here, where one is put into an array of numbers.

    Raises
    ------
    ValueError, RecursionError
        If it is no JSON.
    """
    return json.loads(text, parse_int=_whole)


def _whole(digits: str) -> int | float:
    return int(digits) if len(digits) < _DIGITS_OF_64_BITS else float(digits)


_DIGITS_OF_64_BITS = 19
"""With a sign, or without: 18 digits fit in any case, and distfd writes none that are longer."""


def put_aside(path: Path, name: str) -> Path:
    """Rename a file or directory to a name beside it that is made for it, so that nothing which is there is lost.

    Parameters
    ----------
    path : Path
        What is renamed.
    name : str
        The new name; a number is added where it is taken.

    Returns
    -------
    Path
        The new path.

    Raises
    ------
    OSError
        If it cannot be renamed.
    """
    folder = path.is_dir() and not path.is_symlink()
    n = 1
    while True:
        aside = path.with_name(name if n == 1 else f"{name}-{n}")
        try:
            if folder:
                aside.mkdir(mode=0o700)
            else:
                os.close(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        except FileExistsError:
            n += 1
            continue
        try:
            # In the place of the empty one that was made a moment ago.
            path.rename(aside)
        except BaseException:
            with contextlib.suppress(OSError):
                aside.rmdir() if folder else aside.unlink()
            raise
        return aside


def remove_unfinished(folder: Path, names: tuple[str, ...] | re.Pattern[str]) -> None:
    """Remove what killed processes left half written of files of these names, a day ago or earlier."""
    known = names.fullmatch if isinstance(names, re.Pattern) else names.__contains__
    with contextlib.suppress(OSError), opened_folder(folder) as handle:
        for name in os.listdir(handle):  # noqa: PTH208  # of a descriptor
            stem = name[1:].rsplit(".", 2)[0]
            if not _NAME.fullmatch(name) or not known(stem):
                continue
            with contextlib.suppress(OSError):
                found = os.stat(name, dir_fd=handle, follow_symlinks=False)
                ours = stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and found.st_nlink == 1
                if ours and time.time() - found.st_mtime > _DAY:
                    os.unlink(name, dir_fd=handle)


def write_named(path: str | os.PathLike[str], write: Callable[[IO[bytes]], object]) -> None:
    """Write a file that the user has named, such as by ``--json``: whole or not at all, and for its owner alone.

    A link is followed, as the user has chosen it, and a file that was there keeps its mode. A device or a pipe, such
    as /dev/stdout, is written to as it is.

    Raises
    ------
    ForeignFileError, OSError
    """
    target = Path(os.path.realpath(path))
    try:
        found = target.stat()
    except FileNotFoundError:
        replace_file(target, write)
        return
    if stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid():
        replace_file(target, write, mode=stat.S_IMODE(found.st_mode))
        return
    with open(path, "wb") as file:  # noqa: PTH123  # /dev/stdout is to stay what it is
        write(file)


def kind_of(found: os.stat_result) -> str:
    """What a file is, in words."""
    kinds = {
        stat.S_IFLNK: "a link",
        stat.S_IFIFO: "a named pipe",
        stat.S_IFDIR: "a directory",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    return kinds.get(stat.S_IFMT(found.st_mode), "a plain file")


def _owner(path: Path, folder: int | None) -> int:
    """The owner of the directory: on some network file systems all files belong to one user, whoever made them."""
    try:
        return os.fstat(folder).st_uid if folder is not None else path.parent.stat().st_uid
    except OSError:
        return -1


def _refuse_to_read(path: str | os.PathLike[str], found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise NotPlainError(path, kind_of(found))


def _refuse(path: Path, found: os.stat_result, owner: int, names: int | None) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise _foreign(path, kind_of(found))
    if found.st_uid not in (os.geteuid(), owner):
        raise _foreign(path, "a file of another user")
    if names is not None and found.st_nlink > names:
        raise _foreign(path, "a file that has a second name elsewhere (a hard link)")


def _foreign(path: Path, what: str) -> ForeignFileError:
    return ForeignFileError(
        f"{path} is {what}, and not the plain file that distfd keeps there; nothing was written: see whose it is, and "
        "move it away, or choose another output"
    )
