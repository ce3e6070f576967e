"""``distfd run CONFIG --evaluate x0``: one evaluation in this process, shown step by step, without a store."""

from __future__ import annotations

import re
import shlex
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core.describe import coordinate_label
from distfd.core.errors import DistfdError, EvaluationError, InputError, StoreError
from distfd.core.failures import EvaluationFailure
from distfd.core.files import write_named
from distfd.differentiation.method import check_x
from distfd.jobs.build import make_objective
from distfd.objectives.command.objective import CommandObjective
from distfd.objectives.command.retention import kept_or_not
from distfd.run_directory.directory import RunDirectory
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
"""Largest number of lines of a deck, or of coordinates, that are shown in full."""


def evaluate_once(loaded: LoadedConfig, at: str, say: Callable[[str], None]) -> None:
    """Evaluate J at one point, and report each step as it happens.

    Parameters
    ----------
    loaded : LoadedConfig
    at : str
        ``x0``, or the point's numbers with commas between them.
    say : callable
        Called with one line, or several, at a time.

    Raises
    ------
    EvaluationError
        If the evaluation fails.
    InputError
        If the point or the objective cannot be used.

    Notes
    -----
    A step that `distfd init` has drafted is changed, in the file, to one that suits the digits of the outputs. This
    happens once, and not if overrides make the evaluation differ from the file's.
    """
    problem = loaded.config.problem()
    x = _point(at, problem)
    objective = make_objective(loaded, problem, _run_work(loaded))
    say("\n".join(f"{name} = {value!r}" for name, value in zip(problem.names, x[:_MOST].tolist(), strict=False)))
    if len(x) > _MOST:
        say(f"... and {len(x) - _MOST} more")
    begin = time.monotonic()
    digits: dict[str, int] = {}
    with limited_threads(max(1, int(loaded.config.resources.num_cpus))):
        value = _value(objective, x, loaded.config.evaluation.timeout, say, digits)
    took = time.monotonic() - begin
    name, n = min(digits.items(), key=lambda item: item[1], default=("", 0))
    if _FEW_DIGITS <= n < _MANY_DIGITS and (text := _step_for(loaded, name, n)):
        say(text)
    say(f"J = {_shown(value)}\ntook {took:.3g} s")


def _run_work(loaded: LoadedConfig) -> Path | None:
    """The work directories of the run, if it was started; None for the folder of temporary files.

    An evaluation of J does not start a run: the directory of a failure is then left outside of it.
    """
    work = None if loaded.config.output is None else RunDirectory(Path(loaded.config.output).absolute()).work
    return work if work is not None and work.is_dir() and not work.is_symlink() else None


DRAFTED = "# drafted:"
"""Marks a step that `distfd init` wrote, and that the first evaluation may change, once."""

_DRAFTED_STEP = re.compile(
    rf"^([ \t]*step:[ \t]*)[-+.\deE]+[ \t]*{re.escape(DRAFTED)}[^\r\n]*(?:\r?\n[ \t]*# that J has[^\r\n]*)?",
    re.MULTILINE,
)
"""The line of that step, and the rest of the remark on it."""

_MANY_DIGITS = 13
"""If an output has at least this many significant digits, its rounding does not matter."""

_FEW_DIGITS = 3
"""Fewer digits than this may be all digits of a round number."""

_NEAR = 5.0
"""A step is as good as the best one if they differ by at most this factor."""


_WRITTEN = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eEdD][-+]?\d+)?")
"""A number in the text that a program wrote."""

_MOST_TEXT = 4_000_000
"""Largest number of bytes of such a text that are examined."""


def _digits(value: Any, text: str) -> int:
    """The largest number of significant digits with which a number of an output was written.

    Digits are counted in the text: -1.084730E+01 has 7. For a number that is not found in the text, the result is the
    number of digits that it needs.
    """
    array = np.ravel(np.asarray(value, dtype=np.float64))[:1000]
    wanted = {abs(one) for one in array.tolist()}
    most, found = 0, set()
    for written in _WRITTEN.findall(text) if wanted else ():
        number = abs(float(written.replace("D", "e").replace("d", "e")))
        if number in wanted:
            found.add(number)
            most = max(most, _significant(written.lower().replace("d", "e").partition("e")[0]))
    return max([most, *(_significant(repr(one).partition("e")[0].removesuffix(".0")) for one in wanted - found)])


