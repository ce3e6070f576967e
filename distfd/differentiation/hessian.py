"""Hessians from values of J alone: d^2 + d points beside the baseline, or 2 d and 2 for each pair of a mask.

Each of those points gives one number, so a Hessian with n different entries takes at least n of them, whatever its
structure is: groups of coordinates, as for Jacobians, cannot save any here.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core.points import join_points
from distfd.differentiation.assemble import Terms, assemble, weight_sums
from distfd.differentiation.check_points import Checkable, CheckPoints, beside_hessian
from distfd.differentiation.diagnostics import (
    no_movement_warnings,
    rounding_warnings,
    tight_bounds_warnings,
    unexpected_diagonal_warnings,
)
from distfd.differentiation.method import Answer, Request
from distfd.differentiation.second_differences import place_differences, sides
from distfd.differentiation.stencils import EPS
from distfd.differentiation.value_precision import stands_for_want_of_digits

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
"""Rounding that is a larger part of a second derivative makes it doubtful."""
BEND = 1e-4
"""A second derivative that is smaller than this part of J over the square of a typical size is as good as 0."""
ROUNDED = 4.0
"""Where J has digits to lose on its way, so many units in the last place stand for one."""


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
        On whose sides the points are. One of fourth order or more makes differences of fourth order, from those at h
        and at 2 h.
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
        """The differences, and those at twice the distance for fourth order."""
        h = self.h[self.pattern.moving]
        if self.stencil.order < 4:
            return [place_differences(self.site, self.pattern, h, sides(self.stencil))]
        far = place_differences(self.site, self.pattern, 2 * h, sides(self.stencil))
        return [far.halved(), far]

    def advance(self, waves: Sequence[Wave]) -> Request | Answer:
        """One request, then the answer."""
        grids = self._grids  # before anything is evaluated: it may refuse the step
        cut = len(grids[0].singles) + len(grids[0].doubles)
        if not waves:
            parts = [part for grid in grids for part in (grid.singles, grid.doubles)]
            points = join_points(parts)
            # The second begins with x again, which is there.
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
            warnings=self._doubts(entries, seen[0][:, 0]),
            scheme="central" if self.stencil.order < 4 and grids[0].one_sided.sum() < a else self.stencil.name,
        )

    def check_points(self, waves: Sequence[Wave]) -> CheckPoints | None:
        """Beside the one request."""
        if waves:
            return None
        near = self._grids[0].terms
        if len(self._grids) == 1:
            return beside_hessian(self.site, self.pattern, self._grids[0].step, near)
        far, cut = self._grids[1].terms, len(self._grids[0].singles) + len(self._grids[0].doubles)
        terms = Terms(
            near.n_rows,
            np.concatenate((near.row, far.row)),
            np.concatenate((near.point, np.where(far.point > 0, far.point + cut - 1, 0))),
            np.concatenate((near.coefficient * 4 / 3, -far.coefficient / 3)),
            np.concatenate((near.divisor, far.divisor)),
        )
        return beside_hessian(self.site, self.pattern, self._grids[0].step, terms)

    def _doubts(self, entries: Floats, values: Floats) -> tuple[str, ...]:
        grid, pattern, level = self._grids[0], self.pattern, float(np.abs(values[0]))
        a = len(pattern.moving)
        if not a:
            return ()
        if stands_for_want_of_digits(values):
            return no_movement_warnings(self.site.label, pattern.moving, 0.0)
        sums = weight_sums((1.0, grid.terms, 0))
        rounding = ROUNDED * EPS * level * (sums.absolute + np.abs(sums.total)) / 2
        texts = unexpected_diagonal_warnings(
            self.site.label, pattern.moving[~pattern.diagonal & (np.abs(entries[:a]) > np.maximum(rounding[:a], 0.0))]
        )
        own = grid.own_terms
        slopes = np.abs(values[own.point] - values[0]) / np.abs(own.divisor) * self.scale[pattern.moving][own.row]
        slope = float(np.max(slopes, initial=0.0, where=np.isfinite(slopes)))
        return texts + second_difference_doubts(
            self.site, pattern, entries, rounding, level, slope, self.scale, self.h, grid
        )


def missing_rows(pattern: HessianPattern, own: Floats, mixed: Floats) -> NDArray[np.int64]:
    """Coordinates of which an entry has no value."""
    lost = np.isnan(own)
    for side in (pattern.first, pattern.second):
        np.logical_or.at(lost, side, np.isnan(mixed))
    return pattern.moving[lost]


def second_difference_doubts(  # noqa: PLR0917  # what a doubt needs to know
    site: BasePoint,
    pattern: HessianPattern,
    entries: Floats,
    rounding: Floats,
    level: float,
    slope: float,
    scale: Floats,
    h: Floats,
    grid: Any,
) -> tuple[str, ...]:
    """Coordinates whose second differences are mostly rounding: bounds leave no room, or the step is too small.

    ``slope`` is the largest change of J over one scale by its first differences. Where all second differences are 0, J
    may be linear, or rounding may hide what bends it: they are in doubt if that could be as large as the slope.
    """
    moving, a = pattern.moving, len(pattern.moving)
    size, sizes = scale[moving], np.abs(np.nan_to_num(entries))
    first = np.concatenate((np.arange(a), pattern.first))
    second = np.concatenate((np.arange(a), pattern.second))
    unit = size[first] * size[second]
    usual = np.maximum(np.sqrt(sizes[first] * sizes[second]), BEND * level / unit)
    doubtful = rounding > PART * np.maximum(sizes, usual)
    shrunk = np.abs(grid.step) < 0.999 * np.abs(h[moving])
    tight = np.zeros(a, dtype=bool)
    for side in (first, second):
        np.logical_or.at(tight, side, doubtful & shrunk[side])
    if tight.any():
        return tight_bounds_warnings(site.label, moving[tight], np.abs(grid.step)[tight])
    largest = float((sizes * unit).max(initial=0.0)) or slope
    lost = (rounding[:a] * unit[:a] > 3 * PART * largest) & (largest > 0)
    return rounding_warnings(site.label, moving[lost], level)
