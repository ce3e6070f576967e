"""Gradients of a noisy J: forward differences with steps from noise and curvature, then those of ``step="auto"``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from distfd.core.errors import EvaluationError
from distfd.differentiation.auto_step import AutoStep
from distfd.differentiation.first_derivative import FirstDerivative
from distfd.differentiation.stencils import SCHEMES
from distfd.differentiation.steps import typical_sizes
from distfd.optimization.lbfgs import Found
from distfd.optimization.plain_gradients import PlainGradients

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from distfd.differentiation.method import Answer, Method, Wave
    from distfd.evaluation.evaluator import Evaluator
    from distfd.optimization.lbfgs_evaluation import Rounds

    Floats = NDArray[np.float64]

_BARS = 2.5
"""Half width of an error bar in standard deviations of the noise, whose level was estimated from two lines
(`distfd.differentiation.noise`)."""
_BOUND = 2.0
"""A step may miss the descent condition by this many standard deviations of the noise."""
_CAP = 0.1
"""A step is at most this part of a coordinate's scale."""


@dataclass(eq=False)
class NoisyGradients:
    """Gradients of a noisy J: cheap ones first, with error bars for curvature and noise, then the best possible.

    Parameters
    ----------
    evaluator : Evaluator
    level : float
        The standard deviation of the noise.
    curvature : (d,) ndarray
        Absolute d^2 J / dx_k^2, as measured.
    """

    evaluator: Evaluator
    level: float
    curvature: Floats
    fine: bool = False

    @property
    def warns(self) -> bool:
        """False: the method is expected to end where components cannot be told from 0, so no warning is due."""
        return False

    @property
    def scheme(self) -> str | None:
        """None: the answers name their scheme."""
        return None

    @property
    def bound(self) -> float:
        """A bound that the noise rarely exceeds."""
        return _BOUND * self.level

    def plan(self, x: Floats) -> Method[Answer]:
        """Forward differences with h = 8^(1/4) sqrt(sigma / J'') (More & Wild, ACM TOMS 38(3), 2012), or AutoStep."""
        setting = self.evaluator.setting(x)
        scale = typical_sizes(setting.site.x, setting.options.scale)
        if self.fine:
            return AutoStep(setting.site, scale, vector=False, noise=self.level)
        h = np.minimum(8**0.25 * np.sqrt(self.level / self.curvature), _CAP * scale)
        return FirstDerivative(setting.site, SCHEMES["forward"], h, vector=False)

    def found(self, x: Floats, answer: Answer) -> Found:
        """The value and gradient in an answer, with error bars."""
        whole = not len(answer.missing) and bool(np.isfinite(answer.derivative).all())
        error = answer.error
        if error is None:
            h = np.abs(answer.step)
            with np.errstate(divide="ignore"):
                bars = self.curvature * h / 2 + _BARS * np.sqrt(2) * self.level / h
            error = np.where(h > 0, bars, 0.0)
        return Found(x, float(np.ravel(answer.value)[0]), answer.derivative if whole else None, np.ravel(error))

    def refine(self) -> bool:
        """Changes to the more accurate gradients: central differences whose steps are chosen anew at each x."""
        if self.fine:
            return False
        self.fine = True
        return True


def measure(rounds: Rounds, x: Floats, evaluator: Evaluator, given: float | None) -> tuple[NoisyGradients, Found]:
    """The noise, the curvatures and the gradient at x0, from ``step="auto"`` there: a few rounds, once.

    Parameters
    ----------
    given : float, optional
        The standard deviation of the noise, if known.

    Raises
    ------
    EvaluationError
        If J fails at x0, or its gradient cannot be determined.
    """
    setting = evaluator.setting(x)
    scale = typical_sizes(setting.site.x, setting.options.scale)
    plan = AutoStep(setting.site, scale, vector=False, noise=given)
    found, waves = rounds.solve([(x, plan)], PlainGradients(evaluator))
    if found[0].gradient is None:
        evaluator.differentiate(x)  # the error of this call says what failed
        raise EvaluationError("the noise of J and its gradient could not be measured at x0, as evaluations failed")
    answer = plan.advance(waves[0])
    measured = getattr(answer, "noise", None) or 0.0
    least = float(np.spacing(abs(found[0].value)))
    level = float(given or (max(measured, least) if np.isfinite(measured) else least))
    curvature = _curvatures(x, waves[0], level, found[0].value)
    return NoisyGradients(evaluator, level, curvature), found[0]


def _curvatures(x: Floats, waves: Sequence[Wave], level: float, value: float) -> Floats:
    """Absolute d^2 J / dx_k^2 from the two nearest points along each coordinate, at least their noise.

    The formula is the divided difference 2 ((J_b - J_0) / b - (J_a - J_0) / a) / (b - a). A coordinate without two
    points gets the median of the others.
    """
    along: dict[int, list[tuple[float, float]]] = {}
    for wave in waves:
        points = wave.request.points
        single = np.flatnonzero(np.diff(points.indptr) == 1)
        for k in single[np.isfinite(wave.values[single, 0])].tolist():
            j, at = int(points.indices[points.indptr[k]]), float(points.values[points.indptr[k]])
            along.setdefault(j, []).append((at - float(x[j]), float(wave.values[k, 0]) - value))
    found = np.full(len(x), np.nan)
    for j, rises in along.items():
        nearest = sorted(rises, key=lambda each: abs(each[0]))[:2]
        if len(nearest) < 2:
            continue
        (a, rise), (b, other) = nearest
        noise = 2 * level * np.sqrt(a**-2 + b**-2 + (1 / a - 1 / b) ** 2) / abs(b - a)
        found[j] = max(abs(2 * (other / b - rise / a) / (b - a)), noise)
    known = found[np.isfinite(found) & (found > 0)]
    return np.where(np.isfinite(found) & (found > 0), found, np.median(known) if len(known) else 1.0)