def _significant(mantissa: str) -> int:
    digits = mantissa.replace(".", "").lstrip("+-0")
    return len(digits if "." in mantissa else digits.rstrip("0"))


def _step_for(loaded: LoadedConfig, name: str, digits: int) -> str:
    """A remark on the step that suits outputs of so many digits, if another is set; changes a drafted step."""
    derivative = loaded.config.derivative
    unit = 10.0**-digits
    order = {"forward": 2, "backward": 2}.get(derivative.scheme, 3)
    best = float(f"{unit ** (1 / order):.0e}")
    given: Any = derivative.step
    what = f"{name} is written with {digits} digits"
    if given == "auto" or hasattr(given, "absolute") or isinstance(given, tuple):
        return ""
    text = loaded.path.read_bytes().decode("utf-8")  # with the ends of its lines as they are
    if not loaded.overridden and _DRAFTED_STEP.search(text):
        number = f"{best:.1e}".replace("e-0", "e-")
        remark = f"# times |x|, for the {digits} digits of {name}; `distfd check` measures it"
        changed = _DRAFTED_STEP.sub(lambda m: f"{m[1]}{number}   {remark}", text)
        try:
            write_named(loaded.path, lambda file: file.write(changed.encode()))
        except (OSError, StoreError) as error:
            why = getattr(error, "strerror", None) or error
            return f"{what}: set derivative.step to {number}, times |x|; {loaded.path} cannot be written: {why}"
        return f"{what}: the drafted derivative.step is now {number}, times |x|; it is not changed again"
    if given is not None and given * _NEAR >= best:
        return ""
    now = "the scheme's own" if given is None else f"{given:g}"
    return (
        f"{what}: with a step far below {best:g} of a parameter, differences of J are of a few units of the last one; "
        f"derivative.step is {now}, and `distfd check` says which to set"
    )


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


def _value(
    objective: Objective,
    x: NDArray[np.float64],
    timeout: float | None,
    say: Callable[[str], None],
    digits: dict[str, int],
) -> Any:
    try:
        if isinstance(objective, CommandObjective):
            return objective.make().evaluate(x, timeout=timeout, viewer=_Viewer(objective, say, digits))
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
    """Reports a program's inputs, its commands, and its outputs."""

    objective: CommandObjective
    say: Callable[[str], None]
    digits: dict[str, int]
    folder: list[Path] = field(default_factory=list)

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
        self.folder[:] = [Path(folder)]
        self.say(
            f"--- in {folder}{kept_or_not(self.objective)}\n$ {shlex.join(argv)}"
            + (f" < {shlex.quote(stdin)}" if stdin else "")
        )

    def outputs(self, found: Mapping[str, Any]) -> None:
        files = {output.name: output.file for output in self.objective.taken}
        self.digits.update({name: _digits(value, self._text(files.get(name))) for name, value in found.items()})
        self.say("\n".join(["--- outputs", *(f"{name} = {_shown(value)}" for name, value in found.items())]))

    def _text(self, file: str | None) -> str:
        """The beginning of a file that the program wrote; empty if it is not text."""
        if file is None or not self.folder:
            return ""
        try:
            with (self.folder[0] / file).open("rb") as written:
                return written.read(_MOST_TEXT).decode("ascii", "replace")
        except OSError:
            return ""

    def _source(self, name: str) -> str:
        source = self.objective.decks[name]
        return getattr(source, "base", source).text


def _shown(value: Any) -> str:
    array = np.asarray(value)
    if array.size == 1:
        return repr(array.ravel()[0].item())
    return np.array2string(array, threshold=20, precision=8, separator=", ")
