"""Where approx_derivative gets its values: the caller's process, a map-like, or an executor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from distfd.core.errors import EvaluationError, InputError
from distfd.core.points import dense_points
from distfd.evaluation.evaluator import Evaluator
from distfd.executors.registry import make_executor
from distfd.objectives.function import PythonObjective

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from numpy.typing import NDArray

    from distfd.core.points import Points
    from distfd.executors.base import Executor


class Source(Protocol):
    """A function's values at points."""

    def baseline(self, x: NDArray[Any]) -> NDArray[Any]:
        """The function at x, (m,), in its own type."""

    def values(self, points: Points) -> NDArray[Any]:
        """The function at n points, (n, m), float64 or complex128."""

    def close(self) -> None:
        """Give back what it holds."""


@dataclass(frozen=True, eq=False)
class _Function:
    """``fun`` as approx_derivative calls it; picklable where ``fun`` is."""

    fun: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    dtype: np.dtype[Any]

    def __call__(self, x: NDArray[Any]) -> NDArray[Any]:
        at = x if x.dtype.kind == "c" else x.astype(self.dtype)
        # A copy: fun may return an array of its own, which it writes to again at the next point.
        found = np.array(np.atleast_1d(self.fun(at, *self.args, **self.kwargs)))
        if found.ndim > 1:
            raise RuntimeError("`fun` return value has more than 1 dimension.")
        if found.dtype.kind not in "iufc":
            found - found  # SciPy's own TypeError where fun returns None, text or truth values
        return found


@dataclass(frozen=True, eq=False)
class _Typed:
    """The same, with the size of its numbers as one more of them: values travel as float64, whatever they were."""

    function: _Function

    def __call__(self, x: NDArray[Any]) -> NDArray[Any]:
        found = self.function(x)
        return np.append(found, found.dtype.itemsize if np.issubdtype(found.dtype, np.floating) else 8)


@dataclass(frozen=True, eq=False)
class _Mapped:
    """By a map-like, the built-in one included."""

    function: _Function
    map_like: Callable[..., Iterable[Any]]
    pool: Any = None

    def baseline(self, x: NDArray[Any]) -> NDArray[Any]:
        """By itself, as nothing can be planned without it."""
        return self.function(x)

    def values(self, points: Points) -> NDArray[Any]:
        """All at once; points are made one by one, as they are asked for."""
        found = np.stack(list(self.map_like(self.function, (points.dense(k) for k in range(len(points))))))
        return found.astype(np.complex128 if np.iscomplexobj(found) else np.float64)

    def close(self) -> None:
        """End the processes that were started for it."""
        if self.pool is not None:
            self.pool.terminate()
            self.pool.join()


@dataclass(frozen=True, eq=False)
class _Evaluated:
    """By an Evaluator."""

    evaluator: Evaluator
    keeps: bool
    """Whether the slots are left to the next call."""

    def baseline(self, x: NDArray[Any]) -> NDArray[Any]:
        """A wave of one point."""
        *numbers, size = self._at(dense_points([x]))[0].tolist()
        return np.array(numbers, dtype=f"f{int(min(size, 8))}")

    def values(self, points: Points) -> NDArray[Any]:
        """A wave."""
        return self._at(points)[:, :-1]

    def close(self) -> None:
        """Give the slots back, those of an executor that was made for this call."""
        if not self.keeps:
            self.evaluator.close()

    def _at(self, points: Points) -> NDArray[Any]:
        try:
            return self.evaluator.at(points, lenient=True)
        except EvaluationError as error:
            if error.__cause__ is None:
                raise  # its process died, or the exception cannot travel
            raise error.__cause__ from None


def make_source(
    function: tuple[Callable[..., Any], tuple[Any, ...], Mapping[str, Any]],
    dtype: np.dtype[Any],
    workers: int | Callable[..., Iterable[Any]] | None,
    executor: str | Executor | None,
) -> Source:
    """The source that the arguments of approx_derivative ask for.

    Parameters
    ----------
    function : (fun, args, kwargs)
    dtype : dtype
        Of x0, and so of what ``fun`` is given.
    workers, executor
        As for approx_derivative; not both.

    Raises
    ------
    InputError
        If there are both, or ``workers`` is no number of processes.
    """
    wrapped = _Function(*function, dtype)
    if executor is not None:
        if workers is not None:
            raise InputError("executor: give either this or workers")
        objective = PythonObjective(_Typed(wrapped))
        if isinstance(executor, str):
            return _Evaluated(Evaluator(objective, executor=make_executor(executor)), keeps=False)
        return _Evaluated(Evaluator(objective, executor=executor), keeps=True)
    if workers is None or workers == 1:
        return _Mapped(wrapped, map)
    if callable(workers):
        return _Mapped(wrapped, workers)
    if workers != -1 and workers < 1:
        raise InputError(
            f"workers: must be a map-like, a number of processes >= 1, or -1 for all cores (was {workers})"
        )
    from multiprocessing import Pool

    pool = Pool(None if workers == -1 else workers)
    return _Mapped(wrapped, pool.map, pool)
