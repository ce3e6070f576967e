"""The points of a directional check, and what each kind of derivative predicts there.

A derivative is a linear function of the values that it is computed from, and so is the residual of its check. So the
effect of noise in these values on both is known: see `CheckPoints.amplification` and `CheckPoints.gain`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core.points import dense_points
from distfd.differentiation.check_displacements import (
    FIRST,
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
from distfd.differentiation.near_noise import NearPoints, in_a_row, inward, near_product
from distfd.differentiation.stencils import coefficients

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from distfd.core.points import Points
    from distfd.differentiation.assemble import Terms
    from distfd.differentiation.base_point import BasePoint
    from distfd.differentiation.coloring import Structure
    from distfd.differentiation.coordinate_stencils import Lines
    from distfd.differentiation.hessian_pattern import HessianPattern
    from distfd.differentiation.method import Answer, Wave

    Floats = NDArray[np.float64]

_SYMMETRIC = 1e-9
"""Largest relative difference of the two displacements of a pair, as J reads them, with which the slope still drops out
of a second difference."""
_BASES_IN_A_ROW = 3
"""The most bases of a Hessian-vector product whose direction is one line: x and two points."""
_SHARES = {1: 1.0, 2: 0.5, 3: 1 / 64, 4: 1 / 64}
_SMALLEST_SHARE = 1 / 256
"""The check's displacement as a part of the derivative's step, for a formula of an order that is not in `_SHARES`.

The check moves all coordinates at once, which brings in mixed derivatives that no stencil along one coordinate has. For
a pair of points their effect falls with the cube of the share. The effect of noise on the residual does not depend on
the share, and the effect of a step that is too large falls linearly with it. Formulas of more than second order have
larger steps than a pair of points should have. With these shares 0.3 to 0.6 % of right derivatives of smooth test
functions are called doubtful."""
_SQUARES = 1e-140
"""Numbers below this are divided by the largest of them before they are squared."""
_LEAST_SHARE_OF_GROUPS = 1 / 4
"""The same for a sparse Jacobian, at least: an entry that the structure lacks has an effect that falls with the share,
and 1/64 of it would stay below the limit of a doubt."""


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
    near : NearPoints, optional
        Further points that show J's noise alone, for a user who asked for the check.
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
    near: NearPoints | None = None


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
        Order of the stencil: a first-order stencil is checked with one point, others with a pair.
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
        changes=lambda answer: _norms(np.atleast_2d(answer.derivative * h)),
        amplification=amplification,
        gain=gain,
        h=h,
        own=(lambda wave: _lower_order(lines, reach, h, wave, first)) if high else None,
        along=move.along,
        row=lambda answer, output: answer.derivative[output] if vector else answer.derivative,
        entries=lambda answer: first_derivatives(answer.derivative, h, unit),
    )


def _lower_order(lines: Lines, reach: Floats, h: Floats, wave: Wave, first: int) -> Floats:
    """The truncation error of a symmetric pair, whose formula is of second order, for a smooth J, (m,).

    Along each coordinate, it is estimated by the difference between the derivative from the two nearest nodes and that
    from all nodes, times the cube of the displacement. Mixed derivatives add errors of the same size, which no value
    shows: hence the factor 3.
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
    h: Floats,
    order: int,
    structure: Structure,
) -> CheckPoints | None:
    """The check of a sparse Jacobian. It also moves coordinates that may move but have no entry.

    Parameters
    ----------
    site, order
        As for `beside_lines`.
    lines : Lines
        Stencils of the columns that have entries.
    terms : Terms
        How the entries are formed.
    h : (d,) ndarray
        Signed steps, for columns without entries.
    structure : Structure
        The Jacobian's structure.
    """
    columns = structure.columns
    steps = h.copy()
    steps[lines.moving] = lines.step
    steps[site.lower == site.upper] = 0.0
    sizes = np.abs(steps)
    unit = np.zeros(len(sizes))
    unit[columns] = entry_noise(terms)  # one value for each column: all its entries have the same
    # With their signs: what hides the lack of an entry is that columns move as they did together in their group.
    share = max(_share(order), _LEAST_SHARE_OF_GROUPS)
    move = moved(site, share * steps, pair=order > 1, group=structure.group)
    if move is None:
        return None
    reach, weights = move.reach, move.weights
    amplification, gain = noise_of_terms(terms, reach[columns], sizes[columns], weights, structure.shape[0])
    return CheckPoints(
        points=move.points,
        weights=weights,
        predicted=lambda answer: np.asarray(answer.derivative @ reach),
        changes=lambda answer: _sparse_changes(answer, sizes),
        amplification=amplification,
        gain=gain,
        h=sizes,
        along=move.along,
        row=_sparse_row,
        entries=lambda answer: first_derivatives(answer.derivative, sizes, unit),
    )


