"""The modules of the user's own that this process has imported, and what they import in turn."""

from __future__ import annotations

import sys
import sysconfig
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from distfd.executors.ray.code_shipping import pack
from distfd.fingerprint.module_origins import imported_by, origin

if TYPE_CHECKING:
    from distfd.executors.ray.code_shipping import Shipment

_MOST = 5000
"""Files; more is no project's own code."""


def local_code() -> list[Shipment]:
    """What has to be on a node for functions that travel by name: one shipment for each folder to import from.

    Of a package, all of its Python files: what J imports when it is called is not known before.
    """
    files: dict[Path, set[Path]] = defaultdict(set)
    waiting = [(name, Path(file)) for name, file in _loaded()]
    seen: set[str] = set()
    while waiting:
        name, file = waiting.pop()
        if name in seen or not file.is_file():
            continue
        seen.add(name)
        root = _root(name, file)
        package = root / name.split(".", maxsplit=1)[0]
        files[root].update(package.rglob("*.py") if package.is_dir() else (), (file,))
        for other in imported_by(name, file):
            found = None if other in seen else origin(other)
            if found is not None and found.version is None and found.file is not None:
                waiting.append((other, found.file))
    return [pack(root, found) for root, found in sorted(files.items()) if len(found) <= _MOST]


def _loaded() -> list[tuple[str, str]]:
    """Names and files of modules that are neither installed nor Python's own."""
    installed = tuple(
        str(Path(place).resolve())
        for place in {sys.prefix, sys.base_prefix, *(sysconfig.get_path(each) for each in ("stdlib", "platlib"))}
    )
    found = []
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        top = name.partition(".")[0]
        if not isinstance(file, str) or top in ("__main__", "__mp_main__", "distfd") or file.startswith(installed):
            continue
        if not {"site-packages", "dist-packages"} & set(Path(file).parts):
            found.append((name, str(Path(file).absolute())))
    return found


def _root(name: str, file: Path) -> Path:
    """The folder on sys.path from which a module comes."""
    depth = name.count(".") + (file.stem == "__init__")
    return file.parents[depth]
