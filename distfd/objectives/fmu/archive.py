"""The file of an FMU: a ZIP archive, perhaps from a stranger, that is checked before anything in it is used."""

from __future__ import annotations

import contextlib
import io
import shutil
import stat
import tempfile
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.parsers import expat

from distfd.core.errors import InputError
from distfd.core.failures import EvaluationFailure
from distfd.core.files import one_process, own_place, sha256_of
from distfd.core.suggestions import did_you_mean

DESCRIPTION = "modelDescription.xml"
LARGEST_XML = 256 * 2**20
"""Largest size of a modelDescription.xml, in bytes; the largest that tools write have some 100 MB."""
LARGEST = 8 * 2**30
"""Largest size of an FMU, packed and unpacked, in bytes."""
_MEMBERS = 100_000
"""Largest number of files in an FMU; the largest known have some thousands."""
_BOMB = 250, 64 * 2**20
"""Largest ratio of a member's size to its packed size, for members above this many bytes: real libraries and tables
shrink to a tenth."""
_BROKEN = (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError, zlib.error, RuntimeError, KeyError)
"""Exceptions of zipfile for archives that are broken, encrypted, or packed by an unknown method."""


@dataclass(frozen=True)
class Contents:
    """The checked contents of an FMU's archive, in memory only."""

    names: tuple[str, ...]
    xml: bytes
    """modelDescription.xml, well-formed and without a document type."""
    version: str
    """The FMI version in the description."""


def read_contents(path: Path) -> Contents:
    """Reads an FMU's description and checks its members' names, without unpacking it.

    Raises
    ------
    InputError
        If the file is missing, too large, or no ZIP archive, if the archive could do harm, or if its description is not
        well-formed, has a document type (whose entities can expand without limit), or is not that of an FMU.
    """
    if not path.is_file():
        there = [other.name for other in path.parent.glob("*.fmu")] if path.parent.is_dir() else []
        what = "is a folder, not an FMU" if path.is_dir() else "is no regular file" if path.exists() else ""
        raise InputError(f"file: {path} {what or f'does not exist{did_you_mean(path.name, there)}'}")
    try:
        with zipfile.ZipFile(path) as archive:
            members = checked(archive, path)
            xml = archive.read(DESCRIPTION)
    except InputError:
        raise
    except _BROKEN as error:
        raise InputError(f"file: {path} is no FMU, which is a ZIP archive: {error}") from error
    except OSError as error:
        raise InputError(f"file: {path}: {error.strerror or error}") from error
    return Contents(tuple(member.filename for member in members), xml, _version(path, xml))


def checked(archive: zipfile.ZipFile, path: Path) -> list[zipfile.ZipInfo]:
    """The members of an FMU's archive, after a check.

    Raises
    ------
    InputError
        If a member would be unpacked outside the target folder, is a link or is encrypted, or if there is more in the
        archive than a model needs.
    """
    members = archive.infolist()
    names = [member.filename for member in members]
    if DESCRIPTION not in names:
        raise InputError(f"file: {path} is no FMU: it is a ZIP archive without a {DESCRIPTION}")
    packed, size = path.stat().st_size, sum(member.file_size for member in members)
    xml = archive.getinfo(DESCRIPTION).file_size
    times, counted = _BOMB
    why = ""
    if len(names) > _MEMBERS:
        why = f"it has {len(names)} files in it, and at most {_MEMBERS} are allowed"
    elif len(set(names)) < len(names):
        why = f"{next(name for name in names if names.count(name) > 1)!r} is in it twice"
    elif max(packed, size) > LARGEST:
        why = f"it unpacks to {_mebibytes(max(packed, size))}, and at most {_mebibytes(LARGEST)} are allowed"
    elif size > counted and size > times * packed:
        why = f"its {_mebibytes(packed)} unpack to {_mebibytes(size)}, like those of a ZIP bomb"
    elif xml > LARGEST_XML:
        why = f"its {DESCRIPTION} has {_mebibytes(xml)}, and at most {_mebibytes(LARGEST_XML)} are allowed"
    why = why or next(filter(None, map(_harm, members)), "")
    if why:
        raise InputError(f"file: {path.name} is not used: {why}")
    return members


