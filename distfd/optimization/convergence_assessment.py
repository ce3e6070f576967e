"""Checks whether a run that reports convergence has converged: the gradient may be noise, or J may not have changed.

The verdict uses values that the method has asked for, so the points of a run are the same for any number of slots. Only
if J is the same at all points of the last gradient, J is evaluated at four further points, and if the gradient at the
end is not small relative to J, at one.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core.points import dense_points
from distfd.differentiation.method import Values
from distfd.differentiation.rounding_quantum import quantum
from distfd.differentiation.steps import typical_sizes
from distfd.optimization.advice import Advice
from distfd.optimization.common_arguments import FIT_FTOL, FIT_GTOL, XTOL
from distfd.optimization.constraints import are_given_broken
from distfd.optimization.limits import ran_away, ran_away_text
from distfd.optimization.optimization_run import INTERRUPTED, STOPPED
from distfd.optimization.slope_evidence import assess, gains_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from distfd.evaluation.evaluator import Evaluator
    from distfd.optimization.constraints import OutputSlopes
    from distfd.optimization.history import Record
    from distfd.optimization.seen_point import Seen
    from distfd.optimization.slope_evidence import SlopeDoubt

    Floats = NDArray[np.float64]

_LOOKED_AT = 1000
"""Number of values of J whose digits are examined."""
_BITS = 14
"""A significand of at most this many bits may be short by chance."""
_FEW = 4
"""Number of values that are needed to tell how J is rounded."""
_FAR = (1e-4, 1e-2)
"""Distances from x of the further points where J has not changed at all, in typical sizes."""
_DOWNHILL = 1e-4
"""Distance from x of a further point against the gradient, in sizes of x: short, as J may be a steep, curved valley."""
_FURTHEST = 1e-2
"""Largest such distance. Where noise needs a longer one, nothing is said."""
_UNLIKELY_BY_NOISE = (1.0, 3.0)
"""Two distances as multiples of `_DOWNHILL`, where a noise that is far larger than J's fall agrees with it by chance in
one case of some hundreds."""
_STILL, _UNMOVED = 1e-2, 1e-8
"""A variable that began at 0 and has come no further may be far larger than that; up to the second, it did not move."""
_FROM_ZERO = (1e-2, 1.0, 1e2, 1e4)
"""Distances to go along such a variable; the last two if it did not move."""
_MOST_LOOKS = 16
"""Number of such variables that are looked at."""
_CLEARLY = 6.0
"""Standard deviations of the noise by which J must be predicted to fall."""
_SMALL_PART = 1e-5
"""A decrease of J that is negligible over this distance, as a part of J."""
_NEAR_ZERO = 1e-6
"""J is near 0 if it has fallen to this part of J(x0): the gradient need not be small relative to it then."""
_HELD = 0.5
"""J falls if it falls by at least this part of what its gradient predicts."""


@dataclass(frozen=True)
class Assessment:
    """The problem's data that a verdict on convergence needs.

    Attributes
    ----------
    cost : callable
        The function that is minimised, of J's outputs (m,) and x.
    bounds : pair of (d,) ndarrays
        The bounds that the method keeps to.
    gtol, ftol, xtol, relative, constrained
        As for `slope_evidence.assess`.
    own_tolerance : bool
        Whether the user has given a tolerance.
    method : str
        The method in use; it is not recommended again.
    """

    cost: Callable[[Floats, Floats], float]
    bounds: tuple[Floats, Floats]
    gtol: float
    ftol: float
    xtol: float = 0.0
    relative: bool = False
    constrained: bool = False
    own_tolerance: bool = False
    method: str = ""

    @classmethod
    def of_fit(
        cls,
        cost: Callable[[Floats, Floats], float],
        bounds: tuple[Floats, Floats],
        options: Mapping[str, Any],
        method: str,
    ) -> Assessment:
        """That of a fit with these tolerances, SciPy's where there are none."""
        return cls(
            cost=cost,
            bounds=bounds,
            gtol=options.get("gtol") or FIT_GTOL,
            ftol=max(FIT_FTOL, options.get("ftol") or 0.0),
            xtol=options.get("xtol") or XTOL,
            relative=True,
            own_tolerance=any("tol" in each for each in options),
            method=method,
        )

    def apply(
        self, result: Any, record: Record, evaluator: Evaluator, *, slopes: bool = True, noise: float = 0.0
    ) -> None:
        """Clears ``success`` where it rests on a gradient that is noise, and adds the reason to the message.

        ``result.noise`` becomes the noise level found in J in that case, else None. Without ``slopes``, only J
        near the end is looked at: the evidence on slopes is left aside. ``noise`` is the standard deviation of the
        noise that the method has found in what is minimised.
        """
        result.noise = None
        if not slopes:
            self._look_downhill(result, record, evaluator, noise)
            return
        record.evidence.close()
        best, first = record.best, record.first
        if best is None or first is None or result.status in (STOPPED, INTERRUPTED):
            return
        free = self._free(best)
        if not free.any():
            return
        if result.success and not self.constrained and _stands_still(best, free):
            self._look_further(result, record, evaluator)
            return
        if result.success and ran_away(first.x, best.x, free):
            why = ran_away_text(record.named)
            result.success, result.message = False, f"{why}; the method said: {result.message}"
            return
        unit = _unit(record, best)
        doubt = assess(
            record.evidence,
            first,
            best,
            free,
            quantum=unit,
            bounds=self.bounds,
            gtol=self.gtol,
            ftol=self.ftol,
            xtol=self.xtol,
            relative=self.relative,
            stopped=not result.success,
            constrained=self.constrained,
        )
        if doubt is None or (result.success and not doubt.matters):
            self._look_downhill(result, record, evaluator)
            return
        result.noise = doubt.noise
        text = _text(doubt, unit, self._advice(best, evaluator), record.named)
        result.success, result.message = False, f"{text}; the method said: {result.message}"

    def judge_constraints(
        self, result: Any, record: Record, evaluator: Evaluator, slopes: OutputSlopes | None, given: Sequence[Any]
    ) -> None:
        """Clears ``success`` where a constraint is broken at the end, or its slopes are noise.

        Parameters
        ----------
        slopes : OutputSlopes or None
            Those of the constraints that are outputs of J.
        given : sequence
            SciPy's constraints, of which only the values are known.
        """
        best = record.best
        if best is None or not result.success or result.status in (STOPPED, INTERRUPTED):
            return
        outputs = slopes is not None and slopes.outputs.are_broken(np.asarray(best.result.value)[1:])
        if outputs or are_given_broken(given, best.x):
            result.success, result.message = False, f"{result.message}; but the constraints do not hold there"
            return
        if slopes is None:
            return
        text = slopes.doubt(best.result, self.bounds[0] < self.bounds[1], self._advice(best, evaluator))
        if text:
            result.success, result.message = False, f"{text}; the method said: {result.message}"

    def _advice(self, best: Seen, evaluator: Evaluator) -> Advice:
        scaled = evaluator.setting(best.x).options.scale is not None
        return Advice(best, self.method, scaled, self.constrained)

    def _free(self, seen: Seen) -> NDArray[np.bool_]:
        """Variables that no bound holds: their gradient components must vanish at a solution."""
        x, g = seen.x, seen.gradient
        lower, upper = self.bounds
        return ~(((x <= lower) & (g > 0)) | ((x >= upper) & (g < 0))) & (lower < upper)

    def _look_further(self, result: Any, record: Record, evaluator: Evaluator) -> None:
        """Finds out why J has not changed: x0 is a minimum, J's digits hide its slope, or J is constant."""
        best = record.best
        assert best is not None, "there is one"
        steps = self._displacements(best.x, evaluator)
        points = [np.clip(best.x + sign * step, *self.bounds) for step in steps for sign in (1.0, -1.0)]
        answer, tally = evaluator.solve(Values(dense_points(points), vector=True), "values", raises=False)
        record.count(tally)
        costs = [
            self.cost(row, x) if np.isfinite(row).all() else np.nan
            for row, x in zip(answer.values, points, strict=True)
        ]
        rises = np.array(costs) - best.value
        said = f"the method said: {result.message}"
        still = f"J did not change at all at the points beside {'x' if record.iterations else 'x0'}"
        if np.isnan(rises).all():
            result.message = f"{still}, and failed further away; {said}"
        elif not np.nan_to_num(rises).any():
            result.success = False
            result.message = (
                f"{still}, nor at distances of up to {_FAR[-1]:g} of x: it may not depend on these variables at all, "
                f"or be rounded coarsely; {said}"
            )
        elif _has_slope(rises):
            result.success = False
            remedy = self._advice(best, evaluator).against_noise()
            result.message = (
                f"{still}, because the step is too short for the digits that J has, but it changes by "
                f"{np.nanmax(np.abs(rises)):.2g} further away: the gradient of 0 is wrong. {remedy}; {said}"
            )

    def _look_downhill(self, result: Any, record: Record, evaluator: Evaluator, noise: float = 0.0) -> None:
        """Clears ``success`` where J still falls by a part that matters, over a small step along its gradient.

        SciPy's default tolerances on gradients are absolute. Where J is 1e-9, in its unit, any x0 passes them. Where
        the sizes of variables differ much, steps of one can be too short for the others' sake.
        """
        best, first = record.best, record.first
        if best is None or first is None or result.status in (STOPPED, INTERRUPTED):
            return
        if not result.success or self.constrained or self.own_tolerance:
            return
        if record.iterations and abs(best.value) <= _NEAR_ZERO * abs(first.value):
            return
        given = evaluator.setting(best.x).options.scale
        scale = np.where(best.x == 0, 1.0, np.abs(best.x)) if given is None else typical_sizes(best.x, given)
        # Interior-point methods end beside a bound that holds x there.
        towards = np.where(best.gradient > 0, best.x - self.bounds[0], self.bounds[1] - best.x)
        slopes = np.where(self._free(best) & (towards > _DOWNHILL * scale), best.gradient * scale, 0.0)
        size, least = float(np.linalg.norm(slopes)), _SMALL_PART * abs(best.value)
        if not np.isfinite(size) or not _DOWNHILL * size > least:
            if given is None and not noise:
                self._look_from_zero(result, record, evaluator)
            return
        far = max(_DOWNHILL, _CLEARLY * noise / size)  # so far that noise does not decide
        if far <= _FURTHEST:
            falls, foretold = self._falls(record, evaluator, -far * (scale * slopes / size)[None])
            if falls[0] > _HELD * foretold[0]:
                self._falls_still(result, record, float(falls[0]), f"{far:.1g} of x", None)
                return
        if far > _DOWNHILL:
            # What was taken for noise may be curvature: noise seldom agrees with the slope over two short distances.
            distances = _DOWNHILL * np.array(_UNLIKELY_BY_NOISE)
            falls, foretold = self._falls(record, evaluator, -distances[:, None] * (scale * slopes / size))
            if ((falls > _HELD * foretold) & (falls < (2 - _HELD) * foretold)).all():
                values = "J" if record.named == "J" else "the residuals"
                remedy = (
                    f"The method took the curvature of {values} for noise: start again from x, or use another method"
                )
                self._falls_still(result, record, float(falls[-1]), f"{distances[-1]:.1g} of x", remedy)

    def _look_from_zero(self, result: Any, record: Record, evaluator: Evaluator) -> None:
        """The same along each variable that began at 0 and is there still: its size is not known, so it goes further.

        The distance is the least at which J should fall by a part that matters; over such a fall, J is mostly straight.
        """
        best, first = record.best, record.first
        assert best is not None, "there is one"
        assert first is not None, "there is one"
        still = np.flatnonzero(self._free(best) & (first.x == 0) & (np.abs(best.x) <= _STILL))
        slopes = np.abs(best.gradient[still])
        wanted = np.divide(
            10 * _SMALL_PART * abs(best.value), slopes, out=np.full(len(still), np.inf), where=slopes > 0
        )
        most = np.where(np.abs(best.x[still]) <= _UNMOVED, _FROM_ZERO[-1], 1.0)
        distance = np.array([next((each for each in _FROM_ZERO if each > least), np.inf) for least in wanted])
        near = np.argsort(distance, kind="stable")[:_MOST_LOOKS]
        near = near[distance[near] <= most[near]]
        if not len(near):
            return
        steps = np.zeros((len(near), len(best.x)))
        steps[np.arange(len(near)), still[near]] = -np.sign(best.gradient[still[near]]) * distance[near]
        falls, foretold = self._falls(record, evaluator, steps)
        agrees = np.flatnonzero((falls > _HELD * foretold) & (falls < (2 - _HELD) * foretold))
        if len(agrees):
            at = int(agrees[0])
            over = f"{distance[near[at]]:.1g} along a variable that began at 0"
            self._falls_still(result, record, float(falls[at]), over, None)

    def _falls(self, record: Record, evaluator: Evaluator, steps: Floats) -> tuple[Floats, Floats]:
        """How much J falls over steps (n, d) from the end, and how much its gradient predicts: (n,) both.

        A fall is NaN where J failed, or where it is predicted to be too small to matter.
        """
        best = record.best
        assert best is not None, "there is one"
        points = [np.clip(best.x + step, *self.bounds) for step in steps]
        foretold = np.array([best.gradient @ (best.x - x) for x in points])
        falls = np.full(len(points), np.nan)
        matter = np.flatnonzero(foretold > _SMALL_PART * abs(best.value))  # bounds may leave too little of a step
        if len(matter):
            asked = [points[k] for k in matter.tolist()]
            answer, tally = evaluator.solve(Values(dense_points(asked), vector=True), "values", raises=False)
            record.count(tally)
            for k, row, x in zip(matter.tolist(), answer.values, asked, strict=True):
                falls[k] = best.value - self.cost(row, x) if np.isfinite(row).all() else np.nan
        return falls, foretold

    def _falls_still(self, result: Any, record: Record, fall: float, over: str, remedy: str | None) -> None:
        """Clears ``success``, and says by how much J still falls over which distance."""
        best = record.best
        assert best is not None, "there is one"
        values = "J" if record.named == "J" else "the residuals"
        if remedy is None:
            remedy = (
                f"Most tolerances are absolute numbers: give {values} and x in units in which they are about 1, or "
                "smaller tolerances"
            )
        result.success = False
        result.message = (
            f"{record.named}, which is {best.value:.3g} at {'the end' if record.iterations else 'x0'}, still falls "
            f"by {fall:.2g} over {over}, though components of its gradient are "
            f"{np.abs(best.gradient[self._free(best)]).max():.2g} at most. {remedy}; the method said: {result.message}"
        )

    def _displacements(self, x: Floats, evaluator: Evaluator) -> list[Floats]:
        """Displacements in random directions seeded by x: along variables inside their bounds, or into all bounds.

        There are two directions, as J may be flat along one.
        """
        seed = int.from_bytes(hashlib.blake2b(x.tobytes(), digest_size=8).digest(), "little")
        rng = np.random.default_rng(seed)
        lower, upper = self.bounds
        inside = (x > lower) & (x < upper)
        scale = typical_sizes(x, evaluator.setting(x).options.scale)
        if not inside.any():
            inward = np.where(x <= lower, 1.0, -1.0)
            return [far * scale * inward for far in _FAR]
        room = np.minimum(x - lower, upper - x)
        steps = []
        for far in _FAR:
            for _ in range(2):
                towards = rng.choice([-1.0, 1.0], size=len(x)) * rng.uniform(0.6, 1.6, size=len(x))
                steps.append(np.where(inside, np.clip(towards * far * scale, -room, room), 0.0))
        return steps


