"""``distfd run CONFIG --evaluate x0``: one evaluation in this process, shown step by step, without a store."""

from __future__ import annotations

import shlex
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core.describe import coordinate_label
from distfd.core.errors import DistfdError, EvaluationError, InputError
from distfd.core.failures import EvaluationFailure
from distfd.differentiation.method import check_x
from distfd.jobs.build import make_objective
from distfd.objectives.command.objective import CommandObjective
from distfd.objectives.command.retention import kept_or_not
from distfd.workers.threads import limited_threads
from distfd.workers.worker import as_value, one_line, own_traceback

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from distfd.config.load import LoadedConfig
    from distfd.config.problem import Problem
    from distfd.objectives.base import Objective

_SOME = 8
_MOST = 40
"""Lines of a deck, or coordinates, that are shown whole."""


def evaluate_once(loaded: LoadedConfig, at: str, say: Callable[[str], None]) -> None:
    """Evaluate J at one point, and say what happens as it happens.

    Parameters
    ----------
    loaded : LoadedConfig
    at : str
        ``x0``, or the point's numbers with commas between them.
    say : callable
        Gets one line, or several, at a time.

    Raises
    ------
    EvaluationError
        If the evaluation fails.
    InputError
        If the point or the objective cannot be used.
    """
    problem = loaded.config.problem()
    x = _point(at, problem)
    objective = make_objective(loaded, problem)
    say("\n".join(f"{name} = {value!r}" for name, value in zip(problem.names, x[:_MOST].tolist(), strict=False)))
    if len(x) > _MOST:
        say(f"... and {len(x) - _MOST} more")
    begin = time.monotonic()
    with limited_threads(max(1, int(loaded.config.resources.num_cpus))):
        value = _value(objective, x, loaded.config.evaluation.timeout, say)
    say(f"J = {_shown(value)}\ntook {time.monotonic() - begin:.3g} s")


def _point(at: str, problem: Problem) -> NDArray[np.float64]:
    if at.strip() == "x0":
        return problem.x0
    try:
        x = np.array([float(word) for word in at.strip().strip("[]").replace(",", " ").split()])
    except ValueError as error:
        raise InputError(f"--evaluate: takes x0, or numbers with commas between them (given {at!r})") from error
    if len(x) != len(problem.names):
        names = ", ".join(problem.names[:_SOME]) + (", ..." if len(problem.names) > _SOME else "")
        raise InputError(f"--evaluate: has {len(x)} numbers for {len(problem.names)} parameters ({names})")
    return check_x(x, problem.lower, problem.upper, coordinate_label(problem.names))


def _value(objective: Objective, x: NDArray[np.float64], timeout: float | None, say: Callable[[str], None]) -> Any:
    try:
        if isinstance(objective, CommandObjective):
            return objective.make().evaluate(x, timeout=timeout, viewer=_Viewer(objective, say))
        model = objective.make()
        try:
            return as_value(model.evaluate(x.copy(), timeout=timeout), vector=True)
        finally:
            model.close()
    except EvaluationFailure as error:
        raise EvaluationError("\n".join(filter(None, (f"J failed: {error}", error.detail)))) from error
    except DistfdError:
        raise
    except (Exception, SystemExit) as error:
        raise EvaluationError(f"J failed: {one_line(error)}\n{own_traceback(error)}") from error


@dataclass(frozen=True)
class _Viewer:
    """Says what a program is given, what runs, and what it gave."""

    objective: CommandObjective
    say: Callable[[str], None]

    def deck(self, name: str, text: str) -> None:
        lines = text.splitlines()
        numbered = list(enumerate(lines, start=1))
        title = f"--- {name}, as written"
        if len(lines) > _MOST:
            same = set(self._source(name).splitlines())
            numbered = [(k, line) for k, line in numbered if line not in same]
            more = f", of which {len(numbered) - _MOST} more" if len(numbered) > _MOST else ""
            title += f" ({len(lines)} lines; those that are not the template's own{more})"
        self.say("\n".join([title, *(f"{k:>5}  {line}" for k, line in numbered[:_MOST])]))

    def command(self, argv: tuple[str, ...], stdin: str | None, folder: str) -> None:
        self.say(
            f"--- in {folder}{kept_or_not(self.objective)}\n$ {shlex.join(argv)}"
            + (f" < {shlex.quote(stdin)}" if stdin else "")
        )

    def outputs(self, found: Mapping[str, Any]) -> None:
        self.say("\n".join(["--- outputs", *(f"{name} = {_shown(value)}" for name, value in found.items())]))

    def _source(self, name: str) -> str:
        source = self.objective.decks[name]
        return getattr(source, "base", source).text


def _shown(value: Any) -> str:
    array = np.asarray(value)
    if array.size == 1:
        return repr(array.ravel()[0].item())
    return np.array2string(array, threshold=20, precision=8, separator=", ")
