"""The kinds of derivatives by name, for whatever can differentiate."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, overload

from distfd.differentiation.noise_result import NoiseLevel, NoiseResult
from distfd.differentiation.steps import typical_sizes
from distfd.evaluation.outcome import scalar
from distfd.evaluation.tally import gather

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from distfd.differentiation.method import Answer, Method
    from distfd.evaluation.keywords import Kind
    from distfd.evaluation.method_registry import Setting
    from distfd.evaluation.tally import Tally
    from distfd.results.derivative_result import DerivativeResult


class DerivativeMethods(ABC):
    """Derivatives alone, without what else `differentiate` tells."""

    @abstractmethod
    def differentiate(self, x: ArrayLike, *, kind: Kind = "gradient", **particulars: Any) -> DerivativeResult:
        """The derivative with all that is known of it."""

    @abstractmethod
    def setting(self, x: ArrayLike) -> Setting:
        """What every method at x is made from."""

    @abstractmethod
    def solve(self, method: Method[Answer], task: str) -> tuple[Answer, Tally]:
        """Evaluate what a method asks for until it answers."""

    def gradient(self, x: ArrayLike) -> NDArray[np.float64]:
        """dJ/dx at x, (d,).

        Raises
        ------
        EvaluationError
            If a component has no value (where on_failure="raise").
        """
        gradient: NDArray[np.float64] = self.differentiate(x).derivative
        return gradient

    def value_and_gradient(self, x: ArrayLike) -> tuple[float, NDArray[np.float64]]:
        """J(x) and dJ/dx, from one wave."""
        result = self.differentiate(x)
        return float(result.value), result.derivative

    @overload
    def jacobian(self, x: ArrayLike, *, sparsity: None = None) -> NDArray[np.float64]: ...

    @overload
    def jacobian(self, x: ArrayLike, *, sparsity: Any) -> Any: ...

    def jacobian(self, x: ArrayLike, *, sparsity: Any = None) -> Any:
        """dJ/dx of a J with m outputs, (m, d).

        Parameters
        ----------
        sparsity : (m, d) mask, sparse array, (structure, groups), or "probe"
            Where the Jacobian may be other than 0. Columns that share no row are then moved together: a tridiagonal
            one takes 3 evaluations for each node of the scheme, and the baseline, whatever d is. The result is a
            scipy.sparse csr_array (csr_matrix for a matrix).

            "probe" looks for the structure first, once in an Evaluator's life: plain forward differences at two
            points near x, displaced at random (the same in every run), 2 (d + 1) evaluations in two rounds, and d x m
            numbers in memory meanwhile. An entry that is 0 at both points by chance, or too small to change J there,
            is taken for a structural 0; noise in J is taken for entries.
        """
        return self.differentiate(x, kind="jacobian", sparsity=sparsity).derivative

    def hessian(self, x: ArrayLike) -> NDArray[np.float64]:
        """d^2 J/dx^2 of a J with one output, (d, d), symmetric: second order, d^2 + d points and the baseline.

        It has its own differences: the scheme is for first derivatives. ``step`` counts, with a default of eps^(1/4).
        """
        hessian: NDArray[np.float64] = self.differentiate(x, kind="hessian").derivative
        return hessian

    def hvp(self, x: ArrayLike, v: ArrayLike) -> NDArray[np.float64]:
        """The Hessian times v, (d,), in 4 d evaluations and the baseline; step and scheme as for `hessian`.

        Where bounds let v go one way only, it takes 6 d. Coordinates that bounds fix count as 0.
        """
        product: NDArray[np.float64] = self.differentiate(x, kind="hvp", v=v).derivative
        return product

    def jvp(self, x: ArrayLike, v: ArrayLike) -> Any:
        """The Jacobian times v: (m,), or a float for a J with one output."""
        return scalar(self.differentiate(x, kind="jvp", v=v).derivative)

    def directional(self, x: ArrayLike, directions: ArrayLike) -> NDArray[np.float64]:
        """dJ(x + t v)/dt at 0 for directions v (p, d): (p,), or (p, m) for a J with m outputs.

        The step is t = 1 / |v / h|_2 with h the coordinates' own steps: where v is e_k, t is h_k. "forward" is towards
        v. Bounds are kept along the line; where they let v go neither way far enough, what
        can go forward and what cannot are differenced by themselves and added. Coordinates that bounds fix count as 0.

        Every coordinate of x + t v rounds by itself, so no t is exact: the one nearest to the realised displacement
        divides. What remains is what rounding x itself does to J, eps |x| / t times its gradient.
        """
        slopes: NDArray[np.float64] = self.differentiate(x, kind="directional", directions=directions).derivative
        return slopes

    def noise_level(self, x: ArrayLike) -> NoiseResult:
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
