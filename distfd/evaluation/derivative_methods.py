"""The kinds of derivatives by name, for whatever can differentiate."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from distfd.core.unknown_keywords import answering
from distfd.differentiation.noise_result import NoiseLevel, NoiseResult
from distfd.differentiation.steps import typical_sizes
from distfd.evaluation.keywords import EvaluatorOptions, SessionOptions
from distfd.evaluation.outcome import scalar
from distfd.evaluation.tally import gather

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from distfd.differentiation.method import Answer, Method
    from distfd.evaluation.derivative_setting import Setting
    from distfd.evaluation.keywords import Kind, PointLike, Tree
    from distfd.evaluation.tally import Tally
    from distfd.results.derivative_result import DerivativeResult

P = ParamSpec("P")
R = TypeVar("R")
_OPTIONS = frozenset(EvaluatorOptions.__annotations__) | frozenset(SessionOptions.__annotations__)
"""What is given where the Evaluator is made."""


def _method(function: Callable[P, R]) -> Callable[P, R]:
    """A method of the Evaluator that answers arguments that it does not have."""
    return answering(function, f"Evaluator.{function.__name__}", inspect.signature(function), before=_OPTIONS)


class DerivativeMethods(ABC):
    """Derivatives alone, without what else `differentiate` tells."""

    @abstractmethod
    def differentiate(
        self, x: PointLike, *, kind: Kind = "gradient", f0: ArrayLike | None = None, **particulars: Any
    ) -> DerivativeResult:
        """The derivative with all that is known of it."""

    @abstractmethod
    def setting(self, x: PointLike) -> Setting:
        """What every method at x is made from."""

    @abstractmethod
    def solve(self, method: Method[Answer], task: str) -> tuple[Answer, Tally]:
        """Evaluate what a method asks for until it answers."""

    @overload
    def gradient(self, x: ArrayLike, *, f0: ArrayLike | None = None) -> NDArray[np.float64]: ...

    @overload
    def gradient(self, x: Tree, *, f0: ArrayLike | None = None) -> Tree: ...

    @_method
    def gradient(self, x: PointLike, *, f0: ArrayLike | None = None) -> Any:
        """dJ/dx at x, (d,), or in the structure that x has; ``f0`` is J(x), where it is known.

        Raises
        ------
        EvaluationError
            If a component has no value (where on_failure="raise").
        """
        return self.differentiate(x, f0=f0).derivative

    @overload
    def value_and_gradient(self, x: ArrayLike) -> tuple[float, NDArray[np.float64]]: ...

    @overload
    def value_and_gradient(self, x: Tree) -> tuple[float, Tree]: ...

    @_method
    def value_and_gradient(self, x: PointLike) -> tuple[float, Any]:
        """J(x) and dJ/dx, from one wave."""
        result = self.differentiate(x)
        return float(result.value), result.derivative

    @overload
    def jacobian(self, x: ArrayLike, *, sparsity: None = None, f0: ArrayLike | None = None) -> NDArray[np.float64]: ...

    @overload
    def jacobian(self, x: PointLike, *, sparsity: Any = None, f0: ArrayLike | None = None) -> Any: ...

    @_method
    def jacobian(self, x: PointLike, *, sparsity: Any = None, f0: ArrayLike | None = None) -> Any:
        """dJ/dx of a J with m outputs, (m, d).

        Parameters
        ----------
        sparsity : (m, d) mask, sparse array, (structure, groups), or "probe"
            Where the Jacobian may be other than 0. Columns that share no row are then moved together: a tridiagonal
            one takes 3 evaluations for each node of the scheme, and the baseline, whatever d is. The result is a
            scipy.sparse csr_array (csr_matrix for a matrix).

            "probe" looks for the structure first: plain forward differences at two points near x, displaced at random
            (the same in every run), 2 (d + 1) evaluations in two rounds, and d x m numbers in memory meanwhile. An
            entry that is 0 at both points by chance, or too small to change J there, is taken for a structural 0; noise
            in J is taken for entries. An Evaluator keeps what it has found. At another x one point more, x moved along
            all coordinates, tells whether an entry is lacking there; if so it looks again, and keeps the entries of
            both.

            A row that changes where no column that was moved has an entry in it is a warning.
        """
        return self.differentiate(x, kind="jacobian", sparsity=sparsity, f0=f0).derivative

    @_method
    def hessian(self, x: PointLike, *, sparsity: Any = None, f0: ArrayLike | None = None) -> Any:
        """d^2 J/dx^2 of a J with one output, (d, d), symmetric: second order, d^2 + d points and the baseline.

        The scheme says on which sides of x the points are (forward, which is the default, and central: on both), and
        from central4 on that the differences are of fourth order, in 2 (d^2 + d) points. ``step`` has a default of
        eps^(1/4), or eps^(1/6). "auto", a `NoiseStep` or an ``accuracy`` finds the steps, and the error of each entry,
        in about 2 d^2 + 2 d + 13. "complex-step" takes d^2 + 2 d, and 4 that check it.

        Parameters
        ----------
        sparsity : (d, d) mask or sparse array
            Where the Hessian may be other than 0, one half of it or both: 2 points for each coordinate and each pair of
            them. The result is a scipy.sparse csr_array (csr_matrix for a matrix).
        """
        return self.differentiate(x, kind="hessian", sparsity=sparsity, f0=f0).derivative

    @overload
    def hvp(self, x: ArrayLike, v: ArrayLike) -> NDArray[np.float64]: ...

    @overload
    def hvp(self, x: Tree, v: PointLike) -> Tree: ...

    @_method
    def hvp(self, x: PointLike, v: PointLike) -> Any:
        """The Hessian times v, (d,), in 4 d evaluations and the baseline; step and scheme as for `hessian`.

        Where bounds let v go one way only, it takes 6 d. Fourth order takes twice as many, "auto" 8 d + 13 or
        16 d + 13, and "complex-step" 2 d, and 4 that check it. Coordinates that bounds fix count as 0.
        """
        return self.differentiate(x, kind="hvp", v=v).derivative

    @_method
    def jvp(self, x: PointLike, v: PointLike) -> Any:
        """The Jacobian times v: (m,), or a float for a J with one output."""
        return scalar(self.differentiate(x, kind="jvp", v=v).derivative)

    @_method
    def directional(self, x: PointLike, directions: PointLike) -> NDArray[np.float64]:
        """dJ(x + t v)/dt at 0 for directions v (p, d): (p,), or (p, m) for a J with m outputs.

        The step is t = 1 / |v / h|_2 with h the coordinates' own steps: where v is e_k, t is h_k. "forward" is towards
        v. Bounds are kept along the line; where they let v go neither way far enough, what
        can go forward and what cannot are differenced by themselves and added. Coordinates that bounds fix count as 0.

        Every coordinate of x + t v rounds by itself, so no t is exact: the one nearest to the realised displacement
        divides. What remains is what rounding x itself does to J, eps |x| / t times its gradient.
        """
        slopes: NDArray[np.float64] = self.differentiate(x, kind="directional", directions=directions).derivative
        return slopes

    @_method
    def noise_level(self, x: PointLike) -> NoiseResult:
        """How noisy J is at x: two lines of 7 points (13 evaluations), two more where these do not tell.

        Raises
        ------
        EvaluationError
            If J fails at x, or at any point where on_failure="raise".
        """
        setting = self.setting(x)
        method = NoiseLevel(setting.site, typical_sizes(setting.site.x, setting.options.scale))
        _, tally = self.solve(method, "noise")
        return method.result([gather(request, batches) for request, batches in tally.waves], tally.n_evaluations)
