"""J computed by an external program: what to run, what to give it, what to take from it."""

from __future__ import annotations

import os
import time
from dataclasses import KW_ONLY, dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distfd.errors import InputError
from distfd.home import at_home
from distfd.objectives import options
from distfd.objectives.folder import sweep, sweep_all
from distfd.objectives.inputs import read_input, refuse_complex, variables
from distfd.objectives.measured import read_measured
from distfd.objectives.outputs import parse_output
from distfd.objectives.workdir import RESERVED, check_layout, inside

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from distfd.objectives.expression import Expression
    from distfd.objectives.inputs import Source
    from distfd.objectives.outputs import Output
    from distfd.objectives.program import ProgramModel
    from distfd.objectives.values import Value

_KEEP = ("failed", "all", "none", "archive")


@dataclass(frozen=True, eq=False)
class CommandObjective:
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
        By name: ``file`` and exactly one of ``json``, ``csv``, ``regex``, ``columns``, ``npy``, ``python``.
    data : mapping of str to mapping
        Measurements, which ``value`` may name beside the outputs: as for outputs, with ``file`` relative to ``base``.
    value : str, list of str, or callable, optional
        J as an expression of the names of outputs and data, a list of expressions for a vector, or a picklable function
        that gets them as keywords. Default: the only output.
    copy, link : sequence of path
        Files or folders to copy or link into the work directory under their own names.
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
        Names of the parameters. Those that are identifiers are variables of the templates; ``x`` is always the whole
        vector, unless a parameter has that name.
    base : path
        The folder from which relative paths are resolved, and Python functions are found.
    work : path, optional
        The folder for work directories; default: that for temporary files.
    keep : {"failed", "all", "none", "archive"}
        Which work directories are kept; of failed evaluations 100 in one folder. "archive" packs those of the others
        into a .tar.gz for each point, the latest 1000 and 10 GiB of them.
    archive : path, optional
        The folder for these; default: ``work``.
    restart : sequence of str
        Files in which the program leaves the state that another run can start from: with a warm start, those that the
        baseline wrote are copied into the work directories of the others. Templates can tell by ``warm``.
    version : str, optional
        Changes the fingerprint: for what it cannot see, such as another version of an installed program. Needed for
        evaluations to be reused across processes if ``value`` is a function.

    Raises
    ------
    InputError
        If an option is wrong or a file is missing; the message names it.
    """

    argv: Sequence[str] | None = None
    _: KW_ONLY
    inputs: Mapping[str, str | Path | Mapping[str, Any]] = field(default_factory=dict)
    outputs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    data: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    value: str | Sequence[str] | Callable[..., Any] | None = None
    copy: Sequence[str | Path] = ()
    link: Sequence[str | Path] = ()
    env: Mapping[str, str | float | None] = field(default_factory=dict, repr=False)
    pass_env: Sequence[str] = ()
    hint: str | None = None
    fails_if: str | None = None
    retry_if: str | None = None
    retry_delay: float = 0.0
    log: Sequence[str] = ()
    names: Sequence[str] | None = None
    base: str | Path = "."
    work: str | Path | None = None
    keep: str = "failed"
    archive: str | Path | None = None
    version: str | None = None
    commands: Sequence[Sequence[str]] | None = None
    pre: Sequence[Sequence[str]] = ()
    post: Sequence[Sequence[str]] = ()
    stdin: str | None = None
    restart: Sequence[str] = ()
    given: tuple[tuple[str, ...], ...] = field(init=False, repr=False)
    """All commands, as they were given."""
    steps: tuple[tuple[str, ...], ...] = field(init=False, repr=False)
    """The same, programs with a slash by their absolute paths."""
    fed: range = field(init=False, repr=False)
    """Which of them read ``stdin``."""
    decks: Mapping[str, Source] = field(init=False, repr=False)
    taken: tuple[Output, ...] = field(init=False, repr=False)
    measured: Mapping[str, Value] = field(init=False, repr=False)
    formula: tuple[Expression, ...] = field(init=False, repr=False)
    """The expressions of ``value``; empty where it is a function."""
    shipped: Mapping[str, str] = field(init=False, repr=False)
    """The values of ``pass_env``; never shown."""
    made: float = field(init=False, repr=False)
    """When this object was made, in seconds since the epoch: work directories from before are of earlier runs."""

    def __post_init__(self) -> None:
        base = at_home(self.base).absolute()
        if self.keep not in _KEEP:
            raise InputError(f"keep is one of {', '.join(_KEEP)} (given {self.keep!r})")
        names = None if self.names is None else tuple(self.names)
        if names is not None and len(set(names)) != len(names):
            raise InputError(f"names must differ (given {names})")
        options.patterns(fails_if=self.fails_if, retry_if=self.retry_if)
        decks = dict(read_input(name, spec, base) for name, spec in self.inputs.items())
        taken = tuple(parse_output(name, spec, str(base)) for name, spec in self.outputs.items())
        copied, linked = options.files("copy", self.copy, base), options.files("link", self.link, base)
        restart = [inside(name, "restart") for name in options.listed("restart", self.restart)]
        logs = [inside(name, "log") for name in options.listed("log", self.log)]
        brought, shared = ([Path(path).name for path in paths] for paths in (copied, linked))
        check_layout(decks, brought, shared, [*(o.file for o in taken if o.file), *logs, *restart])
        if both := sorted({*decks, *RESERVED} & set(restart)):
            raise InputError(f"restart: {both[0]} is written by distfd itself")
        given, fed = options.commands(self.argv, self.commands, self.pre, self.post)
        for name, made in {
            "base": str(base),
            "work": None if self.work is None else str(at_home(self.work).absolute()),
            "archive": None if self.archive is None else str(at_home(self.archive).absolute()),
            "names": names,
            "copy": copied,
            "link": linked,
            "log": tuple(logs),
            "restart": tuple(restart),
            "env": options.environment(self.env),
            "stdin": None if self.stdin is None else inside(self.stdin, "stdin"),
            "decks": decks,
            "taken": taken,
            "measured": {name: read_measured(name, spec, base) for name, spec in self.data.items()},
            "formula": options.formula(self.value, tuple(self.outputs), tuple(self.data)),
            "given": given,
            "steps": options.steps(given, base, {*decks, *brought, *shared}),
            "fed": fed,
            "shipped": options.shipped(self.pass_env),
            "made": time.time(),
        }.items():
            object.__setattr__(self, name, made)

    takes_complex = False

    @property
    def limits_itself(self) -> bool:
        """True: a program is killed at its timeout without an end to the worker."""
        return True

    def make(self) -> ProgramModel:
        """The live J; call it once in each worker process."""
        from distfd.objectives.program import ProgramModel

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
                f"warm: {mode} needs the program's restart files: name those that it writes, and reads if they are "
                "there, in objective.command.restart"
            )
        if mode is None and self.restart:
            raise InputError(
                f"restart: {self.restart[0]} is of use with a warm start alone: set objective.warm to baseline or "
                "iterate (in Python, Evaluator(warm=...))"
            )

    def variables(self, x: ArrayLike, *, warm: bool = False) -> dict[str, Any]:
        """What the templates may use at x, (d,), in a cold start or a warm one."""
        return variables(list(self.parameters(x).values()), self.names, warm=warm if self.restart else None)

    def parameters(self, x: ArrayLike) -> dict[str, float]:
        """x, (d,), by the parameters' names (x0, x1, ... where there are none).

        Raises
        ------
        InputError
            If x is complex or has another length than there are names.
        """
        import numpy as np  # importing distfd alone must stay light

        refuse_complex(x)
        values = np.asarray(x, dtype=np.float64).ravel().tolist()
        names = self.names if self.names is not None else [f"x{k}" for k in range(len(values))]
        if len(names) != len(values):
            raise InputError(f"x has {len(values)} values, and there are {len(names)} names: {', '.join(names)[:200]}")
        return dict(zip(names, values, strict=True))

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
        from distfd.objectives.precheck import check

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
        from distfd.objectives.written import written

        return written(self, x, index, values)

    def missing(self, program: str) -> str:
        """The message for a program that is not there."""
        from distfd.objectives.absent import absent

        return absent(program, Path(self.base), self.hint)

    def environ(self) -> dict[str, str]:
        """The program's environment, in the process that calls this."""
        environ = {**os.environ, **self.shipped}
        for name, value in self.env.items():
            for unset in [known for known in environ if fnmatchcase(known, name)] if name.endswith("*") else [name]:
                environ.pop(unset, None)
            if value is not None:
                environ[name] = str(value)
        return environ

    def fingerprint(self) -> str | None:
        """A digest of all that J's value depends on; see `distfd.objectives.told`."""
        from distfd.objectives.told import fingerprint

        return fingerprint(self)
