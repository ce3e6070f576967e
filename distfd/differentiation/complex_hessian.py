"""Second derivatives by the complex step: differences of gradients that are exact but for rounding.

H_kl ~ (Im J(x + i h e_k + s e_l) - Im J(x + i h e_k - s e_l)) / (2 h s). Only the real displacement s causes
cancellation. It is the step of a central difference, eps^(1/3); second differences of J itself need eps^(1/4), and
divide by the step twice. Each pair of coordinates takes two points, as many as with second differences of J.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from distfd.core.errors import EvaluationError
from distfd.core.points import Points, join_points
from distfd.differentiation.assemble import Terms, assemble
from distfd.differentiation.complex_step import check_imaginary_parts, head, imaginary_step, tail
from distfd.differentiation.diagnostics import listed
from distfd.differentiation.hessian import missing_rows
from distfd.differentiation.method import Answer, Course, Request
from distfd.differentiation.placement import check_offsets, place
from distfd.differentiation.real_differences import ROUNDING
from distfd.differentiation.stencils import EPS, SCHEMES, coefficients

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from numpy.typing import NDArray

    from distfd.differentiation.base_point import BasePoint
    from distfd.differentiation.complex_step import ComplexStepCheck
    from distfd.differentiation.hessian_pattern import HessianPattern
    from distfd.differentiation.method import MultiRound, Wave
    from distfd.differentiation.real_differences import Axes, Displacement

    Floats = NDArray[np.float64]
    Numbers = NDArray[np.int64]

_CURVED = np.array([-5.0, 4.0, -1.0])
"""Weights of J at x + w, x + 2 w and x + 3 w, added to twice J(x): the second derivative along w, of second order."""
_FACTORS = tuple(10.0**k for k in range(-3, 4))
"""Distances at which a second difference that does not fit is computed again, in multiples of its own step."""
_ALLOWED = 1e-3
"""A second difference of J may differ from the derivatives' prediction by this part of the sum of its absolute
terms."""
_ALIKE = 0.2
"""If the misfit is the same at two distances, within this part, it is not noise or truncation: J loses imaginary
parts."""
_SPAN = EPS**0.25 / EPS**0.5
"""The displacement of the second difference, in steps of `DirectionAxes` and `CoordinateAxes`: those take eps^(1/2), a
second difference needs eps^(1/4)."""


@dataclass(frozen=True, eq=False)
class ComplexHessian(Course[Answer]):
    """Second derivatives of a J with one output, from complex points, checked by values at real points.

    Parameters
    ----------
    site : Site
    pattern : HessianPattern
    h : (d,) ndarray
        Imaginary steps.
    shift : (d,) ndarray
        Signed real displacements.
    check : ComplexStepCheck
        Check of the slopes along coordinates, which finds a J that loses imaginary parts.
    """

    site: BasePoint
    pattern: HessianPattern
    h: Floats
    shift: Floats
    check: ComplexStepCheck

    @cached_property
    def _placed(self) -> tuple[Floats, Floats]:
        """Values that the pattern's coordinates take, (a, 2), and their displacements, (a, 2)."""
        site, moving = self.site, self.pattern.moving
        values, _ = place(
            site.x[moving], self.shift[moving], SCHEMES["central"], site.lower[moving], site.upper[moving]
        )
        offsets = values - site.x[moving, None]
        check_offsets(offsets, lambda k: site.label(int(moving[k])))
        check_offsets(self.h[moving, None], lambda k: site.label(int(moving[k])))
        return values, offsets

    @property
    def _one_sided(self) -> NDArray[np.bool_]:
        offsets = self._placed[1]
        return np.asarray((offsets[:, 0] > 0) == (offsets[:, 1] > 0))

    @property
    def _entries(self) -> tuple[Numbers, Numbers]:
        """The coordinates of each entry: that with the imaginary step, that with the real one; diagonal first."""
        every = np.arange(len(self.pattern.moving))
        return np.concatenate((every, self.pattern.first)), np.concatenate((every, self.pattern.second))

    def _points(self) -> Points:
        """X itself, each coordinate's imaginary step, then two points for each entry."""
        moving, values = self.pattern.moving, self._placed[0]
        a, x = len(moving), self.site.x[moving]
        unreal, real = self._entries
        alone = imaginary_step(x, self.h[moving])
        own = imaginary_step(values, np.broadcast_to(self.h[moving, None], values.shape))
        first, second = unreal[a:], real[a:]
        pairs = np.empty((len(first), 2, 2), dtype=np.complex128)
        pairs[..., 0] = alone[first, None]
        pairs[..., 1] = imaginary_step(values[second], np.zeros(values[second].shape))
        indices = np.concatenate(
            (moving, np.repeat(moving, 2), np.stack((moving[first], moving[second]), axis=1).repeat(2, axis=0).ravel())
        )
        singles = np.arange(3 * a + 1)
        indptr = np.concatenate(([0], singles, singles[-1] + 2 * np.arange(1, 2 * len(first) + 1)))
        return Points(self.site.x, indptr, indices, np.concatenate((alone, own.ravel(), pairs.ravel())))

    def _terms(self) -> Terms:
        offsets, one_sided = self._placed[1], self._one_sided
        unreal, real = self._entries
        n, a = len(unreal), len(self.pattern.moving)
        o, h = offsets[real], self.h[self.pattern.moving][unreal]
        span = (o[:, 1] - o[:, 0])[:, None]
        one = one_sided[real, None]
        weight = np.where(one, coefficients(o), np.array([[-1.0, 1.0]]))
        divisor = np.where(one, o, span) * h[:, None]
        row, node = np.repeat(np.arange(n), 2), 1 + a + np.arange(2 * n)
        rows = np.repeat(np.flatnonzero(one_sided[real]), 2)
        back = one_sided[real]
        return Terms(
            n,
            np.concatenate((row, rows)),
            np.concatenate((node, np.repeat(1 + unreal[back], 2))),
            np.concatenate((weight.ravel(), -weight[back].ravel())),
            np.concatenate((divisor.ravel(), divisor[back].ravel())),
        )

    def _course(self) -> MultiRound:
        """One request; a second one only where J at the check's point is not what the derivatives predict."""
        moving = self.pattern.moving
        a = len(moving)
        request = Request(self._points(), 0)
        if not a:
            wave = yield request
            return self._answer(wave.values[0].real, np.zeros(0))
        if not self.check.active:
            own = yield request
            check_imaginary_parts(own)
            value = own.values[0].real
            return self._answer(value, assemble(self._terms(), own.values, value)[:, 0])
        curvature = CurvatureCheck(self.check.axes, self.check.axes.moving)
        whole, first = self.check.beside(request)
        bent = curvature.displaced(1.0)
        n = len(whole.points)
        points = join_points([whole.points, *(each.points for each in bent)])
        wave = yield replace(whole, points=points, optional=np.arange(len(request.points), len(points)))
        own = head(wave, request)
        check_imaginary_parts(own)
        value = own.values[0].real
        answer = self._answer(value, assemble(self._terms(), own.values, value)[:, 0])
        slopes = np.zeros(len(self.site.x))
        slopes[moving] = own.values[1 : a + 1, 0].imag / self.h[moving]
        lost = moving[~np.isfinite(slopes[moving])]
        beside = tail(wave, request)
        plain = Answer(slopes, value, answer.step, lost)
        told = yield from self.check.confirmed(plain, first, beside[: n - len(request.points)])
        texts = answer.warnings + told.warnings
        if not len(answer.missing):
            matrix = answer.derivative

            def quadratic(amounts: Floats) -> tuple[float, float]:
                return float(amounts @ (matrix @ amounts)), float(np.abs(amounts) @ (abs(matrix) @ np.abs(amounts)))

            texts += yield from curvature.confirmed(quadratic, bent, beside[n - len(request.points) :], value)
        return replace(answer, warnings=texts)

    def _answer(self, value: Floats, entries: Floats) -> Answer:
        pattern, a = self.pattern, len(self.pattern.moving)
        entries = np.where(np.isfinite(entries), entries, np.nan)
        own, mixed = entries[:a], entries[a:]
        step = np.zeros(len(self.site.x))
        step[pattern.moving] = self._placed[1][:, 1] if a else 0.0
        away = np.abs(self._placed[1]).min(axis=1) if a else np.zeros(0)
        few = away < _FEW_ULPS * np.spacing(np.abs(self.site.x[pattern.moving]))
        return Answer(
            pattern.filled(own, mixed),
            value,
            step,
            missing_rows(pattern, own, mixed),
            warnings=_few_ulps_warnings(self.site, pattern.moving[few], away[few]),
        )


