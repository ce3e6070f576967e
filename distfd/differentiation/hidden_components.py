"""Components that are small beside the noise which a directional check has seen, where the derivative as a whole holds.

The check compares sums over all components, so that it says nothing of those that hardly matter there. But its residual
is also an estimate of the noise in J, and that noise moves each component by a known amount.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.differentiation.diagnostics import listed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from distfd.differentiation.base_point import BasePoint
    from distfd.differentiation.method import Answer

    Floats = NDArray[np.float64]

_OFF = 0.1
"""A component is hidden where noise moves it by more than this part of itself ..."""
_MATTERS = 0.01
"""... or of this part of the largest change of its output, if that is more: less is no matter."""
_SURE = 1.5
"""Standard deviations of the noise that count: it is known from one residual."""


def hidden_warnings(
    answer: Answer, noise: Floats, unit: Floats, h: Floats, site: BasePoint, *, finds_steps: bool
) -> tuple[str, ...]:
    """A sentence on the components of a gradient or Jacobian that noise of this size hides; none, if there are none.

    Parameters
    ----------
    answer : Answer
    noise : (m,) ndarray
        Standard deviation of each output's noise, as the check has seen it.
    unit : (d,) ndarray
        By how much noise of standard deviation 1 moves a component along each coordinate.
    h : (d,) ndarray
        Steps, 0 where a coordinate does not move.
    finds_steps : bool
        Whether ``step="auto"`` is there for such a derivative.
    """
    outputs, rows, value = _entries(answer.derivative)
    with np.errstate(over="ignore", invalid="ignore"):
        changes = np.abs(value) * h[rows]
        most = np.zeros(len(noise))
        np.fmax.at(most, outputs, changes)
        bars = _SURE * noise[outputs] * unit[rows] * h[rows]
        hidden = (bars > _OFF * np.maximum(changes, _MATTERS * most[outputs])) & (value != 0)
    if not hidden.any():
        return ()
    outputs, rows = outputs[hidden], rows[hidden]
    of = f" of {listed(lambda j: site.output(j, len(noise)), np.unique(outputs))}" if len(noise) > 1 else ""
    remedy = "step='auto' finds steps, and error bars" if finds_steps else "take a larger step"
    text = (
        f"small components of the derivative{of} are not known to 10 %, along {listed(site.label, np.unique(rows))}: J "
        f"at one point more differs from what the derivative says as noise in J of about {noise[outputs[0]]:.1g} "
        f"would make it, and that moves them as much; {remedy}"
    )
    return (text,)


def _entries(derivative: Any) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
    """Outputs, coordinates and values of the entries of a gradient or Jacobian."""
    if isinstance(derivative, np.ndarray):
        table = np.atleast_2d(derivative)
        outputs, rows = np.nonzero(np.isfinite(table))
        return outputs, rows, table[outputs, rows]
    entries = derivative.tocoo()
    return entries.row.astype(np.int64), entries.col.astype(np.int64), np.asarray(entries.data)
