"""L-BFGS that asks for many trials at once: a round asks for points and takes in their values. It evaluates nothing.

It is the projected quasi-Newton method of Bertsekas (SIAM J. Control Optim. 20(2), 1982) on the free variables, with
the curvature that all trials of all rounds have shown (`distfd.optimization.lbfgs_hessian`).
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
"""Distance of the first round's other points from x0, relative to its length: small, to see the curvature at x0."""
_EVEN = 0.3
_UNEVEN = 1e3
"""The variables' sizes are used if the largest is at least this many times the smallest."""
_FIRST_ROUNDS = 4
"""Factor on the number of rounds that may fail while no curvature is known."""
_PATIENCE = 3
"""The model is started anew after this many rounds without a step."""
_STEADY, _STRETCH, _AFTER = 0.999, 3.0, 3
"""If a slope keeps at least `_STEADY` of itself over a whole step, it is steady. After `_AFTER` steps in a row on which
it was, each step is `_STRETCH` times as long as the one before."""


@dataclass(frozen=True)
class Tolerances:
    """Limits at which the method has converged; as in SciPy's L-BFGS-B.

    Attributes
    ----------
    gtol : float
        Limit of the largest component of the projected gradient.
    ftol : float
        Limit of the decrease of J in one iteration, relative to max(1, abs(J)).
    rounds : int
        Number of rounds without a step after which the method gives up.
    """

    gtol: float = 1e-5
    ftol: float = 2.220446049250313e-09
    rounds: int = 8


@dataclass(frozen=True, eq=False)
class Found:
    """The result at a point: J (NaN where it failed), and the gradient where it was asked for and is complete.

    ``error`` is the half width of each component's error bar, None where it is not known.
    """

    x: Floats
    value: float
    gradient: Floats | None = None
    error: Floats | None = None


@dataclass(eq=False)
class Search:
    """The state of the search.

    Parameters
    ----------
    x : (d,) ndarray
    lower, upper : (d,) ndarrays
    memory : int
        Number of pairs s, y that are kept.
    tolerances : Tolerances
    noise : float
        A bound for the noise of J. A step may miss the descent condition by twice this.
    seed : int
        Seed of the directions that are tried beside the steps.
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
        """Points of the next round, each with whether its gradient is wanted; the same values give the same points."""
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
        """Takes in the results at the points of the last round; returns whether x has moved or is known at last."""
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
        # Relative to J's changes where they are less than J: for J = 1e9 + f only f matters.
        size = max(1.0, min(max(abs(before), abs(taken.value)), self.first - taken.value))
        if not self.noise and before - taken.value <= self.tolerances.ftol * size:
            self.converged = self.converged or "J falls by less than ftol"
        return True

    def _note_length(self, taken: Found, slope: float) -> None:
        """Lengthens the steps where J keeps falling as steeply over several: nothing else shows a suitable length."""
        assert taken.gradient is not None, "it is whole"
        steady = float(taken.gradient @ self._step) <= _STEADY * slope < 0
        self._steady = self._steady + 1 if steady else 0
        self._least_length = _STRETCH * self._norm(taken.x - self.x) if self._steady >= _AFTER else 0.0

    @property
    def projected_gradient(self) -> Floats:
        """The projected gradient, x - P(x - g), 0 at a solution; a large x does not round away a small g."""
        assert self.gradient is not None, "the first round comes first"
        return np.clip(self.gradient, self.x - self.upper, self.x - self.lower)

    @property
    def stuck(self) -> bool:
        """Whether no step was found for many rounds; more rounds are allowed at first, when no length is known."""
        return self.failed >= self.tolerances.rounds * (1 if self._knows_scale else _FIRST_ROUNDS)

    @property
    def runs_away(self) -> bool:
        """Whether x is so far from x0 that J seems to have no minimum."""
        return ran_away(self._home, self.x, (self.x > self.lower) & (self.x < self.upper))

    @property
    def _knows_scale(self) -> bool:
        """Whether any curvature has been seen."""
        return self.model.gamma is not None

    def _norm(self, step: Floats) -> float:
        """The length of a step in units of the variables' sizes."""
        return float(np.linalg.norm(step / self._sizes))

    def refine(self, found: Found) -> None:
        """Takes in more accurate values at x, and goes on with a model without pairs from less accurate ones."""
        reach = np.inf if self._knows_scale else self._reach
        self.model.forget()
        self._move_to(found)
        self._reach = reach

    def _first(self, trials: int, seed: int) -> list[tuple[Floats, bool]]:
        # No result has confirmed the sizes yet, and wide bounds are no reason to look far away.
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
        """Starts to use the variables' sizes if the components of the first gradient are more even in these units."""
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
        """The steps of both models along free variables, limited in length after failures."""
        free = ~(((self.x <= self.lower) & (g > 0)) | ((self.x >= self.upper) & (g < 0)))
        free &= self.lower < self.upper
        while True:
            step, other = self.model.steps(g, free)
            # Hold a variable that is at a bound and would leave it: projection could turn the step into one of ascent.
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
        """Shortens the next steps, as no point that descends has a gradient."""
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
        """Gives the model pairs from the centre to all others: that of the first one first, the rest by distance."""
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
        """Whether s'y exceeds the effect of the gradients' errors on it (Xie, Byrd & Nocedal, SIOPT 30(1), 2020)."""
        variance = sum(float(np.sum((s * np.nan_to_num(e) / 2) ** 2)) for e in errors if e is not None)
        return bool(abs(float(s @ y)) > 2 * np.sqrt(variance))

    def _least_side(self) -> float:
        """Least length of a step to the side for which curvature is larger than the noise."""
        if self.error is None or self.model.gamma is None:
            return 0.0
        return float(4 * self.model.gamma * np.sqrt(np.mean((np.nan_to_num(self.error) * self._sizes) ** 2)))


def typical_sizes(x: Floats, lower: Floats, upper: Floats) -> Floats:
    """Sizes of the variables, (d,), as powers of two: distances of bounds, or abs(x0); all 1 if these are even.

    A variable that is 0 and has no bounds gets the geometric mean of the others' sizes.
    """
    width = upper - lower
    sizes = np.where(np.isfinite(width), width, np.abs(x))
    known = (sizes > 0) & np.isfinite(sizes) & (width > 0)
    if not known.any() or sizes[known].max() < _UNEVEN * sizes[known].min():
        return np.ones_like(x)
    logs = np.log2(np.where(known, sizes, 1.0))
    # With powers of two, the change of units loses no bit of x.
    return np.asarray(np.exp2(np.round(np.where(known, logs, logs[known].mean()))))


def _bends_evenly(centre: Found, other: Found) -> bool:
    """Whether a parabola roughly explains the values and slopes at two points.

    For a quadratic J, the mean slope times the distance is the difference of the values. The misfit, relative to the
    curvature s'y, shows how much the second derivative differs between the points (for x^4 from 0 it is 0.5). Without
    this test, a trial far outside the region where J's curvature at x holds would spoil the model.
    """
    assert centre.gradient is not None, "pairs are of points with gradients"
    assert other.gradient is not None, "pairs are of points with gradients"
    s = centre.x - other.x
    half = 0.5 * float((centre.gradient - other.gradient) @ s)
    mean = 0.5 * float((centre.gradient + other.gradient) @ s)
    return bool(abs(centre.value - other.value - mean) <= _EVEN * abs(half))
