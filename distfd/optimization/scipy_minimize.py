"""Supplies J, its derivatives, and outputs that are constraints to scipy.optimize.minimize."""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core.errors import EvaluationError, InputError
from distfd.optimization.constraints import OutputSlopes, as_scipy, given_violation
from distfd.optimization.fixed_variables import FreeVariables
from distfd.optimization.journal import Diverged
from distfd.optimization.limits import Stop
from distfd.optimization.optimization_run import INTERRUPTED, STOPPED
from distfd.optimization.scipy_methods import METHODS, TELL_OF_TRIALS
from distfd.optimization.seen_point import FEASIBLE, Seen
from distfd.optimization.value_and_derivative import ValueAndDerivative

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Vector = NDArray[np.float64]
    from collections.abc import Callable, Mapping

    from distfd.evaluation.evaluator import Evaluator
    from distfd.optimization.constraints import Outputs
    from distfd.optimization.history import Record
    from distfd.optimization.optimization_run import OptimizationRun
    from distfd.optimization.speculation import Speculation
    from distfd.results.derivative_result import DerivativeResult


def wall(x: Vector, value: float, gradient: Vector, trial: Vector) -> tuple[float, Vector]:
    """A substitute value and gradient for a trial where J failed, so that the method returns to a quarter of the step.

    They belong to the parabola along s = trial - x that has J's value and slope at x and its minimum at s / 4: J(trial)
    = J(x) + a and dJ/dx = 3 a s / |s|^2 there, with a = |gradient . s|. The value is above J(x), so no descent method
    accepts it. It is finite and has a slope, because TNC does not come back from +inf, and no method copes with a NaN
    in the gradient, which line searches ask for as well.

    Parameters
    ----------
    x, gradient : (d,) ndarray
        The best point so far, and the gradient there.
    value : float
        J(x).
    trial : (d,) ndarray
    """
    with np.errstate(all="ignore"):  # a trial may be so far away that numbers overflow
        step = trial - x
        square = float(step @ step)
        rise = max(abs(float(gradient @ step)), 1e-8 * max(1.0, abs(value)))
        height, slope = value + rise, 3 * rise * step / square if square else np.zeros(len(step))
    return float(np.nan_to_num(height)), np.nan_to_num(slope)


_REMEMBERED = 100
"""Number of failed trials, and of values, that are kept."""


def _digest(x: Vector) -> bytes:
    return hashlib.blake2b(np.asarray(x, dtype=np.float64).tobytes(), digest_size=16).digest()


