"""Hessians from values of J alone: d^2 + d points beside the baseline; with a mask, 2 d plus 2 for each pair.

Each of these points gives one number, so a Hessian with n different entries takes at least n points, whatever its
structure. Grouping coordinates, as for Jacobians, saves nothing here.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core.points import join_points
from distfd.core.records import DOUBLE
from distfd.differentiation.assemble import Terms, assemble, weight_sums
from distfd.differentiation.check_points import Checkable, CheckPoints
from distfd.differentiation.diagnostics import (
    blurred_rows_warnings,
    no_movement_warnings,
    rounding_warnings,
    tight_bounds_warnings,
    unexpected_diagonal_warnings,
)
from distfd.differentiation.hessian_check_points import beside_hessian
from distfd.differentiation.method import Answer, Request
from distfd.differentiation.second_differences import place_differences, sides
from distfd.differentiation.stencils import EPS
from distfd.differentiation.step_limits import last_units, printed_unit
from distfd.differentiation.value_precision import hides_nothing, wave_bits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from distfd.differentiation.base_point import BasePoint
    from distfd.differentiation.hessian_pattern import HessianPattern
    from distfd.differentiation.method import Wave
    from distfd.differentiation.second_differences import SecondDifferences
    from distfd.differentiation.stencils import Stencil

    Floats = NDArray[np.float64]

PART = 0.01
"""A second derivative is doubtful if rounding is more than this part of it."""
BEND = 1e-4
"""A second derivative counts as 0 if it is smaller than this part of J over the square of a typical size."""
WRONG, SMALL = 0.1, 0.01
"""An entry of a row counts as wrong if it is off by more than the first part of it, if it is larger than the second
part of the row's largest; there is a warning then."""
ROUNDED = 4.0
"""Rounding error of J in units in the last place, for a J that loses digits on its way."""


@dataclass(frozen=True, eq=False)
class Hessian(Checkable):
    """Second derivatives of a J with one output; symmetric, 0 in rows and columns of coordinates that do not move.

    Parameters
    ----------
    site : Site
    h : (d,) ndarray
        Signed steps.
    pattern : HessianPattern
    stencil : Stencil
        The sides of x on which the points are. A stencil of fourth order or more gives differences of fourth order,
        from second-order differences at h and 2 h.
    scale : (d,) ndarray
        Typical sizes of the coordinates, by which entries are compared.
    """

    site: BasePoint
    h: Floats
    pattern: HessianPattern
    stencil: Stencil
    scale: Floats

    @cached_property
    def _grids(self) -> list[SecondDifferences]:
        """The second differences at h, and for fourth order also those at 2 h."""
        h = self.h[self.pattern.moving]
        if self.stencil.order < 4:
            return [place_differences(self.site, self.pattern, h, sides(self.stencil))]
        far = place_differences(self.site, self.pattern, 2 * h, sides(self.stencil))
        return [far.halved(), far]

    def advance(self, waves: Sequence[Wave]) -> Request | Answer:
        """One request, then the answer."""
        grids = self._grids  # before anything is evaluated, as this may raise an error
        cut = len(grids[0].singles) + len(grids[0].doubles)
        if not waves:
            parts = [part for grid in grids for part in (grid.singles, grid.doubles)]
            points = join_points(parts)
            # The second set of points begins with x again, which the first set already has.
            return Request(points.take(np.delete(np.arange(len(points)), [cut][: len(grids) - 1])), 0)
        values, a = waves[0].values, len(self.pattern.moving)
        seen = [values[:cut], np.concatenate((values[:1], values[cut:]))]
        found = [assemble(grid.terms, part, values[0])[:, 0] for grid, part in zip(grids, seen, strict=False)]
        with np.errstate(over="ignore", invalid="ignore"):
            entries = found[0] if len(grids) == 1 else (4 * found[0] - found[1]) / 3
        entries = np.where(np.isfinite(entries), entries, np.nan)
        own, mixed = entries[:a], entries[a:]
        step = np.zeros(len(self.site.x))
        step[self.pattern.moving] = grids[0].step
        return Answer(
            self.pattern.filled(own, mixed),
            values[0],
            step,
            missing_rows(self.pattern, own, mixed),
            warnings=self._doubts(entries, seen[0][:, 0], _unit(waves), plain=hides_nothing(waves)),
            scheme="central" if self.stencil.order < 4 and grids[0].one_sided.sum() < a else self.stencil.name,
        )

    def check_points(self, waves: Sequence[Wave]) -> CheckPoints | None:
        """The check's points, for the one request."""
        if waves:
            return None
        near = self._grids[0].terms
        if len(self._grids) == 1:
            return beside_hessian(self.site, self.pattern, self._grids[0].step, near, self.h)
        far, cut = self._grids[1].terms, len(self._grids[0].singles) + len(self._grids[0].doubles)
        terms = Terms(
            near.n_rows,
            np.concatenate((near.row, far.row)),
            np.concatenate((near.point, np.where(far.point > 0, far.point + cut - 1, 0))),
            np.concatenate((near.coefficient * 4 / 3, -far.coefficient / 3)),
            np.concatenate((near.divisor, far.divisor)),
        )
        return beside_hessian(self.site, self.pattern, self._grids[0].step, terms, self.h)

    def _doubts(self, entries: Floats, values: Floats, unit: float, *, plain: bool) -> tuple[str, ...]:
        grid, pattern, level = self._grids[0], self.pattern, float(np.abs(values[0]))
        a = len(pattern.moving)
        if not a:
            return ()
        own = grid.own_terms
        still = np.ones(a, dtype=bool)
        np.logical_and.at(still, own.row, values[own.point] == values[0])
        for side in (pattern.first, pattern.second):
            np.logical_and.at(still, side, entries[a:] == 0)
        if still.all():
            return () if plain else no_movement_warnings(self.site.label, pattern.moving, 0.0)
        sums = weight_sums((1.0, grid.terms, 0))
        rounding = max(ROUNDED * EPS * level, unit) * (sums.absolute + np.abs(sums.total)) / 2
        texts = unexpected_diagonal_warnings(
            self.site.label, pattern.moving[~pattern.diagonal & (np.abs(entries[:a]) > np.maximum(rounding[:a], 0.0))]
        )
        texts += no_movement_warnings(self.site.label, pattern.moving[still], 0.0)
        slopes = np.abs(values[own.point] - values[0]) / np.abs(own.divisor) * self.scale[pattern.moving][own.row]
        slope = float(np.max(slopes, initial=0.0, where=np.isfinite(slopes)))
        return texts + second_difference_doubts(
            self.site, pattern, entries, rounding, level, unit, slope, self.scale, self.h, grid
        )


