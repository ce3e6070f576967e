"""The course of an optimisation, from the first point to the result: everything that all methods share."""

from __future__ import annotations

import inspect
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core.errors import InputError, TimeUpError
from distfd.core.files import file_path
from distfd.core.structure_kinds import is_structured
from distfd.evaluation.outcome import give_warnings
from distfd.fingerprint.fingerprint import fingerprint
from distfd.optimization.ending_texts import plain_ending
from distfd.optimization.journal import Diverged, Journal
from distfd.optimization.limits import Stop
from distfd.results.events import Improved, Iterated
from distfd.results.structured_result import structured_result
from distfd.workers.threads import one_blas_thread

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from distfd.evaluation.evaluator import Evaluator
    from distfd.optimization.history import Record
    from distfd.optimization.seen_point import Seen

    Vector = NDArray[np.float64]
    Callback = Callable[..., Any]

STOPPED = 99
"""Status of an optimisation that a limit or the callback ended; SciPy uses it for callbacks."""
INTERRUPTED = 130
"""Status of an optimisation that Ctrl-C ended."""


@dataclass(frozen=True)
class Arrangement:
    """Converts x for the user: into the structure of x0, or unchanged if x0 was an array."""

    session: Evaluator | None = None

    def of(self, x: Vector) -> Any:
        """The user's form of x."""
        return x if self.session is None else self.session.unflatten(x)

    def gradient(self, gradient: Any) -> Any:
        """A gradient beside it."""
        structure = None if self.session is None else self.session.structure
        return gradient if structure is None or gradient is None else structure.arranged(gradient)

    def sizes(self, what: str, given: Any) -> Any:
        """Sizes of the coordinates, (d,), from the same structure as x; other forms are returned unchanged."""
        structure = None if self.session is None else self.session.structure
        return structure.spread(what, given) if structure is not None and is_structured(given) else given

    def arranged(self, result: Any) -> Any:
        """An optimisation's result with x and jac in the structure, and the array as x_flat."""
        if self.session is not None and self.session.structure is not None:
            if result.get("x") is not None:
                result.x_flat, result.x = result.x, self.of(result.x)
            result.jac = self.gradient(result.get("jac"))
            for name in ("derivative", "first"):
                if result.get(name) is not None:
                    result[name] = structured_result(result[name], self.session.structure)
        return result

    def with_params(self, result: Any) -> Any:
        """A fit's result, whose statistics need arrays, with x in the structure as a further entry."""
        if self.session is not None and result.get("x") is not None:
            result.params = self.of(result.x)
        return result


