"""Richardson extrapolation of central differences at h, 2 h and 4 h, with its error."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from distfd.differentiation.check_points import Checkable, CheckPoints
from distfd.differentiation.coordinate_stencils import place_lines
from distfd.differentiation.diagnostics import bend_warnings
from distfd.differentiation.gradient_check_points import beside_lines
from distfd.differentiation.method import Answer, Course
from distfd.differentiation.noise_survey import EVALUATIONS, survey
from distfd.differentiation.scale_search import safe_sizes
from distfd.differentiation.stencils import coefficients
from distfd.differentiation.two_sides import one_sided_slopes, sharp_bends

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from distfd.differentiation.base_point import BasePoint
    from distfd.differentiation.coordinate_stencils import Lines
    from distfd.differentiation.method import MultiRound, Wave
    from distfd.differentiation.stencils import Stencil

    Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Richardson(Checkable, Course[Answer]):
    """The sixth-order formula through x +- h, +- 2 h, +- 4 h: 6 d + 13 evaluations in one round.

    With T_k the central difference at h, 2 h, 4 h, the fourth-order value is (4 T_1 - T_2) / 3. The sixth-order value
    corrects it by the same rule (Ridders, Adv. Eng. Softw. 4(2), 1982). That correction is the truncation part of the
    error bar. The noise part is measured on two lines, as the table cannot show it (measured: where noise dominates,
    tables look converged as often as not, and contain the derivative in 4 to 15 % of cases).

    Parameters
    ----------
    site : Site
    stencil : Stencil
        The stencil of the six nodes.
    h : (d,) ndarray
        Signed steps.
    scale : (d,) ndarray
        Typical sizes, for the noise lines.
    vector : bool
    """

    site: BasePoint
    stencil: Stencil
    h: Floats
    scale: Floats
    vector: bool = False

    def check_points(self, waves: Sequence[Wave]) -> CheckPoints | None:
        """The check's points, for the first request, which has the stencils."""
        if waves:
            return None
        return beside_lines(self.site, self._lines, self.stencil.order, vector=self.vector, first=EVALUATIONS)

    @property
    def _lines(self) -> Lines:
        moving = self.site.moving
        return place_lines(self.site, moving, self.h[moving], self.stencil)

    def _course(self) -> MultiRound:
        """One request, with two further lines where the first show no noise, then the answer."""
        site, moving, lines = self.site, self.site.moving, self._lines
        a, n = lines.offsets.shape
        points = lines.points.take(np.arange(1, a * n + 1))
        found = yield from survey(site, safe_sizes(site, self.scale), vector=self.vector, extra=points)
        rises = found.extra.reshape(a, n, len(found.baseline)) - found.baseline
        order = np.argsort(np.abs(lines.offsets), axis=1, kind="stable")
        offsets = np.take_along_axis(lines.offsets, order, axis=1)
        rises = np.take_along_axis(rises, order[..., None], axis=1)
        weights = coefficients(offsets) / offsets
        lower = coefficients(offsets[:, :4]) / offsets[:, :4]
        with np.errstate(over="ignore", invalid="ignore"):
            value = (weights[..., None] * rises).sum(axis=1)
            correction = np.abs(value - (lower[..., None] * rises[:, :4]).sum(axis=1))
        noise = found.noise.part(weights)
        bends = sharp_bends(offsets, rises, found.baseline)
        bar = noise + correction + bends + _spread(offsets, rises, noise)
        answer = found.answer(site, moving, value, bar, lines.step, vector=self.vector)
        texts = answer.warnings + bend_warnings(site.label, moving[(bends > 0).any(axis=1)])
        return replace(answer, warnings=texts, scheme=self.stencil.name)


def _spread(offsets: Floats, rises: Floats, noise: Floats) -> Floats:
    """The range of the central differences where they do not come together as those of a smooth J, (a, m); else 0.

    Over half the distance, the central difference of a smooth J changes by a quarter as much.

    Parameters
    ----------
    noise : (a, m) ndarray
        The part of the noise in the derivative.
    """
    _, ahead, behind = one_sided_slopes(offsets, rises)
    with np.errstate(invalid="ignore", over="ignore"):
        central = (ahead + behind) / 2
        near, far = np.abs(central[:, 1] - central[:, 0]), np.abs(central[:, 2] - central[:, 1])
        return np.where(near > far / 2 + 3 * noise, np.ptp(central, axis=1), 0.0)
