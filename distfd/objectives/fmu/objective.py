"""J by an FMU: the objective that users make."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import KW_ONLY, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from distfd.core.errors import InputError
from distfd.core.files import at_home, sha256_of
from distfd.core.suggestions import did_you_mean
from distfd.objectives.base import Objective
from distfd.objectives.command.options import LONGEST_NAME, derived_names, formula
from distfd.objectives.command.value_parts import parts_of
from distfd.objectives.fmu.description import (
    Description,
    Variable,
    read_description,
)
from distfd.objectives.fmu.model import FMUModel, FMUOutput, Simulation
from distfd.objectives.fmu.signals import Signal, make_signal, read_series
from distfd.objectives.output_parts import OutputPart

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

    from distfd.objectives.command.expression import Expression

AT = ("last", "max", "min", "mean")
_POINTS = 500
"""Default number of communication steps, if neither the user nor the FMU gives one."""
_MOST_POINTS = 10_000_000
"""Largest number of communication points: more indicate a mistake in the step or a time."""
_TOLERANCE = 1e-8
"""Default tolerance of CVode, if neither the user nor the FMU gives one: FMPy's 1e-5 makes too much noise for
differences."""
_SMALLEST_TOLERANCE = 1e-14
"""Smallest tolerance that CVode can meet in double precision."""
_NEAR = 1e-6
"""A time within this part of a communication step counts as a communication point."""


@dataclass(frozen=True, eq=False)
class FMUObjective(Objective):
    """J(x) by the simulation of a Functional Mock-up Unit (FMU) of FMI 2 or 3 with FMPy.

    An FMU is native code that runs in the worker's process: use none that you do not trust.

    Parameters
    ----------
    file : path
        The FMU.
    outputs : mapping of str to mapping or str
        By name: ``variable`` (default: the output's name), and one of ``at`` ("last", "max", "min" or "mean", in time),
        ``times`` (a list of times: a vector) and ``data`` (a CSV file, or ``{file, time, column}``: the residuals,
        value minus measurement, at the times of the file). A text is the variable, at the end.
    start_time, stop_time : float, optional
        In the FMU's unit, mostly seconds; default: those of its default experiment, or 0 and (needed) none.
    step : float, optional
        The communication step; default: the FMU's own, or a 500th of the time. Outputs are looked at after each.
    tolerance : float, optional
        The relative tolerance of its solver, if it has one that listens; default: that of its default experiment. For
        model exchange that of CVode, by default 1e-8 where the FMU names none.
    inputs : mapping of str to float, path or mapping
        What drives inputs in time: a number, a CSV file with the columns time and the input's name,
        ``{file, time, column}``, or ``{times, values}``. It is set at each communication point.
    start : mapping of str to float, bool or str
        Other start values than the FMU's own, of parameters that do not move.
    value : str, list of str, or callable, optional
        J as an expression of the outputs; as for a `distfd.CommandObjective`.
    reset : bool, optional
        True: one instance for all evaluations of a worker, reset between them. False: a new one for each. None: a
        worker's second point is evaluated both ways; it goes on with resets if the values are the same, bit for bit.
        After a failure the instance is a new one, whatever this says.
    logging : bool
        Have the FMU log all that it can; otherwise its errors and warnings.
    names : sequence of str, optional
        The parameters: names of variables that can be set; by default those that the Evaluator or call is given.
    kind : str, optional
        "co-simulation" (with the solver that the FMU brings) or "model-exchange" (its equations, by CVode); default:
        co-simulation, if it has that.
    base : path
        The folder of relative paths.
    version : str, optional
        Changes the fingerprint; needed where ``value`` is a function, for values to be reused across processes.

    Raises
    ------
    InputError
        If the file is no FMU, or an option does not fit it; the message names it.
    MissingSimulatorError
        If FMPy is not installed.
    """

    file: str | Path
    _: KW_ONLY
    outputs: Mapping[str, Mapping[str, Any] | str]
    start_time: float | None = None
    stop_time: float | None = None
    step: float | None = None
    tolerance: float | None = None
    inputs: Mapping[str, Any] = field(default_factory=dict)
    start: Mapping[str, Any] = field(default_factory=dict)
    value: str | Sequence[str] | Callable[..., Any] | None = None
    reset: bool | None = None
    logging: bool = False
    names: Sequence[str] | None = None
    base: str | Path = "."
    version: str | None = None
    kind: str | None = None
    description: Description = field(init=False, repr=False)
    taken: tuple[FMUOutput, ...] = field(init=False, repr=False)
    signals: Mapping[str, Signal] = field(init=False, repr=False)
    formula: tuple[Expression, ...] = field(init=False, repr=False)
    digest: str = field(init=False, repr=False)
    """The SHA-256 of the FMU."""

    takes_complex = False

    def __post_init__(self) -> None:
        base = at_home(self.base).absolute()
        path = base / at_home(self.file)
        found = read_description(path, self.kind)
        self._set(base=str(base), file=str(path), description=found)
        self._set(names=None if self.names is None else tuple(self.names))
        self._set_times()
        taken = tuple(self._output(name, given, base) for name, given in self.outputs.items())
        self._set(taken=taken, formula=formula(self.value, tuple(self.outputs)), digest=sha256_of(path))
        self._set(signals={name: self._signal(name, given, base) for name, given in self.inputs.items()})
        for name in self.start:
            self._settable(name, f"start: {name}")
        if self.names is not None:
            self._check_names(self.names)

    def _set(self, **made: Any) -> None:
        for name, value in made.items():
            object.__setattr__(self, name, value)

    @property
    def short(self) -> str:
        """The file's name."""
        return Path(self.file).name

    def _set_times(self) -> None:
        found = self.description
        given: dict[str, float] = {}
        for key, own in (("start_time", found.start_time or 0.0), ("stop_time", found.stop_time)):
            value = getattr(self, key)
            value = own if value is None else value
            if value is None:
                raise InputError(f"stop_time: is missing, and {self.short} has none of its own")
            given[key] = _finite(key, value)
        span = given["stop_time"] - given["start_time"]
        if span <= 0:
            raise InputError(f"stop_time: {given['stop_time']:g} must be after start_time, {given['start_time']:g}")
        own = found.interface.fixed_step or found.step or span / _POINTS
        step = min(own, span) if self.step is None else _finite("step", self.step)
        if not 0 < step <= span:
            raise InputError(f"step: must be > 0 and at most {span:g}, the time that is simulated (given {step:g})")
        if span / step > _MOST_POINTS:
            raise InputError(
                f"step: {step:g} makes {span / step:.3g} steps of {span:g}; at most {_MOST_POINTS:g} are allowed"
            )
        n = round(span / step)
        if abs(n * step - span) > _NEAR * step:
            if self.fixed:
                raise InputError(
                    f"step: {span:g} is no whole number of steps of {step:g}, and {self.short} cannot change its "
                    f"communication step; step: {span / max(1, n):.9g} would fit"
                )
            n = math.floor(span / step)
        self._set(**given, step=step, tolerance=self._solver_tolerance())

    def _solver_tolerance(self) -> float | None:
        found = self.description
        tolerance = found.tolerance if self.tolerance is None else _finite("tolerance", self.tolerance)
        if tolerance is not None and tolerance <= 0:
            raise InputError(f"tolerance: must be > 0 (given {tolerance:g})")
        if found.interface.is_exchange:
            tolerance = _TOLERANCE if tolerance is None else tolerance
            if not _SMALLEST_TOLERANCE <= tolerance < 1:
                raise InputError(
                    f"tolerance: must be at least {_SMALLEST_TOLERANCE:g} and below 1 for CVode (given {tolerance:g})"
                )
        return tolerance

    @property
    def fixed(self) -> bool:
        """Whether all times have to be multiples of the step."""
        return not self.description.interface.variable_step

    def grid(self) -> NDArray[np.float64]:
        """The communication points, (n,), from the start to the end."""
        begin, end, step = float(self.start_time or 0), float(self.stop_time or 0), float(self.step or 1)
        regular = begin + step * np.arange(math.floor((end - begin) / step + _NEAR) + 1)
        regular = regular[regular < end - _NEAR * step]
        wanted = [output.times for output in self.taken if output.times is not None]
        jumps = [] if self.fixed else [t for s in self.signals.values() for t in s.jumps if begin < t < end]
        points = regular.tolist()
        for time in np.unique(np.concatenate([[end], *wanted, jumps])).tolist():
            k = int(np.argmin(np.abs(np.array(points) - time)))
            if abs(points[k] - time) > _NEAR * step:
                points.append(time)
            elif time in jumps:
                points[k] = time  # set the exact time: rounded, inputs could have their values before a jump
        return np.array(sorted(points))

    def _output(self, name: str, given: Any, base: Path) -> FMUOutput:  # noqa: C901  # one mistake a branch
        what = f"outputs: {name}"
        if isinstance(given, str):
            given = {"variable": given}
        if not isinstance(given, Mapping):
            raise InputError(f"{what}: is a variable's name, or a mapping with variable and at, times or data")
        given = {key: value for key, value in given.items() if value is not None}
        for key in given:
            if key not in ("variable", "at", "times", "data"):
                near = did_you_mean(str(key), ("variable", "at", "times", "data"))
                raise InputError(f"{what}: has no key {key!r}{near}")
        ways = [key for key in ("at", "times", "data") if key in given]
        if len(ways) > 1:
            raise InputError(f"{what}: only one of at, times and data (given {' and '.join(ways)})")
        variable = self.description.variable(str(given.get("variable", name)), what)
        if not variable.is_number or variable.size:
            kind = "an array" if variable.size else f"of type {variable.type}"
            raise InputError(f"{what}: {variable.name} is {kind}, and an output is one number")
        if "at" in given and given["at"] not in AT:
            raise InputError(f"{what}: at is {', '.join(AT)} (given {given['at']!r}); times: [...] are times")
        if not set(ways) & {"times", "data"}:
            return FMUOutput(name, variable, given.get("at", "last"))
        measured = None
        if "data" in given:
            data = given["data"] if isinstance(given["data"], Mapping) else {"file": given["data"]}
            times, measured = read_series(f"{what}: data", data, base, column=name)
        else:
            try:
                times = np.array(given["times"], dtype=np.float64).reshape(-1)
            except (TypeError, ValueError) as error:
                raise InputError(f"{what}: times is a list of numbers (given {given['times']!r})") from error
        self._check_times(what, times)
        return FMUOutput(name, variable, "times", times, measured)

    def _check_times(self, what: str, times: NDArray[np.float64]) -> None:
        begin, end, step = float(self.start_time or 0), float(self.stop_time or 0), float(self.step or 1)
        outside = ~((times >= begin - _NEAR * step) & (times <= end + _NEAR * step))
        if outside.any() or not times.size:
            which = f"{times[outside][0]:g} is" if times.size else "there are none"
            raise InputError(f"{what}: {which} outside the time that is simulated, {begin:g} to {end:g}")
        off = np.abs(np.round((times - begin) / step) * step + begin - times) > _NEAR * step
        if self.fixed and off.any():
            raise InputError(
                f"{what}: {times[off][0]:g} is no multiple of the step, {step:g}, behind the start, and the "
                "communication step cannot change; choose a step that fits all times"
            )

    def _signal(self, name: str, given: Any, base: Path) -> Signal:
        what = f"inputs: {name}"
        variable = self.description.variable(name, what)
        if variable.causality != "input" or not variable.is_number or variable.size:
            raise InputError(
                f"{what}: is no input of {self.short} (causality {variable.causality}); "
                "start: sets parameters and start values"
            )
        continuous = variable.is_real and variable.variability == "continuous"
        return make_signal(what, given, base, column=name, continuous=continuous)

    def _settable(self, name: str, what: str) -> Variable:
        variable = self.description.variable(name, what)
        if why := variable.why_not_set():
            raise InputError(f"{what}: {name} {why}")
        if variable.size:
            raise InputError(f"{what}: {name} is an array of {variable.size}, and single numbers can be set")
        return variable

    def _check_names(self, names: Sequence[str]) -> None:
        for name in names:
            variable = self._settable(name, f"parameters: {name}")
            if not variable.is_real and not variable.is_integer:
                raise InputError(f"parameters: {name} is of type {variable.type}, and has no derivative")
            for key in ("inputs", "start"):
                if name in getattr(self, key):
                    raise InputError(f"parameters: {name} is given in {key} too")

    def parameters(self, x: ArrayLike) -> dict[str, float]:
        """x, (d,), by the names of variables.

        Raises
        ------
        InputError
            If it has another length than there are names, or a value is outside its variable's min and max.
        """
        if np.iscomplexobj(x):
            raise InputError("an FMU reads real numbers, and x is complex; use another scheme")
        values = np.asarray(x, dtype=np.float64).ravel().tolist()
        if self.names is None:
            names = ", ".join(v.name for v in self.description.parameters)[:200]
            raise InputError(f"names: say which variables of {self.short} x holds; its parameters are {names}")
        if len(values) != len(self.names):
            raise InputError(f"x has {len(values)} values, and there are {len(self.names)} names")
        for name, value in zip(self.names, values, strict=True):
            known = self.description.variables[name]
            if not known.lower <= value <= known.upper:
                raise InputError(
                    f"{name} = {value!r} is outside what {self.short} allows, {known.lower:g} to {known.upper:g}; "
                    "lower and upper of the parameter keep evaluations inside"
                )
            if known.is_integer and not value.is_integer():
                raise InputError(f"{name} is of type {known.type}, and {value!r} is no whole number: its step is one")
        return dict(zip(self.names, values, strict=True))

    def check(self, x0: ArrayLike) -> None:
        """See, without running any of its code, that the FMU can run here, and x0 is inside of what it allows.

        Raises
        ------
        InputError
            If it cannot.
        """
        self.parameters(x0)
        if why := self.description.why_not_here():
            raise InputError(f"file: {why}")

    @property
    def doubts(self) -> tuple[str, ...]:
        """A word on an FMU that needs the tool from which it comes."""
        if not self.description.interface.needs_tool:
            return ()
        return (f"{self.short} says that it needs its tool, {self.description.tool}, on each node that runs it",)

    @property
    def solver_tolerance(self) -> float | None:
        """CVode's, for model exchange: its steps are other ones at another x."""
        return self.tolerance if self.description.interface.is_exchange else None

    def check_warm(self, mode: str | None) -> None:
        """Refuse a warm start.

        Raises
        ------
        InputError
            If one is asked for.
        """
        if mode is not None:
            raise InputError(f"warm: {mode} is not for an FMU: each simulation begins at its start time")

    def output_names(self, m: int) -> tuple[str, ...] | None:
        """What J's m outputs are called, by the expressions of ``value``; a value at a time is ``level(t=2.5)``."""
        if callable(self.value):
            return None
        of = {output.name: output.element_names for output in self.taken}
        texts = [" ".join(expression.text.split()) for expression in self.formula] or list(of)
        known = [name for text in texts for name in of.get(text, (text,))]
        told = len(known) == m and len(set(known)) == m and max(map(len, known), default=0) <= LONGEST_NAME
        if told and any(text in of and of[text] != (text,) for text in texts):
            return tuple(known)
        return derived_names(self.formula, tuple(self.outputs), m)

    @property
    def output_parts(self) -> tuple[OutputPart, ...] | None:
        """Each expression of ``value``, with the outputs in it; None where it is a function."""
        if callable(self.value):
            return None
        lengths = {output.name: len(output.element_names) for output in self.taken}
        data = {output.name: output.measured for output in self.taken}
        if not self.formula:
            return tuple(OutputPart(name, (name,), length, data[name]) for name, length in lengths.items())
        parts = parts_of(self.formula, lengths)
        return tuple(replace(part, measured=data.get(part.text)) for part in parts)

    @property
    def parameter_names(self) -> tuple[str, ...] | None:
        """The variables that x holds, where they were given."""
        return None if self.names is None else tuple(self.names)

    def named(self, names: Sequence[str]) -> FMUObjective:
        """The same with names for its parameters, unless it has names of its own."""
        if self.names is not None or all(name == f"x{k}" for k, name in enumerate(names)):
            return self
        self._check_names(names)
        there = copy(self)
        object.__setattr__(there, "names", tuple(names))
        return there

    def shipped_files(self) -> tuple[str, ...]:
        """The FMU."""
        return (str(self.file),)

    def with_files_at(self, places: Mapping[str, str]) -> Self:
        """The same, with the FMU where it is on a node."""
        there = copy(self)
        object.__setattr__(there, "file", places.get(str(self.file), str(self.file)))
        return there

    def fingerprint(self) -> str | None:
        """SHA-256 of the FMU's bytes and all options; None if ``value`` is a function and there is no ``version``."""
        if callable(self.value) and self.version is None:
            return None
        told = {
            "fmu": self.digest,
            "times": [self.start_time, self.stop_time, self.step, self.tolerance],
            "inputs": {n: [s.times.tolist(), s.values.tolist()] for n, s in sorted(self.signals.items())},
            "start": {name: self.start[name] for name in sorted(self.start)},
            "outputs": [
                [o.name, o.variable.name, o.at] + [None if a is None else a.tolist() for a in (o.times, o.measured)]
                for o in self.taken
            ],
            "value": getattr(self.value, "__qualname__", "") if callable(self.value) else self.value,
            "names": self.names,
            "version": self.version,
        }
        if self.description.interface.is_exchange:  # unchanged for co-simulation, so that stored values stay valid
            told["kind"] = self.description.interface.kind
        if any(output.peaks_between for output in self.taken):  # unchanged without peaks, as stored values have it
            told["peaks"] = "parabola"
        return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()

    def make(self) -> FMUModel:
        """The live J; call it once in each worker process."""
        return FMUModel(
            Simulation(
                file=Path(self.file),
                digest=self.digest,
                description=self.description,
                start_time=float(self.start_time or 0),
                stop_time=float(self.stop_time or 0),
                tolerance=self.tolerance,
                grid=self.grid(),
                signals=self.signals,
                start=self.start,
                parameters=self.parameters,
                taken=self.taken,
                value=self.value,
                formula=self.formula,
                reset=self.reset,
                logging=self.logging,
            ),
            self.output_names,
        )


def _finite(key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise InputError(f"{key}: is a finite number (given {value!r})")
    return float(value)
