"""First-order uncertainty of J's outputs from that of its parameters, in one call."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from distfd.core.errors import InputError
from distfd.core.structure_kinds import is_frame, is_structured
from distfd.differentiation.steps import as_real
from distfd.evaluation.api import opened
from distfd.evaluation.evaluator import Evaluator
from distfd.evaluation.keywords import lists_options_of
from distfd.evaluation.structured_options import in_order_of
from distfd.evaluation.verbosity import check_verbose
from distfd.results.sensitivity_result import SensitivityResult, propagate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from distfd.evaluation.keywords import EvaluatorOptions, PointLike, Verbosity

    Floats = NDArray[np.float64]

_MOST = 5e7
"""Entries up to which a sparse Jacobian is made dense (400 MB)."""
_ROUNDING = 1e-10
"""Of the largest variance: how far a covariance may be from symmetric and from having no negative eigenvalue."""


@lists_options_of(Evaluator)
def sensitivity(
    fun: Any,
    x: PointLike,
    sigma_x: PointLike,
    *,
    sparsity: Any = None,
    verbose: Verbosity = 0,
    **options: Unpack[EvaluatorOptions],
) -> SensitivityResult:
    """How uncertain J's outputs are to first order, given how uncertain x is, and which parameters that comes from.

    The standard uncertainties are sqrt(diag(J C J^T)), with the Jacobian J by differences and the covariance C of x
    (JCGM 100:2008, equations 10 and 13), for d + 1 evaluations by default. With ``step="auto"`` or a scheme that has
    error bars, they are carried into all results.

    Parameters
    ----------
    fun : callable, class or objective
        ``fun(x, *args, **kwargs)`` to a number or (m,) of them, as for `distfd.Evaluator`; or an Evaluator, which then
        stays open.
    x : (d,) array, or a dict or another structure of numbers
    sigma_x : number, (d,) or (d, d) array
        Standard deviations of independent parameters, >= 0, in the units of x (one number is that of each); or their
        covariance matrix.
    sparsity
        Of the Jacobian, as for `distfd.jacobian`.
    verbose : 0, 1 or 2
        As for `distfd.differentiate`; an Evaluator that is given prints nothing.
    **options
        Of `distfd.Evaluator`.

    Returns
    -------
    SensitivityResult
        ``sigma``, ``shares``, ``normalised``, each with an ``..._error``, ``covariance``; it prints as a table.
        A derivative that is missing (on_failure="nan") makes NaN of sigma, of all shares and of the covariances of its
        output, unless the parameter has no uncertainty: then it contributes 0, and only its own normalised
        sensitivity is NaN.

    Raises
    ------
    InputError
        If sigma_x has the wrong shape, is negative, or is no covariance; or an option makes no sense.
    EvaluationError
        If J fails at x, or a derivative has no value (where on_failure="raise").
    """
    with _session(fun, verbose, options) as session:
        setting = session.setting(x)
        site = setting.site
        if is_frame(sigma_x) or session.structure is None:
            sigma_x = in_order_of(setting.options.names, sigma_x, "sigma_x")
        if session.structure is not None and is_structured(sigma_x):
            sigma_x = session.structure.spread("sigma_x", sigma_x)
            for k in np.flatnonzero(np.isnan(sigma_x))[:1].tolist():
                raise InputError(f"sigma_x: has no number for {site.label(k)}; give 0 for what is known exactly")
        sigma, covariance = checked_uncertainty(sigma_x, len(site.x), site.label)
        found = session.differentiate(site.x, kind="jacobian", sparsity=sparsity)
    return propagate(found, _dense(found.derivative), _dense(found.error), sigma, covariance)


def checked_uncertainty(given: PointLike, d: int, label: Callable[[int], str]) -> tuple[Floats, Floats | None]:
    """Standard deviations (d,), and the covariance (d, d) where it is not diagonal.

    Raises
    ------
    InputError
        If they are neither.
    """
    array = as_real("sigma_x", given)
    if array.ndim == 2 and array.shape == (d, d):
        return _from_covariance(array, label)
    if array.shape not in ((), (d,)):
        raise InputError(
            f"sigma_x: must be a number, {d} of them, or a ({d}, {d}) covariance (shape was {array.shape})"
        )
    sigma = np.broadcast_to(array, (d,)).copy()
    for k in np.flatnonzero(~(np.isfinite(sigma) & (sigma >= 0)))[:1].tolist():
        raise InputError(f"sigma_x: {label(k)} is {sigma[k]}; a standard deviation is finite and >= 0")
    return sigma, None


def _from_covariance(array: Floats, label: Callable[[int], str]) -> tuple[Floats, Floats | None]:
    for k, j in np.argwhere(~np.isfinite(array))[:1].tolist():
        raise InputError(f"sigma_x: the covariance of {label(k)} and {label(j)} is {array[k, j]}; it must be finite")
    variance = np.diag(array)
    for k in np.flatnonzero(variance < 0)[:1].tolist():
        raise InputError(f"sigma_x: the variance of {label(k)} is {variance[k]}; it must be >= 0")
    # Compared as correlations, so that the units of parameters do not matter.
    sizes = np.where(variance > 0, np.sqrt(variance), 1.0)
    scaled = array / np.outer(sizes, sizes)
    for k, j in np.argwhere(np.abs(scaled - scaled.T) > _ROUNDING)[:1].tolist():
        raise InputError(
            f"sigma_x: the covariance of {label(k)} and {label(j)} is {array[k, j]}, and {array[j, k]} the other way "
            "round; it must be symmetric"
        )
    off = array - np.diag(variance)
    if not off.any():
        return np.sqrt(variance), None
    least = float(np.linalg.eigvalsh((scaled + scaled.T) / 2)[0])
    if least < -_ROUNDING * len(array):
        raise InputError(
            f"sigma_x: is no covariance, as some combination of the parameters would have a negative variance (least "
            f"eigenvalue of the correlations {least:.3g})"
        )
    return np.sqrt(variance), (array + array.T) / 2


@contextlib.contextmanager
def _session(fun: Any, verbose: Any, options: Any) -> Iterator[Evaluator]:
    """The Evaluator that was given, or one for this call."""
    if isinstance(fun, Evaluator):
        if options:
            raise InputError(f"{min(options)}: is an option of the Evaluator; give it where you make the Evaluator")
        if check_verbose(verbose):
            raise InputError("verbose: is for a function that is given J; give the Evaluator observers")
        yield fun
        return
    with opened("sensitivity", fun, verbose, options) as made:
        yield made


def _dense(matrix: Any) -> Any:
    """A sparse matrix as an array; None as it is.

    Raises
    ------
    InputError
        If it is too large for that.
    """
    if matrix is None or isinstance(matrix, np.ndarray):
        return matrix
    m, d = matrix.shape
    if m * d > _MOST:
        raise InputError(f"shares need a dense Jacobian, and {m} x {d} is too large for that; use distfd.jacobian")
    return matrix.toarray()