def _unit(waves: Sequence[Wave]) -> float:
    """The unit in which J is rounded: that of its last printed digit, or the spacing of numbers of its type."""
    values = waves[0].values
    if (bits := wave_bits(waves[0])) == DOUBLE:
        return float(np.max(printed_unit(waves, values, printed=False), initial=0.0))
    return float(last_units(values, bits)[0])


def missing_rows(pattern: HessianPattern, own: Floats, mixed: Floats) -> NDArray[np.int64]:
    """Coordinates that have an entry without a value."""
    lost = np.isnan(own)
    for side in (pattern.first, pattern.second):
        np.logical_or.at(lost, side, np.isnan(mixed))
    return pattern.moving[lost]


def second_difference_doubts(  # noqa: PLR0917  # every argument is needed
    site: BasePoint,
    pattern: HessianPattern,
    entries: Floats,
    rounding: Floats,
    level: float,
    unit: float,
    slope: float,
    scale: Floats,
    h: Floats,
    grid: Any,
) -> tuple[str, ...]:
    """Warnings for second differences that are mostly rounding: bounds leave no room, or the step is too small.

    J has the size ``level``, and is rounded to multiples of ``unit``, 0 where it has all digits of a double.
    ``slope`` is the largest change of J over one scale according to its first differences. Where all second differences
    are 0, J may be linear, or rounding may hide its curvature. There is a warning if the hidden curvature could be as
    large as the slope.
    """
    moving, a = pattern.moving, len(pattern.moving)
    size, sizes = scale[moving], np.abs(np.nan_to_num(entries))
    first = np.concatenate((np.arange(a), pattern.first))
    second = np.concatenate((np.arange(a), pattern.second))
    area = size[first] * size[second]
    usual = np.maximum(np.sqrt(sizes[first] * sizes[second]), BEND * level / area)
    doubtful = rounding > PART * np.maximum(sizes, usual)
    shrunk = np.abs(grid.step) < 0.999 * np.abs(h[moving])
    tight = np.zeros(a, dtype=bool)
    for side in (first, second):
        np.logical_or.at(tight, side, doubtful & shrunk[side])
    if tight.any():
        return tight_bounds_warnings(site.label, moving[tight], np.abs(grid.step)[tight])
    largest = float((sizes * area).max(initial=0.0)) or slope
    lost = (rounding[:a] * area[:a] > 3 * PART * largest) & (largest > 0)
    if lost.any():
        return rounding_warnings(site.label, moving[lost], level, unit)
    typical = rounding * area / ROUNDED
    entry, of_row = sizes * area, np.zeros(a)
    for side in (first, second):
        np.maximum.at(of_row, side, entry)
    blurred = np.zeros(a, dtype=bool)
    for side in (first, second):
        # A row that is all rounding may well be 0.
        known = of_row[side] > typical / WRONG
        small = (entry < typical / WRONG) & (typical > WRONG * SMALL * of_row[side])
        np.logical_or.at(blurred, side, known & small)
    about = float((rounding / ROUNDED)[:a][blurred].max(initial=0.0))
    return blurred_rows_warnings(site.label, moving[blurred], level, unit, about)
