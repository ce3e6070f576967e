"""Chooses the points that a round tries: along the step, along another step, and to its sides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

Along = Literal["step", "other", "side"]
_LONG = (1.0, 3.0, 10.0)
_SHORT = (1.0, 0.3, 0.1)
_VALUES = (0.3, 0.1, 2.0, 0.03, 4.0, 0.01)
_SIDE = 0.3


@dataclass(frozen=True)
class Trial:
    """A point to try: ``length`` times the step, or the ``number``-th point beside the full step."""

    along: Along
    length: float = 1.0
    number: int = 0
    gradient: bool = True


def choose(trials: int, values: int, d: int, *, failed: bool, growing: bool) -> list[Trial]:
    """The points to try, given room for a number of gradients and values.

    Parameters
    ----------
    failed : bool
        Whether no step of the last round was good enough: then more of the new ones are short.
    growing : bool
        Whether J still fell steeply at the end of the last step: then more of the new ones are long.
    """
    lengths = _LONG if growing else _SHORT
    line = [Trial("step", t) for t in lengths[: 3 if failed else 2]]
    sides = [Trial("side", number=k) for k in range(d - 1)]
    rest = [*sides[:2], Trial("other"), Trial("step", 2.0 if not growing else 0.3), *sides[2:]]
    chosen = [*line, *rest][:trials]
    used = {trial.length for trial in chosen if trial.along == "step"}
    further = [t for t in _VALUES if t not in used]
    return chosen + [Trial("step", t, gradient=False) for t in further[:values]]


def place(trial: Trial, steps: tuple[Floats, Floats], seed: int, *, least: float = 0.0) -> Floats:
    """The displacement of a trial, (d,).

    Trials to the side start from the end of the step and go at right angles to it, in directions that the seed gives.
    The gradient there shows curvature that no step along the line does (measured: random directions did better than
    earlier steps). ``least`` is the least length of these trials.
    """
    step, other = steps
    if trial.along == "step":
        return trial.length * step
    if trial.along == "other":
        return other
    towards = np.random.default_rng([seed, trial.number]).normal(size=len(step))
    towards[step == 0] = 0
    size = float(np.linalg.norm(step))
    towards -= step * (float(step @ towards) / max(size**2, np.finfo(float).tiny))
    length = float(np.linalg.norm(towards))
    if length == 0:
        return (1 + _SIDE) * step
    return np.asarray(step + towards * (max(_SIDE * size, least) / length))


def shorter(value: float, slope: float, length: float, tried: float) -> float:
    """The length at which the parabola through value and slope at 0 and ``tried`` is least, in 0.05 .. 0.5 ``length``.

    Nocedal & Wright (2006), section 3.5.
    """
    if not np.isfinite(tried):
        return 0.1 * length
    bend = tried - value - slope * length
    best = -slope * length**2 / (2 * bend) if bend > 0 else 0.5 * length
    return float(np.clip(best, 0.05 * length, 0.5 * length))
