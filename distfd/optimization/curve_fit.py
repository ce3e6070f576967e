"""SciPy's curve_fit, distributed: same signature and semantics, with the model evaluated by an Evaluator.

SciPy's own function does the fit; waves of an Evaluator supply the model's values and Jacobians. SciPy's own tests of
curve_fit are run against this function.
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypedDict, Unpack, overload

import numpy as np

from distfd.core.errors import EvaluationError, InputError
from distfd.core.failures import EvaluationFailure
from distfd.core.structure_kinds import is_named_series, is_namedtuple, is_series
from distfd.core.structure_parts import few
from distfd.evaluation.evaluator import Evaluator
from distfd.evaluation.keywords import SessionOptions, lists_options_of
from distfd.evaluation.outcome import give_warnings
from distfd.evaluation.verbosity import check_verbose
from distfd.observers.progress import Progress
from distfd.optimization.convergence_assessment import Assessment
from distfd.optimization.curve_residuals import CurveResiduals, fitted_points, residuals_of, spread_of
from distfd.optimization.history import Record
from distfd.optimization.seen_point import Seen
from distfd.optimization.speculation import Speculation
from distfd.optimization.value_and_derivative import ValueAndDerivative
from distfd.workers.worker import BadValueError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray
    from scipy.optimize import Bounds

    from distfd.results.derivative_result import DerivativeResult

    Vector = NDArray[np.float64]

_SCHEMES = {"2-point": "forward", "3-point": "central", "cs": "complex-step"}
"""SciPy's words for ``jac``, and the schemes of distfd that they mean."""


class ScipyFitOptions(TypedDict, total=False):
    """What scipy.optimize.curve_fit hands on to leastsq (method lm) or to least_squares (trf and dogbox)."""

    ftol: float | None
    xtol: float | None
    gtol: float | None
    maxfev: int | None
    max_nfev: int | None
    factor: float
    diag: ArrayLike | None
    col_deriv: bool
    x_scale: Any
    loss: Any
    f_scale: float
    tr_solver: Literal["exact", "lsmr"] | None
    tr_options: Mapping[str, Any]
    verbose: Literal[0, 1, 2]
    callback: Any
    epsfcn: float | None
    diff_step: ArrayLike | None
    jac_sparsity: Any


class CurveFitOptions(SessionOptions, ScipyFitOptions, total=False):
    """All keywords of `curve_fit` that are not parameters in its signature."""


_SCIPYS = frozenset(ScipyFitOptions.__annotations__)


@overload
def curve_fit(
    f: Callable[..., Any],
    xdata: Any,
    ydata: ArrayLike,
    p0: ArrayLike | None = ...,
    sigma: ArrayLike | None = ...,
    absolute_sigma: bool = ...,
    check_finite: bool | None = ...,
    bounds: Bounds | tuple[ArrayLike, ArrayLike] = ...,
    method: Literal["lm", "trf", "dogbox"] | None = ...,
    jac: Callable[..., Any] | Literal["2-point", "3-point", "cs"] | None = ...,
    *,
    full_output: Literal[False] = ...,
    nan_policy: Literal["raise", "omit"] | None = ...,
    **options: Unpack[CurveFitOptions],
) -> tuple[Vector, Vector]: ...


@overload
def curve_fit(
    f: Callable[..., Any],
    xdata: Any,
    ydata: ArrayLike,
    p0: ArrayLike | None = ...,
    sigma: ArrayLike | None = ...,
    absolute_sigma: bool = ...,
    check_finite: bool | None = ...,
    bounds: Bounds | tuple[ArrayLike, ArrayLike] = ...,
    method: Literal["lm", "trf", "dogbox"] | None = ...,
    jac: Callable[..., Any] | Literal["2-point", "3-point", "cs"] | None = ...,
    *,
    full_output: Literal[True],
    nan_policy: Literal["raise", "omit"] | None = ...,
    **options: Unpack[CurveFitOptions],
) -> tuple[Vector, Vector, dict[str, Any], str, int]: ...


