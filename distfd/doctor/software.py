"""Python, the packages that count, and the programs that simulators need."""

from __future__ import annotations

import importlib.util
import platform
import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from distfd.doctor.finding import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_NEEDED = ("numpy", "scipy", "ray", "pydantic", "typer", "rich", "jinja2", "pyyaml", "psutil", "threadpoolctl")
_PROGRAMS = {
    "ngspice": "apt-get install ngspice",
    "ccx": "apt-get install calculix-ccx",
    "gfortran": "apt-get install gfortran",
}
_MODULES = {
    "mujoco": "pip install mujoco",
    "openmdao": "pip install openmdao",
    "matplotlib": "pip install 'distfd[report]'",
}


def software_findings(programs: Sequence[str] = ()) -> Iterator[Finding]:
    """What is installed, and what is not.

    Parameters
    ----------
    programs : sequence of str
        What the configuration runs.
    """
    yield _packages()
    yield _blas()
    yield _ray_internals()
    yield _reaping()
    for argv0 in programs:
        yield _program(argv0)
    yield _simulators()


def _packages() -> Finding:
    found, missing = [], []
    for name in _NEEDED:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    text = f"Python {platform.python_version()} at {sys.executable}, distfd {_own_version()}, {', '.join(found[:3])}"
    if missing:
        remedy = f"{sys.executable} -m pip install {' '.join(missing)}"
        return Finding("python", f"{text}; missing: {', '.join(missing)}", "error", remedy, 2)
    return Finding("python", text)


def _ray_internals() -> Finding:
    from distfd.executors.ray.internals import OLDEST, lacking

    try:
        lost = lacking()
    except ImportError as error:
        return Finding("ray's parts", f"Ray cannot be imported: {error}", "error", "install Ray anew", 2)
    if not lost:
        return Finding("ray's parts", "this Ray has all that distfd uses beside its public functions")
    told = "; ".join(f"no {name}: {what}" for name, what in lost.items())
    return Finding("ray's parts", told, "warning", f"install ray>={OLDEST}, in a version that distfd is tested with")


def _own_version() -> str:
    try:
        return version("distfd")
    except PackageNotFoundError:
        return "(not installed, run from its source)"


def _blas() -> Finding:
    try:
        import numpy as np  # loads its BLAS
        from threadpoolctl import threadpool_info

        pools: list[dict[str, Any]] = threadpool_info()
        # A small product, as a library that was built for another machine shows only when it is used.
        sound = float(np.ones(4) @ np.ones(4)) == 4.0
    except ImportError as error:
        return Finding("blas", f"NumPy cannot be loaded: {error}", "error", "install NumPy anew", 2)
    libraries = [f"{pool['internal_api']} {pool.get('version') or ''}".strip() for pool in pools]
    text = ", ".join(libraries) or "NumPy's own"
    if not sound:
        return Finding("blas", f"{text} computes wrong products", "error", "install NumPy anew", 2)
    return Finding("blas", text)


def _reaping() -> Finding:
    if sys.platform != "linux":
        text = f"{sys.platform}: programs that a killed worker started may live on"
        return Finding("processes", text, "warning", "use Linux where runs get killed; all else works here")
    return Finding("processes", "programs of a killed worker are found by their mark, and end")


def _program(argv0: str) -> Finding:
    found = shutil.which(argv0)
    if found is None:
        remedy = "install it, or put its folder on the PATH of the shell that starts distfd"
        return Finding("program", f"{argv0} is not there", "error", remedy, 2)
    return Finding("program", found)


def _simulators() -> Finding:
    there = [name for name in _PROGRAMS if shutil.which(name)]
    there += [name for name in _MODULES if importlib.util.find_spec(name)]
    absent = [f"{name} ({how})" for name, how in (_PROGRAMS | _MODULES).items() if name not in there]
    text = f"{', '.join(there) or 'none'}" + (f"; not installed: {', '.join(absent)}" if absent else "")
    return Finding("simulators", f"{text}{'; the examples need them' if absent else ''}")
