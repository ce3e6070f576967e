"""One side of a likelihood profile: refits with one parameter held, from the estimate outward; evaluates nothing.

Bates & Watts (1988), Nonlinear Regression Analysis and Its Applications, section 6.1: parameter k is held at values
farther and farther from its estimate, and the other parameters are fitted at each value. The signed root of the
increase of the sum of squares S, in standard deviations s of a residual, is

    zeta(v) = sign(v - estimate) sqrt((S(v) - S(estimate)) / s^2),

which is a straight line of slope 1 / standard error for a linear model. The likelihood interval is where abs(zeta) is
at most Student's t (or the quantile of the normal distribution if s is known).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from distfd.optimization.robust_loss import Loss

    Floats = NDArray[np.float64]

End = Literal["level", "bound", "open", "failed", "not converged", "better fit", "limit"]
"""How the search on a side ends: zeta reaches the level; a bound comes first; the level is not within reach; J fails;
refits do not converge; a cost is below the estimate's; the caller's limits stop it."""

_CONVERGED = 1e-7
"""A refit has converged if a further step would change zeta^2 by less than this, relative to the larger of 1 and
zeta^2."""
_NOISE = 1e-3
"""The same limit for a refit whose steps are refused again and again."""
_BETTER = 1e-3
"""There is a better fit if S falls below the estimate's by more than this, in units of s^2."""
_ARMIJO = 1e-4
_FIRST, _LEAST, _MOST = 1e-3, 1e-6, 1e12
"""Damping relative to the curvature: after the first refused step, the least above 0, and the value at which a refit is
given up."""
_ONE = 1e-7
"""Singular values of unit columns below this part of the largest may come from errors of differences."""
_STEPS = 60
"""Largest number of points in one refit."""
_REFUSED = 6
"""Number of refused steps in a row after which a refit ends if its predicted decrease is mere noise."""
_HOPELESS = 8
"""Number of uphill steps in a row after which a refit is given up: its slopes are mere noise."""
_LOST = 3
"""Number of refits in a row without convergence after which a side is given up."""
_HALVED = 8
"""Largest number of halvings of the distance to the next value, where J fails there."""
_GROWTH = 2.0
"""A step along the profile is at most this many times as long as the one before."""
_VALUES = 10
"""Number of values on one side, in units of ``points``, after which the search for the level is given up."""
_ON_LEVEL = 1e-5
"""The end is found if zeta differs from the level by this relative amount at most."""
_REFINED = 6
"""Largest number of refits, between a value below the level and one beyond it, to find the end."""


@dataclass(frozen=True, eq=False)
class Known:
    """A point with its residuals, (m,), and their Jacobian, (m, d)."""

    x: Floats
    residuals: Floats
    jacobian: Floats


@dataclass(frozen=True, eq=False)
class Fitted:
    """A point of the profile.

    Attributes
    ----------
    x : (d,) ndarray
        All parameters.
    cost : float
        Half the sum of squares, or half the sum of the loss.
    slope : float
        Derivative of the cost with respect to the held parameter, with the others refitted.
    converged : bool
        Whether the refit converged.
    """

    x: Floats
    cost: float
    slope: float
    converged: bool = True


