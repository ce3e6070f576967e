"""The verdict of a directional check: whether J at its points is what the derivative predicts there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core.records import Status
from distfd.differentiation.check_displacements import SECOND
from distfd.differentiation.consistency import CONSISTENT, DOUBT, DOUBTFUL, UNKNOWN, Consistency
from distfd.differentiation.doubt_causes import Evidence, likely_cause
from distfd.differentiation.gradient_check_points import CORRECTION
from distfd.differentiation.value_precision import step_bits, unit_roundoff, wave_bits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from distfd.differentiation.base_point import BasePoint
    from distfd.differentiation.check_points import CheckPoints
    from distfd.differentiation.method import Answer, Wave

    Floats = NDArray[np.float64]

_BARS = 2.0
"""A derivative with error bars is doubtful if the residual is more than this many times what the bars explain."""
_NOISE = 2.5
"""Number of standard deviations of a measured noise that a residual may have."""
_BENT = 1.8
"""An outlier at one of two points on both sides of x makes a second difference of twice what it adds to the slope's."""
_BENDS = 3.0
"""A slope over long steps is known to this many times the difference between its two orders."""


@dataclass(frozen=True, eq=False)
class Judge:
    """Compares one derivative with J at any check's points.

    Parameters
    ----------
    site : BasePoint
    answer : Answer
        The derivative.
    own : sequence of Wave
        The derivative's own values, without any check's.
    finds_steps : bool
        Whether ``step="auto"`` supports this kind of derivative, so that it can be recommended.
    """

    site: BasePoint
    answer: Answer
    own: Sequence[Wave]
    finds_steps: bool

    def verdict(self, check: CheckPoints, beside: Wave, main: Wave | None = None) -> tuple[Consistency, Floats | None]:
        """The verdict by the values at the check's points, and the noise that they show in each output, (m,).

        ``main`` is the wave of the derivative's own values that makes it, where the check is one of this wave.
        The noise is None where the verdict is a doubt, or unknown.
        """
        answer = self.answer
        if why := _no_values(answer, beside):
            return Consistency(UNKNOWN, cause=why), None
        baseline, values = np.asarray(answer.value.real, dtype=np.float64), beside.values.real
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            predicted, changes = check.predicted(answer), check.changes(answer)
            residual = np.abs(check.weights @ (values - baseline) - predicted)
            largest = np.maximum(np.abs(baseline), np.abs(values).max(axis=0))
            rounding = check.amplification * roundoff((*self.own, beside)) * largest
            explained, knows = self._explained(check, main, len(baseline))
            excess = (
                np.where(residual > explained, residual, 0.0)
                if answer.error is not None
                else np.maximum(residual - explained, 0.0)
            )
            error = np.where(excess == 0, 0.0, excess * check.gain / changes)
        if not np.isfinite(residual).all():
            return Consistency(UNKNOWN, cause="the change of J is too large for floating point"), None
        still = np.all(values == baseline) and not np.any(predicted) and not np.any(changes)
        if still and answer.warnings:  # the warnings say that J does not move: there is nothing to compare
            return Consistency(UNKNOWN, cause="J did not move at any point, so there is nothing to compare"), None
        j = int(np.argmax(error))
        found = Consistency(
            verdict=DOUBTFUL if error[j] > DOUBT else CONSISTENT,
            error=float(error[j]),
            residual=float(residual[j]),
            change=float(changes[j]),
            rounding=float(rounding[j]),
            truncation=float(explained[j]) if knows else None,
            noise=float(residual[j] / np.broadcast_to(check.amplification, residual.shape)[j]),
            output=j if len(baseline) > 1 else None,
            output_label=self.site.output(j, len(baseline)) if len(baseline) > 1 else "",
        )
        if found.verdict == CONSISTENT:
            return found, excess / check.amplification
        return self._with_cause(found, check, beside, j), None

    def _with_cause(self, found: Consistency, check: CheckPoints, beside: Wave, j: int) -> Consistency:
        """A doubt about output j with its likely cause and remedy."""
        answer, own = self.answer, self.own
        seen = [beside.values[:, j].real, *(wave.values[:, j].real for wave in own if wave.values.shape[1] > j)]
        own_steps = answer.axis == "coordinate" and len(answer.step) == len(check.h)
        evidence = Evidence(
            found=found,
            site=self.site,
            h=np.abs(answer.step) if own_steps else check.h,
            values=np.concatenate(seen),
            sparse=not isinstance(answer.derivative, np.ndarray),
            entries=bool((found.change or 0.0) > 0),
            finds_steps=self.finds_steps and answer.error is None,
            # For one-sided differences of first order, the check has one point.
            here=float(answer.value[j].real) if own_steps and len(check.points) == 1 else None,
        )
        cause, remedy = likely_cause(evidence)
        alone = np.flatnonzero(check.h)
        where = (int(alone[0]),) if len(alone) == 1 and check.row is not None else ()
        return replace(found, cause=cause, remedy=remedy, coordinates=where)

    def _explained(self, check: CheckPoints, main: Wave | None, m: int) -> tuple[Floats, bool]:
        """The part of the residual that truncation and error bars explain, (m,), and whether that part is known."""
        answer = self.answer
        explained, knows = np.zeros(m), False
        if check.own is not None and main is not None:
            explained, knows = explained + np.nan_to_num(check.own(main)), True
        if answer.error is not None and check.along is not None:
            reach = np.abs(check.weights @ check.along)
            bars = np.sqrt(_squares(answer.error) @ reach**2)
            level = (answer.noise or 0.0) if check.noise is None else check.noise
            noise = _NOISE * level * np.sqrt((check.weights**2).sum())
            explained, knows = explained + _BARS * (bars + noise), True
        return explained, knows

    def error_by_pair(self, pair: CheckPoints, beside: Wave) -> tuple[float, Consistency]:
        """The derivative's error by a pair of points on both sides of x, and its verdict; 0 where a value is far off.

        Such a value makes J leave the straight line through the pair by more than the slope explains.
        """
        found, _ = self.verdict(pair, beside)
        j = found.output or 0
        values, baseline = beside.values[:, j].real, float(self.answer.value[j].real)
        bend = SECOND[pair.weights[0] == -pair.weights[1]] @ (values - baseline)
        return (0.0 if abs(bend) > _BENT * (found.residual or 0.0) else found.error or 0.0), found

    def by_longer_steps(self, check: CheckPoints, beside: Wave) -> Consistency | None:
        """The verdict by `farther_beside`'s points, if it is a doubt that J's own shape does not explain.

        Over such steps a J that is smooth may bend. Then its slopes by the two pairs differ too.
        """
        found, _ = self.verdict(check, beside)
        if found.verdict != DOUBTFUL:
            return None
        j = found.output or 0
        bent = abs(float(CORRECTION @ beside.values[:, j].real))
        return found if (found.residual or 0.0) > _BENDS * bent else None


