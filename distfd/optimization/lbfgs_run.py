"""The method "L-BFGS" from start to end: rounds of as many trials as the slots hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core.errors import EvaluationError
from distfd.differentiation.steps import NoiseStep
from distfd.optimization.lbfgs import Found, Search, Tolerances
from distfd.optimization.lbfgs_evaluation import Rounds
from distfd.optimization.limits import ran_away_text
from distfd.optimization.noisy_gradients import measure
from distfd.optimization.plain_gradients import PlainGradients

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from distfd.optimization.lbfgs_evaluation import Gradients
    from distfd.optimization.lbfgs_options import LbfgsOptions
    from distfd.optimization.optimization_run import OptimizationRun

    Floats = NDArray[np.float64]

_HALF = 0.5
"""Central differences may differ from one-sided ones by this part of the gradient if the one-sided ones were right."""
_PATIENCE = 2
"""Number of rounds without a step after which more accurate gradients are used, if there are any."""


def minimize_by_lbfgs(
    course: OptimizationRun, bounds: tuple[Floats, Floats] | None, options: LbfgsOptions
) -> Callable[[Floats], Any]:
    """A function of the start that returns the result from there, as SciPy's `OptimizeResult`."""

    def run(x0: Floats) -> Any:
        return _Run(course, options, bounds, x0).to_its_end()

    return run


class _Run:
    """One search from one start."""

    def __init__(
        self, course: OptimizationRun, options: LbfgsOptions, bounds: tuple[Floats, Floats] | None, x0: Floats
    ) -> None:
        setting = course.evaluator.setting(x0)
        lower, upper = setting.site.lower, setting.site.upper
        if bounds is not None:
            lower, upper = np.maximum(lower, bounds[0]), np.minimum(upper, bounds[1])
        self._course, self._options = course, options
        self._rounds = Rounds(course)
        tolerances = Tolerances(options.gtol, options.ftol)
        self._search = Search(np.array(x0), lower, upper, options.maxcor, tolerances)
        step = setting.options.step
        self._noisy = options.noise is not None or isinstance(step, NoiseStep)
        self._given = options.noise or (step.noise if isinstance(step, NoiseStep) else None)
        self._gradients: Gradients = PlainGradients(course.evaluator)

    def to_its_end(self) -> Any:
        """Runs rounds until the search ends, and returns the result."""
        from scipy.optimize import OptimizeResult

        self._begin()
        iterations = 0
        while not (end := self._end()):
            if iterations == self._options.maxiter:
                return OptimizeResult(
                    success=False, status=1, message=f"maxiter of {iterations} reached", nit=iterations
                )
            if self._round():
                iterations += 1
                self._course.iterated(self._search.x, self._search.value)
        success, message = end
        return OptimizeResult(success=success, status=0 if success else 2, message=message, nit=iterations)

    def _begin(self) -> None:
        """Runs the first round, at x0."""
        search = self._search
        if self._noisy:
            gradients, found = measure(self._rounds, search.x, self._course.evaluator, self._given)
            self._gradients, search.noise = gradients, gradients.bound
            search.tell([found])
            return
        self._round()
        if search.gradient is None:
            # The error of this call says what failed. If J has a value this time, the result will do as well.
            result = self._course.evaluator.differentiate(search.x)
            if len(result.missing) or not np.isfinite(result.derivative).all():
                lacks = np.flatnonzero(~np.isfinite(result.derivative))
                raise EvaluationError(
                    f"the gradient at x0 has no value at {len(lacks)} coordinates, the first of them number "
                    f"{lacks[0]}, and an optimiser needs all; correct J, its bounds or its step, or use "
                    "on_failure: repair"
                )
            search.tell([Found(search.x, float(result.value), result.derivative, result.error)])

    def _round(self) -> bool:
        """Runs a round of trials; returns whether x has moved."""
        search = self._search
        trials, values = self._rounds.room(self._gradients, search.x, self._options.trials)
        return search.tell(self._rounds.evaluate(search.ask(trials, values), self._gradients))

    def _end(self) -> tuple[bool, str] | None:  # noqa: PLR0911  # one return an ending
        """Whether the search has converged, and its message; None to go on, perhaps with better gradients."""
        search = self._search
        if search.runs_away:
            return False, ran_away_text(self._course.record.named)
        while True:
            if search.converged and not self._noisy and (why := self._checked()):
                return True, why
            within = self._within_error()
            if not within and search.failed < _PATIENCE:
                return None
            if not self._gradients.refine():
                break
            found = self._rounds.again(search.x, self._gradients)
            if found.gradient is not None:
                search.refine(found)
        if within:
            return True, "every component of the gradient is smaller than its error bar: noise hides all changes of J"
        if not search.stuck:
            return None
        if self._noisy:
            return (
                False,
                "no step lowers J by more than its noise, although the gradient is larger than its error bars",
            )
        return False, "no step was found along which J falls"

    def _checked(self) -> str:
        """The reason for convergence, if central differences confirm it, which cost one extra round.

        All later gradients are central too.

        The error of a one-sided difference is h J'' / 2, which can hide a slope or make one appear.
        """
        search, why, before = self._search, self._search.converged, self._search.gradient
        if not self._gradients.refine():
            return why
        found = self._rounds.again(search.x, self._gradients)
        if found.gradient is None or before is None:
            return f"{why} (with one-sided differences, as J fails at points of central differences)"
        bias = float(np.abs(found.gradient - before).max())
        search.refine(found)
        if search.converged:
            return search.converged
        # J fell by almost nothing along the one-sided gradient, so a better gradient cannot gain much either.
        by_value = "ftol" in why and bias <= _HALF * float(np.abs(search.projected_gradient).max())
        return why if by_value else ""

    def _within_error(self) -> bool:
        """Whether the gradient is 0 within its errors."""
        search = self._search
        if search.error is None or not self._noisy:
            return False
        return bool((np.abs(search.projected_gradient) <= search.error).all())