def _sparse_changes(answer: Answer, sizes: Floats) -> Floats:
    changes = answer.derivative.multiply(sizes[None]).tocsr()
    unit = _unit(np.abs(changes.data).max(initial=0.0))
    changes.data = (changes.data / unit) ** 2
    return np.asarray(unit * np.sqrt(changes @ np.ones(len(sizes))))


def _norms(rows: Floats) -> Floats:
    """The norm of each row of (m, d) numbers, even where their squares are too small for floating point."""
    unit = _unit(np.abs(rows).max(axis=1, initial=0.0))
    return np.asarray(unit * np.sqrt((rows / unit[:, None]) ** 2 @ np.ones(rows.shape[1])))


def _unit(largest: Any) -> Any:
    """A divisor of numbers up to this size with which their squares can be computed: mostly 1."""
    return np.where((largest > 0) & (largest < _SQUARES), largest, 1.0)


def _sparse_row(answer: Answer, output: int) -> Floats:
    return np.asarray(answer.derivative[[output], :].toarray()).ravel()


def beside_rays(  # every argument is needed
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
        The realised steps along the directions, 0 where there is none.
    terms : Terms
        How the derivatives are formed.
    single : bool
        Whether the derivative is that of one direction alone, without an axis for directions.
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

    All coordinates of the pattern are moved, so that the check also sees entries that a mask lacks.

    Parameters
    ----------
    site : BasePoint
    pattern : HessianPattern
    step : (a,) ndarray
        The realised steps of the pattern's coordinates.
    terms : Terms
        How the entries are formed: first the diagonal entries of the pattern's coordinates, then its pairs.
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
        return None  # the slope, far larger than the curvature, would not cancel
    every = np.arange(len(moving))
    first, second = np.concatenate((every, pattern.first)), np.concatenate((every, pattern.second))
    times = np.where(first == second, 1.0, 2.0)
    form = times * 0.5 * (weights @ (displaced[:, first] * displaced[:, second]))
    area = np.sqrt(times) * size[first] * size[second]
    # Coordinates without a diagonal entry are moved too. Their entry, 0, is not computed from values and has no noise.
    made = np.concatenate((pattern.diagonal, np.ones(len(pattern.first), dtype=bool)))
    amplification, gain = noise_of_terms(terms, np.where(made, form, 0.0), np.where(made, area, 0.0), weights)
    rows, columns, unit = moving[first], moving[second], entry_noise(terms)

    def entries(answer: Answer) -> Floats:
        return np.asarray(answer.derivative[rows, columns]).ravel()

    def curvature(answer: Answer, delta: Floats) -> float:
        return float((times * delta[first] * delta[second]) @ entries(answer))

    def each(answer: Answer) -> Entries:
        outputs = np.zeros(len(rows), dtype=np.int64)
        return Entries(outputs, np.column_stack((rows, columns)), entries(answer), size[first] * size[second], unit)

    near = in_a_row(site, moving, inward(site, moving, size))
    return CheckPoints(
        points=points_of(site.x, moving, values),
        weights=weights,
        predicted=lambda answer: np.array([form @ entries(answer)]),
        changes=lambda answer: _norms((area * entries(answer)).reshape(1, -1)),
        amplification=amplification,
        gain=gain,
        h=h,
        entries=each,
        near=None if near is None else NearPoints(near[0], lambda answer: curvature(answer, near[1])),
    )


def beside_product(
    site: BasePoint, v: Floats, step: Floats, bases: Sequence[tuple[Floats, float]], terms: Terms
) -> CheckPoints | None:
    """The check of a Hessian-vector product: the change of the slope along another direction w, between points along v.

    The check takes a pair of points at each base, and the base itself where bounds let a coordinate move to one side
    only.

    Parameters
    ----------
    site : BasePoint
    v : (d,) ndarray
    step : (d,) ndarray
        Steps of the coordinates.
    bases : sequence of (point, weight)
        Points (d,) along v, and the weights of the gradients there.
    terms : Terms
        How the components of the moving coordinates are formed.
    """
    moving = site.moving
    if not len(moving) or not bases:
        return None
    h = np.zeros(len(site.x))
    h[moving] = np.abs(step[moving])
    nodes, along = _displacements_at_bases(site, h, [at for at, _ in bases])
    w = nodes[0]
    if not w.any() or (site.written is not None and as_read(site, moving, (site.x + w)[None, moving]) is None):
        return None
    rows, weights = [site.x], []
    for at, weight in bases:
        for node, part in zip(nodes, along, strict=True):
            point = np.clip(at + node, site.lower, site.upper)
            if (point != site.x).any():  # J there is known, and all values are compared with it
                rows.append(point)
                weights.append(weight * part)
    first = bases[0][0]
    reach = np.asarray(along) @ (np.clip(first + nodes, site.lower, site.upper) - first)
    unit = np.zeros(len(site.x))
    unit[moving] = entry_noise(terms)
    amplification, gain = noise_of_terms(terms, reach[moving], h[moving], np.array(weights))
    return CheckPoints(
        points=dense_points(rows).take(np.arange(1, len(rows))),
        weights=np.array(weights),
        predicted=lambda answer: np.array([reach @ answer.derivative]),
        changes=lambda answer: _norms((h * answer.derivative).reshape(1, -1)),
        amplification=amplification,
        gain=gain,
        h=h,
        entries=lambda answer: first_derivatives(answer.derivative, h, unit),
        # More bases than that lie along parts of v, and the product says nothing of J's curvature along a part.
        near=near_product(site, bases[0][0], v) if len(bases) <= _BASES_IN_A_ROW else None,
    )


def _displacements_at_bases(site: BasePoint, h: Floats, bases: Sequence[Floats]) -> tuple[Floats, Sequence[float]]:
    """Displacements (2 or 3, d) that fit at every base, and the weights of J there, which sum to 0."""
    up = np.min([site.upper - at for at in bases], axis=0)
    down = np.min([at - site.lower for at in bases], axis=0)
    moving, w = site.moving, np.zeros(len(h))
    w[moving] = multipliers(site.x, len(moving)) * h[moving]
    room = np.minimum(up, down)
    if (room[moving] >= SMALLEST * h[moving]).all():
        w = np.copysign(np.minimum(np.abs(w), room), w)
        return np.stack((w, -w)), FIRST[True]
    nodes, _ = two_points(np.zeros(len(h)), w, -down, up)
    first, second = FIRST[False]
    return np.vstack((nodes, np.zeros(len(h)))), (first, second, -first - second)


def beside_answer(
    site: BasePoint, answer: Answer, *, vector: bool, structure: Structure | None = None
) -> CheckPoints | None:
    """The check of a gradient or Jacobian that chose its own steps: a pair of points at half of these steps.

    A formula of higher order has larger steps than a pair of points should. ``structure`` is that of a sparse Jacobian.
    """
    h = np.abs(answer.step) / 2
    if structure is None:
        move = moved(site, h, pair=True)
    else:
        move = moved(site, answer.step / 2, pair=True, group=structure.group)
    if move is None:
        return None
    reach, weights = move.reach, move.weights
    amplification, gain = exact_noise(weights, reach, h)
    found = CheckPoints(
        points=move.points,
        weights=weights,
        predicted=lambda found: np.atleast_1d(found.derivative @ reach),
        changes=lambda found: _norms(np.atleast_2d(found.derivative * h)),
        amplification=amplification,
        gain=gain,
        h=h,
        along=move.along,
        row=lambda found, output: found.derivative[output] if vector else found.derivative,
    )
    if structure is None:
        return found
    return replace(found, changes=lambda answer: _sparse_changes(answer, h), row=_sparse_row)


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
