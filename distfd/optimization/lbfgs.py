"""L-BFGS that asks for many points at once: each round's trials, then what they say. It evaluates nothing itself.

The projected quasi-Newton method of Bertsekas (SIAM J. Control Optim. 20(2), 1982) on the free variables, with the
curvature that all trials of all rounds have shown (`distfd.optimization.lbfgs_hessian`).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from distfd.optimization.lbfgs_hessian import Model
from distfd.optimization.lbfgs_trials import Trial, choose, place, shorter
from distfd.optimization.limits import ran_away

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from distfd.optimization.lbfgs_hessian import Pair

    Floats = NDArray[np.float64]

_ARMIJO, _WOLFE = 1e-4, 0.9
_FIRST = 1e-3
"""How far the first round's other points are from x0, against its length: near enough for curvature at x0."""
_EVEN = 0.3
_UNEVEN = 1e3
"""Largest over smallest size of the variables, from which on they are taken into account."""
_FIRST_ROUNDS = 4
"""So many times as many rounds may fail while no curvature is known."""
_PATIENCE = 3
"""After so many rounds without a step the model is begun anew."""
_STEADY, _STRETCH, _AFTER = 0.999, 3.0, 3
"""A slope that keeps this part of itself over a whole step is steady; after so many steps in a row on which it was,
each is so many times as long as the one before."""


@dataclass(frozen=True)
class Tolerances:
    """When it has converged; as SciPy's L-BFGS-B has them.

    Attributes
    ----------
    gtol : float
        The largest component of the projected gradient.
    ftol : float
        By how little J falls in one iteration, against max(1, abs(J)).
    rounds : int
        Rounds without a step after which it gives up.
    """

    gtol: float = 1e-5
    ftol: float = 2.220446049250313e-09
    rounds: int = 8


@dataclass(frozen=True, eq=False)
class Found:
    """What came of a point: J there, NaN where it failed, and the gradient where it was asked for and is whole.

    ``error`` is the half width of each component's bar, None where nothing is known.
    """

    x: Floats
    value: float
    gradient: Floats | None = None
    error: Floats | None = None


