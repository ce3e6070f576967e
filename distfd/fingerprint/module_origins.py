"""The origin of a module: installed, and identified by its version, or local, and identified by its source."""

from __future__ import annotations

import ast
import importlib.util
import sys
import sysconfig
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


@dataclass(frozen=True)
class Origin:
    """``version`` is the distribution's, None for a local module; ``file`` is None if the module has no file."""

    name: str
    version: str | None
    file: Path | None


def origin(name: str) -> Origin | None:
    """The origin of the module with this name, without importing it; None if there is no such module."""
    top = name.partition(".")[0]
    module = sys.modules.get(name)
    spec = getattr(module, "__spec__", None) or _find(name)
    if spec is None and module is None:
        return None
    place = getattr(module, "__file__", None) or getattr(spec, "origin", None)
    file = Path(place) if place and place not in ("built-in", "frozen", "namespace") else None
    if file is None and spec is not None and spec.submodule_search_locations:
        # A package without a file has the folder of its parts.
        return Origin(name, _version(top, next(iter(spec.submodule_search_locations), None)), None)
    return Origin(name, _version(top, None if file is None else str(file)), file)


def source_digest(path: Path) -> bytes:
    """The content of a source: its syntax tree, so that comments and line numbers do not count."""
    content = path.read_bytes()
    tree = _parse(content) if path.suffix == ".py" else None
    # An extension module has no source; use its bytes.
    return content if tree is None else ast.dump(tree).encode(errors="surrogatepass")


def imported_by(name: str, path: Path) -> list[str]:
    """Full names of the modules that a local module imports anywhere in its source."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found: set[str] = set()
    statements = imports_in(path.read_bytes()) if path.suffix == ".py" else ()
    for module, level, names in statements:
        found.update((module,) if names is None else resolve(module, level, names, package))
    return sorted(found - {name})


@lru_cache(maxsize=5000)
def imports_in(source: bytes) -> tuple[tuple[str, int, tuple[str, ...] | None], ...]:
    """The module, level and names of each import in a text; the names are None for ``import module``."""
    tree = _parse(source)
    found: list[tuple[str, int, tuple[str, ...] | None]] = []
    for node in () if tree is None else ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, 0, None) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append((node.module or "", node.level, tuple(alias.name for alias in node.names)))
    return tuple(found)


def imported_names(source: bytes, name: str, *, package: bool) -> list[str]:
    """Full names of what a module's text imports, and of names that it imports from there, which may be modules."""
    of = name if package else name.rpartition(".")[0]
    found: set[str] = set()
    for module, level, names in imports_in(source):
        try:
            full = importlib.util.resolve_name("." * level + module, of)
        except ImportError:
            continue
        found.update((full, *(f"{full}.{part}" for part in names or () if part != "*")))
    return sorted(found)


def local_file(name: str, folders: Sequence[str]) -> Path | None:
    """The source file of a module of the user, on sys.path or in these folders; the module is not imported."""
    place = origin(name)
    if place is not None:
        own = place.version is None and place.file is not None and place.file.suffix == ".py"
        return place.file if own else None
    for folder in folders:
        stem = Path(folder).joinpath(*name.split("."))
        for file in (stem / "__init__.py", stem.with_suffix(".py")):
            if file.is_file():
                return file
    return None


def resolve(name: str, level: int, fromlist: Sequence[str], package: str) -> list[str]:
    """Full names of the modules in ``from name import fromlist``; names that are not modules are left out."""
    try:
        full = importlib.util.resolve_name("." * level + name, package)
    except ImportError:
        return []
    parts = [f"{full}.{part}" for part in fromlist if part != "*"]
    loaded = sys.modules.get(full)
    if loaded is not None and not hasattr(loaded, "__path__"):
        return [full, *(part for part in parts if part in sys.modules)]  # it is no package: there is nothing to find
    return [full, *(part for part in parts if part in sys.modules or _find(part) is not None)]


def is_installed_file(top: str, file: str) -> bool:
    """Whether a file of a top-level module is installed or part of Python, so that a version identifies it."""
    return _version(top, file) is not None


