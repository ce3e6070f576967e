"""The work directory of one evaluation: filling it, telling new outputs from old files, and removing it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import stat
import uuid
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from distfd.core.errors import InputError
from distfd.core.files import opened_folder, sha256_of, write_own
from distfd.objectives.command.values import OutputError
from distfd.workers.hosts import HOSTS_FILE, hosts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

STDOUT, STDERR, PARAMETERS = "stdout", "stderr", "parameters.json"
RESERVED = (STDOUT, STDERR, PARAMETERS, "rerun.sh", "distfd-outcome.json", HOSTS_FILE)

_LONGEST_NAME = 255
"""Largest length of a file's name on Linux and macOS, in bytes."""


def inside(name: Any, what: str) -> str:
    """The name of a file within the work directory; an error if it leads out of it.

    Raises
    ------
    InputError
        If it is not a relative path, or contains ``..`` or a NUL.
    """
    if not isinstance(name, str) or not name or "\0" in name:
        raise InputError(f"{what} {name!r} is not the name of a file")
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise InputError(f"{what} {name!r} would leave the work directory; give a relative path without ..")
    if too_long(path.parts):
        raise InputError(f"{what} {name[:40]!r}... is too long for a file's name")
    return str(path)


def too_long(parts: Iterable[str]) -> bool:
    """Whether a part of the path is too long for a file name."""
    return any(len(os.fsencode(part)) > _LONGEST_NAME for part in parts)


def contains(folder: Path, path: Path) -> bool:
    """Whether the path, with all links in it followed, is inside the folder."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def check_layout(targets: Iterable[str], copied: Iterable[str], linked: Iterable[str], outputs: Iterable[str]) -> None:
    """Checks that nothing in a work directory would overwrite or hide something else.

    Raises
    ------
    InputError
        If two things have the same name, or if a file would be written or an output read through a link: all
        evaluations would share it.
    """
    links = {PurePosixPath(name) for name in linked}
    taken: set[PurePosixPath] = {PurePosixPath(name) for name in RESERVED}
    for name in (*targets, *copied, *linked):
        if name in ("", ".."):
            raise InputError(f"copy, link: {name!r} is no name that a file in the work directory can have")
        if (path := PurePosixPath(name)) in taken:
            raise InputError(f"two files of the work directory would be called {name!r}")
        taken.add(path)
    for name in (*targets, *outputs):
        if shared := links & {PurePosixPath(name), *PurePosixPath(name).parents}:
            raise InputError(
                f"{name!r} would be written through the link {str(shared.pop())!r}: use copy in place of link"
            )


def fill(folder: Path, parameters: Mapping[str, float], copy: Iterable[str | Path], link: Iterable[str | Path]) -> None:
    """Puts parameters, copies and links into a folder, and the nodes' names if there are several."""
    write_own(folder / PARAMETERS, json.dumps(parameters, indent=1) + "\n")
    if nodes := hosts():
        write_own(folder / HOSTS_FILE, "\n".join(nodes) + "\n")
    for source in map(Path, copy):
        # Keep the old times, so that a copied file which the program rewrites is recognised as new.
        if source.is_dir():
            shutil.copytree(source, folder / source.name)
        else:
            shutil.copy2(source, folder / source.name)
    for source in map(Path, link):
        (folder / source.name).symlink_to(source)


@dataclass(frozen=True)
class Aged:
    """A file that was there before the program ran: its size, when it was last changed, and its digest."""

    size: int
    changed: int
    digest: str


def age(folder: Path, files: Iterable[str]) -> dict[str, Aged]:
    """Give files that are there before the program runs the time 0, by which `fresh` knows them again.

    Returns
    -------
    dict of str to Aged
        Their names, and what they are; what is not among them is not there yet, so that the program wrote it,
        whatever time it has given it.
    """
    found = {}
    for name in files:
        with contextlib.suppress(FileNotFoundError):
            os.utime(folder / name, ns=(0, 0))
            if (folder / name).is_file():
                as_it_is = (folder / name).stat()
                found[name] = Aged(as_it_is.st_size, as_it_is.st_ctime_ns, digest(folder / name))
    return found


