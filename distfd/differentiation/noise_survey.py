"""The first round of all that reads noise: values on two lines through x, at a near and at a far spacing."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from distfd.core.points import Points, join_points
from distfd.differentiation.diagnostics import noise_warnings
from distfd.differentiation.method import Answer, Request
from distfd.differentiation.noise import (
    FOUND,
    LINE,
    UNKNOWN,
    Noise,
    confidence,
    estimate,
    known_noise,
    next_spacing,
    noise_levels,
)
from distfd.differentiation.scale_agreement import (
    QUIET,
    Line,
    disagreement,
    noise_disagreement,
    noise_scale_warning,
    slope_warning,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    from collections.abc import Generator

    from distfd.differentiation.base_point import BasePoint
    from distfd.differentiation.method import Wave
    from distfd.differentiation.scale_agreement import Disagreement


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

    A coordinate that lacks the room for its part moves by less, so that the points stay equally spaced.
    """
    indices, values, counts = [], [], []
    steps = np.arange(1, LINE)[:, None]
    for lane, spacing in spacings:
        moving, move = line_move(x, scale, lower, upper, lane, spacing)
        indices.append(np.tile(moving, LINE - 1))
        values.append(np.clip(x[moving] + steps * move, lower[moving], upper[moving]).ravel())
        counts += [len(moving)] * (LINE - 1)
    return Points(x, np.cumsum([0, *counts]), np.concatenate(indices), np.concatenate(values))


def line_move(
    x: Floats, scale: Floats, lower: Floats, upper: Floats, lane: int, spacing: float
) -> tuple[NDArray[np.int64], Floats]:
    """The coordinates (c,) that a line moves, and by how much from one of its points to the next, (c,)."""
    moving, towards = direction(x, scale, lower, upper, lane)
    at, low, high = x[moving], lower[moving], upper[moving]
    room = np.where(towards > 0, high - at, at - low) / (LINE - 1)
    return moving, np.copysign(np.minimum(np.abs(towards) * spacing, room), towards)


NEAR, FAR = 1e-6, 3e-3
"""Spacings against the scale. The near one sees noise where J is steep, the far one sees what J's steps hide from it,
and how much J changes over distances at which a derivative is taken."""

EVALUATIONS = 1 + 2 * (LINE - 1)

THIRD = 1.6e-2, 7
"""Spacing and lane of one more line where the first two show a J without noise: ripples along which the far one happens
to stand still are seen there. Its spacing is no multiple or part of the others'."""

_CLEAN = 1e-10
"""Noise below this part of what J varies is none that a third line need not look behind."""


