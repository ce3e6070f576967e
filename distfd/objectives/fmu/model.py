"""An FMU in a worker: one instance, reset between points where a reset restores the initial state."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core.errors import InputError
from distfd.core.failures import EvaluationFailure
from distfd.objectives.command.values import as_value
from distfd.objectives.fmu.archive import DESCRIPTION, unpacked
from distfd.objectives.fmu.description import library, parsed
from distfd.objectives.fmu.extrema import largest
from distfd.objectives.fmu.model_exchange import Integrator
from distfd.workers.model import Model

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from distfd.objectives.command.expression import Expression
    from distfd.objectives.fmu.description import Description, Variable
    from distfd.objectives.fmu.signals import Signal

_LINES = 30
"""Number of lines of the FMU's log that are kept for an error message."""
_ERRORS = ("logStatusWarning", "logStatusDiscard", "logStatusError", "logStatusFatal", "logStatusPending")
"""FMI's names of log categories for problems."""


@dataclass(frozen=True, eq=False)
class FMUOutput:
    """One output: a variable, and which value of its course is taken."""

    name: str
    variable: Variable
    at: str
    times: NDArray[np.float64] | None = None
    measured: NDArray[np.float64] | None = None

    @property
    def element_names(self) -> tuple[str, ...]:
        """The names of its elements: ``level``, or ``level(t=2.5)`` for each of its times."""
        return (self.name,) if self.times is None else tuple(f"{self.name}(t={t!r})" for t in self.times.tolist())

    @property
    def peaks_between(self) -> bool:
        """Whether its maximum or minimum is also looked for between the communication points."""
        smooth = self.variable.is_real and self.variable.variability == "continuous"
        return smooth and self.times is None and self.at in ("max", "min")


@dataclass(frozen=True, eq=False)
class Simulation:
    """What an FMU simulates, and its outputs; the fields are those of `distfd.FMUObjective`."""

    file: Path
    digest: str
    """The SHA-256 of the FMU's file."""
    description: Description
    start_time: float
    stop_time: float
    tolerance: float | None
    grid: NDArray[np.float64]
    """The communication points, (n,)."""
    signals: Mapping[str, Signal]
    """Input signals, by the inputs' names."""
    start: Mapping[str, Any]
    """Start values of variables that stay constant in all evaluations."""
    parameters: Callable[[NDArray[np.float64]], dict[str, float]]
    """Converts x to values by variable names; raises InputError."""
    taken: tuple[FMUOutput, ...]
    value: Any
    formula: tuple[Expression, ...]
    reset: bool | None
    logging: bool

    @property
    def short(self) -> str:
        """The file's name."""
        return self.file.name


