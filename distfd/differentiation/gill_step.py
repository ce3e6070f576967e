"""Forward differences with steps from the curvature (Gill, Murray, Saunders & Wright, SIAM J. Sci. Stat. 4, 1983)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from distfd.core.points import single_points
from distfd.differentiation.method import Answer, Course, Request
from distfd.differentiation.placement import place
from distfd.differentiation.probe_pairs import no_pairs
from distfd.differentiation.probe_refinement import CAP
from distfd.differentiation.scale_search import scaled_survey
from distfd.differentiation.stencils import SCHEMES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from distfd.differentiation.base_point import BasePoint
    from distfd.differentiation.method import MultiRound

    Floats = NDArray[np.float64]

LEAST, MOST = 0.001, 0.1
"""Range wanted for the relative condition error of the second difference, 4 e / (k^2 Phi); see `GillStep`."""
ROUNDS = 5


@dataclass(frozen=True, eq=False)
class GillStep(Course[Answer]):
    """h = 2 sqrt(e / Phi), where Phi is a second difference over a distance k at which its error is 0.1 to 10 %.

    Parameters
    ----------
    site : Site
    scale : (d,) ndarray
    vector : bool
    noise : float, optional
        The standard deviation of the noise; measured where not given. e is a bound that the noise rarely exceeds.
    """

    site: BasePoint
    scale: Floats
    vector: bool = False
    noise: float | None = None

    def _course(self) -> MultiRound:
        """The lines that measure the noise, up to 5 rounds for Phi, and one round for the forward differences."""
        site, rows = self.site, self.site.moving
        lines = yield from scaled_survey(site, self.scale, vector=self.vector, given=self.noise)
        found, sizes = lines.found, lines.scale
        if not len(rows):
            return found.unmoved(site, vector=self.vector)
        x, noise, m = site.x[rows], found.noise, len(found.baseline)
        outputs = m if self.vector else None
        low, high, scale = site.lower[rows], site.upper[rows], sizes[rows]
        bound = np.fmax(noise.bound, found.level)
        k = np.minimum(20 * np.sqrt(np.median(bound / found.variation)), CAP) * scale
        curvature, doubt = np.zeros((len(rows), m)), np.full((len(rows), m), np.inf)
        wanted, at = k, np.arange(len(rows))
        for _ in range(ROUNDS):
            if not len(at):
                break
            values, step = place(x[at], wanted[at], SCHEMES["central"], low[at], high[at])
            points = single_points(site.x, np.repeat(rows[at], 2), values.ravel())
            wave = yield Request(points, None, self.vector, outputs=outputs)
            rises = wave.values.reshape(len(at), 2, m) - found.baseline
            pair = no_pairs(len(at), m).add(np.abs(step), site.offsets(rows[at], values), rises)
            phi, deviation = pair.curvature(0, noise)
            with np.errstate(invalid="ignore", divide="ignore"):
                condition = np.median(4 * bound / (step[:, None] ** 2 * np.abs(phi)), axis=1)
            lost = np.asarray(~np.isfinite(phi).all(axis=1))
            curvature[at] = np.where(lost[:, None], curvature[at], phi)
            doubt[at] = np.where(lost[:, None], doubt[at], deviation)
            moved = np.where(lost | (condition < LEAST), np.abs(step) / 10, np.abs(step) * 10)
            moved = np.minimum(moved, CAP * scale[at])
            off = ~((condition >= LEAST) & (condition <= MOST))
            more = np.flatnonzero(off & (lost | (np.abs(moved - np.abs(step)) > 0.01 * moved)))
            wanted = wanted.copy()
            wanted[at[more]] = moved[more]
            at = at[more]
        seen = np.abs(curvature) + np.where(np.isfinite(doubt), doubt, 0.0)
        with np.errstate(invalid="ignore", divide="ignore"):
            h = np.minimum(2 * np.sqrt(np.median(bound / seen, axis=1)), CAP * scale)
        # Where the second difference has no value, assume that the slope of J changes by its own size over one scale.
        h = np.where(np.isfinite(doubt).any(axis=1), h, np.minimum(k / 10, h))
        h = np.maximum(np.where(np.isfinite(h), h, CAP * scale), 8 * np.spacing(np.abs(x)))
        values, step = place(x, h, SCHEMES["forward"], low, high)
        wave = yield Request(single_points(site.x, rows, values.ravel()), None, self.vector, outputs=outputs)
        offsets = site.offsets(rows, values)
        rises = wave.values - found.baseline
        with np.errstate(invalid="ignore", divide="ignore"):
            value = rises / offsets
            bar = noise.part(1 / offsets) + (np.abs(curvature) + 2 * doubt) * np.abs(offsets) / 2
        answer = found.answer(site, rows, value, bar, step, vector=self.vector)
        return replace(answer, warnings=answer.warnings + found.no_change_warnings(site, rows, rises[:, None]))
