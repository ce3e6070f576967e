"""The points of a directional check, and what each kind of derivative says of J there.

A derivative is a linear function of the values that it is made of, and so is the residual of its check. So it is known
by how much noise in these values moves both: see `CheckPoints.amplification` and `CheckPoints.gain`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from distfd.core.points import dense_points
from distfd.differentiation.check_displacements import (
    SECOND,
    SMALLEST,
    as_read,
    is_turned,
    moved,
    multipliers,
    nodes_along,
    points_of,
    two_points,
)
from distfd.differentiation.hidden_components import Entries, first_derivatives
from distfd.differentiation.stencils import coefficients

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from distfd.core.points import Points
    from distfd.differentiation.assemble import Terms
    from distfd.differentiation.base_point import BasePoint
    from distfd.differentiation.coordinate_stencils import Lines
    from distfd.differentiation.hessian_pattern import HessianPattern
    from distfd.differentiation.method import Answer, Wave

    Floats = NDArray[np.float64]

_SYMMETRIC = 1e-9
"""Relative difference of the two displacements of a pair, as J reads them, up to which the slope drops out of a second
difference."""
_SHARES = {1: 1.0, 2: 0.5, 3: 1 / 64, 4: 1 / 64}
_SMALLEST_SHARE = 1 / 256
"""Of the steps of a formula, by its order, those of the points that it is held against.

These move all coordinates at once, so that they leave mixed derivatives which no stencil along one coordinate has: of a
pair they fall with the cube of the share. What noise makes of the residual does not depend on it, and what a step that
is too large makes falls with the share itself. Formulas of more than second order have larger steps than a pair. With
these 0.3 to 0.6 % of right derivatives of clean test functions are in doubt."""


@dataclass(frozen=True, eq=False)
class CheckPoints:
    """The points of a check, and how their values compare with a derivative.

    Attributes
    ----------
    points : Points
        q of them.
    weights : (q,) ndarray
        The check holds sum_i weights_i (J(x_i) - J(x)) against what the derivative says of it.
    predicted : callable
        ``predicted(answer)``: what it says, (m,) for m outputs.
    changes : callable
        ``changes(answer)``: the norm of the changes of J along the steps by the derivative, (m,).
    amplification : float or (m,) ndarray
        The standard deviation of the residual, if all values had independent noise of standard deviation 1.
    gain : float or (m,) ndarray
        The norm of the errors of the changes over the size of the residual, if it is noise that makes both.
    h : (d,) ndarray
        Sizes of the steps, 0 where a coordinate does not move.
    own : callable, optional
        ``own(wave)``: what the check's own formula leaves of a smooth J, (m,), where the derivative's formula is of a
        higher order, so that its values tell.
    along : (q, d) ndarray, optional
        The displacements, of gradients and Jacobians, so that further points can look at some coordinates alone.
    row : callable, optional
        ``row(answer, output)``: the derivative of one output, (d,), for the same purpose.
    entries : callable, optional
        ``entries(answer)``: those of the derivative one by one, with what noise does to each.
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


class Checkable(ABC):
    """A method whose derivative can be held against J at points of its own choice, in a wave of its own."""

    @abstractmethod
    def check_points(self, waves: Sequence[Wave]) -> CheckPoints | None:
        """The points that go out with the request that follows these waves.

        None where that request does not make the derivative, or bounds leave the check no room.

        Parameters
        ----------
        waves : sequence of Wave
        """


def _share(order: int) -> float:
    return _SHARES.get(order, _SMALLEST_SHARE)


