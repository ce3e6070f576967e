"""What J sees of the process that asks for it, beside its own code: environment, working directory, settings.

A function in Python may read all of these, and a worker has its own. So they travel: what the driver's process has set
or changed in its environment since it began, its working directory, and the settings in `SETTINGS`. What belongs to a
process or a node (Ray's variables, numbers of threads, which GPUs are seen) stays as it is there.
"""

from __future__ import annotations

import contextlib
import os
import socket
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from distfd.core.errors import InputError
from distfd.workers.process_settings import SETTINGS
from distfd.workers.threads import VARIABLES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_OWN = frozenset(
    {
        *VARIABLES,
        "BLIS_NUM_THREADS",
        "RAYON_NUM_THREADS",
        "CUDA_VISIBLE_DEVICES",
        "HIP_VISIBLE_DEVICES",
        "ROCR_VISIBLE_DEVICES",
        "NVIDIA_VISIBLE_DEVICES",
        "ONEAPI_DEVICE_SELECTOR",
        "ZE_AFFINITY_MASK",
        "TPU_VISIBLE_CHIPS",
        "PYTHONBREAKPOINT",  # set by ray.init
        "SPT_NOENV",
        "TPU_SKIP_MDS_QUERY",  # set by the import of JAX, as TF_CPP_MIN_LOG_LEVEL is
        "HDF5_PLUGIN_PATH",  # set by the import of netCDF4
        "CRC32C_SW_MODE",  # set by the import of tensorboardX
        "COLUMNS",
        "LINES",
        "PWD",
        "OLDPWD",
        "SHLVL",
        "_",
    }
)
_OWN_PREFIXES = ("RAY_", "DISTFD_", "PYTEST_", "TF_CPP_", "KMP_", "_MLFLOW_", "WANDB_")
"""Variables that belong to a process, its node, or a tool around it, and those that libraries set when imported."""


def follows_driver(name: str) -> bool:
    """Whether a variable of the environment is one that follows the driver."""
    return name not in _OWN and not name.startswith(_OWN_PREFIXES)


def environ_table() -> Mapping[Any, Any]:
    """The table inside os.environ: it is compared in a third of a microsecond, and os.environ in fifty."""
    table: Mapping[Any, Any] = getattr(os.environ, "_data", os.environ)
    return table


_WHEN_IMPORTED = MappingProxyType(dict(os.environ))


@cache
def first_environ() -> Mapping[str, str]:
    """The environment that this process began with."""
    with contextlib.suppress(OSError):
        parts = (part.partition(b"=") for part in Path("/proc/self/environ").read_bytes().split(b"\0"))
        found = {os.fsdecode(name): os.fsdecode(value) for name, equals, value in parts if name and equals}
        # Programs that give themselves a title write it over what is read there.
        if 2 * len(found.keys() & _WHEN_IMPORTED.keys()) >= len(_WHEN_IMPORTED):
            return found
    return _WHEN_IMPORTED


def _directory() -> str | None:
    try:
        return os.getcwd()  # noqa: PTH109  # it is asked for with each call
    except OSError:
        return None  # it is deleted


_FIRST_DIRECTORY = _directory()
"""The working directory when this was imported."""


def changed_environ(since: Mapping[str, str] | None = None) -> dict[str, str | None]:
    """Variables that follow the driver and are not as this process began with them; None for those that are gone.

    Parameters
    ----------
    since : mapping, optional
        Another environment to compare with.
    """
    first, now = first_environ() if since is None else since, dict(os.environ)
    names = {name for name in first.keys() | now.keys() if first.get(name) != now.get(name) and follows_driver(name)}
    return {name: now.get(name) for name in sorted(names)}


