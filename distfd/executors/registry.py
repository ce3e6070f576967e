"""Executors by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distfd.core.errors import InputError
from distfd.executors.base import adapted

if TYPE_CHECKING:
    from distfd.executors.base import Executor


def make_executor(executor: str | Executor) -> Executor:
    """The executor of that name, or the executor itself.

    Raises
    ------
    InputError
        If there is none of that name.
    """
    if not isinstance(executor, str):
        if (found := adapted(executor)) is None:
            raise InputError(f"executor: must be ray, serial, or an executor object (was {executor!r})")
        return found
    if executor == "ray":
        from distfd.executors.ray.executor import RayExecutor

        return RayExecutor()
    if executor == "serial":
        from distfd.executors.serial import SerialExecutor

        return SerialExecutor()
    raise InputError(f"executor: there is no {executor!r}; use ray, serial, or an executor object")
