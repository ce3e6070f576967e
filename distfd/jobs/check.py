"""``distfd check``: checks the derivative that a configuration describes, in the directory of its run."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from distfd.checks.check_report import check_fields
from distfd.checks.derivative_check import Check, check_derivative
from distfd.core.errors import InputError
from distfd.core.files import write_named
from distfd.differentiation.sweep_result import TOLERANCE
from distfd.jobs.build import make_evaluator, make_executor, make_objective
from distfd.observers.json_log import JsonLog
from distfd.reporting.plot import need_matplotlib, plot_sweep
from distfd.reporting.write import refresh_report
from distfd.run_directory.directory import RunDirectory, plain
from distfd.stores.sqlite import SQLiteStore

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from distfd.config.load import LoadedConfig
    from distfd.config.problem import Problem
    from distfd.evaluation.keywords import Kind
    from distfd.observers.base import Observer


def check_job(
    loaded: LoadedConfig,
    *,
    coordinates: Sequence[str] | None = None,
    tolerance: float | None = None,
    plot: str | None = None,
    json_file: str | None = None,
    observer: Observer,
    say: Callable[[str], None],
) -> Check:
    """Checks the derivative of a job; with ``output``, values of its run are reused, and new ones are added.

    Parameters
    ----------
    loaded : LoadedConfig
    coordinates : sequence of str, optional
        Names of parameters to sweep.
    tolerance : float, optional
        The relative error that is good enough; by default ``derivative.accuracy``, or 0.01.
    plot, json_file : str, optional
        Files to write.

    Raises
    ------
    DistfdError
        Its subclasses have the exit codes in `distfd.core.errors`.
    """
    config, problem = loaded.config, loaded.config.problem()
    if config.task == "hessian":
        raise InputError(
            "check: only first derivatives can be checked, and the task is hessian; add task=gradient to the command"
        )
    if tolerance is not None and not 0 < tolerance < 1:
        raise InputError(f"--tolerance: must be between 0 and 1 (was {tolerance:g})")
    if plot is not None:
        need_matplotlib()
    kind = "gradient" if config.task in ("gradient", "minimize", "noise") else "jacobian"
    # Large steps may lead to points where J fails: such failures are part of the result.
    lenient = config.model_copy(update={"evaluation": config.evaluation.model_copy(update={"on_failure": "nan"})})
    directory = None if config.output is None else RunDirectory(Path(config.output).absolute())
    objective = make_objective(loaded, problem, None if directory is None else directory.work)
    with contextlib.ExitStack() as stack:
        observers: list[Observer] = [observer]
        store, log = None, None
        if directory is not None:
            store, log = _opened(stack, directory, objective.fingerprint(), problem.names, say)
            log.write("check_started", task="check", config=str(loaded.path))
            observers.insert(0, log)
        say(f"check of {loaded.path.name}")
        executor = stack.enter_context(make_executor(config))  # ends all workers
        evaluator = stack.enter_context(
            make_evaluator(lenient, problem, objective, executor=executor, store=store, observers=tuple(observers))
        )
        check = check_derivative(
            evaluator,
            problem.x0,
            coordinates,
            kind=cast("Kind", kind),
            tolerance=tolerance or config.derivative.accuracy or TOLERANCE,
        )
        if directory is not None and log is not None:
            # Write into the run's directory, so that the run's report shows the check.
            directory.write_check(check_fields(check, problem.names))
            log.write("check_ended", verdict=check.verdict)
    if directory is not None:
        refresh_report(directory, say)
    if json_file is not None:
        _write(json_file, check, problem)
    if plot is not None:
        plot_sweep(check.sweep, Path(plot))
    _warn_own_steps(check, problem, say)
    return check


def _opened(
    stack: contextlib.ExitStack,
    directory: RunDirectory,
    fingerprint: str | None,
    names: tuple[str, ...],
    say: Callable[[str], None],
) -> tuple[SQLiteStore, JsonLog]:
    """The store and the log of the run's directory, which the stack closes."""
    if directory.is_worthless(fingerprint, names) and (aside := directory.archive()):
        say(f"the earlier run is kept as {aside}")
    directory.make()
    store = SQLiteStore(directory.store, fingerprint=fingerprint, names=names, spool=directory.spool)
    stack.callback(store.close)
    return store, stack.enter_context(JsonLog(directory.log))


def _write(json_file: str, check: Check, problem: Problem) -> None:
    fields: dict[str, Any] = plain(check_fields(check, problem.names))
    try:
        text = json.dumps(fields, indent=1, allow_nan=False) + "\n"
        write_named(json_file, lambda file: file.write(text.encode()))
    except OSError as error:
        raise InputError(f"--json: {json_file} cannot be written: {error.strerror}") from error


def _warn_own_steps(check: Check, problem: Problem, say: Callable[[str], None]) -> None:
    """Says that steps of single parameters override the common step, and cannot be combined with "auto"."""
    if check.advice is not None and not np.isnan(problem.step).all():
        first = problem.names[int(np.flatnonzero(~np.isnan(problem.step))[0])]
        say(f"take away the steps that parameters have of their own, as {first} has: they win over derivative.step")