@lists_options_of(Evaluator, answers=_SCIPYS)
def curve_fit(  # noqa: PLR0917  # SciPy's signature
    f: Callable[..., Any],
    xdata: Any,
    ydata: ArrayLike,
    p0: ArrayLike | None = None,
    sigma: ArrayLike | None = None,
    absolute_sigma: bool = False,
    check_finite: bool | None = None,
    bounds: Any = (-np.inf, np.inf),
    method: Literal["lm", "trf", "dogbox"] | None = None,
    jac: Any = None,
    *,
    full_output: bool = False,
    nan_policy: Literal["raise", "omit"] | None = None,
    **options: Unpack[CurveFitOptions],
) -> Any:
    """Fit the parameters of a model f(xdata, *p) to data, as scipy.optimize.curve_fit does, each trial in one wave.

    The model at a trial and the differences of its Jacobian go out together. `distfd.least_squares` has more: limits,
    a journal, a method that fills all slots, and a result that prints as a table.

    Parameters
    ----------
    f : callable
        f(xdata, p_1, ... p_d) to (m,) values of the model, or to one number.
    xdata : anything
        Given to f as it is; a list, tuple or array as an array of float64.
    ydata : (m,) array
    p0 : (d,) array, optional
        The start; by default ones, or the middle between bounds, as many as f has parameters.
    sigma : number, (m,) or (m, m) array, optional
        Standard deviations of ydata, or their covariance.
    absolute_sigma : bool
        Whether sigma holds true sizes; else only their ratios count, and the residuals tell the size.
    check_finite, nan_policy
        SciPy's: what is done about data that are not finite.
    bounds : scipy.optimize.Bounds or (lower, upper)
        No point is evaluated outside, differences included.
    method : "lm", "trf" or "dogbox", optional
        By default lm without bounds and trf with them.
    jac : callable, "2-point", "3-point" or "cs", optional
        A callable jac(xdata, p_1, ...) gives (m, d) and is called here; the model alone is distributed then. A text is
        another word for the scheme forward, central or complex-step.
    full_output : bool
    **options
        Those of `distfd.Evaluator` (executor, store, scheme, step, timeout, retries ...; ``names`` are by default those
        of f's parameters), and SciPy's: ftol, xtol, gtol, maxfev or max_nfev, for lm factor and diag, for the others
        x_scale, loss, f_scale, tr_solver, tr_options, verbose and callback. epsfcn and diff_step are steps, relative to
        the parameters; ``jac_sparsity`` saves evaluations as sparsity does for `distfd.jacobian`. maxfev and nfev count
        values and no differences.

    Returns
    -------
    popt : (d,) ndarray
    pcov : (d, d) ndarray
        Covariance of popt, as SciPy has it.
    infodict, mesg, ier
        With full_output, SciPy's; infodict has ``n_evaluations`` and ``n_reused`` too, differences included.

    Raises
    ------
    ValueError, TypeError, RuntimeError
        SciPy's own, RuntimeError where the fit does not converge; and what f raises, as it is.
    EvaluationError
        If f comes to nothing otherwise: its process dies, it runs past the timeout, or it is not finite at a
        difference, or with lm at p0. Where it is not finite at a trial, SciPy goes on with NaN.
    InputError
        If an option makes no sense.
    """
    from scipy.optimize import curve_fit as scipys

    if not callable(f) or inspect.isclass(f):
        raise InputError(
            f"f: must be a function f(xdata, *parameters) (was {f!r}); for a simulator or a program use "
            "distfd.least_squares, with residuals as outputs"
        )
    if isinstance(p0, Mapping) or dataclasses.is_dataclass(p0):
        raise InputError(
            f"p0: must be an array, in the order of f's parameters (was {type(p0).__name__}); distfd.least_squares "
            "takes a dict or another structure"
        )
    pairs = not hasattr(bounds, "lb") and not (isinstance(bounds, (list, tuple, np.ndarray)) and len(bounds) == 2)
    if pairs:
        raise InputError(
            f"bounds: must be (lower, upper), each a number or an array, or a scipy.optimize.Bounds (was {bounds!r})"
        )
    _check_masks(xdata=xdata, ydata=ydata, sigma=sigma)
    _check_start(f, p0)
    theirs: dict[str, Any] = {name: value for name, value in options.items() if name in _SCIPYS}
    ours: dict[str, Any] = {name: value for name, value in options.items() if name not in _SCIPYS}
    for name in ("args", "kwargs"):
        if ours.pop(name, None):
            raise InputError(
                f"{name!r} is not a supported keyword argument: f is called as f(xdata, *parameters); bind "
                "further arguments with functools.partial"
            )
    lm = method == "lm" or (method is None and not _bounded(bounds))
    if lm and check_verbose(theirs.pop("verbose", 0)):  # leastsq has no verbose
        ours["observers"] = (*ours.get("observers", ()), Progress(style="lines"))
    sparsity = theirs.pop("jac_sparsity", None)
    _choose_differences(jac, theirs, ours)
    own = callable(jac)
    if not own:
        theirs.pop("col_deriv", None)  # this option is for a callable jac
    spread = spread_of(sigma, ydata)
    fitted = fitted_points(xdata, ydata, omit=nan_policy == "omit")
    rows = int(fitted.sum()) if spread.ndim == 2 else 1
    residuals = None if own else residuals_of(ydata, spread, fitted, theirs)
    model = _Distributed(f, bounds, ours, sparsity, rows, own, lm=lm, residuals=residuals)
    try:
        found = scipys(
            _with_signature_of(f, model.values) if p0 is None else model.values,
            xdata,
            ydata,
            p0,
            spread,
            absolute_sigma,
            check_finite,
            bounds,
            method,
            jac if own else model.jacobian,
            full_output=True,
            nan_policy=nan_policy,
            **theirs,
        )
        give_warnings(model.doubts(theirs, method or ("lm" if lm else "trf")))
    finally:
        model.close()
    if np.isnan(found[1]).any() or np.isnan(found[2]["fvec"]).any():
        # SciPy's own differences are NaN where data are NaN, and SciPy then warns; ours contain the model only, so warn
        # here. With absolute_sigma, SciPy's covariance does not depend on the residuals, and would look like a fit's.
        _say_undetermined()
        found = (found[0], np.full_like(found[1], np.inf), *found[2:])
    if not full_output:
        return found[:2]
    found[2].update(n_evaluations=model.record.n_evaluations, n_reused=model.record.n_reused)
    return found


