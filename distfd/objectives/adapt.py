"""Converts what the user gives as J into an objective."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from distfd.core.errors import InputError
from distfd.objectives.base import adapted
from distfd.objectives.function import PythonObjective
from distfd.objectives.simulator import SimulatorObjective

if TYPE_CHECKING:
    from collections.abc import Mapping

    from distfd.objectives.base import Objective


def as_objective(
    fun: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None, version: str | None = None
) -> Objective:
    """The objective for a callable, a simulator class, or an object that is an objective already.

    Raises
    ------
    InputError
        If ``fun`` is none of these.
    """
    if (objective := adapted(fun)) is not None:
        if args or kwargs:
            raise InputError(
                "args and kwargs are for functions and classes; this objective is made already: "
                "give them where it is made"
            )
        return objective
    if not isinstance(args, tuple):
        args = (args,)
    if inspect.isclass(fun) and hasattr(fun, "evaluate"):
        return SimulatorObjective(fun, args, kwargs or {}, version)
    if callable(fun):
        return PythonObjective(fun, args, kwargs or {}, version)
    hint = "; give the simulator's class, not an instance" if hasattr(fun, "evaluate") else ""
    if type(fun).__name__ == "Evaluator":
        hint = "; it has methods of its own: evaluator.gradient(x), evaluator.jacobian(x) ..."
    elif isinstance(fun, (list, tuple, int, float)) or type(fun).__name__ == "ndarray":
        hint = "; J comes first, and x0 second"
    raise InputError(f"fun: must be callable, a simulator class or an objective (was {type(fun).__name__}){hint}")