@dataclass(eq=False)
class Scalar:
    """J and its gradient in the form that a method asks for; failed trials get substitute values.

    Parameters
    ----------
    evaluator : Evaluator
    record : Record
    speculation : Speculation
    outputs : Outputs or None
        Further outputs of J that are constraints.
    constraints : list
        Constraints in SciPy's form.
    """

    evaluator: Evaluator
    record: Record
    speculation: Speculation
    outputs: Outputs | None = None
    constraints: list[Any] = field(default_factory=list)
    iterated: Callable[[Vector, float, float], Any] | None = None
    """Called with each point where the gradient is asked for, if the method's own callback also reports rejected
    trials."""

    def __post_init__(self) -> None:
        self._asker = ValueAndDerivative(
            self.evaluator, self.record, self.speculation, "jacobian" if self.outputs else "gradient"
        )
        self.output_slopes = None if self.outputs is None else OutputSlopes(self.outputs)
        self._last: DerivativeResult | None = None
        self._last_seen: Seen | None = None
        self._tried = b""
        self._values: dict[bytes, tuple[float, float]] = {}
        """J, and the outputs' violation of constraints, at the last trials, by digests of x."""
        self._walls: dict[bytes, tuple[Vector, Any]] = {}
        """Trials without a value, with the substitute value and derivative: trust-constr comes back to them."""

    def value(self, x: Vector) -> float:
        """J(x)."""
        return float(np.atleast_1d(self._value(x))[0])

    def known(self, x: Vector) -> tuple[float, float] | None:
        """J(x) and the largest violation of constraints at x; None where J failed, or is no longer remembered."""
        # trust-constr may stand where J failed, as the constraints hold better there, and make many trials from there.
        if self._wall(x) is not None or (found := self._values.get(_digest(x))) is None:
            return None
        value, violation = found
        return value, max(violation, given_violation(self.constraints, x))

    def gradient(self, x: Vector) -> Vector:
        """dJ/dx; a copy, as some methods write to what they are given."""
        derivative = self._derivative(x)
        return np.array(derivative[0] if self.outputs else derivative)

    def constrained(self, x: Vector) -> Vector:
        """The outputs that are constraints."""
        return np.array(self._value(x)[1:])

    def constraint_jacobian(self, x: Vector) -> Any:
        """The derivatives of the outputs that are constraints."""
        return np.array(self._derivative(x)[1:])

    def product(self, x: Vector, v: Vector) -> Vector:
        """The Hessian times v."""
        if not np.any(v):
            return np.zeros(len(x))
        if self._wall(x) is not None:
            return np.asarray(v)
        result = self.evaluator.differentiate(x, kind="hvp", v=v)
        self.record.count(result)
        return np.asarray(result.derivative)

    def hessian(self, x: Vector) -> Any:
        """All of the Hessian."""
        self._value(x)  # trust-exact asks for the Hessian at trials, and J may fail there
        if self._wall(x) is not None:
            return np.eye(len(x))
        result = self.evaluator.differentiate(x, kind="hessian")
        self.record.count(result)
        return result.derivative

    def end_at(self, x: Vector) -> None:
        """Makes x the best point, as a method that has converged decides feasibility by its own tolerance."""
        with contextlib.suppress(Stop, Diverged):
            self._derivative(x)
        end, best = self._last_seen, self.record.best
        if end is not None and best is not None and np.array_equal(end.x, x):
            feasible = best.violation <= FEASIBLE
            # The lower value may belong to a point with a slightly larger violation; then the end is as good.
            worse = end.violation > FEASIBLE or (end.value > best.value and end.violation >= best.violation)
            if not (feasible and worse):
                self.record.take_for_best(end)
        self.close()

    def close(self) -> None:
        """Cancels running evaluations, and counts them."""
        self._asker.close()

    def _value(self, x: Vector) -> Any:
        if not np.isfinite(x).all() and self.record.best is not None:
            raise Stop("the next x is not finite: J may decrease without bound, or steps are too long")
        if (stands := self._wall(x)) is not None:
            return stands[0]
        try:
            value = self._asker.value(x)
        except (EvaluationError, InputError):  # J failed, or x is too far out for the differencing steps
            if self.record.best is None:
                raise
            return self._turned_back(x)
        if self._tried != (here := np.asarray(x, dtype=np.float64).tobytes()):
            self._tried = here
            numbers = np.atleast_1d(value)
            self._values[_digest(x)] = float(numbers[0]), self.outputs.violation(numbers[1:]) if self.outputs else 0.0
            while len(self._values) > _REMEMBERED:
                del self._values[next(iter(self._values))]
            self.record.tried(failed=False)
            self.record.valued(np.asarray(x, dtype=np.float64), float(numbers[0]))
        self.record.check()
        return value

    def _derivative(self, x: Vector) -> Any:
        # Evaluate the value first, as J may fail: trust-constr asks for gradients at new points before values.
        self._value(x)
        if (stands := self._wall(x)) is not None:
            return stands[1]
        try:
            result = self._asker.derivative(x)
        except InputError:
            if self.record.best is None:
                raise
            self._turned_back(x)
            return self._walls[np.asarray(x, dtype=np.float64).tobytes()][1]
        if self._last is not result:
            self._last = result
            if self.output_slopes is not None:
                self.output_slopes.see(np.array(x, dtype=np.float64), result)
            self._last_seen = self._seen(np.array(x, dtype=np.float64), result)
            self.record.see(self._last_seen)
            if self.iterated is not None:
                self.iterated(self._last_seen.x, self._last_seen.value, self._last_seen.violation)
        return result.derivative

    def _seen(self, x: Vector, result: DerivativeResult) -> Seen:
        violation = given_violation(self.constraints, x)
        if self.outputs is None:
            return Seen(x, float(result.value), result, result.derivative, violation)
        value = np.asarray(result.value)
        violation = max(violation, self.outputs.violation(value[1:]))
        return Seen(x, float(value[0]), result, result.derivative[0], violation)

    def _wall(self, x: Vector) -> tuple[Vector, Any] | None:
        return self._walls.get(np.asarray(x, dtype=np.float64).tobytes()) if self._walls else None

    def _turned_back(self, x: Vector) -> Any:
        """Returns a substitute for a trial where J failed."""
        best = self.record.best
        assert best is not None, "else it is an error"
        self.record.tried(failed=True)
        value, derivative = np.atleast_1d(best.result.value), np.atleast_2d(best.result.derivative)
        at = np.array(x, dtype=np.float64)
        height, slope = wall(best.x, best.value, derivative[0], at)
        if self.outputs is None:
            stands = np.array([height]), slope
        else:
            # The constraints are unknown there; the value alone turns the method back.
            stands = np.concatenate(([height], value[1:])), np.concatenate((slope[None], derivative[1:]))
        self._walls[at.tobytes()] = stands
        while len(self._walls) > _REMEMBERED:
            del self._walls[next(iter(self._walls))]
        return stands[0]


