"""Least squares by SciPy's methods or by distfd's own, each value and its Jacobian in one wave of one Evaluator."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Unpack, get_args

import numpy as np

from distfd.core.errors import InputError
from distfd.core.structure import make_structure
from distfd.core.structure_kinds import has_names, is_structured
from distfd.core.suggestions import did_you_mean
from distfd.core.validation import real_array
from distfd.differentiation.method import check_x
from distfd.differentiation.placement import as_bounds
from distfd.evaluation.evaluator import Evaluator
from distfd.evaluation.keywords import lists_options_of
from distfd.evaluation.structured_options import in_order_of
from distfd.optimization import scipy_least_squares as squares
from distfd.optimization import scipy_minimize as scalar
from distfd.optimization.advice import other_methods
from distfd.optimization.bound_restarts import with_restarts
from distfd.optimization.common_arguments import (
    INSTEAD,
    check_slots,
    checked_start,
    record_of,
    session_of,
)
from distfd.optimization.convergence_assessment import Assessment
from distfd.optimization.likelihood_profile import Refits
from distfd.optimization.method_options import check_fit_options, tolerances
from distfd.optimization.model_fit_options import chosen_for_model, typical_sizes_of
from distfd.optimization.model_fit_run import ModelFit
from distfd.optimization.optimization_run import Arrangement, OptimizationRun, open_journal
from distfd.optimization.printed_progress import OptimizationPrinter, talk
from distfd.optimization.robust_loss import Loss
from distfd.optimization.scipy_methods import MODEL, Fitter
from distfd.optimization.speculation import Speculation
from distfd.optimization.weighting import make_weighting

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray
    from scipy.optimize import OptimizeResult

    from distfd.evaluation.keywords import PointLike, SessionOptions, Verbosity
    from distfd.optimization.fit_result import FitResult
    from distfd.optimization.journal import Journal
    from distfd.optimization.limits import Limits
    from distfd.optimization.scipy_least_squares import Squares

FITTERS: tuple[str, ...] = get_args(Fitter)


@lists_options_of(Evaluator, answers=INSTEAD)
def least_squares(
    residuals: Any,
    x0: PointLike,
    *,
    method: Fitter = "trf",
    bounds: Any = None,
    loss: Any = "linear",
    f_scale: float = 1.0,
    x_scale: Any = 1.0,
    sparsity: Any = None,
    sigma: ArrayLike | Mapping[str, float] | None = None,
    absolute_sigma: bool | None = None,
    prior: Mapping[str, Any] | None = None,
    measured: ArrayLike | None = None,
    options: Mapping[str, Any] | None = None,
    callback: Callable[..., Any] | None = None,
    limits: Limits | None = None,
    speculative: bool | Literal["auto"] = "auto",
    slots: int | None = None,
    journal: str | os.PathLike[str] | Journal | None = None,
    verbose: Verbosity = 0,
    **evaluator: Unpack[SessionOptions],
) -> OptimizeResult:
    """Minimise the cost of residuals, half the sum of their squares, by scipy.optimize.least_squares or by a model.

    Parameters
    ----------
    residuals : callable, class or objective
        fun(x) to (m,), as for `distfd.Evaluator`; or an Evaluator, which then stays open.
    x0 : (d,) array, or a dict or another structure of numbers
        The residuals get the same structure, and ``params`` of the result has it. ``x`` and everything else are arrays
        in the order of ``names``. Bounds, step and scale may have the structure too.
    method : "trf", "dogbox", "lm" or "model"
        "model" is distfd's own (`distfd.optimization.model_fit`): a trust region on a regression of all values and
        slopes of the run. Its rounds use all slots, from 1 to 4 (d + 1) and more, and it takes noise into account. With
        "lm", J must not fail at any trial.
    bounds : scipy.optimize.Bounds or (lower, upper)
        As for SciPy's function, and for every point at which J is evaluated.
    loss, f_scale, x_scale
        As for SciPy's function. For "model", x_scale holds typical sizes, by default those of x0.
    sparsity
        Which entries of the Jacobian can differ from 0, as for `Evaluator.jacobian`; not for "model".
    sigma : number, (m,) array, or mapping, optional
        Standard deviations of the residuals. The residuals are divided by them, and fun and jac are in these units. For
        a `CommandObjective` or an `FMUObjective` also {name: number}, by the names of outputs or data: every expression
        of ``value`` then needs exactly one.
    absolute_sigma : bool, optional
        True: ``sigma`` (or, without it, 1) is the true size. False: only its ratios count, and the scatter of the
        residuals gives the size. By default True if there is sigma.
    prior : mapping, optional
        What you know about parameters beforehand: {name: {"value": v, "sigma": s}} or {name: (v, s)}. Coordinates
        without names are called x0, x1, ... Each prior adds a residual (x_k - v) / s at the end of fun, and a row of
        jac, as PEST's prior information and Tikhonov's regularisation do. With a prior, give residuals in units of
        their standard deviations, or give sigma.
    measured : (m,) array, optional
        The measured data, for R^2 in the printed table. The fit does not depend on them. Those of a `CommandObjective`
        or an `FMUObjective` are known where each expression of ``value`` is an output minus data.
    options : mapping
        Further arguments of SciPy's function: ftol, xtol, gtol, max_nfev, tr_solver, tr_options. For "model" ftol,
        xtol, gtol, and ``noise``, the standard deviation of the noise in a residual where it is known.
    callback, limits, speculative, slots, journal, verbose
        As for `minimize`, with "model" instead of L-BFGS. The target is a limit of the cost, and ``tolerance`` sets
        ftol, xtol and gtol. An iteration is a step that was accepted.
    **evaluator
        Options of `distfd.Evaluator`.

    Returns
    -------
    scipy.optimize.OptimizeResult
        ``x``, ``cost``, ``fun``, ``jac`` and ``grad`` are those of the best point. A robust loss scales ``jac``, as in
        SciPy, but not ``jacobian``. The result prints as a table of the parameters, and ``table()`` has its columns.
        ``covariance``, ``standard_errors``, ``correlation``, ``confidence_intervals(level)``, ``not_told_apart``,
        ``residuals`` and ``r_squared(measured)`` are explained in `distfd.optimization.fit_statistics`.
        ``profile(names)`` computes likelihood intervals by further fits. ``active_mask`` is -1 or 1 where a bound stops
        a parameter: it has no standard error, and the errors of the others are those of a fit in which it is fixed.
        ``optimality`` is the largest slope of the cost along a parameter that no bound stops (trf, dogbox: scaled as
        SciPy scales it). ``residual_names`` are the names of the rows of fun and jac, if J's outputs have names.
        ``kept``, (m,), says which residuals had a value at x0. With on_failure "nan" or "repair" the others are left
        out of the fit, with a warning, and fun and jac have rows only for those that are kept. The last ``n_prior``
        residuals are those of ``prior``; all statistics count them among the m. If a limit ends "model" at a point
        where not all differences are known, jac is the regression's, and the scheme of ``derivative`` is "model". The
        rest is as for `minimize`; ``derivative`` and ``first`` are those of the cost.

    Raises
    ------
    EvaluationError, InputError
        As `minimize`.
    """
    bounds = _bounds_of(bounds, x0, evaluator.get("names"))
    told, (options, level) = options, talk(options, verbose)
    with session_of(residuals, bounds, evaluator) as session:
        start = session.flatten(x0)
        limited = session.flat_bounds(bounds)
        arrangement = Arrangement(session if is_structured(x0) else None)
        x_scale = arrangement.sizes("x_scale", in_order_of(evaluator.get("names"), x_scale, "x_scale"))
        _check_fit(method, sparsity, absolute_sigma)
        check_slots(slots)
        printer = OptimizationPrinter(record := record_of(limits, callback, "cost"), level)
        tolerance, apart = record.limits.tolerance, {"loss": loss, "f_scale": f_scale, "x_scale": x_scale}
        check_fit_options(method, len(start), options=options or {}, tolerance=tolerance, **apart)
        start, limits_of_x = checked_start(session, start, as_bounds(limited, len(start)))
        fixed = limits_of_x[0] == limits_of_x[1]
        if method == "lm" and np.isfinite(limits_of_x)[:, ~fixed].any():
            raise InputError("method: lm cannot handle bounds; remove them, or use trf or dogbox")
        given = {**tolerances(tolerance), **(options or {}), **apart}
        how = {"method": method, "options": {**given, **(told or {}), **apart}, **_told_of_weighting(sigma, prior)}
        names = session.setting(start).options.names or [f"x{k}" for k in range(len(start))]
        weighting = make_weighting(sigma, prior, names, fixed, session.output_parts)
        absolute = sigma is not None if absolute_sigma is None else absolute_sigma
        finish = squares.Finish(
            record,
            Loss(loss, f_scale),
            limits_of_x,
            absolute,
            len(weighting.at),
            weighting.sigma,
            _data(measured),
            session.output_parts,
            session.output_names,
            [names[k] for k in weighting.at],
        )
        written = open_journal(journal, session, start, how)
        course = OptimizationRun(session, record, written, callback, slots, arrangement)
        weigh = finish.loss

        def refitted(result: FitResult, kept: NDArray[np.bool_] | None) -> FitResult:
            """With what its profiles evaluate."""
            again = _again(residuals, x0, bounds, evaluator)
            result.keep_refits(Refits(again, weigh, *limits_of_x, weighting, kept, sparsity))
            return result

        problem = squares.Squares(
            session, course, Speculation(speculative, planned_slots=slots), weigh, sparsity, method != "lm", weighting
        )
        if fixed.all():
            result = course.run(start, scalar.evaluate_fixed(problem, problem.residuals, problem.jacobian))
            return printer.ended(arrangement.with_params(finish(result)))
        if method == MODEL:
            sizes = typical_sizes_of(start, x_scale)
            adapts = np.ndim(x_scale) == 0 and x_scale == 1
            wanted = chosen_for_model(options or {}, tolerance)
            fit = ModelFit(course, limits_of_x, sizes, weigh, wanted, adapts, weighting)
            result = course.run(start, fit)
            # In a fit, steps are long and whole Jacobians few, so they tell little about noise: the regression detects
            # it itself, and only J near the end is looked at.
            _assessment(fit, limits_of_x, given, method).apply(
                result, record, session, slopes=fit.noise is None and not record.iterations, noise=fit.cost_noise
            )
            result.noise = fit.noise or result.get("noise")
            return printer.ended(arrangement.with_params(refitted(finish(result, fit.kept), fit.kept)))
        problem.n_fixed = int(fixed.sum())
        run = squares.fit_by_scipy(
            problem, method=method, bounds=_open_ended(limited, len(start)), options=given, free=~fixed
        )
        if method != "lm":
            run = with_restarts(run, record, session, limits_of_x, least=0.0, others=other_methods(method, fit=True))
        result = course.run(start, run)
        _assessment(problem, limits_of_x, given, method).apply(result, record, session)
        return printer.ended(arrangement.with_params(refitted(finish(result, problem.kept), problem.kept)))


def _again(fun: Any, x0: Any, bounds: Any, options: Mapping[str, Any]) -> Callable[[], Any]:
    """A function that opens the session of a fit again."""

    @contextlib.contextmanager
    def opened() -> Any:
        with session_of(fun, bounds, options) as session:
            session.flatten(x0)
            yield session

    return opened


def _assessment(
    problem: Squares | ModelFit, bounds: tuple[Any, Any], options: Mapping[str, Any], method: str
) -> Assessment:
    """The assessment of a fit's convergence."""
    return Assessment.of_fit(
        lambda values, x: problem.loss.cost(problem.weighting.cost_values(values, problem.kept, x)),
        bounds,
        options,
        method,
    )


