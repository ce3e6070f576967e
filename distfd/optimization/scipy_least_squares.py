"""Supplies residuals and Jacobians to scipy.optimize.least_squares."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core.errors import EvaluationError, InputError
from distfd.evaluation.outcome import give_warnings
from distfd.objectives.output_parts import data_of
from distfd.optimization.fit_statistics import held_by_bounds, slope_variance
from distfd.optimization.fixed_variables import FreeVariables
from distfd.optimization.scipy_minimize import counted
from distfd.optimization.seen_point import Seen
from distfd.optimization.value_and_derivative import ValueAndDerivative
from distfd.optimization.weighting import SigmaByName, Weighting

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from distfd.evaluation.evaluator import Evaluator
    from distfd.objectives.output_parts import OutputPart
    from distfd.optimization.history import Record
    from distfd.optimization.optimization_run import OptimizationRun
    from distfd.optimization.robust_loss import Loss
    from distfd.optimization.speculation import Speculation
    from distfd.results.derivative_result import DerivativeResult

    Vector = NDArray[np.float64]

_NAMED = 10
"""Number of outputs that a message names; it gives the number of the others."""


@dataclass(eq=False)
class Squares:
    """Residuals and their Jacobian in the form that a method asks for.

    Parameters
    ----------
    evaluator : Evaluator
    course : Course
    speculation : Speculation
    loss : Loss
    sparsity
        Sparsity of the Jacobian, as for `Evaluator.jacobian`.
    walls : bool
        Whether the method refuses a step to infinite residuals, as trf and dogbox do.
    weighting : Weighting
        Turns J's outputs into residuals.
    kept : (m,) ndarray of bool, or None before the first residuals
        The residuals that have a value at x0. The others, where on_failure lets J lack outputs, are left out of the fit
        as missing data. If one of the kept residuals has no value at another x, the trial has failed.
    """

    evaluator: Evaluator
    course: OptimizationRun
    speculation: Speculation
    loss: Loss
    sparsity: Any = None
    walls: bool = True
    weighting: Weighting = field(default_factory=Weighting)
    kept: NDArray[np.bool_] | None = None
    n_fixed: int = 0
    """Number of variables that are fixed by bounds."""

    def __post_init__(self) -> None:
        self._asker = ValueAndDerivative(
            self.evaluator, self.course.record, self.speculation, "jacobian", sparsity=self.sparsity
        )
        self._last: DerivativeResult | None = None
        self._result: DerivativeResult | None = None

    def residuals(self, x: Vector) -> Vector:
        """The residuals, (m,); infinite at a trial where J failed."""
        record = self.course.record
        try:
            value = self._kept(np.atleast_1d(self._asker.value(x)))
        except EvaluationError:
            if record.best is None or not self.walls:
                raise
            record.tried(failed=True)
            return np.full(len(record.best.result.value), np.inf)  # type: ignore[arg-type]  # residuals are an array
        value = self.weighting.values(np.atleast_1d(value), self.kept, x)
        variables = len(x) - self.n_fixed
        if not self.walls and len(value) < variables:
            raise InputError(
                f"method: lm needs at least as many residuals as variables, but there are {len(value)} for "
                f"{variables}; use trf or dogbox"
            )
        record.tried(failed=False)
        record.valued(np.asarray(x, dtype=np.float64), self.loss.cost(value))
        record.check()
        return value

    def _kept(self, value: Vector) -> Vector:
        """The residuals of the fit.

        Raises
        ------
        EvaluationError
            If one of the kept residuals has no value.
        """
        there = np.isfinite(value)
        if self.kept is None:
            self.kept = there
            if not there.all():
                give_warnings((left_out(there),))
        lost = np.flatnonzero(self.kept & ~there)
        if len(lost):
            raise EvaluationError(f"J has no value at {outputs_named(lost)}, although it had one there at x0")
        return np.asarray(value[self.kept])

    def jacobian(self, x: Vector) -> Any:
        """(m, d); SciPy asks for it at each point that it has accepted, and nowhere else."""
        result = self._asker.derivative(x, self.kept)
        if result is not self._last:
            self._last = result
            result = self._result = self.weighting.result(self._of_kept(result), self.kept)
            at = np.array(x, dtype=np.float64)
            residuals = np.asarray(result.value)
            gradient = self.loss.gradient(residuals, result.derivative)
            seen = Seen(at, self.loss.cost(residuals), result, gradient)
            accepted = self.course.record.n_gradients > 0
            self.course.record.see(seen)
            if accepted:
                self.course.iterated(at, seen.value)
        assert self._result is not None, "set with the last"
        return self._result.derivative.copy()

    def _of_kept(self, result: DerivativeResult) -> DerivativeResult:
        """The result restricted to the residuals of the fit."""
        if self.kept is None or self.kept.all():
            return result
        error = None if result.error is None else result.error[self.kept]
        value, derivative = np.asarray(result.value)[self.kept], result.derivative[np.flatnonzero(self.kept)]
        return replace(result, value=value, derivative=derivative, error=error, missing=np.zeros(0, dtype=np.int64))

    def close(self) -> None:
        """Cancels running evaluations, and counts them."""
        self._asker.close()


def fit_by_scipy(
    problem: Squares, *, method: str, bounds: Any, options: Mapping[str, Any], free: NDArray[np.bool_]
) -> Any:
    """A function of the start that returns SciPy's result from there, for the variables that are ``free``, (d,)."""
    from scipy.optimize import least_squares

    def run(x0: Vector) -> Any:
        variables = FreeVariables(np.array(x0, dtype=np.float64), free)
        limits = tuple(limit[free] if np.ndim(limit) else limit for limit in bounds)
        try:
            return variables.result(
                least_squares(
                    variables.of_free(problem.residuals),
                    x0[free],
                    jac=variables.gradient(problem.jacobian),
                    bounds=limits,
                    method=method,
                    **variables.options(options),
                )
            )
        finally:
            problem.close()

    return run


