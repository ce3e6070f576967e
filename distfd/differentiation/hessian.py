"""Hessians from values of J alone: second order, d^2 + d points beside the baseline.

With D(a, b) = J(x + a e_i + b e_j) - J(x + a e_i) - J(x + b e_j) + J(x), every D(a, b) / (a b) is H_ij + (a J_iij +
b J_ijj) / 2 + O(h^2). Weights that sum to 1 and make sum w a = sum w b = 0 leave second order: 1/2 each for (h, h) and
(-h, -h), which is the formula with the four single points and twice the baseline of Abramowitz & Stegun 25.3.27; where
bounds let a coordinate go one way only, 2 and -1 for (h, h) and (2h, 2h); 3/2, 1/2 and -1 for (h, k), (h, -k) and
(2h, k) where only the first is so bound. The diagonal is the second derivative of the polynomial through x and the
coordinate's own points: -h, h, or h, 2h, 3h.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from distfd.core.points import Points
from distfd.differentiation.assemble import Terms, assemble
from distfd.differentiation.check_points import Checkable, CheckPoints, beside_hessian
from distfd.differentiation.method import Answer, Request
from distfd.differentiation.placement import arrange, check_offsets
from distfd.differentiation.stencils import EPS, Stencil, curvature_coefficients

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from distfd.differentiation.base_point import BasePoint
    from distfd.differentiation.method import Wave
    from distfd.differentiation.placement import Arrangements

SECOND = Stencil("central", (-1, 1), default_step=EPS**0.25)
"""What second derivatives are made of, and its step, which balances h^2 against eps / h^2."""

# A central coordinate has its last node twice, so that all have three columns.
_OPTIONS: Arrangements = [
    (1.0, np.array([-1.0, 1.0, 1.0])),
    (1.0, np.array([1.0, 2.0, 3.0])),
    (-1.0, np.array([1.0, 2.0, 3.0])),
]
# Nodes of the first coordinate, nodes of the second, weights: by (first is one-sided, second is one-sided).
_PAIRS = {
    (False, False): ((0, 1), (0, 1), (0.5, 0.5)),
    (True, True): ((0, 1), (0, 1), (2.0, -1.0)),
    (True, False): ((0, 0, 1), (1, 0, 1), (1.5, 0.5, -1.0)),
    (False, True): ((1, 0, 1), (0, 0, 1), (1.5, 0.5, -1.0)),
}


@dataclass(frozen=True, eq=False)
class _Pairs:
    """Points that move two coordinates: their numbers among those that move, the nodes, and the weights of D/(ab)."""

    row: NDArray[np.int64]
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    first_node: NDArray[np.int64]
    second_node: NDArray[np.int64]
    weight: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Hessian(Checkable):
    """Second derivatives of a J with one output; symmetric, 0 in rows and columns of coordinates that do not move.

    Parameters
    ----------
    site : Site
    h : (d,) ndarray
        Signed steps.
    """

    site: BasePoint
    h: NDArray[np.float64]

    def advance(self, waves: Sequence[Wave]) -> Request | Answer:
        """One request, then the answer."""
        offsets = self._offsets  # before anything is evaluated: it may refuse the step
        if not waves:
            return Request(self._points, 0)
        moving, wave = self.site.moving, waves[0]
        entries = assemble(self._terms(offsets), wave.values, wave.values[0])[:, 0]
        a, d = len(moving), len(self.site.x)
        part = np.zeros((a, a))
        first, second = np.triu_indices(a, 1)
        part[np.arange(a), np.arange(a)] = entries[:a]
        part[first, second] = part[second, first] = np.where(np.isfinite(entries[a:]), entries[a:], np.nan)
        derivative, step = np.zeros((d, d)), np.zeros(d)
        derivative[np.ix_(moving, moving)] = part
        step[moving] = self._step
        missing = moving[~np.isfinite(part).all(axis=1)]
        return Answer(derivative, wave.values[0], step, missing, scheme=SECOND.name)

    def check_points(self, waves: Sequence[Wave], scale: ArrayLike | None) -> CheckPoints | None:  # noqa: ARG002  # its steps are real
        """Beside the one request."""
        return None if waves else beside_hessian(self.site, self._step, self._terms(self._offsets))

    @cached_property
    def _placed(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """New values (a, 3) and realised steps (a,)."""
        site, moving = self.site, self.site.moving
        at = site.x[moving]
        values, step = arrange(at, self.h[moving], _OPTIONS, site.lower[moving], site.upper[moving])
        for rows, width in ((~self._one_sided(values), 2), (self._one_sided(values), 3)):
            offsets = (values - at[:, None])[rows, :width]
            check_offsets(offsets, lambda k, rows=rows: site.label(int(moving[rows][k])))  # type: ignore[misc]  # bound now
        return values, step

    @cached_property
    def _offsets(self) -> NDArray[np.float64]:
        """How far J sees each coordinate moved by its nodes, (a, 3)."""
        site, moving, values = self.site, self.site.moving, self._placed[0]
        read = site.offsets(moving, values)
        if site.written is not None:
            for rows, width in ((~self._one_sided(values), 2), (self._one_sided(values), 3)):
                check_offsets(read[rows, :width], lambda k, rows=rows: site.label(int(moving[rows][k])))  # type: ignore[misc]  # bound now
        return read

    @property
    def _step(self) -> NDArray[np.float64]:
        """Realised steps, (a,), as J reads them."""
        values, step = self._placed
        nominal = values[:, 0] - self.site.x[self.site.moving]
        return step if self.site.written is None else step * (self._offsets[:, 0] / nominal)

    @staticmethod
    def _one_sided(values: NDArray[np.float64]) -> NDArray[np.bool_]:
        return np.asarray(values[:, 1] != values[:, 2])

    @cached_property
    def _start(self) -> NDArray[np.int64]:
        """The point number of each coordinate's first node, and after the last that of the first pair."""
        return 1 + np.concatenate(([0], np.cumsum(np.where(self._one_sided(self._placed[0]), 3, 2))))

    @cached_property
    def _pairs(self) -> _Pairs:
        one_sided = self._one_sided(self._placed[0])
        first, second = np.triu_indices(len(one_sided), 1)
        parts = []
        for sides, (nodes, others, weights) in _PAIRS.items():
            rows = np.flatnonzero((one_sided[first] == sides[0]) & (one_sided[second] == sides[1]))
            n = len(weights)
            at = np.repeat(rows, n)
            parts.append(
                (at, first[at], second[at], *(np.tile(np.array(c), len(rows)) for c in (nodes, others, weights)))
            )
        return _Pairs(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))

    @property
    def _points(self) -> Points:
        """X itself, each coordinate's nodes, then the pairs."""
        values, moving, pairs = self._placed[0], self.site.moving, self._pairs
        counts = np.diff(self._start)
        own = np.arange(3) < counts[:, None]
        both = np.stack((pairs.first, pairs.second), axis=1)
        nodes = np.stack((pairs.first_node, pairs.second_node), axis=1)
        indices = np.concatenate((np.repeat(moving, counts), moving[both].ravel()))
        singles = np.arange(1 + counts.sum())
        indptr = np.concatenate(([0], singles, singles[-1] + 2 * np.arange(1, len(both) + 1)))
        return Points(self.site.x, indptr, indices, np.concatenate((values[own], values[both, nodes].ravel())))

    def _terms(self, offsets: NDArray[np.float64]) -> Terms:
        values, pairs, start = self._placed[0], self._pairs, self._start
        a, one_sided = len(offsets), self._one_sided(values)
        parts = []
        for rows, width in ((np.flatnonzero(~one_sided), 2), (np.flatnonzero(one_sided), 3)):
            own = offsets[rows, :width]
            point = start[rows][:, None] + np.arange(width)
            parts.append((np.repeat(rows, width), point.ravel(), curvature_coefficients(own).ravel(), own.ravel()))
        area = offsets[pairs.first, pairs.first_node] * offsets[pairs.second, pairs.second_node]
        alone = (start[pairs.first] + pairs.first_node, start[pairs.second] + pairs.second_node)
        parts.append((a + pairs.row, start[-1] + np.arange(len(pairs.row)), pairs.weight, area))
        parts += [(a + pairs.row, point, -pairs.weight, area) for point in alone]
        row, point, coefficient, divisor = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        return Terms(a + a * (a - 1) // 2, row, point, coefficient, divisor)
