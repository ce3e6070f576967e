"""The user's modules and input files on their way to the nodes, by the object store: each node fetches them once."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.executors.ray.code_shipping import moved, pack, unpack
from distfd.executors.ray.local_code import local_code

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from distfd.executors.ray.code_shipping import Shipment

_PATIENCE = 600.0
"""Seconds that a file may take to come; the worker fails then, and another is started."""
_SMALL = 65_536
"""Bytes of a file up to which it travels with the list of files."""


@dataclass(frozen=True)
class Luggage:
    """What a worker looks for on its node, and fetches if it is not there.

    Parameters
    ----------
    code : sequence of Shipment
        Folders to import from.
    files : mapping
        By the path of a file or folder of the driver's, what is shipped of the folder that it is in.
    contents : mapping
        SHA-256 of a file -> its content, or Ray's reference to that.
    """

    code: tuple[Shipment, ...] = ()
    files: Mapping[str, Shipment] = field(default_factory=dict)
    contents: Mapping[str, Any] = field(default_factory=dict)

    def unpacked(self, paths: list[str]) -> tuple[list[str], dict[str, str]]:
        """On a node: where to import from, in the driver's order, and where files are that have another place."""
        code = {shipment.root: str(unpack(shipment, self._fetch)) for shipment in self.code}
        known = [code.get(path, path) for path in paths]
        files = {path: unpack(shipment, self._fetch) for path, shipment in self.files.items()}
        elsewhere = {path: place for path, place in moved(files, files).items() if place != path}
        return [*known, *(place for place in code.values() if place not in known)], elsewhere

    def _fetch(self, digest: str) -> Any:
        import ray

        content = self.contents[digest]
        return content if isinstance(content, bytes) else memoryview(ray.get(content, timeout=_PATIENCE))


def packed_luggage(files: Iterable[str]) -> Luggage:
    """On the driver: read the user's modules and these files, and put them into the object store.

    Parameters
    ----------
    files : iterable of str
        Absolute paths of files and folders.
    """
    code = tuple(local_code())
    by_path = {path: pack(Path(path).parent, [Path(path)]) for path in files if Path(path).exists()}
    contents: dict[str, Any] = {}
    for shipment in (*code, *by_path.values()):
        for file in shipment.files:
            if file.digest not in contents:
                contents[file.digest] = _put(Path(shipment.root) / file.name)
    return Luggage(code, by_path, contents)


def _put(path: Path) -> Any:
    """A file's content, or a reference to it; a large file goes to the store without a copy in between."""
    import ray

    if path.stat().st_size <= _SMALL:
        return path.read_bytes()
    return ray.put(np.asarray(np.memmap(path, dtype=np.uint8, mode="r")))