@dataclass(frozen=True, eq=False)
class _Curve:
    """The model as J(x), where x is the parameters; picklable if ``f`` is."""

    f: Callable[..., Any]

    def __call__(self, x: NDArray[Any], xdata: Any) -> Any:
        returned = self.f(xdata, *x)
        found = np.atleast_1d(returned)
        if found.ndim > 1:
            raise ValueError(f"f must return one number for each of ydata, in one dimension (shape was {found.shape})")
        if found.dtype.kind not in ("biufc" if x.dtype.kind == "c" else "biuf"):
            raise TypeError(f"f must return real numbers (dtype was {found.dtype})")
        if found.dtype.kind == "b":
            return found.astype(np.int64)
        return returned if is_series(returned) else found  # the order of a Series' labels is looked at


@dataclass(eq=False)
class _Distributed:
    """Supplies the model's values and Jacobians by an Evaluator, which is made when SciPy passes the data.

    Parameters
    ----------
    f : callable
    bounds
        As for `curve_fit`.
    options : mapping
        Options of the Evaluator.
    sparsity
        Sparsity of the Jacobian, as for `Evaluator.jacobian`.
    rows : int
        Number of residuals, where their covariance is given; else 1.
    own : bool
        Whether the user gives a Jacobian, so that only values are needed here.
    lm : bool
        Whether the method is lm, which does not check that values at the start are finite.
    residuals : CurveResiduals, optional
        How SciPy makes residuals of values. If given, the run is recorded, to judge how it ends.
    """

    f: Callable[..., Any]
    bounds: Any
    options: Mapping[str, Any]
    sparsity: Any
    rows: int
    own: bool
    lm: bool
    residuals: CurveResiduals | None = None
    record: Record = field(default_factory=lambda: Record(measure="cost"))
    _asker: ValueAndDerivative | None = None
    _evaluator: Evaluator | None = None
    _open: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    _size: int = 0
    """Number of elements that f returns; 0 until it is known."""

    def values(self, xdata: Any, *p: float) -> Vector:
        """f(xdata, *p), (m,); NaN where it is not finite.

        Raises
        ------
        EvaluationError
            If f fails (rather than returns NaN), or with lm, if values at the start are not finite.
        """
        try:
            value = np.atleast_1d(self._ask(xdata, len(p)).value(np.array(p, dtype=np.float64)))
        except EvaluationError as error:
            if not isinstance(error.__cause__, BadValueError) or (self.lm and not self._size):
                _raise_cause(error)
            return np.full(max(self._size, 1), np.nan)
        self._size = len(value)
        if self.residuals is not None:
            self.record.valued(np.array(p, dtype=np.float64), self.residuals.cost(value))
        return value

    def jacobian(self, xdata: Any, *p: float) -> Vector:
        """(m, d) derivatives of f by the parameters."""
        try:
            result = self._ask(xdata, len(p)).derivative(np.array(p, dtype=np.float64))
        except EvaluationError as error:
            at_p = error.evaluation is not None and not error.evaluation.changes
            if not isinstance(error.__cause__, BadValueError) or not at_p:
                _raise_cause(error)
            # SciPy asks for the Jacobian before it checks that the values are finite.
            return np.full((max(self._size, 1), len(p)), np.nan)
        found = result.derivative
        dense = np.array(found) if isinstance(found, np.ndarray) else np.asarray(found.toarray())
        if self.residuals is not None:
            self._see(np.array(p, dtype=np.float64), result, dense, self.residuals)
        return dense if len(dense) > 1 else np.repeat(dense, self.rows, axis=0)

    def _see(self, x: Vector, result: DerivativeResult, jacobian: Vector, residuals: CurveResiduals) -> None:
        """Records a point whose Jacobian is known."""
        values, slopes = residuals.of(np.asarray(result.value)), residuals.scaled(jacobian)
        gradient = residuals.loss.gradient(values, slopes)
        seen = Seen(x, residuals.loss.cost(values), replace(result, value=values, derivative=slopes), gradient)
        record = self.record
        record.evidence.gradient(seen)
        record.latest = seen
        record.iterations += record.first is not None
        record.first = record.first or seen
        if seen.better_than(record.best) or seen.replaces(record.best):
            record.best = seen

    def doubts(self, options: Mapping[str, Any], method: str) -> tuple[str, ...]:
        """What speaks against a minimum at the end of a run that SciPy calls converged; empty if nothing does."""
        if self.residuals is None or self._evaluator is None or self.record.best is None:
            return ()
        from scipy.optimize import OptimizeResult

        verdict = OptimizeResult(success=True, status=1, message="it has converged")
        residuals, site = self.residuals, self._evaluator.setting(self.record.best.x).site
        bounds = site.lower, site.upper
        assessment = Assessment.of_fit(lambda values, _x: residuals.cost(values), bounds, options, method)
        assessment.apply(verdict, self.record, self._evaluator)
        return () if verdict.success else (f"popt and pcov may be wrong: {verdict.message}",)

    def close(self) -> None:
        """Cancels running evaluations and gives the slots back."""
        self._open.close()

    def _ask(self, xdata: Any, d: int) -> ValueAndDerivative:
        if self._asker is None:
            given = {"names": _names(self.f, d), **self.options}
            evaluator = self._open.enter_context(
                Evaluator(_Curve(self.f), args=(xdata,), bounds=_limits(self.bounds, d), **given)
            )
            self._evaluator = evaluator
            # Each warning is given once, and derivatives are checked only if the user asks for it.
            self._open.enter_context(evaluator.checked(evaluator.check))
            self._open.enter_context(evaluator.accepting())
            speculation = Speculation(wanted=False if self.own else "auto")
            self._asker = ValueAndDerivative(evaluator, self.record, speculation, "jacobian", sparsity=self.sparsity)
            self._open.callback(self._asker.close)
        return self._asker


