"""The points of a directional check of gradients, Jacobians and derivatives along directions."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from distfd.differentiation.check_displacements import (
    as_read,
    is_turned,
    moved,
    multipliers,
    nodes_along,
    points_of,
)
from distfd.differentiation.check_points import CheckPoints, entry_noise, exact_noise, noise_of_terms, norms, squarable
from distfd.differentiation.hidden_components import first_derivatives
from distfd.differentiation.noise_survey import NEAR
from distfd.differentiation.stencils import coefficients

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from distfd.core.points import Points
    from distfd.differentiation.assemble import Terms
    from distfd.differentiation.base_point import BasePoint
    from distfd.differentiation.coloring import Structure
    from distfd.differentiation.coordinate_stencils import Lines
    from distfd.differentiation.method import Answer, Wave

    Floats = NDArray[np.float64]

_SHARES = {1: 1.0, 2: 0.5, 3: 1 / 64, 4: 1 / 64}
_SMALLEST_SHARE = 1 / 256
"""The check's displacement as a part of the derivative's step, for a formula of an order that is not in `_SHARES`.

The check moves all coordinates at once, which brings in mixed derivatives that no stencil along one coordinate has. For
a pair of points their effect falls with the cube of the share. The effect of noise on the residual does not depend on
the share, and the effect of a step that is too large falls linearly with it. Formulas of more than second order have
larger steps than a pair of points should have. With these shares 0.3 to 0.6 % of right derivatives of smooth test
functions are called doubtful."""
_VISIBLE = 50.0
"""J's change over the shortest steps that show a slope, in standard deviations of J's noise there. A check allows for
noise of 3.5 of them, 7 % of that change."""
_CLOSER = 0.1
"""Steps below this part of the derivative's own show something that those do not."""
_PAIRS = 3
_FARTHER = 1e-2
"""Length of the displacement of a check much farther from x, in the scale of x; its second pair is twice as far."""
FOURTH_ORDER = np.array([8.0, -8.0, -1.0, 1.0]) / 12
"""The slope from x + v, x - v, x + 2 v and x - 2 v."""
CORRECTION = np.array([1.0, -1.0, -0.5, 0.5]) / 6
"""By how much it differs from the slope by the first two of them."""
_LINE_SHOWS = 10.0
"""A line of points shows the slope as well as a pair of points does whose steps are a tenth of the line's spacing."""
_LEAST_SHARE_OF_GROUPS = 1 / 4
"""The same for a sparse Jacobian, at least: an entry that the structure lacks has an effect that falls with the share,
and 1/64 of it would stay below the limit of a doubt."""


def _share(order: int) -> float:
    return _SHARES.get(order, _SMALLEST_SHARE)


def beside_lines(
    site: BasePoint, lines: Lines, order: int, *, vector: bool, first: int = 1, draw: int = 0
) -> CheckPoints | None:
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
    draw : int
        Number of the random displacement.
    """
    h = np.zeros(len(site.x))
    h[lines.moving] = np.abs(lines.step)
    unit = np.zeros(len(h))
    unit[lines.moving] = entry_noise(lines.terms)
    high = order > 2
    move = moved(site, _share(order) * h, pair=order > 1, draw=draw)
    if move is None:
        return None
    reach, weights = move.reach, move.weights
    amplification, gain = noise_of_terms(lines.terms, reach[lines.moving], h[lines.moving], weights)
    return CheckPoints(
        points=move.points,
        weights=weights,
        predicted=lambda answer: np.atleast_1d(answer.derivative @ reach),
        changes=lambda answer: norms(np.atleast_2d(answer.derivative * h)),
        amplification=amplification,
        gain=gain,
        h=h,
        own=(lambda wave: _lower_order(lines, reach, h, wave, first)) if high else None,
        along=move.along,
        row=lambda answer, output: answer.derivative[output] if vector else answer.derivative,
        entries=lambda answer: first_derivatives(answer.derivative, h, unit),
        again=lambda: beside_lines(site, lines, order, vector=vector, first=first, draw=draw + 1),
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
    draw: int = 0,
) -> CheckPoints | None:
    """The check of a sparse Jacobian. It also moves coordinates that may move but have no entry.

    Parameters
    ----------
    site, order, draw
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
    move = moved(site, share * steps, pair=order > 1, group=structure.group, draw=draw)
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
        again=lambda: beside_groups(site, lines, terms, h, order, structure, draw + 1),
    )


