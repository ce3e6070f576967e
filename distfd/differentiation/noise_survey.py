"""The first round of all that reads noise: values on two lines through x, at a near and at a far spacing."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from distfd.core.points import Points, join_points
from distfd.differentiation.diagnostics import noise_warnings
from distfd.differentiation.method import Answer, Request
from distfd.differentiation.noise import LINE, UNKNOWN, Noise, estimate, known_noise, next_spacing
from distfd.differentiation.scale_agreement import Line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    from collections.abc import Generator

    from distfd.differentiation.base_point import BasePoint
    from distfd.differentiation.method import Wave


_MOST = 1000
"""Coordinates that a direction moves: with d = 1,000,000 a line must not be 7 dense copies of x."""


def direction(x: Floats, scale: Floats, lower: Floats, upper: Floats, lane: int) -> tuple[NDArray[np.int64], Floats]:
    """Coordinates that move, and how much for a spacing of 1: of length 1 against ``scale``, and into the bounds.

    The seed is x itself and ``lane``, so that the same x has the same points whenever it is asked.
    """
    digest = hashlib.blake2b(np.ascontiguousarray(x).tobytes(), digest_size=8).digest()
    rng = np.random.default_rng([int.from_bytes(digest, "little"), lane])
    moving = np.flatnonzero(lower != upper)
    if len(moving) > _MOST:
        moving = np.sort(rng.choice(moving, _MOST, replace=False))
    # Uneven parts keep x + i h p off the round numbers at which J's values have few digits by chance.
    size = rng.uniform(0.5, 1.0, len(moving)) * rng.choice([-1.0, 1.0], len(moving))
    at, low, high = x[moving], lower[moving], upper[moving]
    reach = scale[moving] / np.sqrt(max(1, len(moving)))
    # A line leads away from x: where it would soon leave the bounds it turns to the side that has more room.
    side = np.where(size > 0, high - at, at - low)
    turned = np.where((side < reach) & (np.maximum(high - at, at - low) > side), -size, size)
    return moving, turned * reach


def line_points(
    x: Floats, scale: Floats, lower: Floats, upper: Floats, spacings: Sequence[tuple[int, float]]
) -> Points:
    """Points 1 .. LINE - 1 of a line for each (lane, spacing); x, which is point 0 of them all, is not among them.

    A spacing < 0 leads the other way.
    A coordinate that lacks the room for its part moves by less, so that the points stay equally spaced.
    """
    indices, values, counts = [], [], []
    steps = np.arange(1, LINE)[:, None]
    for lane, spacing in spacings:
        moving, move = _line_move(x, scale, lower, upper, (lane, spacing))
        at, low, high = x[moving], lower[moving], upper[moving]
        indices.append(np.tile(moving, LINE - 1))
        values.append(np.clip(at + steps * move, low, high).ravel())
        counts += [len(moving)] * (LINE - 1)
    return Points(x, np.cumsum([0, *counts]), np.concatenate(indices), np.concatenate(values))


def _line_move(
    x: Floats, scale: Floats, lower: Floats, upper: Floats, way: tuple[int, float]
) -> tuple[NDArray[np.int64], Floats]:
    """Coordinates that a line of (lane, spacing) moves, and by how much from one of its points to the next."""
    lane, spacing = way
    moving, towards = direction(x, scale, lower, upper, lane)
    at, low, high = x[moving], lower[moving], upper[moving]
    towards = towards * spacing
    room = np.where(towards > 0, high - at, at - low) / (LINE - 1)
    return moving, np.copysign(np.minimum(np.abs(towards), room), towards)


NEAR, FAR = 1e-6, 3e-3
"""Spacings against the scale. The near one sees noise where J is steep, the far one sees what J's steps hide from it,
and how much J changes over distances at which a derivative is taken."""

EVALUATIONS = 1 + 2 * (LINE - 1)


@dataclass(frozen=True, eq=False)
class Survey:
    """What the lines said.

    Attributes
    ----------
    noise : Noise
    baseline : (m,) ndarray
    variation : (m,) ndarray
        By how much J changes over one scale, as far as the far line tells: its slope, or its curvature where that
        stands out of the noise.
    spacing : float
        The spacing that showed the noise; NaN where none did.
    extra : ndarray
        Values (n, m) of the further points that were asked along.
    lines : tuple of Line
        Each line with its values: the near line, the far one, and those that were asked for afterwards.
    """

    noise: Noise
    baseline: Floats
    variation: Floats
    spacing: float
    extra: Floats
    lines: tuple[Line, ...] = ()

    @property
    def level(self) -> Floats:
        """The noise, or the rounding of a float64 where it is not known, (m,)."""
        rounding = np.maximum(np.spacing(np.abs(self.baseline)), np.finfo(float).tiny)
        return np.where(np.isfinite(self.noise.level), np.maximum(self.noise.level, rounding / 4), rounding)

    def answer(
        self, site: BasePoint, rows: NDArray[np.int64], value: Floats, bar: Floats, step: Floats, *, vector: bool
    ) -> Answer:
        """The answer where coordinates ``rows`` have slopes and bars (a, m) and steps (a,), and the others are fixed.

        Where the noise is not known nothing honest can be said of the error.
        """
        d, m = len(site.x), len(self.baseline)
        derivative, error, steps = np.zeros((d, m)), np.zeros((d, m)), np.zeros(d)
        there = np.isfinite(value)
        known = np.isfinite(bar) & np.isfinite(self.noise.level) & there
        derivative[rows], error[rows] = np.where(there, value, np.nan), np.where(known, bar, np.nan)
        steps[rows] = step
        missing = rows[~there.all(axis=1)]
        level = self.noise.level[np.isfinite(self.noise.level)]
        return Answer(
            derivative=derivative.T if vector else derivative[:, 0],
            value=self.baseline,
            step=steps,
            missing=missing,
            error=error.T if vector else error[:, 0],
            warnings=noise_warnings(site.label, rows, value, error[rows]),
            noise=float(level.max()) if len(level) else None,
        )

    def unmoved(self, site: BasePoint, *, vector: bool) -> Answer:
        """The answer where no coordinate may move."""
        empty = np.empty((0, len(self.baseline)))
        return self.answer(site, site.moving, empty, empty, np.empty(0), vector=vector)


def survey(
    site: BasePoint, scale: Floats, *, vector: bool, given: float | None = None, extra: Points | None = None
) -> Generator[Request, Wave, Survey]:
    """Ask for two lines, for two more where most outputs show no noise along them, and say what they say.

    Parameters
    ----------
    site, scale
        Where, and the typical size of each coordinate, (d,).
    given : float, optional
        A noise level that the user vouches for: the lines then say only how J varies.
    extra : Points, optional
        Further points of the first round.
    """
    spacings = [(0, NEAR), (1, FAR)]
    lines = line_points(site.x, scale, site.lower, site.upper, spacings)
    alone = Points(site.x, np.zeros(2, dtype=np.int64), lines.indices[:0], lines.values[:0])
    if not len(site.moving):
        wave = yield Request(alone, 0, vector)
        m = wave.values.shape[1]
        silent = Noise(np.full(m, np.nan), np.zeros(m), np.full(m, np.nan), (UNKNOWN,) * m)
        return Survey(silent, wave.values[0], np.ones(m), np.nan, wave.values[1:])
    parts = [alone, lines] if extra is None else [alone, lines, extra]
    wave = yield Request(join_points(parts), 0, vector)
    baseline = wave.values[0]
    values = _split(baseline, wave.values[1:EVALUATIONS])
    others = wave.values[EVALUATIONS:]
    noise = estimate(values) if given is None else known_noise(given, len(baseline))
    if np.mean([status == UNKNOWN for status in noise.status]) > 0.5:
        # Where J failed along a line, the other way may be one on which it does not.
        again = [
            (lane + 2, next_spacing(line, spacing)) if np.isfinite(line).any(axis=0).all() else (lane, -spacing)
            for line, (lane, spacing) in zip(_whole(values), spacings, strict=True)
        ]
        wave = yield Request(line_points(site.x, scale, site.lower, site.upper, again), None, vector)
        values, spacings = values + _split(baseline, wave.values), spacings + again
        noise = estimate(values)
    ways = [spacing for _, spacing in spacings]
    spacings = [(lane, abs(spacing)) for lane, spacing in spacings]
    shown = [spacing for line, (_, spacing) in zip(values, spacings, strict=True) if noise.shown_by(line)]
    seen_along = tuple(
        Line(abs(spacing), *_line_move(site.x, scale, site.lower, site.upper, (lane, way)), line)
        for line, (lane, spacing), way in zip(values, spacings, ways, strict=True)
    )
    found = Survey(noise, baseline, baseline, max(shown, default=np.nan), others, seen_along)
    # The far line tells; where J failed along it, the next nearer one.
    variation = np.full(len(baseline), np.nan)
    for line, (_, spacing) in sorted(zip(values, spacings, strict=True), key=lambda pair: -pair[1][1]):
        seen = np.where(np.isfinite(line).all(axis=0), _variation(line, found.level, spacing), np.nan)
        variation = np.where(np.isnan(variation), seen, variation)
    return replace(found, variation=np.where(np.isnan(variation), 1.0, variation))


def _whole(lines: list[Floats]) -> list[Floats]:
    """The lines with NaN for whatever an output has along a line on which it failed somewhere."""
    return [np.where(np.isfinite(line).all(axis=0), line, np.nan) for line in lines]


def _split(baseline: Floats, values: Floats) -> list[Floats]:
    return [np.concatenate((baseline[None], part)) for part in np.split(values, len(values) // (LINE - 1))]


def _variation(line: Floats, level: Floats, spacing: float) -> Floats:
    """Slope or curvature along a line, whichever is more, but not less than what noise could hide."""
    slope = np.abs(line[-1] - line[0]) / ((LINE - 1) * spacing)
    curvature = np.abs(np.diff(line, 2, axis=0).mean(axis=0)) / spacing**2
    # The mean of the second differences is (F_6 - F_5 - F_1 + F_0) / 5: two levels over five.
    stands_out = curvature > 3 * 0.4 * level / spacing**2
    hidden = np.sqrt(2) * level / ((LINE - 1) * spacing)
    variation = np.fmax(np.fmax(slope, hidden), np.where(stands_out, curvature, 0.0))
    return np.where(variation > 0, variation, 1.0)