def _text(doubt: SlopeDoubt, unit: float | None, advice: Advice, named: str) -> str:
    """A sentence on what is doubtful about the final gradient, and the remedy; ``named`` is what is minimised."""
    best = advice.best
    uncertain = (
        f"one of its components is uncertain by about {doubt.error:.2g}, and its largest component is "
        f"{doubt.largest:.2g}"
    )
    counted = f"by {doubt.comparisons} comparisons of {named} with what its slopes predicted"
    if doubt.cause == "step":
        step = float(np.abs(best.result.step).max())
        what = (
            f"the gradient at the end is not {named}'s slope: over its own differencing steps, of up to {step:.2g}, "
            f"{named} changes as much as in the whole run, so they are too long for its scale, or it is noise"
        )
        return f"{what}. {advice.for_scale()}"
    if doubt.cause == "no step":
        return (
            f"no step was taken from x0, though a component of the gradient there is {doubt.largest:.2g}: no trial was "
            "lower, or they were all shorter than the method's own tolerance on steps. Give variables whose typical "
            "sizes are 1, another x0, or another method"
        )
    if doubt.cause == "early":
        return (
            f"the gradient at the end is clearly not zero: a component of it is {doubt.largest:.2g}, and uncertain by "
            f"about {doubt.error:.2g} only; by the curvatures that were seen, {named} falls by {doubt.decrease:.2g} at "
            "least along it. A step that was too short ended the run; start again from x, give smaller tolerances, or "
            "use another method"
        )
    if doubt.cause == "slope":
        what = (
            f"the gradient at the end is not {named}'s slope: {named} does not fall where it predicts a fall, and "
            f"{uncertain} ({counted})"
        )
        return f"{what}; its differencing steps are too long for J's scale there, or J has a kink. {advice.for_scale()}"
    if best.result.error is not None and best.gradient.shape == np.shape(best.result.error):
        return (
            f"the gradient at the end is within its error bars: the differences of {named} are no larger than its "
            f"noise of about {doubt.noise:.2g}. {advice.within_error_bars()}"
        )
    why = {
        "digits": f"{named} is rounded to a unit of {unit or 0.0:.2g}",
        "round-off": f"{named} is {abs(best.value):.3g}, of which round-off is as large as its changes",
    }.get(doubt.cause, counted)
    what = (
        f"the gradient at the end is noise, and {named} does not fall where it predicts a fall: {uncertain}, as "
        f"{named}'s noise is about"
    )
    return f"{what} {doubt.noise:.2g} ({why}). {advice.against_noise()}"


