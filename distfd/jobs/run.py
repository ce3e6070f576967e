"""``distfd run``: runs one job in one directory; the run can be resumed."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from distfd.config.dump import dump_yaml, npy_digests
from distfd.core.errors import StoreError
from distfd.jobs.build import (
    check_solver,
    fit_arguments,
    make_evaluator,
    make_executor,
    make_objective,
    movable,
    sigma_of,
    steps_beyond_x,
    unused_sigma,
    with_arrays,
)
from distfd.jobs.finalize import RunFinalizer
from distfd.observers.json_log import JsonLog
from distfd.observers.run_tally import RunTally
from distfd.observers.worker_output import WorkerOutputs
from distfd.optimization.constraints import Outputs
from distfd.optimization.least_squares import least_squares
from distfd.optimization.limits import Limits
from distfd.optimization.minimize import minimize
from distfd.reporting.write import is_current, refresh_report
from distfd.run_directory.directory import RunDirectory
from distfd.run_directory.result_fields import derivative_fields, minimize_fields, noise_fields, versions
from distfd.stores.file_lock import holder
from distfd.stores.sqlite import SQLiteStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from distfd.config.load import LoadedConfig
    from distfd.config.problem import Problem
    from distfd.config.sections import Minimize
    from distfd.evaluation.evaluator import Evaluator
    from distfd.evaluation.keywords import Kind
    from distfd.observers.base import Observer


@dataclass
class Job:
    """A configuration that is run to a result.

    Attributes
    ----------
    loaded : LoadedConfig
    observer : Observer
    say : callable
        Called with lines of text for the user.
    show_output : bool
        Whether to print J's output here too; else it goes only to the directory's output.log.
    prepare : callable
        Called with the directory after it is made, before anything runs.
    """

    loaded: LoadedConfig
    observer: Observer
    say: Callable[[str], None]
    show_output: bool = False
    prepare: Callable[[RunDirectory], None] = field(default=lambda _directory: None)
    problem: Problem = field(init=False)
    directory: RunDirectory = field(init=False)
    _ending: RunFinalizer | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.directory = RunDirectory(self.loaded.output)
        self.problem = self.loaded.config.problem()

    def run(self, *, fresh: bool = False) -> dict[str, Any]:
        """Compute what is missing, and write and return the result.

        Parameters
        ----------
        fresh : bool
            Whether to put an earlier run in the same place aside, and start from scratch.

        Returns
        -------
        dict
            The content of result.json; its status is "done", or "partial" if components are missing.

        Raises
        ------
        DistfdError
            With the exit codes in `distfd.core.errors`; result.json then says "failed".
        KeyboardInterrupt
            result.json then says "interrupted".
        """
        directory = self.directory
        objective = make_objective(self.loaded, self.problem, directory.work)
        check_solver(self.loaded, self.problem)
        for note in (unused_sigma(self.loaded.config), steps_beyond_x(self.loaded.config, self.problem)):
            if note:
                self.say(note)
        names, fingerprint = self.problem.names, objective.fingerprint()
        if fresh or directory.is_worthless(fingerprint, names):
            self._put_aside()
        directory.make()
        store = SQLiteStore(directory.store, fingerprint=fingerprint, names=names, spool=directory.spool)
        drawn = False  # whether the report is up to date
        try:
            text = dump_yaml(self.loaded.config) + npy_digests(self.loaded.config)
            earlier = directory.result()
            if earlier and earlier.get("status") == "done" and directory.config_text() == text:
                self.say("this run is finished; nothing is evaluated (--fresh begins anew)")
                for text in earlier.get("warnings") or ():
                    self.say(f"warning: {text}")
                drawn = is_current(directory)
                return earlier
            directory.write_config(text)
            directory.forget_result()
            self.prepare(directory)
            printed = WorkerOutputs()
            with JsonLog(directory.log) as log, contextlib.ExitStack() as last:
                last.callback(printed.gather, directory.printed)
                log.write(
                    "run_started", task=self.loaded.config.task, config=str(self.loaded.path), versions=versions()
                )
                tally = RunTally()
                with (
                    make_executor(self.loaded.config, show_output=self.show_output) as executor,  # ends all workers
                    make_evaluator(
                        self.loaded.config,
                        self.problem,
                        objective,
                        executor=executor,
                        store=store,
                        observers=(log, tally, self.observer, printed),
                    ) as evaluator,
                ):
                    ending = RunFinalizer(
                        self.loaded.config.task, self.problem, directory, store, evaluator, log, tally
                    )
                    result = self._finish(ending, evaluator)
                log.write("run_ended", status=result["status"])
            return result
        finally:
            store.close()
            # Draw the report after the store is closed, so that it includes what the store wrote last.
            if not drawn:
                refresh_report(directory, self.say)

    def lost(self, reason: str) -> None:
        """Record the state after the cluster is lost, while Ray blocks the thread that called `run`.

        Finished evaluations are committed already, so the store is left as after a kill.
        """
        if self._ending is not None:
            with contextlib.suppress(Exception):  # the process must end, whatever locks that thread holds
                self._ending.lost(reason)

    def _put_aside(self) -> None:
        store = self.directory.store
        if writer := holder(store.with_name(store.name + ".lock")):
            raise StoreError(
                f"{self.directory.path} is in use by {writer}, so --fresh cannot rename it; wait until that "
                "ends, or choose another output"
            )
        if aside := self.directory.archive():
            self.say(f"the earlier run is kept as {aside}")

    def _finish(self, ending: RunFinalizer, evaluator: Evaluator) -> dict[str, Any]:
        """Compute, and record how the run ended in any case."""
        self._ending = ending
        try:
            found = self._compute(evaluator)
        except (Exception, KeyboardInterrupt) as error:
            ending.raised(error)
            raise
        return ending.found(found)

    def _compute(self, evaluator: Evaluator) -> dict[str, Any]:
        config, problem = self.loaded.config, self.problem
        if config.task == "noise":
            return noise_fields(evaluator.noise_level(problem.x0))
        if config.task not in ("minimize", "least_squares"):
            result = evaluator.differentiate(problem.x0, kind=cast("Kind", config.task))
            return derivative_fields(result, problem.x0, problem.names)
        wanted = config.minimize
        common: dict[str, Any] = {
            "method": wanted.method,
            "limits": Limits(
                wanted.max_iterations, wanted.max_evaluations, wanted.target, wanted.tolerance, wanted.max_wall_time
            ),
            "speculative": wanted.speculative,
            "slots": wanted.slots,
            "journal": self.directory.iterates,
        }
        lower, upper = movable(problem)
        if config.task == "least_squares":
            limited = (lower, upper) if _bounded(problem) else None
            found = least_squares(
                evaluator,
                problem.x0,
                bounds=limited,
                sigma=sigma_of(config),
                absolute_sigma=wanted.absolute_sigma,
                prior={name: (each.value, each.sigma) for name, each in wanted.prior.items()} or None,
                **fit_arguments(wanted.options),
                **common,
            )
        else:
            bounds = list(zip(lower, upper, strict=True)) if _bounded(problem) else None
            constraints = _outputs(wanted) if wanted.constraints else ()
            found = minimize(
                evaluator,
                problem.x0,
                bounds=bounds,
                constraints=constraints,
                options=with_arrays(wanted.options),
                **common,
            )
        return minimize_fields(found, problem.x0, problem.names)


def _outputs(wanted: Minimize) -> Outputs:
    return Outputs(
        [-np.inf if each.lower is None else each.lower for each in wanted.constraints],
        [np.inf if each.upper is None else each.upper for each in wanted.constraints],
    )


def _bounded(problem: Problem) -> bool:
    """Whether there are any bounds; some of SciPy's methods do not take them."""
    return bool(np.isfinite(problem.lower).any() or np.isfinite(problem.upper).any() or problem.fixed.any())