def _raise_cause(error: EvaluationError) -> NoReturn:
    """Raises the exception that f raised, unchanged, if there is one; else the error itself."""
    cause = error.__cause__
    if isinstance(cause, Exception) and not isinstance(cause, EvaluationFailure):
        raise cause from cause.__cause__
    raise error


def _choose_differences(jac: Any, theirs: dict[str, Any], ours: dict[str, Any]) -> None:
    """Replaces SciPy's words for differences by scheme and step.

    Raises
    ------
    InputError
        If the word is unknown, or both SciPy's word and ours are given.
    """
    if jac is not None and not callable(jac):
        if not isinstance(jac, str) or jac not in _SCHEMES:
            raise InputError(f"jac: must be a function, {', '.join(_SCHEMES)}, or None (was {jac!r})")
        if "scheme" in ours:
            raise InputError(f"jac: {jac} means a scheme, and scheme is given too; give only one of them")
        ours["scheme"] = _SCHEMES[jac]
    for name in ("epsfcn", "diff_step"):
        given = theirs.pop(name, None)
        if given is not None:
            if ours.get("step") is not None:
                raise InputError(f"{name}: means the same as step, and step is given too; give only one of them")
            ours["step"] = np.sqrt(given) if name == "epsfcn" else given


def _say_undetermined() -> None:
    import warnings

    from scipy.optimize import OptimizeWarning

    warnings.warn("Covariance of the parameters could not be estimated", OptimizeWarning, stacklevel=4)


