"""Minimisation: one Evaluator's value and gradient, handed to SciPy."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.evaluator import Evaluator
from distfd.events import Iterated
from distfd.numerics.placement import as_bounds

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import ArrayLike, NDArray
    from scipy.optimize import OptimizeResult

    from distfd.results import DerivativeResult


@dataclass(frozen=True)
class Limits:
    """When to stop before the method itself would.

    Parameters
    ----------
    max_iterations : int, optional
        Iterations of the method.
    max_evaluations : int, optional
        Evaluations of J, those for gradients included; looked at after each gradient.
    target : float, optional
        A value of J that is good enough.
    tolerance : float, optional
        SciPy's ``tol``.
    """

    max_iterations: int | None = None
    max_evaluations: int | None = None
    target: float | None = None
    tolerance: float | None = None


class _Stop(Exception):  # noqa: N818  # it ends SciPy's loop in good order and is no error
    """A limit was reached; ``reached`` where that is what was wanted."""

    def __init__(self, text: str, *, reached: bool = False) -> None:
        super().__init__(text)
        self.reached = reached


@dataclass
class _Run:
    """What an optimisation has seen."""

    evaluator: Evaluator
    limits: Limits
    best: DerivativeResult | None = None
    best_x: NDArray[np.float64] | None = None
    first: DerivativeResult | None = None
    n_evaluations: int = 0
    n_reused: int = 0
    n_gradients: int = 0
    iterations: int = 0
    totals: dict[str, float] = field(default_factory=dict)

    def value_and_gradient(self, x: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """What SciPy asks for."""
        result = self.evaluator.differentiate(x)
        self.n_gradients += 1
        self.n_evaluations += result.n_evaluations
        self.n_reused += result.n_reused
        for name in ("n_failed", "n_retried", "wall_seconds", "ideal_seconds"):
            self.totals[name] = self.totals.get(name, 0) + getattr(result, name)
        self.first = self.first or result
        if self.best is None or result.value < self.best.value:
            self.best, self.best_x = result, np.array(x)
        self._look_at_limits()
        return float(result.value), result.derivative

    def _look_at_limits(self) -> None:
        limits = self.limits
        if self.best is None:
            return
        if limits.target is not None and self.best.value <= limits.target:
            raise _Stop(f"J reached the target of {limits.target:g}", reached=True)
        if limits.max_evaluations is not None and self.n_evaluations + self.n_reused >= limits.max_evaluations:
            raise _Stop(f"max_evaluations of {limits.max_evaluations} reached")


def minimize(
    fun: Any,
    x0: ArrayLike,
    *,
    method: str = "L-BFGS-B",
    bounds: Any = None,
    options: Mapping[str, Any] | None = None,
    callback: Callable[[NDArray[np.float64]], Any] | None = None,
    limits: Limits | None = None,
    constraints: Any = (),
    **evaluator: Any,
) -> OptimizeResult:
    """Minimise J from x0 by a gradient method of scipy.optimize.minimize.

    Parameters
    ----------
    fun : callable, class or objective
        As for `distfd.Evaluator`; or an Evaluator, which then stays open.
    x0 : (d,) array
    method : str
        Of scipy.optimize.minimize, one that takes a gradient.
    bounds : scipy.optimize.Bounds or d pairs
        For the method and for every point that is evaluated.
    options : mapping
        SciPy's, for that method.
    callback : callable
        Given x after each iteration; StopIteration ends the run.
    limits : Limits
    constraints
        SciPy's.
    **evaluator
        Options of `distfd.Evaluator`.

    Returns
    -------
    scipy.optimize.OptimizeResult
        x, fun and jac are those of the best point that was evaluated; ``derivative`` is its DerivativeResult, ``first``
        that of x0; ``n_evaluations`` and ``n_reused`` count points, gradients included.

    Raises
    ------
    EvaluationError
        If J fails at a point that the method asks for.
    """
    if isinstance(fun, Evaluator):
        return _minimize(fun, x0, method, bounds, options, callback, limits or Limits(), constraints)
    with Evaluator(fun, bounds=bounds, **evaluator) as session:
        return _minimize(session, x0, method, bounds, options, callback, limits or Limits(), constraints)


def _minimize(  # noqa: PLR0917  # private, called twice above
    evaluator: Evaluator,
    x0: ArrayLike,
    method: str,
    bounds: Any,
    options: Mapping[str, Any] | None,
    callback: Callable[[NDArray[np.float64]], Any] | None,
    limits: Limits,
    constraints: Any,
) -> OptimizeResult:
    from scipy.optimize import OptimizeResult
    from scipy.optimize import minimize as scipy_minimize

    run = _Run(evaluator, limits)
    begin = time.monotonic()

    def after_iteration(x: NDArray[np.float64], *_: Any) -> Any:
        run.iterations += 1
        value = run.best.value if run.best is not None else np.nan
        norm = None if run.best is None else float(np.linalg.norm(run.best.derivative))
        evaluator.emit(Iterated(run.iterations, np.array(x), float(value), norm))
        evaluator.accept(x)
        stop = callback(x) if callback else None
        if run.iterations == limits.max_iterations:
            # Not all of SciPy's methods have such an option.
            raise _Stop(f"max_iterations of {limits.max_iterations} reached")
        return stop

    try:
        with evaluator.accepting():
            result = scipy_minimize(
                run.value_and_gradient,
                np.asarray(x0, dtype=float),
                jac=True,
                method=method,
                bounds=_kept(bounds, np.size(x0)),
                constraints=constraints,
                tol=limits.tolerance,
                callback=after_iteration,
                options=dict(options or {}),
            )
    except _Stop as stop:
        result = OptimizeResult(success=stop.reached, status=99, message=str(stop), nit=run.iterations)
    best = run.best
    if best is not None:
        result.x, result.fun, result.jac = run.best_x, float(best.value), best.derivative
    result.derivative, result.first = best, run.first
    result.nfev = result.njev = run.n_gradients
    result.n_evaluations, result.n_reused = run.n_evaluations, run.n_reused
    result.totals = run.totals
    result.wall_seconds = time.monotonic() - begin
    return result


def _kept(bounds: Any, d: int) -> Any:
    """Bounds that SciPy's methods keep to at every point, not only at the last: nothing is evaluated outside."""
    if bounds is None:
        return None
    from scipy.optimize import Bounds

    return Bounds(*as_bounds(bounds, d), keep_feasible=True)
