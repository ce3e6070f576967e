"""What a test problem is, and how those that are sums of squares are written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Columns = Any
    """A sequence of d: x by coordinate, numbers, or (n,) arrays where J is wanted at n points at once."""


@dataclass(frozen=True, eq=False)
class Problem:
    """J and its gradient, both for many points at once.

    ``fun`` and ``grad`` take d columns, (n,) each, and give (n,) and d such columns. ``kind`` is "linear" where every
    J_kk = 0 (and what depends on it), "quadratic" where every J_kkk = 0, else "smooth".
    """

    name: str
    x0: NDArray[np.float64]
    fun: Callable[[Columns], Any]
    grad: Callable[[Columns], Any]
    kind: str = "smooth"

    def value(self, points: NDArray[Any]) -> NDArray[Any]:
        """J at points (n, d): (n,)."""
        return np.asarray(self.fun(points.T)) + np.zeros(len(points))

    def gradient(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """The gradient at x, (d,)."""
        parts = self.grad(x[None].T)
        return np.array([np.broadcast_to(part, (1,))[0] for part in parts], dtype=float)


PROBLEMS: dict[str, Problem] = {}


def problem(
    name: str,
    x0: Sequence[float] | NDArray[np.float64],
    fun: Callable[[Columns], Any],
    grad: Callable[[Columns], Any],
    kind: str = "smooth",
) -> None:
    """Add a problem to the table."""
    assert name not in PROBLEMS
    PROBLEMS[name] = Problem(name, np.array(x0, dtype=float), fun, grad, kind)


def squares(
    name: str,
    x0: Sequence[float] | NDArray[np.float64],
    residuals: Callable[[Columns], tuple[Any, Any]],
    kind: str = "smooth",
) -> None:
    """Add J = sum of r_i^2; ``residuals`` gives r (m, n) and the m x d table of its derivatives, (n,) or numbers."""

    def fun(x: Columns) -> Any:
        return sum(r * r for r in residuals(x)[0])

    def grad(x: Columns) -> Any:
        r, slopes = residuals(x)
        return [2 * sum(r[i] * slopes[i][k] for i in range(len(r))) for k in range(len(x))]

    problem(name, x0, fun, grad, kind)
