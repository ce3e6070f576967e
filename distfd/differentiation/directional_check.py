"""The directional check: compares a derivative with J at one or two points that move all coordinates at once.

With R = sum_i b_i (J(x_i) - J(x)) - (the derivative's prediction of this sum), b_i the weights of the check's points,

    s = abs(R) / amplification        the noise in J that would explain R
    rho = abs(R) gain / |dJ|_2        the derivative's relative error, in the norm of J's changes dJ along its steps

For forward differences and one point x + v, v_k = u_k h_k, these are s = abs(R) / sqrt(1 + sum u^2 + (1 - sum u)^2) and
rho = sqrt(2 d) s / |dJ|_2. Steps that are too large show in the same way as noise: R then contains the curvature that
the derivative neglects. The check's points change no bit of the derivative.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from distfd.core.records import Status
from distfd.differentiation.batched_methods import joined
from distfd.differentiation.check_points import Checkable
from distfd.differentiation.check_waves import only, optional_alone, own_part, part, with_optional
from distfd.differentiation.consistency import CONSISTENT, DOUBT, DOUBTFUL, UNKNOWN, Consistency
from distfd.differentiation.direction_space import GroupedJacobian
from distfd.differentiation.directional_verdict import Judge, has_failed, unchecked
from distfd.differentiation.doubtful_coordinates import CODES, Groups
from distfd.differentiation.gradient_check_points import beside_answer, closer_beside, farther_beside
from distfd.differentiation.method import Answer, Course, Request
from distfd.differentiation.small_components import may_be_chance, noise_of_small, small_warnings

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from numpy.typing import NDArray

    from distfd.core.points import Points
    from distfd.differentiation.base_point import BasePoint
    from distfd.differentiation.check_points import CheckPoints
    from distfd.differentiation.method import Method, MultiRound, Wave

    Floats = NDArray[np.float64]

_SHORTER = "over steps far shorter than the derivative's, J has another slope: it has waves or steps of its own"
_LONGER = "over steps far longer than the derivative's, J has another slope: it has waves or steps of its own"
_WHICH_SIZE = (
    "set a step, or `scale`, of the size that matters to you; `distfd check` (distfd.step_sweep) shows both slopes"
)
"""Cause and remedy where the derivative agrees with J over its own steps, and not over far shorter or longer ones."""


@dataclass(frozen=True, eq=False)
class _Seen:
    """A check, J at its points, the verdict, and the noise that these show, (m,)."""

    check: CheckPoints
    beside: Wave
    found: Consistency
    noise: Floats | None


@dataclass(frozen=True, eq=False)
class DirectionalCheck(Course[Answer]):
    """A derivative by any method, with a verdict on whether it agrees with J at further points.

    Parameters
    ----------
    method : Method
    site : BasePoint
    vector : bool
        Whether J may have several outputs.
    insist : bool
        Whether the check may cost a round of evaluations. If so, methods that find their steps as they go are checked
        too, also over far shorter and longer steps; a second draw is made where the first may agree by chance; up to
        three further points locate the coordinates of a doubtful gradient or Jacobian; and three points near x show
        J's noise beside second derivatives. If not, the check's points use slots that would be idle, or
        are left out.
    by_coordinate : bool
        Whether the derivative is a gradient or a Jacobian, along coordinates.
    finds_steps : bool
        Whether ``step="auto"`` supports this kind of derivative, so that it can be recommended.
    """

    method: Method[Answer]
    site: BasePoint
    vector: bool = False
    insist: bool = False
    by_coordinate: bool = True
    finds_steps: bool = True

    def _course(self) -> MultiRound:
        """The method's requests, with the check's points added to the one that counts, then its answer."""
        own: list[Wave] = []
        check: CheckPoints | None = None
        beside = close = main = None
        while isinstance(step := self.method.advance(own), Request):
            found = None
            if check is None and not len(step.optional) and isinstance(self.method, Checkable):
                found = self.method.check_points(own)
            if found is None:
                own.append((yield step))
                continue
            more = found.near.points if self.insist and found.near is not None else None
            extra = found.points if more is None else joined([found.points, more])
            wave = yield with_optional(step, extra, insist=self.insist)
            check, main = found, own_part(wave, step)
            n = len(step.points)
            beside = part(wave, n, n + len(found.points))
            close = None if more is None else part(wave, n + len(found.points), n + len(extra))
            own.append(main)
        judge = Judge(self.site, step, own, self.finds_steps)
        if check is None or beside is None:
            return (yield from self._afterwards(judge))
        if self.insist or (beside.status != Status.NOT_RUN).any():
            first = _Seen(check, beside, *judge.verdict(check, beside, main))
            seen = (yield from self._second(judge, first, main)) if self.insist else first
            noise = seen.noise
            if self.insist and check.near is None and noise is not None:
                noise = yield from noise_of_small(judge, check, noise, vector=self.vector)
            said = small_warnings(judge, check, seen.found, noise, close)
            return (yield from self._told(judge, seen, said))
        added = len(check.points) + (0 if check.near is None else len(check.near.points))
        return step if step.error is not None else replace(step, unchecked=added)

    def _second(self, judge: Judge, first: _Seen, main: Wave | None) -> Generator[Request, Wave, _Seen]:
        """The worse verdict of two draws, where the residual of the first may be small by chance; else the first's."""
        again = first.check.again
        if again is None or not may_be_chance(judge, first.check, first.found, first.noise):
            return first
        other = again()
        if other is None:
            return first
        beside = yield self._alone(other.points, judge.answer)
        found, noise = judge.verdict(other, beside, main)
        if found.error is None:
            return first
        worse = first if found.error <= (first.found.error or 0.0) else _Seen(other, beside, found, None)
        both = None if noise is None or first.noise is None else np.maximum(noise, first.noise)
        return replace(worse, noise=both)

    def _alone(self, points: Points, answer: Answer) -> Request:
        return optional_alone(points, vector=self.vector, outputs=len(answer.value))

    def _afterwards(self, judge: Judge) -> MultiRound:
        """The check of a derivative that chose its own steps, in a round of its own: over these steps and others.

        The answer without a check where the user wants none, or where none is possible.
        """
        answer = judge.answer
        if not self.insist or not self.by_coordinate or answer.error is None or len(answer.missing):
            return self._without(answer, judge.own)
        structure = self.method.structure if isinstance(self.method, GroupedJacobian) else None
        check = beside_answer(self.site, answer, vector=self.vector, structure=structure)
        if check is None:
            return self._without(answer, judge.own)
        closer = [] if structure is not None else closer_beside(self.site, answer, vector=self.vector)
        farther = None if structure is not None else farther_beside(self.site, answer, vector=self.vector)
        checks = [check, *closer, *([] if farther is None else [farther])]
        wave = yield self._alone(joined([each.points for each in checks]), answer)
        ends = np.cumsum([0, *(len(each.points) for each in checks)]).tolist()
        beside, *there = (part(wave, start, end) for start, end in itertools.pairwise(ends))
        seen = _Seen(check, beside, *judge.verdict(check, beside))
        if closer and seen.found.verdict == CONSISTENT:
            tried = [judge.error_by_pair(pair, near) for pair, near in zip(closer, there[: len(closer)], strict=True)]
            errors = np.array([error for error, _ in tried])
            if np.sqrt(np.mean(errors**2)) > DOUBT:
                worst = int(errors.argmax())
                found = replace(tried[worst][1], cause=_SHORTER, remedy=_WHICH_SIZE)
                seen = _Seen(closer[worst], there[worst], found, None)
        if farther is not None and seen.found.verdict == CONSISTENT:
            doubt = judge.by_longer_steps(farther, there[-1])
            if doubt is not None:
                seen = _Seen(farther, there[-1], replace(doubt, cause=_LONGER, remedy=_WHICH_SIZE), None)
        return (yield from self._told(judge, seen, ()))

    def _told(self, judge: Judge, seen: _Seen, said: tuple[str, ...]) -> MultiRound:
        """The answer with its verdict; of a doubt that a user asked about, further points tell the coordinates."""
        answer, found = judge.answer, seen.found
        if self.insist and found.verdict == DOUBTFUL and not found.coordinates:
            found = yield from self._located(answer, seen)
        if found.verdict == DOUBTFUL:
            said += (found.warning(self.site.label),)
        if self.insist and has_failed(seen.beside):
            said += (unchecked(found),)
        return replace(answer, consistency=found, warnings=answer.warnings + said)

    def _without(self, answer: Answer, own: Sequence[Wave]) -> Answer:
        """The answer without a check; a user who asked for one is told why there is none."""
        compared = answer.error is not None or len(answer.missing)  # by its bars, or there is nothing to compare
        if not self.insist or compared or all(len(wave.request.points) < 2 for wave in own):
            return answer
        cause = (
            "bounds, or the digits that J reads, leave no room for further points"
            if len(own) == 1
            else "the derivative takes too many points for one round of evaluations"
        )
        found, said = Consistency(UNKNOWN, cause=cause), f"the derivative could not be checked: {cause}"
        return replace(answer, consistency=found, warnings=(*answer.warnings, said))

    def _located(self, answer: Answer, seen: _Seen) -> Generator[Request, Wave, Consistency]:
        """The verdict with the doubtful coordinates, where up to three further points in one round locate them."""
        check, found = seen.check, seen.found
        if check.along is None or check.row is None:
            return found
        j, at = found.output or 0, np.flatnonzero(check.h)
        groups = Groups(np.array_split(at, min(len(at), len(CODES))))
        parts = groups.parts
        first = check.points.take(np.zeros(1, dtype=np.int64))
        wave = yield self._alone(joined([only(first, some) for some in parts]), answer)
        if (wave.status != Status.OK).any():
            return found
        slopes, baseline = check.row(answer, j) * check.along[0], float(answer.value[j].real)
        with np.errstate(over="ignore", invalid="ignore"):
            whole = float(seen.beside.values[0, j].real) - baseline - float(slopes.sum())
            rest = wave.values[:, j].real - baseline - np.array([slopes[some].sum() for some in parts])
        return replace(found, coordinates=groups.doubtful(whole, rest))
