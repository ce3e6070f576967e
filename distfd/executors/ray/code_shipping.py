"""Files that evaluations need, on nodes that do not see the driver's disk: told by their hashes, put there once."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distfd.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

_BLOCK = 2**20


@dataclass(frozen=True)
class ShippedFile:
    """One file: its place below its root, the SHA-256 of its content, and its permissions."""

    name: str
    digest: str
    mode: int


@dataclass(frozen=True)
class Shipment:
    """Files below one folder of the driver's."""

    root: str
    files: tuple[ShippedFile, ...]

    @property
    def digest(self) -> str:
        """Names it on the nodes: equal files, equal place."""
        told = sorted((file.name, file.digest, file.mode) for file in self.files)
        return hashlib.sha256(repr(told).encode("utf-8", "surrogateescape")).hexdigest()


def pack(root: Path, files: Iterable[Path]) -> Shipment:
    """What is to be shipped of a folder; the files, and those of folders among them, are read once."""
    found = sorted({each for path in files for each in _within(path)})
    return Shipment(str(root), tuple(ShippedFile(str(p.relative_to(root)), digest_of(p), _mode(p)) for p in found))


def digest_of(path: Path) -> str:
    """The SHA-256 of a file."""
    total = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            total.update(block)
    return total.hexdigest()


def unpack(shipment: Shipment, fetch: Callable[[str], Any], place: Path | None = None) -> Path:
    """The folder on this node that has these very files: the driver's own where it is seen here, else a copy.

    Parameters
    ----------
    fetch : callable
        Digest of a file -> its content, as an object that can be written to a file.
    place : Path, optional
        Where copies are kept; default: a folder of this user's among the temporary files.

    Raises
    ------
    InputError
        If what is fetched is not what was sent, or the place belongs to somebody else.
    """
    root = Path(shipment.root)
    if all(_same(root / file.name, file) for file in shipment.files):
        return root
    place = _own(Path(tempfile.gettempdir()) / f"distfd-shipped-{os.getuid()}") if place is None else place
    target = place / shipment.digest[:32]
    with _alone(place / f"{target.name}.lock"):  # the first of a node's workers fetches, the others find it
        if not all(_same(target / file.name, file) for file in shipment.files):
            shutil.rmtree(target, ignore_errors=True)
            _write(shipment, target, fetch)
    return target


def _write(shipment: Shipment, target: Path, fetch: Callable[[str], Any]) -> None:
    made = Path(tempfile.mkdtemp(prefix=f"{target.name}.", dir=target.parent))
    try:
        for file in shipment.files:
            path = made / file.name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as stream:
                stream.write(fetch(file.digest))
            path.chmod(file.mode | stat.S_IRUSR)
            if digest_of(path) != file.digest:
                raise InputError(f"{Path(shipment.root) / file.name}: what arrived is not what was sent; try again")
        made.rename(target)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def moved(paths: Iterable[str], shipments: Mapping[str, Path]) -> dict[str, str]:
    """Where these files and folders are here, given the folder that has come for each."""
    return {path: str(shipments[path] / Path(path).name) for path in paths if path in shipments}


def _same(path: Path, file: ShippedFile) -> bool:
    try:
        return path.is_file() and digest_of(path) == file.digest and not file.mode & 0o100 & ~_mode(path)
    except OSError:
        return False


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode) & 0o777


def _within(path: Path) -> Iterator[Path]:
    return (each for each in path.rglob("*") if each.is_file()) if path.is_dir() else iter((path,))


def _own(place: Path) -> Path:
    """The folder, which nobody else can write to: code is run from there."""
    with contextlib.suppress(FileExistsError):
        place.mkdir(mode=0o700)
    found = place.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise InputError(f"{place} on this node is not a folder that you alone can write to; remove it")
    return place


@contextlib.contextmanager
def _alone(lock: Path) -> Iterator[None]:
    handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