@dataclass(eq=False)
class Search:
    """Where the search is, and what it knows.

    Parameters
    ----------
    x : (d,) ndarray
    lower, upper : (d,) ndarrays
    memory : int
        Pairs s, y kept.
    tolerances : Tolerances
    noise : float
        A bound for the noise of J, by twice which a step may fail to descend.
    seed : int
        Of the directions that are tried beside the steps.
    """

    x: Floats
    lower: Floats
    upper: Floats
    memory: int = 40
    tolerances: Tolerances = field(default_factory=Tolerances)
    noise: float = 0.0
    seed: int = 0
    value: float = np.nan
    first: float = np.nan
    gradient: Floats | None = None
    error: Floats | None = None
    failed: int = 0
    converged: str = ""

    def __post_init__(self) -> None:
        self.model = Model(len(self.x), self.memory)
        self._growing = False
        self._steady = 0
        self._least_length = 0.0
        self._reach = np.inf
        self._tried: list[Trial] = []
        self._step = np.zeros_like(self.x)
        self._sizes = typical_sizes(self.x, self.lower, self.upper)
        self._home = self.x

    def ask(self, trials: int, values: int = 0) -> list[tuple[Floats, bool]]:
        """Points of the next round, and whether the gradient is wanted there: the same for the same values."""
        seed = int.from_bytes(hashlib.blake2b(self.x.tobytes(), digest_size=8).digest(), "little") ^ self.seed
        if self.gradient is None:
            return self._first(trials, seed)
        steps = self._steps(self.gradient)
        self._step = steps[0]
        moving = int(np.count_nonzero(self._step))
        failed = self.failed > 0
        self._tried = choose(trials, values, moving, failed=failed, growing=self._growing and not failed)
        least = self._least_side()
        u = self._sizes
        scaled = (steps[0] / u, steps[1] / u)
        return [(self._inside(u * place(t, scaled, seed, least=least)), t.gradient) for t in self._tried]

    def tell(self, found: Sequence[Found]) -> bool:
        """Take in what came of the points that were asked for; whether x has moved, or is known for the first time."""
        if self.gradient is None:
            return self._begin(found)
        good = [k for k, each in enumerate(found) if self._descends(self._tried[k], each)]
        whole = [k for k in good if found[k].gradient is not None]
        if not whole:
            self._fall_short(found, good)
            return False
        best = min(whole, key=lambda k: found[k].value)
        taken, before = found[best], self.value
        self._learn(taken, [Found(self.x, self.value, self.gradient, self.error), *found])
        assert taken.gradient is not None, "it is whole"
        slope = float(self.gradient @ self._step)
        longest = all(t.length <= self._tried[best].length for t in self._tried if t.gradient)
        self._note_length(taken, slope)
        self._growing = longest and float(taken.gradient @ self._step) < _WOLFE * slope
        self._move_to(taken)
        # Against J's changes, where these are less than J: of 1e9 + f only f is of interest.
        size = max(1.0, min(max(abs(before), abs(taken.value)), self.first - taken.value))
        if not self.noise and before - taken.value <= self.tolerances.ftol * size:
            self.converged = self.converged or "J falls by less than ftol"
        return True

    def _note_length(self, taken: Found, slope: float) -> None:
        """Have steps grow where J keeps falling as steeply along several: nothing else says how long they should be."""
        assert taken.gradient is not None, "it is whole"
        steady = float(taken.gradient @ self._step) <= _STEADY * slope < 0
        self._steady = self._steady + 1 if steady else 0
        self._least_length = _STRETCH * self._norm(taken.x - self.x) if self._steady >= _AFTER else 0.0

    @property
    def projected_gradient(self) -> Floats:
        """X - P(x - g), which is 0 at a solution; written so that a large x does not round a small g away."""
        assert self.gradient is not None, "the first round comes first"
        return np.clip(self.gradient, self.x - self.upper, self.x - self.lower)

    @property
    def stuck(self) -> bool:
        """Whether no step was found for long; of a first one nothing says how long it should be."""
        return self.failed >= self.tolerances.rounds * (1 if self._knows_scale else _FIRST_ROUNDS)

    @property
    def runs_away(self) -> bool:
        """Whether x is so far from x0 that J, as far as can be told, has no minimum."""
        return ran_away(self._home, self.x, (self.x > self.lower) & (self.x < self.upper))

    @property
    def _knows_scale(self) -> bool:
        """Whether any curvature was seen."""
        return self.model.gamma is not None

    def _norm(self, step: Floats) -> float:
        """Length of a step in units of the variables' sizes."""
        return float(np.linalg.norm(step / self._sizes))

    def refine(self, found: Found) -> None:
        """Take better values at x, and go on from there with a model that forgets what worse ones said."""
        reach = np.inf if self._knows_scale else self._reach
        self.model.forget()
        self._move_to(found)
        self._reach = reach

    def _first(self, trials: int, seed: int) -> list[tuple[Floats, bool]]:
        # Nobody has seen yet whether the sizes are right: wide bounds are no reason to look far away.
        sizes = np.minimum(self._sizes, np.maximum(1.0, np.abs(self.x)))
        points, size = [self.x], _FIRST * max(1.0, float(np.linalg.norm(self.x / sizes)))
        free = np.where(self.lower < self.upper, 1.0, 0.0)
        for k in range(min(trials - 1, int(free.sum()))):
            towards = np.random.default_rng([seed, k]).normal(size=len(self.x)) * free
            points.append(self._inside(sizes * towards * (size / max(float(np.linalg.norm(towards)), 1e-300))))
        return [(x, True) for x in points]

    def _begin(self, found: Sequence[Found]) -> bool:
        if found[0].gradient is None or not np.isfinite(found[0].value):
            return False
        self._check_sizes(found[0].gradient)
        self._learn(found[0], found[1:])
        self.first = found[0].value
        self._move_to(found[0])
        return True

    def _check_sizes(self, gradient: Floats) -> None:
        """Take the variables' sizes into account if the first gradient is more even in units of these."""
        slopes = np.abs(gradient[(gradient != 0) & (self.lower < self.upper)])
        scaled = np.abs(gradient * self._sizes)[(gradient != 0) & (self.lower < self.upper)]
        if (self._sizes == 1).all() or not len(slopes) or np.ptp(np.log(scaled)) >= np.ptp(np.log(slopes)):
            self._sizes = np.ones_like(self.x)
        else:
            self.model.sizes = self._sizes

    def _move_to(self, found: Found) -> None:
        self.x, self.value, self.gradient, self.error = found.x, found.value, found.gradient, found.error
        self.failed, self._reach = 0, np.inf
        self.converged = "" if (np.abs(self.projected_gradient) > self.tolerances.gtol).any() else "gradient below gtol"

    def _steps(self, g: Floats) -> tuple[Floats, Floats]:
        """The steps of both models along variables that are free to make them, no longer than the last failures say."""
        free = ~(((self.x <= self.lower) & (g > 0)) | ((self.x >= self.upper) & (g < 0)))
        free &= self.lower < self.upper
        while True:
            step, other = self.model.steps(g, free)
            # A variable that stands at a bound and would leave is held: projecting it could turn descent into ascent.
            leaves = free & (((self.x <= self.lower) & (step < 0)) | ((self.x >= self.upper) & (step > 0)))
            if not leaves.any():
                break
            free &= ~leaves
        if not float(g @ step) < 0:
            self.model.forget()
            step = np.where(free, -g, 0.0) * self._sizes**2 * (self.model.gamma or 1.0)
        size = self._norm(step)
        if 0 < size < self._least_length:
            step, size = step * (self._least_length / size), self._least_length
        far = self._norm(other)
        if not float(g @ other) < 0 or not far < 100 * size:
            other = 0.5 * step
        if size > self._reach:
            step, other = step * (self._reach / size), other * min(1.0, self._reach / max(far, 1e-300))
        return step, other

    def _inside(self, displacement: Floats) -> Floats:
        return np.clip(self.x + displacement, self.lower, self.upper)

    def _descends(self, trial: Trial, found: Found) -> bool:
        """Armijo's condition on the projected path, relaxed by noise (Berahas, Byrd & Nocedal, SIOPT 29(2), 2019)."""
        assert self.gradient is not None, "asked before"
        moved = found.x - self.x if trial.along == "step" else self._inside(self._step) - self.x
        if not np.isfinite(found.value) or not (found.x != self.x).any():
            return False
        return bool(found.value <= self.value + _ARMIJO * min(0.0, float(self.gradient @ moved)) + 2 * self.noise)

    def _fall_short(self, found: Sequence[Found], good: Sequence[int]) -> None:
        """No gradient was obtained at a point that descends: the next steps are shorter."""
        assert self.gradient is not None, "asked before"
        here = Found(self.x, self.value, self.gradient, self.error)
        self._learn(here, found)
        size, slope = self._norm(self._step), float(self.gradient @ self._step)
        if good:
            length = self._tried[min(good, key=lambda k: found[k].value)].length
        else:
            k = min((k for k, t in enumerate(self._tried) if t.along == "step"), key=lambda k: self._tried[k].length)
            length = shorter(self.value, slope, self._tried[k].length, found[k].value)
        self._reach = length * size
        self._steady, self._least_length = 0, 0.0
        self.failed += 1
        if self.failed == _PATIENCE:
            self.model.forget()

    def _learn(self, centre: Found, others: Sequence[Found]) -> None:
        """Pairs from the centre to all others: the first of them first, then by nearness."""
        pairs: list[Pair] = []
        for each in others:
            if each is centre or each.gradient is None or centre.gradient is None:
                continue
            s, y = centre.x - each.x, centre.gradient - each.gradient
            made = each.x is self.x
            if self._clear(s, y, centre.error, each.error) and (made or _bends_evenly(centre, each)):
                pairs.append((s, y))
        self.model.learn(pairs[:1] + sorted(pairs[1:], key=lambda pair: float(np.linalg.norm(pair[0]))))

    def _clear(self, s: Floats, y: Floats, *errors: Floats | None) -> bool:
        """Whether s'y stands out of what the gradients' errors add to it (Xie, Byrd & Nocedal, SIOPT 30(1), 2020)."""
        variance = sum(float(np.sum((s * np.nan_to_num(e) / 2) ** 2)) for e in errors if e is not None)
        return bool(abs(float(s @ y)) > 2 * np.sqrt(variance))

    def _least_side(self) -> float:
        """How long a step to the side must be for its curvature to stand out of the noise."""
        if self.error is None or self.model.gamma is None:
            return 0.0
        return float(4 * self.model.gamma * np.sqrt(np.mean((np.nan_to_num(self.error) * self._sizes) ** 2)))


