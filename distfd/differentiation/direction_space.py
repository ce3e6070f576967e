"""Methods that find their steps, along directions instead of coordinates: slopes, products, and sparse Jacobians.

A method in t, (p,), at 0 is asked for; its points are x + t_1 v_1 + ... + t_p v_p. The columns of a group of a sparse
Jacobian, moved together, are such a direction.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core.errors import InputError
from distfd.core.points import Points
from distfd.differentiation.base_point import BasePoint
from distfd.differentiation.diagnostics import unexpected_entry_warnings
from distfd.differentiation.direction_stencils import lengths
from distfd.differentiation.method import Answer, Request
from distfd.differentiation.stencils import EPS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from distfd.differentiation.coloring import Structure
    from distfd.differentiation.method import Method, Wave

    Floats = NDArray[np.float64]
    Numbers = NDArray[np.int64]

_SHARE = 0.1
"""Room on one side, in units of a direction's own length, that is enough for its probes."""
_SLANTED = 1e-2
"""Numbers as written may move J aside of a direction by this part."""


@dataclass(frozen=True, eq=False)
class Directions:
    """p directions, each 0 but at some coordinates, and where along them x may go.

    Attributes
    ----------
    site : Site
        Of x, (d,).
    indptr, indices, data
        The directions as a compressed sparse row matrix (p, d), of length 1 against the typical sizes.
    behind, ahead : (p,) ndarrays
        How far t may go, <= 0 and >= 0, all directions at once.
    """

    site: BasePoint
    indptr: Numbers
    indices: Numbers
    data: Floats
    behind: Floats
    ahead: Floats

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def base_point(self, label: Callable[[int], str]) -> BasePoint:
        """Where the method in t is."""
        return BasePoint(np.zeros(len(self)), self.behind, self.ahead, label, output=self.site.output)

    @cached_property
    def _matrix(self) -> Any:
        from scipy.sparse import csr_array

        return csr_array((self.data, self.indices, self.indptr), shape=(len(self), len(self.site.x)))

    def points(self, points: Points) -> Points:
        """Points in t as points of x."""
        from scipy.sparse import csr_array

        site = self.site
        t = csr_array((points.values, points.indices, points.indptr), shape=(len(points), len(self)))
        moved = csr_array(t @ self._matrix)
        moved.sort_indices()
        at = moved.indices.astype(np.int64)
        values = np.clip(site.x[at] + moved.data, site.lower[at], site.upper[at])
        return Points(site.x, moved.indptr.astype(np.int64), at, values)

    def slack(self, t: Floats) -> Floats:
        """By what part floating point, or the text that J reads, puts each coordinate off that t (p,) moves.

        Raises
        ------
        InputError
            If a format has too few digits for these steps.
        """
        site = self.site
        wanted = np.repeat(t, np.diff(self.indptr)) * self.data
        off = np.full(len(wanted), np.inf)
        some = wanted != 0
        at = self.indices[some]
        values = np.clip(site.x[at] + wanted[some], site.lower[at], site.upper[at])
        real = site.offsets(at, values[:, None])[:, 0]
        off[some] = np.abs(real / wanted[some] - 1)
        if site.written is not None and off[some].max(initial=0.0) > _SLANTED:
            k = int(at[off[some].argmax()])
            raise InputError(
                f"step: the format of {site.label(k)} has too few digits for the small steps that distfd chooses "
                "from the noise when several coordinates move at once; give a step, or write more digits"
            )
        return np.where(some, off + EPS, 0.0)


@dataclass(frozen=True, eq=False)
class AlongDirections:
    """dJ(x + t v)/dt at t = 0 for p directions v, by a method that finds its steps: (p,), (p, m), or (m,).

    Parameters
    ----------
    directions : Directions
    method : Method
        Of several outputs, at t = 0, with the directions' base point.
    row : (q,) ndarray of int
        Which of the p asked-for directions each of ``directions`` is, or is a part of.
    size : (q,) ndarray
        What its slopes are to be divided by: the length of the part against the asked-for direction.
    p : int
    single : bool
        The one direction's derivative by itself, (m,).
    """

    directions: Directions
    method: Method[Answer]
    row: Numbers
    size: Floats
    p: int
    single: bool = False

    def advance(self, waves: Sequence[Wave]) -> Request | Answer:
        """What the method in t says, with its points as points of x."""
        step = translated(self.method, self.directions, waves)
        if isinstance(step, Request):
            return step
        slopes, bars = (np.zeros((self.p, len(step.value))) for _ in range(2))
        own = step.derivative.T / self.size[:, None]
        np.add.at(slopes, self.row, own)
        assert step.error is not None, "it has an error bar"
        slack = self.directions.slack(step.step)
        off = np.maximum.reduceat(np.append(slack, 0.0), self.directions.indptr[:-1]) if len(own) else np.zeros(0)
        np.add.at(bars, self.row, step.error.T / self.size[:, None] + np.abs(own) * off[:, None])
        t = np.zeros(self.p)
        t[self.row[::-1]] = (step.step / self.size)[::-1]
        missing = np.unique(self.row[step.missing])
        parts = [part[0] if self.single else part[:, 0] if part.shape[1] == 1 else part for part in (slopes, bars)]
        return replace(step, derivative=parts[0], error=parts[1], step=t, missing=missing, axis="direction")


