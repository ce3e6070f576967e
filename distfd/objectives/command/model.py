"""Runs a `CommandObjective` in a worker: one evaluation in one work directory."""

from __future__ import annotations

import signal
import subprocess
import time
import traceback
import uuid
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

import numpy as np

from distfd.core.failures import EvaluationFailure, ProgramCrash, ProgramError, ProgramTimeout
from distfd.core.files import open_plain, stands_at, write_own
from distfd.objectives.command.arguments import Arguments, secret_env
from distfd.objectives.command.attempt import RERUN, Clock, Trial, rerun_script
from distfd.objectives.command.inputs import compiled, write
from distfd.objectives.command.retention import after_failure, after_success, why_removed
from distfd.objectives.command.secrets import Mask, masking
from distfd.objectives.command.user_function import UserFunction
from distfd.objectives.command.values import OutputError, Value, as_value, reading_within
from distfd.objectives.command.work_directory import STDERR, STDOUT, Aged, age, fill, fresh, is_stale
from distfd.objectives.command.work_folder import WorkFolder, sweep
from distfd.workers.bounded_regex import RegexTimeoutError
from distfd.workers.model import Model
from distfd.workers.processes import FloodError, adopted_orphans, run_program, start_reaper

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from distfd.objectives.command.spec import ProgramSpec


_SHORTEST_DELAY, _LONGEST_DELAY = 0.1, 10.0
"""Least and largest delay in seconds before a retry, where ``retry_delay`` is 0; doubled each time."""


_SETTLED, _LOOK = 0.5, 0.05
"""Seconds for which an awaited file must stay unchanged, and seconds between checks."""


class _BusyError(Exception):
    """The log matches ``retry_if``: the program is to run again later. The text is the log's line."""


