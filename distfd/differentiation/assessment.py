"""Whether a derivative can be trusted, and which scheme and step to set, by what a step sweep found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from distfd.differentiation.step_sweep import DECADES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from distfd.differentiation.sweep_result import StepSweep

    Floats = NDArray[np.float64]


TRUST, DISTRUST, UNTOLD = "trust", "do not trust", "cannot tell"

FLOOR = 0.01
"""A component smaller than this part of the largest (by its scale) counts as if it were so large: its relative error
matters to nobody."""


@dataclass(frozen=True)
class Component:
    """One component as configured, beside what the sweep knows of it.

    Attributes
    ----------
    coordinate, output : int
        Of several outputs, the worst.
    label : str
    configured : float
        NaN where it has no value.
    known, bar : float
        The derivative by the sweep, and half the width of its interval.
    noise : float
        How far noise alone may put the configured one off.
    verdict : str
        "trust", "do not trust" or "cannot tell".
    why : str
    """

    coordinate: int
    output: int
    label: str
    configured: float
    known: float
    bar: float
    noise: float
    verdict: str
    why: str


def judge(sweep: StepSweep, configured: Floats, noise: Floats, scale: Floats, tolerance: float) -> list[Component]:
    """A verdict for each coordinate of the sweep.

    Parameters
    ----------
    sweep : StepSweep
    configured, noise : (a, m) ndarrays
        The derivative as configured, at the coordinates of the sweep, and what noise alone may do to it.
    scale : (a,) ndarray
        Typical sizes of the coordinates.
    tolerance : float
        The relative error that is good enough.
    """
    a = len(sweep.coordinates)
    known, bar = sweep.derivative.reshape(a, -1), sweep.error.reshape(a, -1)
    size = sizes(known, scale)
    found = []
    for row in range(a):
        entries = [
            (*_one(configured[row, j], known[row, j], bar[row, j], noise[row, j], tolerance * size[row, j]), j)
            for j in range(known.shape[1])
        ]
        rank = {DISTRUST: 0, UNTOLD: 1, TRUST: 2}
        verdict, why, _, j = min(entries, key=lambda entry: (rank[entry[0]], -entry[2]))
        found.append(
            Component(
                coordinate=int(sweep.coordinates[row]),
                output=j,
                label=sweep.labels[row],
                configured=float(configured[row, j]),
                known=float(known[row, j]),
                bar=float(bar[row, j]),
                noise=float(noise[row, j]),
                verdict=verdict,
                why=why,
            )
        )
    return found


def sizes(known: Floats, scale: Floats, least: float = FLOOR) -> Floats:
    """What errors of components (a, m) are relative to: their own size, or that part of their output's largest."""
    moves = np.abs(np.nan_to_num(known)) * scale[:, None]
    return np.asarray(np.maximum(moves, least * moves.max(axis=0, initial=0.0)) / scale[:, None])


def _one(configured: float, known: float, bar: float, noise: float, allowed: float) -> tuple[str, str, float]:
    """Verdict, reason, and how bad it is."""
    gap = abs(configured - known)
    parts = allowed if allowed > 0 else np.inf
    if np.isnan(configured):
        return DISTRUST, "it has no value", np.inf
    if not np.isfinite(known) or not np.isfinite(bar):
        why = "the noise is not known, so nothing has an error bar" if np.isfinite(known) else "no two steps tell it"
        return UNTOLD, why, np.inf
    if gap > max(allowed, bar):
        off = f"{100 * gap / abs(known):.3g} %" if known else f"{gap:.2g}"
        return DISTRUST, f"it is off by {off}", gap / parts
    if bar > allowed:
        return UNTOLD, f"no step tells it better than +- {bar:.2g}", bar / parts
    if noise > allowed:
        return DISTRUST, f"noise may put it off by {noise:.2g}, though here it did not", noise / parts
    return TRUST, "", gap / parts


def overall(components: Sequence[Component], doubtful: Sequence[int]) -> str:
    """The verdict on all; ``doubtful`` coordinates were not swept, and noise alone may spoil them."""
    words = {component.verdict for component in components}
    if DISTRUST in words or doubtful:
        return DISTRUST
    return UNTOLD if UNTOLD in words or not components else TRUST


def first_line(
    verdict: str, components: Sequence[Component], doubtful: Sequence[int], label: Callable[[int], str], how: str
) -> str:
    """The verdict as one sentence, worst coordinates first."""
    if verdict == TRUST:
        swept = (
            f"all {len(components)} coordinates that were swept agree" if len(components) > 1 else "the sweep agrees"
        )
        return f"trust the derivative as configured ({how}): {swept}"
    bad = [component for component in components if component.verdict == verdict]
    reasons = [f"{component.label}: {component.why}" for component in bad[:3]]
    if len(bad) > 3:
        reasons.append(f"{len(bad) - 3} more of those swept")
    if verdict == DISTRUST and doubtful:
        more = f" and {len(doubtful) - 1} more" if len(doubtful) > 1 else ""
        reasons.append(f"{label(doubtful[0])}{more}, not swept: noise alone may spoil it")
    words = {DISTRUST: "do NOT trust the derivative as configured", UNTOLD: "cannot tell whether to trust it"}
    return f"{words[verdict]} ({how}): {'; '.join(reasons) or 'nothing was swept'}"


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