def is_stale(path: Path, found: os.stat_result, aged: Aged | None) -> bool:
    """Whether a file is only the copy that was there before: it has the time, the size and the content of that."""
    if aged is None or found.st_mtime_ns != 0 or found.st_size != aged.size:
        return False
    return found.st_ctime_ns == aged.changed or digest(path) == aged.digest


def fresh(folder: Path, name: str, aged: Mapping[str, Aged]) -> Path:
    """An output file that this run of the program wrote.

    Parameters
    ----------
    folder : Path
    name : str
    aged : mapping
        The result of `age`.

    Raises
    ------
    OutputError
        If the file is missing, not a plain file, empty, or the unchanged copy from before the run.
    """
    path = folder / name
    if not contains(folder, path):
        raise OutputError(f"it is a link that leads out of the work directory, to {os.path.realpath(path)}")
    if not path.is_file():
        raise OutputError(f"the program did not write it; {_there(folder)}")
    found = path.stat()
    if is_stale(path, found, aged.get(name)):
        raise OutputError("it is stale: the copy that was there before, which the program did not write")
    if found.st_size == 0:
        raise OutputError(f"it is empty; {_there(folder)}")
    return path


def _there(folder: Path) -> str:
    found = sorted(path.name for path in folder.iterdir())
    return f"there are: {', '.join(found[:20])}" + (f" ... ({len(found)})" if len(found) > 20 else "")


def remove(folder: Path) -> None:
    """Removes a work directory as far as possible; what cannot be removed is left, as the value is good nevertheless.

    If a link stands in its place, it is left as well, as it may lead anywhere.
    """
    with contextlib.suppress(OSError):
        with opened_folder(folder, follow=False) as handle:
            empty(handle)
        folder.rmdir()


def empty(handle: int) -> None:
    """Removes everything in the directory of a descriptor, however deep it is nested.

    Nested folders are first moved up and then emptied in turn. So neither the length of a path nor the depth of
    recursion is a limit, and no link is followed.
    """
    waiting: list[str] = []
    _clear(handle, handle, waiting)
    while waiting:
        name = waiting.pop()
        with contextlib.suppress(OSError):
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            inner = os.open(name, flags, dir_fd=handle)
            try:
                _clear(inner, handle, waiting)
            finally:
                os.close(inner)
            os.rmdir(name, dir_fd=handle)


def _clear(folder: int, top: int, waiting: list[str]) -> None:
    """Removes the files of a folder, and moves its folders to the top, where they wait to be emptied."""
    with contextlib.suppress(OSError):
        names = os.listdir(folder)  # the argument is a descriptor
        for name in names:
            with contextlib.suppress(OSError):
                if not stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                    os.unlink(name, dir_fd=folder)
                    continue
                # The program may have removed the permissions that are needed to empty or move the folder.
                with contextlib.suppress(OSError):
                    os.chmod(name, 0o700, dir_fd=folder)  # relative to a descriptor
                moved = name if folder == top else f"{uuid.uuid4().hex}.removed"
                os.rename(name, moved, src_dir_fd=folder, dst_dir_fd=top)
                waiting.append(moved)


def walk(handle: int, levels: int) -> Iterator[tuple[str, int, str, os.stat_result]]:
    """All entries below the directory of a descriptor, by name: (path, descriptor of its folder, name, status).

    No link is followed. Folders at the last of the ``levels`` are included, but not their contents.
    """
    for name in sorted(os.listdir(handle)):  # the argument is a descriptor
        try:
            found = os.stat(name, dir_fd=handle, follow_symlinks=False)
        except OSError:
            continue
        yield name, handle, name, found
        if not stat.S_ISDIR(found.st_mode) or levels <= 1:
            continue
        try:
            inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=handle)
        except OSError:
            continue
        try:
            for path, *below in walk(inner, levels - 1):
                yield (f"{name}/{path}", *below)  # type: ignore[misc]  # ``below`` has three elements
        finally:
            os.close(inner)


def digest(path: Path) -> str:
    """A digest of a file's content, or of the names and contents of all files below a folder."""
    total = hashlib.sha256()
    for file in _files(path):
        total.update(os.fsencode(file.relative_to(path)) + b"\0")
        total.update(bytes.fromhex(sha256_of(file)))
    return total.hexdigest()


def _files(path: Path) -> Iterator[Path]:
    return iter(sorted(p for p in path.rglob("*") if p.is_file())) if path.is_dir() else iter([path])
