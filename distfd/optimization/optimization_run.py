"""An optimisation on its way: what is the same for all methods, from the first point to the result."""

from __future__ import annotations

import inspect
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core.errors import TimeUpError
from distfd.evaluation.outcome import give_warnings
from distfd.fingerprint.fingerprint import fingerprint
from distfd.optimization.journal import Diverged, Journal
from distfd.optimization.limits import Stop
from distfd.results.events import Improved, Iterated
from distfd.workers.threads import one_blas_thread

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from numpy.typing import NDArray

    from distfd.evaluation.evaluator import Evaluator
    from distfd.optimization.history import Record
    from distfd.optimization.seen_point import Seen

    Vector = NDArray[np.float64]
    Callback = Callable[..., Any]

STOPPED = 99
"""Status of an optimisation that a limit or the callback has ended; SciPy's for callbacks."""
INTERRUPTED = 130
"""... and of one that Ctrl-C has ended."""


@dataclass(eq=False)
class OptimizationRun:
    """What a method's iterations go through.

    Parameters
    ----------
    evaluator : Evaluator
    record : Record
    journal : Journal
    callback : callable, optional
        Given x, or, as SciPy does, an OptimizeResult with x and fun if its only parameter is ``intermediate_result``.
    planned_slots : int, optional
        Evaluations that a round may hold; by default as many as there are slots.
    """

    evaluator: Evaluator
    record: Record
    journal: Journal
    callback: Callback | None = None
    planned_slots: int | None = None

    @property
    def slots(self) -> int:
        """Evaluations by which a method plans its rounds."""
        return self.planned_slots or self.evaluator.slots

    def __post_init__(self) -> None:
        self._here = b""
        """The last iterate."""
        self.record.improved = self._tell_of_best

    def _tell_of_best(self, seen: Seen) -> None:
        self.evaluator.emit(Improved(seen.x, seen.summary()))

    def iterated(self, x: Vector, value: float, violation: float = 0.0) -> Any:
        """The method has come to x: written down, shown, and perhaps enough.

        Where x is the last iterate again, as SciPy's trust regions say after a step that they have refused, it is none.

        Raises
        ------
        Stop
            If it is, or the callback says so by StopIteration.
        Diverged
            If the run that is replayed came to another x.
        """
        at = np.array(x, dtype=np.float64)
        if at.tobytes() == self._here:
            return None
        self.journal.iterate(at, value, violation)
        self._here = at.tobytes()
        self.evaluator.emit(Iterated(self.record.iterations + 1, at, value, self.record.slope(at)))
        self.evaluator.accept(at)
        try:
            stop = self._call_back(at.copy(), value)
        except StopIteration:
            self.record.iterated(at, value)
            raise Stop("the callback stopped it") from None
        self.record.iterated(at, value)
        return stop

    def _call_back(self, x: Vector, value: float) -> Any:
        from scipy.optimize import OptimizeResult

        if self.callback is None:
            return None
        if _parameters(self.callback) == ["intermediate_result"]:
            return self.callback(intermediate_result=OptimizeResult(x=x, fun=value))
        return self.callback(x)

    def run(self, x0: Vector, method: Callable[[Vector], Any]) -> Any:
        """Have a method go from x0 on, or from where the replay diverged, to its own end or that of the limits.

        Parameters
        ----------
        method : callable
            Of the start; SciPy's result.
        """
        from scipy.optimize import OptimizeResult

        start = self.journal.start(x0)
        self.record.value0 = self.journal.value0
        while True:
            self._here = np.array(start, dtype=np.float64).tobytes()
            try:
                with self.evaluator.accepting(), one_blas_thread():
                    return method(start)
            except Stop as stop:
                return OptimizeResult(
                    success=stop.reached, status=STOPPED, message=str(stop), nit=self.record.iterations
                )
            except Diverged as error:
                # What was recorded may all be worse than what this session has seen, x0 above all.
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


def open_journal(path: str | os.PathLike[str] | Journal | None, evaluator: Evaluator, x0: Vector, how: Any) -> Journal:
    """The journal of this optimisation; ``how`` is what else than J, x0 and the derivative's options it depends on."""
    if isinstance(path, Journal):
        return path
    if path is None:
        return Journal()
    from pathlib import Path

    about = fingerprint((x0, evaluator.setting(x0).options, json.dumps(how, sort_keys=True, default=_plain)))
    return Journal(Path(path), about.digest)


def _plain(value: Any) -> Any:
    """What JSON cannot write; an array with all its numbers, of which its repr may leave out some."""
    return value.tolist() if isinstance(value, np.ndarray) else repr(value)


def _parameters(fun: Callback) -> list[str]:
    try:
        return list(inspect.signature(fun).parameters)
    except (TypeError, ValueError):  # some that are written in C have none
        return []


def _short(x: Vector) -> str:
    return np.array2string(x, threshold=6, edgeitems=3)
