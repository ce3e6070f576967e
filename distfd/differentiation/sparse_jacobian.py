"""Sparse Jacobians: a point moves all columns of a group, and the structure takes their effects apart."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from distfd.core.errors import InputError
from distfd.core.points import Points
from distfd.core.records import Status
from distfd.differentiation.assemble import Terms, assemble
from distfd.differentiation.check_points import Checkable, CheckPoints, beside_groups
from distfd.differentiation.coloring import Structure, find_groups
from distfd.differentiation.complex_step import check_imaginary_parts
from distfd.differentiation.coordinate_stencils import Lines, place_lines
from distfd.differentiation.method import Answer, Request
from distfd.differentiation.stencils import EPS, SCHEMES, coefficients

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from distfd.differentiation.base_point import BasePoint
    from distfd.differentiation.method import Wave
    from distfd.differentiation.stencils import Stencil

PROBE_REACH = EPS**0.25
"""How far a probe goes, in typical sizes: enough that a product of two such changes is seen in J."""


@dataclass(frozen=True, eq=False)
class SparseJacobian(Checkable):
    """A Jacobian whose structure is known: 1 + (groups x nodes) points.

    Parameters
    ----------
    site : Site
    stencil : Stencil
    h : (d,) ndarray
        Signed steps.
    structure : Structure
        Of coordinates that move.
    """

    site: BasePoint
    stencil: Stencil
    h: NDArray[np.float64]
    structure: Structure

    @cached_property
    def _lines(self) -> Lines:
        used = np.flatnonzero(self.structure.group >= 0)
        return place_lines(self.site, used, self.h[used], self.stencil)

    def advance(self, waves: Sequence[Wave]) -> Request | Answer:
        """One request, then the answer."""
        if not waves:
            return Request(group_points(self._lines, self.structure), 0, vector=True)
        wave, structure = waves[0], self.structure
        check_imaginary_parts(wave)
        baseline = wave.values[0].real
        if len(baseline) != structure.shape[0]:
            raise InputError(f"sparsity: has {structure.shape[0]} rows, and J has {len(baseline)} outputs")
        entries = assemble(group_terms(self._lines, structure), wave.values, baseline)
        missing = np.unique(structure.columns[~np.isfinite(entries)])
        entries[np.isin(structure.columns, missing)] = np.nan
        step = np.zeros(len(self.site.x))
        step[self._lines.moving] = self._lines.step
        return Answer(structure.filled(entries), baseline, step, missing)

    def check_points(self, waves: Sequence[Wave], scale: ArrayLike | None) -> CheckPoints | None:
        """Beside the one request."""
        if waves:
            return None
        structure = self.structure
        return beside_groups(
            self.site,
            self._lines,
            group_terms(self._lines, structure),
            structure.columns,
            self.h,
            self.stencil.order,
            structure.shape[0],
            scale,
        )


def group_points(lines: Lines, structure: Structure) -> Points:
    """The point x, then for each group its nodes in turn; ``lines`` has the columns that are in a group."""
    a, n = lines.values.shape
    # By group, then by node: a stable sort keeps the columns of each point in their order.
    number = (structure.group[lines.moving][:, None] * n + np.arange(n)).ravel()
    order = np.argsort(number, kind="stable")
    counts = np.bincount(number, minlength=structure.n_groups * n)
    indptr = np.concatenate(([0, 0], np.cumsum(counts)))
    return Points(lines.x, indptr, np.repeat(lines.moving, n)[order], lines.values.reshape(a * n)[order])


def group_terms(lines: Lines, structure: Structure) -> Terms:
    """First derivatives, a row for each entry of the structure, from the values at `group_points`."""
    n = lines.values.shape[1]
    at = np.searchsorted(lines.moving, structure.columns)
    return Terms(
        n_rows=len(at),
        row=np.repeat(np.arange(len(at)), n),
        point=(1 + structure.group[structure.columns][:, None] * n + np.arange(n)).ravel(),
        coefficient=coefficients(lines.offsets)[at].ravel(),
        divisor=lines.offsets[at].ravel(),
        output=np.repeat(structure.rows, n),
    )


@dataclass(frozen=True, eq=False)
class ProbedJacobian(Checkable):
    """A Jacobian whose structure is looked for first, by plain differences at two points near x.

    Parameters
    ----------
    site : Site
    stencil, h
        As for SparseJacobian.
    size : (d,) ndarray
        Typical sizes of the coordinates.
    """

    site: BasePoint
    stencil: Stencil
    h: NDArray[np.float64]
    size: NDArray[np.float64]

    def advance(self, waves: Sequence[Wave]) -> Request | Answer:
        """Two requests for the structure, then those of the sparse Jacobian."""
        if len(waves) < 2:
            return Request(self._probe(seed=len(waves)).points, 0, vector=True)
        return self._sparse(waves).advance(waves[2:])

    def check_points(self, waves: Sequence[Wave], scale: ArrayLike | None) -> CheckPoints | None:
        """Beside the request that follows those for the structure."""
        return None if len(waves) != 2 else self._sparse(waves).check_points((), scale)

    def _sparse(self, waves: Sequence[Wave]) -> SparseJacobian:
        return SparseJacobian(self.site, self.stencil, self.h, _seen(waves[:2], self.site))

    def _probe(self, seed: int) -> Lines:
        """Each coordinate moved from a point displaced at random, the same in every run so that values are reused."""
        # Where the step is larger, the user has a reason: such as digits that would swallow less.
        site, reach = self.site, np.maximum(PROBE_REACH * self.size, np.abs(self.h))
        low, high = np.maximum(site.lower, site.x - reach), np.minimum(site.upper, site.x + reach)
        share = np.random.default_rng(seed).random(len(site.x))
        displaced = np.clip(low + share * (high - low), low, high)
        return place_lines(replace(site, x=displaced), site.moving, reach[site.moving], SCHEMES["forward"])


def _seen(waves: Sequence[Wave], site: BasePoint) -> Structure:
    """The entries that changed in any probe; a column without a value in any probe may have all of them."""
    outputs = waves[0].values.shape[1]
    changed = np.zeros((len(site.moving), outputs), dtype=bool)
    known = np.zeros(len(site.moving), dtype=bool)
    for wave in waves:
        if wave.values.shape[1] != outputs:
            raise InputError(f"sparsity: J has {outputs} outputs at one point and {wave.values.shape[1]} at another")
        ok = wave.status[1:] == Status.OK
        changed[ok] |= wave.values[1:][ok] != wave.values[0]
        known |= ok
    changed[~known] = True
    at, rows = np.nonzero(changed)
    columns, shape = site.moving[at], (outputs, len(site.x))
    return Structure(shape, rows, columns, find_groups(rows, columns, shape))
