"""What scipy.optimize.least_squares asks of residuals."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core.errors import EvaluationError
from distfd.optimization.history import Seen
from distfd.optimization.scipy_minimize import counted
from distfd.optimization.value_and_derivative import ValueAndDerivative

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from distfd.evaluation.evaluator import Evaluator
    from distfd.optimization.history import Record
    from distfd.optimization.optimization_run import OptimizationRun
    from distfd.optimization.robust_loss import Loss
    from distfd.optimization.speculation import Speculation
    from distfd.results.derivative_result import DerivativeResult

    Vector = NDArray[np.float64]


@dataclass(eq=False)
class Squares:
    """Residuals and their Jacobian as a method asks for them.

    Parameters
    ----------
    evaluator : Evaluator
    course : Course
    speculation : Speculation
    loss : Loss
    sparsity
        Of the Jacobian, as for `Evaluator.jacobian`.
    walls : bool
        Whether the method takes infinite residuals for a step to be refused, as trf and dogbox do.
    """

    evaluator: Evaluator
    course: OptimizationRun
    speculation: Speculation
    loss: Loss
    sparsity: Any = None
    walls: bool = True

    def __post_init__(self) -> None:
        self._asker = ValueAndDerivative(
            self.evaluator, self.course.record, self.speculation, "jacobian", sparsity=self.sparsity
        )
        self._last: DerivativeResult | None = None

    def residuals(self, x: Vector) -> Vector:
        """(m,) residuals; infinite at a trial where J failed."""
        record = self.course.record
        try:
            value: Vector = self._asker.value(x)
        except EvaluationError:
            if record.best is None or not self.walls:
                raise
            record.tried(failed=True)
            return np.full(len(record.best.result.value), np.inf)  # type: ignore[arg-type]  # residuals are an array
        record.tried(failed=False)
        record.check()
        return np.atleast_1d(value)

    def jacobian(self, x: Vector) -> Any:
        """(m, d); SciPy asks for it at each point that it has accepted, and nowhere else."""
        result = self._asker.derivative(x)
        if result is not self._last:
            self._last = result
            at = np.array(x, dtype=np.float64)
            residuals = np.asarray(result.value)
            gradient = self.loss.gradient(residuals, result.derivative)
            seen = Seen(at, self.loss.cost(residuals), result, gradient)
            accepted = self.course.record.n_gradients > 0
            self.course.record.see(seen)
            if accepted:
                self.course.iterated(at, seen.value)
        return result.derivative.copy()

    def close(self) -> None:
        """Cancel what runs, and count it."""
        self._asker.close()


def fit_by_scipy(problem: Squares, *, method: str, bounds: Any, options: Mapping[str, Any]) -> Any:
    """A function of the start: SciPy's result from there."""
    from scipy.optimize import least_squares

    def run(x0: Vector) -> Any:
        try:
            return least_squares(problem.residuals, x0, jac=problem.jacobian, bounds=bounds, method=method, **options)
        finally:
            problem.close()

    return run


def finished(result: Any, record: Record, loss: Loss) -> Any:
    """SciPy's result, made that of the best point, with what it took."""
    best = record.best
    if best is not None:
        result.x, result.cost = best.x, best.value
        result.fun, result.jac = np.asarray(best.result.value), best.result.derivative
        result.grad = loss.gradient(result.fun, result.jac)
    result.derivative, result.first = (_of_cost(seen, loss) for seen in (best, record.first))
    result.nit = record.iterations
    return counted(result, record)


def _of_cost(seen: Seen | None, loss: Loss) -> DerivativeResult | None:
    """The cost's own gradient in the place of the residuals' Jacobian."""
    if seen is None:
        return None
    gradient = loss.gradient(np.asarray(seen.result.value), seen.result.derivative)
    return replace(seen.result, value=seen.value, derivative=gradient, error=None)
