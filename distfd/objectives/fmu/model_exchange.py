"""Simulates an FMU for model exchange: the FMU has the equations, and CVode, which comes with FMPy, solves them.

The order of calls follows FMI 2.0.4, section 3.2.3, and FMI 3.0, section 3.2: continuous time with events in between.
"""

from __future__ import annotations

import ctypes
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core.failures import EvaluationFailure
from distfd.objectives.fmu.description import library

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from distfd.objectives.fmu.signals import Signal

_MOST_STEPS = 100_000
"""Largest number of solver steps between two communication points: more indicate that the model fails."""
_MOST_EVENTS = 10_000
"""Largest number of events between two communication points, and of rounds in one event: more indicate chattering."""
_PARTS = 50
"""The solver's steps are at most the simulated time divided by this, as in FMPy, so that no event is stepped over."""
_DISCARD = 2
"""The FMU's status that asks the solver for a smaller step."""


class Integrator:
    """Simulates one instance of an FMU; its solver is reused for all simulations.

    Parameters
    ----------
    fmu : fmpy.fmi2.FMU2Model or fmpy.fmi3.FMU3Model
    description : fmpy.model_description.ModelDescription
    grid : (n,) ndarray
        The communication points.
    tolerance : float
        Relative tolerance; the absolute one of a state is its nominal value times this.
    signals : mapping of str to Signal
        Input signals. Continuous inputs follow them at all times; the others change in events.
    apply : callable
        Sets variables, given their values by name.
    read : callable
        Returns the current outputs.
    """

    def __init__(
        self,
        fmu: Any,
        description: Any,
        *,
        grid: NDArray[np.float64],
        tolerance: float,
        signals: Mapping[str, Signal],
        apply: Callable[[dict[str, Any]], None],
        read: Callable[[], list[float]],
    ) -> None:
        self._fmu, self._description = fmu, description
        self._second = str(description.fmiVersion).startswith("2.")
        self._grid, self._tolerance = grid.tolist(), tolerance
        self._signals, self._apply, self._read = signals, apply, read
        self._continuous = {name: signal for name, signal in signals.items() if signal.continuous}
        stop = self._grid[-1]
        self._jumps = sorted({t for s in signals.values() for t in s.jumps if self._grid[0] < t < stop})
        self._segment_end = stop
        self._next_event: float | None = None
        self._solver: Any = None

    def course(self) -> list[list[float]]:
        """Simulates an FMU that has left its initialization mode; returns the outputs at each communication point.

        If there is an event at a communication point, the outputs are those before it.

        Raises
        ------
        EvaluationFailure
            If the solver gives up, or the FMU ends the simulation.
        """
        time = self._grid[0]
        self._discrete(time)
        self._fmu.enterContinuousTimeMode()
        found = [self._read()]
        if self._solver is None:
            self._solver = self._made(time)
        else:
            self._solver.reset(time)
        self._begin_segment(time)
        for end in self._grid[1:]:
            time = self._advance(time, end, found)
        return found

    def _advance(self, time: float, end: float, found: list[list[float]]) -> float:
        """Runs to the next communication point and appends the outputs there."""
        for _ in range(_MOST_EVENTS):
            target = min(end, self._segment_end)
            state_event, time = self._step(time, target)
            self._at(time)
            step_event = self._completed(time)
            there = time >= end
            if there:
                found.append(self._read())
            if (time >= self._segment_end or state_event or step_event) and time < self._grid[-1]:
                self._event(time)
            if there:
                return time
        raise EvaluationFailure(f"the FMU has {_MOST_EVENTS} events and more until {time:g}, before {end:g}")

    def _step(self, time: float, target: float) -> tuple[bool, float]:
        """Integrates to a time, or to an earlier state event; returns whether there was an event, and the time."""
        if target - time <= 16 * math.ulp(max(abs(time), abs(target))):  # CVode refuses such a short interval
            return False, target
        solver = self._solver
        try:
            _, roots, reached = solver.step(time, target)
        except Exception as error:
            if solver.failure is not None:
                raise solver.failure from error
            text = solver.error_info[3] if solver.error_info else str(error)
            raise EvaluationFailure(f"the solver CVode gave up: {' '.join(str(text).split())}") from error
        solver.failure = None  # CVode recovered from this failure with a smaller step
        event = bool(np.any(roots))
        return event, float(reached) if event else target

    def _completed(self, time: float) -> bool:
        if not self._description.modelExchange.needsCompletedIntegratorStep:
            return False
        event, over = self._fmu.completedIntegratorStep()
        self._go_on(over, time)
        return bool(event)

    def _event(self, time: float) -> None:
        self._fmu.enterEventMode()
        self._apply({name: signal.at(time) for name, signal in self._signals.items()})
        self._discrete(time)
        self._fmu.enterContinuousTimeMode()
        self._solver.reset(time)
        self._begin_segment(time)

    def _discrete(self, time: float) -> None:
        """Lets the FMU update its discrete states until they no longer change."""
        for _ in range(_MOST_EVENTS):
            more, over, _, _, defined, when = (
                self._fmu.newDiscreteStates() if self._second else self._fmu.updateDiscreteStates()
            )
            self._go_on(over, time)
            if not more:
                self._next_event = float(when) if defined else None
                return
        raise EvaluationFailure(f"the FMU's discrete states go on changing at {time:g}")

    def _go_on(self, over: Any, time: float) -> None:
        if over and time < self._grid[-1]:
            raise EvaluationFailure(f"the FMU ended its simulation at {time:g}, before {self._grid[-1]:g}")

    def _begin_segment(self, time: float) -> None:
        """Starts a segment that ends at the next jump of an input; no solver step goes beyond it."""
        later = [jump for jump in self._jumps if jump > time]
        self._segment_end = min([*later[:1], self._grid[-1]])
        if self._next_event is not None:
            self._segment_end = min(self._segment_end, max(time, self._next_event))
        if self._segment_end > time:
            self._solver.stop_at(self._segment_end)

    def _at(self, time: float) -> None:
        """Sets the time and the inputs; at the end of a segment, the inputs have their values before the jump."""
        self._fmu.setTime(time)
        end = self._segment_end
        driven = {n: s.at(time) if time < end else s.before(end) for n, s in self._continuous.items()}
        if driven:
            self._apply(driven)

    def _made(self, time: float) -> Any:
        fmu = self._fmu
        return _solver_class()(
            nx=self._description.numberOfContinuousStates,
            nz=self._description.numberOfEventIndicators,
            get_x=fmu.getContinuousStates,
            set_x=fmu.setContinuousStates,
            get_dx=fmu.getDerivatives if self._second else fmu.getContinuousStateDerivatives,
            get_z=fmu.getEventIndicators,
            get_nominals=fmu.getNominalsOfContinuousStates,
            set_time=self._at,
            input=_Nothing(),
            startTime=time,
            maxStep=(self._grid[-1] - self._grid[0]) / _PARTS,
            relativeTolerance=self._tolerance,
            maxNumSteps=_MOST_STEPS,
        )


