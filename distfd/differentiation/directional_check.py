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
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core.points import Points
from distfd.core.records import Status
from distfd.differentiation.batched_methods import joined
from distfd.differentiation.check_displacements import SECOND, moved
from distfd.differentiation.check_points import Checkable
from distfd.differentiation.consistency import CONSISTENT, DOUBT, DOUBTFUL, UNKNOWN, Consistency
from distfd.differentiation.direction_space import GroupedJacobian
from distfd.differentiation.doubt_causes import Evidence, likely_cause
from distfd.differentiation.doubtful_coordinates import CODES, Groups
from distfd.differentiation.gradient_check_points import beside_answer, closer_beside
from distfd.differentiation.hidden_components import NearNoise, hidden_coordinates, hidden_warnings, may_hide
from distfd.differentiation.method import Request, Wave, follow
from distfd.differentiation.value_precision import step_bits, unit_roundoff, wave_bits

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from numpy.typing import NDArray

    from distfd.differentiation.base_point import BasePoint
    from distfd.differentiation.check_points import CheckPoints
    from distfd.differentiation.hidden_components import Entries
    from distfd.differentiation.method import Answer, Method, MultiRound

    Floats = NDArray[np.float64]

_BARS = 2.0
"""A derivative with error bars is doubtful if the residual is more than this many times what the bars explain."""
_NOISE = 2.5
"""Number of standard deviations of a measured noise that a residual may have."""
_LOOKS = 3
"""Number of times, at most, that components which seem small are checked by themselves, each time fewer of them."""
_BENT = 1.8
"""An outlier at one of two points on both sides of x makes a second difference of twice what it adds to the slope's."""
_SHORTER = "over steps far shorter than the derivative's, J has another slope: it has waves or steps of its own"
_WHICH_SIZE = (
    "set a step, or `scale`, of the size that matters to you; `distfd check` (distfd.step_sweep) shows both slopes"
)
"""Cause and remedy where the derivative agrees with J over its own steps, and does not over much shorter ones."""


