"""SciPy's approx_derivative, distributed: its signature and semantics, on distfd's stencils and executors.

Follows scipy.optimize._numdiff.approx_derivative of SciPy 1.17; SciPy's own tests of it are run against this one.
"""

from __future__ import annotations

import weakref
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core.points import Points, dense_points
from distfd.differentiation.assemble import assemble
from distfd.differentiation.coloring import Structure, find_groups
from distfd.differentiation.complex_step import imaginary_step
from distfd.differentiation.coordinate_stencils import Lines
from distfd.differentiation.placement import place
from distfd.differentiation.sparse_jacobian import group_points, group_terms
from distfd.differentiation.stencils import COMPLEX_STEP, SCHEMES
from distfd.integrations.scipy_sources import make_source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from numpy.typing import ArrayLike, NDArray

    from distfd.differentiation.stencils import Stencil
    from distfd.executors.base import Executor
    from distfd.integrations.scipy_sources import Source

METHODS: Mapping[str, Stencil] = {
    "2-point": SCHEMES["forward"],
    "3-point": SCHEMES["central"],
    "cs": COMPLEX_STEP,
}


def approx_derivative(  # noqa: PLR0917  # SciPy's signature
    fun: Callable[..., Any],
    x0: ArrayLike,
    method: str = "3-point",
    rel_step: ArrayLike | None = None,
    abs_step: ArrayLike | None = None,
    f0: ArrayLike | None = None,
    bounds: tuple[ArrayLike, ArrayLike] = (-np.inf, np.inf),
    sparsity: Any = None,
    as_linear_operator: bool = False,
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] | None = None,
    full_output: bool = False,
    workers: int | Callable[..., Iterable[Any]] | None = None,
    *,
    executor: str | Executor | None = None,
) -> Any:
    """Finite-difference derivatives of a vector-valued function, as SciPy's function of that name gives them.

    In the caller's process, by ``workers``, or by ``executor``. Exceptions of ``fun`` keep their type, NaN passes
    through, and a float32 x0 is given to ``fun`` as float32, with steps to match (those of the smaller type of x0 and
    ``fun(x0)``, for which ``fun(x0)`` is computed first).

    Parameters
    ----------
    fun : callable
        ``fun(x, *args, **kwargs)``, x (n,), to (m,) or a number.
    x0 : (n,) array or float
    method : {"3-point", "2-point", "cs"}
    rel_step, abs_step : array_like, optional
        Steps; the sign of one for "2-point" is its direction. See SciPy.
    f0 : array_like, optional
        ``fun(x0)``, which is then not computed.
    bounds : (lb, ub)
        Arrays or numbers, inside which ``fun`` is evaluated.
    sparsity : array, sparse array or (structure, groups), optional
        Where the derivative is not 0; the result is then a csr_array (csr_matrix for a matrix).
    as_linear_operator : bool
        Give a LinearOperator, whose products are differences along a direction.
    args, kwargs
        Further arguments of ``fun``.
    full_output : bool
        Give ``(derivative, {"nfev": n})``.
    workers : int or map-like, optional
        Processes, or ``workers(fun, iterable)``.
    executor : "ray", "serial" or an Executor, optional
        Evaluates by distfd; ``fun`` must then be picklable by cloudpickle. An Executor keeps its slots for the next
        call; close it at the end.

    Returns
    -------
    (m, n) ndarray, (n,) where m == 1, sparse array or LinearOperator

    Raises
    ------
    ValueError
        As SciPy: another method, x0 outside the bounds, arguments of the wrong shape.
    """
    if method not in METHODS:
        raise ValueError(f"Unknown method '{method}'. ")
    x = _floating(x0)
    lower, upper = (np.resize(b, x.shape) if b.ndim == 0 else b for b in (np.asarray(b, dtype=float) for b in bounds))
    if lower.shape != x.shape or upper.shape != x.shape:
        raise ValueError("Inconsistent shapes between bounds and `x0`.")
    if as_linear_operator and not (np.isinf(lower).all() and np.isinf(upper).all()):
        raise ValueError("Bounds not supported when `as_linear_operator` is True.")
    source = make_source((fun, args, kwargs or {}), x.dtype, workers, executor)
    with ExitStack() as ending:
        ending.callback(source.close)
        baseline, counted = _baseline(source, x, f0)
        if np.any((x < lower) | (x > upper)):
            raise ValueError("`x0` violates bound constraints.")
        plan = _Plan(METHODS[method], x, baseline, lower, upper)
        if as_linear_operator:
            derivative, n = _operator(plan, source, rel_step), 0
            weakref.finalize(derivative, ending.pop_all().close)
        elif sparsity is None:
            derivative, n = _dense(plan, source, plan.steps(rel_step, abs_step))
        else:
            derivative, n = _sparse(plan, source, plan.steps(rel_step, abs_step), sparsity)
    return (derivative, {"nfev": counted + n}) if full_output else derivative


