"""Least squares on all slots: a trust-region method with one regression through everything that was evaluated.

A round asks for as many trials as fill the slots, some with slopes. The results join the regression
(`distfd.optimization.model_fit_regression`), and the best trial becomes the centre if its cost is lower. The search is
pure: the same values and the same room in each round give the same iterates.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

from distfd.optimization.model_fit_observations import Observations
from distfd.optimization.model_fit_regression import (
    LinearModel,
    PartlyLinear,
    fit_model,
    lengths_agree,
    with_value_at,
)
from distfd.optimization.model_fit_step import least_of_model

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from distfd.optimization.model_fit_observations import Evaluated
    from distfd.optimization.model_fit_options import ModelOptions
    from distfd.optimization.model_fit_regression import Model
    from distfd.optimization.model_fit_step import ResidualModel
    from distfd.optimization.robust_loss import Loss

    Floats = NDArray[np.float64]

_FIRST_RADIUS = 0.3
"""Radius of the first trust region, in typical sizes times sqrt(d)."""
_GOOD, _POOR = 0.75, 0.25
"""Limits for the actual decrease over the predicted one: above the first the radius grows, below the second it
shrinks."""
_NEAR_ZERO, _PART = 0.3, 0.1
"""A start near 0 does not show how large a variable is. The variable then counts as of size `_NEAR_ZERO`, or as `_PART`
of the displacement by which the residuals would change by their own size, if that is less."""
_RADII = (1.0, 4.0, 0.25, 2.0, 0.5, 16.0, 0.0625)
"""Radii of a round's trials, relative to the trust region's."""
_BOTH = (1.0, 4.0)
"""Radii at which the first-order model also has a trial."""
_APART = 0.1
"""Least distance between two trials of a round, as a part of the shorter one."""
_SPARE = 3
"""Largest number of values without slopes in a round: more do not help."""
_AFTER = 2
"""With a single slot, the least known slope is asked for after this many refused steps in a row."""
_EDGE = 0.9
"""A step counts as limited by the radius if it is longer than this part of it."""
_STEP = 8**0.25
"""Factor of the step in More & Wild (ACM TOMS 38(3), 2012): h = 8^(1/4) sqrt(noise / curvature)."""
_LONGEST = 0.1
"""A differencing step is at most this part of a typical size."""
_NOISES = (1e-22, 1e-19, 1e-16, 1e-14, 1e-12, 1e-10, 1e-8, 1e-6, 1e-4, 1e-2)
"""Candidates for the variance of the noise, relative to the signal's."""
_RETRIES = 3
"""How often slopes at x0 that failed are asked for again."""
_MISFIT = 0.05
"""If the model's slopes at x differ from the observed ones by more than this part, the model uses fewer and nearer
observations."""
_CLEAR = 1.0
"""The noise is accepted if it raises the logarithm of the likelihood by this much for each number observed."""
_FALL, _BEYOND = 0.1, 10.0
"""A fall of this part of the cost, by this many standard deviations of its noise, shows that the end is no minimum."""
_GROWN = 4.0
"""A variable that has grown to more than this many times the size that its start suggested has its own size from then
on."""
_WIDER = 0.01
"""When better slopes have changed the model, the trust region has at least this part of the first radius."""


@dataclass(frozen=True)
class Room:
    """How many evaluations a round may hold, and how many its trials take.

    Attributes
    ----------
    slots : int
        Number of evaluations that fit in the round.
    jacobian : int
        Number of evaluations for J(x) and all slopes.
    slope : int
        Number of evaluations for one slope, besides J(x).
    """

    slots: int
    jacobian: int
    slope: int = 1


@dataclass(frozen=True, eq=False)
class Trial:
    """A point to evaluate, with all slopes, with slopes along directions (p, d), or without slopes."""

    x: Floats
    directions: Floats | Literal["all"] | None = None


@dataclass(frozen=True, eq=False)
class _Proposal:
    """A trial and the model's prediction for it."""

    x: Floats
    z: Floats
    cost: float
    factor: float


