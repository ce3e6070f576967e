"""Sparse Jacobians: a point moves all columns of a group, and the structure separates their effects."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core.errors import InputError
from distfd.core.points import Points
from distfd.differentiation.assemble import Terms, assemble
from distfd.differentiation.check_points import Checkable, CheckPoints
from distfd.differentiation.coloring import Structure, find_groups
from distfd.differentiation.complex_step import ComplexStepCheck, check_imaginary_parts, head, tail
from distfd.differentiation.coordinate_stencils import Lines, place_lines
from distfd.differentiation.diagnostics import unexpected_entry_warnings
from distfd.differentiation.gradient_check_points import beside_groups
from distfd.differentiation.method import Answer, Course, Request, Wave
from distfd.differentiation.real_differences import residual
from distfd.differentiation.stencils import EPS, SCHEMES, coefficients

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from numpy.typing import NDArray

    from distfd.differentiation.base_point import BasePoint
    from distfd.differentiation.method import MultiRound
    from distfd.differentiation.stencils import Stencil

    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]

PROBE_REACH = EPS**0.25
"""How far a probe goes, in typical sizes: far enough that a product of two such changes shows in J."""
_FITS = 1e-3
"""A row's change along all coordinates may differ from its entries' prediction by this part of the sum of absolute
terms. More than that may be an entry that the structure lacks."""
_MORE = 10.0
"""The structure is searched again if a residual is this many times one that an earlier search left unexplained."""
_SEEN = 1e-3
"""If a row changes, where it has no entry, by less than this part of its changes at entries, the reason is noise, not a
missing entry."""


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
        The structure, with coordinates that move only.
    """

    site: BasePoint
    stencil: Stencil
    h: Floats
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
        entries[~np.isfinite(entries)] = np.nan
        step = np.zeros(len(self.site.x))
        step[self._lines.moving] = self._lines.step
        texts = unexpected_entry_warnings(
            self.site.label,
            self._unexpected(wave),
            structure.columns_of,
            lambda j: self.site.output(j, len(baseline)),
        )
        return Answer(structure.filled(entries), baseline, step, missing, warnings=texts)

    def unexpected(self, waves: Sequence[Wave]) -> bool:
        """Whether a row changed when no column with an entry in that row was moved."""
        return len(self._unexpected(waves[0])) > 0

    def _unexpected(self, wave: Wave) -> list[tuple[int, int]]:
        """Rows that changed without an entry, each with the group of columns that was moved."""
        structure, n = self.structure, len(self.stencil.nodes)
        baseline, values = wave.values[0].real, wave.values[1:]
        if not len(values):
            return []
        imaginary = values.dtype.kind == "c"
        changes = np.abs(values.imag if imaginary else values - baseline)
        # A point without a value has NaN here; other code reports it.
        by_group = np.nan_to_num(changes).reshape(-1, n, len(baseline)).max(axis=1)
        allowed = np.zeros(by_group.shape, dtype=bool)
        allowed[structure.group[structure.columns], structure.rows] = True
        usual = np.where(allowed, by_group, 0.0).max(axis=0)
        rounding = 0.0 if imaginary else 64 * EPS * np.abs(np.nan_to_num(baseline))
        groups, rows = np.nonzero(~allowed & (by_group > np.maximum(_SEEN * usual, rounding)))
        return list(zip(rows.tolist(), groups.tolist(), strict=True))

    def check_points(self, waves: Sequence[Wave]) -> CheckPoints | None:
        """The check's points, for the one request."""
        if waves:
            return None
        structure = self.structure
        return beside_groups(
            self.site,
            self._lines,
            group_terms(self._lines, structure),
            self.h,
            self.stencil.order,
            structure,
        )


def group_points(lines: Lines, structure: Structure) -> Points:
    """The point x, then the nodes of each group; ``lines`` has the columns that are in a group."""
    a, n = lines.values.shape
    # Sort by group, then by node; a stable sort keeps the order of the columns within each point.
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
class ProbedStructure:
    """A structure that was found at other x, as far as it is known there.

    Attributes
    ----------
    structure : Structure
        All entries that were found so far.
    tolerated : float
        The largest residual, relative to the allowed one, that a new search for the structure did not explain.
    """

    structure: Structure
    tolerated: float = 1.0