@dataclass(frozen=True, eq=False)
class ComplexProduct(Course[Answer]):
    """The Hessian of a J with one output, times v: gradients by the complex step at x + s v and x - s v.

    Parameters
    ----------
    site : Site
    v : (d,) ndarray
    h : (d,) ndarray
        Imaginary steps.
    shift : float
        The real step along v.
    along : DirectionAxes
            The direction v, for the check.
    check : ComplexStepCheck
        Check of the slopes along coordinates.
    """

    site: BasePoint
    v: Floats
    h: Floats
    shift: float
    along: Axes
    check: ComplexStepCheck

    @cached_property
    def _way(self) -> Floats:
        return np.where(self.site.lower == self.site.upper, 0.0, self.v)

    @cached_property
    def _bases(self) -> list[tuple[Floats, float]]:
        """Points along v where gradients are taken, and the weight of each.

        Coordinates that bounds keep from moving along v move along -v: their part of the product is a difference of its
        own.
        """
        site, w = self.site, self._way
        forth = np.where(w > 0, site.upper - site.x, site.x - site.lower)
        back = np.where(w > 0, site.x - site.lower, site.upper - site.x)
        need = np.abs(w) * self.shift
        both = (forth >= need) & (back >= need)
        parts = [both] if both.all() else [forth >= back, forth < back]
        found: list[tuple[Floats, float]] = []
        for part in parts:
            at = np.flatnonzero(part & (w != 0))
            if not len(at):
                continue
            room = (forth[at] / np.abs(w[at])).min(), (back[at] / np.abs(w[at])).min()
            values, _ = place(
                np.zeros(1), np.array([self.shift]), SCHEMES["central"], np.array([-room[1]]), np.array([room[0]])
            )
            rows = np.repeat(site.x[None], 2, axis=0)
            rows[:, at] = np.clip(site.x[at] + values[0][:, None] * w[at], site.lower[at], site.upper[at])
            t = values[0]
            check_offsets(values, lambda _: "direction v")
            if (t[0] > 0) == (t[1] > 0):
                c = coefficients(t) / t
                found += [(rows[0], c[0]), (rows[1], c[1]), (site.x, -c.sum())]
            else:
                found += [(rows[1], 1 / (t[1] - t[0])), (rows[0], -1 / (t[1] - t[0]))]
        return found

    def _course(self) -> MultiRound:
        """One request; a second one only where J at the check's point is not what the derivatives predict."""
        site, moving = self.site, self.site.moving
        bases = self._bases
        alone = Points(site.x, np.zeros(2, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(0))
        if not bases:
            wave = yield Request(alone, 0)
            return Answer(np.zeros(len(site.x)), wave.values[0], np.zeros(len(site.x)), np.zeros(0, dtype=np.int64))
        request = Request(join_points([alone, *(self._gradient(at) for at, _ in bases)]), 0)
        if not self.check.active:
            return self._product((yield request))
        curvature = CurvatureCheck(self.along, self.along.moving)
        whole, first = self.check.beside(request)
        bent = curvature.displaced(1.0)
        n = len(whole.points)
        points = join_points([whole.points, *(each.points for each in bent)])
        wave = yield replace(whole, points=points, optional=np.arange(len(request.points), len(points)))
        own, beside = head(wave, request), tail(wave, request)
        answer = self._product(own)
        derivative, missing, value = answer.derivative, answer.missing, answer.value
        slopes = self._slopes(own)
        middle = np.zeros(len(site.x))
        # The slopes at x itself, to second order: the mean of the slopes on both sides along v, or slopes taken at x.
        at_x = [k for k, (at, _) in enumerate(bases) if at is site.x]
        middle[moving] = slopes[at_x[0]] if at_x else slopes[:2].mean(axis=0)
        plain = Answer(np.nan_to_num(middle), value, answer.step, missing)
        told = yield from self.check.confirmed(plain, first, beside[: n - len(request.points)])
        texts = answer.warnings + told.warnings
        if not len(missing):
            product, size = float(self._way @ derivative), float(np.abs(self._way) @ np.abs(derivative))

            def quadratic(amounts: Floats) -> tuple[float, float]:
                return float(amounts[0] ** 2) * product, float(amounts[0] ** 2) * size

            texts += yield from curvature.confirmed(quadratic, bent, beside[n - len(request.points) :], value)
        return replace(answer, warnings=texts)

    def _slopes(self, own: Wave) -> Floats:
        """Slopes along the coordinates that move, at each base, (b, a)."""
        a = len(self.site.moving)
        return np.asarray(own.values[1:, 0].imag.reshape(len(self._bases), a) / self.h[self.site.moving])

    def _product(self, own: Wave) -> Answer:
        """The product, from the values at the complex points."""
        site, moving = self.site, self.site.moving
        check_imaginary_parts(own)
        weights = np.array([weight for _, weight in self._bases])
        derivative, step = np.zeros(len(site.x)), np.zeros(len(site.x))
        with np.errstate(invalid="ignore", over="ignore"):
            derivative[moving] = weights @ self._slopes(own)
        derivative[~np.isfinite(derivative)] = np.nan
        step[moving] = self.h[moving]
        missing = np.flatnonzero(np.isnan(derivative))
        return Answer(derivative, own.values[0].real, step, missing, warnings=self._doubts())

    def _doubts(self) -> tuple[str, ...]:
        """Warnings where the points along v are so near to x that rounding turns or shortens the way to them."""
        x, unit = self.site.x, np.spacing(np.abs(self.site.x))
        for at, _ in self._bases:
            away = np.abs(at - x)
            if at is not x and (away / unit).max() < _FEW_ULPS:
                moved = np.flatnonzero(away) if away.any() else np.flatnonzero(self._way)
                return _few_ulps_warnings(self.site, moved, away[moved])
        return ()

    def _gradient(self, at: Floats) -> Points:
        """Complex points around one of the bases, written against x."""
        site, moving = self.site, self.site.moving
        moved = np.flatnonzero(at != site.x)
        rows = []
        for k in moving.tolist():
            own = np.union1d(moved, [k])
            values = imaginary_step(at[own], np.where(own == k, self.h[k], 0.0))
            rows.append((own, values))
        indptr = np.cumsum([0, *(len(own) for own, _ in rows)], dtype=np.int64)
        return Points(
            site.x, indptr, np.concatenate([own for own, _ in rows]), np.concatenate([values for _, values in rows])
        )


@dataclass(frozen=True, eq=False)
class CurvatureCheck:
    """Tells whether second derivatives are right, by second differences of J's real values along one direction.

    Parameters
    ----------
    axes : Axes
    moving : ndarray of int
        The axes that are moved.
    """

    axes: Axes
    moving: Numbers

    def displaced(self, factor: float) -> list[Displacement]:
        """Points w, 2 w and 3 w from x, ``factor`` times as far as second differences take."""
        one = self.axes.displaced(self.moving, _SPAN * factor, half=True)
        # ``half`` leaves room for twice the displacement, and three times two thirds of it is exactly that.
        return [self.axes.scaled(one, share) for share in (2 / 3, 4 / 3, 2.0)]

    def confirmed(
        self,
        quadratic: Callable[[Floats], tuple[float, float]],
        first: Sequence[Displacement],
        values: Floats,
        value: Floats,
    ) -> Generator[Request, Wave, tuple[str, ...]]:
        """Warnings, where a second difference of J is not what the second derivatives predict.

        Parameters
        ----------
        quadratic : callable
            Amounts w along the axes -> (w H w, and the same sum with absolute values of all terms).
        first, values
            The displacements that were evaluated with the complex points, and J there.
        value : (1,) ndarray
            J(x).

        Raises
        ------
        EvaluationError
            If J loses imaginary parts: the second difference has the same wrong value at several distances.
        """
        if any(len(each.points) > 1 for each in first):
            return ()  # bounds split the displacement: no second difference
        off, allowed, _ = self._residual(quadratic, first, values, value)
        if not np.isfinite(off) or abs(off) <= allowed:
            return () if np.isfinite(off) else (_UNCHECKED,)
        every = [self.displaced(factor) for factor in _FACTORS]
        flat = [each for three in every for each in three]
        points = join_points([each.points for each in flat])
        wave = yield Request(points, None, outputs=1, optional=np.arange(len(points)), insist=True)
        seen = wave.values.real.reshape(len(every), 3, 1)
        found = [self._residual(quadratic, three, part, value) for three, part in zip(every, seen, strict=True)]
        scaled = np.array([part[0] / factor**2 for part, factor in zip(found, _FACTORS, strict=True)])
        rounding = np.array([part[2] / factor**2 for part, factor in zip(found, _FACTORS, strict=True)])
        reach = quadratic(first[0].amounts)[1]
        usable = np.isfinite(scaled) & (rounding < 0.1 * abs(off))
        small = usable & (np.abs(scaled) <= max(0.05 * abs(off), _ALLOWED * reach))
        if small.any():
            return ()  # they fit at this distance; the misfit elsewhere was noise or truncation
        pairs = usable[:-1] & usable[1:]
        with np.errstate(invalid="ignore"):
            alike = pairs & (np.abs(np.diff(scaled)) <= _ALIKE * np.abs(scaled[:-1]))
        if alike.any():
            raise EvaluationError(
                _LOST.format(seen=(off + quadratic(first[0].amounts)[0]), said=quadratic(first[0].amounts)[0])
            )
        return (_UNCONFIRMED,)

    @staticmethod
    def _residual(
        quadratic: Callable[[Floats], tuple[float, float]], three: Sequence[Displacement], values: Floats, value: Floats
    ) -> tuple[float, float, float]:
        """The misfit of a second difference, the allowed misfit, and the part of it that rounding explains."""
        seen, reach = quadratic(three[0].amounts)
        there = values[:, 0]
        rounding = ROUNDING * EPS * float(np.abs(np.append(there, value[0])).max())
        off = float(_CURVED @ there + 2 * value[0]) - seen
        return off, _ALLOWED * reach + 3 * rounding, 3 * rounding


_FEW_ULPS = 100.0
"""A displacement of fewer spacings of numbers near x leaves second derivatives fewer than about two digits."""


def _few_ulps_warnings(site: BasePoint, rows: Numbers, away: Floats) -> tuple[str, ...]:
    """Warnings for coordinates (a,) that are moved by so little, (a,), that rounding hides second derivatives."""
    if not len(rows):
        return ()
    text = (
        f"the bounds (or the step) leave so little room along {listed(site.label, rows)} (a displacement of "
        f"{away.min():.1g}) that second derivatives are mostly the rounding of x and of J's slopes. Widen the bounds, "
        "fix it by lower == upper, or give a larger step"
    )
    return (text,)


_LOST = (
    "complex-step: J loses imaginary parts: its second difference is {seen:.6g} by real values, and {said:.6g} by the "
    "complex step\n"
    "  why:   J takes abs, .real, .imag, conj or arctan2 of what depends on x, or casts it; or it bends over distances "
    "that are small against its arguments, and then needs scale= with their typical sizes\n"
    "  to do: let J compute with complex numbers throughout (x * x in place of abs(x) ** 2), or use another scheme "
    "(central)"
)
_UNCHECKED = (
    "complex-step: J has no value at the real points that were to check its second derivatives; compare them with "
    "scheme='central'"
)
_UNCONFIRMED = (
    "complex-step: real second differences of J do not confirm its second derivatives, and are too noisy, or too "
    "different from one distance to the next, to tell why; compare them with scheme='central', step='auto'"
)
