"""Sparse Jacobians: a point moves all columns of a group, and the structure takes their effects apart."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core.errors import InputError
from distfd.core.points import Points
from distfd.differentiation.assemble import Terms, assemble
from distfd.differentiation.check_points import Checkable, CheckPoints, beside_groups
from distfd.differentiation.coloring import Structure, find_groups
from distfd.differentiation.complex_step import ComplexStepCheck, check_imaginary_parts, head, tail
from distfd.differentiation.coordinate_stencils import Lines, place_lines
from distfd.differentiation.diagnostics import unexpected_entry_warnings
from distfd.differentiation.method import Answer, Request, Wave, follow
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
"""How far a probe goes, in typical sizes: enough that a product of two such changes is seen in J."""
_FITS = 1e-3
"""By what part of its terms a row's change along all coordinates may differ from what its entries say: what is more may
be an entry that the structure lacks."""
_MORE = 10.0
"""A residual so many times one that a new look at the structure did not explain is worth another look."""
_SEEN = 1e-3
"""A row that changes by so much less where it has no entry than where it has some has noise, and no entry there."""


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
        """Whether a row changed where no column that was moved has an entry in it."""
        return len(self._unexpected(waves[0])) > 0

    def _unexpected(self, wave: Wave) -> list[tuple[int, int]]:
        """Rows, and the groups of columns with which they change without an entry there."""
        structure, n = self.structure, len(self.stencil.nodes)
        baseline, values = wave.values[0].real, wave.values[1:]
        if not len(values):
            return []
        imaginary = values.dtype.kind == "c"
        changes = np.abs(values.imag if imaginary else values - baseline)
        # What a point lacks is NaN, and told elsewhere.
        by_group = np.nan_to_num(changes).reshape(-1, n, len(baseline)).max(axis=1)
        allowed = np.zeros(by_group.shape, dtype=bool)
        allowed[structure.group[structure.columns], structure.rows] = True
        usual = np.where(allowed, by_group, 0.0).max(axis=0)
        rounding = 0.0 if imaginary else 64 * EPS * np.abs(np.nan_to_num(baseline))
        groups, rows = np.nonzero(~allowed & (by_group > np.maximum(_SEEN * usual, rounding)))
        return list(zip(rows.tolist(), groups.tolist(), strict=True))

    def check_points(self, waves: Sequence[Wave]) -> CheckPoints | None:
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
class ProbedStructure:
    """A structure that was found at other x, as far as it is known.

    Attributes
    ----------
    structure : Structure
        All entries that were seen so far.
    tolerated : float
        The largest residual, over what is allowed, that a new look at the structure did not explain.
    """

    structure: Structure
    tolerated: float = 1.0


@dataclass(frozen=True, eq=False)
class ProbedJacobian(Checkable):
    """A Jacobian whose structure is looked for first, by plain differences at two points near x.

    One that is known from another x is taken as it is, with one more point, x moved along all coordinates: where J does
    not do there what the entries say, or a row changes where it has no entry, it is looked for again, and the entries
    of both are kept.

    Parameters
    ----------
    site : Site
    stencil, h
        As for SparseJacobian.
    size : (d,) ndarray
        Typical sizes of the coordinates.
    check : ComplexStepCheck
        Its axes are those of the further point; what it refuses is refused where the stencil is imaginary.
    known : ProbedStructure, optional
    """

    site: BasePoint
    stencil: Stencil
    h: Floats
    size: Floats
    check: ComplexStepCheck
    known: ProbedStructure | None = None

    def advance(self, waves: Sequence[Wave]) -> Request | Answer:
        """Requests for the structure, where it is not known, and those of the sparse Jacobian."""
        return follow(self._course(), waves)

    def _course(self) -> MultiRound:
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
        """The Jacobian, how many times its residual is what is allowed, and what is left to confirm it."""
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
        """The entries that changed in any of two probes."""
        first = yield Request(self._probe(0).points, 0, vector=True)
        second = yield Request(self._probe(1).points, 0, vector=True)
        return _seen((first, second), self.site)

    def check_points(self, waves: Sequence[Wave]) -> CheckPoints | None:
        """Beside the request that follows those for the structure; one known from another x has a point of its own."""
        if self.known is not None or self.stencil.imaginary or len(waves) != 2:
            return None
        structure = _seen(waves, self.site)
        return SparseJacobian(self.site, self.stencil, self.h, structure).check_points(())

    def _probe(self, seed: int) -> Lines:
        """Each coordinate moved from a point displaced at random, the same in every run so that values are reused."""
        # Where the step is larger, the user has a reason: such as digits that would swallow less.
        site, reach = self.site, np.maximum(PROBE_REACH * self.size, np.abs(self.h))
        low, high = np.maximum(site.lower, site.x - reach), np.minimum(site.upper, site.x + reach)
        share = np.random.default_rng(seed).random(len(site.x))
        displaced = np.clip(low + share * (high - low), low, high)
        return place_lines(replace(site, x=displaced), site.moving, reach[site.moving], SCHEMES["forward"])


def _seen(waves: Sequence[Wave], site: BasePoint) -> Structure:
    """The entries that changed in any probe; one without a value in any probe may be there.

    An output without a value at the probes' own points has a row that cannot be told: it is whole, and groups do not
    mind it, as its entries have no value at x either.
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
