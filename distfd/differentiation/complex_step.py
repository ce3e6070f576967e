"""The complex step: J'(x) ~ Im J(x + ih) / h, without subtraction (Squire & Trapp, SIAM Rev. 40, 1998).

A J that loses an imaginary part on its way (abs, .real, conj, arctan2, a cast) has a slope of 0 there, or one that is
too small, and no value at a complex point shows it. One further real point x + v does: J(x + v) - J(x) must be what the
slopes predict, but for rounding and truncation. Where it is not, real differences at several distances tell a wrong
slope from noise and curvature: for a smooth J with right slopes, the residual divided by the distance falls with the
distance.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from distfd.core.errors import EvaluationError, InputError
from distfd.core.points import join_points
from distfd.core.records import Status
from distfd.differentiation.method import Answer, Course, Request, Wave
from distfd.differentiation.real_differences import ROUNDING, residual
from distfd.differentiation.stencils import EPS

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from numpy.typing import NDArray

    from distfd.differentiation.method import Method, MultiRound
    from distfd.differentiation.real_differences import Axes, Displacement

    Floats = NDArray[np.float64]
    Numbers = NDArray[np.int64]

_TRUNCATION = 1e-5
"""Allowed misfit between the change of J over a step and the slopes' prediction, as a part of the sum of the absolute
terms. Truncation is 1e-8 of it for a J whose slope changes over a distance as large as x."""
_LEAST = 1e-6
"""A defect below this part of the sum of the absolute terms counts as none: real differences are not more accurate."""
_FACTORS = tuple(10.0**k for k in range(-4, 7))
"""Distances at which a residual is computed again, in steps."""
_DIGITS = 3.0
"""Rounding error of the second-order formula of two points, in rounding errors of one value."""
_SURE = 5.0
"""A defect is real if it is this many times its uncertainty."""
_RESOLVED = 0.05
"""If the defect is 0 within this part of the residual that raised the doubt, that residual was truncation or noise."""
_TINY = 1e-8
"""Factor for the complex step that is tried where slopes look wrong: truncation is below rounding there."""
_SAME = 1e-3
"""Relative difference below which two slopes count as the same."""
_TELLS = 0.1
"""Real differences can decide between two slopes if their rounding error is below this part of the gap between the
two."""
_LADDER = 15
"""Number of pairs of distances that are tried along one axis, as the last resort."""
_NAMED = 0.1
"""An axis is named in the message if its residual is this part of the largest one or more."""
_AT_ONCE = 32
"""Number of axes, or groups of axes, that are tested one by one in a round."""


def imaginary_step(x: NDArray[np.float64], h: NDArray[np.float64]) -> NDArray[np.complex128]:
    """The numbers x + ih. Computed without a sum, which would lose the sign of a zero and so change the point's key."""
    moved = np.empty(np.broadcast_shapes(x.shape, h.shape), dtype=np.complex128)
    moved.real, moved.imag = x, h
    return moved


def check_imaginary_parts(wave: Wave) -> None:
    """Refuse a J that lost all imaginary parts: it casts to float, and every derivative would be exactly 0.

    One coordinate on which J does not depend has no imaginary part either, so the rule is over all complex points and
    all outputs.

    Raises
    ------
    EvaluationError
        If the wave has complex points with values, and all their imaginary parts are 0.
    """
    seen = wave.request.points.imaginary & (wave.status == Status.OK)
    if seen.any() and not wave.values[seen].imag.any():
        raise EvaluationError(
            "complex-step: J gave no imaginary part at any of the complex points\n"
            "  why:   it casts x or its result to a real type (float, abs, .real); or every derivative is exactly 0, "
            "which cannot be told from that\n"
            "  to do: let J take complex x and return what it computes with it, or use another scheme (central)"
        )


@dataclass(frozen=True, eq=False)
class CheckedComplexStep(Course[Answer]):
    """A derivative by complex points, checked by real ones; as `Method`.

    Parameters
    ----------
    method : Method
        A method of one request. Its slopes are linear in the imaginary parts of the values.
    check : ComplexStepCheck
    """

    method: Method[Answer]
    check: ComplexStepCheck

    def _course(self) -> MultiRound:
        """The method's request plus a real point; further requests if J there is not what the slopes predict."""
        request = self.method.advance(())
        assert isinstance(request, Request), "it begins with a request"
        if not self.check.active or not request.points.imaginary.any():
            return _answered(self.method, (yield request))
        whole, first = self.check.beside(request)
        wave = yield whole
        own = head(wave, request)
        answer = _answered(self.method, own)
        return (yield from self.check.confirmed(answer, first, tail(wave, request)))


