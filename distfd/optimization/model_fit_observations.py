"""Everything that a fit by the method "model" has evaluated, and what of it the regression takes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from distfd.optimization.model_fit_regression import Observed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_BIG = 100.0
"""A trial is ignored in the regression if its residuals are this many times larger than the best ones: it says nothing
about their surroundings."""
_LEAST, _EACH, _MOST = 40, 4, 400
"""Number of observations in a regression: `_EACH` (d + 1), limited to `_LEAST` .. `_MOST`, and at least 3 (d + 1) /
2."""


@dataclass(frozen=True, eq=False)
class Slope:
    """A slope (m,) along a direction (d,), over the distance ``length``; infinite if nothing was subtracted."""

    direction: Floats
    value: Floats
    length: float


@dataclass(frozen=True, eq=False)
class Evaluated:
    """The result of a trial; residuals are None where J failed."""

    x: Floats
    residuals: Floats | None
    slopes: Sequence[Slope] = ()


@dataclass(frozen=True, eq=False)
class Observation:
    """A value (``slope`` is None) or a slope, at x; ``size`` is the norm of the residuals there."""

    x: Floats
    value: Floats
    size: float
    limit: float
    slope: Slope | None = None


@dataclass(eq=False)
class Observations:
    """All values and slopes of a search.

    Parameters
    ----------
    free : (d,) bool ndarray
        Variables that may change.
    linear : int
        How many of the last residuals are linear in x: the regression is through the others.

    Attributes
    ----------
    known : list of Observation
        In the order in which they were evaluated; the value at x0 is the first.
    """

    free: NDArray[np.bool_]
    linear: int = 0
    known: list[Observation] = field(default_factory=list)

    def add(self, one: Evaluated, best: Floats | None) -> None:
        """Take in the result of a trial.

        Parameters
        ----------
        best : (m,) ndarray or None before x0 is known
            The lowest residuals so far.
        """
        if one.residuals is None:
            return
        with np.errstate(over="ignore"):  # a trial may be far off
            size = float(np.linalg.norm(one.residuals))
        limit = np.inf if best is None else _BIG * float(np.linalg.norm(best)) + 1e-300
        if not any(each.slope is None and each.x.tobytes() == one.x.tobytes() for each in self.known):
            self.known.append(Observation(one.x, one.residuals, size, limit))
        for slope in one.slopes:
            if np.isfinite(slope.value).all():
                self.known.append(Observation(one.x, slope.value, size, limit, slope))

    def drop_slopes(self, x: Floats) -> None:
        """Forget the slopes at x: better ones are known."""
        here = x.tobytes()
        self.known = [o for o in self.known if o.slope is None or o.x.tobytes() != here]

    def at_start(self) -> Evaluated:
        """All that is known at x0."""
        x0 = self.known[0].x
        at = [o for o in self.known if o.x.tobytes() == x0.tobytes()]
        return Evaluated(x0, at[0].value, [o.slope for o in at if o.slope is not None])

    def missing(self, x: Floats, typical: Floats) -> Floats:
        """Coordinates, as rows of unit vectors (p, d), whose slopes at x are missing; none if d slopes are known."""
        here = [o.slope.direction for o in self.known if o.slope and o.x.tobytes() == x.tobytes()]
        free = np.flatnonzero(self.free)
        if not here:
            return np.eye(len(x))[free]
        rows = np.array(here)[:, free] / typical[free]
        rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-300)
        known = np.linalg.svd(rows)
        rank = int((known[1] > 1e-6).sum())
        if rank == len(free):
            return np.empty((0, len(x)))
        # As many coordinates as dimensions are missing: those that are least in the span of the known directions.
        missing = np.linalg.norm(known[2][rank:], axis=0)
        return np.eye(len(x))[free[np.sort(np.argsort(-missing, kind="stable")[: len(free) - rank])]]

    def nearest(self, x: Floats, typical: Floats) -> list[Observation]:
        """The observations for the regression around x, the nearest first."""
        d, scale, here = int(self.free.sum()), 1 / typical, x.tobytes()
        near = [o for o in self.known if o.size <= o.limit or o.x.tobytes() == here]
        near.sort(key=lambda o: float(np.linalg.norm((o.x - x) * scale)))
        return near[: max(_LEAST, min(_EACH * (d + 1), _MOST), 3 * (d + 1) // 2) + 1]

    def around(self, x: Floats, residuals: Floats, typical: Floats, near: Sequence[Observation]) -> Observed:
        """Some observations as arrays in typical sizes, relative to x and the residuals there."""
        scale, here = 1 / typical, x.tobytes()
        values = [o for o in near if o.slope is None and o.x.tobytes() != here]
        slopes = [(o, o.slope, o.slope.direction * scale) for o in near if o.slope is not None]
        lengths = np.array([float(np.linalg.norm(u)) for _, _, u in slopes])
        m, n = len(residuals) - self.linear, len(x)
        return Observed(
            np.reshape([(o.x - x) * scale for o in values], (len(values), n)),
            np.reshape([self._modelled(o.value - residuals) for o in values], (len(values), m)),
            np.reshape([(o.x - x) * scale for o, _, _ in slopes], (len(slopes), n)),
            np.reshape([u for _, _, u in slopes], (len(slopes), n)) / lengths[:, None],
            np.reshape([self._modelled(slope.value) for _, slope, _ in slopes], (len(slopes), m)) / lengths[:, None],
            np.array([2.0 / slope.length**2 for _, slope, _ in slopes]) / lengths**2,
        )

    def slopes(self) -> list[tuple[bytes, float, Floats]]:
        """The place and direction of each slope as bytes, its length, and its value."""
        known = [(o.x, o.slope) for o in self.known if o.slope is not None]
        return [(x.tobytes() + one.direction.tobytes(), one.length, self._modelled(one.value)) for x, one in known]

    def _modelled(self, residuals: Floats) -> Floats:
        return residuals[: len(residuals) - self.linear]
