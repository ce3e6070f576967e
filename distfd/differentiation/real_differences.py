"""Real points that move along all axes at once, and the change of J there beside the derivative's prediction."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from distfd.core.points import Points, dense_points
from distfd.differentiation.stencils import EPS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from distfd.differentiation.base_point import BasePoint

    Floats = NDArray[np.float64]

ROUNDING = 64.0
"""Rounding error of a change of J, in units in its last place; more than 1, as intermediate results round too."""
_ARGUMENTS = 4.0
"""Rounding error of J's arguments, in units in their last place; their slopes carry it into J."""
_NEAREST = 1e-7
"""Smallest distance along a coordinate, as a part of the smaller of the coordinate and its step."""


@dataclass(frozen=True, eq=False)
class Displacement:
    """Points that together show the change of J along sum amount_k axis_k.

    Attributes
    ----------
    points : Points
        One point x + w; or two, x + w_a and x - w_b with w = w_a + w_b, where bounds let no point have all of w.
    amounts : (n,) ndarray
        The distance along each axis, as floating point has it.
    """

    points: Points
    amounts: Floats

    def change(self, values: Floats, baseline: Floats) -> Floats:
        """The change of J along the displacement, (m,), from its values at the points."""
        change = values[0] - baseline
        return np.asarray(change if len(values) == 1 else change - (values[1] - baseline))


@dataclass(frozen=True, eq=False)
class CoordinateAxes:
    """The coordinates of x as axes; each is moved to the side with more room.

    Attributes
    ----------
    site : Site
    size : (d,) ndarray
        Step of each coordinate, > 0.
    """

    site: BasePoint
    size: Floats
    slack: ClassVar[float] = 0.0
    """Relative error that floating point may make in a move of one step; 0, as the amounts here are exact."""

    @property
    def moving(self) -> NDArray[np.int64]:
        """The axes along which J is differenced."""
        return self.site.moving

    def label(self, axis: int) -> str:
        """The name of an axis in messages."""
        return self.site.label(axis)

    def output(self, j: int, m: int) -> str:
        """The name of output j of m in messages."""
        return self.site.output(j, m)

    @property
    def inputs(self) -> Floats:
        """Sizes of J's arguments, (n,): they tell how much rounding of an argument, times its slope, moves J."""
        return np.abs(self.site.x)

    def nearest(self, axis: int) -> float:
        """The smallest distance along an axis, in its steps, that changes x in floating point and in J's view."""
        x = abs(float(self.site.x[axis]))
        return min(x or np.inf, float(self.size[axis])) / float(self.size[axis]) * _NEAREST

    def displaced(self, axes: NDArray[np.int64], factor: float = 1.0, *, half: bool = False) -> Displacement:
        """A move along these axes by about ``factor`` steps; ``half`` keeps twice the move inside the bounds."""
        site = self.site
        u = _uneven(site.x)[axes]
        up, down = site.upper[axes] - site.x[axes], site.x[axes] - site.lower[axes]
        sign = np.where(np.where(u > 0, up, down) >= self.size[axes], np.sign(u), np.where(up >= down, 1.0, -1.0))
        room = np.where(sign > 0, up, down) / (2 if half else 1)
        return self._at(axes, sign * np.minimum(np.abs(u) * self.size[axes] * factor, room))

    def doubled(self, displacement: Displacement) -> Displacement:
        """The displacement, twice as far."""
        return self.scaled(displacement, 2.0)

    def scaled(self, displacement: Displacement, factor: float) -> Displacement:
        """The displacement, ``factor`` times as far."""
        axes = np.flatnonzero(displacement.amounts)
        return self._at(axes, factor * displacement.amounts[axes])

    def unreal(self, axis: int, amount: float) -> Points:
        """A complex point, ``amount`` along an axis in the imaginary direction."""
        at = np.array([complex(self.site.x[axis], amount)])
        return Points(self.site.x, np.array([0, 1]), np.array([axis]), at)

    def _at(self, axes: NDArray[np.int64], amounts: Floats) -> Displacement:
        site, at = self.site, self.site.x.copy()
        at[axes] = np.clip(site.x[axes] + amounts, site.lower[axes], site.upper[axes])
        return Displacement(_beside(site.x, [at]), at - site.x)