@dataclass(frozen=True, eq=False)
class DirectionalCheck:
    """A derivative by any method, with a verdict on whether it agrees with J at further points.

    Parameters
    ----------
    method : Method
    site : BasePoint
    vector : bool
        Whether J may have several outputs.
    insist : bool
        Whether the check may cost a round of evaluations. If so, methods that find their steps as they go are checked
        too, up to three further points locate the coordinates of a doubtful gradient or Jacobian, and three points
        near x show J's noise beside second derivatives. If not, the check's points use slots that would be idle, or
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

    def advance(self, waves: Sequence[Wave]) -> Request | Answer:
        """The method's requests, with the check's points added to the one that counts, then its answer."""
        return follow(self._course(), waves)

    def _course(self) -> MultiRound:
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
            wave = yield _with(step, extra, insist=self.insist)
            check, main = found, _first(wave, step)
            n = len(step.points)
            beside = _rest(wave, n, n + len(found.points))
            close = None if more is None else _rest(wave, n + len(found.points), n + len(extra))
            own.append(main)
        answer = step
        if check is None or beside is None:
            return (yield from self._afterwards(answer, own))
        if self.insist or (beside.status != Status.NOT_RUN).any():
            consistency, noise = self._judged(answer, check, main, beside, own)
            if self.insist and check.near is None and noise is not None:
                noise = yield from self._noise_of_small(answer, check, noise)
            said = self._said(answer, check, consistency, noise, _near_noise(answer, check, close, own))
            return (yield from self._told(answer, check, beside, consistency, said))
        added = len(check.points) + (0 if check.near is None else len(check.near.points))
        return answer if answer.error is not None else replace(answer, unchecked=added)

    def _afterwards(self, answer: Answer, own: Sequence[Wave]) -> MultiRound:
        """The check of a derivative that chose its own steps, in a round of its own: over these and much shorter ones.

        The answer without a check where the user wants none, or where none is possible.
        """
        if not self.insist or not self.by_coordinate or answer.error is None or len(answer.missing):
            return self._without(answer, own)
        structure = self.method.structure if isinstance(self.method, GroupedJacobian) else None
        check = beside_answer(self.site, answer, vector=self.vector, structure=structure)
        if check is None:
            return self._without(answer, own)
        closer = [] if structure is not None else closer_beside(self.site, answer, vector=self.vector)
        wave = yield _alone(joined([check.points, *(pair.points for pair in closer)]), self.vector, len(answer.value))
        ends = np.cumsum([len(check.points), *(len(pair.points) for pair in closer)]).tolist()
        beside = _rest(wave, 0, ends[0])
        consistency, _ = self._judged(answer, check, None, beside, own)
        if closer and consistency.verdict == CONSISTENT:
            near = [_rest(wave, start, end) for start, end in itertools.pairwise(ends)]
            there = [self._judged(answer, pair, None, seen, own)[0] for pair, seen in zip(closer, near, strict=True)]
            errors = np.array(
                [
                    (found.error or 0.0) * (not _is_outlier(answer, pair, seen, found))
                    for found, pair, seen in zip(there, closer, near, strict=True)
                ]
            )
            if np.sqrt(np.mean(errors**2)) > DOUBT:
                worst = int(errors.argmax())
                check, beside = closer[worst], near[worst]
                consistency = replace(there[worst], cause=_SHORTER, remedy=_WHICH_SIZE)
        return (yield from self._told(answer, check, beside, consistency, ()))

    def _told(
        self, answer: Answer, check: CheckPoints, beside: Wave, consistency: Consistency, said: tuple[str, ...]
    ) -> MultiRound:
        """The answer with its verdict; of a doubt that a user asked about, further points tell the coordinates."""
        if self.insist and consistency.verdict == DOUBTFUL and not consistency.coordinates:
            consistency = yield from self._located(answer, check, beside, consistency)
        if consistency.verdict == DOUBTFUL:
            said += (consistency.warning(self.site.label),)
        if self.insist and _failed(beside):
            said += (_unchecked(consistency),)
        return replace(answer, consistency=consistency, warnings=answer.warnings + said)

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

    def _said(
        self, answer: Answer, check: CheckPoints, consistency: Consistency, noise: Floats | None, near: NearNoise | None
    ) -> tuple[str, ...]:
        """Warnings of components that are small beside the noise; none where the whole derivative is in doubt."""
        if noise is None or check.entries is None or answer.error is not None:
            return ()
        if near is None and not may_hide(consistency.error, len(check.h)):
            return ()  # return before arrays as large as a Jacobian are allocated
        return hidden_warnings(check.entries(answer), noise, self.site, finds_steps=self.finds_steps, near=near)

    def _noise_of_small(self, answer: Answer, check: CheckPoints, noise: Floats) -> Generator[Request, Wave, Floats]:
        """The noise, (m,), in the components that seem small beside it, by two such checks along these alone.

        The check's residual contains J's curvature along all coordinates, and one parameter far smaller than its step
        makes that large. It says nothing about the other components, which are small beside the change of that one.
        """
        if check.entries is None or check.along is None or answer.error is not None or len(answer.missing):
            return noise
        entries, before = check.entries(answer), np.flatnonzero(check.h)
        for _ in range(_LOOKS):  # each is a round of evaluations
            small = hidden_coordinates(entries, noise)
            if not 0 < len(small) < len(before):
                break
            along = np.zeros(len(check.h))
            along[small] = check.along[0, small]
            same = joined([_only(check.points.take(np.array([k])), small) for k in range(len(check.points))])
            other = moved(self.site, -along / 2, pair=len(same) > 1)  # one residual alone may be small by chance
            if other is None:
                break
            wave = yield _alone(joined([same, other.points]), self.vector, len(answer.value))
            if (wave.status != Status.OK).any():
                break
            along[small] = (check.weights @ check.along)[small]
            rises = wave.values.real - answer.value.real
            seen = [
                _noise_along(answer, entries, *of)
                for of in ((rises[: len(same)], check.weights, along), (rises[len(same) :], other.weights, other.reach))
            ]
            noise = np.fmin(noise, np.maximum(*seen))
            before = small
        return noise

    def _judged(
        self, answer: Answer, check: CheckPoints, main: Wave | None, beside: Wave, own: Sequence[Wave]
    ) -> tuple[Consistency, Floats | None]:
        """The verdict by the values at the check's points, and the noise that they show in each output, (m,)."""
        if why := _no_values(answer, beside):
            return Consistency(UNKNOWN, cause=why), None
        baseline, values = np.asarray(answer.value.real, dtype=np.float64), beside.values.real
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            predicted, changes = check.predicted(answer), check.changes(answer)
            residual = np.abs(check.weights @ (values - baseline) - predicted)
            largest = np.maximum(np.abs(baseline), np.abs(values).max(axis=0))
            rounding = check.amplification * _roundoff((*own, beside)) * largest
            explained, knows = self._explained(answer, check, main, len(baseline))
            excess = (
                np.where(residual > explained, residual, 0.0)
                if answer.error is not None
                else np.maximum(residual - explained, 0.0)
            )
            error = np.where(excess == 0, 0.0, excess * check.gain / changes)
        if not np.isfinite(residual).all():
            return Consistency(UNKNOWN, cause="the change of J is too large for floating point"), None
        still = np.all(values == baseline) and not np.any(predicted) and not np.any(changes)
        if still and answer.warnings:  # the warnings say that J does not move: there is nothing to compare
            return Consistency(UNKNOWN, cause="J did not move at any point, so there is nothing to compare"), None
        j = int(np.argmax(error))
        found = Consistency(
            verdict=DOUBTFUL if error[j] > DOUBT else CONSISTENT,
            error=float(error[j]),
            residual=float(residual[j]),
            change=float(changes[j]),
            rounding=float(rounding[j]),
            truncation=float(explained[j]) if knows else None,
            noise=float(residual[j] / np.broadcast_to(check.amplification, residual.shape)[j]),
            output=j if len(baseline) > 1 else None,
            output_label=self.site.output(j, len(baseline)) if len(baseline) > 1 else "",
        )
        if found.verdict == CONSISTENT:
            return found, excess / check.amplification
        seen = [beside.values[:, j].real, *(wave.values[:, j].real for wave in own if wave.values.shape[1] > j)]
        own_steps = answer.axis == "coordinate" and len(answer.step) == len(check.h)
        evidence = Evidence(
            found=found,
            site=self.site,
            h=np.abs(answer.step) if own_steps else check.h,
            values=np.concatenate(seen),
            sparse=not isinstance(answer.derivative, np.ndarray),
            entries=bool(changes[j] > 0),
            finds_steps=self.finds_steps and answer.error is None,
            # For one-sided differences of first order, the check has one point.
            here=float(baseline[j].real) if own_steps and len(check.points) == 1 else None,
        )
        cause, remedy = likely_cause(evidence)
        alone = np.flatnonzero(check.h)
        where = (int(alone[0]),) if len(alone) == 1 and check.row is not None else ()
        return replace(found, cause=cause, remedy=remedy, coordinates=where), None

    def _explained(self, answer: Answer, check: CheckPoints, main: Wave | None, m: int) -> tuple[Floats, bool]:
        """The part of the residual that truncation and error bars explain, (m,), and whether that part is known."""
        explained, knows = np.zeros(m), False
        if check.own is not None and main is not None:
            explained, knows = explained + np.nan_to_num(check.own(main)), True
        if answer.error is not None and check.along is not None:
            reach = np.abs(check.weights @ check.along)
            bars = np.sqrt(_squares(answer.error) @ reach**2)
            level = (answer.noise or 0.0) if check.noise is None else check.noise
            noise = _NOISE * level * np.sqrt((check.weights**2).sum())
            explained, knows = explained + _BARS * (bars + noise), True
        return explained, knows

    def _located(
        self, answer: Answer, check: CheckPoints, beside: Wave, found: Consistency
    ) -> Generator[Request, Wave, Consistency]:
        """The verdict with the doubtful coordinates, where up to three further points in one round locate them."""
        if check.along is None or check.row is None:
            return found
        j, at = found.output or 0, np.flatnonzero(check.h)
        groups = Groups(np.array_split(at, min(len(at), len(CODES))))
        parts = groups.parts
        first = check.points.take(np.zeros(1, dtype=np.int64))
        wave = yield _alone(joined([_only(first, part) for part in parts]), self.vector, len(answer.value))
        if (wave.status != Status.OK).any():
            return found
        slopes, baseline = check.row(answer, j) * check.along[0], float(answer.value[j].real)
        with np.errstate(over="ignore", invalid="ignore"):
            whole = float(beside.values[0, j].real) - baseline - float(slopes.sum())
            rest = wave.values[:, j].real - baseline - np.array([slopes[part].sum() for part in parts])
        return replace(found, coordinates=groups.doubtful(whole, rest))


