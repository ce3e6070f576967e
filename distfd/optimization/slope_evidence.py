"""Compares J's changes along an optimiser's steps with its gradients, by values that are evaluated anyway.

Between two points x and x + s with gradients g and g', a smooth J rises by (g + g') . s / 2, up to a truncation of
order |s|^3. Without a gradient at x + s, it rises by g . s, up to order |s|^2. Differences with steps h multiply noise
in J by about |s / h|. So the unexplained part of the rise, divided by that factor, estimates the noise, once for each
comparison. The estimate includes everything that makes slopes wrong: noise, few digits, a large offset, a step larger
than J's own scale.
"""

from __future__ import annotations

import hashlib
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from distfd.core.errors import InputError
from distfd.differentiation.stencils import SCHEMES, resolve_scheme
from distfd.optimization.remaining_descent import remaining_descent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from distfd.optimization.seen_point import Seen
    from distfd.results.derivative_result import DerivativeResult

    Floats = NDArray[np.float64]

_REMEMBERED = 256
"""Number of comparisons that are kept; they hold numbers only, no points."""
_RECENT = 16
"""Number of latest comparisons that are used to judge the noise at the end."""
_SHORTEST = 4
"""Least number of these that are used, those of the shortest steps: truncation is smallest there."""
_MEDIAN = 0.6745
"""Median of the absolute value of a standard normal variable."""
_BAR = 2.5
"""Half width of the error bars of `distfd.differentiation.noise`, in standard deviations."""
_ROUNDING = 0.29
"""Standard deviation of rounding to a unit: 1 / sqrt(12)."""
_UTTER = 1e9
"""Stands for an infinite disagreement."""
_SMOOTH = 0.1
"""If J changes over the shortest steps by less than this part of the noise estimate, J is not noisy; its slopes are
wrong."""
_LAST, _AGREES, _MOSTLY = 3, 0.2, 0.5
"""Slopes are right if the median disagreement of the `_SHORTEST` shortest steps is below `_AGREES`, and three quarters
of twice as many steps are below `_MOSTLY`. For a method that gave up it is enough that, over the `_LAST` shortest steps
from the end, the disagreement falls with the length and below `_AGREES`."""
_CAP = 3.0
"""The noise estimate is at most this many times the noise that would explain the last gradient, in which noise would
show."""
_WITHIN = 5.0
"""A gradient counts as noise if its root mean square, in standard deviations, is below this."""
_AT_FIRST = 10.0
"""If the gradient at x0 is below this, in standard deviations, the run never had a significant gradient."""
_RESOLVED = 3.0
"""A curvature is significant above this many standard deviations of its noise."""
_BEYOND = 100.0
"""Noise above this many units in the last place of J is more than round-off."""
_TO_SPARE = 100.0
"""A decrease of less than this many standard deviations of J's noise does not matter: no step can show it."""
_UNSEEN = 100.0
"""The least curvature may be lower than all that were seen by this factor, if few were seen."""
_ROUND_OFF_TO_SPARE = 5e5
"""As `_TO_SPARE`, for J's own round-off: with default steps, a J whose size is 1e6 times its variation counts as
clean."""


@dataclass(frozen=True)
class Comparison:
    """The rise of J between two points, and the slopes there.

    Attributes
    ----------
    distance : float
        Euclidean distance between the points.
    values : (float, float)
        J at both points.
    slopes : (float, float)
        The directional derivatives g . s at both points, where s is the step between them; the second is NaN where no
        gradient was asked for.
    gain : float
        Factor by which the comparison multiplies the standard deviation of independent noise in J.
    origin : bytes
        Digest of the point where the step begins.
    """

    distance: float
    values: tuple[float, float]
    slopes: tuple[float, float]
    gain: float
    origin: bytes = b""

    @property
    def has_both(self) -> bool:
        """Whether the slope is known at both points."""
        return bool(np.isfinite(self.slopes[1]))

    @property
    def rise(self) -> float:
        """The rise of J."""
        return self.values[1] - self.values[0]

    @property
    def slope(self) -> float:
        """The predicted rise: by the mean of both slopes, or by the slope at the start."""
        return sum(self.slopes) / 2 if self.has_both else self.slopes[0]

    @property
    def noise(self) -> float:
        """The unexplained rise, as a standard deviation of noise in J; it contains truncation."""
        return abs(self.rise - self.slope) / self.gain

    @property
    def disagreement(self) -> float:
        """The unexplained rise relative to the slopes; it vanishes with the step if the slopes are right."""
        slopes = self.slopes if self.has_both else self.slopes[:1]
        size = sum(map(abs, slopes)) / len(slopes)
        return min(abs(self.rise - self.slope) / size, _UTTER) if size else _UTTER if self.rise else 0.0

    @property
    def curvature(self) -> float:
        """The second derivative of J along the step, from both slopes."""
        return (self.slopes[1] - self.slopes[0]) / self.distance**2


