"""The user's modules and input files on their way to the nodes of a cluster.

Files are known by their hashes, and each node fetches each of them once, from Ray's object store.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import stat
import sys
import sysconfig
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from distfd.core.errors import InputError
from distfd.core.files import one_process, own_place, sha256_of
from distfd.executors.ray import object_store
from distfd.fingerprint.module_origins import imports_in, origin, resolve
from distfd.workers.session_modules import ModuleText, import_as_session

if TYPE_CHECKING:
    import os
    import types
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from distfd.objectives.base import Objective


_Read = TypeVar("_Read")

_SETTLED = 2.0
"""Seconds. A file that is changed again after so long has a new time of change on every file system."""


@dataclass(frozen=True)
class ShippedFile:
    """One file: its place below its root, the SHA-256 of its content, and its permissions."""

    name: str
    digest: str
    mode: int


@dataclass(frozen=True)
class Shipment:
    """Files below one folder of the driver's.

    Attributes
    ----------
    root : str
    files : tuple of ShippedFile
    inode : int
        The folder's number in its file system: another host that has this path and number sees this very folder.
    """

    root: str
    files: tuple[ShippedFile, ...]
    inode: int = field(default=0, compare=False)

    @property
    def digest(self) -> str:
        """The name of the copy on the nodes: equal files have the same name, and so share a copy."""
        told = sorted((file.name, file.digest, file.mode) for file in self.files)
        return hashlib.sha256(repr(told).encode("utf-8", "surrogateescape")).hexdigest()


def pack(root: Path, files: Iterable[Path]) -> Shipment:
    """The shipment of these files of a folder; each file, and each file in a folder among them, is read once."""
    found = sorted({each for path in files for each in _within(path)})
    shipped = tuple(_shipped(root, path) for path in found)
    return Shipment(str(root), shipped, root.stat().st_ino)


def _shipped(root: Path, path: Path) -> ShippedFile:
    known = path.stat()
    digest = _as_of(sha256_of, path, known)
    return ShippedFile(str(path.relative_to(root)), digest, stat.S_IMODE(known.st_mode) & 0o777)


def _as_of(read: Callable[[Path], _Read], path: Path, known: os.stat_result) -> _Read:
    """What a function reads in a file, which it reads anew only once the file has changed."""
    # By its time of change: the time of modification can be set, and some tools keep it.
    if time.time() - known.st_ctime < _SETTLED:
        return read(path)
    found: _Read = _read_as_of(read, path, known.st_ctime_ns, known.st_size, known.st_ino)
    return found


@lru_cache(maxsize=40_000)
def _read_as_of(read: Callable[[Path], Any], path: Path, _changed: int, _size: int, _inode: int) -> Any:
    return read(path)


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
    place = own_place("distfd-shipped", InputError) if place is None else place
    target = place / shipment.digest[:32]
    with one_process(place / f"{target.name}.lock"):  # the first of a node's workers fetches, the others find it
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
            if sha256_of(path) != file.digest:
                raise InputError(
                    f"{Path(shipment.root) / file.name}: the copy on this node differs from the file sent; try again"
                )
        made.rename(target)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def moved(paths: Iterable[str], shipments: Mapping[str, Path]) -> dict[str, str]:
    """Where the driver's files and folders are on this node, given the folder into which each has been unpacked."""
    return {path: str(shipments[path] / Path(path).name) for path in paths if path in shipments}


def _same(path: Path, file: ShippedFile) -> bool:
    try:
        return path.is_file() and sha256_of(path) == file.digest and not file.mode & 0o100 & ~_mode(path)
    except OSError:
        return False


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode) & 0o777


def _within(path: Path) -> Iterator[Path]:
    return (each for each in path.rglob("*") if each.is_file()) if path.is_dir() else iter((path,))


_MOST = 5000
"""Files in a folder; a folder with more is not taken for a project's own code."""


def local_code() -> list[Shipment]:
    """The modules that a node needs for functions that are sent by name: one shipment for each folder to import from.

    All Python files of a package are sent, since the modules that J imports when it is called are not known before.
    """
    files: dict[Path, set[Path]] = defaultdict(set)
    waiting = [(name, Path(file)) for name, file in _loaded()]
    seen: set[str] = set()
    packages: set[Path] = set()
    while waiting:
        name, file = waiting.pop()
        if name in seen or not file.is_file():
            continue
        seen.add(name)
        root = _root(name, file)
        package = root / name.split(".", maxsplit=1)[0]
        files[root].add(file)
        if package not in packages:
            packages.add(package)
            files[root].update(package.rglob("*.py") if package.is_dir() else ())
        for other in _imported_by(name, file):
            found = None if other in seen else origin(other)
            if found is not None and found.version is None and found.file is not None:
                waiting.append((other, found.file))
    return [pack(root, found) for root, found in sorted(files.items()) if len(found) <= _MOST]


