"""The noise of J at a point, without a derivative."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from distfd.core.records import WHOLE
from distfd.differentiation.method import Answer, Course
from distfd.differentiation.noise import FLAT, QUANTISED
from distfd.differentiation.rounding_quantum import is_plain_constant
from distfd.differentiation.scale_search import line_survey
from distfd.differentiation.value_precision import wave_bits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from distfd.differentiation.base_point import BasePoint
    from distfd.differentiation.method import MultiRound, Wave
    from distfd.differentiation.noise_survey import Survey


@dataclass(frozen=True, repr=False)
class NoiseResult:
    """How noisy J is at a point.

    Attributes
    ----------
    level : float
        The standard deviation of the noise; NaN where it could not be told from the signal.
    status : str
        "found"; "quantised" (J has few digits, and that is all its noise); "flat" (J did not change; the level is that
        of rounding); "unknown".
    spacing : float
        The distance between points, against the scale of x, at which the noise showed; NaN where it did not.
    n_evaluations : int
    quantum : float
        The unit in which J is rounded; 0 where nothing says that it is.
    """

    level: float
    status: str
    spacing: float
    n_evaluations: int
    quantum: float = 0.0

    def __repr__(self) -> str:
        level = f"{self.level:.3g}" if np.isfinite(self.level) else "not known"
        spacing = f", seen at a spacing of {self.spacing:.2g} of x's scale" if np.isfinite(self.spacing) else ""
        unit = f"; J is a multiple of {self.quantum:.3g}" if self.quantum > 0 else ""
        return f"noise of J: {level} ({self.status}{spacing}{unit}), {self.n_evaluations} evaluations"


@dataclass(frozen=True, eq=False)
class NoiseLevel(Course[Answer]):
    """Two lines of seven points through x, in one round; two further lines where neither shows noise.

    Parameters
    ----------
    site : Site
    scale : (d,) ndarray
        Typical sizes of the coordinates.
    """

    site: BasePoint
    scale: NDArray[np.float64]

    def result(self, waves: Sequence[Wave], n_evaluations: int) -> NoiseResult:
        """The result of the lines, once `advance` has answered."""
        found = self._found(waves)
        noise = found.noise
        values = np.concatenate([line.values[:, 0] for line in found.lines])
        whole = all(wave_bits(wave) == WHOLE for wave in waves)
        if noise.status[0] == QUANTISED and is_plain_constant(values) and not whole:
            # A J that is 2.0 everywhere may be rounded to whole numbers; nothing says that it is.
            rounding = float(np.spacing(abs(values[0])) / np.sqrt(12))
            return NoiseResult(rounding, FLAT, found.spacing, n_evaluations)
        return NoiseResult(
            float(noise.level[0]), noise.status[0], found.spacing, n_evaluations, float(noise.quantum[0])
        )

    def _course(self) -> MultiRound:
        """The request for the next lines, or an answer whose ``noise`` is the level."""
        found = yield from line_survey(self.site, self.scale, vector=False)
        nothing = np.zeros(len(self.site.x))
        return Answer(nothing, found.baseline, nothing, np.empty(0, dtype=np.int64), noise=float(found.noise.level[0]))

    def _found(self, waves: Sequence[Wave]) -> Survey:
        course = line_survey(self.site, self.scale, vector=False)
        try:
            next(course)
            for wave in waves:
                course.send(wave)
        except StopIteration as stop:
            found: Survey = stop.value
            return found
        raise AssertionError("the lines were not all evaluated")
