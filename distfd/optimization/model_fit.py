"""Least squares on as many slots as there are: a trust region on one regression of all that was evaluated.

A round asks for trials, some with slopes, that fill the slots; what comes back joins the regression
(`distfd.optimization.model_fit_regression`), and the best trial is the next centre if it is lower. The search is pure:
the same values and the same rooms make the same iterates.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

from distfd.optimization.model_fit_regression import LinearModel, Observed, fit_model, with_value_at
from distfd.optimization.model_fit_step import least_of_model

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from distfd.optimization.model_fit_options import ModelOptions
    from distfd.optimization.model_fit_regression import Model
    from distfd.optimization.model_fit_step import ResidualModel
    from distfd.optimization.robust_loss import Loss

    Floats = NDArray[np.float64]

_FIRST_RADIUS = 0.3
"""The first trust region's radius, in typical sizes and square roots of d."""
_GOOD, _POOR = 0.75, 0.25
"""Of the decrease that the model foretold: above the first the radius grows, below the second it shrinks."""
_NEAR_ZERO, _PART = 0.3, 0.1
"""A start that is near 0 does not say how large a variable is: it counts as of this size, or of this part of the
displacement by which the residuals would change by their own size, if that is less."""
_BIG = 100.0
"""A trial whose residuals are so many times larger than the best ones' says nothing of what is near them."""
_RADII = (1.0, 4.0, 0.25, 2.0, 0.5, 16.0, 0.0625)
"""Radii of a round's trials, against the trust region's."""
_BOTH = (1.0, 4.0)
"""Radii at which the first-order model has a trial of its own, too."""
_APART = 0.1
"""Two trials of a round are no nearer to one another than this part of the shorter one."""
_SPARE = 3
"""More values without slopes in one round help no more."""
_AFTER = 2
"""Refused steps in a row after which a slope is asked for where it is least known, if there is but one slot."""
_LEAST, _EACH, _MOST = 40, 4, 400
"""Observations in a regression: 4 (d + 1), but from 40 to 400, and 3 (d + 1) / 2 where that is more."""
_EDGE = 0.9
"""Part of a radius from which on a step counts as held back by it."""
_STEP = 8**0.25
"""More & Wild (ACM TOMS 38(3), 2012): h = 8^(1/4) sqrt(noise / curvature)."""
_LONGEST = 0.1
"""No difference is longer than this part of a typical size."""
_NOISES = (1e-22, 1e-19, 1e-16, 1e-14, 1e-12, 1e-10, 1e-8, 1e-6, 1e-4, 1e-2)
"""Variances of the noise that are tried, against the signal's."""
_RETRIES = 3
"""How often lost slopes at x0 are asked for again."""
_MISFIT = 0.05
"""Of the slopes at x: from which on the model is made of fewer and nearer observations."""
_CLEAR = 1.0
"""By how much the logarithm of the likelihood has to rise, for each number observed, for the noise to be believed."""
_WIDER = 0.01
"""Of the first radius: to which the trust region is widened at least where better slopes have changed the model."""


@dataclass(frozen=True)
class Room:
    """What a round may hold.

    Attributes
    ----------
    slots : int
        Evaluations.
    jacobian : int
        Evaluations of J(x) with all slopes.
    slope : int
        ... of one slope beside J(x).
    """

    slots: int
    jacobian: int
    slope: int = 1


@dataclass(frozen=True, eq=False)
class Trial:
    """A point to be evaluated; with all slopes, with those along directions (p, d), or with none."""

    x: Floats
    directions: Floats | Literal["all"] | None = None


@dataclass(frozen=True, eq=False)
class Slope:
    """A slope (m,) along a direction (d,), taken over ``length`` of these; infinite where nothing is subtracted."""

    direction: Floats
    value: Floats
    length: float


@dataclass(frozen=True, eq=False)
class Evaluated:
    """What came of a trial; residuals are None where J failed."""

    x: Floats
    residuals: Floats | None
    slopes: Sequence[Slope] = ()


@dataclass(frozen=True, eq=False)
class _Observation:
    """A value (``slope`` is None) or a slope, at x; ``size`` is the norm of the residuals there."""

    x: Floats
    value: Floats
    size: float
    limit: float
    slope: Slope | None = None


@dataclass(frozen=True, eq=False)
class _Proposal:
    """A trial and what was foretold of it."""

    x: Floats
    z: Floats
    cost: float
    factor: float


