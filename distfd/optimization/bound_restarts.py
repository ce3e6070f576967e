"""Restarts methods that begin at or near a bound and wrongly report convergence there.

SciPy's trust-constr and trf stay strictly inside the bounds, and their steps are at most as long as the distance to the
nearest bound. trust-constr also takes a multiplier of the wrong sign for that of an active bound. dogbox steps from a
point near a bound onto it. Where such a method reports convergence at a bound although J falls from there into the
inside, the method starts again from further inside.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.differentiation.steps import typical_sizes
from distfd.optimization.optimization_run import INTERRUPTED, STOPPED

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from distfd.evaluation.evaluator import Evaluator
    from distfd.optimization.history import Record
    from distfd.optimization.seen_point import Seen

    Floats = NDArray[np.float64]

_NEAR = 1e-6
"""A variable is at a bound if it is nearer than this part of its typical size."""
_INSIDE = (1e-4, 1e-2)
"""Distances of the first and the second new start from the bound, in typical sizes; from 1e-8 SciPy's methods do not
get away."""
_GAIN = 1e-7
"""A restart is worthwhile if J falls by more than this part of itself on the way to the new start."""


def with_restarts(
    method: Callable[[Floats], Any],
    record: Record,
    evaluator: Evaluator,
    bounds: tuple[Floats, Floats],
    *,
    least: float,
    constrained: bool = False,
    others: str,
) -> Callable[[Floats], Any]:
    """The method with restarts from further inside while it reports convergence at a bound where J still falls.

    Parameters
    ----------
    method : callable
        A function of the start that returns SciPy's result.
    record : Record
    evaluator : Evaluator
    bounds : pair of (d,) ndarrays
    least : float
        If J is smaller than this, decreases are judged relative to this size instead of J.
    constrained : bool
        Whether there are constraints. They may hold a variable as well, so a restart is then tried only if the variable
        is still at x0.
    others : str
        Methods to advise where all starts end at a bound.
    """

    def run(x0: Floats) -> Any:
        result = method(x0)
        made = result.nit if "nit" in result else 0
        for far in _INSIDE:
            best = record.best
            if not result.success or result.status in (STOPPED, INTERRUPTED) or best is None:
                break
            scale = typical_sizes(best.x, evaluator.setting(best.x).options.scale)
            held = _held(best, bounds, scale, least)
            if constrained:
                held &= np.abs(best.x - x0) <= _NEAR * scale
            if not held.any():
                break
            result = method(np.where(held, _inside(best, bounds, far * scale), best.x))
            made += result.nit if "nit" in result else 0
            result.nit = made
        else:
            best = record.best
            if result.success and best is not None and not constrained and _held(best, bounds, scale, least).any():
                result.success = False
                result.message = (
                    f"some variables ended at their bounds although {record.named} decreases from there towards the "
                    f"inside; start further inside, or use method {others}; the method said: {result.message}"
                )
        return result

    return run


def _held(best: Seen, bounds: tuple[Floats, Floats], scale: Floats, least: float) -> NDArray[np.bool_]:
    """Variables at a bound, (d,), from which J falls into the inside by enough to matter."""
    lower, upper = bounds
    inward = np.where(best.x - lower <= upper - best.x, 1.0, -1.0)
    gap = np.minimum(best.x - lower, upper - best.x)
    slope = best.gradient * inward
    held = (gap <= _NEAR * scale) & (slope < 0) & (lower < upper)
    gain = float(-slope[held] @ scale[held]) * _INSIDE[0]
    return held if gain > _GAIN * max(least, abs(best.value)) else np.zeros(len(scale), dtype=bool)


def _inside(best: Seen, bounds: tuple[Floats, Floats], far: Floats) -> Floats:
    """Points at distance ``far`` from the nearer bound, at most a quarter of the way to the other one, (d,)."""
    lower, upper = bounds
    far = np.minimum(far, 0.25 * (upper - lower))
    return np.where(best.x - lower <= upper - best.x, lower + far, upper - far)
