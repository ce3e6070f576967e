"""Methods: pure functions from the values known so far to the next points or the answer."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import numpy as np

from distfd.assemble import Terms, assemble
from distfd.describe import numbered
from distfd.errors import InputError
from distfd.placement import check_offsets, place
from distfd.points import Points
from distfd.records import Status
from distfd.stencils import Stencil, coefficients
from distfd.steps import as_real, nominal_steps

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    from distfd.records import Failure
    from distfd.steps import AbsoluteStep


@dataclass(frozen=True, eq=False)
class Request:
    """Points whose values a method wants.

    ``baseline`` is the number of the point without which no other is of use: it is issued first, and its failure ends
    the wave. ``vector`` says whether J may have more than one output.
    """

    points: Points
    baseline: int | None = None
    vector: bool = False


@dataclass(frozen=True, eq=False)
class Wave:
    """A request and what came of it: values (n, m), NaN where there is none, and the status of each point."""

    request: Request
    values: NDArray[np.float64]
    status: NDArray[np.uint8]
    failures: Mapping[int, Failure] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Answer:
    """What a method found.

    ``derivative`` is (d,) or (m, d) with NaN at the ``missing`` coordinates, those that lack a value or whose
    difference is past what floating point holds; ``value`` is J(x), (m,); ``step`` is (d,), 0 at coordinates that do
    not move; ``error`` is None, or of the derivative's shape.
    """

    derivative: NDArray[np.float64]
    value: NDArray[np.float64]
    step: NDArray[np.float64]
    missing: NDArray[np.int64]
    error: NDArray[np.float64] | None = None


class Method(Protocol):
    """Asks for points, and asks again, until it can answer."""

    def advance(self, waves: Sequence[Wave]) -> Request | Answer:
        """The next points, or the answer; ``waves`` holds every earlier request with its values."""


@dataclass(frozen=True, eq=False)
class Values:
    """J itself at given points: no derivative."""

    points: Points
    vector: bool = False
    baseline: int | None = None

    def advance(self, waves: Sequence[Wave]) -> Request | Answer:
        """All points at once."""
        if not waves:
            return Request(self.points, self.baseline, self.vector)
        failed = np.flatnonzero(waves[0].status != Status.OK)
        return Answer(np.empty(0), waves[0].values, np.zeros(len(self.points.x)), failed)


@dataclass(frozen=True, eq=False)
class FirstDerivative:
    """Gradient, or Jacobian where ``vector``: one stencil along each coordinate.

    Parameters
    ----------
    x, lower, upper : (d,) ndarrays
        Where lower == upper the coordinate does not move: its derivative is 0 and costs nothing.
    stencil : Stencil
    step, scale
        As in `distfd.steps.nominal_steps`.
    vector : bool
    label : callable
        Coordinate number -> what messages call it.
    """

    x: NDArray[np.float64]
    stencil: Stencil
    step: ArrayLike | AbsoluteStep | None
    scale: ArrayLike | None
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]
    vector: bool
    label: Callable[[int], str]

    def advance(self, waves: Sequence[Wave]) -> Request | Answer:
        """One request, then the answer."""
        if not waves:
            return Request(self._points, 0, self.vector)
        wave = waves[0]
        baseline = wave.values[0]
        rows = assemble(self._terms, wave.values, baseline)
        d, moving = len(self.x), self._moving
        derivative = np.zeros((d, len(baseline)))
        derivative[moving] = rows
        missing = moving[~np.isfinite(rows).all(axis=1)]
        derivative[missing] = np.nan
        return Answer(
            derivative=derivative.T if self.vector else derivative[:, 0],
            value=baseline,
            step=self._placed[2],
            missing=missing,
        )

    @cached_property
    def _moving(self) -> NDArray[np.int64]:
        return np.flatnonzero(self.lower != self.upper)

    @cached_property
    def _placed(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """New values (a, n), realised offsets (a, n) and realised steps (d,)."""
        moving = self._moving
        h = nominal_steps(self.x, self.stencil, self.step, self.scale)
        x = self.x[moving]
        step = np.zeros(len(self.x))
        values, step[moving] = place(x, h[moving], self.stencil, self.lower[moving], self.upper[moving])
        # What J is moved by is what floating point made of x + h, so that is what the difference is divided by.
        offsets = values - x[:, None]
        check_offsets(offsets, lambda a: self.label(int(moving[a])))
        return values, offsets, step

    @cached_property
    def _points(self) -> Points:
        values, moving = self._placed[0], self._moving
        n = values.shape[1]
        indptr = np.concatenate(([0, 0], np.arange(1, values.size + 1)))
        return Points(self.x, indptr, np.repeat(moving, n), values.ravel())

    @cached_property
    def _terms(self) -> Terms:
        offsets = self._placed[1]
        a, n = offsets.shape
        return Terms(
            n_rows=a,
            row=np.repeat(np.arange(a), n),
            point=np.arange(1, a * n + 1),
            coefficient=coefficients(offsets).ravel(),
            divisor=offsets.ravel(),
        )


def check_x(
    x0: ArrayLike,
    lower: NDArray[np.float64] | None = None,
    upper: NDArray[np.float64] | None = None,
    label: Callable[[int], str] = numbered,
) -> NDArray[np.float64]:
    """Take x as a read-only (d,) float64 copy.

    Raises
    ------
    InputError
        If it is not one finite real number or a one-dimensional array of them, or lies outside the bounds.
    """
    x = np.atleast_1d(as_real("x0", x0))
    if x.ndim != 1 or not len(x):
        raise InputError(f"x0: must be a one-dimensional array of real numbers (had shape {x.shape})")
    bad = np.flatnonzero(~np.isfinite(x))
    if len(bad):
        raise InputError(f"x0: {label(int(bad[0]))} is {x[bad[0]]}; every coordinate must be finite")
    if lower is not None and upper is not None:
        outside = np.flatnonzero((x < lower) | (x > upper))
        if len(outside):
            k = int(outside[0])
            raise InputError(f"x0: {label(k)} = {float(x[k])!r} is outside its bounds [{lower[k]}, {upper[k]}]")
    x.setflags(write=False)
    return x