def typical_sizes(x: Floats, lower: Floats, upper: Floats) -> Floats:
    """Sizes of the variables, (d,), as powers of two: the bounds' distances, or abs(x0); 1 where these are even.

    Of a variable that is 0 without bounds nothing is known: it has the others' geometric mean.
    """
    width = upper - lower
    sizes = np.where(np.isfinite(width), width, np.abs(x))
    known = (sizes > 0) & np.isfinite(sizes) & (width > 0)
    if not known.any() or sizes[known].max() < _UNEVEN * sizes[known].min():
        return np.ones_like(x)
    logs = np.log2(np.where(known, sizes, 1.0))
    # Powers of two, so that no bit of x is lost by the change of units.
    return np.asarray(np.exp2(np.round(np.where(known, logs, logs[known].mean()))))


def _bends_evenly(centre: Found, other: Found) -> bool:
    """Whether a parabola between two points explains what is known at both, by and large.

    Of a quadratic J the mean slope times the distance is the difference in value; how much it is not, against the
    curvature s'y, tells that the second derivative differs much between the two (of x^4 from 0 it is 0.5). A trial that
    went far out of what J's curvature at x allows would else spoil the model.
    """
    assert centre.gradient is not None, "pairs are of points with gradients"
    assert other.gradient is not None, "pairs are of points with gradients"
    s = centre.x - other.x
    half = 0.5 * float((centre.gradient - other.gradient) @ s)
    mean = 0.5 * float((centre.gradient + other.gradient) @ s)
    return bool(abs(centre.value - other.value - mean) <= _EVEN * abs(half))