@dataclass(frozen=True, eq=False)
class Gains:
    """Factors by which a derivative multiplies the noise in J, for each coordinate.

    ``own`` (d,) is for the points beside x, which no other component uses; ``shared`` (d,), signed, is for J(x).
    """

    own: Floats
    shared: Floats

    @property
    def total(self) -> Floats:
        """Standard deviation of each component if the noise has standard deviation 1, (d,)."""
        return np.hypot(self.own, self.shared)


def gains_of(result: DerivativeResult) -> Gains:
    """The gains of a result with a step for each coordinate: sqrt(sum w_i^2) / |h| and sum w_i / h.

    Complex steps subtract nothing, so their gains are 0.
    """
    try:
        stencil = resolve_scheme(result.scheme)
    except InputError:  # an unnamed scheme, or "auto"; assume one-sided differences
        stencil = SCHEMES["forward"]
    step = np.asarray(result.step, dtype=np.float64)
    weights = np.zeros(1) if stencil.imaginary else np.array(stencil.weights)
    with np.errstate(divide="ignore"):
        inverse = np.where(step != 0, 1 / step, 0.0)
    return Gains(float(np.sqrt(weights @ weights)) * np.abs(inverse), float(weights.sum()) * inverse)


class SlopeEvidence:
    """Collects comparisons while a method asks for values and gradients.

    For any method, each point is compared with the best one and with the latest one whose gradients are known.
    """

    def __init__(self) -> None:
        self.comparisons: deque[Comparison] = deque(maxlen=_REMEMBERED)
        self.values: deque[float] = deque(maxlen=_REMEMBERED)
        """J at the points that were asked for, in order."""
        self.first: float | None = None
        self._pending: tuple[Floats, float, list[Seen]] | None = None
        """The last point whose value was asked for, J there, and the points that it is compared with."""

    def value(self, x: Floats, value: float, bases: Sequence[Seen | None]) -> None:
        """Takes in J at x; ``bases`` are the points that it is compared with."""
        if self._is_pending(x):
            return
        self._settle(None)
        if not np.isfinite(value):
            return
        if self.first is None:
            self.first = value
        self.values.append(value)
        others = {id(base): base for base in bases if base is not None and base.x.tobytes() != x.tobytes()}
        self._pending = np.array(x, dtype=np.float64), value, list(others.values())

    def gradient(self, seen: Seen) -> None:
        """The gradient at a point was asked for."""
        if self._is_pending(seen.x):
            self._settle(seen)

    def close(self) -> None:
        """Takes in the last value."""
        self._settle(None)

    def _is_pending(self, x: Floats) -> bool:
        return self._pending is not None and self._pending[0].tobytes() == x.tobytes()

    def _settle(self, seen: Seen | None) -> None:
        if self._pending is None:
            return
        (x, value, bases), self._pending = self._pending, None
        with np.errstate(all="ignore"):
            for base in bases:
                made = _compare(base, x, value, seen)
                if np.isfinite(made.noise) and made.distance > 0:
                    self.comparisons.append(made)


def _compare(base: Seen, x: Floats, value: float, seen: Seen | None) -> Comparison:
    """R = e_t - e_0 - s . (g's noise) has the variance of independent noise times what is summed here."""
    step, gains = x - base.x, gains_of(base.result)
    distance, slope = float(np.linalg.norm(step)), float(base.gradient @ step)
    if seen is None:
        square = 1 + np.sum((step * gains.own) ** 2) + np.square(step @ gains.shared - 1)
        return Comparison(distance, (base.value, value), (slope, np.nan), float(np.sqrt(square)), _digest(base.x))
    other = gains_of(seen.result)
    points = (np.sum((step * gains.own) ** 2) + np.sum((step * other.own) ** 2)) / 4
    ends = np.square(step @ gains.shared / 2 - 1) + np.square(step @ other.shared / 2 + 1)
    slopes = slope, float(seen.gradient @ step)
    return Comparison(distance, (base.value, value), slopes, float(np.sqrt(points + ends)), _digest(base.x))