@dataclass(frozen=True, eq=False)
class _Plan:
    """What the differences are made of.

    ``x`` keeps the caller's floating type, ``baseline`` that of ``fun``.
    """

    stencil: Stencil
    x: NDArray[Any]
    baseline: NDArray[Any]
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]

    @property
    def relative_step(self) -> float:
        """The default for the smaller type of x0 and fun(x0)."""
        eps = np.finfo(self.x.dtype).eps
        types = (self.x.dtype, self.baseline.dtype)
        if np.issubdtype(types[1], np.inexact) and types[1].itemsize < types[0].itemsize:
            eps = np.finfo(types[1]).eps
        return float(eps ** (1 / 3 if self.stencil is METHODS["3-point"] else 1 / 2))

    def steps(self, rel_step: ArrayLike | None, abs_step: ArrayLike | None) -> NDArray[np.float64]:
        """Signed steps, the default where the asked one does not change x."""
        x = self.x.astype(np.float64)
        sign = np.where(x >= 0, 1.0, -1.0)
        default = self.relative_step * sign * np.maximum(1.0, np.abs(x))
        if abs_step is not None:
            asked = np.broadcast_to(np.asarray(abs_step, dtype=float), x.shape)
        elif rel_step is not None:
            asked = np.asarray(rel_step, dtype=float) * sign * np.abs(x)
        else:
            return default
        lost = (x + asked).astype(self.x.dtype) == self.x
        return np.where(lost, default, asked)

    def lines(self, h: NDArray[np.float64]) -> Lines:
        """The points of each coordinate, as ``fun`` will see them."""
        x, stencil = self.x.astype(np.float64), self.stencil
        if stencil.imaginary:
            return Lines(x, np.arange(len(x)), imaginary_step(x, h)[:, None], h[:, None], h)
        h = np.abs(h) if len(stencil.nodes) > 1 else h
        values, step = place(x, h, stencil, self.lower, self.upper)
        if self.x.dtype != np.float64:
            rounded = values.astype(self.x.dtype)
            outside = (rounded < self.lower[:, None]) | (rounded > self.upper[:, None])
            values = np.where(outside, np.nextafter(rounded, self.x[:, None]), rounded).astype(np.float64)
        return Lines(x, np.arange(len(x)), values, values - x[:, None], step)

    def rows(self, source: Source, points: Points, make_terms: Callable[[], Any]) -> tuple[NDArray[np.float64], int]:
        """The last, linear step; points are the baseline, which is known, and others."""
        numbers = np.arange(1, len(points))
        baseline = self.baseline.astype(np.float64)
        values = source.values(points.take(numbers)) if len(numbers) else np.empty((0, len(baseline)))
        if values.shape[1] != len(baseline):
            raise ValueError(f"`fun` gave {values.shape[1]} values, and {len(baseline)} at `x0`.")
        # At real x the real part is differenced, with numpy's ComplexWarning where there is another: SciPy's way.
        values = values.astype(np.complex128 if self.stencil.imaginary else np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):  # of coordinates without room, whose derivative is NaN
            return assemble(make_terms(), np.concatenate((baseline[None], values)), baseline), len(numbers)


def _floating(x0: ArrayLike) -> NDArray[Any]:
    x = np.atleast_1d(np.asarray(x0))
    if x.ndim > 1:
        raise ValueError("`x0` must have at most 1 dimension.")
    return np.array(x, dtype=x.dtype if np.issubdtype(x.dtype, np.floating) else np.float64)


def _baseline(source: Source, x: NDArray[Any], f0: ArrayLike | None) -> tuple[NDArray[Any], int]:
    if f0 is None:
        return source.baseline(x), 1
    given = np.atleast_1d(f0)
    if given.ndim > 1:
        raise ValueError("`f0` passed has more than 1 dimension.")
    return given, 0


def _dense(plan: _Plan, source: Source, h: NDArray[np.float64]) -> tuple[NDArray[np.float64], int]:
    lines = plan.lines(h)
    rows, n = plan.rows(source, lines.points, lambda: lines.terms)
    return (rows.ravel() if rows.shape[1] == 1 else rows.T), n


def _sparse(plan: _Plan, source: Source, h: NDArray[np.float64], sparsity: Any) -> tuple[Any, int]:
    from scipy.sparse import find, issparse, isspmatrix

    structure, groups = sparsity, None
    # SciPy takes any two rows for a pair, a mask of two rows too, and fails.
    if not issparse(sparsity) and len(sparsity) == 2 and (issparse(sparsity[0]) or np.ndim(sparsity[0]) == 2):
        structure, groups = sparsity
    if not issparse(structure):
        structure = np.atleast_2d(structure)
    rows, columns, _ = find(structure)
    order = np.lexsort((rows, columns))
    rows, columns = rows[order].astype(np.int64), columns[order].astype(np.int64)
    shape = (len(plan.baseline), len(plan.x))
    group = find_groups(rows, columns, shape) if groups is None else np.atleast_1d(groups)
    found = Structure(shape, rows, columns, group, isspmatrix(structure))
    lines = plan.lines(h)
    used = np.flatnonzero(group >= 0)
    lines = Lines(lines.x, used, lines.values[used], lines.offsets[used], lines.step[used])
    entries, n = plan.rows(source, group_points(lines, found), lambda: group_terms(lines, found))
    return found.filled(entries), n


def _operator(plan: _Plan, source: Source, rel_step: Any) -> Any:
    """Products with any vector p by differences along it, SciPy's step: h / |p|, whatever the size of x."""
    from scipy.sparse.linalg import LinearOperator

    h = plan.relative_step if rel_step is None else rel_step
    x, f0 = plan.x.astype(np.float64), plan.baseline
    imaginary, two_sided = plan.stencil.imaginary, len(plan.stencil.nodes) > 1

    def matvec(p: NDArray[Any]) -> NDArray[np.float64]:
        p = np.ravel(p)
        if not p.any():
            return np.zeros(len(f0))
        dx = h / np.linalg.norm(p)
        if imaginary:
            whole = np.arange(len(x))
            values = source.values(Points(x, np.array([0, len(x)]), whole, imaginary_step(x, dx * p)))
            return np.asarray(values[0].imag / dx)
        if two_sided:
            before, after = source.values(dense_points([x - dx * p, x + dx * p]))
            return np.asarray((after - before) / (2 * dx))
        return np.asarray((source.values(dense_points([x + dx * p]))[0] - f0) / dx)

    return LinearOperator((len(f0), len(x)), matvec)