@dataclass(eq=False)
class OptimizationRun:
    """Carries the iterations of a method: record, journal, callback and limits.

    Parameters
    ----------
    evaluator : Evaluator
    record : Record
    journal : Journal
    callback : callable, optional
        Called with the arguments that its parameters ask for; see `distfd.minimize`.
    planned_slots : int, optional
        Number of evaluations in a round; by default the number of slots.
    arrangement : Arrangement
        Converts x for the callback.
    """

    evaluator: Evaluator
    record: Record
    journal: Journal
    callback: Callback | None = None
    planned_slots: int | None = None
    arrangement: Arrangement = Arrangement()

    @property
    def slots(self) -> int:
        """The number of evaluations by which a method plans its rounds."""
        return self.planned_slots or self.evaluator.slots

    def __post_init__(self) -> None:
        self._here = b""
        """The last iterate."""
        self.record.improved = self._tell_of_best

    def _tell_of_best(self, seen: Seen) -> None:
        self.evaluator.emit(Improved(seen.x, seen.summary()))

    def iterated(self, x: Vector, value: float, violation: float = 0.0) -> Any:
        """Records and shows the iterate x, and stops if a limit is reached.

        If x is the same as the last iterate, as SciPy's trust regions report after a refused step, it is not counted.

        Raises
        ------
        Stop
            If a limit is reached, or the callback asks for it by StopIteration or True.
        Diverged
            If the recorded iterate of a replay is another x.
        """
        at = np.array(x, dtype=np.float64)
        if at.tobytes() == self._here:
            return None
        self.journal.iterate(at, value, violation)
        self._here = at.tobytes()
        event = Iterated(self.record.iterations + 1, at, value, self.record.slope(at), self.record.measure)
        self.evaluator.emit(event)
        self.evaluator.accept(at)
        try:
            stop = self._call_back(event)
        except StopIteration:
            stop = True
        self.record.iterated(at, value)
        if isinstance(stop, (bool, np.bool_)) and stop:
            self.record.stop_at_iterate("the callback stopped it")
        return None

    def _call_back(self, event: Iterated) -> Any:
        if self.callback is None:
            return None
        asked = _asked_for(self.callback)
        x = self.arrangement.of(event.x.copy())
        if asked == ["intermediate_result"]:
            return self.callback(intermediate_result=self._so_far(x, event))
        if asked == ["event"]:
            return self.callback(event=event)
        return self.callback(x, self._so_far(x, event)) if len(asked) == _WITH_STATE else self.callback(x)

    def _so_far(self, x: Any, event: Iterated) -> Any:
        """SciPy's intermediate result for callbacks: x, fun, and further facts."""
        from scipy.optimize import OptimizeResult

        gradient = self.record.gradient(event.x)
        return OptimizeResult(
            x=x,
            fun=event.value,
            jac=None if gradient is None else self.arrangement.gradient(gradient.copy()),
            gradient_norm=event.gradient_norm,
            nit=event.iteration,
            n_evaluations=self.record.n_evaluations,
            n_reused=self.record.n_reused,
        )

    def run(self, x0: Vector, method: Callable[[Vector], Any]) -> Any:
        """Runs a method from x0, or from where a replay diverged, until it ends or a limit stops it.

        Parameters
        ----------
        method : callable
            A function of the start that returns SciPy's result.
        """
        from scipy.optimize import OptimizeResult

        start = self.journal.start(x0)
        self.record.value0 = self.journal.value0
        while True:
            self._here = np.array(start, dtype=np.float64).tobytes()
            try:
                with self.evaluator.accepting(), one_blas_thread():
                    return _in_plain_english(method(start))
            except Stop as stop:
                return OptimizeResult(
                    success=stop.reached, status=STOPPED, message=str(stop), nit=self.record.iterations
                )
            except Diverged as error:
                # All recorded points may be worse than the best one of this session, which at least knows x0.
                best, start = self.record.best, error.x
                if best is not None and best.rank < error.rank:
                    start = best.x
                give_warnings([f"{error}; the optimisation goes on from the best that is known, x = {_short(start)}"])
                first = self.record.first
                if self.record.value0 is None and first is not None:
                    self.record.value0 = first.value
                self.journal.restart(start, self.record.value0)
            except (KeyboardInterrupt, TimeUpError) as stop:
                if self.record.best is None:
                    raise
                text = f"{str(stop) or 'interrupted'}; x is the best point so far"
                return OptimizeResult(success=False, status=INTERRUPTED, message=text, nit=self.record.iterations)


def _in_plain_english(result: Any) -> Any:
    """The result with a message that says in plain English why it ended; SciPy's text is kept as ``scipy_message``."""
    own = str(result.message)
    if (plain := plain_ending(own)) != own:
        result.scipy_message, result.message = own, plain
    return result


def open_journal(path: str | os.PathLike[str] | Journal | None, evaluator: Evaluator, x0: Vector, how: Any) -> Journal:
    """The journal of this optimisation; ``how`` has everything but J, x0 and derivative options that it depends on."""
    if isinstance(path, Journal):
        return path
    if path is None:
        return Journal()
    if not isinstance(path, (str, os.PathLike)):
        raise InputError(f"journal: must be a path or None (was {path!r})")
    file = file_path("journal", path)
    about = fingerprint((x0, evaluator.setting(x0).options, json.dumps(how, sort_keys=True, default=_plain)))
    return Journal(file, about.digest)


def _plain(value: Any) -> Any:
    """A value that JSON cannot write, as text; arrays with all their numbers, as a repr may omit some."""
    return value.tolist() if isinstance(value, np.ndarray) else repr(value)


_WITH_STATE = 2
"""Number of positional parameters of a callback(xk, intermediate_result), as for SciPy's trust-constr."""


def _asked_for(fun: Callback) -> list[str]:
    """The names of the callback's required parameters; if none is required, the name of the first."""
    try:
        found = inspect.signature(fun).parameters.values()
    except (TypeError, ValueError):  # some functions written in C have no signature
        return []
    first = [p for p in found if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)][:1]
    must = [p for p in found if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    return [p.name for p in must or first]


def can_be_called(fun: Callback) -> bool:
    """Whether a callback takes arguments that a run has for it."""
    try:
        signature = inspect.signature(fun)
    except (TypeError, ValueError):  # the same
        return True
    asked = _asked_for(fun)
    if asked in (["intermediate_result"], ["event"]):
        return True
    try:
        signature.bind(*[None] * (_WITH_STATE if len(asked) == _WITH_STATE else 1))
    except TypeError:
        return False
    return True


def _short(x: Vector) -> str:
    return np.array2string(x, threshold=6, edgeitems=3)