def beside_lines(site: BasePoint, lines: Lines, order: int, *, vector: bool, first: int = 1) -> CheckPoints | None:
    """The check of a gradient or dense Jacobian that has a stencil along each coordinate.

    Parameters
    ----------
    site : BasePoint
    lines : Lines
        The stencils.
    order : int
        That of the stencil: one of first order is held against one point, others against a pair.
    vector : bool
    first : int
        Number of the stencils' first point in their request.
    """
    h = np.zeros(len(site.x))
    h[lines.moving] = np.abs(lines.step)
    unit = np.zeros(len(h))
    unit[lines.moving] = entry_noise(lines.terms)
    high = order > 2
    move = moved(site, _share(order) * h, pair=order > 1)
    if move is None:
        return None
    reach, weights = move.reach, move.weights
    amplification, gain = noise_of_terms(lines.terms, reach[lines.moving], h[lines.moving], weights)
    return CheckPoints(
        points=move.points,
        weights=weights,
        predicted=lambda answer: np.atleast_1d(answer.derivative @ reach),
        changes=lambda answer: np.sqrt(np.atleast_2d(answer.derivative * h) ** 2 @ np.ones(len(h))),
        amplification=amplification,
        gain=gain,
        h=h,
        own=(lambda wave: _lower_order(lines, reach, h, wave, first)) if high else None,
        along=move.along,
        row=lambda answer, output: answer.derivative[output] if vector else answer.derivative,
        entries=lambda answer: first_derivatives(answer.derivative, h, unit),
    )


def _lower_order(lines: Lines, reach: Floats, h: Floats, wave: Wave, first: int) -> Floats:
    """What a pair of points, which is of second order, leaves of a smooth J, (m,).

    Along a coordinate that is what the two nearest nodes of its stencil differ from all of them by, in proportion to
    the cube of how far it is moved. Mixed derivatives add parts of the same size, which nothing tells: hence the 3.
    """
    a, n = lines.offsets.shape
    rises = wave.values.real[first : first + a * n].reshape(a, n, -1) - wave.values[0].real
    near = np.argsort(np.abs(lines.offsets), axis=1, kind="stable")[:, :2]
    offsets = np.take_along_axis(lines.offsets, near, axis=1)
    with np.errstate(over="ignore", invalid="ignore"):
        whole = ((coefficients(lines.offsets) / lines.offsets)[..., None] * rises).sum(axis=1)
        part = ((coefficients(offsets) / offsets)[..., None] * np.take_along_axis(rises, near[..., None], axis=1)).sum(
            axis=1
        )
        cube = reach[lines.moving] ** 3 / h[lines.moving] ** 2
        return np.asarray(3 * np.sqrt((((whole - part) * cube[:, None]) ** 2).sum(axis=0)))


def beside_groups(  # noqa: PLR0917  # all of them are needed
    site: BasePoint,
    lines: Lines,
    terms: Terms,
    columns: NDArray[np.int64],
    h: Floats,
    order: int,
    m: int,
) -> CheckPoints | None:
    """The check of a sparse Jacobian: all coordinates that may move are moved, those without an entry too.

    Parameters
    ----------
    site, order
        As for `beside_lines`.
    lines : Lines
        Of the columns that have entries.
    terms : Terms
        How the entries are formed.
    columns : (n,) ndarray of int
        The entries' columns.
    h : (d,) ndarray
        Signed steps, for columns without entries.
    m : int
        Outputs of J.
    """
    sizes = np.abs(h)
    sizes[lines.moving] = np.abs(lines.step)
    sizes[site.lower == site.upper] = 0.0
    unit = np.zeros(len(sizes))
    unit[columns] = entry_noise(terms)  # the same for all entries of a column
    move = moved(site, _share(order) * sizes, pair=order > 1)
    if move is None:
        return None
    reach, weights = move.reach, move.weights
    amplification, gain = noise_of_terms(terms, reach[columns], sizes[columns], weights, m)
    return CheckPoints(
        points=move.points,
        weights=weights,
        predicted=lambda answer: np.asarray(answer.derivative @ reach),
        changes=lambda answer: np.sqrt(np.asarray(answer.derivative.multiply(answer.derivative) @ sizes**2)),
        amplification=amplification,
        gain=gain,
        h=sizes,
        along=move.along,
        row=lambda answer, output: np.asarray(answer.derivative[[output], :].toarray()).ravel(),
        entries=lambda answer: first_derivatives(answer.derivative, sizes, unit),
    )


