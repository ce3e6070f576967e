"""How much lower J is sure to get from where a method ended, by a step against the gradient there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from distfd.optimization.seen_point import Seen
    from distfd.optimization.slope_evidence import SlopeEvidence

    Floats = NDArray[np.float64]

_RESOLVED = 6.0
"""Standard deviations by which a curvature stands out of its noise."""


@dataclass(frozen=True, eq=False)
class Descent:
    """A step down.

    Attributes
    ----------
    step : (d,) ndarray
    decrease : float
        Of J.
    """

    step: Floats
    decrease: float


def remaining_descent(
    evidence: SlopeEvidence, end: Seen, free: NDArray[np.bool_], bounds: tuple[Floats, Floats], noise: float
) -> Descent | None:
    """The step -g / c inside the bounds, with the largest curvature c that was seen along any step of the run.

    J then falls by at least g^2 / 2 c: a lower bound where no curvature is larger. Beside a kink the slopes that differ
    over a short step make a large c. Where none stands out of ``noise``, the largest that any comparison allows is
    taken, of the comparison that allows least. None where no two gradients can be compared.
    """
    seen, allowed = [], []
    for each in evidence.comparisons:
        if each.has_both:
            unsure = _RESOLVED * noise * each.gain / each.distance**2
            allowed.append(abs(each.curvature) + unsure)
            if abs(each.curvature) > unsure:
                seen.append(abs(each.curvature))
    if not allowed:
        return None
    curvature = max(seen) if seen else min(allowed)
    gradient = np.where(free, end.gradient, 0.0)
    with np.errstate(all="ignore"):
        step = np.clip(end.x - gradient / curvature, *bounds) - end.x
        decrease = -float(gradient @ step) - curvature * float(step @ step) / 2
    return Descent(step, decrease) if np.isfinite(decrease) else None
