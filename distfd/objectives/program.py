"""The live side of a `CommandObjective`: one evaluation in one work directory."""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
import time
import traceback
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.failures import EvaluationFailure, ProgramCrash, ProgramError, ProgramTimeout
from distfd.objectives.templates import Deck
from distfd.objectives.userfunction import UserFunction
from distfd.objectives.values import OutputError, Value, as_value
from distfd.objectives.workdir import STDERR, STDOUT, age, fill, fresh, make_folder, remove
from distfd.processes import kill_evaluation, run_program, start_reaper

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from distfd.objectives.command import CommandObjective

_TAIL_BYTES = 64 * 1024
_TAIL_LINES = 20
_LINE_BYTES = 1024 * 1024


class ProgramModel:
    """J by a program, in one worker process.

    Parameters
    ----------
    objective : CommandObjective
        What to run.
    """

    def __init__(self, objective: CommandObjective) -> None:
        self._objective = objective
        self._decks = {name: Deck(template) for name, template in objective.decks.items()}
        self._functions: dict[str, Callable[..., Any]] = {
            output.name: output.extractor.load()
            for output in objective.taken
            if isinstance(output.extractor, UserFunction)
        }

    def evaluate(self, x: NDArray[np.float64], *, timeout: float | None = None) -> Value:
        """J at x, (d,), by one run of the program.

        Parameters
        ----------
        x : ndarray of shape (d,)
            The point.
        timeout : float, optional
            Seconds that all commands together may take.

        Raises
        ------
        ProgramError
            If the program cannot start, ends with an error, or leaves no usable output.
        ProgramCrash
            If it dies by a signal.
        ProgramTimeout
            If it has not ended in time.
        InputError
            If a template cannot be written at x.
        """
        folder = make_folder(self._objective.work)
        trial = _Trial(folder, uuid.uuid4().hex, shown=self._objective.keep != "none")
        try:
            self._run(trial, x, timeout)
            value = self._value(trial, self._outputs(trial))
            self._check(trial, value)
        except BaseException as error:
            kill_evaluation(trial.mark)
            # An interrupt says nothing against the evaluation, so there is nothing in it to look at.
            if self._objective.keep == "none" or (
                self._objective.keep == "failed" and not isinstance(error, Exception)
            ):
                remove(folder)
            raise
        if self._objective.keep != "all":
            remove(folder)
        return value

    def close(self) -> None:
        """Nothing to free: no program outlives its evaluation."""

    def _run(self, trial: _Trial, x: NDArray[np.float64], timeout: float | None) -> None:
        objective = self._objective
        fill(trial.folder, objective.parameters(x), objective.copy, objective.link)
        variables = objective.variables(x)
        for name, deck in self._decks.items():
            path = trial.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            deck.write(path, variables)
        age(trial.folder, {output.file for output in objective.taken if output.file})
        environ = objective.environ()
        start_reaper(environ)
        deadline = None if timeout is None else time.monotonic() + timeout
        for argv in objective.steps:
            left = None if deadline is None else deadline - time.monotonic()
            self._run_one(trial, argv, environ, left, timeout)
        if objective.fails_if is not None and (line := trial.find(objective.fails_if)):
            raise trial.failure(ProgramError, f"it printed what fails_if names: {line}", objective.steps[-1])

    def _run_one(
        self, trial: _Trial, argv: tuple[str, ...], environ: dict[str, str], left: float | None, timeout: float | None
    ) -> None:
        try:
            code = run_program(
                argv,
                cwd=trial.folder,
                environ=environ,
                stdout=trial.folder / STDOUT,
                stderr=trial.folder / STDERR,
                mark=trial.mark,
                timeout=left,
            )
        except FileNotFoundError as error:
            raise trial.failure(ProgramError, self._objective.missing(argv[0]), argv) from error
        except OSError as error:
            raise trial.failure(ProgramError, f"it cannot be started: {error.strerror or error}", argv) from error
        except subprocess.TimeoutExpired as error:
            raise trial.failure(ProgramTimeout, f"it still ran after {timeout:g} s and was killed", argv) from error
        if code < 0:
            raise trial.failure(ProgramCrash, f"it was ended by signal {-code} ({_signal_name(-code)})", argv)
        if code:
            raise trial.failure(ProgramError, f"it ended with return code {code}", argv)

    def _outputs(self, trial: _Trial) -> dict[str, Value]:
        found = {}
        for output in self._objective.taken:
            of = f" of {output.file}" if output.file else ""
            try:
                path = fresh(trial.folder, output.file) if output.file else trial.folder
                if isinstance(output.extractor, UserFunction):
                    found[output.name] = as_value(self._functions[output.name](trial.folder))
                else:
                    found[output.name] = as_value(output.extractor.read(path))
            except OutputError as error:
                text = f"it ended with return code 0, but output {output.name}{of}: {error}"
                raise trial.failure(ProgramError, text, self._objective.steps[-1]) from error
            except Exception as error:
                reader = getattr(output.extractor, "name", "")
                text = f"output {output.name}{of}: {reader} raised {type(error).__name__}: {error}"
                failure = trial.failure(ProgramError, text, self._objective.steps[-1])
                failure.detail = "\n".join(filter(None, (traceback.format_exc(), failure.detail)))
                raise failure from error
        return found

    def _check(self, trial: _Trial, value: Value) -> None:
        """Refuse what is not finite here, not where all values are checked, so that the folder is kept for a look."""
        if not np.isfinite(value).all():
            raise trial.failure(ProgramError, f"J is {value}", self._objective.steps[-1])

    def _value(self, trial: _Trial, outputs: dict[str, Value]) -> Value:
        objective = self._objective
        try:
            if callable(objective.value):
                return as_value(objective.value(**outputs))
            values = [as_value(expression(outputs)) for expression in objective.formula]
            if isinstance(objective.value, str):
                return values[0]
            return as_value(values) if values else next(iter(outputs.values()))
        except Exception as error:
            text = f"value cannot be computed from the outputs: {type(error).__name__}: {error}"
            raise trial.failure(ProgramError, text, objective.steps[-1]) from error


@dataclass(frozen=True)
class _Trial:
    """One evaluation's folder and mark, and how its failures are told."""

    folder: Path
    mark: str
    shown: bool

    def failure(self, kind: type[EvaluationFailure], text: str, argv: tuple[str, ...]) -> EvaluationFailure:
        """The exception for this evaluation, with what the program printed last."""
        where = f"work directory {self.folder}" if self.shown else "work directory removed (keep: none)"
        line = " ".join(f"{_cut(shlex.join(argv), 300)}: {_cut(text, 1000)}; {where}".split("\n"))
        return kind(line, "\n".join(filter(None, (self._tail(STDERR), self._tail(STDOUT)))))

    def find(self, pattern: str) -> str | None:
        """The first line of the logs in which the pattern is found, read a line at a time: logs can be huge."""
        seeker = re.compile(pattern)
        for path in (self.folder / STDERR, self.folder / STDOUT):
            with path.open("rb") as log:
                while line := log.readline(_LINE_BYTES):
                    text = line.decode("utf-8", "replace").rstrip("\r\n")
                    if seeker.search(text):
                        return _cut(text.strip(), 300) or "(an empty line)"
        return None

    def _tail(self, name: str) -> str:
        path = self.folder / name
        if not path.exists():
            return ""
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            lines = log.read(_TAIL_BYTES).decode("utf-8", "replace").splitlines()[-_TAIL_LINES:]
        return "\n".join([f"--- the last lines of {name}:", *lines]) if lines else ""


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "real-time"


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 4] + " ..."
