"""The checked data of a J by an external program: what to run, its inputs, and its outputs."""

from __future__ import annotations

import difflib
import os
import time
from dataclasses import KW_ONLY, dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distfd.core.errors import InputError
from distfd.core.files import at_home
from distfd.core.suggestions import did_you_mean, programs
from distfd.objectives.command import options
from distfd.objectives.command.inputs import read_input, refuse_complex, variables
from distfd.objectives.command.outputs import parse_output, read_measured
from distfd.objectives.command.value_parts import length_of, part_names, parts_of
from distfd.objectives.command.work_directory import RESERVED, check_layout, inside
from distfd.objectives.output_parts import OutputPart

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from distfd.objectives.command.expression import Expression
    from distfd.objectives.command.inputs import Source
    from distfd.objectives.command.outputs import Output
    from distfd.objectives.command.values import Value


_KEEP = ("failed", "all", "none", "archive")


@dataclass(frozen=True, eq=False)
class ProgramSpec:
    """The data of a `CommandObjective` (see there for its fields), and values that follow from the data alone.

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
    unused: Sequence[str] = ()
    integers: Sequence[str] = ()
    wait_for: Mapping[str, Any] | None = None
    value_names: Sequence[str] | None = None
    given: tuple[tuple[str, ...], ...] = field(init=False, repr=False)
    """All commands, as they were given."""
    steps: tuple[tuple[str, ...], ...] = field(init=False, repr=False)
    """The same commands, with the absolute paths of programs that are given with a slash."""
    fed: range = field(init=False, repr=False)
    """The range of those commands that read ``stdin``."""
    decks: Mapping[str, Source] = field(init=False, repr=False)
    taken: tuple[Output, ...] = field(init=False, repr=False)
    measured: Mapping[str, Value] = field(init=False, repr=False)
    times: Mapping[str, NDArray[np.float64]] = field(init=False, repr=False)
    """Times of the data in ``measured``, where their table has a column of times."""
    formula: tuple[Expression, ...] = field(init=False, repr=False)
    """The expressions of ``value``; empty where ``value`` is a function."""
    shipped: Mapping[str, str] = field(init=False, repr=False)
    """The values of ``pass_env``; never shown."""
    made: float = field(init=False, repr=False)
    """When this object was made, in seconds since the epoch: older work directories belong to earlier runs."""

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
        least = len(self.value) if isinstance(self.value, (list, tuple)) else 1
        measured = {name: read_measured(name, spec, base) for name, spec in self.data.items()}
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
            "measured": {name: value for name, (value, _) in measured.items()},
            "times": {name: times for name, (_, times) in measured.items() if times is not None},
            "formula": options.formula(self.value, tuple(self.outputs), tuple(self.data), names or ()),
            "value_names": options.value_names(self.value_names, least),
            "given": given,
            "steps": options.steps(given, base, {*decks, *brought, *shared}),
            "fed": fed,
            "shipped": options.shipped(self.pass_env),
            "wait_for": options.awaited(self.wait_for),
            "made": time.time(),
        }.items():
            object.__setattr__(self, name, made)

    def variables(self, x: ArrayLike, *, warm: bool = False) -> dict[str, Any]:
        """The variables of templates at x, (d,), in a cold or a warm start."""
        return variables(list(self.parameters(x).values()), self.names, warm=warm if self.restart else None)

    def parameters(self, x: ArrayLike) -> dict[str, float]:
        """The elements of x, (d,), by the parameters' names (x0, x1, ... if there are no names).

        Raises
        ------
        InputError
            If x is complex, or its length is not the number of names.
        """
        import numpy as np  # importing distfd must stay fast

        refuse_complex(x)
        values = np.asarray(x, dtype=np.float64).ravel().tolist()
        names = self.names if self.names is not None else [f"x{k}" for k in range(len(values))]
        if len(names) != len(values):
            raise InputError(f"x has {len(values)} values, and there are {len(names)} names: {', '.join(names)[:200]}")
        found = dict(zip(names, values, strict=True))
        return {**found, **{name: whole(name, found[name]) for name in self.integers if name in found}}

    def output_names(self, m: int) -> tuple[str, ...] | None:
        """The names of J's m outputs: from ``value_names``, or from the expressions of ``value``."""
        if self.value_names is not None:
            return tuple(self.value_names) if len(self.value_names) == m else None
        parts = self.output_parts
        if parts is None:
            return None
        named = part_names(parts, self.outputs, self.measured, self.times, m) if self.measured else None
        return named or options.derived_names(self.formula, tuple(self.outputs), m)

    @property
    def output_parts(self) -> tuple[OutputPart, ...] | None:
        """Each expression of ``value``, with the outputs and data in it; None where ``value`` is a function."""
        if callable(self.value):
            return None
        lengths = {output.name: length_of(output.extractor) for output in self.taken}
        if not self.formula:
            return tuple(OutputPart(name, (name,), length) for name, length in lengths.items())
        lengths |= {name: int(getattr(value, "size", 1)) for name, value in self.measured.items()}
        return parts_of(self.formula, lengths, self.measured)

    @property
    def in_value(self) -> frozenset[str]:
        """The parameters that ``value`` uses directly, besides the program's outputs."""
        used = frozenset().union(*(expression.uses for expression in self.formula))
        return (used & frozenset(self.names or ())) - {*self.outputs, *self.data}

    def missing(self, program: str) -> str:
        """The message for a missing program."""
        return absent(program, Path(self.base), self.hint)

    def environ(self, env: Mapping[str, Any] | None = None) -> dict[str, str]:
        """The program's environment in this process; ``env`` replaces the objective's own ``env``."""
        environ = {**os.environ, **self.shipped}
        for name, value in (self.env if env is None else env).items():
            for unset in [known for known in environ if fnmatchcase(known, name)] if name.endswith("*") else [name]:
                environ.pop(unset, None)
            if value is not None:
                environ[name] = str(value)
        return environ


