"""Optimisation by SciPy's methods or by distfd's own, each value and its derivative in one wave of one Evaluator."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal, Unpack

from distfd.core.errors import InputError
from distfd.core.structure_kinds import is_structured
from distfd.differentiation.placement import as_bounds
from distfd.evaluation.evaluator import Evaluator
from distfd.evaluation.keywords import lists_options_of
from distfd.optimization import scipy_minimize as scalar
from distfd.optimization.advice import other_methods
from distfd.optimization.bound_restarts import with_restarts
from distfd.optimization.common_arguments import INSTEAD, XTOL, check_slots, checked_start, record_of, session_of
from distfd.optimization.constraints import split
from distfd.optimization.convergence_assessment import Assessment
from distfd.optimization.lbfgs_options import chosen
from distfd.optimization.lbfgs_run import minimize_by_lbfgs
from distfd.optimization.method_options import check_options
from distfd.optimization.optimization_run import STOPPED, Arrangement, OptimizationRun, open_journal
from distfd.optimization.printed_progress import OptimizationPrinter, talk
from distfd.optimization.scipy_methods import METHODS, OWN, Minimizer, binds, find_method, takes_out
from distfd.optimization.seen_point import FEASIBLE
from distfd.optimization.speculation import Speculation

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping

    from scipy.optimize import OptimizeResult

    from distfd.evaluation.keywords import BoundsLike, PointLike, SessionOptions, Verbosity
    from distfd.optimization.journal import Journal
    from distfd.optimization.limits import Limits

_GTOL = 1e-5
"""Default gradient tolerance of most of SciPy's methods."""
_FTOL = 1e-7
"""Relative decrease of J that is negligible where no tolerance is given."""
_LOOSE = {"SLSQP": 1e-6}
"""Methods that stop at a larger decrease, with that decrease."""
_LONG = {"Newton-CG": 1e-5}
"""Methods that stop at a longer step, with that step."""


