"""All functions by which distfd makes, changes and reads files, so that no link leads a write to a user's file.

A directory may come from a stranger, and hold links, pipes and devices under the names that distfd uses. Therefore: A
file is written under a new, unique name (O_CREAT, O_EXCL), and then renamed. A file that is appended to is opened
without following a link, and must be a plain file with one name only. A file that is read must be a plain one too. The
directory is opened once, and all names are looked up in it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import secrets
import stat
import tempfile
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from distfd.core.errors import InputError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_NAME = re.compile(r"\..+\.[0-9a-f]{16}\.part")
"""Names of files that are still being written; see `unused_name`."""
_DAY = 86400.0
"""Age in seconds above which an unfinished file was left by a killed process."""
_LONGEST_STEM = 50
"""Number of characters of a name that are kept in a name derived from it: names end at 255 bytes."""


class ForeignFileError(StoreError):
    """At the place of a file of distfd's is something else, such as a link or a user's own file; it was not changed."""


class NotPlainError(OSError):
    """A path to be read is not a plain file, but a pipe, a device, a link or a directory."""

    def __init__(self, path: str | os.PathLike[str], what: str) -> None:
        super().__init__(errno.EINVAL, f"it is {what}, not a plain file", os.fspath(path))


def at_home(path: str | os.PathLike[str]) -> Path:
    """The path with ~ and ~user expanded; unchanged if there is no such user."""
    try:
        return Path(path).expanduser()
    except (RuntimeError, ValueError):
        return Path(path)


def file_path(what: str, path: Any) -> Path:
    """A file's path as the user gives it; ``what`` is the argument.

    Raises
    ------
    InputError
        If it is no path, or can be none of a file.
    """
    text = os.fspath(path) if isinstance(path, (str, os.PathLike)) else None
    if not isinstance(text, str) or "\0" in text or not Path(text).name:
        raise InputError(f"{what}: must be the path of a file (was {path!r})")
    return Path(text)


def owner_only(path: str, flags: int) -> int:
    """For ``open(..., opener=owner_only)``: a new file has the mode 0600 from the start."""
    return os.open(path, flags, 0o600)


def write_own(path: Path, text: str) -> None:
    """Writes a text to a new file in a directory of distfd, with the mode 0600 whatever the umask is."""
    with open(path, "w", encoding="utf-8", errors="surrogateescape", opener=owner_only) as file:
        file.write(text)


def make_folders(path: Path) -> None:
    """Makes a directory and its missing parents, accessible to their owner only, whatever the umask is.

    Raises
    ------
    OSError
        If one cannot be made, or exists and is not a directory.
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
    """A file descriptor of a directory, in which names can be looked up."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    handle = os.open(path, flags)
    try:
        yield handle
    finally:
        os.close(handle)


def unused_name(name: str) -> str:
    """A temporary name for a file that is to become ``name``: hidden, with 64 random bits."""
    return f".{name[:_LONGEST_STEM]}.{secrets.token_hex(8)}.part"


def replace_file(path: Path, write: Callable[[IO[bytes]], object], *, mode: int = 0o600, sync: bool = True) -> None:
    """Writes a file completely or not at all: an existing file is kept until the new one is on the disk.

    Parameters
    ----------
    path : Path
    write : callable
        Called with the open binary file.
    mode : int
        Permissions of the new file.
    sync : bool
        Whether to wait until the file is on the disk; a kill of the process leaves it complete in either case.

    Raises
    ------
    ForeignFileError
        If something other than a plain file of this user has that name, or the directory is not a directory.
    OSError
        If the file cannot be written; nothing is left behind then.
    """
    with opened_folder(path.parent) as folder:
        check_ours(path, folder=folder)
        part = unused_name(path.name)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        handle = os.open(part, flags, mode, dir_fd=folder)
        try:
            with open(handle, "wb") as file:  # noqa: PTH123  # opens a descriptor
                os.fchmod(handle, mode)
                write(file)
                file.flush()
                if sync:
                    os.fsync(handle)
            os.rename(part, path.name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            # On a full disk, a partial file would take space that the evaluations need.
            with contextlib.suppress(OSError):
                os.unlink(part, dir_fd=folder)
            raise


def open_to_add(path: Path, *, folder: int | None = None) -> int:
    """A file descriptor for appending to a plain file of distfd; the file is made if it is missing.

    Raises
    ------
    ForeignFileError
        If it is a link, a pipe or something else, or has a second name (a hard link), so that it is also a file of
        another place.
    OSError
        If the file cannot be opened.
    """
    return open_ours(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, folder=folder)


def open_ours(path: Path, flags: int, *, folder: int | None = None) -> int:
    """Opens a file that is changed in place, with these flags and the checks of `open_to_add`."""
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
    """Checks that a name stands for a plain file of this user, if it exists; returns whether it exists.

    Parameters
    ----------
    path : Path
    folder : int, optional
        Descriptor of the directory; only the last part of the path is then looked up, in it.
    names : int, optional
        Largest number of names (hard links) allowed, for a file that is changed in place.

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
    """Checks that a directory that distfd will empty is a real one of this user; returns whether it exists.

    Raises
    ------
    ForeignFileError
        If it is a link or something else.
    """
    try:
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    if not stat.S_ISDIR(found.st_mode):
        raise _foreign(path, kind_of(found))
    return True


