"""Which cluster is joined, and how: the keys of ``cluster``, checked."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distfd.core.errors import InputError
from distfd.core.quantities import seconds
from distfd.core.validation import is_number, is_whole

RUNTIME_ENV = ("env_vars", "working_dir", "py_modules", "pip", "uv", "conda", "excludes", "config", "py_executable")
"""Keys of Ray's runtime environments that make sense for workers."""

KEEP_IDLE = 30.0
"""Seconds for which idle workers stay for the next call: a person at a notebook thinks that long."""
_LONGEST = 1e9


@dataclass(frozen=True)
class ClusterOptions:
    """The options of the cluster; see `RayExecutor` for what they mean."""

    address: str | None = None
    num_cpus: int | None = None
    max_slots: int | None = None
    request_slots: int | None = None
    runtime_env: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("num_cpus", "max_slots", "request_slots"):
            value = getattr(self, name)
            if value is not None and not (is_whole(value) and value >= 1):
                raise InputError(f"{name}: must be a whole number >= 1 (was {value!r})")
        if self.address is not None and not isinstance(self.address, str):
            raise InputError(f"address: must be text or None (was {self.address!r})")
        check_growth(self.address, self.max_slots, self.request_slots)
        check_runtime_env(self.runtime_env)


def as_keep_idle(given: float | str) -> float:
    """Seconds for which idle workers stay, from a number of seconds or a text such as "5min".

    Raises
    ------
    InputError
        If it is no such duration.
    """
    value: Any = given
    if isinstance(given, str):
        with contextlib.suppress(ValueError):
            value = seconds(given)
    if not is_number(value) or not 0 <= value <= _LONGEST:
        raise InputError(
            f"keep_idle: must be a number of seconds, 0 for never, or text such as 30s, 10min (was {given!r})"
        )
    return float(value)


def check_growth(address: str | None, max_slots: int | None, request_slots: int | None) -> None:
    """Check that more slots can be requested from this cluster.

    Raises
    ------
    InputError
        If they cannot.
    """
    if request_slots is None:
        return
    if address == "local":
        raise InputError(
            "request_slots: a private cluster does not grow; leave it out, or give the address of a cluster that does"
        )
    if max_slots is not None and request_slots > max_slots:
        raise InputError(
            f"request_slots: {request_slots} is more than max_slots, {max_slots}; lower it, or raise max_slots"
        )


def check_runtime_env(given: Mapping[str, Any]) -> None:
    """Check a runtime environment for keys and values that Ray does not take.

    Raises
    ------
    InputError
        If it is certain that it could not.
    """
    if not isinstance(given, Mapping):
        raise InputError(f"runtime_env: must be a mapping (was {given!r})")
    for key in given:
        if key not in RUNTIME_ENV:
            raise InputError(f"runtime_env: there is no {key!r}; use {', '.join(RUNTIME_ENV)}")
    modules = given.get("py_modules", [])
    if not isinstance(modules, list):
        raise InputError("runtime_env.py_modules: must be a list")
    for key, place in [("working_dir", given.get("working_dir", ".")), *(("py_modules", each) for each in modules)]:
        if not isinstance(place, str):
            raise InputError(f"runtime_env.{key}: must be a path or an address as text")
        if "://" not in place and not Path(place).exists():
            raise InputError(f"runtime_env.{key}: there is no {place}")
    variables = given.get("env_vars", {})
    if not isinstance(variables, Mapping) or not all(isinstance(value, str) for value in variables.values()):
        raise InputError("runtime_env.env_vars: must map names to texts; write numbers in quotes")
