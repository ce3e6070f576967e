"""Derivatives along directions, and Jacobian-vector products: a stencil along each direction, all in one request."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from distfd.core.points import Points
from distfd.differentiation.assemble import Terms, assemble
from distfd.differentiation.check_points import Checkable, CheckPoints
from distfd.differentiation.complex_step import check_imaginary_parts
from distfd.differentiation.direction_stencils import Ray, place_rays
from distfd.differentiation.gradient_check_points import beside_rays
from distfd.differentiation.method import Answer, Request
from distfd.differentiation.stencils import coefficients

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from distfd.differentiation.base_point import BasePoint
    from distfd.differentiation.method import Wave
    from distfd.differentiation.stencils import Stencil

_TURNED = 0.03
"""Part of a step across its direction that is told: the derivative may be wrong by about as much."""


@dataclass(frozen=True, eq=False)
class Directional(Checkable):
    """dJ(x + t v)/dt at t = 0 for p directions v: (p,), or (p, m) for a J with m outputs.

    Parameters
    ----------
    site : Site
    stencil : Stencil
    directions : (p, d) ndarray
    t : (p,) ndarray
        Steps: x + t v.
    h : (d,) ndarray
        Typical steps > 0 of the coordinates, for `distfd.differentiation.direction_stencils.place_rays`.
    single : bool
        Whether the derivative of one direction is returned alone, (m,).
    """

    site: BasePoint
    stencil: Stencil
    directions: NDArray[np.float64]
    t: NDArray[np.float64]
    h: NDArray[np.float64]
    single: bool = False

    @cached_property
    def _rays(self) -> list[Ray]:
        return place_rays(self.site, self.directions, self.t, self.stencil, self.h)

    def advance(self, waves: Sequence[Wave]) -> Request | Answer:
        """One request, then the answer."""
        if not waves:
            return Request(self._points, 0, vector=True)
        wave = waves[0]
        check_imaginary_parts(wave)
        baseline = wave.values[0].real
        rows = assemble(self._terms, wave.values, baseline)
        moved = {ray.row for ray in self._rays}
        rows[[p for p in range(len(rows)) if p not in moved]] = 0.0
        missing = np.flatnonzero(~np.isfinite(rows).all(axis=1))
        rows[~np.isfinite(rows)] = np.nan
        step = self._step
        derivative = rows[0] if self.single else rows[:, 0] if rows.shape[1] == 1 else rows
        return Answer(derivative, baseline, step, missing, warnings=self._turned, axis="direction")

    @property
    def _turned(self) -> tuple[str, ...]:
        """A warning for the direction whose points rounding has turned away most, if that matters."""
        most = max(self._rays, key=lambda ray: ray.turned, default=None)
        if most is None or not most.turned > _TURNED:
            return ()
        text = f"the step along direction {most.row} is so short that rounding of x turns it away by {most.turned:.0%}"
        remedy = "give wider bounds or a larger step, or let the direction leave out coordinates of such narrow bounds"
        return (f"{text}, so the derivative is along another direction: {remedy}",)

    def check_points(self, waves: Sequence[Wave]) -> CheckPoints | None:
        """The check's points, for the one request."""
        if waves:
            return None
        return beside_rays(
            self.site,
            self.directions,
            self._step,
            self._terms,
            self.stencil.order,
            single=self.single,
        )

    @property
    def _step(self) -> NDArray[np.float64]:
        """Realised steps, (p,): of two parts of a direction the shorter one, along which rounding matters more."""
        step = np.zeros(len(self.directions))
        for ray in sorted(self._rays, key=lambda ray: abs(ray.step), reverse=True):
            step[ray.row] = ray.step
        return step

    @property
    def _points(self) -> Points:
        """X itself, then the nodes of each ray."""
        counts = [np.repeat(len(ray.coordinates), len(ray.offsets)) for ray in self._rays]
        indptr = np.cumsum(np.concatenate(([0, 0], *counts)), dtype=np.int64)
        indices = [np.tile(ray.coordinates, len(ray.offsets)) for ray in self._rays]
        values = [ray.values.ravel() for ray in self._rays]
        return Points(
            self.site.x,
            indptr,
            np.concatenate((np.zeros(0, np.int64), *indices)),
            np.concatenate((np.zeros(0), *values)),
        )

    @property
    def _terms(self) -> Terms:
        n = len(self.stencil.nodes)
        offsets = np.reshape([ray.offsets for ray in self._rays], (len(self._rays), n))
        return Terms(
            n_rows=len(self.directions),
            row=np.repeat(np.array([ray.row for ray in self._rays], dtype=np.int64), n),
            point=np.arange(1, offsets.size + 1),
            coefficient=coefficients(offsets).ravel(),
            divisor=offsets.ravel(),
        )
