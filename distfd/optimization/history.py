"""The record of an optimisation: the best point, the effort so far, and whether a limit is reached."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from distfd.optimization.limits import Limits, Stop, ran_away, ran_away_text
from distfd.optimization.seen_point import FEASIBLE, Seen
from distfd.optimization.slope_evidence import SlopeEvidence
from distfd.results.derivative_result import euclidean_norm

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from distfd.evaluation.tally import Tally
    from distfd.results.derivative_result import DerivativeResult

_ROWS = 24
"""A history of at most this many iterates prints in full."""


class Iterate(NamedTuple):
    """One row of a history.

    Attributes
    ----------
    iteration : int
        0 for x0.
    value : float
        The value of the function that is minimised.
    gradient_norm : float
        Euclidean norm; NaN where it is not known.
    n_evaluations : int
        Number of evaluations so far, including those known from the store.
    """

    iteration: int
    value: float
    gradient_norm: float
    n_evaluations: int

    def cells(self) -> tuple[str, str, str, str]:
        """The row as printed texts."""
        return str(self.iteration), f"{self.value:.8g}", f"{self.gradient_norm:.3g}", str(self.n_evaluations)


HEADER = ("iteration", "J", "|g|", "evaluations")


def table_line(cells: tuple[str, ...]) -> str:
    """One line of a history's table."""
    return "".join(f"{cell:>14}" for cell in cells)