class _Nothing:
    """Replaces FMPy's inputs, which stay constant between roots: here, inputs are set together with the time."""

    def apply(self, time: float) -> None:
        """Do nothing."""


def _solver_class() -> Any:
    """FMPy's CVode solver, extended to record failures: exceptions in a C callback would only be printed."""
    sundials, libraries = library("fmpy.sundials"), library("fmpy.sundials.libraries")
    set_stop_time = libraries.sundials_cvode.CVodeSetStopTime
    set_stop_time.argtypes, set_stop_time.restype = [ctypes.c_void_p, ctypes.c_double], ctypes.c_int

    base: Any = sundials.CVodeSolver

    class Solver(base):  # type: ignore[misc]  # FMPy has no types
        failure: Exception | None = None

        def stop_at(self, time: float) -> None:
            """Makes no step go beyond this time."""
            set_stop_time(self.cvode_mem, time)

        def f(self, t: float, y: Any, ydot: Any, user_data: Any) -> int:
            """Computes the states' derivatives; returns 0, or > 0 where a smaller step may help, or < 0 for failure."""

            def call() -> None:
                super(Solver, self).f(t, y, ydot, user_data)
                found = np.ctypeslib.as_array(sundials.NV_DATA_S(ydot), (self.nx,))
                if not np.isfinite(found).all():
                    k = int(np.flatnonzero(~np.isfinite(found))[0])
                    raise EvaluationFailure(f"the derivative of the FMU's state {k} is {found[k]} at {t:g}")

            return self._guarded(call)

        def g(self, t: float, y: Any, gout: Any, user_data: Any) -> int:
            """Computes the event indicators."""
            return self._guarded(lambda: super(Solver, self).g(t, y, gout, user_data))

        def _guarded(self, call: Callable[[], object]) -> int:
            try:
                call()
            except EvaluationFailure as failure:
                self.failure = failure
                return 1
            except Exception as failure:  # raised again when CVode has returned
                self.failure = failure
                return 1 if getattr(failure, "status", None) == _DISCARD else -1
            return 0

    return Solver
