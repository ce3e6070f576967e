"""Tells of components that are lost in noise although the derivative as a whole agrees with J at a check's points.

The noise is what the check's residual shows, or points near x. The residual also contains J's curvature along all
coordinates, so components that seem lost are checked once more by themselves, where a user asked for the check.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from distfd.core.records import Status
from distfd.differentiation.batched_methods import joined
from distfd.differentiation.check_displacements import moved
from distfd.differentiation.check_waves import only, optional_alone
from distfd.differentiation.consistency import CONSISTENT, DOUBT
from distfd.differentiation.directional_verdict import roundoff
from distfd.differentiation.hidden_components import NearNoise, hidden_coordinates, hidden_warnings, may_hide

if TYPE_CHECKING:
    from collections.abc import Generator

    from numpy.typing import NDArray

    from distfd.differentiation.check_points import CheckPoints
    from distfd.differentiation.consistency import Consistency
    from distfd.differentiation.directional_verdict import Judge
    from distfd.differentiation.hidden_components import Entries
    from distfd.differentiation.method import Answer, Request, Wave

    Floats = NDArray[np.float64]

_CHANCE = 100.0
"""One residual is this many times smaller than the noise's standard deviation in 1 of 125 cases."""
_LOOKS = 3
"""Number of times, at most, that components which seem small are checked by themselves, each time fewer of them."""


def may_be_chance(judge: Judge, check: CheckPoints, found: Consistency, noise: Floats | None) -> bool:
    """Whether a verdict, or the silence about a component, rests on a residual that may be small by chance alone.

    That is where noise of `_CHANCE` times the size would make it another verdict. A derivative with error bars knows
    the noise from other points.
    """
    if found.verdict != CONSISTENT or not found.error or judge.answer.error is not None:
        return False
    if found.error > DOUBT / _CHANCE:
        return True
    if noise is None or check.entries is None or not may_hide(found.error * _CHANCE, len(check.h)):
        return False
    return len(hidden_coordinates(check.entries(judge.answer), noise * _CHANCE)) > 0


def small_warnings(
    judge: Judge, check: CheckPoints, found: Consistency, noise: Floats | None, close: Wave | None
) -> tuple[str, ...]:
    """Warnings of components that are small beside the noise; none where the whole derivative is in doubt.

    ``close`` has J at the points near x, None where there are none.
    """
    answer = judge.answer
    if noise is None or check.entries is None or answer.error is not None:
        return ()
    near = _near_noise(judge, check, close)
    if near is None and not may_hide(found.error, len(check.h)):
        return ()  # return before arrays as large as a Jacobian are allocated
    return hidden_warnings(check.entries(answer), noise, judge.site, finds_steps=judge.finds_steps, near=near)


def noise_of_small(
    judge: Judge, check: CheckPoints, noise: Floats, *, vector: bool
) -> Generator[Request, Wave, Floats]:
    """The noise, (m,), in the components that seem small beside it, by two such checks along these alone.

    One parameter far smaller than its step makes J's curvature large in the check's residual. That says nothing about
    the other components, which are small beside the change along that one.
    """
    answer = judge.answer
    if check.entries is None or check.along is None or answer.error is not None or len(answer.missing):
        return noise
    entries, before = check.entries(answer), np.flatnonzero(check.h)
    for _ in range(_LOOKS):  # each is a round of evaluations
        small = hidden_coordinates(entries, noise)
        if not 0 < len(small) < len(before):
            break
        along = np.zeros(len(check.h))
        along[small] = check.along[0, small]
        same = joined([only(check.points.take(np.array([k])), small) for k in range(len(check.points))])
        other = moved(judge.site, -along / 2, pair=len(same) > 1)  # one residual alone may be small by chance
        if other is None:
            break
        wave = yield optional_alone(joined([same, other.points]), vector=vector, outputs=len(answer.value))
        if (wave.status != Status.OK).any():
            break
        along[small] = (check.weights @ check.along)[small]
        rises = wave.values.real - answer.value.real
        seen = [
            _noise_along(answer, entries, *of)
            for of in ((rises[: len(same)], check.weights, along), (rises[len(same) :], other.weights, other.reach))
        ]
        noise = np.fmin(noise, np.maximum(*seen))
        before = small
    return noise


def _noise_along(answer: Answer, entries: Entries, rises: Floats, weights: Floats, reach: Floats) -> Floats:
    """The noise in J, (m,), that makes the difference between its changes (q, m) and what the derivative says of them.

    The points of the derivative's stencils have noise of their own each; what J(x) adds is left out.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        residual = np.abs(weights @ rises - answer.derivative @ reach)
        own = 0.5 * (entries.unit * reach[entries.coordinates[:, 0]]) ** 2
        spread = np.bincount(entries.output, weights=own, minlength=rises.shape[1])
        return np.asarray(residual / np.sqrt((weights**2).sum() + spread))


def _near_noise(judge: Judge, check: CheckPoints, close: Wave | None) -> NearNoise | None:
    """The noise by the points near x; None where there are none, or one of them has no value."""
    answer = judge.answer
    if check.near is None or close is None or (close.status != Status.OK).any() or len(answer.missing):
        return None
    level = check.near.noise(close.values[:, 0].real, answer)
    if level is None:
        return None
    return NearNoise(level, float(answer.value[0].real), roundoff((*judge.own, close)))