@dataclass(frozen=True, eq=False)
class ProbedJacobian(Checkable, Course[Answer]):
    """A Jacobian whose structure is found first, by differences at two points near x.

    A structure that is known from another x is used as it is, and checked with one further point, where x is moved
    along all coordinates. If J there is not what the entries predict, or a row changes where it has no entry, the
    structure is searched again and the entries of both structures are kept.

    Parameters
    ----------
    site : Site
    stencil, h
        As for SparseJacobian.
    size : (d,) ndarray
        Typical sizes of the coordinates.
    check : ComplexStepCheck
        The check with the further point. If the stencil is imaginary, its errors are raised.
    known : ProbedStructure, optional
    """

    site: BasePoint
    stencil: Stencil
    h: Floats
    size: Floats
    check: ComplexStepCheck
    known: ProbedStructure | None = None

    def _course(self) -> MultiRound:
        """Requests for the structure, if it is not known, then those of the sparse Jacobian, then the answer."""
        known = self.known
        fresh = known is None
        if known is None:
            known = ProbedStructure((yield from self._looked_for()))
        answer, ratio, confirm = yield from self._differenced(known.structure, further=not fresh)
        if not fresh and ratio > known.tolerated:
            seen = yield from self._looked_for()
            whole = known.structure.joined(seen)
            if len(whole.rows) > len(known.structure.rows):
                known = ProbedStructure(whole)
                answer, _, confirm = yield from self._differenced(whole, further=False)
            else:
                known = replace(known, tolerated=_MORE * ratio)
        if confirm is not None:
            answer = yield from confirm(answer)
        return replace(answer, structure=known)

    def _differenced(
        self, structure: Structure, *, further: bool
    ) -> Generator[Request, Wave, tuple[Answer, float, Any]]:
        """The Jacobian, its residual relative to the allowed one, and the generator that is still to confirm it."""
        plain = SparseJacobian(self.site, self.stencil, self.h, structure)
        request = plain.advance(())
        assert isinstance(request, Request), "it begins with a request"
        imaginary = bool(request.points.imaginary.any())
        if not ((imaginary and self.check.active) or (further and len(self.site.moving))):
            answer = plain.advance([(yield request)])
            assert isinstance(answer, Answer), "of one request"
            return answer, 0.0, None
        whole, first = self.check.beside(request)
        wave = yield whole
        own, beside = head(wave, request), tail(wave, request)
        answer = plain.advance([own])
        assert isinstance(answer, Answer), "of one request"
        found = residual(self.check.axes, self.check.slopes(answer), first, beside, answer.value)
        with np.errstate(invalid="ignore", divide="ignore"):
            ratios = np.abs(found.size) / (_FITS * found.reach + found.rounding)
        ratio = float(np.nan_to_num(ratios).max(initial=0.0)) if not len(answer.missing) else 0.0
        if plain.unexpected([own]):
            ratio = np.inf
        return (
            answer,
            ratio,
            (lambda final: self.check.confirmed(final, first, beside)) if imaginary and self.check.active else None,
        )

    def _looked_for(self) -> Generator[Request, Wave, Structure]:
        """The structure with all entries that changed in any of two probes."""
        first = yield Request(self._probe(0).points, 0, vector=True)
        second = yield Request(self._probe(1).points, 0, vector=True)
        return _seen((first, second), self.site)

    def check_points(self, waves: Sequence[Wave]) -> CheckPoints | None:
        """The check's points, for the request after those for the structure; None if the structure was known before."""
        if self.known is not None or self.stencil.imaginary or len(waves) != 2:
            return None
        structure = _seen(waves, self.site)
        return SparseJacobian(self.site, self.stencil, self.h, structure).check_points(())

    def _probe(self, seed: int) -> Lines:
        """Each coordinate moved, from a point displaced by a fixed seed, so that every run has the same points."""
        # The user may have a reason for a larger step, such as output with few digits, so the probe is no shorter.
        site, reach = self.site, np.maximum(PROBE_REACH * self.size, np.abs(self.h))
        low, high = np.maximum(site.lower, site.x - reach), np.minimum(site.upper, site.x + reach)
        share = np.random.default_rng(seed).random(len(site.x))
        displaced = np.clip(low + share * (high - low), low, high)
        return place_lines(replace(site, x=displaced), site.moving, reach[site.moving], SCHEMES["forward"])


def _seen(waves: Sequence[Wave], site: BasePoint) -> Structure:
    """The structure with all entries that changed in any probe; an entry without a value in any probe is included.

    If an output has no value at the probes' own points, its row cannot be determined, so it gets all entries. That
    makes no difference to the groups, as these entries have no value at x either.
    """
    outputs = waves[0].values.shape[1]
    changed, known = (np.zeros((len(site.moving), outputs), dtype=bool) for _ in range(2))
    lost = np.zeros(outputs, dtype=bool)
    for wave in waves:
        if wave.values.shape[1] != outputs:
            raise InputError(f"sparsity: J has {outputs} outputs at one point and {wave.values.shape[1]} at another")
        there = np.isfinite(wave.values[1:]) & np.isfinite(wave.values[0])
        changed |= there & (wave.values[1:] != wave.values[0])
        known |= there
        lost |= ~np.isfinite(wave.values[0])
    changed[~known] = True
    told = changed.copy()
    told[:, lost] = False
    shape = (outputs, len(site.x))
    at, rows = np.nonzero(told)
    group = find_groups(rows, site.moving[at], shape)
    changed[:, lost] = True
    at, rows = np.nonzero(changed)
    columns = site.moving[at]
    used = np.unique(columns)
    group[used] = np.maximum(group[used], 0)
    return Structure(shape, rows, columns, group)