class History(list[Iterate]):
    """The iterates in order; prints as a table."""

    def __repr__(self) -> str:
        lines = [table_line(HEADER), *(table_line(one.cells()) for one in self)]
        if len(lines) > _ROWS:
            lines[_ROWS // 2 : -_ROWS // 2] = [f"... {len(lines) - _ROWS} more ...".rjust(14)]
        return "\n".join(lines)


@dataclass(eq=False)
class Record:
    """The record of an optimisation while it runs.

    Attributes
    ----------
    first, best : Seen or None
        The point x0, and the best point whose derivative is known.
    n_evaluations, n_reused : int
        Points computed, and points known before, including those of derivatives.
    n_values, n_gradients : int
        How often the method asked for a value and for a gradient: ``nfev`` and ``njev``.
    n_rejected : int
        Number of values at points where no derivative was asked for afterwards.
    n_failed_trials : int
        Number of points where J failed, so that the method got a substitute value that turns it back.
    trials, failures : int
        Number of points tried since the last iterate, and how many of these failed.
    iterations : int
    history : list of Iterate
    bounds : pair of (d,) ndarrays, optional
        Bounds of the variables.
    evidence : SlopeEvidence
        Whether J changed along the steps as its gradients predicted.
    totals : dict
        n_failed, n_retried, wall_seconds and ideal_seconds of all waves.
    """

    limits: Limits = field(default_factory=Limits)
    measure: str = "J"
    """What is minimised: "J", or "cost" in a fit."""
    first: Seen | None = None
    best: Seen | None = None
    n_evaluations: int = 0
    n_reused: int = 0
    n_values: int = 0
    n_gradients: int = 0
    n_rejected: int = 0
    n_failed_trials: int = 0
    trials: int = 0
    failures: int = 0
    iterations: int = 0
    history: History = field(default_factory=History)
    latest: Seen | None = None
    evidence: SlopeEvidence = field(default_factory=SlopeEvidence)
    bounds: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None
    value0: float | None = None
    """J at x0, where the run begins at another point because an earlier replay diverged."""
    improved: Callable[[Seen], None] | None = None
    """Called with each point that is the best so far."""
    written: Callable[[Iterate], None] | None = None
    """Called with each row of the history."""
    _unknown: bytes = b""
    """The last iterate, if the gradient there is not known yet."""
    _last: str = ""
    """Why the run ends when the gradient at the last iterate is known; empty if it goes on."""
    totals: dict[str, float] = field(
        default_factory=lambda: {"n_failed": 0, "n_retried": 0, "wall_seconds": 0.0, "ideal_seconds": 0.0}
    )
    begun: float = field(default_factory=time.monotonic)

    def count(self, tally: Tally | DerivativeResult) -> None:
        """Adds the effort of some points."""
        self.n_evaluations += tally.n_evaluations
        self.n_reused += tally.n_reused
        for name in self.totals:
            self.totals[name] += getattr(tally, name)

    def see(self, seen: Seen) -> None:
        """Takes in a point, and stops the run if a limit is reached.

        Raises
        ------
        Stop
            If the target or another limit is reached, or x has run away: line searches would go on to 1e60 and more.
        """
        if seen.measured:
            self.n_gradients += 1
            self.evidence.gradient(seen)
        self.latest = seen
        if self._unknown == seen.x.tobytes():  # some methods ask for the gradient after they have reported the iterate
            self.history[-1] = self.history[-1]._replace(gradient_norm=euclidean_norm(seen.gradient))
            self._unknown = b""
        if self.first is None:
            self.first = seen
            self._write_down(seen.x, seen.value)
        if seen.better_than(self.best) or seen.replaces(self.best):
            self.take_for_best(seen)
            if seen.violation <= FEASIBLE and ran_away(self.first.x, seen.x, self._inside(seen.x)):
                raise Stop(ran_away_text(self.named))
        target = self.limits.target
        if target is not None and seen.violation <= FEASIBLE and seen.value <= target:
            raise Stop(f"{self.named} reached the target of {target:g}", reached=True)
        if self._last:
            raise Stop(self._last)
        self.check()

    @property
    def named(self) -> str:
        """What is minimised, as in a sentence."""
        return "J" if self.measure == "J" else f"the {self.measure}"

    def _inside(self, x: NDArray[np.float64]) -> NDArray[np.bool_]:
        return np.ones(len(x), dtype=bool) if self.bounds is None else (x > self.bounds[0]) & (x < self.bounds[1])

    def take_for_best(self, seen: Seen) -> None:
        """Makes this point the best point from now on."""
        self.best = seen
        if self.improved is not None:
            self.improved(seen)

    def valued(self, x: NDArray[np.float64], value: float) -> None:
        """Notes that the method asked for J at x and got a value."""
        measured = [seen for seen in (self.best, self.latest) if seen is not None and seen.measured]
        self.evidence.value(x, value, measured)

    def tried(self, *, failed: bool) -> None:
        """Notes that J was evaluated at a point that the method may move to."""
        self.trials += 1
        self.failures += failed
        self.n_failed_trials += failed

    @property
    def walled_in(self) -> bool:
        """Whether J failed at every point that the method tried since the last iterate."""
        return 0 < self.trials == self.failures

    def slope(self, x: NDArray[np.float64]) -> float | None:
        """The Euclidean norm of the gradient at x, if x is the best or the latest point."""
        gradient = self.gradient(x)
        return None if gradient is None else euclidean_norm(gradient)

    def gradient(self, x: NDArray[np.float64]) -> NDArray[np.float64] | None:
        """The gradient at x, (d,), if x is the best point or the latest."""
        for seen in (self.best, self.latest):
            if seen is not None and seen.x.tobytes() == x.tobytes():
                return seen.gradient
        return None

    def check(self) -> None:
        """Stops if a limit is reached, but not before there is a point to return.

        Raises
        ------
        Stop
            If a limit is reached.
        """
        if self.best is None:
            return
        if reached := self.limits.used_up(self.n_evaluations + self.n_reused, self.wall_seconds):
            raise Stop(reached)

    def iterated(self, x: NDArray[np.float64], value: float) -> None:
        """Counts an iteration.

        Raises
        ------
        Stop
            If this is the largest number of iterations allowed; not all methods have an option for that.
        """
        if self._last:
            raise Stop(self._last)
        self.iterations += 1
        self._write_down(x, value)
        if self.iterations == self.limits.max_iterations:
            self.stop_at_iterate(f"max_iterations of {self.limits.max_iterations} reached")

    def stop_at_iterate(self, why: str) -> None:
        """Stops the run at the last iterate, as soon as the gradient there is known.

        SciPy's trust regions report an iterate before they ask for its gradient. Without that it could not be the
        result.

        Raises
        ------
        Stop
            If the gradient is known.
        """
        if not self._unknown:
            raise Stop(why)
        self._last = why

    def _write_down(self, x: NDArray[np.float64], value: float) -> None:
        self.trials = self.failures = 0
        norm = self.slope(x)
        self._unknown = x.tobytes() if norm is None else b""
        spent = self.n_evaluations + self.n_reused
        self.history.append(Iterate(self.iterations, value, math.nan if norm is None else norm, spent))
        if self.written is not None:
            self.written(self.history[-1])

    @property
    def wall_seconds(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self.begun

    @property
    def value(self) -> float:
        """The value of the best point; NaN before there is one."""
        return math.nan if self.best is None else self.best.value