@dataclass(frozen=True)
class Surroundings:
    """The surroundings of J in one process.

    Attributes
    ----------
    environ : mapping
        Variables that were set or changed since the process began; None for those that were removed.
    directory : str or None
        The working directory; None where that is deleted.
    moved : bool
        Whether it is another than the process began in.
    settings : mapping
        By their names in `SETTINGS`.
    """

    environ: Mapping[str, str | None] = field(default_factory=dict, repr=False)
    directory: str | None = None
    moved: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def here(cls, before: Surroundings | None = None) -> Surroundings:
        """Those of this process, now.

        Parameters
        ----------
        before : Surroundings, optional
            An earlier look, since which the environment is known not to have changed.
        """
        directory = _directory()
        settings = {name: setting.read() for name, setting in SETTINGS.items()}
        environ = changed_environ() if before is None else before.environ
        return cls(environ, directory, directory != _FIRST_DIRECTORY, settings)

    @property
    def in_key(self) -> dict[str, Any]:
        """What of them is part of the key of stored values: all that somebody changed, but for the directory.

        Empty where nobody changed anything, and values that were stored before are found.
        """
        unusual = {
            name: value
            for name, value in self.settings.items()
            if SETTINGS[name].in_key and SETTINGS[name].weight(value) != SETTINGS[name].weight(SETTINGS[name].usual())
        }
        return {**({"environ": dict(self.environ)} if self.environ else {}), **unusual}

    @property
    def weighty(self) -> tuple[Any, ...]:
        """What of them a value of J may depend on: where it is another, J is."""
        settings = {name: SETTINGS[name].weight(value) for name, value in self.settings.items()}
        return dict(self.environ), self.directory, settings

    def with_environ(self, more: Mapping[str, str | None]) -> Surroundings:
        """The same with these variables too."""
        return replace(self, environ={**more, **self.environ}) if more else self


_UNKNOWN = object()


class SurroundingsSetter:
    """Brings the surroundings of a driver to a worker's process, one set of them after another."""

    def __init__(self) -> None:
        self._own: dict[str, str | None] = {}
        """What variables were here before they were set from outside."""
        self._last = Surroundings()

    def set(self, wanted: Surroundings, *, keep_directory: bool = False) -> None:
        """Make this process's surroundings those, where they are others than it was given last.

        Parameters
        ----------
        keep_directory : bool
            Whether somebody else has put this process into the directory where J is to run.

        Raises
        ------
        InputError
            If there is no such directory here, or a setting cannot be had.
        """
        for name in (*wanted.environ, *self._last.environ):
            self._own.setdefault(name, os.environ.get(name))
            value = wanted.environ.get(name, self._own[name])
            if value is None:
                os.environ.pop(name, None)
            elif os.environ.get(name) != value:
                os.environ[name] = value
        if not keep_directory or wanted.moved:
            _enter(wanted.directory)
        for name, value in wanted.settings.items():
            # One that is as it was on the driver is left alone: a module that only J imports may have set it here.
            if self._last.settings.get(name, _UNKNOWN) != value:
                self._write(name, value)
        self._last = wanted

    @contextlib.contextmanager
    def over_imports(self) -> Iterator[None]:
        """Inside, modules are imported that the driver has imported: what they set, it may have set since."""
        before = {name: SETTINGS[name].read() for name in self._last.settings}
        yield
        for name, value in before.items():
            if SETTINGS[name].read() != value:
                self._write(name, self._last.settings[name])

    @staticmethod
    def _write(name: str, value: Any) -> None:
        setting = SETTINGS[name]
        try:
            if setting.read() != value:
                setting.write(value)
        except Exception as error:
            raise InputError(
                f"{name} is {value!r} in this process and cannot be so on {socket.gethostname()} "
                f"({type(error).__name__}: {error})"
            ) from error


def _enter(directory: str | None) -> None:
    if directory is None or directory == _directory():
        return
    try:
        os.chdir(directory)
    except OSError as error:
        raise InputError(
            f"the working directory {directory} is not on {socket.gethostname()} ({error.strerror}), and J may read "
            "files from it; work in a directory that all hosts have (os.chdir before the call), or give Ray the folder "
            "by runtime_env={'working_dir': ...}"
        ) from error