class FMUModel(Model):
    """A running FMU: unpacked at once, instantiated at the first evaluation.

    Parameters
    ----------
    simulation : Simulation
    output_names : callable
        As `distfd.workers.model.Model.output_names`.
    """

    def __init__(self, simulation: Simulation, output_names: Callable[[int], tuple[str, ...] | None]) -> None:
        self._simulation = simulation
        self._output_names = output_names
        self._folder = unpacked(simulation.file, simulation.digest)
        self._description = parsed((self._folder / DESCRIPTION).read_bytes())
        self._log: deque[str] = deque(maxlen=_LINES)
        self._fmu: Any = None
        self._integrator: Integrator | None = None
        self._resets = simulation.reset
        self._grid = simulation.grid

    def evaluate(self, x: NDArray[np.float64], *, timeout: float | None) -> Any:  # noqa: ARG002  # ended from outside
        """Simulates the FMU at x and returns its outputs."""
        try:
            parameters = self._simulation.parameters(x)
        except InputError as error:
            raise EvaluationFailure(str(error)) from error
        once = self._simulation.description.interface.once
        if self._resets is False and not once:
            self._drop()
        # An instance that has failed is gone, so that the next point starts a new one, which has nothing to compare.
        if self._resets is None and self._fmu is not None:
            return self._compared(parameters, once=once)
        return self._simulated(parameters)

    def output_names(self, m: int) -> tuple[str, ...] | None:
        """The names of the m outputs in messages."""
        return self._output_names(m)

    def _compared(self, parameters: dict[str, float], *, once: bool) -> Any:
        """Computes an instance's second point after a reset and in a new instance: resets are used if both agree."""
        try:
            kept = self._simulated(parameters)
        except EvaluationFailure:
            if once:
                raise
            kept = None  # the point may fail, or only the reset
        if not once:
            self._drop()
        fresh = self._simulated(parameters)
        if kept is None:
            self._resets = False
            return fresh
        if np.asarray(fresh).dtype.kind == "f" and np.isnan(fresh).any():
            return fresh  # it fails as it is, and NaN equals nothing
        if np.array_equal(kept, fresh):
            self._resets = True
            return fresh
        if once:
            raise EvaluationFailure(
                "two evaluations of the same x differ: a reset does not bring this FMU back to its start, and a "
                "process can instantiate it only once: say evaluation.recycle: {evaluations: 1} and "
                "objective.fmu.reset: true"
            )
        self._drop()
        if not np.array_equal(fresh, self._simulated(parameters)):
            raise EvaluationFailure(
                "two evaluations of the same x differ, each in a new instance: the FMU is noisy, or keeps what it "
                "should not; say objective.fmu.reset: false (or true) to take it as it is, and derivative.step: auto"
            )
        self._resets = False
        return fresh

    def close(self) -> None:
        """Frees the instance."""
        self._drop()

    def _drop(self) -> None:
        fmu, self._fmu, self._integrator = self._fmu, None, None
        if fmu is not None:
            with contextlib.suppress(Exception):
                fmu.freeInstance()

    def _simulated(self, parameters: dict[str, float]) -> Any:
        self._log.clear()
        try:
            if self._fmu is None:
                self._fmu = self._instance()
            else:
                self._fmu.reset()
            course = self._course(parameters)
            self._fmu.terminate()
            return self._value({o.name: self._taken(o, course) for o in self._simulation.taken})
        except Exception as error:
            self._fmu_failed(error)
            if isinstance(error, EvaluationFailure):
                error.detail = error.detail or "\n".join(self._log)
                raise
            text = f"{self._simulation.short}: {' '.join(str(error).split()) or type(error).__name__}"
            last = f"; its log ends: {self._log[-1]}" if self._log else ""
            raise EvaluationFailure(text + last, "\n".join(self._log)) from error

    def _fmu_failed(self, error: Exception) -> None:
        """Drops an instance that has failed: after a fatal error, FMI allows no further calls on it."""
        if getattr(error, "status", None) == 4:
            self._fmu = None
        self._drop()

    def _logged(self, *message: Any) -> None:
        """Keeps a line of the FMU's log; the text is the last argument in FMI 2 and 3."""
        with contextlib.suppress(Exception):
            self._log.append(bytes(message[-1] or b"").decode("utf-8", "replace").rstrip())

    def _instance(self) -> Any:
        if why := self._simulation.description.why_not_here():
            raise EvaluationFailure(why)
        here = Path.cwd()
        try:
            fmu = library("fmpy.simulation").instantiate_fmu(
                str(self._folder),
                self._description,
                "ModelExchange" if self._simulation.description.interface.is_exchange else "CoSimulation",
                debug_logging=self._simulation.logging,
                logger=self._logged,
                require_functions=False,
            )
        finally:  # if FMPy cannot load a library, it leaves its folder as current
            os.chdir(here)
        known = [name for name in self._simulation.description.categories if name in _ERRORS]
        if known and not self._simulation.logging:
            with contextlib.suppress(Exception):
                fmu.setDebugLogging(True, known)
        return fmu

    def _course(self, parameters: dict[str, float]) -> dict[str, NDArray[np.float64]]:
        """Initialises the FMU and runs it through the communication points; the outputs, (n,), at each point."""
        simulation, fmu = self._simulation, self._fmu
        settings = {
            "tolerance": simulation.tolerance,
            "startTime": simulation.start_time,
            "stopTime": simulation.stop_time,
        }
        second = simulation.description.major == 2
        if second:
            fmu.setupExperiment(**settings)
        self._set({**simulation.start, **parameters})
        fmu.enterInitializationMode(**({} if second else settings))
        self._drive(float(self._grid[0]))
        fmu.exitInitializationMode()
        course = self._integrated() if simulation.description.interface.is_exchange else self._stepped()
        names = [output.name for output in simulation.taken]
        return dict(zip(names, np.array(course).T, strict=True))

    def _integrated(self) -> list[list[float]]:
        """The outputs at each communication point, by distfd's solver."""
        if self._integrator is None:
            self._integrator = Integrator(
                self._fmu,
                self._description,
                grid=self._grid,
                tolerance=self._simulation.tolerance or 0.0,
                signals=self._simulation.signals,
                apply=self._set,
                read=self._read,
            )
        return self._integrator.course()

    def _stepped(self) -> list[list[float]]:
        """The outputs at each communication point, by the FMU's own solver."""
        simulation, fmu = self._simulation, self._fmu
        course = [self._read()]
        for begin, end in zip(self._grid[:-1].tolist(), self._grid[1:].tolist(), strict=True):
            self._drive(begin)
            done = fmu.doStep(currentCommunicationPoint=begin, communicationStepSize=end - begin)
            if simulation.description.major != 2 and (done[1] or (done[2] and done[3] < end)):
                raise EvaluationFailure(f"{simulation.short} ended its simulation at {done[3]:g}, before {end:g}")
            course.append(self._read())
        return course

    def _set(self, values: dict[str, Any]) -> None:
        for name, value in values.items():
            variable = self._simulation.description.variables[name]
            kind = variable.type
            if kind == "Enumeration":
                kind = "Integer" if self._simulation.description.major == 2 else "Int64"
            made = float(value) if variable.is_real else str(value) if kind == "String" else bool(value)
            if kind not in ("Boolean", "String") and not variable.is_real:
                made = int(value)
            getattr(self._fmu, f"set{kind}")([variable.reference], [made])

    def _drive(self, time: float) -> None:
        self._set({name: signal.at(time) for name, signal in self._simulation.signals.items()})

    def _read(self) -> list[float]:
        found = []
        for output in self._simulation.taken:
            kind = output.variable.type
            if kind == "Enumeration":
                kind = "Integer" if self._simulation.description.major == 2 else "Int64"
            found.append(float(getattr(self._fmu, f"get{kind}")([output.variable.reference])[0]))
        return found

    def _taken(self, output: FMUOutput, course: dict[str, NDArray[np.float64]]) -> Any:
        values = course[output.name]
        if output.times is not None:
            at = [int(np.argmin(np.abs(self._grid - time))) for time in output.times.tolist()]
            return values[at] if output.measured is None else values[at] - output.measured
        if output.at == "mean":
            from scipy.integrate import trapezoid  # NumPy has this name from 2.0 on

            return float(trapezoid(values, self._grid) / (self._grid[-1] - self._grid[0]))
        if output.at == "last":
            return float(values[-1])
        if output.peaks_between:
            return largest(self._grid, values) if output.at == "max" else -largest(self._grid, -values)
        return float(values.max() if output.at == "max" else values.min())

    def _value(self, outputs: dict[str, Any]) -> Any:
        simulation = self._simulation
        if callable(simulation.value):
            return simulation.value(**outputs)
        if not simulation.formula:
            return next(iter(outputs.values()))
        values = [as_value(expression(outputs)) for expression in simulation.formula]
        return values[0] if isinstance(simulation.value, str) else np.concatenate([np.ravel(v) for v in values])
