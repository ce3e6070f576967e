"""Derivatives in one call, each with slots and memory of its own. Options are those of `distfd.Evaluator`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from distfd.evaluation.evaluator import Evaluator

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from distfd.differentiation.noise_result import NoiseResult
    from distfd.results.derivative_result import DerivativeResult


_PARTICULARS = ("sparsity", "v", "directions")


def differentiate(fun: Any, x0: ArrayLike, *, kind: str = "gradient", **options: Any) -> DerivativeResult:
    """The derivative of J at x0 with all that is known of it.

    Parameters
    ----------
    fun : callable, class or objective
        ``fun(x, *args, **kwargs)``, x (d,), to a number, or for a Jacobian to (m,).
    x0 : (d,) array
    kind : str
        "gradient", "jacobian", "hessian", "hvp", "jvp" or "directional".
    **options
        Of `distfd.Evaluator`; and what the kind needs: ``sparsity``, ``v`` or ``directions``.

    Returns
    -------
    DerivativeResult

    Raises
    ------
    InputError
        If an argument makes no sense.
    EvaluationError
        If J fails at x0, or a component has no value (where on_failure="raise").
    ClusterError
        If Ray cannot be reached or started.
    """
    particulars = {name: options.pop(name) for name in _PARTICULARS if name in options}
    with Evaluator(fun, **options) as evaluator:
        return evaluator.differentiate(x0, kind=kind, **particulars)


def noise_level(fun: Any, x0: ArrayLike, **options: Any) -> NoiseResult:
    """How noisy J is at x0, by ECnoise (More & Wild 2011) on two lines: level, status, spacing, n_evaluations.

    See `distfd.Evaluator.noise_level`, and `differentiate` for parameters and errors.
    """
    with Evaluator(fun, **options) as evaluator:
        return evaluator.noise_level(x0)


def gradient(fun: Any, x0: ArrayLike, **options: Any) -> NDArray[np.float64]:
    """dJ/dx at x0, (d,): by default (J(x + h_k e_k) - J(x)) / h_k with d + 1 evaluations.

    See `differentiate` for parameters and errors.
    """
    with Evaluator(fun, **options) as evaluator:
        return evaluator.gradient(x0)


def value_and_gradient(fun: Any, x0: ArrayLike, **options: Any) -> tuple[float, NDArray[np.float64]]:
    """J(x0) and dJ/dx there, from one wave. See `differentiate` for parameters and errors."""
    with Evaluator(fun, **options) as evaluator:
        return evaluator.value_and_gradient(x0)


def jacobian(fun: Any, x0: ArrayLike, *, sparsity: Any = None, **options: Any) -> Any:
    """dJ/dx of a J with m outputs, (m, d), sparse where ``sparsity`` is given: a mask, a structure, or "probe".

    See `distfd.Evaluator.jacobian` for ``sparsity``, and `differentiate` for parameters and errors.
    """
    with Evaluator(fun, **options) as evaluator:
        return evaluator.jacobian(x0, sparsity=sparsity)


def hessian(fun: Any, x0: ArrayLike, **options: Any) -> NDArray[np.float64]:
    """d^2 J/dx^2, (d, d), symmetric: second order, from d^2 + d evaluations of J and the baseline.

    See `distfd.Evaluator.hessian`, and `differentiate` for parameters and errors.
    """
    with Evaluator(fun, **options) as evaluator:
        return evaluator.hessian(x0)


def hvp(fun: Any, x0: ArrayLike, v: ArrayLike, **options: Any) -> NDArray[np.float64]:
    """The Hessian times v, (d,), without the Hessian: 4 d evaluations of J and the baseline.

    See `distfd.Evaluator.hvp`, and `differentiate` for parameters and errors.
    """
    with Evaluator(fun, **options) as evaluator:
        return evaluator.hvp(x0, v)


def jvp(fun: Any, x0: ArrayLike, v: ArrayLike, **options: Any) -> Any:
    """The Jacobian times v, (m,) or a float, without the Jacobian: as many evaluations as one coordinate takes.

    See `distfd.Evaluator.directional` for steps along v, and `differentiate` for parameters and errors.
    """
    with Evaluator(fun, **options) as evaluator:
        return evaluator.jvp(x0, v)


def directional(fun: Any, x0: ArrayLike, directions: ArrayLike, **options: Any) -> NDArray[np.float64]:
    """dJ(x0 + t v)/dt at t = 0 for directions v (p, d): (p,), or (p, m) for a J with m outputs.

    See `distfd.Evaluator.directional` for steps along v, and `differentiate` for parameters and errors.
    """
    with Evaluator(fun, **options) as evaluator:
        return evaluator.directional(x0, directions)