@dataclass(frozen=True, eq=False)
class ComplexStepCheck:
    """Tells whether slopes by the complex step are those of J.

    Parameters
    ----------
    axes : Axes
        The axes that the slopes are along.
    vector : bool
        Whether J may have several outputs.
    by_axis : bool
        Whether the derivative has a row for each axis, (n, m) or (n,), and not (m, n).
    single : bool
        Whether the derivative is the slopes of one axis, (m,).
    active : bool
        Whether slopes are checked at all.
    """

    axes: Axes
    vector: bool
    by_axis: bool = False
    single: bool = False
    active: bool = True

    def beside(self, request: Request) -> tuple[Request, Displacement]:
        """The request with the check's point added as an optional one."""
        first = self.axes.displaced(self.axes.moving)
        n = len(request.points)
        points = join_points([request.points, first.points])
        return replace(request, points=points, optional=np.arange(n, len(points)), insist=True), first

    def confirmed(self, answer: Answer, first: Displacement, values: Floats) -> MultiRound:
        """The answer, once values of J at real points have confirmed it; with a warning where they cannot decide.

        Parameters
        ----------
        first, values
            The displacement that was evaluated with the complex points, and J there, NaN where it has no value.

        Raises
        ------
        EvaluationError
            If J loses imaginary parts; the message names the axes along which it does.
        """
        slopes, baseline = self.slopes(answer), answer.value
        axes = np.setdiff1d(self.axes.moving, answer.missing)
        if not len(axes):
            return answer
        if len(axes) < len(self.axes.moving):
            first, values = yield from self._change(axes, 1.0, baseline)
        looks = [(axes, 1.0, first, values)]
        reach = np.asarray(abs(slopes).sum(axis=1)).ravel()
        still = axes[reach[axes] == 0]
        if 0 < len(still) < len(axes):
            # The changes along axes with slope 0 would be hidden by those of other axes, so these axes are moved alone,
            # and far.
            for factor in (_FACTORS[-1], 1.0):
                far = yield from self._change(still, factor, baseline)
                if np.isfinite(far[1]).any():
                    break
            looks.append((still, factor, *far))
        for these, factor, displacement, seen in looks:
            if not np.isfinite(seen).any():
                return replace(answer, warnings=(*answer.warnings, _UNCHECKED))
            doubt = self._doubt(slopes, displacement, seen, baseline) / factor
            if doubt.any():
                text = yield from self._told(answer, these, doubt, named=these is still)
                answer = replace(answer, warnings=(*answer.warnings, text) if text else answer.warnings)
        return answer

    def _told(self, answer: Answer, axes: Numbers, doubt: Floats, *, named: bool) -> Generator[Request, Wave, str]:
        """Resolves a doubt about the slopes along these axes: an empty text, a warning, or an error that is raised."""
        found = yield from self._defect(axes, self.slopes(answer), answer.value, doubt)
        wrong = (doubt > 0) & (found.size > np.maximum(_SURE * found.unsure, _LEAST * found.reach))
        if wrong.any():
            return (yield from self._explained(answer, axes, wrong, found))
        if ((doubt > 0) & (found.unsure > found.enough)).any():
            few = [self.axes.label(k) for k in axes[:_NAMES].tolist()] if named else []
            return _UNCONFIRMED.format(axes=f" along {', '.join(few)}" if few else "")
        return ""

    def fits(self, answer: Answer, displacement: Displacement, values: Floats) -> bool:
        """Whether J at these real points is what the answer predicts, by a first look without further evaluations."""
        return not self._doubt(self.slopes(answer), displacement, values, answer.value).any()

    def slopes(self, answer: Answer) -> Any:
        """The answer's slopes, a row for each axis, (n, m); 0 where a slope is missing, as no point moves that axis."""
        found = answer.derivative
        if self.single:
            found = found[None, :]
        elif found.ndim == 1:
            found = found[:, None]
        elif not self.by_axis:
            found = found.T
        if isinstance(found, np.ndarray):
            return np.nan_to_num(found, nan=0.0)
        found = found.tocsr(copy=True)
        found.data = np.nan_to_num(found.data, nan=0.0)
        return found

    def _request(self, displacements: Sequence[Displacement], outputs: int) -> Request:
        points = join_points([each.points for each in displacements])
        every = np.arange(len(points))
        return Request(points, None, self.vector, outputs=outputs, optional=every, insist=True)

    def _doubt(self, slopes: Any, displacement: Displacement, values: Floats, baseline: Floats) -> Floats:
        """Change of J minus the slopes' prediction, (m,); 0 where rounding and truncation explain it."""
        found = residual(self.axes, slopes, displacement, values, baseline)
        size = np.abs(np.nan_to_num(found.size))
        return np.where(size > _TRUNCATION * found.reach + found.rounding, size, 0.0)

    def _change(
        self, axes: Numbers, factor: float, baseline: Floats
    ) -> Generator[Request, Wave, tuple[Displacement, Floats]]:
        displacement = self.axes.displaced(axes, factor)
        wave = yield self._request([displacement], len(baseline))
        return displacement, wave.values.real

    def _defect(self, axes: Numbers, slopes: Any, baseline: Floats, doubt: Floats) -> Generator[Request, Wave, _Defect]:
        """Measures by how much the slopes along these axes are wrong.

        At each distance, the residuals R at w and 2 w give a formula of second order, (4 R(w) - R(2w)) / 2. Where its
        value is the same at two neighbouring distances, that value is the defect, as noise and truncation change with
        the distance. The nearest such two distances count: far from x, a J that levels off has a constant but different
        slope too.
        """
        near = [self.axes.displaced(axes, factor, half=True) for factor in _FACTORS]
        far = [self.axes.doubled(each) for each in near]
        every = [each for pair in zip(near, far, strict=True) for each in pair]
        wave = yield self._request(every, len(baseline))
        ends = np.cumsum([0, *(len(each.points) for each in every)])
        found = [
            residual(self.axes, slopes, each, wave.values[start:end].real, baseline)
            for each, start, end in zip(every, ends[:-1], ends[1:], strict=True)
        ]
        defects, noise = np.zeros((2, len(_FACTORS), len(baseline)))
        for k, (one, two, factor) in enumerate(zip(found[::2], found[1::2], _FACTORS, strict=True)):
            defects[k] = (4 * one.size - two.size) / 2 / factor
            rounding = np.maximum(one.rounding, two.rounding) * _DIGITS
            noise[k] = (rounding + self.axes.slack * one.reach / factor) / factor
            # J did not change at either point: it has too few digits to say anything here.
            noise[k, one.still & two.still] = np.inf
        with np.errstate(invalid="ignore"):
            pairs = np.abs(np.diff(defects, axis=0)) + noise[:-1]
        pairs, defects = np.where(np.isfinite(pairs), pairs, np.inf), np.nan_to_num(defects)
        reach = found[2 * _FACTORS.index(1.0)].reach
        enough = np.maximum(_LEAST * reach, _RESOLVED * doubt)
        told = pairs <= np.maximum(enough, np.abs(defects[:-1]) / _SURE)
        best = np.where(told.any(axis=0), told.argmax(axis=0), pairs.argmin(axis=0))
        # Go outwards from that distance for as long as the value stays the same: noise falls with the distance.
        column, same = np.arange(len(baseline)), np.ones(len(baseline), dtype=bool)
        nearest = best.copy()
        for k in range(1, len(pairs)):
            apart = np.abs(defects[k] - defects[nearest, column])
            same &= (k <= nearest) | (apart <= pairs[nearest, column])
            best = np.where((k > best) & same & (pairs[k] < pairs[best, column]), k, best)
        size, unsure = np.abs(defects[best, column]), pairs[best, column]
        agrees = np.asarray(((np.abs(defects[:-1]) <= enough) & (pairs <= enough)).any(axis=0))
        return _Defect(size, unsure, reach, enough, np.array(_FACTORS)[best], agrees)

    def _explained(
        self, answer: Answer, axes: Numbers, wrong: NDArray[np.bool_], found: _Defect
    ) -> Generator[Request, Wave, str]:
        """Finds the axes whose slope is wrong, and why: a warning if the step is too large for J, or no text.

        Raises
        ------
        EvaluationError
            If a smaller step gives the same wrong slope: imaginary parts are lost.
        InputError
            If the slope of a coordinate moved alone differs from that of its group: the sparsity lacks an entry.
        """
        slopes, baseline = self.slopes(answer), answer.value
        worst = yield from self._located(answer, axes, wrong, found)
        k, j, real = worst.axis, worst.output, worst.real
        unreal = float(np.asarray(slopes[[k], [j]]).ravel()[0])
        if worst.still and unreal:
            # J did not change: it has too few digits for such small moves. Larger moves decide.
            return "" if found.agrees[j] else _UNCONFIRMED.format(axes=f" along {self.axes.label(k)}")
        own = abs(float(answer.step[k])) or float(self.axes.size[k])
        points = join_points([self.axes.unreal(k, own), self.axes.unreal(k, own * _TINY)])
        every = np.arange(2)
        wave = yield Request(points, None, self.vector, outputs=len(baseline), optional=every, insist=True)
        alone, smaller = wave.values[:, j].imag / (own, own * _TINY)
        gap = max(abs(smaller - real), abs(smaller - unreal))
        confirmed = yield from self._confirms(k, j, float(smaller), float(gap), baseline)
        names = ", ".join(self.axes.label(n) for n in worst.along[:_NAMES])
        names += f" and {len(worst.along) - _NAMES} more" if worst.along[_NAMES:] else ""
        label = self.axes.label(k)
        if confirmed and abs(smaller - unreal) <= _LEAST * abs(smaller):
            return ""
        if confirmed and abs(smaller - alone) > _LEAST * abs(smaller):
            return _TOO_LARGE.format(axes=names, axis=label, slope=unreal, smaller=smaller)
        if confirmed:
            raise InputError(
                f"sparsity: {self.axes.output(j, len(baseline))} depends on {names}, "
                "but the structure lacks some of these entries: the slope along "
                f"{label} is {alone:.6g} when it is moved alone, and {unreal:.6g} with the structure's groups. Add the "
                "entries, or give sparsity='probe'"
            )
        output = f" of {self.axes.output(j, len(baseline))}" if len(baseline) > 1 else ""
        why = f"the slope{output} along {label} is {unreal:.6g} by the complex step and {real:.6g} by real differences"
        raise EvaluationError(_LOST.format(axes=f" along {names}", why=why), missing=worst.along)

    def _located(
        self, answer: Answer, axes: Numbers, wrong: NDArray[np.bool_], found: _Defect
    ) -> Generator[Request, Wave, _WrongSlope]:
        """Finds the axes whose slope is wrong, by displacements along ever fewer of them.

        Raises
        ------
        EvaluationError
            If no part of the axes shows what all of them together do.
        """
        slopes, baseline = self.slopes(answer), answer.value
        factor = float(found.factor[np.where(wrong, found.size, 0.0).argmax()])
        groups, named = [axes], np.zeros(0, dtype=np.int64)
        while not len(named):
            groups = [part for group in groups for part in np.array_split(group, min(len(group), _AT_ONCE))]
            moved = [self.axes.displaced(group, factor, half=True) for group in groups]
            moved += [self.axes.doubled(each) for each in moved]
            wave = yield self._request(moved, len(baseline))
            ends = np.cumsum([0, *(len(each.points) for each in moved)])
            parts = [wave.values[start:end].real for start, end in pairwise(ends.tolist())]
            n = len(groups)
            size = [residual(self.axes, slopes, *one, baseline).size for one in zip(moved, parts, strict=True)]
            sizes = np.array([np.abs(np.nan_to_num(4 * size[g] - size[n + g])) / 2 * wrong for g in range(n)])
            worst = sizes.max(axis=1)
            if not worst.any():
                raise EvaluationError(
                    _LOST.format(
                        axes="", why="at real points J changes by other amounts than these derivatives predict"
                    )
                )
            if len(groups[int(worst.argmax())]) == 1:
                named = np.flatnonzero((worst > _NAMED * worst.max()) & [len(group) == 1 for group in groups])
            groups = groups if len(named) else [groups[int(worst.argmax())]]
        k, j = int(groups[g := int(worst.argmax())][0]), int(sizes[g].argmax())
        changes = [moved[i].change(parts[i], baseline)[j] for i in (g, n + g)]
        return _WrongSlope(
            axis=k,
            output=j,
            along=[int(groups[n][0]) for n in named.tolist()],
            real=(4 * changes[0] - changes[1]) / 2 / moved[g].amounts[k],
            still=not any(changes),
        )

    def _confirms(
        self, axis: int, output: int, slope: float, gap: float, baseline: Floats
    ) -> Generator[Request, Wave, bool]:
        """Whether, at some distance, real differences confirm ``slope`` and could see an error of ``gap``."""
        only = np.array([axis])
        factors = np.geomspace(self.axes.nearest(axis), _FACTORS[-1], 2 * _LADDER)
        near = [self.axes.displaced(only, factor, half=True) for factor in factors.tolist()]
        every = [each for one in near for each in (one, self.axes.doubled(one))]
        wave = yield self._request(every, len(baseline))
        ends = np.cumsum([0, *(len(each.points) for each in every)])
        parts = [wave.values[start:end].real for start, end in pairwise(ends.tolist())]
        changes = np.array([one.change(part, baseline)[output] for one, part in zip(every, parts, strict=True)])
        amounts = np.array([one.amounts[axis] for one in near])
        largest = max(abs(float(baseline[output])), float(np.nanmax(np.abs(wave.values[:, output].real), initial=0.0)))
        with np.errstate(invalid="ignore", divide="ignore"):
            real = (4 * changes[::2] - changes[1::2]) / 2 / amounts
            floor = _DIGITS * ROUNDING * EPS * largest / np.abs(amounts) + self.axes.slack / factors * abs(slope)
            tells = floor < _TELLS * gap
            return bool((tells & (np.abs(real - slope) <= _SAME * abs(slope) + floor)).any())