def _check_masks(**data: Any) -> None:
    for name, given in data.items():
        if np.ma.is_masked(given):
            raise InputError(f"{name}: some of its entries are masked; leave these points out of {', '.join(data)}")


def _check_start(f: Callable[..., Any], p0: Any) -> None:
    """Checks that p0 has a number for each of f's parameters, in their order where it has labels.

    Raises
    ------
    InputError
        If it has not.
    """
    if p0 is None:
        return
    try:
        signature = inspect.signature(f)
    except (TypeError, ValueError):  # some functions written in C have no signature
        return
    try:
        signature.bind(None, *[0.0] * np.size(p0))
    except TypeError as error:
        raise InputError(f"p0: f cannot be called with {np.size(p0)} parameters: {error}") from error
    labels = p0._fields if is_namedtuple(p0) else p0.index if is_named_series(p0) else None
    names = _names(f, np.size(p0))
    if labels is not None and names is not None and list(map(str, labels)) != names:
        raise InputError(f"p0: has the labels {few(labels)}, and f's parameters are {few(names)}; give this order")


def _names(f: Callable[..., Any], d: int) -> list[str] | None:
    """The names of f's parameters after xdata, if their number is that of the fitted parameters."""
    try:
        parameters = list(inspect.signature(f).parameters.values())[1:]
    except (TypeError, ValueError):  # some functions written in C have no signature
        return None
    several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    found = [each.name for each in parameters if each.kind not in several]
    return found if len(found) == d else None


def _limits(bounds: Any, d: int) -> Any:
    """The bounds as the Evaluator takes them; None where there are none."""
    from scipy.optimize import Bounds

    lower, upper = (bounds.lb, bounds.ub) if isinstance(bounds, Bounds) else bounds
    lower, upper = (np.broadcast_to(np.asarray(each, dtype=np.float64), (d,)) for each in (lower, upper))
    return Bounds(lower, upper) if _bounded((lower, upper)) else None


def _bounded(bounds: Any) -> bool:
    """Whether SciPy finds finite bounds in this value; a value of no valid form is left for SciPy to refuse."""
    try:
        lower, upper = (bounds.lb, bounds.ub) if hasattr(bounds, "lb") else bounds
        return bool(np.any(np.asarray(lower) > -np.inf) or np.any(np.asarray(upper) < np.inf))
    except (TypeError, ValueError):
        return False


def _with_signature_of(f: Callable[..., Any], values: Callable[..., Any]) -> Callable[..., Any]:
    """``values`` with the signature of f, from which SciPy counts the parameters."""

    def named(xdata: Any, *p: float) -> Any:
        return values(xdata, *p)

    named.__signature__ = inspect.signature(f)  # type: ignore[attr-defined]  # inspect reads the signature there
    return named