@dataclass(frozen=True, eq=False)
class DirectionAxes:
    """Directions v (p, d) as axes, each with its step t.

    Attributes
    ----------
    site : Site
    directions : (p, d) ndarray
    size : (p,) ndarray
        Steps t > 0; 0 for directions that do not move.
    """

    site: BasePoint
    directions: Floats
    size: Floats
    slack: ClassVar[float] = 4 * EPS**0.5
    """Relative error that floating point may make in a move of one step, as each coordinate is rounded by itself."""

    @property
    def moving(self) -> NDArray[np.int64]:
        """The axes along which J is differenced."""
        free = self.site.lower != self.site.upper
        return np.flatnonzero((self.directions[:, free] != 0).any(axis=1))

    def label(self, axis: int) -> str:
        """The name of an axis in messages."""
        return f"direction {axis}"

    def output(self, j: int, m: int) -> str:
        """The name of output j of m in messages."""
        return self.site.output(j, m)

    @property
    def inputs(self) -> Floats:
        """Sizes of J's arguments, (n,): 0, as ``slack`` covers their rounding along a direction."""
        return np.zeros(len(self.directions))

    def nearest(self, axis: int) -> float:  # noqa: ARG002  # the same for all
        """The smallest distance along an axis, in its steps, that changes x in floating point and in J's view."""
        return _NEAREST

    def displaced(self, axes: NDArray[np.int64], factor: float = 1.0, *, half: bool = False) -> Displacement:
        """A move along these axes by about ``factor`` steps; ``half`` keeps twice the move inside the bounds."""
        site = self.site
        amounts = np.zeros(len(self.directions))
        amounts[axes] = (_uneven(site.x, len(self.directions)) * self.size)[axes] * factor
        w = self._way(amounts)
        with np.errstate(divide="ignore", invalid="ignore"):
            room = np.maximum(site.upper - site.x, site.x - site.lower)
            share = np.nanmin(np.where(w != 0, room / np.abs(w), np.inf), initial=np.inf) / (2 if half else 1)
        return self._at(amounts * min(1.0, share))

    def doubled(self, displacement: Displacement) -> Displacement:
        """The displacement, twice as far."""
        return self.scaled(displacement, 2.0)

    def scaled(self, displacement: Displacement, factor: float) -> Displacement:
        """The displacement, ``factor`` times as far."""
        return self._at(factor * displacement.amounts)

    def unreal(self, axis: int, amount: float) -> Points:
        """A complex point, ``amount`` along an axis in the imaginary direction."""
        v = np.where(self.site.lower == self.site.upper, 0.0, self.directions[axis])
        at = np.flatnonzero(v)
        values = np.empty(len(at), dtype=np.complex128)
        values.real, values.imag = self.site.x[at], v[at] * amount
        return Points(self.site.x, np.array([0, len(at)]), at, values)

    def _way(self, amounts: Floats) -> Floats:
        return np.where(self.site.lower == self.site.upper, 0.0, amounts @ self.directions)

    def _at(self, amounts: Floats) -> Displacement:
        site, w = self.site, self._way(amounts)
        ahead = np.where(w > 0, site.upper - site.x, site.x - site.lower) >= np.abs(w)
        parts = [site.x + np.where(ahead, w, 0.0), site.x - np.where(ahead, 0.0, w)]
        kept = parts if not ahead.all() else parts[:1]
        return Displacement(_beside(site.x, [np.clip(part, site.lower, site.upper) for part in kept]), amounts)


Axes = CoordinateAxes | DirectionAxes


@dataclass(frozen=True, eq=False)
class Residual:
    """The change of J along a displacement minus the slopes' prediction, for each output.

    Attributes
    ----------
    size : (m,) ndarray
        The residual with its sign.
    reach : (m,) ndarray
        The sum of the absolute terms of the prediction.
    rounding : (m,) ndarray
        The part of the residual that rounding alone may cause.
    still : (m,) ndarray of bool
        Whether J did not change at all although it should have changed by more than rounding.
    """

    size: Floats
    reach: Floats
    rounding: Floats
    still: NDArray[np.bool_]


def residual(axes: Axes, slopes: Any, displacement: Displacement, values: Floats, baseline: Floats) -> Residual:
    """The residual for slopes (n, m), dense or sparse, one row for each axis; NaN where an output has no slope."""
    c = displacement.amounts
    with np.errstate(over="ignore", invalid="ignore"):
        largest = np.maximum(np.abs(baseline), np.abs(values).max(axis=0))
        change = displacement.change(values, baseline)
        rounding = EPS * (ROUNDING * largest + _ARGUMENTS * np.asarray(axes.inputs @ abs(slopes)))
        size = change - np.asarray(c @ slopes)
        return Residual(size, np.asarray(np.abs(c) @ abs(slopes)), rounding, (change == 0) & (np.abs(size) > rounding))


def _beside(x: Floats, rows: Sequence[Floats]) -> Points:
    """These points, written as changes against x."""
    return dense_points([x, *rows]).take(np.arange(1, len(rows) + 1))


def _uneven(x: Floats, n: int | None = None) -> Floats:
    """Sizes between 0.6 and 1.6 with random signs, one for each axis; seeded by x, so the same in every process."""
    digest = hashlib.blake2b(np.ascontiguousarray(x).tobytes(), digest_size=8, person=b"real diff").digest()
    rng = np.random.default_rng(int.from_bytes(digest, "little"))
    count = len(x) if n is None else n
    return np.asarray(rng.uniform(0.6, 1.6, count) * rng.choice([-1.0, 1.0], count))