@dataclass(eq=False)
class ModelSearch:
    """The search from x0.

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
        Whether the first slopes may enlarge the typical sizes of variables that start near 0.

    Attributes
    ----------
    residuals : (m,) ndarray or None before x0 is known
    cost : float
    measured : bool
        Whether all slopes at x are differences, and none is the model's alone.
    converged : str
        Why, where a tolerance is met.
    foretold : float
        By how much the model says that the cost falls at the first trial that was asked for last.
    failed : int
        Rounds in a row without a lower point.
    noise : float or None
        Standard deviation of the noise in a residual, as it was given or as the regression sees it.
    """

    x: Floats
    lower: Floats
    upper: Floats
    typical: Floats
    loss: Loss
    options: ModelOptions
    adapts: bool = False
    residuals: Floats | None = None
    cost: float = np.inf
    measured: bool = False
    converged: str = ""
    noise: float | None = None
    foretold: float = np.inf
    failed: int = 0
    _radius: float = 0.0
    _observations: list[_Observation] = field(default_factory=list)
    _model: Model | None = None
    _proposals: list[_Proposal] = field(default_factory=list)
    _improved: bool = False
    _asked: int = 0
    _moved: bool = False
    _fitted: bool = False
    _renewed: bool = False

    def __post_init__(self) -> None:
        self._free = self.lower < self.upper
        self._radius = self._first_radius = _FIRST_RADIUS * float(np.sqrt(self._free.sum()))
        self.noise = self.options.noise

    @property
    def lost_at_start(self) -> bool:
        """Whether slopes at x0 have no value, and are to be asked for again."""
        return not self._moved and self._asked < _RETRIES and len(self._lost()) > 0

    @property
    def has_slopes(self) -> bool:
        """Whether anything is known beside x0."""
        return any(o.slope is not None for o in self._observations)

    @property
    def cost_noise(self) -> float:
        """Standard deviation of the cost for the noise in the residuals; 0 where none was given or measured."""
        if not self.noise or self.residuals is None or self._fitted:
            return 0.0
        return float(self.noise * np.sqrt(2 * self.cost + self.noise**2 * len(self.residuals) / 2))

    def ask(self, room: Room) -> list[Trial]:
        """The trials of the next round; none where the model has no step left."""
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
        """Slopes at x that are wanted before there is another trial."""
        if self.residuals is None:
            return Trial(self.x, "all")
        if self.lost_at_start:
            self._asked += 1
            return Trial(self.x, self._again())
        if self.adapts:
            self._size_up()
        model = self.model()
        if self._fitted and not self._renewed:
            # What was differenced over lengths that the noise spoils is differenced anew; then the search begins again.
            self._renewed, self.failed, self._radius = True, 0, self._first_radius
            return Trial(self.x, "all")
        direction = self._least_known(model) if room.slots == 1 else None
        return None if direction is None else Trial(self.x, direction[None])

    def _size_up(self) -> None:
        """Look at the first slopes for what the sizes of variables near 0 are."""
        assert self.residuals is not None, "x0 is known"
        self.adapts, size = False, float(np.linalg.norm(self.residuals))
        for o in self._observations:
            if o.slope is not None and np.count_nonzero(o.slope.direction) == 1:
                k = int(np.flatnonzero(o.slope.direction)[0])
                steep = float(np.linalg.norm(o.value)) / abs(float(o.slope.direction[k]))
                if self.x[k] != 0 and steep > 0:
                    self.typical[k] = max(self.typical[k], min(_PART * size / steep, _NEAR_ZERO))
        self._model = None

    def tell(self, evaluated: Sequence[Evaluated]) -> bool:
        """Take a round in; whether x has moved."""
        for one in evaluated:
            self._observe(one)
        self._model = None
        if self.residuals is None:
            first = evaluated[0]
            if first.residuals is not None:
                self._move(first, first.residuals)
            return False
        if not self._proposals:
            self.measured = self.measured or len(self._lost()) == 0
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

    def model(self) -> Model:
        """The regression of what is known around x, in typical sizes."""
        if self._model is None:
            self._model = self._fit()
        return self._model

    def jacobian(self) -> Floats:
        """The model's Jacobian at x, (m, d); differences where there are any."""
        return self.model().jacobian(np.zeros(len(self.x))) * np.where(self._free, 1 / self.typical, 0.0)

    def correct(self, one: Evaluated) -> None:
        """Take in slopes at x that are better than those known there, as they replace them."""
        here = self.x.tobytes()
        if not one.slopes:
            return
        self._observations = [o for o in self._observations if o.slope is None or o.x.tobytes() != here]
        self._observe(one)
        self._model = None
        self.measured = True
        self._radius = max(self._radius, _WIDER * self._first_radius)

    def gradient_size(self) -> float:
        """The largest component of the cost's gradient along variables that no bound holds."""
        assert self.residuals is not None, "x0 is known"
        gradient = self.loss.gradient(self.residuals, self.jacobian())
        held = ((self.x <= self.lower) & (gradient > 0)) | ((self.x >= self.upper) & (gradient < 0)) | ~self._free
        return float(np.abs(np.where(held, 0.0, gradient)).max(initial=0.0))

    def lengths(self) -> Floats | None:
        """Steps of differences, (d,), where the noise says how long they have to be; None elsewhere."""
        if not self.noise:
            return None
        longest = _LONGEST * self.typical
        if self.residuals is None or len(self._observations) < 2:
            # Nothing is known of curvature: that of a residual which changes by its own size over a typical one.
            size = 1.0 if self.residuals is None else float(np.sqrt(np.mean(self.residuals**2)))
            return np.asarray(longest * min(1.0, np.sqrt(self.noise / max(size, self.noise)) / _LONGEST))
        model, far = self.model(), _LONGEST
        size = np.sqrt(2 * float(np.mean(model.signal))) / model.length**2
        curvature = np.empty(len(self.x))
        for k in range(len(self.x)):
            z = np.zeros(len(self.x))
            z[k] = far
            bent = (model.value(z) + model.value(-z)) / far**2
            curvature[k] = np.sqrt(np.mean(bent**2))
        curvature = np.maximum(curvature, max(_LONGEST * size, 1e-300))
        return np.asarray(np.minimum(_STEP * np.sqrt(self.noise / curvature) * self.typical, longest))

    def _move(self, one: Evaluated, residuals: Floats) -> None:
        self.x, self.residuals, self.cost = one.x, residuals, self.loss.cost(residuals)
        self.failed = 0
        self.measured = len(self._lost()) == 0

    def _resize(self, ratio: float, length: float, *, held: bool) -> None:
        """The next radius after a step of that length that was taken."""
        several = len(self._proposals) > 1
        if several and held:
            self._radius = length * (2.0 if ratio > _GOOD else 1.0 if ratio > _POOR else 0.5)
        elif ratio < _POOR:
            self._radius = max(0.5 * length, 0.25 * self._radius) if length < self._radius else 0.5 * self._radius
        elif ratio > _GOOD:
            self._radius = max(self._radius, 2.0 * length)

    def _observe(self, one: Evaluated) -> None:
        if one.residuals is None:
            return
        size = float(np.linalg.norm(one.residuals))
        limit = np.inf if self.residuals is None else _BIG * float(np.linalg.norm(self.residuals)) + 1e-300
        if not any(each.slope is None and each.x.tobytes() == one.x.tobytes() for each in self._observations):
            self._observations.append(_Observation(one.x, one.residuals, size, limit))
        for slope in one.slopes:
            if np.isfinite(slope.value).all():
                self._observations.append(_Observation(one.x, slope.value, size, limit, slope))

    def _lost(self) -> Floats:
        """Coordinates, as rows of unit vectors (p, d), along which no slope at x is known; none if d others are."""
        here = [o.slope.direction for o in self._observations if o.slope and o.x.tobytes() == self.x.tobytes()]
        free = np.flatnonzero(self._free)
        if not here:
            return np.eye(len(self.x))[free]
        rows = np.array(here)[:, free] / self.typical[free]
        rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-300)
        known = np.linalg.svd(rows)
        rank = int((known[1] > 1e-6).sum())
        if rank == len(free):
            return np.empty((0, len(self.x)))
        # Of the coordinates, those that are not in what is known: as many as dimensions are missing.
        missing = np.linalg.norm(known[2][rank:], axis=0)
        return np.eye(len(self.x))[free[np.sort(np.argsort(-missing, kind="stable")[: len(free) - rank])]]

    def _again(self) -> Floats:
        """Directions for slopes at x0 that were lost: the other way first, then together with one that is known."""
        lost = self._lost()
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
        near = self._nearest()
        observed = self._observed(near)
        if self.noise and not self._fitted:
            return fit_model(observed, _NOISES, self.noise)[0]
        plain, likely = fit_model(observed)
        if not self._fitted:
            least = int(self._free.sum()) + 1
            while len(near) > least and self._misfit(plain) > _MISFIT:
                # Over lengths that suit what is far, what is near is lost in round-off.
                near = near[: max(least, len(near) // 2)]
                observed = self._observed(near)
                plain, likely = fit_model(observed)
        if not self._fitted and not self.failed:  # a model that foretells well needs no noise
            return plain
        noisy, more = fit_model(observed, _NOISES)
        if not self._fitted and more - likely < _CLEAR * observed.size:
            return plain
        self._fitted, self.noise = True, float(np.sqrt(noisy.noise * np.mean(noisy.signal)))
        return noisy

    def _misfit(self, model: Model) -> float:
        """How far the model's slopes at x are, relatively, from those observed there; 0 where there are none."""
        o = model.observed
        centre = np.linalg.norm(o.bases, axis=1) == 0
        if not centre.any():
            return 0.0
        known, made = o.slopes[centre], o.directions[centre] @ model.jacobian(np.zeros(len(self.x))).T
        return float(np.linalg.norm(made - known) / max(float(np.linalg.norm(known)), 1e-300))

    def _nearest(self) -> list[_Observation]:
        """What the regression is made of, the nearest first."""
        assert self.residuals is not None, "x0 is known"
        d, scale, here = int(self._free.sum()), 1 / self.typical, self.x.tobytes()
        near = [o for o in self._observations if o.size <= o.limit or o.x.tobytes() == here]
        near.sort(key=lambda o: float(np.linalg.norm((o.x - self.x) * scale)))
        return near[: max(_LEAST, min(_EACH * (d + 1), _MOST), 3 * (d + 1) // 2) + 1]

    def _observed(self, near: Sequence[_Observation]) -> Observed:
        """The same in typical sizes, around x."""
        assert self.residuals is not None, "x0 is known"
        scale, here = 1 / self.typical, self.x.tobytes()
        values = [o for o in near if o.slope is None and o.x.tobytes() != here]
        slopes = [(o, o.slope, o.slope.direction * scale) for o in near if o.slope is not None]
        lengths = np.array([float(np.linalg.norm(u)) for _, _, u in slopes])
        m, n = len(self.residuals), len(self.x)
        return Observed(
            np.reshape([(o.x - self.x) * scale for o in values], (len(values), n)),
            np.reshape([o.value - self.residuals for o in values], (len(values), m)),
            np.reshape([(o.x - self.x) * scale for o, _, _ in slopes], (len(slopes), n)),
            np.reshape([u for _, _, u in slopes], (len(slopes), n)) / lengths[:, None],
            np.reshape([slope.value for _, slope, _ in slopes], (len(slopes), m)) / lengths[:, None],
            np.array([2.0 / slope.length**2 for _, slope, _ in slopes]) / lengths**2,
        )

    def _least_known(self, model: Model) -> Floats | None:
        """The direction of the slope at x that is least known, after refused steps; None where that is no reason."""
        if self._improved or not self.failed or self.failed % _AFTER:
            return None
        values, vectors = self._unknown(model, np.zeros(len(self.x)))
        if not values[-1] > 0.25 * (self._radius / model.length**2) ** 2:
            return None
        self._improved = True
        return np.asarray(vectors[:, -1] * self.typical)

    def _directions(self, model: Model, z: Floats, n: int) -> Floats:
        """The n directions along which the slope at z will be least known once its value is, (n, d)."""
        _, vectors = self._unknown(with_value_at(model, z), z)
        n = min(n, int(self._free.sum()))
        return np.asarray(vectors[:, ::-1][:, :n].T * self.typical)

    def _unknown(self, model: Model, z: Floats) -> tuple[Floats, Floats]:
        """Variances of the slope at z, ascending, and their directions as columns, along free variables."""
        free = np.flatnonzero(self._free)
        values, vectors = np.linalg.eigh(model.slope_covariance(z)[np.ix_(free, free)])
        whole = np.zeros((len(z), len(free)))
        whole[free] = vectors
        return values, whole

    def _steps(self, model: Model, whole: int, spare: int) -> list[_Proposal]:
        """Distinct trials, the model's own step first."""
        assert self.residuals is not None, "x0 is known"
        wanted, box = whole + spare, self._box()
        linear = LinearModel(model.jacobian(np.zeros(len(self.x))))
        found: list[_Proposal] = []
        for factor in _RADII:
            models: list[ResidualModel] = [model, linear] if factor in _BOTH and wanted > 1 else [model]
            for each in models:
                z, cost = least_of_model(self.residuals, each, self._radius * factor, box, self.loss)
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