def beside_rays(  # all of them are needed
    site: BasePoint,
    directions: Floats,
    step: Floats,
    terms: Terms,
    order: int,
    *,
    single: bool,
) -> CheckPoints | None:
    """The check of derivatives along directions: x is moved along all of them at once.

    Parameters
    ----------
    site, order
        As for `beside_lines`.
    directions : (p, d) ndarray
    step : (p,) ndarray
        The realised steps along them, 0 where there is none.
    terms : Terms
        How the derivatives are formed.
    single : bool
        Whether the derivative is that of one direction by itself.
    """
    ways = np.where(site.lower == site.upper, 0.0, directions)
    t = np.abs(step)
    at = np.flatnonzero((ways[t > 0] != 0).any(axis=0))
    if not len(at):
        return None
    c = multipliers(site.x, len(t)) * t * _share(order)
    x, lower, upper = site.x[at], site.lower[at], site.upper[at]
    nodes, weights = nodes_along(x, (c @ ways)[at], lower, upper, pair=order > 1)
    if not nodes.any():
        return None
    values = np.clip(x + nodes[:, None] * (c @ ways)[at], lower, upper)
    displaced = as_read(site, at, values)
    if displaced is None or is_turned(displaced, nodes[:, None] * (c @ ways)[at]):
        return None
    reach = c * (weights @ nodes)
    amplification, gain = noise_of_terms(terms, reach, t, weights)
    h = np.zeros(len(site.x))
    h[at] = np.abs(displaced).max(axis=0)

    def slopes(answer: Answer) -> Floats:
        """(p, m)."""
        return np.asarray(answer.derivative[None] if single else answer.derivative.reshape(len(t), -1))

    return CheckPoints(
        points=points_of(site.x, at, values),
        weights=weights,
        predicted=lambda answer: np.asarray(reach @ slopes(answer)),
        changes=lambda answer: np.sqrt(t**2 @ slopes(answer) ** 2),
        amplification=amplification,
        gain=gain,
        h=h,
    )


def beside_hessian(site: BasePoint, pattern: HessianPattern, step: Floats, terms: Terms) -> CheckPoints | None:
    """The check of a Hessian: the second difference along v, from a pair of points.

    All coordinates of the pattern are moved, so that entries which a mask lacks are seen.

    Parameters
    ----------
    site : BasePoint
    pattern : HessianPattern
    step : (a,) ndarray
        The realised steps of the pattern's coordinates.
    terms : Terms
        How the entries are formed: of the pattern's coordinates themselves, then of its pairs.
    """
    moving = pattern.moving
    if not len(moving):
        return None
    h, size = np.zeros(len(site.x)), np.abs(step)
    h[moving] = size
    x = site.x[moving]
    values, symmetric = two_points(x, multipliers(site.x, len(moving)) * size, site.lower[moving], site.upper[moving])
    displaced = as_read(site, moving, values)
    if displaced is None:
        return None
    weights = np.array(SECOND[symmetric])
    if np.abs(weights @ displaced).max() > _SYMMETRIC * np.abs(displaced).max() and site.written is not None:
        return None  # the slope, which is far larger, would not drop out
    every = np.arange(len(moving))
    first, second = np.concatenate((every, pattern.first)), np.concatenate((every, pattern.second))
    times = np.where(first == second, 1.0, 2.0)
    form = times * 0.5 * (weights @ (displaced[:, first] * displaced[:, second]))
    area = np.sqrt(times) * size[first] * size[second]
    # Coordinates without an entry on the diagonal are moved by themselves too, and their 0 is not made of values.
    made = np.concatenate((pattern.diagonal, np.ones(len(pattern.first), dtype=bool)))
    amplification, gain = noise_of_terms(terms, np.where(made, form, 0.0), np.where(made, area, 0.0), weights)
    rows, columns, unit = moving[first], moving[second], entry_noise(terms)

    def entries(answer: Answer) -> Floats:
        return np.asarray(answer.derivative[rows, columns]).ravel()

    def each(answer: Answer) -> Entries:
        outputs = np.zeros(len(rows), dtype=np.int64)
        return Entries(outputs, np.column_stack((rows, columns)), entries(answer), size[first] * size[second], unit)

    return CheckPoints(
        points=points_of(site.x, moving, values),
        weights=weights,
        predicted=lambda answer: np.array([form @ entries(answer)]),
        changes=lambda answer: np.array([np.linalg.norm(area * entries(answer))]),
        amplification=amplification,
        gain=gain,
        h=h,
        entries=each,
    )