@lists_options_of(Evaluator, answers=INSTEAD)
def minimize(
    fun: Any,
    x0: PointLike,
    *,
    method: Minimizer = "L-BFGS-B",
    bounds: BoundsLike | None = None,
    options: Mapping[str, Any] | None = None,
    callback: Callable[..., Any] | None = None,
    limits: Limits | None = None,
    constraints: Any = (),
    speculative: bool | Literal["auto"] = "auto",
    slots: int | None = None,
    journal: str | os.PathLike[str] | Journal | None = None,
    verbose: Verbosity = 0,
    **evaluator: Unpack[SessionOptions],
) -> OptimizeResult:
    """Minimise J from x0 by a gradient method of scipy.optimize.minimize.

    J at a trial point and the points of its gradient are evaluated at the same time. The method gets the value as soon
    as it is known. If it then turns to another point, the evaluations that have not finished are cancelled. If J fails
    at a trial point, the step is refused; only at x0 is a failure an error.

    Parameters
    ----------
    fun : callable, class or objective
        As for `distfd.Evaluator`; or an Evaluator, which then stays open.
    x0 : (d,) array, or a dict or another structure of numbers
        J gets the same structure, and ``x`` and ``jac`` of the result have it; bounds, step and scale may have it.
    method : str
        "L-BFGS" is distfd's own (`distfd.optimization.lbfgs_run`). It tries several points at once if there are slots
        for their gradients, and takes noise into account. The others are the methods of scipy.optimize.minimize that
        use a gradient. Newton-CG, trust-ncg and trust-krylov also use products with the Hessian (4 d + 1 evaluations
        each), and dogleg and trust-exact use the whole Hessian (d^2 + d + 1).
    bounds : scipy.optimize.Bounds or d pairs
        For the method, and for every point at which J is evaluated.
    options : mapping
        SciPy's options for that method.
    callback : callable
        Called after each iteration, with every method. The names of its parameters say what it gets: ``callback(xk)``;
        ``callback(intermediate_result)``, with x, fun, jac (None if it is not known), gradient_norm, nit,
        n_evaluations and n_reused; ``callback(xk, intermediate_result)``; ``callback(event)``, with the
        `distfd.events.Iterated` that observers get. If it returns True or raises StopIteration, the run ends.
    limits : Limits
        When to stop.
    constraints : Outputs, or SciPy's, or a list of both
        With `distfd.Outputs`, fun returns [J, c_1, ... c_m]. The functions of SciPy's constraints are called in this
        process, and should be cheap.
    speculative : bool or "auto"
        Whether to evaluate the points of a gradient together with the value of a trial that may yet be refused. "auto":
        if that takes no extra round, judging by the trials so far. The result does not depend on it.
    slots : int, optional
        How many evaluations a round may have, for L-BFGS and for "auto" above. By default the number of the executor's
        slots.
    journal : path, optional
        A file for the iterates. With it and a ``store``, a run that was killed makes the same iterates again, bit for
        bit, without new evaluations, and goes on. If it comes to another x, it says so and goes on from the best x in
        the journal.
    verbose : 0, 1 or 2
        0 prints nothing, 1 prints a line at the end, and 2 also a line for each iteration, to standard output. The
        options ``disp`` and ``verbose`` do the same.
    **evaluator
        Options of `distfd.Evaluator`.

    Returns
    -------
    scipy.optimize.OptimizeResult
        ``x``, ``fun`` and ``jac`` are those of the best point whose gradient is known (a feasible one, if there is
        any), or, if a method has converged under constraints, of the point where it ended. ``derivative`` is the
        DerivativeResult there, and ``first`` the one at x0 (or where an earlier session went on after it came to
        another x); ``value0`` is always J at x0. ``outputs`` are the values of the constraints, and ``violation`` says
        how far the worst is from its limit. ``n_evaluations`` and ``n_reused`` count points, those of
        gradients included.
        ``history`` has a row (iteration, value, gradient_norm, n_evaluations) for x0 and for each iterate.
        ``n_rejected`` counts trials without a gradient, and ``n_failed_trials`` those at which J failed. Ctrl-C ends
        the run with the best point so far, and status 130. ``success`` is False if the gradient at the end is only
        noise, or is not J's slope, or if J still falls over a short step along it, whatever the method says. The
        message then says what was found and what to do, and ``noise`` is the noise of J (otherwise None).

    Raises
    ------
    EvaluationError
        If J fails at x0, or a component of a gradient has no value.
    InputError
        If an option makes no sense.
    """
    told, (options, level) = options, talk(options, verbose)
    bounds = list(bounds) if isinstance(bounds, Iterator) else bounds  # such as zip(lower, upper)
    with session_of(fun, bounds, evaluator) as session:
        start = session.flatten(x0)
        bounds = session.flat_bounds(bounds)
        arrangement = Arrangement(session if is_structured(x0) else None)
        if not isinstance(fun, Evaluator):
            as_bounds(bounds, len(start), start)  # raise errors before anything is evaluated
        check_slots(slots)
        outputs, given = split(constraints)
        limits_given = as_bounds(bounds, len(start))
        if given and arrangement.session is not None:
            raise InputError(
                "constraints: SciPy's take arrays, but x0 has names; have J return the constraints, and give "
                "distfd.Outputs"
            )
        name = find_method(method, bounded=binds(*limits_given), constrained=bool(outputs or given))
        record = record_of(limits, callback)
        printer = OptimizationPrinter(record, level)
        tolerance = record.limits.tolerance
        check_options(name, options or {}, len(start), tolerance)
        start, limited = checked_start(session, start, as_bounds(bounds, len(start)))
        record.bounds = limited
        how = {"method": name, "options": dict(told or {}), "tolerance": tolerance}
        written = open_journal(journal, session, start, how)
        course = OptimizationRun(session, record, written, callback, slots, arrangement)
        ftol = _LOOSE.get(name, 0.0) if tolerance is None else tolerance
        assessment = Assessment(
            cost=lambda values, _: float(values[0]),
            bounds=limited,
            gtol=(options or {}).get("gtol") or tolerance or _GTOL,
            ftol=max(_FTOL, (options or {}).get("ftol") or ftol),
            xtol=_xtol(name, options or {}, tolerance),
            constrained=bool(outputs or given),
            own_tolerance=tolerance is not None or any("tol" in each for each in options or {}),
            method=name,
        )
        problem = scalar.Scalar(session, record, Speculation(speculative, planned_slots=slots), outputs, given)
        if (limited[0] == limited[1]).all():
            result = course.run(start, scalar.evaluate_fixed(problem, problem.value, problem.gradient))
            if record.best is not None and record.best.violation > FEASIBLE:
                result.success, result.message = False, f"{result.message}; but the constraints do not hold there"
            return printer.ended(arrangement.arranged(scalar.finished(result, record, outputs)))
        if name == OWN:
            if session.warm is not None:
                raise InputError(
                    f"warm: {session.warm} starts points from the state of one x, and L-BFGS evaluates several x in "
                    "one wave; use method L-BFGS-B, or no warm"
                )
            own = minimize_by_lbfgs(course, _limits(bounds, len(start)), chosen(options or {}, tolerance))
            result = course.run(start, own)
            assessment.apply(result, record, session)
            return printer.ended(arrangement.arranged(scalar.finished(result, record, None)))
        run = scalar.minimize_by_scipy(
            name,
            problem,
            course,
            bounds=_kept(bounds, len(start)) if METHODS[name].bounds else None,
            options=options or {},
            tolerance=tolerance,
            free=takes_out(name, *limited),
        )
        if name == "trust-constr":
            bound = bool(outputs or given)
            others = other_methods(name, fit=False, constrained=bound)
            run = with_restarts(run, record, session, limited, least=1.0, constrained=bound, others=others)
        result = course.run(start, run)
        if result.success and result.status != STOPPED and (outputs or given):
            problem.end_at(result.x)
        assessment.apply(result, record, session)
        assessment.judge_constraints(result, record, session, problem.output_slopes, given)
        return printer.ended(arrangement.arranged(scalar.finished(result, record, outputs)))


def _xtol(name: str, options: Mapping[str, Any], tolerance: float | None) -> float:
    """A relative step that is negligible for the method of this name."""
    given = max(options.get(each) or 0.0 for each in ("xtol", "xrtol"))
    return max(given or tolerance or _LONG.get(name, 0.0), XTOL)


def _kept(bounds: Any, d: int) -> Any:
    """Bounds that SciPy's methods respect at every point, not only at the last: J is never evaluated outside."""
    if bounds is None:
        return None
    from scipy.optimize import Bounds

    return Bounds(*as_bounds(bounds, d), keep_feasible=True)


def _limits(bounds: Any, d: int) -> Any:
    return None if bounds is None else as_bounds(bounds, d)