def _digest(x: Floats) -> bytes:
    return hashlib.blake2b(x.tobytes(), digest_size=8).digest()


Cause = Literal["noise", "digits", "round-off", "slope", "step", "no step", "early"]
"""Causes of a doubtful gradient. "noise": J is noisy. "digits": J has few digits. "round-off": J is large relative to
its changes. "slope": the slopes are wrong although J is smooth nearby. "step": over a differencing step, J changes as
much as in the whole run. "no step": the method made no step although the gradient is large. "early": the method stopped
on the way down, with a right gradient."""


@dataclass(frozen=True)
class SlopeDoubt:
    """The gradient at the end says nothing reliable about a minimum.

    Attributes
    ----------
    cause : str
    noise : float
        Estimated standard deviation of the noise in J; for "slope" and "step", noise that would cause such errors.
    error : float
        Standard deviation of the gradient's least certain component.
    largest : float
        The gradient's largest component.
    comparisons : int
        Number of comparisons in the estimate.
    matters : bool
        Whether the decrease that the doubt may hide is more than the method's tolerance.
    decrease : float
        For "early", a lower bound of how much J can still fall.
    """

    cause: Cause
    noise: float
    error: float
    largest: float
    comparisons: int
    matters: bool
    decrease: float = 0.0


def assess(  # noqa: PLR0911  # one return a verdict
    evidence: SlopeEvidence,
    first: Seen,
    end: Seen,
    free: NDArray[np.bool_],
    *,
    quantum: float | None = None,
    bounds: tuple[Floats, Floats] | None = None,
    gtol: float = 1e-5,
    ftol: float = 1e-7,
    xtol: float = 0.0,
    relative: bool = False,
    stopped: bool = False,
    constrained: bool = False,
) -> SlopeDoubt | None:
    """Whether the gradient at the end of a run is mere noise, or too large for an end; the doubt, if so.

    Parameters
    ----------
    evidence : SlopeEvidence
    first, end : Seen
        The points x0, and the one that is returned.
    free : (d,) bool ndarray
        Components that must vanish at a solution: those of variables that no bound holds.
    quantum : float
        The unit in which J is rounded; 0 if it has all its digits, None if that is unknown.
    bounds : pair of (d,) ndarrays, optional
        The bounds that the method keeps to.
    gtol : float
        Size of a gradient that counts as 0.
    ftol : float
        Relative decrease of J that is negligible for the method.
    xtol : float
        Step, relative to max(1, abs(x)), that is negligible for the method.
    relative : bool
        Whether decreases are relative to J alone, as for sums of squares, and not to max(1, abs(J)).
    stopped : bool
        Whether the method does not report convergence; then only the reason is wanted.
    constrained : bool
        Whether there are constraints: the gradient at a solution may then be large without any doubt.

    Returns
    -------
    SlopeDoubt or None
        None where the gradient is known to be small, or is larger than its noise and the method does not report
        convergence.
    """
    gains = gains_of(end.result).total
    free = free & (gains > 0)
    if not free.any():
        return None
    gradient, gains = end.gradient[free], gains[free]
    largest = float(np.abs(gradient).max())
    fallen = max(0.0, (evidence.first if evidence.first is not None else end.value) - end.value)
    size = abs(end.value) + 1e-3 * fallen if relative else max(1.0, min(abs(end.value), fallen))
    ulp = float(np.spacing(abs(end.value)))
    agrees = _agrees(evidence, end, 10 * (fallen + size), stopped=stopped)
    # If J has all its digits and does not change over differencing steps, it has no noise there.
    flat = quantum == 0 and not gradient.any()
    measured, used = (0.0, 0) if agrees or flat else _measured(evidence)
    noise = max(min(measured, _most(evidence, end, gradient, gains)), _ROUNDING * max(ulp, quantum or 0.0))
    bars = end.result.error
    error = noise * gains
    if bars is not None and np.shape(bars) == end.gradient.shape and np.isfinite(np.asarray(bars)[free]).all():
        error = np.asarray(bars)[free] / _BAR
    # The changes of J over the differencing steps themselves.
    over = (end.gradient * np.asarray(end.result.step))[free]
    beside = float(np.abs(over).sum())
    least = max(10 * ftol * size, (1.0 if agrees else 0.1) * fallen, _TO_SPARE * ulp)
    if bars is None and beside > least and not constrained and not (agrees and stopped):
        return SlopeDoubt("step", noise, float(error.max()), largest, used, matters=True)
    error = np.maximum(error, np.finfo(float).tiny)
    if error.max() <= 10 * gtol or _rms(gradient / error) > _WITHIN:
        stayed = first.x.tobytes() == end.x.tobytes() and not constrained
        if stayed and not relative and largest > 10 * max(gtol, _WITHIN * error.max()):
            return SlopeDoubt("no step", noise, float(error.max()), largest, used, matters=True)
        if stopped or constrained or largest <= 10 * gtol or _rms(gradient / error) <= _WITHIN:
            return None
        within = (np.full_like(end.x, -np.inf), np.full_like(end.x, np.inf)) if bounds is None else bounds
        left = remaining_descent(*_curvatures(evidence, noise, end, free), end, free, within)
        if left is None or (np.abs(left.step) <= 10 * xtol * np.maximum(1.0, np.abs(end.x))).all():
            return None
        if left.decrease <= 10 * ftol * size + _TO_SPARE * noise:
            return None
        return SlopeDoubt("early", noise, float(error.max()), largest, used, matters=True, decrease=left.decrease)
    beyond = noise > _BEYOND * _ROUNDING * ulp
    spare = 10 * ftol * size + (_TO_SPARE if beyond else _ROUND_OFF_TO_SPARE) * noise
    began = first.gradient[free] / np.maximum(noise * gains_of(first.result).total[free], np.finfo(float).tiny)
    never = beyond and bars is None and _rms(began) < _AT_FIRST
    # Least-squares steps come from the Jacobian, which gives the curvature without any steps.
    hidden = _hidden(evidence, noise, error, 1.0 if relative else _UNSEEN)
    matters = never or hidden > spare
    cause = _cause(evidence, noise, quantum, ulp)
    if cause == "slope" and beside <= 10 * ftol * size and (over >= 0).all():
        matters = False  # a kink: J is higher at all points nearby, and changes little over a differencing step
    return SlopeDoubt(cause, noise, float(error.max()), largest, used, matters)