@dataclass(frozen=True, eq=False)
class GroupedJacobian:
    """A sparse Jacobian whose groups of columns are differenced by a method that finds its steps.

    Parameters
    ----------
    directions : Directions
        One for each group.
    method : Method
        Of several outputs, at t = 0, with the directions' base point.
    structure : Structure
    """

    directions: Directions
    method: Method[Answer]
    structure: Structure

    def advance(self, waves: Sequence[Wave]) -> Request | Answer:
        """What the method in t says, taken apart by the structure."""
        step = translated(self.method, self.directions, waves)
        if isinstance(step, Request):
            return step
        structure, directions = self.structure, self.directions
        if len(step.value) != structure.shape[0]:
            raise InputError(f"sparsity: has {structure.shape[0]} rows, and J has {len(step.value)} outputs")
        assert step.error is not None, "it has an error bar"
        d = structure.shape[1]
        size, slack = np.zeros(d), np.zeros(d)
        size[directions.indices], slack[directions.indices] = directions.data, directions.slack(step.step)
        group, columns = structure.group[structure.columns], structure.columns
        entries = step.derivative[structure.rows, group] / size[columns]
        bars = step.error[structure.rows, group] / np.abs(size[columns]) + np.abs(entries) * slack[columns]
        steps = np.zeros(d)
        at = np.repeat(np.arange(len(directions)), np.diff(directions.indptr))
        steps[directions.indices] = step.step[at] * directions.data
        allowed = np.zeros(step.derivative.shape, dtype=bool)
        allowed[structure.rows, group] = True
        with np.errstate(invalid="ignore"):
            seen = ~allowed & (np.abs(step.derivative) > 2 * step.error)
        pairs = [(int(row), int(g)) for row, g in np.argwhere(seen)]
        site = directions.site
        texts = unexpected_entry_warnings(
            site.label, pairs, structure.columns_of, lambda j: site.output(j, structure.shape[0])
        )
        return replace(
            step,
            derivative=structure.filled(entries),
            error=structure.filled(bars),
            step=steps,
            missing=np.unique(columns[np.isnan(entries)]),
            warnings=step.warnings + texts,
        )


def translated(method: Method[Answer], directions: Directions, waves: Sequence[Wave]) -> Request | Answer:
    """What a method in t says after waves in x."""
    seen: list[Wave] = []
    for wave in waves:
        asked = method.advance(seen)
        assert isinstance(asked, Request), "it asked for this wave"
        seen.append(replace(wave, request=asked))
    step = method.advance(seen)
    return replace(step, points=directions.points(step.points)) if isinstance(step, Request) else step


def along(site: BasePoint, rows: Floats, scale: Floats) -> tuple[Directions, Numbers, Floats]:
    """Directions (p, d) as `AlongDirections` takes them: each, or its two parts where bounds let it go neither way.

    Returns
    -------
    directions : Directions
        Of length 1 against the scale.
    row, size : (q,) ndarrays
        Of `AlongDirections`.
    """
    parts, row, size = [], [], []
    up, down = site.upper - site.x, site.x - site.lower
    fixed = site.lower == site.upper
    for p, v in enumerate(np.where(fixed, 0.0, rows)):
        at = np.flatnonzero(v)
        if not len(at):
            continue
        length = float(lengths(v[None], scale)[0])
        forth, back = (np.where(v[at] > 0, *pair) / np.abs(v[at]) for pair in ((up[at], down[at]), (down[at], up[at])))
        ahead = forth >= back
        halves = [at]
        if max(forth.min(), back.min()) < _SHARE * length and ahead.any() and not ahead.all():
            halves = [at[ahead], at[~ahead]]
        for half in halves:
            parts.append((half, v[half] * length))
            row.append(p)
            size.append(length)
    indices = np.concatenate([np.zeros(0, dtype=np.int64), *(at for at, _ in parts)])
    data = np.concatenate([np.zeros(0), *(moves for _, moves in parts)])
    indptr = np.cumsum([0, *(len(at) for at, _ in parts)], dtype=np.int64)
    shares = np.bincount(indices, minlength=len(site.x))
    directions = _limited(site, indptr, indices, data, np.maximum(1, shares)[indices])
    return directions, np.array(row, dtype=np.int64), np.array(size)


def groups(site: BasePoint, structure: Structure, scale: Floats) -> Directions:
    """A direction for each group of a structure: each column by its typical size, to the side that has more room."""
    used = np.flatnonzero(structure.group >= 0)
    order = used[np.argsort(structure.group[used], kind="stable")]
    up, down = site.upper[order] - site.x[order], site.x[order] - site.lower[order]
    size = np.minimum(scale[order], np.maximum(up, down))
    data = np.where(up >= down, size, -size)
    indptr = np.concatenate(([0], np.cumsum(np.bincount(structure.group[used], minlength=structure.n_groups))))
    return _limited(site, indptr.astype(np.int64), order, data, np.ones(len(order)))


def _limited(site: BasePoint, indptr: Numbers, indices: Numbers, data: Floats, shared: Floats) -> Directions:
    """The directions with their limits; of a coordinate that several directions move each has its share of the room."""
    up, down = site.upper[indices] - site.x[indices], site.x[indices] - site.lower[indices]
    with np.errstate(over="ignore"):
        forth = np.where(data > 0, up, down) / np.abs(data) / shared
        back = np.where(data > 0, down, up) / np.abs(data) / shared
    if not len(indices):
        none = np.zeros(0)
        return Directions(site, indptr, indices, data, none, none)
    starts = indptr[:-1]
    behind, ahead = (np.minimum.reduceat(room, starts) for room in (back, forth))
    return Directions(site, indptr, indices, data, -behind, ahead)