def _imported_by(name: str, file: Path) -> set[str]:
    """Names of the modules that a module imports, without those that surely are installed or Python's own."""
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    found: set[str] = set()
    for module, level, names in _as_of(_imports_of, file, file.stat()):
        top = module.partition(".")[0]
        # Not by its name alone: a module of the user's may have that of one of Python's own.
        if level or not (top == "distfd" or _is_foreign(top)):
            found.update((module,) if names is None else resolve(module, level, names, package))
    return found - {name}


def _imports_of(path: Path) -> Sequence[tuple[str, int, tuple[str, ...] | None]]:
    return imports_in(path.read_bytes()) if path.suffix == ".py" else ()


def _is_foreign(top: str) -> bool:
    module = sys.modules.get(top)
    return module is not None and _FOREIGN.get(top) is module


def _loaded() -> list[tuple[str, str]]:
    """Names and files of modules that are neither installed nor Python's own."""
    global _LOADED  # noqa: PLW0603  # a cache
    # No other module has the number of one in _FOREIGN, and all others are looked at each time.
    numbers, names = list(map(id, sys.modules.values())), _LOADED[1]
    if numbers != _LOADED[0]:
        for name in _FOREIGN.keys() - sys.modules.keys():
            _FOREIGN.pop(name, None)
        names = [name for name, module in list(sys.modules.items()) if _FOREIGN.get(name) is not module]
    others, found = [], []
    for name in names:
        module, top = sys.modules.get(name), name.partition(".")[0]
        file = getattr(module, "__file__", None)
        if module is None or not isinstance(file, str) or top in ("__main__", "__mp_main__"):
            others.append(name)  # it may get one
        elif _is_installed(file) or top == "distfd":
            _FOREIGN[name] = module
        else:
            others.append(name)
            found.append((name, str(Path(file).absolute())))
    _LOADED = numbers, others
    return found


def _is_installed(file: str) -> bool:
    return file.startswith(_installed_places()) or bool({"site-packages", "dist-packages"} & set(Path(file).parts))


_FOREIGN: dict[str, types.ModuleType] = {}
"""Modules that are installed or Python's own, as found last: a cache, as there are more than a thousand of them."""
_LOADED: tuple[list[int], list[str]] = [], []
"""The numbers of all modules when they were last looked at, and the names of those that were not in _FOREIGN."""


@cache
def _installed_places() -> tuple[str, ...]:
    places = {sys.prefix, sys.base_prefix, *(sysconfig.get_path(each) for each in ("stdlib", "platlib"))}
    return tuple(str(Path(place).resolve()) for place in places)


def _root(name: str, file: Path) -> Path:
    """The folder on sys.path from which a module comes."""
    depth = name.count(".") + (file.stem == "__init__")
    return file.parents[depth]


_PATIENCE = 600.0
"""Seconds to wait for a file; then the worker fails, and another is started."""

_SMALL = 65_536
"""Bytes of a file up to which it travels together with others."""


