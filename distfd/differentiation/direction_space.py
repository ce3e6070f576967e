"""Runs methods that find their steps along directions instead of coordinates: slopes, products, sparse Jacobians.

The method works on t, (p,), at t = 0, and its points become x + t_1 v_1 + ... + t_p v_p. For a sparse Jacobian, each
group of columns, moved together, is one direction.
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
"""A direction may use one side if it has this much room there, in units of its own length: probes then fit."""
_SLANTED = 1e-2
"""Rounding of J's numbers as text may turn a displacement away from its direction by this relative amount at most."""


@dataclass(frozen=True, eq=False)
class Directions:
    """p directions, sparse in the coordinates, and the limits of t along them.

    Attributes
    ----------
    site : Site
        Of x, (d,).
    indptr, indices, data
        The directions as a compressed sparse row matrix (p, d), of length 1 against the typical sizes.
    behind, ahead : (p,) ndarrays
        Limits of t, <= 0 and >= 0, that hold for all directions moved at once.
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
        """The base point of the method in t."""
        return BasePoint(np.zeros(len(self)), self.behind, self.ahead, label, output=self.site.output)

    @cached_property
    def _matrix(self) -> Any:
        from scipy.sparse import csr_array

        return csr_array((self.data, self.indices, self.indptr), shape=(len(self), len(self.site.x)))

    def points(self, points: Points) -> Points:
        """Points in t, translated to points in x."""
        from scipy.sparse import csr_array

        site = self.site
        t = csr_array((points.values, points.indices, points.indptr), shape=(len(points), len(self)))
        moved = csr_array(t @ self._matrix)
        moved.sort_indices()
        at = moved.indices.astype(np.int64)
        values = np.clip(site.x[at] + moved.data, site.lower[at], site.upper[at])
        return Points(site.x, moved.indptr.astype(np.int64), at, values)

    def slack(self, t: Floats) -> Floats:
        """The relative rounding error that floating point or J's input text makes when t (p,) moves each coordinate.

        Raises
        ------
        InputError
            If the text format has too few digits for these steps.
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
        A method for several outputs, at t = 0, with the directions' base point.
    row : (q,) ndarray of int
        For each of ``directions``, which of the p asked-for directions it is, or is a part of.
    size : (q,) ndarray
        Divisors of the slopes: the length of each part relative to the asked-for direction.
    p : int
    single : bool
        Whether the derivative of one direction is returned alone, (m,).
    """

    directions: Directions
    method: Method[Answer]
    row: Numbers
    size: Floats
    p: int
    single: bool = False

    def advance(self, waves: Sequence[Wave]) -> Request | Answer:
        """The request or answer of the method in t, with its points translated to x."""
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
    """A sparse Jacobian by a method that finds its steps: it differentiates along groups of columns.

    Parameters
    ----------
    directions : Directions
        One direction for each group.
    method : Method
        A method for several outputs, at t = 0, with the directions' base point.
    structure : Structure
    """

    directions: Directions
    method: Method[Answer]
    structure: Structure

    def advance(self, waves: Sequence[Wave]) -> Request | Answer:
        """The request or answer of the method in t; the answer is split into entries by the structure."""
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
    """The request or answer of a method in t, after waves in x."""
    seen: list[Wave] = []
    for wave in waves:
        asked = method.advance(seen)
        assert isinstance(asked, Request), "it asked for this wave"
        seen.append(replace(wave, request=asked))
    step = method.advance(seen)
    return replace(step, points=directions.points(step.points)) if isinstance(step, Request) else step


def along(site: BasePoint, rows: Floats, scale: Floats) -> tuple[Directions, Numbers, Floats]:
    """Directions (p, d) as `AlongDirections` takes them; a direction that bounds block both ways is split in two parts.

    Returns
    -------
    directions : Directions
        Directions of length 1, measured in the scale.
    row, size : (q,) ndarrays
        The arguments of `AlongDirections`.
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
    """A direction for each group: each column moves by its typical size, to the side with more room."""
    used = np.flatnonzero(structure.group >= 0)
    order = used[np.argsort(structure.group[used], kind="stable")]
    up, down = site.upper[order] - site.x[order], site.x[order] - site.lower[order]
    size = np.minimum(scale[order], np.maximum(up, down))
    data = np.where(up >= down, size, -size)
    indptr = np.concatenate(([0], np.cumsum(np.bincount(structure.group[used], minlength=structure.n_groups))))
    return _limited(site, indptr.astype(np.int64), order, data, np.ones(len(order)))


def _limited(site: BasePoint, indptr: Numbers, indices: Numbers, data: Floats, shared: Floats) -> Directions:
    """The directions with their limits. Where several directions move one coordinate, they share its room."""
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
