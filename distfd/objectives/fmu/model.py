"""An FMU inside a worker: one instance, reset between points where that is clean."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core.errors import InputError
from distfd.core.failures import EvaluationFailure
from distfd.objectives.command.values import as_value
from distfd.objectives.fmu.description import CO_SIMULATION, content_hash, library
from distfd.workers.model import Model

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from distfd.objectives.fmu.objective import FMUObjective, FMUOutput

_LINES = 30
"""Of the FMU's log, kept for a failure."""
_ERRORS = ("logStatusWarning", "logStatusDiscard", "logStatusError", "logStatusFatal", "logStatusPending")
"""The log's categories that FMI names for what goes wrong."""
_TOLERANCE = 1e-6
"""Of CVode, where neither the user nor the FMU names one."""


class FMUModel(Model):
    """An FMU, unpacked; instantiated at the first evaluation."""

    def __init__(self, objective: FMUObjective) -> None:
        self._objective = objective
        self._folder = unpacked(Path(objective.file), objective.digest)
        library_ = library("fmpy.model_description")
        self._description = library_.read_model_description(str(self._folder), validate=False)
        self._log: deque[str] = deque(maxlen=_LINES)
        self._fmu: Any = None
        self._used = 0
        self._resets = objective.reset
        self._grid = objective.grid()

    def evaluate(self, x: NDArray[np.float64], *, timeout: float | None) -> Any:  # noqa: ARG002  # ended from outside
        """Simulate it at x."""
        try:
            parameters = self._objective.parameters(x)
        except InputError as error:
            raise EvaluationFailure(str(error)) from error
        once = self._objective.description.interfaces[str(self._objective.kind)].once
        if self._resets is False and not once:
            self._drop()
        if self._resets is None and self._used == 1:
            return self._compared(parameters, once=once)
        self._used += 1
        return self._simulated(parameters)

    def _compared(self, parameters: dict[str, float], *, once: bool) -> Any:
        """The second point: after a reset and in a new instance, which have to agree for resets to be clean."""
        self._used += 1
        kept = self._simulated(parameters)
        if not once:
            self._drop()
        fresh = self._simulated(parameters)
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
        """Free the instance."""
        self._drop()

    def _drop(self) -> None:
        fmu, self._fmu = self._fmu, None
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
            course = self._co_simulate(parameters) if self._slave else self._exchange(parameters)
            self._fmu.terminate() if self._slave else None
            return self._value({o.name: self._taken(o, course) for o in self._objective.taken})
        except Exception as error:
            self._fmu_failed(error)
            if isinstance(error, EvaluationFailure):
                error.detail = error.detail or "\n".join(self._log)
                raise
            text = f"{self._objective.short}: {' '.join(str(error).split()) or type(error).__name__}"
            last = f"; its log ends: {self._log[-1]}" if self._log else ""
            raise EvaluationFailure(text + last, "\n".join(self._log)) from error

    def _fmu_failed(self, error: Exception) -> None:
        """Leave an instance that has failed: after a fatal error nothing more may be called of it."""
        if getattr(error, "status", None) == 4:
            self._fmu = None
        self._drop()

    @property
    def _slave(self) -> bool:
        return self._objective.kind == CO_SIMULATION

    def _logged(self, *message: Any) -> None:
        """A line of the FMU's log; the text is the last argument in FMI 2 and 3."""
        with contextlib.suppress(Exception):
            self._log.append(bytes(message[-1] or b"").decode("utf-8", "replace").rstrip())

    def _instance(self) -> Any:
        fmu = library("fmpy.simulation").instantiate_fmu(
            str(self._folder),
            self._description,
            "CoSimulation" if self._slave else "ModelExchange",
            debug_logging=self._objective.logging,
            logger=self._logged,
            require_functions=False,
        )
        known = [name for name in self._objective.description.categories if name in _ERRORS]
        if known and not self._objective.logging:
            with contextlib.suppress(Exception):
                fmu.setDebugLogging(True, known)
        return fmu

    def _co_simulate(self, parameters: dict[str, float]) -> dict[str, NDArray[np.float64]]:
        """Initialise, and go from communication point to communication point; the outputs, (n,), at each of them."""
        objective, fmu = self._objective, self._fmu
        settings = {
            "tolerance": objective.tolerance,
            "startTime": objective.start_time,
            "stopTime": objective.stop_time,
        }
        second = objective.description.major == 2
        if second:
            fmu.setupExperiment(**settings)
        self._set({**objective.start, **parameters})
        fmu.enterInitializationMode(**({} if second else settings))
        self._drive(float(self._grid[0]))
        fmu.exitInitializationMode()
        course = [self._read()]
        for begin, end in zip(self._grid[:-1].tolist(), self._grid[1:].tolist(), strict=True):
            self._drive(begin)
            done = fmu.doStep(currentCommunicationPoint=begin, communicationStepSize=end - begin)
            if not second and (done[1] or (done[2] and done[3] < end)):
                raise EvaluationFailure(f"{objective.short} ended its simulation at {done[3]:g}, before {end:g}")
            course.append(self._read())
        names = [output.name for output in objective.taken]
        return dict(zip(names, np.array(course).T, strict=True))

    def _exchange(self, parameters: dict[str, float]) -> dict[str, NDArray[np.float64]]:
        """Have FMPy integrate the model by CVode."""
        objective = self._objective
        caught: list[Exception] = []
        self._guard(caught)
        constant = {name: signal.at(0.0) for name, signal in objective.signals.items()}
        found = library("fmpy.simulation").simulate_fmu(
            str(self._folder),
            validate=False,
            start_time=objective.start_time,
            stop_time=objective.stop_time,
            relative_tolerance=objective.tolerance or _TOLERANCE,
            output_interval=objective.step,
            record_events=False,
            start_values={**objective.start, **constant, **parameters},
            output=[output.variable.name for output in objective.taken],
            model_description=self._description,
            fmu_instance=self._fmu,
        )
        if caught:
            raise caught[0]
        if abs(found["time"][-1] - self._grid[-1]) > float(objective.step or 1) / 2:
            raise EvaluationFailure(f"{objective.short} ended its simulation at {found['time'][-1]:g}")
        if len(found["time"]) != len(self._grid):
            raise EvaluationFailure(f"{len(found['time'])} values came for {len(self._grid)} communication points")
        return {o.name: np.asarray(found[o.variable.name], dtype=np.float64) for o in objective.taken}

    def _guard(self, caught: list[Exception]) -> None:
        """Remember what fails inside CVode, which calls back through C and would lose it."""
        second = self._objective.description.major == 2
        for name in ("getDerivatives" if second else "getContinuousStateDerivatives", "setContinuousStates", "setTime"):
            method = getattr(type(self._fmu), name)

            def guarded(*args: Any, method: Any = method) -> Any:
                try:
                    return method(self._fmu, *args)
                except Exception as error:
                    caught.append(error)
                    raise

            setattr(self._fmu, name, guarded)

    def _set(self, values: dict[str, Any]) -> None:
        for name, value in values.items():
            variable = self._objective.description.variables[name]
            kind = variable.type
            if kind == "Enumeration":
                kind = "Integer" if self._objective.description.major == 2 else "Int64"
            made = float(value) if variable.is_real else str(value) if kind == "String" else bool(value)
            if kind not in ("Boolean", "String") and not variable.is_real:
                made = int(value)
            getattr(self._fmu, f"set{kind}")([variable.reference], [made])

    def _drive(self, time: float) -> None:
        self._set({name: signal.at(time) for name, signal in self._objective.signals.items()})

    def _read(self) -> list[float]:
        found = []
        for output in self._objective.taken:
            kind = output.variable.type
            if kind == "Enumeration":
                kind = "Integer" if self._objective.description.major == 2 else "Int64"
            found.append(float(getattr(self._fmu, f"get{kind}")([output.variable.reference])[0]))
        return found

    def _taken(self, output: FMUOutput, course: dict[str, NDArray[np.float64]]) -> Any:
        values = course[output.name]
        if output.times is not None:
            at = [int(np.argmin(np.abs(self._grid - time))) for time in output.times.tolist()]
            return values[at] if output.measured is None else values[at] - output.measured
        if output.at == "mean":
            return float(np.trapezoid(values, self._grid) / (self._grid[-1] - self._grid[0]))
        return float({"last": values[-1], "max": values.max(), "min": values.min()}[output.at])

    def _value(self, outputs: dict[str, Any]) -> Any:
        objective = self._objective
        if callable(objective.value):
            return objective.value(**outputs)
        if not objective.formula:
            return next(iter(outputs.values()))
        values = [as_value(expression(outputs)) for expression in objective.formula]
        return values[0] if isinstance(objective.value, str) else np.concatenate([np.ravel(v) for v in values])


def unpacked(file: Path, digest: str) -> Path:
    """The folder on this node into which an FMU is unpacked, once for all workers.

    Raises
    ------
    EvaluationFailure
        If the file is not the one that the driver has read.
    """
    place = Path(tempfile.gettempdir()) / f"distfd-fmu-{os.getuid()}"
    with contextlib.suppress(FileExistsError):
        place.mkdir(mode=0o700)
    found = place.lstat()
    if place.is_symlink() or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise EvaluationFailure(f"{place} on this node is not a folder that you alone can write to; remove it")
    target = place / digest[:32]
    with _alone(place / f"{target.name}.lock"):
        if not target.is_dir():
            if content_hash(file) != digest:
                raise EvaluationFailure(f"{file} has changed since the job began")
            made = Path(tempfile.mkdtemp(prefix=f"{target.name}.", dir=place))
            try:
                library().extract(str(file), str(made))
                (made / "resources").mkdir(exist_ok=True)
                made.rename(target)
            finally:
                shutil.rmtree(made, ignore_errors=True)
    return target


@contextlib.contextmanager
def _alone(lock: Path) -> Iterator[None]:
    handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