def evaluate_fixed(problem: Any, value: Callable[[Vector], Any], derivative: Callable[[Vector], Any]) -> Any:
    """A function of the start, for a problem where no variable can move: SciPy's result from J and its derivative."""
    from scipy.optimize import OptimizeResult

    def run(x0: Vector) -> Any:
        try:
            value(x0)
            derivative(x0)
        finally:
            problem.close()
        text = "all variables are fixed by their bounds: J was evaluated there, and there is nothing to vary"
        return OptimizeResult(x=np.array(x0), success=True, status=0, message=text, nit=0)

    return run


def minimize_by_scipy(
    method: str,
    problem: Scalar,
    course: OptimizationRun,
    *,
    bounds: Any,
    options: Mapping[str, Any],
    tolerance: float | None,
    free: NDArray[np.bool_],
) -> Any:
    """A function of the start that returns SciPy's result from there, for the variables that are ``free``, (d,)."""
    from scipy.optimize import minimize

    constraints = list(problem.constraints)
    if problem.outputs is not None:
        constraints += as_scipy(problem.outputs, problem.constrained, problem.constraint_jacobian)
    needed = METHODS[method].second

    def tell(x: Vector) -> Any:
        known = problem.known(x)
        return None if known is None else course.iterated(x, *known)

    if method in TELL_OF_TRIALS:
        problem.iterated = course.iterated

    def run(x0: Vector) -> Any:
        variables = FreeVariables(np.array(x0, dtype=np.float64), free)
        second: dict[str, Any] = {}
        if needed == "hvp":
            second["hessp"] = variables.product(problem.product)
        elif needed:
            second["hess"] = variables.hessian(problem.hessian)
        try:
            found = minimize(
                variables.of_free(problem.value),
                x0[free],
                jac=variables.gradient(problem.gradient),
                method=method,
                bounds=variables.bounds(bounds),
                constraints=[variables.constraint(each) for each in constraints],
                tol=tolerance,
                callback=None if method in TELL_OF_TRIALS else lambda z, *_: tell(variables.whole(z)),
                options=variables.options(options),
                **second,
            )
            return variables.result(found)
        finally:
            problem.close()

    return run


def finished(result: Any, record: Record, outputs: Outputs | None) -> Any:
    """SciPy's result with the best point and the effort."""
    best = record.best
    if best is not None:
        result.x, result.fun = best.x, best.value
        result.jac = best.gradient
        result.violation = best.violation
    result.nit = record.iterations
    result.derivative, result.first = (_of_j(seen, outputs) for seen in (best, record.first))
    result.outputs = np.asarray(best.result.value)[1:] if outputs and best is not None else None
    from distfd.optimization.minimize_result import MinimizeResult

    return counted(MinimizeResult(result), record)


def counted(result: Any, record: Record) -> Any:
    """SciPy's result with the effort; not a success if J failed at every point where the method tried to go on."""
    if record.walled_in and result.status not in (STOPPED, INTERRUPTED):
        n = record.failures
        where = f"J failed at {'the only point' if n == 1 else f'all {n} points'} tried after the last iterate"
        result.success, result.message = False, f"{where}; the method said: {result.message}"
    first = record.first
    result.value0 = record.value0 if record.value0 is not None or first is None else first.value
    result.nfev, result.njev = record.n_values, record.n_gradients
    result.n_evaluations, result.n_reused = record.n_evaluations, record.n_reused
    result.n_rejected, result.n_failed_trials = record.n_rejected, record.n_failed_trials
    result.history = record.history
    result.setdefault("noise", None)
    result.totals, result.wall_seconds = record.totals, record.wall_seconds
    return result


def _of_j(seen: Seen | None, outputs: Outputs | None) -> DerivativeResult | None:
    """The row of J itself in a Jacobian of J and constraints."""
    if seen is None or outputs is None:
        return None if seen is None else seen.result
    result = seen.result
    error = None if result.error is None else result.error[0]
    first = result.derivative[0]
    return replace(result, kind="gradient", value=seen.value, derivative=first, error=error, outputs=None)
