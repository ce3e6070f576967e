"""Second derivatives from values of J alone: points and weights of second order.

With D(a, b) = J(x + a e_i + b e_j) - J(x + a e_i) - J(x + b e_j) + J(x), every D(a, b) / (a b) is H_ij + (a J_iij + b
J_ijj) / 2 + O(h^2). So weights w with sum w = 1 and sum w a = sum w b = 0 give second order: 1/2 each for (h, h) and
(-h, -h), which is the formula of Abramowitz & Stegun 25.3.27 with the four single points and twice the baseline; 2 and
-1 for (h, h) and (2h, 2h), where bounds let both coordinates go one way only; 3/2, 1/2 and -1 for (h, k), (h, -k) and
(2h, k), where only the first is so limited. The diagonal is the second derivative of the polynomial through x and the
coordinate's own points: -h, h, or h, 2h, 3h.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from distfd.core.points import Points
from distfd.differentiation.assemble import Terms
from distfd.differentiation.placement import arrange, check_offsets
from distfd.differentiation.stencils import EPS, SCHEMES, Stencil, curvature_coefficients

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from distfd.differentiation.base_point import BasePoint
    from distfd.differentiation.hessian_pattern import HessianPattern
    from distfd.differentiation.placement import Arrangements

    Floats = NDArray[np.float64]
    Numbers = NDArray[np.int64]

SECOND = Stencil("central", (-1, 1), default_step=EPS**0.25)
"""The stencil of second derivatives, with the step that balances truncation h^2 and rounding eps / h^2."""
FOURTH = Stencil("central4", (-2, -1, 1, 2), default_step=EPS ** (1 / 6))
"""The stencil of second derivatives of fourth order, whose truncation is h^4."""

# A central coordinate has its last node twice, so that all coordinates have three columns.
_CENTRAL = (1.0, np.array([-1.0, 1.0, 1.0]))
_AHEAD, _BEHIND = (1.0, np.array([1.0, 2.0, 3.0])), (-1.0, np.array([1.0, 2.0, 3.0]))
# Nodes of the first coordinate, nodes of the second, weights: by (first is one-sided, second is one-sided).
PAIR_WEIGHTS = {
    (False, False): ((0, 1), (0, 1), (0.5, 0.5)),
    (True, True): ((0, 1), (0, 1), (2.0, -1.0)),
    (True, False): ((0, 0, 1), (1, 0, 1), (1.5, 0.5, -1.0)),
    (False, True): ((1, 0, 1), (0, 0, 1), (1.5, 0.5, -1.0)),
}


def second_order(stencil: Stencil) -> Stencil:
    """The scheme of second order on the same sides of x; forward, the default scheme, gives both sides here."""
    if len(stencil.nodes) > 1 and min(stencil.nodes) > 0:
        return SCHEMES["forward2"]
    return SCHEMES["backward2"] if max(stencil.nodes) < 0 else SECOND


def sides(stencil: Stencil) -> Arrangements:
    """The allowed arrangements of a coordinate's points, the most wanted first: on the sides of the given scheme."""
    kind = second_order(stencil).name
    ways = {"forward2": [_AHEAD, _BEHIND, _CENTRAL], "backward2": [_BEHIND, _AHEAD, _CENTRAL]}
    return ways.get(kind, [_CENTRAL, _AHEAD, _BEHIND])


@dataclass(frozen=True, eq=False)
class _Pairs:
    """Points that move two coordinates: their numbers in ``moving``, the nodes, and the weights of D/(ab)."""

    row: Numbers
    first: Numbers
    second: Numbers
    first_node: Numbers
    second_node: Numbers
    weight: Floats