def beside_product(
    site: BasePoint, step: Floats, bases: Sequence[tuple[Floats, float]], terms: Terms
) -> CheckPoints | None:
    """The check of a Hessian-vector product: the change of the slope along another direction w, on the way along v.

    A pair of points at each base. Coordinates that bounds let go one way only stay where they are.

    Parameters
    ----------
    site : BasePoint
    step : (d,) ndarray
        Steps of the coordinates.
    bases : sequence of (point, weight)
        Points (d,) on the way along v, and the weights of the gradients there.
    terms : Terms
        How the components that move are formed.
    """
    moving = site.moving
    if not len(moving) or not bases:
        return None
    h = np.zeros(len(site.x))
    h[moving] = np.abs(step[moving])
    room = np.min([np.minimum(site.upper - at, at - site.lower) for at, _ in bases], axis=0)
    w = np.zeros(len(site.x))
    w[moving] = multipliers(site.x, len(moving)) * h[moving]
    w = np.where(room < SMALLEST * h, 0.0, np.copysign(np.minimum(np.abs(w), room), w))
    if not w.any() or (site.written is not None and as_read(site, moving, (site.x + w)[None, moving]) is None):
        return None
    rows, weights = [site.x], []
    for at, weight in bases:
        rows += [at + w, at - w]
        weights += [weight / 2, -weight / 2]
    reach = np.where(w == 0, 0.0, ((bases[0][0] + w) - (bases[0][0] - w)) / 2)
    amplification, gain = noise_of_terms(terms, reach[moving], h[moving], np.array(weights))
    return CheckPoints(
        points=dense_points(rows).take(np.arange(1, len(rows))),
        weights=np.array(weights),
        predicted=lambda answer: np.array([reach @ answer.derivative]),
        changes=lambda answer: np.array([np.linalg.norm(h * answer.derivative)]),
        amplification=amplification,
        gain=gain,
        h=h,
    )


def beside_answer(site: BasePoint, answer: Answer, *, vector: bool) -> CheckPoints | None:
    """The check of a gradient or dense Jacobian that found its own steps: a pair at half of these.

    A formula of higher order has larger steps than a pair of points should.
    """
    h = np.abs(answer.step) / 2
    move = moved(site, h, pair=True)
    if move is None:
        return None
    reach, weights = move.reach, move.weights
    amplification, gain = exact_noise(weights, reach, h)
    return CheckPoints(
        points=move.points,
        weights=weights,
        predicted=lambda found: np.atleast_1d(found.derivative @ reach),
        changes=lambda found: np.sqrt(np.atleast_2d(found.derivative * h) ** 2 @ np.ones(len(h))),
        amplification=amplification,
        gain=gain,
        h=h,
        along=move.along,
        row=lambda found, output: found.derivative[output] if vector else found.derivative,
    )


def noise_of_terms(
    terms: Terms, weight: Floats, size: Floats, own: Floats, outputs: int | None = None
) -> tuple[Floats | float, Floats | float]:
    """Amplification and gain (see `CheckPoints`) of a derivative that is made by these terms.

    Parameters
    ----------
    terms : Terms
        Where each takes one output, those of one output at different points.
    weight : (n_rows,) ndarray
        What the residual takes of each entry.
    size : (n_rows,) ndarray
        Entry times this is a change of J along its steps.
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
    """By how much noise of standard deviation 1, at J(x) too, moves what these terms make, (n_rows,)."""
    part = terms.coefficient / terms.divisor
    square = np.bincount(terms.row, weights=part**2, minlength=terms.n_rows)
    total = np.bincount(terms.row, weights=part, minlength=terms.n_rows)
    return np.asarray(np.sqrt(square + total**2))


def exact_noise(own: Floats, reach: Floats, h: Floats) -> tuple[Floats | float, Floats | float]:
    """Amplification and gain of a derivative whose own noise is known, in its error bars."""
    amplification = float(np.sqrt((own**2).sum() + own.sum() ** 2))
    at = h > 0
    return amplification, float(1 / np.sqrt(np.mean((reach[at] / h[at]) ** 2)))