def _harm(member: zipfile.ZipInfo) -> str:
    """Why a member must not be unpacked; "" if it may be."""
    name = member.orig_filename
    parts = name.removesuffix("/").split("/")
    if not set(parts).isdisjoint({"", ".", ".."}) or "\\" in name or not name.isprintable():
        return f"{name!r} in it is not a path inside the FMU"
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return (
            f"{name!r} in it is {'a symbolic link' if kind == stat.S_IFLNK else 'a special file'}, not a regular file"
        )
    return f"{name!r} in it is encrypted" if member.flag_bits & 0x1 else ""


def _mebibytes(size: int) -> str:
    return f"{size / 2**20:.3g} MiB" if size < 1000 * 2**20 else f"{size / 2**20:.0f} MiB"


class _FoundError(Exception):
    """Ends the parser early, as the version was found."""


def _version(path: Path, xml: bytes) -> str:
    """The FMI version in a description, which must be well-formed and without a document type."""
    roots: list[tuple[str, dict[str, str]]] = []

    def doctype(*_: Any) -> None:
        raise _FoundError

    def element(name: str, attributes: dict[str, str]) -> None:
        if not roots:
            roots.append((name, attributes))

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = doctype
    parser.StartElementHandler = element
    try:
        parser.Parse(xml, True)
    except _FoundError:
        raise InputError(
            f"file: {path.name} is not used: its {DESCRIPTION} declares a document type, which FMI has not and which "
            "can define entities that grow without end"
        ) from None
    except (expat.ExpatError, LookupError, ValueError) as error:
        raise InputError(f"file: {path.name}: its {DESCRIPTION} cannot be read: {error}") from error
    name, attributes = roots[0]
    if name != "fmiModelDescription" or "fmiVersion" not in attributes:
        raise InputError(f"file: {path.name}: its {DESCRIPTION} describes no FMU: its root is <{name[:80]}>")
    return attributes["fmiVersion"]


def alone(xml: bytes) -> io.BytesIO:
    """An archive in memory that contains only a description, for FMPy to read."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr(DESCRIPTION, xml)
    made.seek(0)
    return made


def unpacked(file: Path, digest: str) -> Path:
    """The folder on this node where an FMU is unpacked, once for all workers.

    Raises
    ------
    EvaluationFailure
        If the file differs from the one that the driver read, or cannot be unpacked here.
    """
    place = own_place("distfd-fmu", EvaluationFailure)
    target = place / digest[:32]
    with one_process(place / f"{target.name}.lock"):
        for left in place.glob(f"{target.name}.*/"):  # left by a process that was killed while unpacking
            shutil.rmtree(left, ignore_errors=True)
        if target.is_dir() and not _is_whole(file, target):
            shutil.rmtree(target, ignore_errors=True)
        if not target.is_dir():
            if sha256_of(file) != digest:
                raise EvaluationFailure(f"{file} has changed since the job began")
            made = Path(tempfile.mkdtemp(prefix=f"{target.name}.", dir=place))
            try:
                _unpack(file, made)
                made.rename(target)
            finally:
                shutil.rmtree(made, ignore_errors=True)
    return target


def _unpack(file: Path, folder: Path) -> None:
    try:
        with zipfile.ZipFile(file) as archive:
            members = checked(archive, file)
            size, free = sum(member.file_size for member in members), shutil.disk_usage(folder).free
            if size > free:
                raise EvaluationFailure(
                    f"{file.name} unpacks to {_mebibytes(size)}, and {folder.parent} has {_mebibytes(free)} free; "
                    "TMPDIR names another place"
                )
            for member in members:
                target = folder / member.filename
                if member.is_dir():
                    target.mkdir(parents=True, exist_ok=True)
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as source, target.open("xb") as sink:
                    shutil.copyfileobj(source, sink, 2**20)
                if (member.external_attr >> 16) & 0o111:  # executable: a program that the model starts
                    target.chmod(0o700)
        (folder / "resources").mkdir(exist_ok=True)
    except (InputError, OSError, *_BROKEN) as error:
        text = getattr(error, "strerror", None) or error
        raise EvaluationFailure(f"{file.name} cannot be unpacked: {text}") from error


def _is_whole(file: Path, folder: Path) -> bool:
    """Whether an unpacked FMU is still complete: systems remove old files from temporary folders."""
    with contextlib.suppress(OSError, *_BROKEN), zipfile.ZipFile(file) as archive:
        return all(
            (folder / m.filename).is_dir() if m.is_dir() else _size(folder / m.filename) == m.file_size
            for m in archive.infolist()
        )
    return False


def _size(file: Path) -> int | None:
    with contextlib.suppress(OSError):
        return file.lstat().st_size
    return None