class ProgramModel(Model):
    """J by a program, in one worker process.

    Parameters
    ----------
    objective : ProgramSpec
        The program and its options.
    """

    def __init__(self, objective: ProgramSpec) -> None:
        self._objective = objective
        self._decks = {name: compiled(source) for name, source in objective.decks.items()}
        self._functions: dict[str, Callable[..., Any]] = {
            output.name: output.extractor.load()
            for output in objective.taken
            if isinstance(output.extractor, UserFunction)
        }
        self._arguments = Arguments(objective, objective.names)
        self._mask = Mask(objective.shipped, objective.env)
        sweep(objective.work)

    def evaluate(self, x: NDArray[np.float64], *, timeout: float | None = None, viewer: Viewer | None = None) -> Value:
        """J at x, (d,), by one run of the program, or by several where ``retry_if`` asks for them.

        Parameters
        ----------
        x : ndarray of shape (d,)
            The point.
        timeout : float, optional
            Seconds for all commands together, including waits for ``retry_if``.
        viewer : Viewer, optional
            Is shown the steps of the evaluation.

        Raises
        ------
        ProgramError
            If the program cannot start, ends with an error, or leaves no usable output.
        ProgramCrash
            If the program dies by a signal.
        ProgramTimeout
            If the program has not ended in time.
        InputError
            If a template cannot be written at x.
        """
        return self._evaluate(x, timeout, viewer, None)[0]

    def evaluate_from(
        self, x: NDArray[np.float64], state: Any, *, timeout: float | None, capture: bool
    ) -> tuple[Value, dict[str, bytes] | None]:
        """J at x by a run of the program that starts from restart files, and the restart files that the run leaves.

        Parameters
        ----------
        state : dict of str to bytes, or None
            The restart files by name, to be put into the work directory; None for a cold start.
        capture : bool
            Whether the files that the program wrote are wanted.

        Raises
        ------
        ProgramError, ProgramCrash, ProgramTimeout, InputError
            As for `evaluate`; and if a wanted restart file was not written.
        """
        return self._evaluate(x, timeout, None, Restart(self._objective.restart, state, capture))

    def _evaluate(
        self, x: NDArray[np.float64], timeout: float | None, viewer: Viewer | None, restart: Restart | None
    ) -> tuple[Value, dict[str, bytes] | None]:
        clock = Clock(timeout)
        warm = restart is not None and restart.state is not None
        launch = self._arguments.launch(self._objective.variables(x, warm=warm))
        mask = self._mask
        if launch.env is not self._objective.env:
            mask = Mask(self._objective.shipped, secret_env(self._objective, launch))
        for tries in range(2**31):
            folder = WorkFolder(self._objective.work)
            refuse = partial(why_removed, self._objective)
            mark = uuid.uuid4().hex
            base = Path(self._objective.base)
            trial = Trial(folder.path, mark, self._objective.log, launch, refuse, mask, folder.handle, base=base)
            try:
                with masking(mask), reading_within(lambda: clock.left):
                    value = self._try(trial, x, clock, viewer, restart)
                    left = None if restart is None else self._left(trial, restart)
            except _BusyError as busy:
                delay = self._objective.retry_delay or min(_SHORTEST_DELAY * 2**tries, _LONGEST_DELAY)
                if clock.left is not None and clock.left < delay:
                    text = (
                        f"in all {tries + 1} tries within {timeout:g} s it printed text that retry_if matches: {busy}"
                    )
                    failure = trial.failure(ProgramTimeout, text, trial.launch.steps[-1])
                    after_failure(self._objective, folder, trial, failure)
                    raise failure from None
                folder.discard()
                time.sleep(delay)
            except BaseException as error:
                after_failure(self._objective, folder, trial, error)
                raise
            else:
                after_success(self._objective, folder, x, value)
                return value, left
        raise AssertionError("2**31 tries")

    def close(self) -> None:
        """Nothing to free: no program outlives its evaluation."""

    def _left(self, trial: Trial, restart: Restart) -> dict[str, bytes] | None:
        try:
            return restart.taken(trial.folder, trial.aged)
        except OutputError as error:
            text = f"it ended with return code 0, but {error}"
            raise trial.failure(ProgramError, text, trial.launch.steps[-1]) from None

    def _try(
        self, trial: Trial, x: NDArray[np.float64], clock: Clock, viewer: Viewer | None, restart: Restart | None
    ) -> Value:
        try:
            self._fill(trial, x, viewer, restart)
        except OSError as error:
            text = f"its work directory cannot be filled: {error.strerror or error} ({error.filename})"
            raise trial.failure(ProgramError, text, trial.launch.steps[0]) from error
        self._run(trial, clock, viewer)
        outputs = self._outputs(trial)
        if viewer is not None:
            viewer.outputs(outputs)
        value = self._value(trial, outputs, self._objective.parameters(x))
        self._check(trial, value)
        named = self._objective.value_names
        if named is not None and len(named) != np.size(value):
            text = f"J has {np.size(value)} outputs, and {len(named)} names: {', '.join(named)[:200]}"
            raise trial.failure(ProgramError, text, trial.launch.steps[-1])
        return value

    def _fill(self, trial: Trial, x: NDArray[np.float64], viewer: Viewer | None, restart: Restart | None) -> None:
        objective = self._objective
        fill(trial.folder, objective.parameters(x), objective.copy, objective.link)
        rerun = rerun_script(objective, trial.launch)
        write_own(trial.folder / RERUN, rerun)
        if restart is not None:
            restart.put(trial.folder)
        variables = objective.variables(x, warm=restart is not None and restart.state is not None)
        for name, deck in self._decks.items():
            text = write(deck, trial.folder / name, variables)
            if viewer is not None:
                viewer.deck(name, text)
        files = {*(output.file for output in objective.taken if output.file), *objective.restart}
        files |= set() if objective.wait_for is None else {objective.wait_for["file"]}
        trial.aged.update(age(trial.folder, files))

    def _run(self, trial: Trial, clock: Clock, viewer: Viewer | None) -> None:
        objective = self._objective
        launch = trial.launch
        environ = objective.environ(launch.env)
        start_reaper(environ)
        try:
            with adopted_orphans():
                for k, argv in enumerate(launch.steps):
                    stdin = launch.stdin if k in objective.fed else None
                    if viewer is not None:
                        viewer.command(argv, stdin, str(trial.folder))
                    then = partial(self._await_file, trial, clock, argv) if k == objective.fed[-1] else None
                    self._run_one(trial, argv, environ, clock, stdin, then)
        except (ProgramError, ProgramCrash):
            self._await_turn(trial)
            raise
        self._await_turn(trial)
        if objective.fails_if is not None and (line := self._find(trial, objective.fails_if)):
            raise trial.failure(
                ProgramError, f"it printed a line that fails_if matches: {line}", trial.launch.steps[-1]
            )

    def _await_turn(self, trial: Trial) -> None:
        pattern = self._objective.retry_if
        if pattern is not None and (line := self._find(trial, pattern)):
            raise _BusyError(line)

    def _find(self, trial: Trial, pattern: str) -> str | None:
        try:
            return trial.find(pattern)
        except OutputError as error:
            raise trial.failure(ProgramTimeout, str(error), trial.launch.steps[-1]) from None

    def _await_file(self, trial: Trial, clock: Clock, argv: tuple[str, ...]) -> None:
        """Waits for the file of a program that returns early, until the file has not changed for a moment."""
        wanted = self._objective.wait_for
        if wanted is None:
            return
        path, begin, size, since = trial.folder / wanted["file"], time.monotonic(), -1, 0.0
        while True:
            now = time.monotonic()
            stat = path.stat() if path.is_file() else None
            old = stat is not None and is_stale(path, stat, trial.aged.get(wanted["file"]))
            there = stat is not None and stat.st_size > 0 and not old
            if not there or stat is None or stat.st_size != size:
                size, since = (stat.st_size if there and stat is not None else -1), now
            elif now - since >= _SETTLED:
                return
            if now - begin > wanted["timeout"] or (clock.left is not None and clock.left <= 0):
                text = f"wait_for: {wanted['file']} was not there {now - begin:.3g} s after the program returned"
                raise trial.failure(ProgramTimeout, text, argv)
            time.sleep(_LOOK)

    def _run_one(  # noqa: PLR0917  # private, called once
        self,
        trial: Trial,
        argv: tuple[str, ...],
        environ: dict[str, str],
        clock: Clock,
        stdin: str | None,
        then: Callable[[], None] | None,
    ) -> None:
        def fail(kind: type[EvaluationFailure], text: str, cause: BaseException | None = None) -> NoReturn:
            raise trial.failure(kind, text, argv) from cause

        self._see_folder(trial, argv)
        if stdin is not None and not (trial.folder / stdin).is_file():
            fail(ProgramError, f"stdin: {stdin} is not in its work directory; see inputs and copy")
        try:
            code = run_program(
                argv,
                cwd=trial.folder,
                environ=environ,
                stdin=None if stdin is None else trial.folder / stdin,
                stdout=trial.folder / STDOUT,
                stderr=trial.folder / STDERR,
                folder=trial.handle,
                mark=trial.mark,
                timeout=clock.left,
                then=then,
            )
        except FileNotFoundError as error:
            fail(ProgramError, self._objective.missing(argv[0]), error)
        except OSError as error:
            fail(ProgramError, f"it cannot be started: {error.strerror or error}", error)
        except FloodError as error:
            fail(ProgramError, f"{error} and was killed", error)
        except subprocess.TimeoutExpired as error:
            fail(ProgramTimeout, f"it still ran after {clock.limit:g} s and was killed", error)
        if code < 0:
            fail(ProgramCrash, f"it was ended by signal {-code} ({_signal_name(-code)})")
        if code:
            fail(ProgramError, f"it ended with return code {code}")

    def _see_folder(self, trial: Trial, argv: tuple[str, ...]) -> None:
        """Checks that the path of the work directory leads to it, as a link there could lead anywhere."""
        if not stands_at(trial.folder, trial.handle):
            raise trial.failure(ProgramError, "its work directory was moved away or replaced, as by a link", argv)

    def _outputs(self, trial: Trial) -> dict[str, Value]:
        found = {}
        self._see_folder(trial, trial.launch.steps[-1])
        for output in self._objective.taken:
            of = f" of {output.file}" if output.file else ""
            try:
                path = fresh(trial.folder, output.file, trial.aged) if output.file else trial.folder
                if isinstance(output.extractor, UserFunction):
                    found[output.name] = as_value(self._functions[output.name](trial.folder))
                else:
                    found[output.name] = as_value(output.extractor.read(path))
            except OutputError as error:
                text = f"it ended with return code 0, but output {output.name}{of}: {error}"
                late = isinstance(error.__cause__, RegexTimeoutError)
                # Do not chain the original error: its text is not masked.
                kind = ProgramTimeout if late else ProgramError
                raise trial.failure(kind, text, trial.launch.steps[-1], output.file) from None
            except Exception as error:
                reader = getattr(output.extractor, "name", "")
                text = f"output {output.name}{of}: {reader} raised {type(error).__name__}: {error}"
                failure = trial.failure(ProgramError, text, trial.launch.steps[-1])
                failure.detail = "\n".join(filter(None, (trial.hidden(traceback.format_exc()), failure.detail)))
                raise failure from None
        return found

    def _check(self, trial: Trial, value: Value) -> None:
        """Refuses values that are not finite here, before the general check of values, so that the folder is kept."""
        if not np.isfinite(value).all():
            names = self._objective.output_names(np.size(value)) if np.size(value) > 1 else None
            first = int(np.flatnonzero(~np.isfinite(np.ravel(value)))[0])
            where = f", without a value at output {names[first]}" if names else ""
            raise trial.failure(ProgramError, f"J is {value}{where}", trial.launch.steps[-1])

    def _value(self, trial: Trial, outputs: dict[str, Value], parameters: Mapping[str, float]) -> Value:
        objective = self._objective
        named = {name: parameters[name] for name in objective.in_value}
        known = {**named, **outputs, **objective.measured}
        try:
            if callable(objective.value):
                return as_value(objective.value(**known))
            values = [as_value(expression(known)) for expression in objective.formula]
            if isinstance(objective.value, str):
                return values[0]
            return np.concatenate([np.ravel(value) for value in values]) if values else next(iter(outputs.values()))
        except Exception as error:
            text = f"value cannot be computed from the outputs: {type(error).__name__}: {error}"
            raise trial.failure(ProgramError, text, trial.launch.steps[-1]) from None


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "real-time"