def whole(name: str, value: float) -> int:
    """The value of a parameter of type integer, as an int.

    Raises
    ------
    InputError
        If the value is not an integer.
    """
    if not float(value).is_integer():
        raise InputError(
            f"parameters: {name} is of type integer, and {value!r} is no whole number; give it a whole step, as in "
            "step: {absolute: 1}, and no task or method that tries values between whole numbers"
        )
    return int(value)


def absent(program: str, base: Path, hint: str | None) -> str:
    """The message for a program that cannot be found or run.

    Parameters
    ----------
    program : str
        The program as given: a name for the PATH, or a path.
    base : Path
        The folder of relative paths; the user may have the program there.
    hint : str or None
        What to install.
    """
    if "/" not in program:
        if (base / program).is_file():
            return f"{program} is not on the PATH; to run the one in {base}, write ./{program} in argv"
        near = "" if hint else did_you_mean(program, programs(os.environ.get("PATH"))).rstrip("?")
        return _hinted(f"{program} is not installed{near}", hint)
    path = base / program
    if path.is_dir():
        return f"{program} is a folder, not a program"
    if path.is_file():
        return f"{program} is not marked executable: chmod +x it, or name its interpreter first in argv"
    near = _close(path)
    return f"{program} does not exist{near}" if near else _hinted(f"{program} does not exist", hint)


def _hinted(text: str, hint: str | None) -> str:
    return f"{text}: {hint}" if hint else f"{text}; set objective.command.hint to say how to get it"


def _close(path: Path) -> str:
    try:
        names = os.listdir(path.parent)[:1000]  # noqa: PTH208  # only names are needed
    except OSError:
        return f", nor does the folder {path.parent}"
    near = difflib.get_close_matches(path.name, names, 1)
    return f"; did you mean {near[0]}" if near else ""