@dataclass(frozen=True, eq=False)
class SecondDifferences:
    """Points around x, and the weights that turn J's values there into second derivatives.

    Parameters
    ----------
    site : Site
    pattern : HessianPattern
    values : (a, 3) ndarray
        Values of the pattern's coordinates at their nodes; the last two are equal for a central coordinate.
    nominal : (a,) ndarray
        The steps that the nodes were placed with.
    """

    site: BasePoint
    pattern: HessianPattern
    values: Floats
    nominal: Floats

    def halved(self) -> SecondDifferences:
        """The second differences at half the distance."""
        x = self.site.x[self.pattern.moving]
        found = replace(self, values=x[:, None] + (self.values - x[:, None]) / 2, nominal=self.nominal / 2)
        found.check()
        return found

    def check(self) -> None:
        """Raises InputError where points coincide or overflow."""
        site, moving = self.site, self.pattern.moving
        for offsets in (self.values - site.x[moving, None], *([self.offsets] if site.written is not None else [])):
            for rows, width in self._widths():
                check_offsets(offsets[rows, :width], lambda k, rows=rows: site.label(int(moving[rows][k])))  # type: ignore[misc]  # bound now

    @cached_property
    def offsets(self) -> Floats:
        """Displacements of the nodes, as J sees them, (a, 3)."""
        return self.site.offsets(self.pattern.moving, self.values)

    @property
    def step(self) -> Floats:
        """Realised steps, (a,), as J reads them."""
        if self.site.written is None:
            return self.nominal
        return self.nominal * (self.offsets[:, 0] / (self.values[:, 0] - self.site.x[self.pattern.moving]))

    @property
    def one_sided(self) -> NDArray[np.bool_]:
        """Whether each coordinate's nodes are on one side of x, (a,)."""
        return np.asarray(self.values[:, 1] != self.values[:, 2])

    def _widths(self) -> tuple[tuple[Numbers, int], tuple[Numbers, int]]:
        """Coordinates with two points of their own and those with three, each with that number."""
        return (np.flatnonzero(~self.one_sided), 2), (np.flatnonzero(self.one_sided), 3)

    @cached_property
    def _start(self) -> Numbers:
        """The point number of each coordinate's first node; behind them, that of the first pair's."""
        return 1 + np.concatenate(([0], np.cumsum(np.where(self.one_sided, 3, 2))))

    @cached_property
    def _pairs(self) -> _Pairs:
        one_sided, first, second = self.one_sided, self.pattern.first, self.pattern.second
        parts = []
        for kind, (nodes, others, weights) in PAIR_WEIGHTS.items():
            rows = np.flatnonzero((one_sided[first] == kind[0]) & (one_sided[second] == kind[1]))
            n = len(weights)
            at = np.repeat(rows, n)
            parts.append(
                (at, first[at], second[at], *(np.tile(np.array(c), len(rows)) for c in (nodes, others, weights)))
            )
        return _Pairs(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))

    @cached_property
    def singles(self) -> Points:
        """The point x, then each coordinate's own nodes."""
        counts = np.diff(self._start)
        own = np.arange(3) < counts[:, None]
        indptr = np.concatenate(([0], np.arange(1 + counts.sum())))
        return Points(self.site.x, indptr, np.repeat(self.pattern.moving, counts), self.values[own])

    @cached_property
    def doubles(self) -> Points:
        """The points that move two coordinates."""
        pairs = self._pairs
        both = np.stack((pairs.first, pairs.second), axis=1)
        nodes = np.stack((pairs.first_node, pairs.second_node), axis=1)
        indptr = 2 * np.arange(len(both) + 1)
        return Points(self.site.x, indptr, self.pattern.moving[both].ravel(), self.values[both, nodes].ravel())

    @property
    def own_terms(self) -> Terms:
        """The weights of the diagonal, a row for each coordinate, for the values at ``singles``."""
        start, offsets = self._start, self.offsets
        parts = []
        for rows, width in self._widths():
            own = offsets[rows, :width]
            point = start[rows][:, None] + np.arange(width)
            parts.append((np.repeat(rows, width), point.ravel(), curvature_coefficients(own).ravel(), own.ravel()))
        row, point, coefficient, divisor = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        return Terms(len(offsets), row, point, coefficient, divisor)

    @property
    def terms(self) -> Terms:
        """Weights of the diagonal, then of each pair, a row each, for the values at ``singles`` and ``doubles``."""
        pairs, start, offsets, own = self._pairs, self._start, self.offsets, self.own_terms
        a = own.n_rows
        area = offsets[pairs.first, pairs.first_node] * offsets[pairs.second, pairs.second_node]
        alone = (start[pairs.first] + pairs.first_node, start[pairs.second] + pairs.second_node)
        parts = [(own.row, own.point, own.coefficient, own.divisor)]
        parts.append((a + pairs.row, start[-1] + np.arange(len(pairs.row)), pairs.weight, area))
        parts += [(a + pairs.row, point, -pairs.weight, area) for point in alone]
        row, point, coefficient, divisor = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        return Terms(a + len(self.pattern.first), row, point, coefficient, divisor)


def place_differences(site: BasePoint, pattern: HessianPattern, h: Floats, options: Arrangements) -> SecondDifferences:
    """Second differences with signed steps h (a,) inside the bounds, by the first of ``options`` that fits.

    Raises
    ------
    InputError
        If points coincide in floating point or in the text that J reads, or overflow.
    """
    moving = pattern.moving
    values, step = arrange(site.x[moving], h, options, site.lower[moving], site.upper[moving])
    found = SecondDifferences(site, pattern, values, step)
    found.check()
    return found
