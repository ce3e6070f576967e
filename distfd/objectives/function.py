"""J as a Python callable."""

from __future__ import annotations

import importlib
import os
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distfd.core.errors import InputError, MissingSimulatorError
from distfd.core.suggestions import did_you_mean
from distfd.fingerprint.fingerprint import fingerprint
from distfd.objectives.base import Objective
from distfd.objectives.python_key import python_key
from distfd.objectives.structured import arranged, key_within, parts_of
from distfd.workers.model import Model

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from distfd.core.structure import Structure
    from distfd.fingerprint.fingerprint import Fingerprint


@dataclass(frozen=True, eq=False)
class PythonObjective(Objective):
    """J(x): ``fun(x, *args, **kwargs)``.

    Parameters
    ----------
    fun : callable
        A callable that cloudpickle can pickle: functions, lambdas, bound methods, partials, callable objects.
    args, kwargs
        Further arguments.
    version : str, optional
        Identifies everything that J depends on, where this cannot be determined (see `distfd.fingerprint.fingerprint`).
    structure : Structure, optional
        The structure in which J is given x.
    """

    fun: Callable[..., Any]
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    version: str | None = None
    structure: Structure | None = None

    @property
    def parts(self) -> tuple[Any, ...]:
        """The function and its arguments."""
        return self.fun, self.args, self.kwargs, *parts_of(self.structure)

    def structured(self, structure: Structure) -> PythonObjective:
        """The same function, with x given in a structure."""
        return replace(self, structure=structure)

    @property
    def leaves_process_clean(self) -> bool:
        """True: another J may run in the same process, as the function is sent anew for each."""
        return True

    def fingerprint(self) -> str | None:
        """Digest of the function, what it refers to, and its arguments."""
        found = self._print()
        return python_key(key_within(found.digest, self.structure), self) if found.stable else None

    @property
    def unrecognised_because(self) -> str | None:
        """Which object that J refers to cannot be identified, and where it is."""
        return self._print().unstable_because

    def _print(self) -> Fingerprint:
        return fingerprint((self.fun, self.args, dict(self.kwargs), *parts_of(self.structure)), version=self.version)

    def make(self) -> Model:
        """The function itself, ready to be called: there is nothing to set up."""
        return arranged(PythonModel(self.fun, self.args, self.kwargs), self.structure)


@dataclass(frozen=True, eq=False)
class PythonModel(Model):
    """A callable as a running J."""

    fun: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    def evaluate(self, x: NDArray[np.float64], *, timeout: float | None) -> Any:  # noqa: ARG002  # ended from outside
        """Calls the function at x."""
        return self.fun(x, *self.args, **self.kwargs)


def load_name(name: str, folder: Path) -> Any:
    """The object ``module:qualname``, searched in the folder, the current one, and installed packages.

    Raises
    ------
    MissingSimulatorError
        If the module, or a module that it imports, does not exist.
    InputError
        If the name has another form, the module raises on import, or has no such attribute.
    """
    module_name, _, qualname = name.partition(":")
    if not module_name or not qualname:
        raise InputError(f"{name!r}: must have the form module:name")
    if module_name.endswith(".py") and (folder / module_name).is_file():  # as pytest names functions
        module = ".".join(part for part in Path(module_name).with_suffix("").parts if part.strip("./"))
        raise InputError(f"{name!r}: must have the form module:name; did you mean '{module}:{qualname}'?")
    for path in (os.fspath(Path.cwd()), os.fspath(folder.resolve())):
        if path not in sys.path:
            sys.path.insert(0, path)
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise MissingSimulatorError(_not_found(name, module_name, error, folder)) from error
    except (Exception, SystemExit) as error:
        raise InputError(f"{name!r}: importing {module_name} failed: {type(error).__name__}: {error}") from error
    for part in qualname.split("."):
        if not hasattr(found, part):
            public = [n for n in dir(found) if not n.startswith("_")]
            raise InputError(
                f"{name!r}: {module_name} has no {part!r}; it has {', '.join(public[:20])}{did_you_mean(part, public)}"
            )
        found = getattr(found, part)
    return found


def _not_found(name: str, module_name: str, error: ModuleNotFoundError, folder: Path) -> str:
    if error.name and (module_name == error.name or module_name.startswith(error.name + ".")):
        folders = list(dict.fromkeys((folder.resolve(), Path.cwd())))
        there = [path.stem for place in folders for path in sorted(place.glob("*.py"))]
        return (
            f"{name!r}: there is no module {error.name!r} in {', in '.join(map(str, folders))}, or among the "
            f"installed packages{did_you_mean(error.name, there)}"
        )
    return f"{name!r}: {module_name} needs {error.name!r}, which is not installed; try: pip install {error.name}"
