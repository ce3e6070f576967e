"""J computed by an external program: the objective that users make."""

from __future__ import annotations

import re
import shutil
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from distfd.core.errors import InputError, MissingSimulatorError
from distfd.core.warning import warn
from distfd.objectives.base import Objective
from distfd.objectives.command import options
from distfd.objectives.command.arguments import Arguments
from distfd.objectives.command.deck_comparison import Inputs
from distfd.objectives.command.inputs import compiled
from distfd.objectives.command.program_key import SCRIPTS, scripts
from distfd.objectives.command.spec import ProgramSpec
from distfd.objectives.command.user_function import UserFunction
from distfd.objectives.command.work_folder import sweep, sweep_all

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from distfd.objectives.command.model import ProgramModel

    _Spec = TypeVar("_Spec", bound=ProgramSpec)


@dataclass(frozen=True, eq=False)
class CommandObjective(ProgramSpec, Objective):
    """J(x) by running a program in a fresh work directory for every evaluation.

    Parameters
    ----------
    argv : list of str
        The program and its arguments; no shell sees them. A program with a slash in its name is found from ``base``
        (or, if it is one of the files put there, in the work directory); one without on the PATH.
    commands : list of lists of str
        In place of ``argv``: programs to run in a row.
    pre, post : lists of lists of str
        Programs to run before and after those.
    stdin : str, optional
        A file in the work directory that ``argv``, or each of ``commands``, reads as its standard input.
    inputs : mapping of str to path or mapping
        Files to write in the work directory: a Jinja template each, or ``{"edit": file, "set": {pointer: expression}}``
        for numbers to replace in a JSON or YAML file. ``parameters.json`` ({name: value}) is always written.
    outputs : mapping of str to mapping
        By name: ``file`` and exactly one of ``json``, ``csv``, ``token``, ``regex``, ``columns``, ``npy``,
        ``python``.
    data : mapping of str to mapping
        Measurements, which ``value`` may name beside the outputs: as for outputs, with ``file`` relative to ``base``.
    value : str, list of str, or callable, optional
        J as an expression of the names of outputs and data, a list of expressions for a vector, or a picklable function
        that gets them as keywords. Default: the only output.
    copy, link : sequence of path
        Files or folders to copy or link into the work directory under their last names: ``mesh/plate.msh`` becomes
        ``plate.msh``, and ``mesh`` the folder with all that is in it.
    env : mapping of str to str or None
        Variables to set (or, with None, to unset) in the program, which inherits the worker's environment. The name of
        one to be unset may end with ``*``.
    pass_env : sequence of str
        Variables of this process to hand on to workers on other nodes.
    hint : str, optional
        What to install when the program is missing.
    fails_if, retry_if : str, optional
        Regular expressions; the evaluation failed, or is to be tried again, if one is found in a line of the logs.
    retry_delay : float
        Seconds to wait then; 0 for 0.1 s, doubled each time up to 10 s. The wait counts as part of the evaluation.
    log : sequence of str
        Files in the work directory that are logs beside stdout and stderr.
    names : sequence of str, optional
        Names of the parameters; by default those that the Evaluator or call is given. Those that are identifiers are
        variables of the templates; ``x`` is always the whole vector, unless a parameter has that name.
    base : path
        The folder from which relative paths are resolved, and Python functions are found.
    work : path, optional
        The folder for work directories; default: that for temporary files. The last 100 of failed evaluations stay
        there, until you remove them.
    keep : {"failed", "all", "none", "archive"}
        Which work directories are kept; of failed evaluations 100 in one folder. "archive" packs those of the others
        into a .tar.gz for each point, the latest 1000 and 10 GiB of them.
    archive : path, optional
        The folder for these; default: ``work``.
    restart : sequence of str
        Files in which the program leaves the state that another run can start from: with a warm start, those that the
        baseline wrote are copied into the work directories of the others. Templates can tell by ``warm``.
    unused : sequence of str, optional
        Parameters that no mark and no edit needs to use; of others that none uses `check` warns.
    integers : sequence of str, optional
        Parameters that are whole numbers, and are written as such; a value that is none is an error.
    wait_for : mapping, optional
        ``{"file": name, "timeout": seconds}``: of a program that returns before its work is done, the file that it then
        writes, whole and in one go, or at least without a pause of half a second.
    value_names : sequence of str, optional
        What J's outputs are called in results and messages, one for each; by default by the expressions of ``value``.
    version : str, optional
        Changes the fingerprint: for what it cannot see, such as another version of an installed program. Needed for
        evaluations to be reused across processes if ``value`` is a function.

    Raises
    ------
    InputError
        If an option is wrong or a file is missing; the message names it.
    """

    takes_complex = False
    reads_text = True
    writes_text = True

    @property
    def parts(self) -> tuple[Any, ...]:
        """The function that ``value`` is, if it is one: all else is text that was read once."""
        return (self.value,) if callable(self.value) else ()

    @property
    def sees_process(self) -> bool:
        """False: a program has the worker's environment, ``env`` and ``pass_env``, and a work directory of its own."""
        return False

    @property
    def limits_itself(self) -> bool:
        """True: a program is killed at its timeout without an end to the worker."""
        return True

    def make(self) -> ProgramModel:
        """The live J; call it once in each worker process."""
        from distfd.objectives.command.model import ProgramModel

        return ProgramModel(self)

    def tidy(self) -> None:
        """Remove the work directories of evaluations that were cut off, now that all workers have ended."""
        if self.work is None:
            sweep(None)
        else:
            sweep_all(self.work)

    def check_warm(self, mode: str | None) -> None:
        """See that it can start from a state, if that is asked for, and only then says how.

        Raises
        ------
        InputError
            If there are no ``restart`` files, or nobody asks for them.
        """
        if mode is not None and not self.restart:
            raise InputError(
                f"warm: {mode} needs the program's restart files: list in objective.command.restart the files "
                "that it writes, and from which it starts where they exist"
            )
        if mode is None and self.restart:
            raise InputError(
                f"restart: {self.restart[0]} is of use with a warm start alone: set objective.warm to baseline or "
                "iterate (in Python, Evaluator(warm=...))"
            )

    def check(self, x0: ArrayLike) -> None:
        """See, without running anything, whether an evaluation at x0 could start.

        Writes every input in memory, and looks for the programs, the files to copy or link, scripts named in argv, and
        the Python functions.

        Raises
        ------
        MissingSimulatorError
            If a program is missing; says what to install if ``hint`` does.
        InputError
            If a template, file or function is wrong.
        """
        check(self, x0)

    def written(
        self, x: NDArray[np.float64], index: NDArray[np.int64], values: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """How far the program sees coordinates moved, by the numbers as they stand in its input files.

        Parameters
        ----------
        x : (d,) ndarray
        index : (a,) ndarray
            Coordinates.
        values : (a, n) ndarray
            New values of each, one at a time.

        Returns
        -------
        (a, n) ndarray
            Offsets from x, as read back from the files.

        Raises
        ------
        InputError
            If a format swallows a perturbation: names coordinate, file and format.
        """
        from distfd.objectives.command.steps_as_written import written

        return written(self, x, index, values)

    def shipped_files(self) -> tuple[str, ...]:
        """Files and folders that other nodes may not see."""
        return shipped_files(self)

    def module_texts(self) -> Mapping[str, tuple[str, bytes]]:
        """What its functions that read outputs import."""
        functions = [output.extractor for output in self.taken if isinstance(output.extractor, UserFunction)]
        return {name: text for function in functions for name, text in function.imported.items()}

    @property
    def parameter_names(self) -> tuple[str, ...] | None:
        """The names that it was given for its parameters."""
        return None if self.names is None else tuple(self.names)

    def named(self, names: Sequence[str]) -> CommandObjective:
        """The same with names for its parameters, unless it has names of its own or these are what they are without."""
        if self.names is not None or all(name == f"x{k}" for k, name in enumerate(names)):
            return self
        there = copy(self)
        object.__setattr__(there, "names", tuple(names))
        return there

    def with_files_at(self, places: Mapping[str, str]) -> CommandObjective:
        """The same, with files taken from where they are on a node: {path here: path there}."""
        return with_files_at(self, places)

    def fingerprint(self) -> str | None:
        """A digest of all that J's value depends on; see `distfd.objectives.command.program_key`."""
        from distfd.objectives.command.program_key import fingerprint

        return fingerprint(self)


_INTERPRETERS = re.compile(r"python[\d.]*|sh|bash|dash|zsh|perl|ruby|julia|Rscript|octave|tclsh|lua[\d.]*")


def check(objective: ProgramSpec, x0: ArrayLike) -> None:
    """Checks an objective: writes every input in memory, and looks for programs, files, scripts and Python functions.

    Raises
    ------
    MissingSimulatorError
        If a program is missing; the message says what to install if ``hint`` does.
    InputError
        If an input, file or function is wrong.
    """
    variables = objective.variables(x0)
    for name, source in objective.decks.items():
        deck = compiled(source)
        deck.render(variables)
        if moved := deck.moved(variables):
            warn(
                f"{name}: {moved[0]} is wider than its format, so that the rest of the line is shifted, which matters "
                "if this file has fixed columns; widen the columns, or use fewer digits or other units"
            )
    Arguments(objective, objective.names).launch(variables)
    if unused := unused_parameters(objective, x0):
        warn(f"no template uses {', '.join(unused)}: J cannot depend on it, unless the program reads parameters.json")
    used = frozenset().union(*(expression.uses for expression in objective.formula))
    if both := sorted(used & set(objective.names or ()) & {*objective.outputs, *objective.data}):
        warn(
            f"value: {', '.join(both)} is what is read from the program, not the parameter of the same name: if the "
            "parameter is meant, rename the output"
        )
    base = Path(objective.base)
    options.files("copy", objective.copy, base)
    options.files("link", objective.link, base)
    for output in objective.taken:
        if isinstance(output.extractor, UserFunction):
            output.extractor.load()
    _check_scripts(objective, base)
    path = objective.environ().get("PATH")
    for step in objective.steps:
        # A program in the work directory does not exist yet.
        if not step[0].startswith("./") and shutil.which(step[0], path=path) is None:
            raise MissingSimulatorError(objective.missing(step[0]))


def unused_parameters(objective: ProgramSpec, x0: ArrayLike) -> list[str]:
    """Parameters that nothing uses, although others are used by marks or edits: their derivative would always be 0.

    Parameters listed in ``unused`` are left out. If no mark uses any parameter, the result is empty, because the
    program then reads ``parameters.json``.
    """
    names = objective.names
    if names is None:
        return []
    inputs = Inputs(objective, x0)
    left = [name for name in names if name not in inputs.mentioned and name not in objective.unused]
    if not left or not inputs.mentioned & {*names, "x"}:
        return []
    return inputs.without_effect(left) if "x" in inputs.mentioned else left


def _check_scripts(objective: ProgramSpec, base: Path) -> None:
    """Refuses arguments that name a script beside the configuration: programs run elsewhere and would not find it."""
    there = {Path(name).parts[0] for name in (*objective.decks, *(o.file for o in objective.taken if o.file))}
    there |= {Path(path).name for path in (*objective.copy, *objective.link)}
    for k, step in enumerate(objective.steps):
        program = Path(step[0]).name
        for argument in step[1:]:
            path = Path(argument)
            if path.suffix.lower() not in SCRIPTS or path.is_absolute() or argument.startswith("-"):
                continue
            if path.parts[0] in there or not re.fullmatch(r"[\w./+-]+", argument):
                continue
            if (base / path).is_file():
                also = f", and write {path.name} in argv" if len(path.parts) > 1 else ""
                raise InputError(
                    f"argv: {argument} stands beside the configuration, and {program} runs in a work directory of its "
                    f"own: add copy: [{argument}]{also}"
                )
            # A later command may run a script that an earlier one wrote, and other programs may write a script
            # themselves.
            if k == 0 and argument == step[1] and _INTERPRETERS.fullmatch(program):
                raise InputError(
                    f"argv: {argument} is not there: neither beside the configuration ({base / path}) nor among what "
                    "inputs, copy and link put into the work directory"
                )


def shipped_files(objective: ProgramSpec) -> tuple[str, ...]:
    """The objective's files and folders: copied or linked ones, programs beside the configuration, scripts in argv."""
    return tuple(dict.fromkeys(map(str, (*objective.copy, *objective.link, *scripts(objective)))))


def with_files_at(objective: _Spec, places: Mapping[str, str]) -> _Spec:
    """The same objective, with files at their places on this node."""
    there = copy(objective)
    for name in ("copy", "link"):
        paths = tuple(places.get(str(path), str(path)) for path in getattr(objective, name))
        object.__setattr__(there, name, paths)
    steps = tuple(tuple(places.get(argument, argument) for argument in step) for step in objective.steps)
    object.__setattr__(there, "steps", steps)
    return there