def left_out(there: NDArray[np.bool_]) -> str:
    """The warning that residuals without a value at x0, (m,), are left out of the fit."""
    lost = np.flatnonzero(~there)
    return (
        f"J has no value at {outputs_named(lost)} of {len(there)} at x0: the fit uses the other "
        f"{int(there.sum())} only, and so do the result's fun and jac (result.kept says which)"
    )


def outputs_named(at: NDArray[np.int64]) -> str:
    """The outputs by number; of many, the first ones only."""
    names = ", ".join(map(str, at[:_NAMED].tolist())) + (f" and {len(at) - _NAMED} more" if len(at) > _NAMED else "")
    return f"output{'s' if len(at) > 1 else ''} {names}"


@dataclass(frozen=True, eq=False)
class Finish:
    """Completes SciPy's result: the best point, the effort, and statistics of the parameters.

    Parameters
    ----------
    record : Record
    loss : Loss
    limits : pair of (d,) ndarrays
        Bounds of the variables.
    absolute : bool
        Whether residuals are in units of their known standard deviations.
    n_prior : int
        Number of residuals that are priors; they come last.
    sigma : float, (m,) ndarray, SigmaByName or None
        Divisor of J's outputs.
    measured : (m,) ndarray or None
        The data of the residuals; by default those of ``parts``.
    parts : sequence of OutputPart or None
        Where J's outputs come from.
    names : callable
        Returns the names of J's m outputs, or None.
    priors : sequence of str
        Names of the parameters with a prior.
    """

    record: Record
    loss: Loss
    limits: tuple[Vector, Vector]
    absolute: bool = False
    n_prior: int = 0
    sigma: float | Vector | SigmaByName | None = None
    measured: Vector | None = None
    parts: Sequence[OutputPart] | None = None
    names: Callable[[int], Sequence[str] | None] = field(default=lambda _m: None)
    priors: Sequence[str] = ()

    def __call__(self, result: Any, kept: NDArray[np.bool_] | None = None) -> Any:
        """The complete result; ``kept`` says which of J's outputs are residuals."""
        from distfd.optimization.fit_result import FitResult

        result, record, loss = FitResult(result), self.record, self.loss
        if kept is not None:
            result.kept = kept
        best = record.best
        if best is not None:
            result.x, result.cost = best.x, best.value
            result.fun, result.jacobian = np.asarray(best.result.value), best.result.derivative
            result.jac = loss.scaled(result.fun, result.jacobian)
            result.grad = loss.gradient(result.fun, result.jacobian)
            result.jacobian_error = error = best.result.error
            if error is not None:
                bars = error if isinstance(error, np.ndarray) else error.toarray()
                result.slope_variance = slope_variance(loss.weights(result.fun)[0] * result.fun, bars)
            start = best.x if record.first is None else record.first.x
            sizes = np.maximum(np.abs(best.x), np.abs(start))
            squares = result.jac**2 if isinstance(result.jac, np.ndarray) else result.jac.multiply(result.jac)
            curvature = np.asarray(squares.sum(axis=0), dtype=np.float64).ravel()
            result.active_mask = held_by_bounds(best.x, result.grad, curvature, *self.limits, sizes)
            # SciPy has said it of its own end; "model", and a run that was cut off, have not.
            free = np.abs(result.grad[result.active_mask == 0])
            result.setdefault("optimality", float(free.max(initial=0.0)))
        result.loss = loss.loss if isinstance(loss.loss, str) else "a function"
        result.absolute_sigma, result.n_prior, result.sigma = self.absolute, self.n_prior, self.sigma
        if best is not None:
            self._describe(result, len(result.fun) - self.n_prior if kept is None else len(kept), kept)
        elif isinstance(self.sigma, SigmaByName):
            result.sigma = None
        if self.measured is not None:
            result.measured = self.measured
        result.derivative, result.first = (_of_cost(seen, loss) for seen in (best, record.first))
        result.nit = record.iterations
        return counted(result, record)

    def _describe(self, result: Any, m: int, kept: NDArray[np.bool_] | None) -> None:
        """Adds what each row of the result stands for, where J has m outputs."""
        if isinstance(self.sigma, SigmaByName):
            result.sigma = self.sigma.of(m)
        names = self.names(m)
        if names is not None:
            of_data = [name for k, name in enumerate(names) if kept is None or kept[k]]
            result.residual_names = (*of_data, *(f"prior of {name}" for name in self.priors))
        data = data_of(self.parts, m) if self.measured is None else None
        if data is not None:
            result.measured, result.data_sets, result.data_signs = data.values, data.sets, data.signs


def _of_cost(seen: Seen | None, loss: Loss) -> DerivativeResult | None:
    """The gradient of the cost in place of the Jacobian of the residuals."""
    if seen is None:
        return None
    gradient = loss.gradient(np.asarray(seen.result.value), seen.result.derivative)
    return replace(seen.result, kind="gradient", value=seen.value, derivative=gradient, error=None, outputs=None)
