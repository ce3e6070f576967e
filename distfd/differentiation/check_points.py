"""What a directional check needs to know of its points, and the effect of noise on it.

A derivative is a linear function of the values that it is computed from, and so is the residual of its check. So the
effect of noise in these values on both is known: see `CheckPoints.amplification` and `CheckPoints.gain`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from distfd.core.points import Points
    from distfd.differentiation.assemble import Terms
    from distfd.differentiation.hidden_components import Entries
    from distfd.differentiation.method import Answer, Wave
    from distfd.differentiation.near_noise import NearPoints

    Floats = NDArray[np.float64]

_SQUARES = 1e-140
"""Numbers below this are divided by the largest of them before they are squared."""


@dataclass(frozen=True, eq=False)
class CheckPoints:
    """The points of a check, and how their values compare with a derivative.

    Attributes
    ----------
    points : Points
        The q points of the check.
    weights : (q,) ndarray
        The check compares sum_i weights_i (J(x_i) - J(x)) with what the derivative predicts for it.
    predicted : callable
        ``predicted(answer)``: the prediction of the derivative, (m,) for m outputs.
    changes : callable
        ``changes(answer)``: the norm of the changes of J along its steps, as the derivative predicts them, (m,).
    amplification : float or (m,) ndarray
        The standard deviation of the residual if all values had independent noise of standard deviation 1.
    gain : float or (m,) ndarray
        The norm of the errors of the changes over the size of the residual, where noise causes both.
    h : (d,) ndarray
        Absolute steps, 0 where a coordinate does not move.
    own : callable, optional
        ``own(wave)``: the truncation error of the check's own formula, (m,). Given where the derivative's formula is of
        a higher order, so that its values show that error.
    along : (q, d) ndarray, optional
        The displacements, for gradients and Jacobians: further points can then move some coordinates alone.
    row : callable, optional
        ``row(answer, output)``: the derivative of one output, (d,), for the same purpose.
    entries : callable, optional
        ``entries(answer)``: the entries of the derivative, with the effect of noise on each.
    noise : (m,) ndarray, optional
        The noise level over the distance of these points, where it is not the derivative's own.
    near : NearPoints, optional
        Further points that show J's noise alone, for a user who asked for the check.
    again : callable, optional
        ``again()``: the same check with another draw of its displacements; None where J cannot see them.
    """

    points: Points
    weights: Floats
    predicted: Callable[[Answer], Floats]
    changes: Callable[[Answer], Floats]
    amplification: Floats | float
    gain: Floats | float
    h: Floats
    own: Callable[[Wave], Floats] | None = None
    along: Floats | None = None
    row: Callable[[Answer, int], Floats] | None = None
    entries: Callable[[Answer], Entries] | None = None
    noise: Floats | None = None
    near: NearPoints | None = None
    again: Callable[[], CheckPoints | None] | None = None


class Checkable(ABC):
    """A method whose derivative can be compared with J at further points, evaluated in the method's own wave."""

    @abstractmethod
    def check_points(self, waves: Sequence[Wave]) -> CheckPoints | None:
        """The check's points, to be added to the request that follows these waves.

        None where that request is not the one that makes the derivative, or where bounds leave no room for the check.

        Parameters
        ----------
        waves : sequence of Wave
        """


def norms(rows: Floats) -> Floats:
    """The norm of each row of (m, d) numbers, even where their squares are too small for floating point."""
    unit = squarable(np.abs(rows).max(axis=1, initial=0.0))
    return np.asarray(unit * np.sqrt((rows / unit[:, None]) ** 2 @ np.ones(rows.shape[1])))


def squarable(largest: Any) -> Any:
    """A divisor of numbers up to this size with which their squares can be computed: mostly 1."""
    return np.where((largest > 0) & (largest < _SQUARES), largest, 1.0)


def noise_of_terms(
    terms: Terms, weight: Floats, size: Floats, own: Floats, outputs: int | None = None
) -> tuple[Floats | float, Floats | float]:
    """Amplification and gain (see `CheckPoints`) of a derivative that is made by these terms.

    Parameters
    ----------
    terms : Terms
        The terms. Where each takes one output, the terms of one output are at different points.
    weight : (n_rows,) ndarray
        Weight of each entry in the residual.
    size : (n_rows,) ndarray
        Factor by which each entry is multiplied to give the change of J along its steps.
    own : (q,) ndarray
        Weights of the check's own points.
    outputs : int, optional
        The number of outputs, where each term takes one.
    """
    part = terms.coefficient / terms.divisor
    taken = weight[terms.row] * part
    if outputs is None or terms.output is None:
        at_points = np.bincount(terms.point, weights=taken)
        spread, shared = (at_points**2).sum(), at_points.sum()
        square = np.bincount(terms.row, weights=part**2, minlength=terms.n_rows)
        total = np.bincount(terms.row, weights=part, minlength=terms.n_rows)
        error = (size**2 * (square + total**2)).sum()
    else:
        spread = np.bincount(terms.output, weights=taken**2, minlength=outputs)
        shared = np.bincount(terms.output, weights=taken, minlength=outputs)
        total = np.bincount(terms.row, weights=part, minlength=terms.n_rows)
        first = np.unique(terms.row, return_index=True)[1]
        common = np.zeros(outputs)
        np.add.at(common, terms.output[first], (size * total)[terms.row[first]] ** 2)
        error = np.bincount(terms.output, weights=(size[terms.row] * part) ** 2, minlength=outputs) + common
        error = np.where(error > 0, error, 1.0)
    amplification = np.sqrt((own**2).sum() + spread + (own.sum() - shared) ** 2)
    return amplification, np.sqrt(error) / amplification


def entry_noise(terms: Terms) -> Floats:
    """Standard deviation of each row, (n_rows,), if all values, J(x) too, had noise of standard deviation 1."""
    part = terms.coefficient / terms.divisor
    square = np.bincount(terms.row, weights=part**2, minlength=terms.n_rows)
    total = np.bincount(terms.row, weights=part, minlength=terms.n_rows)
    return np.asarray(np.sqrt(square + total**2))


def exact_noise(own: Floats, reach: Floats, h: Floats) -> tuple[Floats | float, Floats | float]:
    """Amplification and gain where the derivative's own noise is already known from its error bars."""
    amplification = float(np.sqrt((own**2).sum() + own.sum() ** 2))
    at = h > 0
    return amplification, float(1 / np.sqrt(np.mean((reach[at] / h[at]) ** 2)))
