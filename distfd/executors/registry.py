"""Executors by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distfd.core.errors import InputError
from distfd.core.suggestions import did_you_mean
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
    if isinstance(executor, type) and executor.__module__.partition(".")[0] not in ("concurrent", "multiprocessing"):
        raise InputError(f"executor: is the class {executor.__name__}; make one of it: {executor.__name__}()")
    if not isinstance(executor, str):
        if (found := adapted(executor)) is None:
            raise InputError(
                f"executor: must be ray, serial, or an executor object, such as distfd.RayExecutor(num_cpus=4) (was "
                f"{executor!r})"
            )
        return found
    if executor == "ray":
        from distfd.executors.ray.executor import RayExecutor

        return RayExecutor()
    if executor == "serial":
        from distfd.executors.serial import SerialExecutor

        return SerialExecutor()
    hint = did_you_mean(executor, ("ray", "serial"))
    if executor == "auto" or ":" in executor:
        hint = f"; the address of a cluster goes to distfd.RayExecutor(address={executor!r})"
    raise InputError(f"executor: there is no {executor!r}; use ray, serial, or an executor object{hint}")