def _told_of_weighting(sigma: Any, prior: Any) -> dict[str, Any]:
    """The weighting as entries for the journal; empty if there is none."""
    given = {"sigma": sigma, "prior": prior}
    return {name: value for name, value in given.items() if value is not None}


def _data(measured: ArrayLike | None) -> NDArray[np.float64] | None:
    """The data of a fit, (m,)."""
    if measured is None:
        return None
    try:
        data = real_array(measured)
    except ValueError as error:
        raise InputError(f"measured: must be real numbers (was {measured!r}: {error})") from None
    if data.ndim != 1:
        raise InputError(f"measured: must be one-dimensional, as the residuals are (had shape {data.shape})")
    return data


def _check_fit(method: str, sparsity: Any, absolute_sigma: Any) -> None:
    if method not in FITTERS:
        raise InputError(
            f"method: must be one of {', '.join(FITTERS)} (was {method!r}){did_you_mean(str(method), FITTERS)}"
        )
    if method == MODEL and sparsity is not None:
        raise InputError("sparsity: the method model takes dense Jacobians only; use trf or dogbox, or no sparsity")
    if absolute_sigma not in (None, True, False):
        raise InputError(f"absolute_sigma: must be True, False or None (was {absolute_sigma!r})")


def _bounds_of(bounds: Any, x0: Any, names: Sequence[str] | None) -> Any:
    """Bounds as for scipy.optimize.least_squares as d pairs; a Bounds, and bounds by the names of x, unchanged."""
    if is_structured(x0):
        flat = make_structure(x0).flatten(x0)
        if not hasattr(bounds, "lb") and has_names(bounds):
            return bounds
    else:
        flat = check_x(x0)
        if names is not None and isinstance(bounds, Mapping):
            return bounds
    return bounds if bounds is None or hasattr(bounds, "lb") else _pairs(bounds, flat, names)