def _sparse_changes(answer: Answer, sizes: Floats) -> Floats:
    changes = answer.derivative.multiply(sizes[None]).tocsr()
    unit = squarable(np.abs(changes.data).max(initial=0.0))
    changes.data = (changes.data / unit) ** 2
    return np.asarray(unit * np.sqrt(changes @ np.ones(len(sizes))))


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
    draw: int = 0,
) -> CheckPoints | None:
    """The check of derivatives along directions: x is moved along all of them at once.

    Parameters
    ----------
    site, order, draw
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
    c = multipliers(site.x, len(t), draw=draw) * t * _share(order)
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
        again=lambda: beside_rays(site, directions, step, terms, order, single=single, draw=draw + 1),
    )


def beside_answer(
    site: BasePoint, answer: Answer, *, vector: bool, structure: Structure | None = None
) -> CheckPoints | None:
    """The check of a gradient or Jacobian that chose its own steps: a pair of points at half of these steps.

    A formula of higher order has larger steps than a pair of points should. ``structure`` is that of a sparse Jacobian.
    """
    h = np.abs(answer.step) / 2
    if structure is None:
        return _pair(site, h, vector=vector)
    found = _pair(site, answer.step / 2, vector=vector, group=structure.group)
    return found and replace(found, changes=lambda answer: _sparse_changes(answer, h), row=_sparse_row)


def _pair(
    site: BasePoint, step: Floats, *, vector: bool, group: NDArray[np.int64] | None = None, draw: int = 0
) -> CheckPoints | None:
    """A pair of points for a derivative that has error bars; ``group`` is that of a sparse Jacobian's columns."""
    move = moved(site, step, pair=True, group=group, draw=draw)
    if move is None:
        return None
    return _beside(move.points, move.weights, move.reach, move.along, np.abs(step), vector=vector)


def _beside(points: Points, weights: Floats, reach: Floats, along: Floats, h: Floats, *, vector: bool) -> CheckPoints:
    """The check of a derivative that has error bars, by these points."""
    amplification, gain = exact_noise(weights, reach, h)
    return CheckPoints(
        points=points,
        weights=weights,
        predicted=lambda answer: np.atleast_1d(answer.derivative @ reach),
        changes=lambda answer: norms(np.atleast_2d(answer.derivative * h)),
        amplification=amplification,
        gain=gain,
        h=h,
        along=along,
        row=lambda answer, output: answer.derivative[output] if vector else answer.derivative,
    )


def closer_beside(site: BasePoint, answer: Answer, *, vector: bool) -> list[CheckPoints]:
    """Checks of a derivative with long steps at the shortest steps over which it stands out of the noise.

    A J with waves that are longer than these steps has another slope there; three pairs of points, as each sees J along
    one direction only. None where the derivative's own steps are hardly longer, or where these are so short that the
    near line of `noise_survey` has shown as much.
    """
    size = np.abs(answer.step)
    changes = norms(np.atleast_2d(answer.derivative * size))
    if answer.scale is None or answer.shortest_noise is None:
        return []
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        share = _VISIBLE * answer.shortest_noise / changes
    share = share[share <= _CLOSER]  # the other outputs are all noise there
    if not len(share):
        return []
    h = size * share.max()
    if (_LINE_SHOWS * h <= NEAR * answer.scale / np.sqrt(np.count_nonzero(h))).all():
        return []
    pairs = (_pair(site, h, vector=vector, draw=draw) for draw in range(_PAIRS))
    return [replace(pair, noise=answer.shortest_noise) for pair in pairs if pair is not None]


def farther_beside(site: BasePoint, answer: Answer, *, vector: bool) -> CheckPoints | None:
    """The check of a derivative with short steps over much longer ones, along which J may have another slope.

    Two pairs of points in a row, whose slope is of fourth order. None where no step is much shorter, or bounds leave no
    room. It has no ``row``: over such steps J's curvature would be in a look at single coordinates.
    """
    if answer.scale is None:
        return None
    size = np.abs(answer.step)
    far = _FARTHER * answer.scale / np.sqrt(max(1, int(np.count_nonzero(size))))
    h = np.where((size > 0) & (size <= _CLOSER * far), far, 0.0)
    at = np.flatnonzero(h)
    if not len(at):
        return None
    moves = np.array([[1.0], [-1.0], [2.0], [-2.0]]) * multipliers(site.x, len(at)) * h[at]
    values = site.x[at] + moves
    inside = (values >= site.lower[at]) & (values <= site.upper[at])
    displaced = as_read(site, at, values) if inside.all() else None
    if displaced is None or is_turned(displaced, moves):
        return None
    along = np.zeros((len(values), len(site.x)))
    along[:, at] = displaced
    reach = FOURTH_ORDER @ along
    check = _beside(points_of(site.x, at, values), FOURTH_ORDER, reach, along, h, vector=vector)
    return replace(check, row=None)