@dataclass(frozen=True)
class ShippedCode:
    """The user's code as the driver read it, for a worker, which fetches what is not on its node.

    Parameters
    ----------
    code : sequence of Shipment
        Folders to import from.
    files : mapping
        By the path of a file or folder of the driver's, what is shipped of the folder that it is in.
    small, large : Ray's reference, or the value itself
        To {SHA-256 of a file: its content}; and by the SHA-256 to the content.
    near : bool
        Whether workers are on this machine, and see the folders themselves.
    """

    code: tuple[Shipment, ...] = ()
    files: Mapping[str, Shipment] = field(default_factory=dict)
    small: Any = None
    large: Mapping[str, Any] = field(default_factory=dict)
    near: bool = False
    texts: Mapping[str, ModuleText] = field(default_factory=dict)
    """The texts of modules that J imports when it is called."""
    _opened: dict[str, bytes] = field(default_factory=dict, compare=False, repr=False)

    @property
    def size(self) -> int:
        """About how many bytes it takes itself, without the objects in Ray's store that it refers to."""
        names = sum(len(shipment.files) for shipment in (*self.code, *self.files.values())) + len(self.texts)
        return 200 * names + (sum(map(len, self.small.values())) if isinstance(self.small, dict) else 0)

    def unpacked(self, paths: list[str]) -> tuple[list[str], dict[str, str]]:
        """On a node: where to import from, in the driver's order, and where files are that have another place.

        This process then imports the driver's modules by the texts that they had when these were packed.
        """
        code = {each.root: each.root if self._seen_here(each) else str(unpack(each, self._fetch)) for each in self.code}
        known = [code.get(path, path) for path in paths]
        files = {path: unpack(shipment, self._fetch) for path, shipment in self.files.items()}
        elsewhere = {path: place for path, place in moved(files, files).items() if place != path}
        order = {path: k for k, path in enumerate(paths)}
        shipments = sorted(self.code, key=lambda each: order.get(each.root, len(order)))
        modules = dict(self.texts)
        for shipment in shipments:
            for name, file in _modules(shipment):
                modules.setdefault(name, ModuleText(str(Path(code[shipment.root]) / file.name), file.digest))
        import_as_session(modules, self._fetch)
        return [*known, *(place for place in code.values() if place not in known)], elsewhere

    def edited_since(self, before: ShippedCode) -> bool:
        """Whether any of the files has changed; files that were added or removed do not count."""
        then, now = before._texts(), self._texts()  # of its own kind
        return any(now.get(place, digest) != digest for place, digest in then.items())

    def _seen_here(self, shipment: Shipment) -> bool:
        """Whether this is the driver's own folder, though files in it may have been edited since."""
        with contextlib.suppress(OSError):
            return self.near or Path(shipment.root).stat().st_ino == shipment.inode
        return False

    def _texts(self) -> dict[tuple[str, str], str]:
        files = {(each.root, file.name): file.digest for each in self.code for file in each.files}
        return files | {("", name): text.digest for name, text in self.texts.items()}

    def _fetch(self, digest: str) -> Any:
        import ray

        if digest in self.large:
            return memoryview(ray.get(self.large[digest], timeout=_PATIENCE))
        if not self._opened:
            self._opened.update(object_store.get(self.small, _PATIENCE))
        return self._opened[digest]


def _modules(shipment: Shipment) -> Iterator[tuple[str, ShippedFile]]:
    """The modules that a shipment's files are, by their full names."""
    for file in shipment.files:
        path = PurePath(file.name)
        if path.suffix == ".py":
            parts = path.parent.parts if path.stem == "__init__" else (*path.parent.parts, path.stem)
            if parts:
                yield ".".join(parts), file


def packed_code(objective: Objective, *, near: bool, before: ShippedCode | None = None) -> ShippedCode:
    """On the driver: read the user's modules and the objective's files, and put them into the object store.

    Parameters
    ----------
    objective : Objective
    near : bool
        Whether all workers are on this machine: it sees the files themselves.
    before : ShippedCode, optional
        What was packed last, which is returned where nothing has changed since.
    """
    import ray

    code = tuple(local_code())
    paths = () if near else objective.shipped_files()
    by_path = {path: pack(Path(path).parent, [Path(path)]) for path in paths if Path(path).exists()}
    own = objective.module_texts()
    texts = {name: ModuleText(file, hashlib.sha256(text).hexdigest()) for name, (file, text) in own.items()}
    if before is not None and (code, by_path, texts) == (before.code, before.files, before.texts):
        return before
    small = {texts[name].digest: text for name, (_, text) in own.items()}
    large: dict[str, Any] = {}
    for shipment in (*code, *by_path.values()):
        for file in shipment.files:
            path = Path(shipment.root) / file.name
            if file.digest in small or file.digest in large:
                continue
            if path.suffix == ".py" or path.stat().st_size <= _SMALL:
                small[file.digest] = content = path.read_bytes()
                if hashlib.sha256(content).hexdigest() != file.digest:
                    return packed_code(objective, near=near, before=before)  # somebody has just written to it
            else:  # to the store without a copy in between
                large[file.digest] = ray.put(np.asarray(np.memmap(path, dtype=np.uint8, mode="r")))
    content_size = sum(map(len, small.values()))
    return ShippedCode(code, by_path, object_store.put(small, content_size), large, near, texts)