def _squares(error: Any) -> Any:
    """Squares of error bars, 0 where there is none: (m, d), sparse where the derivative is."""
    if isinstance(error, np.ndarray):
        return np.nan_to_num(np.atleast_2d(error)) ** 2
    found = error.copy()
    found.data = np.nan_to_num(found.data) ** 2
    return found


def _with(request: Request, points: Points, *, insist: bool) -> Request:
    """The request with further points behind its own, as optional ones."""
    n = len(request.points)
    return replace(
        request,
        points=joined([request.points, points]),
        optional=np.arange(n, n + len(points)),
        insist=insist,
    )


def _alone(points: Points, vector: bool, outputs: int) -> Request:
    """A request for optional points only."""
    return Request(points, None, vector, outputs=outputs, optional=np.arange(len(points)), insist=True)


def _first(wave: Wave, request: Request) -> Wave:
    """The wave of a request without the points that were added behind its own."""
    n = len(request.points)
    failures = {k: failure for k, failure in wave.failures.items() if k < n}
    bits = None if wave.bits is None else wave.bits[:n]
    return Wave(request, wave.values[:n], wave.status[:n], failures, bits)


def _rest(wave: Wave, start: int, end: int) -> Wave:
    """The part of a wave between two numbers of points, behind those of the derivative."""
    points = wave.request.points.take(np.arange(start, end))
    failures = {k - start: failure for k, failure in wave.failures.items() if start <= k < end}
    bits = None if wave.bits is None else wave.bits[start:end]
    return Wave(Request(points), wave.values[start:end], wave.status[start:end], failures, bits)


