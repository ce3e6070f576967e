"""Hold a gradient that somebody wrote down, or a program made, against differences of J, in one call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Unpack

from distfd.evaluation.api import opened
from distfd.evaluation.evaluator import Evaluator
from distfd.evaluation.gradient_check import AGREES, DIFFERS, UNTOLD, GradientCheck
from distfd.evaluation.keywords import lists_options_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from distfd.evaluation.keywords import EvaluatorOptions, PointLike, Verbosity

__all__ = ["AGREES", "DIFFERS", "UNTOLD", "GradientCheck", "check_gradient"]


@lists_options_of(Evaluator)
def check_gradient(
    fun: Any,
    grad: Callable[[Any], PointLike] | PointLike,
    x0: PointLike,
    *,
    components: str | Sequence[int] | None = None,
    directions: int | None = None,
    tolerance: float = 1e-5,
    verbose: Verbosity = 0,
    **options: Unpack[EvaluatorOptions],
) -> GradientCheck:
    """Hold a gradient against differences of J that have error bars, and say where they differ.

    Parameters
    ----------
    fun, x0
        As for `distfd.differentiate`.
    grad : callable, (d,) array, or a structure such as x0
        ``grad(x)``, called once in this process; or its values at x0.
    components : "all", "none", or sequence of int, optional
        Which to look at one by one, 2 evaluations each and some 19 more. By default all of up to 100; of more only
        where random directions differ.
    directions : int, optional
        How many random directions to look at first, 2 evaluations each and some 19 more: by default 4 where there are
        more than 100 coordinates, else none. An error in one component of d shows in them with a d^(1/2)-th of it.
    tolerance : float
        Relative differences below this are no errors, however narrow the bar.
    verbose : 0, 1 or 2
        As for `distfd.differentiate`.
    **options
        Of `distfd.Evaluator`; ``step`` may be `distfd.NoiseStep` with the noise that is known.

    Returns
    -------
    GradientCheck
        ``ok``, and a text when printed.

    Raises
    ------
    InputError
        If the gradient is not d finite numbers.
    EvaluationError
        If J fails.
    """
    options.setdefault("step", "auto")
    with opened("check_gradient", fun, verbose, options) as evaluator:
        return evaluator.check_gradient(
            grad, x0, components=components, directions=directions, tolerance=tolerance, step=options["step"]
        )