_SHAPE = 0.02
"""Roughness that is more than this part of what J changes along a line is J's own shape, as of a resonance or a front,
seen at too few points; ripples and noise are less."""


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
    scale : (d,) ndarray
        What spacings are relative to.
    lines : tuple of Line
    n_evaluations : int
        How many points were asked for, ``extra`` apart.
    warnings : tuple of str
        What is to be said whatever the derivative is.
    given : float, optional
        The noise level that the user vouched for.
    """

    noise: Noise
    baseline: Floats
    variation: Floats
    spacing: float
    extra: Floats
    scale: Floats
    lines: tuple[Line, ...] = ()
    n_evaluations: int = 0
    warnings: tuple[str, ...] = ()
    given: float | None = None

    @property
    def level(self) -> Floats:
        """The noise, or the rounding of a float64 where it is not known, (m,)."""
        sizes = [np.abs(line.values).max(axis=0) for line in self.lines[:1]] or [np.abs(self.baseline)]
        rounding = np.maximum(np.spacing(np.nan_to_num(sizes[0], posinf=0.0)), np.finfo(float).tiny)
        return np.where(np.isfinite(self.noise.level), np.maximum(self.noise.level, rounding / 4), rounding)

    @property
    def wants_third_line(self) -> bool:
        """Whether J looks so clean that ripples might hide between the lines, most outputs' J."""
        return bool(np.median(self.level / self.variation) < _CLEAN)

    def third_line(self, site: BasePoint) -> Points:
        """Its points."""
        spacing, lane = THIRD
        return line_points(site.x, self.scale, site.lower, site.upper, [(lane, spacing)])

    def with_third_line(self, site: BasePoint, values: Floats) -> Survey:
        """What the lines say when the third one's values (n, m) are there too."""
        spacing, lane = THIRD
        more = _as_lines(site, self.scale, [(lane, spacing)], self.baseline, values)
        cost = self.n_evaluations + len(values)
        return _read(
            self.lines + more,
            baseline=self.baseline,
            extra=self.extra,
            scale=self.scale,
            given=self.given,
            cost=cost,
        )

    def contradicted_by(self, rows: NDArray[np.int64], value: Floats, bar: Floats) -> Disagreement | None:
        """The line that has another slope than the derivative of coordinates ``rows``, (a, m), with its bar."""
        return disagreement(self.lines, self.noise, rows, value, bar)

    def at_larger_scale(self, gap: Disagreement, step: float) -> Survey:
        """The same where the slopes of the line ``gap`` are right, and what J does nearer to x is noise.

        Its size is what a cubic leaves of the line, or a quarter of what the two slopes differ by from one point of
        the line to the next, whichever is more.
        """
        values = gap.line.values
        basis = np.linalg.qr(np.vander(np.linspace(-1, 1, len(values)), 4, increasing=True))[0]
        centred = values - values.mean(axis=0)
        left = np.sqrt(np.sum((centred - basis @ (basis.T @ centred)) ** 2, axis=0) / (len(values) - 4))
        apart = gap.gap > 0
        level = np.where(apart, np.maximum(np.maximum(left, gap.gap / 4), self.level), self.noise.level)
        freedom = np.where(apart, len(values) - 4, self.noise.freedom)
        factor = np.where(apart, confidence(freedom), self.noise.factor)
        status = tuple(FOUND if new else old for new, old in zip(apart, self.noise.status, strict=True))
        noise = Noise(level, np.where(apart, 0.0, self.noise.quantum), factor, status, freedom)
        return replace(self, noise=noise, warnings=(*self.warnings, slope_warning(gap, step, far=True)))

    def answer(
        self,
        site: BasePoint,
        rows: NDArray[np.int64],
        value: Floats,
        bar: Floats,
        step: Floats,
        *,
        vector: bool,
        one_sided: Floats | float = 0.0,
    ) -> Answer:
        """The answer where coordinates ``rows`` have slopes and bars (a, m) and steps (a,), and the others are fixed.

        Where the noise is not known nothing honest can be said of the error. Where a line contradicts the slopes by
        more than ``one_sided``, (a, m), which is how far those on either side of x are from their mean, the bars are
        widened to hold its slope too.
        """
        d, m = len(site.x), len(self.baseline)
        derivative, error, steps = np.zeros((d, m)), np.zeros((d, m)), np.zeros(d)
        known = np.isfinite(bar) & np.isfinite(self.noise.level)
        derivative[rows], error[rows], steps[rows] = value, np.where(known, bar, np.nan), step
        warnings = self.warnings
        gap = self.contradicted_by(rows, value, error[rows] + one_sided)
        if gap is not None:
            error[rows] += gap.widening(rows)
            with np.errstate(divide="ignore", invalid="ignore"):
                taken = float(np.median(np.abs(step) / self.scale[rows]))
            warnings += (slope_warning(gap, taken, far=False),)
        missing = rows[~np.isfinite(value).all(axis=1)]
        derivative[missing] = error[missing] = np.nan
        level = self.noise.level[np.isfinite(self.noise.level)]
        return Answer(
            derivative=derivative.T if vector else derivative[:, 0],
            value=self.baseline,
            step=steps,
            missing=missing,
            error=error.T if vector else error[:, 0],
            warnings=warnings + noise_warnings(site.label, rows, value, error[rows]),
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
    points = line_points(site.x, scale, site.lower, site.upper, spacings)
    alone = Points(site.x, np.zeros(2, dtype=np.int64), points.indices[:0], points.values[:0])
    if not len(site.moving):
        wave = yield Request(alone, 0, vector)
        m = wave.values.shape[1]
        silent = Noise(np.full(m, np.nan), np.zeros(m), np.full(m, np.nan), (UNKNOWN,) * m, np.zeros(m, dtype=np.int64))
        return Survey(silent, wave.values[0], np.ones(m), np.nan, wave.values[1:], scale, n_evaluations=1)
    parts = [alone, points] if extra is None else [alone, points, extra]
    wave = yield Request(join_points(parts), 0, vector)
    baseline = wave.values[0]
    lines = _as_lines(site, scale, spacings, baseline, wave.values[1:EVALUATIONS])
    others, cost = wave.values[EVALUATIONS:], EVALUATIONS
    found = _read(lines, baseline=baseline, extra=others, scale=scale, given=given, cost=cost)
    if np.mean([status == UNKNOWN for status in found.noise.status]) > 0.5:
        again = [(lane + 2, next_spacing(line.values, line.spacing)) for lane, line in enumerate(lines)]
        wave = yield Request(line_points(site.x, scale, site.lower, site.upper, again), None, vector)
        lines += _as_lines(site, scale, again, baseline, wave.values)
        cost += len(wave.values)
        found = _read(lines, baseline=baseline, extra=others, scale=scale, given=given, cost=cost)
    return found


def _as_lines(
    site: BasePoint, scale: Floats, spacings: Sequence[tuple[int, float]], baseline: Floats, values: Floats
) -> tuple[Line, ...]:
    """The lines of these lanes and spacings, whose values beside J(x) are given one line after the other."""
    parts = np.split(values, len(spacings))
    return tuple(
        Line(
            spacing,
            *line_move(site.x, scale, site.lower, site.upper, lane, spacing),
            np.concatenate((baseline[None], part)),
        )
        for (lane, spacing), part in zip(spacings, parts, strict=True)
    )


def _read(
    lines: tuple[Line, ...], *, baseline: Floats, extra: Floats, scale: Floats, given: float | None, cost: int
) -> Survey:
    """What these lines say, the near one first and then the far one.

    Where one is rough and a nearer one is smooth the roughness is noise if it is small beside what J changes along the
    lines; else it is J's own shape, which the points of that line are too few for.
    """
    values = [line.values for line in lines]
    noise, warnings = known_noise(given or 0.0, len(baseline)), ()
    if given is None:
        noise, levels = estimate(values), noise_levels(values, bounds=True)
        two = noise_disagreement(lines, noise_levels(values), levels)
        if two is not None:
            quiet, loud = two
            widest = np.max([np.ptp(line, axis=0) for line in values], axis=0)
            shape = bool(np.nanmedian(levels[loud] / widest) > _SHAPE)
            warnings = (
                noise_scale_warning(lines[quiet], lines[loud], levels[quiet], levels[loud], far_taken=not shape),
            )
            if shape:
                smooth = levels <= QUIET * levels[quiet]
                near = [line for line, alike in zip(values, smooth, strict=True) if np.mean(alike) > 0.5]
                noise = estimate(near, values)
    shown = [line.spacing for line in lines if noise.shown_by(line.values)]
    found = Survey(noise, baseline, baseline, max(shown, default=np.nan), extra, scale, lines, cost, warnings, given)
    return replace(found, variation=_variation(lines[1].values, found.level))


def _variation(line: Floats, level: Floats) -> Floats:
    """Slope or curvature along the far line, whichever is more, but not less than what noise could hide."""
    slope = np.abs(line[-1] - line[0]) / ((LINE - 1) * FAR)
    curvature = np.abs(np.diff(line, 2, axis=0).mean(axis=0)) / FAR**2
    # The mean of the second differences is (F_6 - F_5 - F_1 + F_0) / 5: two levels over five.
    stands_out = curvature > 3 * 0.4 * level / FAR**2
    hidden = np.sqrt(2) * level / ((LINE - 1) * FAR)
    variation = np.fmax(np.fmax(slope, hidden), np.where(stands_out, curvature, 0.0))
    return np.where(variation > 0, variation, 1.0)