def _pairs(bounds: Any, x0: NDArray[np.float64], names: Sequence[str] | None) -> Any:
    if isinstance(bounds, str) or not isinstance(bounds, Sequence | np.ndarray) or len(bounds) != 2:
        raise InputError("bounds: must be a scipy.optimize.Bounds or a pair (lower, upper), each a number or d of them")
    limits = [in_order_of(names, limit, "bounds") for limit in bounds]
    try:
        lower, upper = (np.broadcast_to(real_array(limit), x0.shape) for limit in limits)
    except ValueError:
        raise InputError(
            f"bounds: lower and upper must each be a number or {len(x0)} of them (was {bounds!r})"
        ) from None
    if len(x0) == 2 and _are_meant_as_pairs(lower, upper, x0):
        raise InputError(
            f"bounds: is (lower, upper) here, as in SciPy's least_squares, and x0 is outside (was {bounds!r}); for a "
            "pair a coordinate give scipy.optimize.Bounds(lower, upper)"
        )
    if (lower == upper).all():  # two pairs that fix both coordinates look like two arrays
        from scipy.optimize import Bounds

        return Bounds(lower, upper)
    return list(zip(lower.tolist(), upper.tolist(), strict=True))


def _are_meant_as_pairs(lower: NDArray[np.float64], upper: NDArray[np.float64], x: NDArray[np.float64]) -> bool:
    """Whether x (2,) is inside of two bounds (2,) only if each of them is the (lower, upper) of one coordinate."""
    inside = ((lower <= x) & (x <= upper)).all()
    return bool(not inside and lower[0] <= x[0] <= lower[1] and upper[0] <= x[1] <= upper[1])


def _open_ended(bounds: Any, d: int) -> Any:
    return (-np.inf, np.inf) if bounds is None else as_bounds(bounds, d)