@dataclass(frozen=True, eq=False)
class Problem:
    """The fit's data that all chains share.

    Parameters
    ----------
    loss : Loss
    lower, upper : (d,) ndarrays
        Bounds of the parameters; where both are equal, the parameter is fixed.
    """

    loss: Loss
    lower: Floats
    upper: Floats

    def cost(self, point: Known) -> float:
        """The cost of a point."""
        return self.loss.cost(point.residuals)

    def quadratic(self, point: Known) -> tuple[Floats, Floats]:
        """A, (m, d), and b, (m,), of the cost near a point: 1/2 |A p + b|^2 up to a constant (Triggs et al. 2000)."""
        f = point.residuals
        first, second = self.loss.weights(f)
        rows = np.sqrt(np.maximum(second, np.finfo(float).eps))
        return point.jacobian * rows[:, None], first * f / rows

    def step(self, point: Known, k: int, moved: float, damping: float) -> tuple[Floats, float]:
        """The step of all parameters if k moves by ``moved``, and the change of the cost that it predicts.

        The others move to the minimum of the quadratic within their bounds, damped relative to its curvature.
        """
        a, b = self.quadratic(point)
        free = self.lower < self.upper
        free[k] = False
        at = np.flatnonzero(free)
        p = np.zeros(len(point.x))
        p[k] = moved
        if len(at):
            sizes = np.linalg.norm(a[:, at], axis=0)
            sizes = np.where(sizes > 0, sizes, 1.0)
            columns = np.concatenate((_told_apart(a[:, at] / sizes), np.sqrt(damping) * np.eye(len(at))))
            target = np.concatenate((-(b + a[:, k] * moved), np.zeros(len(at))))
            low, high = (limit[at] - point.x[at] for limit in (self.lower, self.upper))
            p[at] = _bounded(columns, target, low * sizes, high * sizes) / sizes
        change = a @ p
        return p, float(change @ b + 0.5 * change @ change)

    def curvature(self, point: Known, k: int) -> tuple[float, float]:
        """Slope of the cost by parameter k at a refitted point, and its second derivative along the profile."""
        a, b = self.quadratic(point)
        free = (self.lower < self.upper) & (point.x > self.lower) & (point.x < self.upper)
        free[k] = False
        column = a[:, k]
        if free.any():
            others = a[:, free]
            sizes = np.linalg.norm(others, axis=0)
            others = _told_apart(others / np.where(sizes > 0, sizes, 1.0))
            column = column - others @ np.linalg.lstsq(others, column, rcond=None)[0]
        return float(a[:, k] @ b), float(column @ column)

    def inside(self, x: Floats) -> Floats:
        """The point with parameters past a bound, by round-off, moved onto the bound."""
        return np.clip(x, self.lower, self.upper)


def _told_apart(columns: Floats) -> Floats:
    """Columns of unit length, without small singular values, which errors of differences can make."""
    u, s, vt = np.linalg.svd(columns, full_matrices=False)
    return np.asarray((u * np.where(s > _ONE * s[0], s, 0.0)) @ vt)


def _bounded(a: Floats, b: Floats, lower: Floats, upper: Floats) -> Floats:
    """The z with lower <= z <= upper that minimises |a z - b|; the bounds include 0."""
    z = np.linalg.lstsq(a, b, rcond=None)[0]
    if (z >= lower).all() and (z <= upper).all():
        return np.asarray(z)
    from scipy.optimize import lsq_linear

    room = upper > lower
    found = np.zeros(len(z))
    found[room] = lsq_linear(a[:, room], b, (lower[room], upper[room]), method="bvls").x
    return np.clip(found, lower, upper)