class Viewer(Protocol):
    """Is shown the steps of an evaluation while it runs."""

    def deck(self, name: str, text: str) -> None:
        """An input was written."""

    def command(self, argv: tuple[str, ...], stdin: str | None, folder: str) -> None:
        """A program was started, with this stdin and in this folder."""

    def outputs(self, found: dict[str, Value]) -> None:
        """Outputs were read."""


@dataclass(frozen=True)
class Restart:
    """The restart files that an evaluation starts from, and whether those that it leaves are wanted.

    Attributes
    ----------
    names : sequence of str
        The paths of the files in the work directory.
    state : mapping of str to bytes, or None
        Their contents at the start; None for a cold start.
    capture : bool
        Whether the files that the program wrote are wanted.
    """

    names: Sequence[str]
    state: Mapping[str, bytes] | None
    capture: bool

    def put(self, folder: Path) -> None:
        """Writes the files into a work directory, replacing copies for a cold start."""
        for name, content in (self.state or {}).items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)  # the copy may be read-only
            path.write_bytes(content)

    def taken(self, folder: Path, aged: Mapping[str, Aged]) -> dict[str, bytes] | None:
        """The files that the program wrote; None where they are not wanted.

        Raises
        ------
        OutputError
            If one is missing, empty, or unchanged since before the run.
        """
        if not self.capture:
            return None
        found = {}
        for name in self.names:
            try:
                with open_plain(fresh(folder, name, aged), follow=True) as file:
                    found[name] = file.read()
            except (OutputError, OSError, MemoryError) as error:
                why = "it is too large for the memory" if isinstance(error, MemoryError) else error
                raise OutputError(f"restart file {name}: {why}") from error
        return found