def _find(name: str) -> ModuleSpec | None:
    # importlib.util.find_spec would import the parent packages; this does not.
    path = None
    spec: ModuleSpec | None = None
    parts = name.split(".")
    for depth in range(1, len(parts) + 1):
        part = ".".join(parts[:depth])
        spec = None
        for finder in sys.meta_path:
            try:
                spec = finder.find_spec(part, path)
            except KeyError:  # a folder without __init__.py, whose parent is not imported
                spec = _namespace(part, path or ())
            if spec is not None:
                break
        if spec is None or (depth < len(parts) and spec.submodule_search_locations is None):
            return None
        path = spec.submodule_search_locations
    return spec


def _namespace(name: str, folders: Iterable[str]) -> ModuleSpec:
    """The specification of a folder without ``__init__.py`` in these folders of its parent package."""
    spec = ModuleSpec(name, None, is_package=True)
    places = [Path(folder) / name.rpartition(".")[2] for folder in folders]
    spec.submodule_search_locations = [str(place) for place in places if place.is_dir()]
    return spec


OWN_VERSION = "0.1.0"
"""Stands for the version of distfd's own classes in a fingerprint. A new release or a checkout of distfd is no change
of a user's objective, so stored values stay valid."""
_RECORDED_AS = {
    "distfd.core.errors": "distfd.errors",
    "distfd.core.records": "distfd.records",
    "distfd.differentiation.noise_result": "distfd.numerics.noise_result",
    "distfd.differentiation.stencils": "distfd.numerics.stencils",
    "distfd.differentiation.steps": "distfd.numerics.steps",
    "distfd.differentiation.sweep_result": "distfd.numerics.sweep_result",
    "distfd.evaluation.api": "distfd.api",
    "distfd.evaluation.derivative_future": "distfd.pending",
    "distfd.evaluation.evaluator": "distfd.evaluator",
    "distfd.evaluation.options": "distfd.options",
    "distfd.executors.ray.executor": "distfd.executors.ray",
    "distfd.checks.derivative_check": "distfd.checking",
    "distfd.checks.gradient_check": "distfd.gradient_check",
    "distfd.integrations.jax": "distfd.jax",
    "distfd.integrations.openmdao": "distfd.openmdao",
    "distfd.integrations.optimagic": "distfd.optimagic",
    "distfd.integrations.scipy_derivative": "distfd.scipy_derivative",
    "distfd.integrations.torch": "distfd.torch",
    "distfd.objectives.command.objective": "distfd.objectives.command",
    "distfd.observers.progress": "distfd.observers.display",
    "distfd.optimization.constraints": "distfd.optimizing.constraints",
    "distfd.optimization.least_squares": "distfd.optimize",
    "distfd.optimization.limits": "distfd.optimizing.limits",
    "distfd.optimization.minimize": "distfd.optimize",
    "distfd.results.derivative_result": "distfd.results",
    "distfd.results.events": "distfd.events",
}
"""Module of distfd -> its name in the fingerprints of stored values and journals. This is part of the file format: when
a class that users may name moves to another module, the old name must be added here."""


def recorded_name(module: str) -> str:
    """The name of an installed module as used in fingerprints."""
    return _RECORDED_AS.get(module, module)


def _version(top: str, place: str | None) -> str | None:
    if top == "distfd":
        return OWN_VERSION
    python = f"python {sys.version_info.major}.{sys.version_info.minor}"
    if place is None:
        return python if top in sys.stdlib_module_names else None
    parts = Path(place).parts
    if "site-packages" in parts or "dist-packages" in parts:
        return _distribution_version(top)
    return python if any(Path(place).is_relative_to(directory) for directory in _standard_library()) else None


@cache
def _standard_library() -> frozenset[str]:
    return frozenset({sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")})


@cache
def _distribution_version(top: str) -> str | None:
    from importlib import metadata

    try:
        return metadata.version(top)
    except metadata.PackageNotFoundError:
        pass
    # This is slow, and only needed where the module is not named like its distribution: yaml belongs to PyYAML.
    for distribution in metadata.packages_distributions().get(top, ()):
        return metadata.version(distribution)
    return None


def _parse(source: bytes) -> ast.Module | None:
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError):
        return None
