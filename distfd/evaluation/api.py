"""Functions that compute a derivative in one call. Each makes an Evaluator, and takes its options."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Unpack, overload

from distfd.evaluation.evaluator import Evaluator
from distfd.evaluation.keywords import lists_options_of
from distfd.evaluation.verbosity import DerivativePrinter, check_verbose

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from distfd.differentiation.noise_result import NoiseResult
    from distfd.evaluation.keywords import EvaluatorOptions, Kind, PointLike, Tree, Verbosity
    from distfd.results.derivative_result import DerivativeResult


@contextlib.contextmanager
def opened(name: str, fun: Any, verbose: Any, options: EvaluatorOptions) -> Iterator[Evaluator]:
    """The Evaluator of one call of the function of this name, which prints as ``verbose`` asks."""
    level = check_verbose(verbose)
    if level == 0:
        with Evaluator(fun, **options) as evaluator:
            yield evaluator
        return
    printer = DerivativePrinter(name, level)
    given: EvaluatorOptions = {**options, "observers": [*(options.get("observers") or ()), printer]}
    with Evaluator(fun, **given) as evaluator:
        yield evaluator
    printer.ended()


@lists_options_of(Evaluator)
def differentiate(
    fun: Any,
    x0: PointLike,
    *,
    kind: Kind = "gradient",
    sparsity: Any = None,
    v: PointLike | None = None,
    directions: PointLike | None = None,
    f0: ArrayLike | None = None,
    verbose: Verbosity = 0,
    **options: Unpack[EvaluatorOptions],
) -> DerivativeResult:
    """The derivative of J at x0, with its errors, warnings and failures.

    Parameters
    ----------
    fun : callable, class or objective
        ``fun(x, *args, **kwargs)``, x (d,), to a number, or for a Jacobian to (m,).
    x0 : (d,) array, or a structure of numbers or arrays
        A structure is a dict, pandas.Series, dataclass, named tuple, list, or a class registered with JAX or optree. J
        gets the same structure, and the result has it.
    kind : str
        "gradient", "jacobian", "hessian", "hvp", "jvp" or "directional".
    sparsity : optional
        For kind "jacobian", see `distfd.Evaluator.jacobian`.
    v : (d,) array
        For kinds "hvp" and "jvp".
    directions : (p, d) array
        For kind "directional".
    f0 : number or (m,) array, optional
        J(x0), where it is known: it is not evaluated again.
    verbose : 0, 1 or 2
        0 is silent, 1 prints a line at the end, 2 a line a wave as well, to standard output.
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
        If J fails at x0, or a component has no value (where on_failure="raise").
    ClusterError
        If Ray cannot be reached or started.
    """
    given = {"sparsity": sparsity, "v": v, "directions": directions}
    particulars = {name: value for name, value in given.items() if value is not None}
    with opened("differentiate", fun, verbose, options) as evaluator:
        return evaluator.differentiate(x0, kind=kind, f0=f0, **particulars)


@lists_options_of(Evaluator)
def noise_level(fun: Any, x0: PointLike, *, verbose: Verbosity = 0, **options: Unpack[EvaluatorOptions]) -> NoiseResult:
    """How noisy J is at x0, by ECnoise (More & Wild 2011) on two lines: level, status, spacing, n_evaluations.

    See `distfd.Evaluator.noise_level`, and `differentiate` for parameters and errors.
    """
    with opened("noise_level", fun, verbose, options) as evaluator:
        return evaluator.noise_level(x0)


@overload
def gradient(
    fun: Any, x0: ArrayLike, *, f0: ArrayLike | None = None, verbose: Verbosity = 0, **options: Unpack[EvaluatorOptions]
) -> NDArray[np.float64]: ...


@overload
def gradient(
    fun: Any, x0: Tree, *, f0: ArrayLike | None = None, verbose: Verbosity = 0, **options: Unpack[EvaluatorOptions]
) -> Tree: ...


@lists_options_of(Evaluator)
def gradient(
    fun: Any, x0: PointLike, *, f0: ArrayLike | None = None, verbose: Verbosity = 0, **options: Unpack[EvaluatorOptions]
) -> Any:
    """dJ/dx at x0, (d,): by default (J(x + h_k e_k) - J(x)) / h_k with d + 1 evaluations.

    See `differentiate` for parameters and errors.
    """
    with opened("gradient", fun, verbose, options) as evaluator:
        return evaluator.differentiate(x0, f0=f0).derivative


@overload
def value_and_gradient(
    fun: Any, x0: ArrayLike, *, verbose: Verbosity = 0, **options: Unpack[EvaluatorOptions]
) -> tuple[float, NDArray[np.float64]]: ...


@overload
def value_and_gradient(
    fun: Any, x0: Tree, *, verbose: Verbosity = 0, **options: Unpack[EvaluatorOptions]
) -> tuple[float, Tree]: ...


@lists_options_of(Evaluator)
def value_and_gradient(
    fun: Any, x0: PointLike, *, verbose: Verbosity = 0, **options: Unpack[EvaluatorOptions]
) -> tuple[float, Any]:
    """J(x0) and dJ/dx there, evaluated at the same time. See `differentiate` for parameters and errors."""
    with opened("value_and_gradient", fun, verbose, options) as evaluator:
        return evaluator.value_and_gradient(x0)


@overload
def jacobian(
    fun: Any,
    x0: ArrayLike,
    *,
    sparsity: None = None,
    f0: ArrayLike | None = None,
    verbose: Verbosity = 0,
    **options: Unpack[EvaluatorOptions],
) -> NDArray[np.float64]: ...


@overload
def jacobian(
    fun: Any,
    x0: PointLike,
    *,
    sparsity: Any = None,
    f0: ArrayLike | None = None,
    verbose: Verbosity = 0,
    **options: Unpack[EvaluatorOptions],
) -> Any: ...


@lists_options_of(Evaluator)
def jacobian(
    fun: Any,
    x0: PointLike,
    *,
    sparsity: Any = None,
    f0: ArrayLike | None = None,
    verbose: Verbosity = 0,
    **options: Unpack[EvaluatorOptions],
) -> Any:
    """dJ/dx of a J with m outputs, (m, d), sparse where ``sparsity`` is given: a mask, a structure, or "probe".

    See `distfd.Evaluator.jacobian` for ``sparsity``, and `differentiate` for parameters and errors.
    """
    with opened("jacobian", fun, verbose, options) as evaluator:
        return evaluator.jacobian(x0, sparsity=sparsity, f0=f0)


@lists_options_of(Evaluator)
def hessian(
    fun: Any,
    x0: PointLike,
    *,
    sparsity: Any = None,
    f0: ArrayLike | None = None,
    verbose: Verbosity = 0,
    **options: Unpack[EvaluatorOptions],
) -> Any:
    """d^2 J/dx^2, (d, d), symmetric: second order, from d^2 + d evaluations of J and the baseline.

    It is sparse where ``sparsity`` is given, a mask (d, d): 2 evaluations for each coordinate and pair that has an
    entry. See `distfd.Evaluator.hessian`, and `differentiate` for parameters and errors.
    """
    with opened("hessian", fun, verbose, options) as evaluator:
        return evaluator.hessian(x0, sparsity=sparsity, f0=f0)


@overload
def hvp(
    fun: Any, x0: ArrayLike, v: ArrayLike, *, verbose: Verbosity = 0, **options: Unpack[EvaluatorOptions]
) -> NDArray[np.float64]: ...


@overload
def hvp(fun: Any, x0: Tree, v: PointLike, *, verbose: Verbosity = 0, **options: Unpack[EvaluatorOptions]) -> Tree: ...


@lists_options_of(Evaluator)
def hvp(fun: Any, x0: PointLike, v: PointLike, *, verbose: Verbosity = 0, **options: Unpack[EvaluatorOptions]) -> Any:
    """The Hessian times v, (d,), without the Hessian: 4 d evaluations of J and the baseline.

    See `distfd.Evaluator.hvp`, and `differentiate` for parameters and errors.
    """
    with opened("hvp", fun, verbose, options) as evaluator:
        return evaluator.differentiate(x0, kind="hvp", v=v).derivative


@lists_options_of(Evaluator)
def jvp(fun: Any, x0: PointLike, v: PointLike, *, verbose: Verbosity = 0, **options: Unpack[EvaluatorOptions]) -> Any:
    """The Jacobian times v, (m,) or a float, without the Jacobian: as many evaluations as one coordinate takes.

    See `distfd.Evaluator.directional` for steps along v, and `differentiate` for parameters and errors.
    """
    with opened("jvp", fun, verbose, options) as evaluator:
        return evaluator.jvp(x0, v)


@lists_options_of(Evaluator)
def directional(
    fun: Any, x0: PointLike, directions: PointLike, *, verbose: Verbosity = 0, **options: Unpack[EvaluatorOptions]
) -> NDArray[np.float64]:
    """dJ(x0 + t v)/dt at t = 0 for directions v (p, d): (p,), or (p, m) for a J with m outputs.

    See `distfd.Evaluator.directional` for steps along v, and `differentiate` for parameters and errors.
    """
    with opened("directional", fun, verbose, options) as evaluator:
        return evaluator.directional(x0, directions)