def noise_of_slopes(
    evidence: SlopeEvidence, end: Seen, free: NDArray[np.bool_], bars: Floats | None = None
) -> tuple[float, float] | None:
    """Noise of a function, and the least certain component of its gradient, where the gradient is mere noise.

    Parameters
    ----------
    evidence : SlopeEvidence
        Comparisons of points at which the gradient is known.
    end : Seen
    free : (d,) bool ndarray
        The components that count.
    bars : (d,) ndarray, optional
        The gradient's error bars, where it has any.

    Returns
    -------
    (float, float) or None
        None where the slopes have been right, or the gradient is larger than its noise, or too little is known.
    """
    gains = gains_of(end.result).total
    free = free & (gains > 0)
    if not free.any() or _agrees(evidence, end, np.inf, stopped=False):
        return None
    noise, used = _measured(evidence)
    if used < _SHORTEST:
        return None
    error = np.maximum(noise * gains[free], np.finfo(float).tiny)
    if bars is not None and np.isfinite(bars[free]).all():
        error = np.maximum(bars[free] / _BAR, np.finfo(float).tiny)
    return None if _rms(end.gradient[free] / error) > _WITHIN else (noise, float(error.max()))


def _curvatures(evidence: SlopeEvidence, noise: float, end: Seen, free: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Curvatures of J along the run's steps, a fit's also along its gradient; and their errors by noise."""
    both = [each for each in evidence.comparisons if each.has_both]
    curvatures = np.array([each.curvature for each in both])
    unsure = np.array([2 * _RESOLVED * noise * each.gain / each.distance**2 for each in both])
    if not both or not np.ndim(end.result.value):
        return curvatures, unsure
    along = _curvature_of_fit(end, np.where(free, end.gradient, 0.0))
    return np.append(curvatures, along), np.append(unsure, 0.0)


def _curvature_of_fit(end: Seen, direction: Floats) -> float:
    """|J v|^2 / |v|^2, the curvature of a fit's cost along v by the Jacobian of its residuals.

    Along the run's steps, variables whose typical size is large hide the curvature along the others.
    """
    if not direction.any():
        return 0.0
    with np.errstate(all="ignore"):
        unit = direction / np.linalg.norm(direction)
        found = float(np.sum(np.square(end.result.derivative @ unit)))
    return found if np.isfinite(found) else 0.0


def _cause(evidence: SlopeEvidence, noise: float, quantum: float | None, ulp: float) -> Cause:
    """The cause of the gradient's uncertainty."""
    if quantum and noise <= quantum:
        return "digits"
    if noise <= _BEYOND * _ROUNDING * ulp:
        return "round-off"
    # If J is noisy, it changes by the noise even over the shortest steps.
    shortest = sorted(evidence.comparisons, key=lambda each: each.distance)[:_SHORTEST]
    return "slope" if float(np.median([abs(each.rise) for each in shortest])) < _SMOOTH * noise else "noise"


def _measured(evidence: SlopeEvidence) -> tuple[float, int]:
    """The noise in J by the shortest of the last steps, and the number of comparisons used."""
    # The same two values make several comparisons: forwards, backwards, and each time a method returns to a point.
    every = list({(each.has_both, each.distance, *sorted(each.values)): each for each in evidence.comparisons}.values())
    both = [each for each in every if each.has_both]
    recent = sorted((both if len(both) >= _SHORTEST else every)[-_RECENT:], key=lambda each: each.distance)
    shortest = recent[: max(_SHORTEST, len(recent) // 2)]
    if not shortest:
        return 0.0, 0
    noise = np.array([each.noise for each in shortest])
    return max(float(np.median(noise)) / _MEDIAN, 0.7 * _rms(noise)), len(shortest)


def _agrees(evidence: SlopeEvidence, end: Seen, most: float, *, stopped: bool) -> bool:
    """Whether J changed along the shortest of the last steps as the slopes predicted.

    If the method gave up, it is enough that the agreement improves as the steps get shorter. Steps along which J
    changed by more than ``most`` are too long to tell.
    """
    every = [each for each in evidence.comparisons if abs(each.rise) <= most]
    if stopped:
        here = _digest(end.x)
        around = {each.distance: each.disagreement for each in every if each.origin == here}
        near = [around[distance] for distance in sorted(around)[:_LAST]]
        if len(near) == _LAST and near[0] < _AGREES and near == sorted(near) and near[0] < near[-1] / 10:
            return True
    recent = sorted(every[-_RECENT:], key=lambda each: each.distance)
    both = [each.disagreement for each in recent if each.has_both][: 2 * _SHORTEST]
    if not both or float(np.quantile(both, 0.75)) >= _MOSTLY:
        return False
    return float(np.median([each.disagreement for each in recent[:_SHORTEST]])) < _AGREES


def _most(evidence: SlopeEvidence, end: Seen, gradient: Floats, gains: Floats) -> float:
    """The largest noise that is compatible with the last gradient.

    If J is rounded coarsely, all components may be 0; then the least change of J that was seen is the limit.
    """
    if gradient.any():
        return _CAP * _rms(gradient / gains)
    near = [
        abs(each.rise)
        for each in evidence.comparisons
        if each.rise and all(0.1 * abs(end.value) <= abs(value) <= 10 * abs(end.value) for value in each.values)
    ]
    return min(near, default=np.inf)


def _hidden(evidence: SlopeEvidence, noise: float, error: Floats, unseen: float) -> float:
    """The decrease of J that errors of the gradient may hide, sum e^2 / 2 c, where c is the least curvature seen.

    If few curvatures were seen for many variables, c is divided by ``unseen``.
    """
    seen = [
        each.curvature
        for each in evidence.comparisons
        if each.has_both and each.curvature > 2 * _RESOLVED * noise * each.gain / each.distance**2
    ]
    if not seen:
        return np.inf
    return float(error @ error) / (2 * min(seen)) * (unseen if len(seen) < 2 * len(error) else 1.0)


def _rms(values: Floats) -> float:
    with np.errstate(over="ignore"):
        return float(np.sqrt(np.mean(values**2)))