def _is_outlier(answer: Answer, pair: CheckPoints, beside: Wave, found: Consistency) -> bool:
    """Whether J leaves a straight line through a pair of points by more than the slope explains: one value is off."""
    j = found.output or 0
    bend = SECOND[pair.weights[0] == -pair.weights[1]] @ (beside.values[:, j].real - float(answer.value[j].real))
    return bool(abs(bend) > _BENT * (found.residual or 0.0))


def _noise_along(answer: Answer, entries: Entries, rises: Floats, weights: Floats, reach: Floats) -> Floats:
    """The noise in J, (m,), that makes the difference between its changes (q, m) and what the derivative says of them.

    The points of the derivative's stencils have noise of their own each; what J(x) adds is left out.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        residual = np.abs(weights @ rises - answer.derivative @ reach)
        own = 0.5 * (entries.unit * reach[entries.coordinates[:, 0]]) ** 2
        spread = np.bincount(entries.output, weights=own, minlength=rises.shape[1])
        return np.asarray(residual / np.sqrt((weights**2).sum() + spread))


def _near_noise(answer: Answer, check: CheckPoints, close: Wave | None, own: Sequence[Wave]) -> NearNoise | None:
    """The noise by the points near x; None where there are none, or one of them has no value."""
    if check.near is None or close is None or (close.status != Status.OK).any() or len(answer.missing):
        return None
    level = check.near.noise(close.values[:, 0].real, answer)
    if level is None:
        return None
    return NearNoise(level, float(answer.value[0].real), _roundoff((*own, close)))


def _roundoff(waves: Sequence[Wave]) -> float:
    """The relative rounding error of J's values."""
    return unit_roundoff(min(step_bits(wave_bits(wave)) for wave in waves))


def _only(point: Points, coordinates: NDArray[np.int64]) -> Points:
    """A point that makes only those changes of the given one that are in these coordinates."""
    kept = np.isin(point.indices, coordinates)
    return Points(point.x, np.array([0, int(kept.sum())]), point.indices[kept], point.values[kept])


def _failed(beside: Wave) -> bool:
    """Whether J itself failed at a point of the check."""
    lost = np.flatnonzero(beside.status != Status.OK).tolist()
    return any(k in beside.failures and beside.status[k] != Status.CANCELLED for k in lost)


def _unchecked(found: Consistency) -> str:
    """The sentence for a user who asked for a check that J's failure prevented."""
    return (
        f"the derivative could not be checked: {found.cause}. J fails within about one step of x, and near such an "
        "edge it may curve within the step: give bounds that J's domain has, or a smaller step"
    )


def _no_values(answer: Answer, beside: Wave) -> str:
    """Why there is nothing to compare; an empty text where there is."""
    for k in np.flatnonzero(beside.status != Status.OK).tolist():
        if k in beside.failures and beside.status[k] != Status.CANCELLED:
            return f"J failed at the check's point ({beside.failures[k].text})"
        return "the check's point was late, and was not waited for"
    return "the derivative lacks components" if len(answer.missing) else ""