def own_place(name: str, refusal: type[Exception]) -> Path:
    """A folder among this node's temporary files, for what all of the user's workers share; it is made if needed.

    Code is run from there, so no other user may write to it.

    Parameters
    ----------
    name : str
        The folder's name without the user's number.
    refusal : type
        Of the error that is raised if another user may write there.
    """
    place = Path(tempfile.gettempdir()) / f"{name}-{os.getuid()}"
    with contextlib.suppress(FileExistsError):
        place.mkdir(mode=0o700)
    found = place.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise refusal(f"{place} on this node is not a folder that you alone can write to; remove it")
    return place


@contextlib.contextmanager
def one_process(lock: Path) -> Iterator[None]:
    """Inside, no other process of this node is inside with the same lock file."""
    handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def stands_at(path: Path, handle: int) -> bool:
    """Whether the path leads, without a link, to the file or directory of the descriptor."""
    try:
        there = path.lstat()
    except OSError:
        return False
    return os.path.samestat(there, os.fstat(handle))


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def open_plain(path: str | os.PathLike[str], *, follow: bool = False, folder: int | None = None) -> IO[bytes]:
    """Opens a plain file for reading; refuses a pipe without a writer, or an endless device, at once.

    Parameters
    ----------
    path : path
    follow : bool
        Whether to follow a link, as where the user has named the file.
    folder : int, optional
        Descriptor of a directory in which the path is looked up.

    Raises
    ------
    NotPlainError, OSError
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY | (0 if follow else os.O_NOFOLLOW)
    try:
        # Check the kind of file first, as opening a device can already have an effect.
        _refuse_to_read(path, os.stat(path, dir_fd=folder, follow_symlinks=follow))
        handle = os.open(path, flags, dir_fd=folder)
    except ValueError as error:  # the name contains a NUL
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), os.fspath(path)) from error
    try:
        _refuse_to_read(path, os.fstat(handle))
        return open(handle, "rb")  # noqa: PTH123  # opens a descriptor
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
        If it is not a plain file, cannot be read, or has more than ``most`` bytes.
    """
    with open_plain(path, follow=follow) as file:
        # By its size: a read of so many bytes as it may have would take the memory for them first.
        found = file.read(min(most, os.fstat(file.fileno()).st_size) + 1)
        while len(found) <= most and (more := file.read(_PIECE)):  # it grows, or the file system tells no size
            found += more
    if len(found) > most:
        raise OSError(errno.EFBIG, f"it has more than {most / 1e6:g} MB", os.fspath(path))
    return found


def parse_json(text: str | bytes, objects: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Any:
    """Parses JSON that may come from a stranger; an integer beyond 64 bits becomes a float, perhaps inf.

    Python's integers have no limit, and would cause an error far from here, when one is put into an array of numbers.

    Parameters
    ----------
    text : str or bytes
    objects : callable, optional
        Makes an object from its names and values, in their order; a dict by default, of equal names the last.

    Raises
    ------
    ValueError, RecursionError
        If it is not JSON.
    """
    return json.loads(text, parse_int=_whole, object_pairs_hook=objects)


def _whole(digits: str) -> int | float:
    return int(digits) if len(digits) < _DIGITS_OF_64_BITS else float(digits)


_DIGITS_OF_64_BITS = 19
"""Longest integer that is kept, in characters with the sign: 18 digits always fit, and distfd writes none that are
longer."""


def put_aside(path: Path, name: str) -> Path:
    """Renames a file or directory to a new name beside it, so that no existing file is lost.

    Parameters
    ----------
    path : Path
        The file or directory.
    name : str
        The new name; a number is added if it is taken.

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
            # Replaces the empty file that was just made to reserve the name.
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
        for name in os.listdir(handle):  # noqa: PTH208  # the argument is a descriptor
            stem = name[1:].rsplit(".", 2)[0]
            if not _NAME.fullmatch(name) or not known(stem):
                continue
            with contextlib.suppress(OSError):
                found = os.stat(name, dir_fd=handle, follow_symlinks=False)
                ours = stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and found.st_nlink == 1
                if ours and time.time() - found.st_mtime > _DAY:
                    os.unlink(name, dir_fd=handle)


def write_named(path: str | os.PathLike[str], write: Callable[[IO[bytes]], object]) -> None:
    """Writes a file that the user has named, such as by ``--json``: complete or not at all, for its owner only.

    A link is followed, as it is the user's choice, and an existing file keeps its mode. A device or a pipe, such as
    /dev/stdout, is written to directly.

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
    with open(path, "wb") as file:  # noqa: PTH123  # a device such as /dev/stdout must not be replaced
        write(file)


def kind_of(found: os.stat_result) -> str:
    """The kind of a file, in words."""
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
    """The owner of files in the directory: on some network file systems, all files belong to one user."""
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
