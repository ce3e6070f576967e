"""Judges a derivative by a step sweep: whether it can be trusted, and which scheme and step to set."""

from __future__ import annotations

from dataclasses import dataclass, replace
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
"""A component smaller than this part of the largest one (each times its scale) is judged as if it had this size: its
relative error matters to nobody."""


_BETWEEN = 0.2
"""A configured derivative belongs to one of J's two slopes if it is nearer to that slope than this part of the gap
between the two."""


@dataclass(frozen=True)
class Component:
    """One component of the configured derivative, and what the sweep knows of it.

    Attributes
    ----------
    coordinate, output : int
        Where J has several outputs, the output with the worst error.
    label : str
    configured : float
        NaN where it has no value.
    known, bar : float
        The derivative by the sweep, and its error bar (half the width of its interval).
    noise : float
        How much noise alone may change the configured value.
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


def judge(
    sweep: StepSweep, configured: Floats, noise: Floats, scale: Floats, tolerance: float, *, chosen: bool = False
) -> list[Component]:
    """A verdict for each coordinate of the sweep.

    Where J has one slope over small steps and another over large ones, both count as right if the user chose the steps.
    Otherwise the verdict is that nobody can tell.

    Parameters
    ----------
    sweep : StepSweep
    configured, noise : (a, m) ndarrays
        The derivative as configured, at the coordinates of the sweep, and what noise alone may do to it.
    scale : (a,) ndarray
        Typical sizes of the coordinates.
    tolerance : float
        The relative error that is good enough.
    chosen : bool
        Whether the steps are the user's own.
    """
    a = len(sweep.coordinates)
    near, far = sweep.near.reshape(a, -1), sweep.far.reshape(a, -1)
    known, bar = sweep.derivative.reshape(a, -1), sweep.error.reshape(a, -1)
    size = sizes(known, scale)
    found = []
    for row in range(a):
        entries = [
            (
                *(
                    _one(configured[row, j], known[row, j], bar[row, j], noise[row, j], tolerance * size[row, j])
                    if np.isnan(near[row, j])
                    else _one_of_two(configured[row, j], near[row, j], far[row, j], tolerance, chosen=chosen)
                ),
                j,
            )
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
    """The sizes that errors of components (a, m) are relative to.

    That is a component's own size, or ``least`` times the largest one of its output, whichever is more.
    """
    moves = np.abs(np.nan_to_num(known)) * scale[:, None]
    return np.asarray(np.maximum(moves, least * moves.max(axis=0, initial=0.0)) / scale[:, None])


def _one(configured: float, known: float, bar: float, noise: float, allowed: float) -> tuple[str, str, float]:
    """Verdict, reason, and the error as a multiple of the allowed error."""
    gap = abs(configured - known)
    parts = allowed if allowed > 0 else np.inf
    if np.isnan(configured):
        return DISTRUST, "it has no value", np.inf
    if not np.isfinite(known) or not np.isfinite(bar):
        why = "the noise is not known, so nothing has an error bar" if np.isfinite(known) else "no two steps agree"
        return UNTOLD, why, np.inf
    if gap > max(allowed, bar):
        # A relative error means nothing where the derivative is next to 0.
        off = f"{100 * gap / abs(known):.3g} %" if abs(known) > max(bar, 1e-6 * gap) else f"{gap:.2g}"
        return DISTRUST, f"it is off by {off}", gap / parts
    if bar > allowed:
        return UNTOLD, f"no step gives it more exactly than +- {bar:.2g}", bar / parts
    if noise > allowed:
        return DISTRUST, f"noise may change it by {noise:.2g}, although here it did not", noise / parts
    return TRUST, "", gap / parts


def _one_of_two(
    configured: float, near: float, far: float, tolerance: float, *, chosen: bool
) -> tuple[str, str, float]:
    """As `_one`, where J has two slopes: the configured value is right near either of them."""
    parts = [abs(configured - slope) / max(tolerance * abs(slope), _BETWEEN * abs(near - far)) for slope in (near, far)]
    two = f"its slope is {near:.5g} by small steps and {far:.5g} by large steps"
    if not min(parts) <= 1:
        return DISTRUST, f"{two}, and this is neither", min(parts)
    return (TRUST, "", min(parts)) if chosen else (UNTOLD, f"{two}, and no step was chosen", min(parts))


def overall(components: Sequence[Component], doubtful: Sequence[int]) -> str:
    """The verdict on the whole derivative. ``doubtful`` coordinates were not swept, and noise alone may spoil them."""
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
        reasons.append(f"{label(doubtful[0])}{more}, not swept: noise alone may make it wrong")
    words = {DISTRUST: "do NOT trust the derivative as configured", UNTOLD: "cannot tell whether to trust it"}
    return f"{words[verdict]} ({how}): {'; '.join(reasons) or 'nothing was swept'}"


AUTO = "derivative: {step: auto}"

_LONGEST = 20
"""Largest number of steps that are written on one line."""


def advice(
    sweep: StepSweep, scale: Floats, relative: Floats, *, scheme: str, tolerance: float, auto: bool = False
) -> str | None:
    """A line of YAML: one step for all swept coordinates, in the same scheme if that is good enough, else auto.

    Parameters
    ----------
    sweep : StepSweep
    scale : (d,) ndarray
        Sizes that the steps of the sweep are relative to.
    relative : (d,) ndarray
        Sizes that the relative steps in the YAML file are relative to.
    scheme : str
        The configured scheme.
    tolerance : float
        The relative error that is good enough.
    auto : bool
        Whether the steps are chosen by the noise already.

    Returns
    -------
    str or None
        None where no other setting does better.
    """
    at = sweep.coordinates
    # Where J has two slopes, aim at the slope over large steps: default steps give the slope over small ones.
    two = np.isfinite(sweep.far)
    aimed = replace(sweep, derivative=np.where(two, sweep.far, sweep.derivative), error=np.where(two, 0.0, sweep.error))
    worst = {name: _worst(aimed, name, scale[at]) for name in ("forward", "central")}
    jumps = sweep.side[np.isfinite(sweep.side)]
    own = "forward" if scheme in ("forward", "backward") or (jumps != 0).any() else "central"
    choice = own if worst[own].min() <= tolerance else "central"
    if not worst[choice].min() <= tolerance:
        return None if auto or len(jumps) else AUTO
    # Of the steps that are good enough, take the best one with each component judged by its own size: a large component
    # may have hidden the errors of small ones.
    own_size = _worst(aimed, choice, scale[at], least=0.0)
    good = np.flatnonzero(worst[choice] <= tolerance)
    r = float(DECADES[good[np.lexsort((worst[choice][good], own_size[good]))[0]]])
    if len(jumps) and choice == "forward":
        # A step to one side of x, whatever the sign of x. Steps in the YAML file take the sign of x unless they are
        # absolute.
        if len(set(jumps.tolist())) > 1:
            return None
        named, relative = ("forward" if jumps[0] > 0 else "backward"), np.full(len(scale), np.nan)
    else:
        named = scheme if choice == own and scheme == "backward" else choice
    if np.array_equal(scale, relative):
        step = _number(r)
    elif len(set(scale.tolist())) == 1:
        step = f"{{absolute: {_number(r * float(scale[0]))}}}"
    elif len(scale) <= _LONGEST:
        step = f"{{absolute: [{', '.join(_number(r * s) for s in scale.tolist())}]}}"
    else:
        return None if auto else AUTO
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
    """The number in a form that every version of YAML reads as a float: with a decimal point and a signed exponent."""
    mantissa, exponent = f"{value:.3e}".split("e")
    mantissa = mantissa.rstrip("0")
    return f"{mantissa}{'0' if mantissa.endswith('.') else ''}e{int(exponent):+d}"