@dataclass(eq=False)
class ModelSearch:
    """The search for the least cost, from x0.

    Parameters
    ----------
    x : (d,) ndarray
        x0 at first, then the best point.
    lower, upper : (d,) ndarrays
    typical : (d,) ndarray
        Sizes > 0 by which displacements are measured.
    loss : Loss
    options : ModelOptions
    adapts : bool
        Whether the typical sizes come only from x0. The first slopes may then enlarge those of variables that start
        near 0, and variables that grow far beyond x0 enlarge their own.
    linear : (q, d) ndarray
        Slopes of the last q residuals, those of priors, which are linear in x: the regression is through the others.

    Attributes
    ----------
    residuals : (m,) ndarray or None before x0 is known
    cost : float
    measured : bool
        Whether all slopes at x come from differences, and none from the model only.
    converged : str
        The reason, where a tolerance is met; else empty.
    foretold : float
        The decrease of the cost that the model predicts for the first trial of the last request.
    failed : int
        Number of rounds in a row without a lower cost.
    noise : float or None
        Standard deviation of the noise in a residual, as given or as found by the regression.
    """

    x: Floats
    lower: Floats
    upper: Floats
    typical: Floats
    loss: Loss
    options: ModelOptions
    adapts: bool = False
    linear: Floats = field(default_factory=lambda: np.zeros((0, 0)))
    residuals: Floats | None = None
    cost: float = np.inf
    measured: bool = False
    converged: str = ""
    noise: float | None = None
    foretold: float = np.inf
    failed: int = 0
    _radius: float = 0.0
    _observations: Observations = field(init=False)
    _model: Model | PartlyLinear | None = None
    _proposals: list[_Proposal] = field(default_factory=list)
    _improved: bool = False
    _asked: int = 0
    _moved: bool = False
    _fitted: bool = False
    _renewed: bool = False
    _noiseless: bool = False

    def __post_init__(self) -> None:
        self._free = self.lower < self.upper
        self._radius = self._first_radius = _FIRST_RADIUS * float(np.sqrt(self._free.sum()))
        self._sizes = self.typical.copy()
        self._observations = Observations(self._free, len(self.linear))
        self._grows = self.adapts
        if self.noise is None:
            self.noise = self.options.noise

    @property
    def lost_at_start(self) -> bool:
        """Whether slopes at x0 failed and should be asked for again."""
        return not self._moved and self._asked < _RETRIES and len(self._missing()) > 0

    @property
    def has_slopes(self) -> bool:
        """Whether anything besides the residuals at x0 is known."""
        return any(o.slope is not None for o in self._observations.known)

    @property
    def cost_noise(self) -> float:
        """Standard deviation of the cost caused by noise in the residuals; 0 if no noise was given or found."""
        if not self.noise or self.residuals is None:
            return 0.0
        return float(self.noise * np.sqrt(2 * self.cost + self.noise**2 * len(self.residuals) / 2))

    @property
    def told_cost_noise(self) -> float:
        """The same where the noise was given; 0 if the regression found it, as it may not be there."""
        return 0.0 if self._fitted else self.cost_noise

    def ask(self, room: Room) -> list[Trial]:
        """The trials of the next round; empty if the model has no step left."""
        self._proposals = []
        if (slopes := self._wanted_slopes(room)) is not None:
            return [slopes]
        assert self.residuals is not None, "x0 is known"
        model = self.model()
        self._improved = False
        whole = room.slots // room.jacobian
        spare = room.slots - whole * room.jacobian if whole else 0
        self._proposals = self._steps(model, max(1, whole), min(spare, _SPARE))
        self.foretold = self.cost - self._proposals[0].cost if self._proposals else 0.0
        if not self._proposals:
            return []
        if whole:
            return [Trial(one.x, "all" if k < whole else None) for k, one in enumerate(self._proposals)]
        n = (room.slots - 1) // room.slope
        return [Trial(self._proposals[0].x, self._directions(model, self._proposals[0].z, n) if n else None)]

    def _wanted_slopes(self, room: Room) -> Trial | None:
        """Slopes at x that are needed before further trials."""
        if self.residuals is None:
            return Trial(self.x, "all")
        if self.lost_at_start:
            self._asked += 1
            return Trial(self.x, self._again())
        if self.adapts:
            self._size_up()
        model = self.model()
        if self._fitted and not self._renewed:
            # Noise spoils differences over such short distances: take them again, over longer ones, then restart the
            # search.
            self._renewed, self.failed, self._radius = True, 0, self._first_radius
            return Trial(self.x, "all")
        direction = self._least_known(model) if room.slots == 1 else None
        return None if direction is None else Trial(self.x, direction[None])

    def _size_up(self) -> None:
        """Estimates the sizes of variables near 0 from the first slopes."""
        assert self.residuals is not None, "x0 is known"
        self.adapts, size = False, float(np.linalg.norm(self.residuals))
        for o in self._observations.known:
            if o.slope is not None and np.count_nonzero(o.slope.direction) == 1:
                k = int(np.flatnonzero(o.slope.direction)[0])
                steep = float(np.linalg.norm(o.value)) / abs(float(o.slope.direction[k]))
                if self.x[k] != 0 and steep > 0:
                    self.typical[k] = max(self.typical[k], min(_PART * size / steep, _NEAR_ZERO))
        self._model = None

    def tell(self, evaluated: Sequence[Evaluated]) -> bool:
        """Takes in the results of a round; returns whether x has moved."""
        for one in evaluated:
            self._observations.add(one, self.residuals)
        self._model = None
        if self.residuals is None:
            first = evaluated[0]
            if first.residuals is not None:
                self._move(first, first.residuals)
            return False
        if not self._proposals:
            self.measured = self.measured or len(self._missing()) == 0
            return False
        costs = [np.inf if one.residuals is None else self.loss.cost(one.residuals) for one in evaluated]
        best = int(np.argmin(costs))
        proposal, there = self._proposals[best], evaluated[best]
        foretold, gained = self.cost - proposal.cost, self.cost - costs[best]
        ratio = gained / foretold if foretold > 0 else -1.0
        length = float(np.linalg.norm(proposal.z))
        if not gained > 0 or there.residuals is None:
            self.failed += 1
            shortest = min(float(np.linalg.norm(one.z)) for one in self._proposals)
            self._radius = min(self._radius, shortest) / 2
            if self._radius < self.options.xtol * (self.options.xtol + float(np.linalg.norm(self.x / self.typical))):
                self.converged = "xtol: the trust region is as small"
            return False
        self._resize(ratio, length, held=length > _EDGE * self._radius * proposal.factor)
        if self._grows:
            self._grow(there.x)
        step, size = float(np.linalg.norm(there.x - self.x)), float(np.linalg.norm(self.x))
        old, self._moved = self.cost, True
        self._move(there, there.residuals)
        o = self.options
        self.converged = ""
        if gained < o.ftol * old and ratio > _POOR:
            self.converged = "ftol: the cost fell by less"
        elif step < o.xtol * (o.xtol + size):
            self.converged = "xtol: the step was shorter"
        return True

    def model(self) -> Model | PartlyLinear:
        """The regression through all that is known around x, in typical sizes."""
        if self._model is None:
            model = self._fit()
            self._model = PartlyLinear(model, self.linear * self.typical) if len(self.linear) else model
        return self._model

    def jacobian(self) -> Floats:
        """The model's Jacobian at x, (m, d); differences where there are any."""
        return self.model().jacobian(np.zeros(len(self.x))) * np.where(self._free, 1 / self.typical, 0.0)

    def correct(self, one: Evaluated) -> None:
        """Replaces the known slopes at x by more accurate ones."""
        if not one.slopes:
            return
        self._observations.drop_slopes(self.x)
        self._observations.add(one, self.residuals)
        self._model = None
        self.measured = True
        self._radius = max(self._radius, _WIDER * self._first_radius)

    def gradient_size(self) -> float:
        """The largest component of the cost's gradient along variables that no bound holds."""
        assert self.residuals is not None, "x0 is known"
        gradient = self.loss.gradient(self.residuals, self.jacobian())
        held = ((self.x <= self.lower) & (gradient > 0)) | ((self.x >= self.upper) & (gradient < 0)) | ~self._free
        return float(np.abs(np.where(held, 0.0, gradient)).max(initial=0.0))

    @property
    def falls_beyond_noise(self) -> bool:
        """Whether a Gauss-Newton step foretells a fall of much of the cost, far beyond noise that the regression found.

        The loss weights residuals as for the cost's gradient, so the fall is 0 where that gradient is.
        """
        assert self.residuals is not None, "x0 is known"
        if not self._fitted:
            return False
        inside = self._free & (self.x > self.lower) & (self.x < self.upper)
        weights = np.sqrt(np.maximum(self.loss.weights(self.residuals)[0], 0.0))
        slopes = self.jacobian()[:, inside] * weights[:, None]
        step = np.linalg.lstsq(slopes, -weights * self.residuals, rcond=None)[0]
        fall = 0.5 * float(np.sum((slopes @ step) ** 2))
        return fall > _FALL * self.cost and fall > _BEYOND * self.cost_noise

    @property
    def longest(self) -> Floats:
        """The longest differencing steps, (d,)."""
        return _LONGEST * self.typical

    def lengths(self) -> Floats | None:
        """Differencing steps, (d,), where the noise determines them; else None."""
        if not self.noise:
            return None
        longest = self.longest
        if self.residuals is None or len(self._observations.known) < 2:
            # The curvature is unknown: assume that a residual changes by its own size over a typical size.
            size = 1.0 if self.residuals is None else float(np.sqrt(np.mean(self.residuals**2)))
            return np.asarray(longest * min(1.0, np.sqrt(self.noise / max(size, self.noise)) / _LONGEST))
        model, far = self.model(), _LONGEST
        if not self.noise:  # the model has just shown that there is none
            return None
        size = np.sqrt(2 * float(np.mean(model.signal))) / model.length**2
        curvature = np.empty(len(self.x))
        for k in range(len(self.x)):
            z = np.zeros(len(self.x))
            z[k] = far
            bent = (model.value(z) + model.value(-z)) / far**2
            curvature[k] = np.sqrt(np.mean(bent**2))
        curvature = np.maximum(curvature, max(_LONGEST * size, 1e-300))
        return np.asarray(np.minimum(_STEP * np.sqrt(self.noise / curvature) * self.typical, longest))

    def influence(self) -> Floats:
        """Changes of the residuals by a step of each variable, as long as x0's typical size, relative to their norm."""
        assert self.residuals is not None, "x0 is known"
        size = max(float(np.linalg.norm(self.residuals)), float(np.finfo(float).tiny))
        with np.errstate(over="ignore"):  # the residuals may vanish
            return np.asarray(np.linalg.norm(self.jacobian(), axis=0) * self._sizes / size)

    def again(self, typical: Floats, shorter: float) -> ModelSearch:
        """A search from x0 by other typical sizes, with a shorter first radius, that knows the residuals there."""
        known = self._observations.at_start()
        noise = None if self._fitted else self.noise
        search = ModelSearch(
            known.x, self.lower, self.upper, typical, self.loss, self.options, linear=self.linear, noise=noise
        )
        search._radius *= shorter
        search.tell([known])
        return search

    def _move(self, one: Evaluated, residuals: Floats) -> None:
        self.x, self.residuals, self.cost = one.x, residuals, self.loss.cost(residuals)
        self.failed = 0
        self.measured = len(self._missing()) == 0

    def _resize(self, ratio: float, length: float, *, held: bool) -> None:
        """Sets the next radius after an accepted step of this length."""
        several = len(self._proposals) > 1
        if several and held:
            self._radius = length * (2.0 if ratio > _GOOD else 1.0 if ratio > _POOR else 0.5)
        elif ratio < _POOR:
            self._radius = max(0.5 * length, 0.25 * self._radius) if length < self._radius else 0.5 * self._radius
        elif ratio > _GOOD:
            self._radius = max(self._radius, 2.0 * length)

    def _grow(self, x: Floats) -> None:
        """Gives variables that have grown far beyond their typical sizes their sizes at x, the next best point.

        A trust region by old sizes would allow all variables the step that the grown ones need.
        """
        step, grown = x - self.x, np.abs(x) > _GROWN * self.typical
        if grown.any():
            old = float(np.linalg.norm(step / self.typical))
            self.typical = np.where(grown, np.abs(x), self.typical)
            self._radius *= float(np.linalg.norm(step / self.typical)) / old  # the step is as long, by the radius

    def _missing(self) -> Floats:
        return self._observations.missing(self.x, self.typical)

    def _again(self) -> Floats:
        """Directions for slopes at x0 that failed: first the opposite ones, then combined with one that is known."""
        lost = self._missing()
        if self._asked == 1:
            return -lost
        known = np.flatnonzero(self._free & (lost == 0).all(axis=0))
        if len(known) and self._asked > 1:
            lost = lost.copy()
            lost[:, known[0]] = 0.5 * self.typical[known[0]] / (lost @ self.typical) ** (1 if self._asked == 2 else 0)
        return lost

    def _box(self) -> tuple[Floats, Floats]:
        return (self.lower - self.x) / self.typical, (self.upper - self.x) / self.typical

    def _fit(self) -> Model:
        assert self.residuals is not None, "x0 is known"
        near = self._observations.nearest(self.x, self.typical)
        observed = self._observations.around(self.x, self.residuals, self.typical, near)
        if self.noise and not self._fitted:
            return fit_model(observed, _NOISES, self.noise)[0]
        plain, likely = fit_model(observed)
        if not self._fitted:
            least = int(self._free.sum()) + 1
            while len(near) > least and self._misfit(plain) > _MISFIT:
                # With lengths that suit distant points, near points are lost in round-off.
                near = near[: max(least, len(near) // 2)]
                observed = self._observations.around(self.x, self.residuals, self.typical, near)
                plain, likely = fit_model(observed)
        if self._noiseless or (not self._fitted and not self.failed):  # a model that predicts well needs no noise
            return plain
        noisy, more = fit_model(observed, _NOISES)
        if not self._fitted and more - likely < _CLEAR * observed.size:
            return plain
        if self._fitted and lengths_agree(self._observations.slopes()):
            # The model does not describe the residuals so far from x; that is no noise.
            self._fitted, self.noise, self._noiseless = False, None, True
            return plain
        self._fitted, self.noise = True, float(np.sqrt(noisy.noise * np.mean(noisy.signal)))
        return noisy

    def _misfit(self, model: Model) -> float:
        """Relative difference between the model's slopes at x and the observed ones; 0 if there are none."""
        o = model.observed
        centre = np.linalg.norm(o.bases, axis=1) == 0
        if not centre.any():
            return 0.0
        known, made = o.slopes[centre], o.directions[centre] @ model.jacobian(np.zeros(len(self.x))).T
        return float(np.linalg.norm(made - known) / max(float(np.linalg.norm(known)), 1e-300))

    def _least_known(self, model: Model | PartlyLinear) -> Floats | None:
        """The direction of the least known slope at x, after refused steps; None if these have other reasons."""
        if self._improved or not self.failed or self.failed % _AFTER:
            return None
        values, vectors = self._unknown(model, np.zeros(len(self.x)))
        if not values[-1] > 0.25 * (self._radius / model.length**2) ** 2:
            return None
        self._improved = True
        return np.asarray(vectors[:, -1] * self.typical)

    def _directions(self, model: Model | PartlyLinear, z: Floats, n: int) -> Floats:
        """The n directions whose slopes at z will be least known once the value at z is known, (n, d)."""
        _, vectors = self._unknown(with_value_at(model, z), z)
        n = min(n, int(self._free.sum()))
        return np.asarray(vectors[:, ::-1][:, :n].T * self.typical)

    def _unknown(self, model: Model | PartlyLinear, z: Floats) -> tuple[Floats, Floats]:
        """Variances of the slope at z, ascending, with their directions as columns, along free variables."""
        free = np.flatnonzero(self._free)
        values, vectors = np.linalg.eigh(model.slope_covariance(z)[np.ix_(free, free)])
        whole = np.zeros((len(z), len(free)))
        whole[free] = vectors
        return values, whole

    def _steps(self, model: Model | PartlyLinear, whole: int, spare: int) -> list[_Proposal]:
        """Distinct trials; the model's own step comes first."""
        assert self.residuals is not None, "x0 is known"
        wanted, box = whole + spare, self._box()
        linear = LinearModel(model.jacobian(np.zeros(len(self.x))))
        found: list[_Proposal] = []
        for factor in _RADII:
            models: list[ResidualModel] = [model, linear] if factor in _BOTH and wanted > 1 else [model]
            for each in models:
                z, cost = least_of_model(
                    self.residuals, each, self._radius * factor, box, self.loss, priors=len(self.linear) > 0
                )
                length = float(np.linalg.norm(z))
                x = np.where(self._free, np.clip(self.x + z * self.typical, self.lower, self.upper), self.x)
                if length == 0 or x.tobytes() == self.x.tobytes():
                    continue
                near = _APART * np.array([min(length, float(np.linalg.norm(one.z))) for one in found])
                if all(np.linalg.norm(z - one.z) > gap for one, gap in zip(found, near, strict=True)):
                    found.append(_Proposal(x, z, cost, factor))
                if len(found) == wanted:
                    return found
            if wanted == 1:
                break
        return found
