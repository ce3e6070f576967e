"""Converts what the user gives as J into an objective."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from distfd.core.errors import InputError
from distfd.objectives.base import adapted
from distfd.objectives.function import PythonObjective
from distfd.objectives.simulator import SimulatorObjective

if TYPE_CHECKING:
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
    args, kwargs = _checked_arguments(args, kwargs)
    if inspect.isclass(fun) and hasattr(fun, "evaluate"):
        return SimulatorObjective(fun, args, kwargs or {}, version)
    if inspect.isclass(fun) and "__call__" in vars(fun):
        raise InputError(
            f"fun: is the class {fun.__name__}, whose instances are called; give one of them, such as "
            f"{fun.__name__}(), or a class with a method evaluate(x)"
        )
    if callable(fun):
        _check_call(fun, args, kwargs or {})
        return PythonObjective(fun, args, kwargs or {}, version)
    hint = "; give the simulator's class, not an instance" if hasattr(fun, "evaluate") else "; give what computes J(x)"
    if isinstance(fun, str):
        hint = "; give the function itself, not its name"
    if type(fun).__name__ == "Evaluator":
        hint = "; it has methods of its own: evaluator.gradient(x), evaluator.jacobian(x) ..."
    elif isinstance(fun, (list, tuple, int, float)) or type(fun).__name__ == "ndarray":
        hint = "; J comes first, and x0 second"
    raise InputError(f"fun: must be callable, a simulator class or an objective (was {type(fun).__name__}){hint}")


def _check_call(fun: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """See that J can be called as distfd calls it, before anything is started for it.

    Raises
    ------
    InputError
        If it takes other arguments, or does not return its value at once.
    """
    for code in (fun, type(fun).__call__):
        if inspect.iscoroutinefunction(code):
            raise InputError(
                "fun: is async, and distfd calls J as an ordinary function; wrap it: lambda x: asyncio.run(J(x))"
            )
        if inspect.isgeneratorfunction(code) or inspect.isasyncgenfunction(code):
            raise InputError("fun: has yield in it, and so returns a generator; J must return its value")
    try:
        # Not that of what it wraps, as a wrapper may give this arguments of its own.
        signature = inspect.signature(fun, follow_wrapped=False)
    except (TypeError, ValueError):
        return  # some callables say nothing of their arguments
    try:
        signature.bind(None, *args, **kwargs)
    except TypeError as error:
        what = "J(x, *args, **kwargs)" if args and kwargs else "J(x, *args)" if args else "J(x)"
        if kwargs and not args:
            what = "J(x, **kwargs)"
        hint = "x is one array with all parameters; lambda x: J(*x) spreads it, args=(...) are J's further arguments"
        if inspect.isclass(fun):
            hint = f"{fun.__name__} is a class; give one of its objects, a method of one, or a class with evaluate(x)"
        raise InputError(f"fun: cannot be called as {what}: {error}; {hint}") from None


def _checked_arguments(args: Any, kwargs: Any) -> tuple[tuple[Any, ...], Mapping[str, Any] | None]:
    """The further arguments of J: one alone counts as SciPy counts it.

    Raises
    ------
    InputError
        If they are no arguments.
    """
    if args is None:
        raise InputError("args: must be a tuple of J's further arguments, (None,) where None is one (was None)")
    if kwargs is not None and not (isinstance(kwargs, Mapping) and all(isinstance(name, str) for name in kwargs)):
        raise InputError(f"kwargs: must be a dict of J's further arguments by name (was {kwargs!r})")
    arguments = args if isinstance(args, tuple) else (args,)
    for where, one in [*(("args", one) for one in arguments), *(("kwargs", one) for one in (kwargs or {}).values())]:
        if isinstance(one, Iterator) and type(one).__module__ in ("builtins", "itertools"):
            raise InputError(
                f"{where}: has a {type(one).__name__}, which the first evaluation of J would use up; give a list of it"
            )
    return arguments, kwargs
