"""From what a user asks for to a session that can be evaluated with."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from distfd.core.errors import InputError
from distfd.core.validation import is_whole
from distfd.evaluation.objective_watch import ObjectiveWatch
from distfd.evaluation.outcome import give_warnings
from distfd.evaluation.session import Session
from distfd.evaluation.warm_starts import make_warm
from distfd.executors.registry import make_executor
from distfd.objectives.adapt import as_objective
from distfd.scheduling.slot_pool import SlotPool
from distfd.stores.registry import open_store
from distfd.workers.recycle import as_recycle

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from distfd.evaluation.options import EvaluationOptions
    from distfd.executors.base import Executor
    from distfd.objectives.base import Objective
    from distfd.observers.base import Observer
    from distfd.stores.base import Store
    from distfd.workers.recycle import Recycle


def open_session(
    fun: Any,
    treatment: EvaluationOptions,
    *,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any] | None,
    version: str | None,
    imaginary: bool,
    executor: str | Executor,
    store: str | os.PathLike[str] | Store | None,
    deterministic: bool | None,
    observers: Sequence[Observer],
    names: Sequence[str] | None,
    warm: str | None,
    recycle: Recycle | Mapping[str, Any] | None,
) -> tuple[Session, bool]:
    """A session, and whether its store is to be closed with it; parameters as for `distfd.Evaluator`.

    Parameters
    ----------
    treatment : EvaluationOptions
        Time, retries, and what becomes of failures.
    imaginary : bool
        Whether points are complex.

    Raises
    ------
    InputError
        If an option makes no sense.
    """
    if deterministic not in (None, True, False):
        raise InputError(f"deterministic: must be True, False or None (was {deterministic!r})")
    watching = _as_observers(observers)
    if not (version is None or isinstance(version, str) or is_whole(version)):
        raise InputError(f"version: must be text, or a whole number (was {version!r})")
    objective = as_objective(fun, args, kwargs, version)
    if names is not None:
        objective = objective.named(names)
    watch = ObjectiveWatch(objective)
    objective = watch.objective
    warmth = make_warm(warm, objective)
    give_warnings(objective.doubts)
    if imaginary and not objective.takes_complex:
        raise InputError("scheme: complex-step gives J complex x, but a program reads real numbers; use central")
    made = make_executor(executor)
    give_warnings(_limits_without_force(objective, made, treatment))
    policy = treatment.policy(
        limits_itself=objective.limits_itself,
        backups=made.duplicates_are_free if deterministic is None else deterministic,
        limit=made.time_limit,
    )
    opened, salt, owned = open_store(store, objective)
    session = Session(
        objective=objective,
        executor=made,
        store=opened,
        observers=watching,
        policy=policy,
        salt=salt,
        names=names,
        pool=SlotPool(slots=1),
        recycle=as_recycle(recycle),
        warm=warmth,
        watch=watch,
    )
    return session, owned


def _as_observers(given: Any) -> tuple[Observer, ...]:
    if not isinstance(given, Iterable) or not all(map(callable, observers := tuple(given))):
        hint = "; give a list that has it" if callable(given) else ""
        raise InputError(f"observers: must be callables, in a list (was {given!r}){hint}")
    for one in observers:
        if isinstance(one, type) and "__call__" in vars(one):
            raise InputError(f"observers: has the class {one.__name__}; make one of it: {one.__name__}()")
    return observers


def _limits_without_force(objective: Objective, executor: Executor, treatment: EvaluationOptions) -> list[str]:
    """A warning of time limits at which nobody can end J: it is given before the first evaluation."""
    if executor.can_end_evaluations or objective.limits_itself:
        return []
    limits = {"timeout": treatment.timeout, "setup_timeout": treatment.setup_timeout}
    given = [f"{name}={seconds:g}" for name, seconds in limits.items() if seconds is not None]
    if not given:
        return []
    text = (
        f"{' and '.join(given)} cannot end J in the caller's own process (executor='serial'): a J that hangs hangs "
        "this program, and a value that comes later than its timeout is refused; executor='ray' ends J at its limit"
    )
    return [text]
