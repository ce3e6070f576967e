"""A run's directory that was brought back from a cluster: whose it is, and how it takes the place of an earlier one."""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import PurePosixPath
from typing import IO, TYPE_CHECKING

from distfd.core.errors import InputError, StoreError

if TYPE_CHECKING:
    from pathlib import Path

_MARK = "submitted.json"


def check_place(output: Path, job: str) -> None:
    """Refuse a directory that holds another run: what is brought back would take its place.

    Raises
    ------
    InputError
    """
    if output.exists() and _owner(output) != job and (not output.is_dir() or any(output.iterdir())):
        raise InputError(f"output: {output} holds something else than what {job} brought back; give another output")


def unpack(archive: IO[bytes], output: Path, job: str) -> None:
    """Put a packed run where ``output`` is, whole or not at all.

    Raises
    ------
    StoreError
        If it cannot be written, or is not what it should be.
    """
    part, old = (output.with_name(output.name + ending) for ending in (".part", ".old"))
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True, mode=0o700)
        with tarfile.open(fileobj=archive, mode="r:*") as tar:
            _unpack(tar, part)
        (part / _MARK).write_text(json.dumps({"job": job}) + "\n", encoding="utf-8")
        shutil.rmtree(old, ignore_errors=True)
        if output.exists():
            output.rename(old)
        part.rename(output)
        shutil.rmtree(old, ignore_errors=True)
    except (OSError, tarfile.TarError) as error:
        raise StoreError(
            f"output: {output} cannot be written: {error}; submit again to have it sent once more"
        ) from error


def _owner(output: Path) -> str | None:
    try:
        found = json.loads((output / _MARK).read_text(encoding="utf-8"))
        return str(found["job"])
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _unpack(tar: tarfile.TarFile, into: Path) -> None:
    """Files and folders only, none of them outside: the cluster is others' machines.

    Pythons before 3.11.4 have no filter that sees to it.

    Raises
    ------
    tarfile.TarError
        If there is anything else in it.
    """
    for member in tar.getmembers():
        name = PurePosixPath(member.name)
        if name.is_absolute() or ".." in name.parts or not (member.isreg() or member.isdir()):
            raise tarfile.TarError(f"{member.name!r} is no plain file or folder below its own")
        member.mode = 0o700 if member.isdir() else 0o600
    if hasattr(tarfile, "data_filter"):
        tar.extraction_filter = tarfile.data_filter
    tar.extractall(into)  # noqa: S202  # each member was looked at