def roundoff(waves: Sequence[Wave]) -> float:
    """The relative rounding error of J's values."""
    return unit_roundoff(min(step_bits(wave_bits(wave)) for wave in waves))


def has_failed(beside: Wave) -> bool:
    """Whether J itself failed at a point of the check."""
    lost = np.flatnonzero(beside.status != Status.OK).tolist()
    return any(k in beside.failures and beside.status[k] != Status.CANCELLED for k in lost)


def unchecked(found: Consistency) -> str:
    """The sentence for a user who asked for a check that J's failure prevented."""
    return (
        f"the derivative could not be checked: {found.cause}. J fails within about one step of x, and near such an "
        "edge it may curve within the step: give bounds that J's domain has, or a smaller step"
    )


def _squares(error: Any) -> Any:
    """Squares of error bars, 0 where there is none: (m, d), sparse where the derivative is."""
    if isinstance(error, np.ndarray):
        return np.nan_to_num(np.atleast_2d(error)) ** 2
    found = error.copy()
    found.data = np.nan_to_num(found.data) ** 2
    return found


def _no_values(answer: Answer, beside: Wave) -> str:
    """Why there is nothing to compare; an empty text where there is."""
    for k in np.flatnonzero(beside.status != Status.OK).tolist():
        if k in beside.failures and beside.status[k] != Status.CANCELLED:
            return f"J failed at the check's point ({beside.failures[k].text})"
        return "the check's point was late, and was not waited for"
    return "the derivative lacks components" if len(answer.missing) else ""
