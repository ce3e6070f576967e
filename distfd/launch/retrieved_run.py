"""A run's directory that was brought back from a cluster: whose it is, and how it takes the place of an earlier one."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import shutil
import tarfile
import tempfile
import zlib
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import IO

from distfd.core.errors import InputError, StoreError
from distfd.core.files import (
    check_own_folder,
    make_folders,
    owner_only,
    parse_json,
    put_aside,
    read_plain,
    replace_file,
)

_MARK = "submitted.json"
_LONGEST_MARK = 10_000
_LONGEST = 50
"""Characters of the name that are kept in another made from it."""

_LARGEST_PIECE = 2**20
"""Bytes that are read of a tar at a time."""

MOST_MEMBERS, MOST_BYTES, MOST_LEVELS = 100_000, 16 * 2**30, 32
"""Of what is brought back: a tar of a few kB can promise any number of bytes."""


def check_place(output: Path, job: str) -> None:
    """Refuse a directory that holds another run: what is brought back would take its place.

    Raises
    ------
    InputError
    """
    if os.path.lexists(output) and _owner(output) != job and (not output.is_dir() or any(output.iterdir())):
        raise InputError(f"output: {output} is there already, and did not come from {job}; give another output")


def unpack(archive: IO[bytes], output: Path, job: str) -> Path | None:
    """Put a packed run where ``output`` is, whole or not at all.

    It is unpacked into a directory that is made for it, and what stood in its place is kept under a name that is made
    for that too: nothing that was there before is removed.

    Returns
    -------
    Path or None
        Where what stood there is kept; None where there was nothing.

    Raises
    ------
    StoreError
        If it cannot be written, or is not what it should be.
    """
    part = aside = None
    with contextlib.ExitStack() as failing:
        try:
            make_folders(output.parent)
            part = Path(tempfile.mkdtemp(prefix=f".{output.name[:_LONGEST]}.", suffix=".part", dir=output.parent))
            failing.callback(shutil.rmtree, part, ignore_errors=True)
            with _Unzipped(fileobj=archive, mode="rb") as unzipped, tarfile.open(fileobj=unzipped, mode="r:") as tar:
                _unpack(tar, part)
            mark = json.dumps({"job": job}) + "\n"
            replace_file(part / _MARK, lambda file: file.write(mark.encode()))
            aside = _make_way(output)
            part.rename(output)
        except (OSError, tarfile.TarError, EOFError, zlib.error, ValueError, OverflowError) as error:
            kept = f"; what stood there is kept as {aside}" if aside is not None else ""
            raise StoreError(
                f"output: {output} cannot be written: {error}{kept}; submit again to have it sent once more"
            ) from error
        failing.pop_all()
    return aside


def _make_way(output: Path) -> Path | None:
    """Rename what stands there; its new path, or None where there was nothing."""
    if not os.path.lexists(output):
        return None
    check_own_folder(output)
    if not any(output.iterdir()):
        output.rmdir()
        return None
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    return put_aside(output, f"{output.name}.{stamp}")


def _owner(output: Path) -> str | None:
    try:
        found = parse_json(read_plain(output / _MARK, _LONGEST_MARK))
        return str(found["job"])
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None


class _Unzipped(gzip.GzipFile):
    """Is read in small pieces alone: the head of a member, such as its name, may promise any number of bytes."""

    def read(self, size: int | None = -1) -> bytes:
        if size is None or not 0 <= size <= _LARGEST_PIECE:
            raise tarfile.TarError(f"the head of one of its files has more than {_LARGEST_PIECE / 2**20:g} MiB")
        return super().read(size)


def _unpack(tar: tarfile.TarFile, into: Path) -> None:
    """Files and folders only, none of them outside: the cluster is others' machines.

    Each is made anew with O_EXCL, for its owner alone.

    Raises
    ------
    tarfile.TarError
        If there is anything else in it.
    """
    total = 0
    names = set()
    for count, member in enumerate(tar):
        name = PurePosixPath(member.name)
        total += member.size
        if count >= MOST_MEMBERS or total > MOST_BYTES:
            raise tarfile.TarError(f"it has more than {MOST_MEMBERS:,} files, or {MOST_BYTES / 2**30:.0f} GiB")
        if name in names:
            raise tarfile.TarError(f"{member.name!r} is there twice")
        names.add(name)
        if len(name.parts) > MOST_LEVELS or not member.name.isprintable():
            raise tarfile.TarError(f"{member.name[:80]!r} cannot be the name of a run's file")
        if name.is_absolute() or ".." in name.parts or not (member.isreg() or member.isdir()):
            raise tarfile.TarError(f"{member.name!r} is not a plain file or folder inside the run's directory")
        _extract(tar, member, into / name)


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    if member.isdir():
        make_folders(path)
        return
    make_folders(path.parent)
    content = tar.extractfile(member)
    assert content is not None, "it is a plain file"
    with content, open(path, "xb", opener=owner_only) as file:
        shutil.copyfileobj(content, file, _LARGEST_PIECE // 4)
    os.utime(path, (member.mtime, member.mtime))
