"""Which scheme and step to set, by what a sweep found."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from distfd.differentiation.assessment import FLOOR, sizes
from distfd.differentiation.step_sweep import DECADES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from distfd.differentiation.sweep_result import StepSweep

    Floats = NDArray[np.float64]

AUTO = "derivative: {step: auto}"
_LONGEST = 20
"""Steps that fit on a line."""


def advice(sweep: StepSweep, scale: Floats, relative: Floats, *, scheme: str, tolerance: float) -> str:
    """A line of YAML: one step for all that were swept, in the same scheme if that is good enough; else auto.

    Parameters
    ----------
    sweep : StepSweep
    scale : (d,) ndarray
        What the steps of the sweep are relative to.
    relative : (d,) ndarray
        What the YAML's relative steps are relative to.
    scheme : str
        The configured one.
    tolerance : float
        The relative error that is good enough.
    """
    at = sweep.coordinates
    worst = {name: _worst(sweep, name, scale[at]) for name in ("forward", "central")}
    own = "forward" if scheme in ("forward", "backward") else "central"
    choice = own if worst[own].min() <= tolerance else "central"
    if not worst[choice].min() <= tolerance:
        return AUTO
    # Of the steps that are good enough, the one that is best for each component by its own size: a large one may have
    # hidden the others.
    own_size = _worst(sweep, choice, scale[at], least=0.0)
    good = np.flatnonzero(worst[choice] <= tolerance)
    r = float(DECADES[good[np.lexsort((worst[choice][good], own_size[good]))[0]]])
    named = scheme if choice == own and scheme == "backward" else choice
    if np.array_equal(scale, relative):
        step = _number(r)
    elif len(set(scale.tolist())) == 1:
        step = f"{{absolute: {_number(r * float(scale[0]))}}}"
    elif len(scale) <= _LONGEST:
        step = f"{{absolute: [{', '.join(_number(r * s) for s in scale.tolist())}]}}"
    else:
        return AUTO
    return f"derivative: {{scheme: {named}, step: {step}}}"


def _worst(sweep: StepSweep, scheme: str, scale: Floats, least: float = FLOOR) -> Floats:
    """The largest relative error of a scheme at each of `DECADES`, (n,); infinite where a coordinate has no value.

    No component counts as smaller than ``least`` of the largest.
    """
    a = len(scale)
    known = sweep.derivative.reshape(a, -1)
    size = sizes(known, scale, least)
    found = np.full((a, len(DECADES)), np.inf)
    with np.errstate(invalid="ignore", divide="ignore"):
        decade = np.rint(np.log10(sweep.step / scale[:, None] / DECADES[0]))
        relative = np.array([sweep.off(scheme, j) / size[:, j, None] for j in range(known.shape[1])]).max(axis=0)
    for row, i in zip(*np.nonzero(np.isfinite(relative) & (decade >= 0) & (decade < len(DECADES))), strict=True):
        found[row, int(decade[row, i])] = relative[row, i]
    return np.asarray(found.max(axis=0))


def _number(value: float) -> str:
    """As YAML of every version reads it, which wants a point and a sign."""
    mantissa, exponent = f"{value:.3e}".split("e")
    mantissa = mantissa.rstrip("0")
    return f"{mantissa}{'0' if mantissa.endswith('.') else ''}e{int(exponent):+d}"
