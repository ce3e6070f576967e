"""J computed by an external program: what to run, what to give it, what to take from it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import warnings
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distfd.errors import InputError, MissingSimulatorError
from distfd.objectives import options
from distfd.objectives.outputs import parse_output
from distfd.objectives.templates import Deck, read_template
from distfd.objectives.userfunction import UserFunction
from distfd.objectives.workdir import check_layout, digest, inside

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import ArrayLike

    from distfd.objectives.expression import Expression
    from distfd.objectives.outputs import Output
    from distfd.objectives.program import ProgramModel
    from distfd.objectives.templates import Template

_KEEP = ("failed", "all", "none")
_SCRIPTS = {".py", ".sh", ".bash", ".pl", ".rb", ".jl", ".m", ".r", ".tcl", ".lua"}


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
    inputs : mapping of str to path
        Files to write in the work directory, and the Jinja templates that they are written from. ``parameters.json``
        ({name: value}) is always written.
    outputs : mapping of str to mapping
        By name: ``file`` and exactly one of ``json``, ``csv``, ``regex``, ``columns``, ``npy``, ``python``.
    value : str, list of str, or callable, optional
        J as an expression of the output names, a list of expressions for a vector, or a picklable function that gets
        the outputs as keywords. Default: the only output.
    copy, link : sequence of path
        Files or folders to copy or link into the work directory under their own names.
    env : mapping of str to str or None
        Variables to set (or, with None, to unset) in the program, which inherits the worker's environment.
    pass_env : sequence of str
        Variables of this process to hand on to workers on other nodes.
    hint : str, optional
        What to install when the program is missing.
    fails_if : str, optional
        A regular expression; the evaluation failed if it is found in a line of the program's stdout or stderr.
    names : sequence of str, optional
        Names of the parameters. Those that are identifiers are variables of the templates; ``x`` is always the whole
        vector, unless a parameter has that name.
    base : path
        The folder from which relative paths are resolved, and Python functions are found.
    work : path, optional
        The folder for work directories; default: that for temporary files.
    keep : {"failed", "all", "none"}
        Which work directories are kept.
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
    inputs: Mapping[str, str | Path] = field(default_factory=dict)
    outputs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    value: str | Sequence[str] | Callable[..., Any] | None = None
    copy: Sequence[str | Path] = ()
    link: Sequence[str | Path] = ()
    env: Mapping[str, str | float | None] = field(default_factory=dict)
    pass_env: Sequence[str] = ()
    hint: str | None = None
    fails_if: str | None = None
    names: Sequence[str] | None = None
    base: str | Path = "."
    work: str | Path | None = None
    keep: str = "failed"
    version: str | None = None
    commands: Sequence[Sequence[str]] | None = None
    steps: tuple[tuple[str, ...], ...] = field(init=False, repr=False)
    """The commands, programs with a slash by their absolute paths."""
    decks: Mapping[str, Template] = field(init=False, repr=False)
    taken: tuple[Output, ...] = field(init=False, repr=False)
    formula: tuple[Expression, ...] = field(init=False, repr=False)
    """The expressions of ``value``; empty where it is a function."""
    shipped: Mapping[str, str] = field(init=False, repr=False)
    """The values of ``pass_env``; never shown."""

    def __post_init__(self) -> None:
        base = Path(self.base).expanduser().absolute()
        if self.keep not in _KEEP:
            raise InputError(f"keep is one of {', '.join(_KEEP)} (given {self.keep!r})")
        names = None if self.names is None else tuple(self.names)
        if names is not None and len(set(names)) != len(names):
            raise InputError(f"names must differ (given {names})")
        if self.fails_if is not None:
            try:
                re.compile(self.fails_if)
            except re.error as error:
                raise InputError(f"fails_if: {self.fails_if!r} is no regex: {error}") from error
        decks = {inside(name, "input"): read_template(base / file) for name, file in self.inputs.items()}
        taken = tuple(parse_output(name, spec, str(base)) for name, spec in self.outputs.items())
        copied, linked = options.files("copy", self.copy, base), options.files("link", self.link, base)
        local = (*decks, *(Path(path).name for path in copied))
        check_layout(
            decks, local[len(decks) :], [Path(path).name for path in linked], [o.file for o in taken if o.file]
        )
        for name, made in {
            "base": str(base),
            "work": None if self.work is None else str(Path(self.work).expanduser().absolute()),
            "names": names,
            "copy": copied,
            "link": linked,
            "env": options.environment(self.env),
            "decks": decks,
            "taken": taken,
            "formula": options.formula(self.value, tuple(self.outputs)),
            "steps": options.steps(self.argv, self.commands, base, {*local, *(Path(path).name for path in linked)}),
            "shipped": options.shipped(self.pass_env),
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

    def variables(self, x: ArrayLike) -> dict[str, Any]:
        """What the templates may use at x, (d,)."""
        values = tuple(map(float, self.parameters(x).values()))
        named = {name: value for name, value in zip(self.names or (), values, strict=False) if name.isidentifier()}
        return {"x": values, **named}

    def parameters(self, x: ArrayLike) -> dict[str, float]:
        """x, (d,), by the parameters' names (x0, x1, ... where there are none).

        Raises
        ------
        InputError
            If x is complex or has another length than there are names.
        """
        import numpy as np

        if np.iscomplexobj(x):
            raise InputError("an external program takes no complex numbers: use another scheme than complex-step")
        values = np.asarray(x, dtype=np.float64).ravel().tolist()
        names = self.names if self.names is not None else [f"x{k}" for k in range(len(values))]
        if len(names) != len(values):
            raise InputError(f"x has {len(values)} values, and there are {len(names)} names: {', '.join(names)[:200]}")
        return dict(zip(names, values, strict=True))

    def check(self, x0: ArrayLike) -> None:
        """See, without running anything, whether an evaluation at x0 could start.

        Renders every template, and looks for the programs, the files to copy or link, and the Python functions.

        Raises
        ------
        MissingSimulatorError
            If a program is missing; says what to install if ``hint`` does.
        InputError
            If a template, file or function is wrong.
        """
        variables = self.variables(x0)
        for template in self.decks.values():
            Deck(template).render(variables)
        self._warn_of_unused()
        options.files("copy", self.copy, Path(self.base))
        options.files("link", self.link, Path(self.base))
        for output in self.taken:
            if isinstance(output.extractor, UserFunction):
                output.extractor.load()
        for step in self.steps:
            # A program from the work directory is not there yet.
            if not step[0].startswith("./") and shutil.which(step[0], path=self.environ().get("PATH")) is None:
                raise MissingSimulatorError(self.missing(step[0]))

    def _warn_of_unused(self) -> None:
        """Say which parameters no template mentions: their derivative would be 0 without a word."""
        texts = [template.text for template in self.decks.values()]
        if not texts or any(re.search(r"\bx\b", text) for text in texts):
            return
        unused = [name for name in self.names or () if not any(re.search(rf"\b{name}\b", text) for text in texts)]
        if unused:
            warnings.warn(
                f"no template uses {', '.join(unused)}: J cannot depend on it, unless by parameters.json",
                stacklevel=2,
            )

    def missing(self, program: str) -> str:
        """The message for a program that is not there."""
        what = "is no program that can be run" if os.path.exists(program) else "is not installed"  # noqa: PTH110  # a name
        return f"{program} {what}" + (
            f": {self.hint}" if self.hint else "; set objective.command.hint to say how to get it"
        )

    def environ(self) -> dict[str, str]:
        """The program's environment, in the process that calls this."""
        environ = {**os.environ, **self.shipped}
        for name, value in self.env.items():
            environ.pop(name, None)
            if value is not None:
                environ[name] = str(value)
        return environ

    def fingerprint(self) -> str | None:
        """SHA-256 of the commands, templates, files, outputs, value, env, names and version.

        Scripts are read: programs given by a relative path, and arguments that are absolute paths of scripts. Installed
        programs are not; say ``version`` for those. None if ``value`` is a function and there is no ``version``.
        """
        if callable(self.value) and self.version is None:
            return None
        told = {
            "commands": self.commands if self.argv is None else [self.argv],
            "scripts": [digest(path) for path in self._scripts()],
            "inputs": {name: hashlib.sha256(repr(t.text).encode()).hexdigest() for name, t in self.decks.items()},
            "files": [(kind, Path(p).name, digest(Path(p))) for kind in ("copy", "link") for p in getattr(self, kind)],
            "outputs": {name: dict(spec) for name, spec in self.outputs.items()},
            "functions": [o.extractor.source.hex() for o in self.taken if isinstance(o.extractor, UserFunction)],
            "value": getattr(self.value, "__qualname__", "") if callable(self.value) else self.value,
            "env": dict(self.env),
            "pass_env": list(self.pass_env),
            "fails_if": self.fails_if,
            "names": self.names,
            "version": self.version,
        }
        return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()

    def _scripts(self) -> list[Path]:
        given = [self.argv] if self.argv is not None else list(self.commands or ())
        local = [Path(step[0]) for step, argv in zip(self.steps, given, strict=True) if step[0] != argv[0]]
        named = [Path(argument) for step in self.steps for argument in step[1:]]
        named = [path for path in named if path.is_absolute() and path.suffix.lower() in _SCRIPTS]
        return [path for path in (*local, *named) if path.is_file()]
