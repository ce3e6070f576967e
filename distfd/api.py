"""Derivatives in one call, each with slots and memory of its own. Options are those of `distfd.Evaluator`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from distfd.evaluator import Evaluator

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from distfd.results import DerivativeResult


def differentiate(fun: Any, x0: ArrayLike, *, kind: str = "gradient", **options: Any) -> DerivativeResult:
    """The derivative of J at x0 with all that is known of it.

    Parameters
    ----------
    fun : callable, class or objective
        ``fun(x, *args, **kwargs)``, x (d,), to a number, or for a Jacobian to (m,).
    x0 : (d,) array
    kind : str
        "gradient" or "jacobian".
    **options
        Of `distfd.Evaluator`.

    Returns
    -------
    DerivativeResult

    Raises
    ------
    InputError
        If an argument makes no sense.
    EvaluationError
        If J fails at x0, or a component has no value (unless on_failure="nan").
    ClusterError
        If Ray cannot be reached or started.
    """
    with Evaluator(fun, **options) as evaluator:
        return evaluator.differentiate(x0, kind=kind)


def gradient(fun: Any, x0: ArrayLike, **options: Any) -> NDArray[np.float64]:
    """dJ/dx at x0, (d,): by default (J(x + h_k e_k) - J(x)) / h_k with d + 1 evaluations.

    See `differentiate` for parameters and errors.
    """
    return differentiate(fun, x0, **options).derivative


def value_and_gradient(fun: Any, x0: ArrayLike, **options: Any) -> tuple[float, NDArray[np.float64]]:
    """J(x0) and dJ/dx there, from one wave. See `differentiate` for parameters and errors."""
    result = differentiate(fun, x0, **options)
    return float(result.value), result.derivative


def jacobian(fun: Any, x0: ArrayLike, **options: Any) -> NDArray[np.float64]:
    """dJ/dx of a J with m outputs, (m, d). See `differentiate` for parameters and errors."""
    return differentiate(fun, x0, kind="jacobian", **options).derivative
