"""Methods that begin at a bound, or next to one, and call that converged: they are begun anew from further inside.

SciPy's trust-constr and trf keep strictly inside the bounds, and their steps are as short as the distance to the
nearest one; trust-constr takes any multiplier for one of an active bound, the wrong sign included; dogbox steps from
next to a bound onto it. Where such a method says that it has converged, and J falls from a bound into the inside, it
begins again.
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
"""Distance from a bound, against a typical size, up to which a variable is at it."""
_INSIDE = (1e-4, 1e-2)
"""How far inside the first and the second new start are, against typical sizes; from 1e-8 SciPy does not come away."""
_GAIN = 1e-7
"""A decrease of J on the way there, against J, that is not worth a new start."""


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
    """The method, begun anew from further inside as long as it calls a point at a bound converged that is not.

    Parameters
    ----------
    method : callable
        Of the start; SciPy's result.
    record : Record
    evaluator : Evaluator
    bounds : pair of (d,) ndarrays
    least : float
        The size of J below which decreases are judged against this, not against J.
    constrained : bool
        Whether there are constraints, which may hold a variable too: only where it has not left x0 is it tried.
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
                    "some variables ended at their bounds although J decreases from there towards the inside; start "
                    f"further inside, or use method {others}; the method said: {result.message}"
                )
        return result

    return run


def _held(best: Seen, bounds: tuple[Floats, Floats], scale: Floats, least: float) -> NDArray[np.bool_]:
    """Variables at a bound from which J falls into the inside, (d,), if it falls by enough to matter."""
    lower, upper = bounds
    inward = np.where(best.x - lower <= upper - best.x, 1.0, -1.0)
    gap = np.minimum(best.x - lower, upper - best.x)
    slope = best.gradient * inward
    held = (gap <= _NEAR * scale) & (slope < 0) & (lower < upper)
    gain = float(-slope[held] @ scale[held]) * _INSIDE[0]
    return held if gain > _GAIN * max(least, abs(best.value)) else np.zeros(len(scale), dtype=bool)


def _inside(best: Seen, bounds: tuple[Floats, Floats], far: Floats) -> Floats:
    """Points that far from the nearer bound, but at most a quarter of the way to the other one, (d,)."""
    lower, upper = bounds
    far = np.minimum(far, 0.25 * (upper - lower))
    return np.where(best.x - lower <= upper - best.x, lower + far, upper - far)
