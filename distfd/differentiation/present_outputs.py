"""Limits a method to the outputs of J that have a value at x; the derivatives of the others are missing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from distfd.core.records import Status
from distfd.differentiation.check_points import Checkable, CheckPoints
from distfd.differentiation.method import Answer, Request, Wave

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from distfd.differentiation.method import Method

    Flags = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class PresentOutputs(Checkable):
    """A dense Jacobian by a method that combines outputs; outputs without a value at x are hidden from the method.

    An output without a value at x has no derivative, whatever its values elsewhere are. It would spoil medians over
    outputs, noise levels and repairs, so the method does not see it. Where J(x) is complete, nothing changes.

    Parameters
    ----------
    method : Method
        A method for several outputs; its first request has the baseline.
    moving : (a,) ndarray of int
        The coordinates that may move.
    """

    method: Method[Answer]
    moving: NDArray[np.int64]

    def advance(self, waves: Sequence[Wave]) -> Request | Answer:
        """The method's request or answer, with rows for the hidden outputs put back as NaN."""
        if not waves:
            return self.method.advance(())
        baseline = waves[0].request.baseline
        assert baseline is not None, "the first request has the baseline"
        present = np.isfinite(waves[0].values[baseline])
        if present.all():
            return self.method.advance(waves)
        step = self.method.advance([_shown(wave, present) for wave in waves])
        if isinstance(step, Request):
            return step if step.outputs is None else replace(step, outputs=len(present))
        return replace(
            step,
            derivative=_widened(step.derivative, present),
            value=_widened(step.value, present),
            error=None if step.error is None else _widened(step.error, present),
            missing=np.union1d(step.missing, self.moving),
        )

    def check_points(self, waves: Sequence[Wave]) -> CheckPoints | None:
        """The check's points of the method; None where J lacks outputs at x."""
        if not isinstance(self.method, Checkable):
            return None
        if waves and not np.isfinite(waves[0].values[waves[0].request.baseline or 0]).all():
            return None
        return self.method.check_points(waves)


def _shown(wave: Wave, present: Flags) -> Wave:
    """The wave with these outputs only: a point that lacks other outputs has not failed."""
    values = wave.values[:, present]
    whole = np.isfinite(values).all(axis=1) & (wave.status == Status.ERROR)
    status = np.where(whole, Status.OK, wave.status).astype(np.uint8)
    failures = {k: failure for k, failure in wave.failures.items() if not whole[k]}
    return Wave(wave.request, values, status, failures)


def _widened(part: NDArray[np.float64], present: Flags) -> NDArray[np.float64]:
    """The rows of the present outputs, among rows of NaN for the others."""
    whole = np.full((len(present), *part.shape[1:]), np.nan)
    whole[present] = part
    return whole