def _stands_still(best: Seen, free: NDArray[np.bool_]) -> bool:
    """Whether J is the same at x and at all points of the gradient there, whatever it was before.

    On a step of J that is wider than the differencing steps, a run may end anywhere.
    """
    derivative, gains = best.result.derivative, gains_of(best.result)
    entries: Any = getattr(derivative, "data", derivative) if hasattr(derivative, "tocsr") else derivative
    if np.asarray(entries).any():
        return False
    if not (gains.total[free] > 0).any():
        return False
    if (gains.own == np.abs(gains.shared)).all():  # one-sided differences, which are 0 where J does not change
        return True
    values = best.result.evaluations["value"] if len(free) <= _LOOKED_AT else np.empty(0)
    return bool(len(values)) and bool((values == values[0]).all())


def _has_slope(rises: Floats) -> bool:
    """Whether J falls to one side of x; ``rises`` are J's changes at +step and -step, nearest pairs first.

    At a minimum, J rises equally to both sides; the nearest distance where it rises so decides.
    """
    for near in (rises[: len(rises) // 2], rises[len(rises) // 2 :]):
        pairs = [pair for pair in near.reshape(-1, 2) if np.isfinite(pair).all()]
        if any(min(pair) < 0 for pair in pairs):
            return True
        if pairs and all(min(pair) > 0 and abs(pair[0] - pair[1]) < sum(pair) / 2 for pair in pairs):
            return False
    return False


def _unit(record: Record, best: Seen) -> float | None:
    """The unit in which J is rounded, by its values' digits; 0 if they have all digits, None if this is unclear."""
    if np.ndim(best.result.value):
        residuals = np.ravel(np.asarray(best.result.value))[:_LOOKED_AT]
        size = float(np.linalg.norm(residuals))
        return size * float(np.spacing(np.float32(size))) if _is_single(residuals) else None
    seen = [each for each in (record.first, best, record.latest) if each is not None]
    beside = [np.ravel(each.result.evaluations["value"]) for each in seen if len(each.x) <= _LOOKED_AT]
    values = np.concatenate((np.array(record.evidence.values), *beside))
    if np.iscomplexobj(values):
        return 0.0
    values = values[np.isfinite(values)]
    if _is_single(values):
        return float(np.spacing(np.float32(abs(best.value))))
    unit = float(quantum(values[:, None], printed=True)[0])
    return unit or (0.0 if len(np.unique(values)) >= _FEW else None)


def _is_single(values: Floats) -> bool:
    """Whether values have at most the bits of single precision, and not just because they are round numbers."""
    with np.errstate(over="ignore"):
        held = values.astype(np.float32)
    if not np.array_equal(held.astype(np.float64), values):
        return False
    mantissas = np.abs(np.rint(np.frexp(np.unique(held))[0] * 2.0**24)).astype(np.int64)
    return int(np.count_nonzero(mantissas % 2 ** (24 - _BITS))) >= _FEW
