"""Gradients and dense Jacobians: one stencil along each coordinate, all in one request."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.differentiation.assemble import assemble
from distfd.differentiation.check_points import Checkable, CheckPoints
from distfd.differentiation.complex_step import check_imaginary_parts
from distfd.differentiation.coordinate_stencils import Lines, place_lines
from distfd.differentiation.diagnostics import bend_warnings, no_movement_warnings
from distfd.differentiation.gradient_check_points import beside_lines
from distfd.differentiation.method import Answer, Request
from distfd.differentiation.rounding_quantum import quantum
from distfd.differentiation.two_sides import sharp_bends

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from distfd.differentiation.base_point import BasePoint
    from distfd.differentiation.method import Wave
    from distfd.differentiation.stencils import Stencil

_PAIRS = 4
"""Least number of points along a coordinate that show whether J is smooth."""


@dataclass(frozen=True, eq=False)
class FirstDerivative(Checkable):
    """Gradient, or Jacobian where ``vector``.

    Parameters
    ----------
    site : Site
    stencil : Stencil
    h : (d,) ndarray
        Signed steps, from `distfd.differentiation.steps.nominal_steps` or elsewhere; they may change to suit bounds and
        rounding.
    vector : bool
    """

    site: BasePoint
    stencil: Stencil
    h: NDArray[np.float64]
    vector: bool

    @cached_property
    def lines(self) -> Lines:
        """Where the points are, and how they are weighed."""
        moving = self.site.moving
        return place_lines(self.site, moving, self.h[moving], self.stencil)

    def advance(self, waves: Sequence[Wave]) -> Request | Answer:
        """One request, then the answer."""
        lines = self.lines
        if not waves:
            return Request(lines.points, 0, self.vector)
        wave = waves[0]
        check_imaginary_parts(wave)
        baseline = wave.values[0].real
        rows = assemble(lines.terms, wave.values, baseline)
        d = len(self.site.x)
        derivative, step = np.zeros((d, len(baseline))), np.zeros(d)
        known = np.isfinite(rows)
        derivative[lines.moving], step[lines.moving] = np.where(known, rows, np.nan), lines.step
        missing = lines.moving[~known.all(axis=1)]
        return Answer(
            derivative=derivative.T if self.vector else derivative[:, 0],
            value=baseline,
            step=step,
            missing=missing,
            warnings=self._doubts(wave.values, baseline),
        )

    def check_points(self, waves: Sequence[Wave]) -> CheckPoints | None:
        """The check's points, for the one request."""
        return None if waves else self._beside

    @cached_property
    def _beside(self) -> CheckPoints | None:
        return beside_lines(self.site, self.lines, self.stencil.order, vector=self.vector)

    def _doubts(self, values: NDArray[Any], baseline: NDArray[np.float64]) -> tuple[str, ...]:
        """Warnings about coordinates along which J did not change, or is not smooth."""
        if self.stencil.imaginary:
            return ()
        offsets, moving, label = self.lines.offsets, self.lines.moving, self.site.label
        texts: tuple[str, ...] = ()
        if offsets.shape[1] >= _PAIRS:
            rises = values[1:].real.reshape(*offsets.shape, len(baseline)) - baseline
            texts = bend_warnings(label, moving[(sharp_bends(offsets, rises, baseline) > 0).any(axis=1)])
        # An output without a value at x tells nothing.
        same = (values[1:] == baseline) | np.isnan(baseline)
        still = same.all(axis=1).reshape(offsets.shape).all(axis=1) & np.isfinite(baseline).any()
        if still.any():
            texts += no_movement_warnings(label, moving[still], float(quantum(values.real, printed=True).max()))
        return texts