@dataclass(eq=False)
class Chain:
    """One side of the profile of one parameter; it asks for one point at a time.

    Parameters
    ----------
    problem : Problem
    start : Known
        The estimate.
    k : int
        Number of the held parameter.
    side : -1 or 1
    spread : float
        s, the standard deviation of a residual.
    level : float
        zeta at the end of the interval, > 0.
    points : int
        Number of values of the parameter up to the level, for a linear model.
    furthest : float
        Largest distance from the estimate, > 0, in the parameter's unit.
    """

    problem: Problem
    start: Known
    k: int
    side: int
    spread: float
    level: float
    points: int
    furthest: float
    found: list[Fitted] = field(default_factory=list)
    end: End | None = None
    interval_end: float = np.nan

    def __post_init__(self) -> None:
        self._base = self.problem.cost(self.start)
        self._before, self._here = self.start, self._fitted(self.start)
        self._bracket: tuple[tuple[Known, Fitted], tuple[Known, Fitted]] | None = None
        self._refined = self._halved = self._lost = 0
        self._length = np.inf
        self._now: Known | None = None
        self._trial = self.start.x
        self._taken = self._refused = self._uphill = 0
        self._cost, self._value = self._base, float(self.start.x[self.k])
        self._damping = self._foretold = 0.0
        limit = (self.problem.upper if self.side > 0 else self.problem.lower)[self.k]
        far = self.start.x[self.k] + self.side * self.furthest
        self._limit, self._cut = (float(limit), True) if self.side * (limit - far) <= 0 else (float(far), False)
        self._go_on()

    def ask(self) -> Floats | None:
        """The next point to be evaluated; None at the end."""
        return None if self.end else self._trial

    def tell(self, point: Known | None) -> None:
        """Takes in the result at that point; None where J failed."""
        self._taken += 1
        if point is not None and not (np.isfinite(point.jacobian).all() and np.isfinite(self.problem.cost(point))):
            point = None
        if self._now is None:
            self._begin(point)
        elif point is not None and self.problem.cost(point) <= self._cost + _ARMIJO * self._foretold:
            self._now, self._refused, self._uphill = point, 0, 0
            self._damping = self._damping / 10 if self._damping > _LEAST else 0.0
        else:
            self._refused += 1
            self._uphill += point is not None
            self._damping = max(10 * self._damping, _FIRST)
        if self._now is not None and not self.end:
            self._refit()

    def stop(self) -> None:
        """Ends the search because a limit of the caller is reached."""
        if self.end is None:
            self._ends("limit", np.nan)

    def zeta(self, cost: float) -> float:
        """The absolute zeta of a cost; 0 if the cost is below the estimate's."""
        return float(np.sqrt(max(0.0, 2 * (cost - self._base))) / self.spread)

    def _begin(self, point: Known | None) -> None:
        """Starts a refit with its first point: from the neighbour along the profile's tangent."""
        if point is None:
            self._halved += 1
            if self._halved > _HALVED:
                self._ends("failed", np.nan)
                return
            at = 0.5 * (self._value + float(self._before.x[self.k]))
            if at in (self._value, float(self._before.x[self.k])):
                self._ends("failed", np.nan)
                return
            self._length = abs(at - float(self._here.x[self.k]))
            self._hold(at, self._before)
            return
        self._now = point

    def _refit(self) -> None:
        """Makes the next step of the refit, or ends it."""
        assert self._now is not None, "set by the first point"
        self._cost = self.problem.cost(self._now)
        _, least = self.problem.step(self._now, self.k, 0.0, 0.0)
        scale = self.spread**2 * max(1.0, self.zeta(self._cost) ** 2)
        done = -2 * least <= _CONVERGED * scale
        stalled = self._refused >= _REFUSED and -2 * least <= _NOISE * scale
        if done or stalled or self._uphill >= _HOPELESS or self._taken >= _STEPS or self._damping > _MOST:
            self._refitted(self._now, converged=done or stalled)
            return
        step, self._foretold = self.problem.step(self._now, self.k, 0.0, self._damping)
        trial = self.problem.inside(self._now.x + step)
        if (trial == self._now.x).all():
            self._refitted(self._now, converged=True)
            return
        self._trial = trial

    def _refitted(self, point: Known, *, converged: bool) -> None:
        """Adds the refitted point to the profile and decides what comes next."""
        fitted = self._fitted(point, converged=converged)
        self.found.append(fitted)
        if 2 * (self._base - fitted.cost) > _BETTER * self.spread**2:
            self._ends("better fit", np.nan)
            return
        self._lost = 0 if converged else self._lost + 1
        if self._lost >= _LOST:
            self._ends("not converged", np.nan)
            return
        zeta = self.zeta(fitted.cost)
        if abs(zeta - self.level) <= _ON_LEVEL * self.level:
            self._ends("level", float(fitted.x[self.k]))
            return
        beyond = zeta >= self.level
        if self._bracket is not None:
            inner, outer = self._bracket
            self._bracket = (inner, (point, fitted)) if beyond else ((point, fitted), outer)
            self._refined += 1
        elif beyond:
            self._bracket = ((self._before, self._here), (point, fitted))
        else:
            self._length = abs(float(fitted.x[self.k] - self._here.x[self.k]))
            self._before, self._here = point, fitted
            self._go_on()
            return
        self._narrow()

    def _go_on(self) -> None:
        """Moves outward to the next value of the parameter, or ends the side."""
        at = float(self._here.x[self.k])
        arrived = self.side * (self._limit - at) <= 0
        if arrived and self._cut:
            self._ends("bound", self._limit)
            return
        if arrived or len(self.found) >= _VALUES * self.points:
            self._ends("open", self.side * np.inf)
            return
        slope, bend = self.problem.curvature(self._before, self.k)
        slope *= self.side
        here = self.zeta(self._here.cost)
        left = self.level - here
        goal = here + left / max(1, round(left * self.points / self.level))
        rise = 0.5 * self.spread**2 * (goal**2 - here**2)
        # Solve slope t + bend / 2 t^2 = rise, in the form that does not cancel.
        root = slope + np.sqrt(max(0.0, slope**2 + 2 * bend * rise))
        length = 2 * rise / root if root > 0 else np.inf
        # If the cost falls again, there is another minimum; a long step might skip it.
        growth = _GROWTH if slope > 0 or self._before is self.start else 1.0
        length = min(length, growth * self._length, 0.5 * self.furthest)
        value = at + self.side * length
        near = self.side * (self._limit - value) < 0.1 * length
        self._hold(self._limit if near else value, self._before)

    def _narrow(self) -> None:
        """Moves to where the cubic through the bracket's costs and slopes has the level, or ends the side."""
        assert self._bracket is not None, "the level was crossed"
        (a, inner), (b, outer) = self._bracket
        goal = self._base + 0.5 * (self.spread * self.level) ** 2
        value = _crossing(inner, outer, self.k, goal)
        ends = (float(inner.x[self.k]), float(outer.x[self.k]))
        if self._refined >= _REFINED or value in ends:
            self._ends("level", value)
            return
        self._hold(value, a if abs(value - ends[0]) <= abs(value - ends[1]) else b)

    def _hold(self, value: float, neighbour: Known) -> None:
        """Starts a refit with the parameter at this value, from a neighbour's point."""
        self._value, self._now = value, None
        self._taken = self._refused = self._uphill = 0
        self._damping = self._foretold = 0.0
        step, _ = self.problem.step(neighbour, self.k, value - float(neighbour.x[self.k]), 0.0)
        self._trial = self.problem.inside(neighbour.x + step)
        self._trial[self.k] = value

    def _fitted(self, point: Known, *, converged: bool = True) -> Fitted:
        slope, _ = self.problem.curvature(point, self.k)
        return Fitted(point.x, self.problem.cost(point), slope, converged)

    def _ends(self, how: End, at: float) -> None:
        self.end, self.interval_end = how, at


def _crossing(inner: Fitted, outer: Fitted, k: int, goal: float) -> float:
    """Where the cubic Hermite interpolant of the cost equals ``goal``, at least a fiftieth inside the interval."""
    start, end = float(inner.x[k]), float(outer.x[k])
    width = end - start
    c0, c1, s0, s1 = inner.cost - goal, outer.cost - goal, inner.slope * width, outer.slope * width
    cubic = np.polynomial.Polynomial([c0, s0, 3 * (c1 - c0) - 2 * s0 - s1, 2 * (c0 - c1) + s0 + s1])
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if cubic(middle) < 0 else (low, middle)
    return start + float(np.clip(high, 0.02, 0.98)) * width