class _WrongSlope(NamedTuple):
    """The axis whose slope is most wrong, and others that are as wrong.

    Attributes
    ----------
    axis, output : int
        The axis, and the output in which it shows most.
    along : list of int
        All axes whose slopes are wrong by about as much.
    real : float
        The slope by real differences.
    still : bool
        Whether J did not change at all at these points.
    """

    axis: int
    output: int
    along: list[int]
    real: float
    still: bool


@dataclass(frozen=True, eq=False)
class _Defect:
    """By how much slopes are wrong, in changes of J over one step, for each output.

    Attributes
    ----------
    size, unsure : (m,) ndarrays
        Absolute defect, and its uncertainty.
    reach : (m,) ndarray
        Sum of the absolute terms that make the predicted change.
    enough : (m,) ndarray
        The accuracy that is needed to say that there is no defect.
    factor : (m,) ndarray
        The distance, in steps, at which the defect was measured.
    agrees : (m,) ndarray of bool
        Whether the defect is 0 at some distance.
    """

    size: Floats
    unsure: Floats
    reach: Floats
    enough: Floats
    factor: Floats
    agrees: NDArray[np.bool_]


_NAMES = 5
"""Number of axes that an error names; it gives the number of the others."""
_LOST = (
    "complex-step: J loses imaginary parts{axes}\n"
    "  why:   {why}: J takes abs, .real, .imag, conj or arctan2 of what depends on it, or casts it\n"
    "  to do: let J compute with complex numbers throughout (x * x in place of abs(x) ** 2), or use another scheme "
    "(central)"
)
_UNCHECKED = (
    "complex-step: J has no value at the real point that was to check it, so a slope that J loses with an imaginary "
    "part would not be seen; compare it with scheme='central'"
)
_TOO_LARGE = (
    "complex-step: the step is too large for J along {axes}: along {axis} the slope is {slope:.6g}, and {smaller:.6g} "
    "with a step 1e8 times smaller, of which the complex step loses no digits; give step=distfd.AbsoluteStep(1e-30), "
    "or scale"
)
_UNCONFIRMED = (
    "complex-step: real differences of J do not confirm the derivative{axes}, and are too noisy, or too different from "
    "one distance to the next, to tell why; compare it with scheme='central', step='auto'"
)


def _answered(method: Method[Answer], wave: Wave) -> Answer:
    answer = method.advance([wave])
    assert isinstance(answer, Answer), "of one request"
    return answer


def head(wave: Wave, request: Request) -> Wave:
    """The wave of a request without the points that were added behind its own."""
    n = len(request.points)
    failures = {k: failure for k, failure in wave.failures.items() if k < n}
    return Wave(request, wave.values[:n], wave.status[:n], failures)


def tail(wave: Wave, request: Request) -> Floats:
    """J at the points that were added behind those of a request, (n, m); NaN where it has no value."""
    return np.asarray(wave.values[len(request.points) :].real)
