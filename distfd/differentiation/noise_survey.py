"""The first round of every method that measures noise: two lines through x, at a near and at a far spacing."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from distfd.core.points import Points, join_points
from distfd.differentiation.diagnostics import listed, no_movement_warnings, noise_warnings
from distfd.differentiation.evaluation_budget import Budget
from distfd.differentiation.method import Answer, Request
from distfd.differentiation.noise import LINE, UNKNOWN, Noise, estimate, known_noise, next_spacing
from distfd.differentiation.rounding_quantum import is_plain_constant
from distfd.differentiation.scale_agreement import Line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    from collections.abc import Generator

    from distfd.differentiation.base_point import BasePoint
    from distfd.differentiation.method import Wave


_MOST = 1000
"""Largest number of coordinates that a line moves, so that with d = 1,000,000 a line is not 7 dense copies of x."""


def direction(x: Floats, scale: Floats, lower: Floats, upper: Floats, lane: int) -> tuple[NDArray[np.int64], Floats]:
    """Coordinates that a line moves, and their moves for a spacing of 1: of length 1 in ``scale``, into the bounds.

    x itself and ``lane`` seed the random direction, so the same x always has the same points.
    """
    digest = hashlib.blake2b(np.ascontiguousarray(x).tobytes(), digest_size=8).digest()
    rng = np.random.default_rng([int.from_bytes(digest, "little"), lane])
    moving = np.flatnonzero(lower != upper)
    if len(moving) > _MOST:
        moving = np.sort(rng.choice(moving, _MOST, replace=False))
    # Random sizes keep x + i h p away from round numbers, at which J's values may have few digits by chance.
    size = rng.uniform(0.5, 1.0, len(moving)) * rng.choice([-1.0, 1.0], len(moving))
    at, low, high = x[moving], lower[moving], upper[moving]
    reach = scale[moving] / np.sqrt(max(1, len(moving)))
    # A line leads away from x. Where bounds are near, it turns to the side with more room.
    side = np.where(size > 0, high - at, at - low)
    turned = np.where((side < reach) & (np.maximum(high - at, at - low) > side), -size, size)
    return moving, turned * reach


def line_points(
    x: Floats, scale: Floats, lower: Floats, upper: Floats, spacings: Sequence[tuple[int, float]]
) -> Points:
    """Points 1 .. LINE - 1 of a line for each (lane, spacing); point 0 of all lines, x, is left out.

    A spacing < 0 leads the other way. A coordinate without room for its full move moves by less, so that the points
    stay equally spaced.
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
    """Coordinates that a line of (lane, spacing) moves, and their moves from one point of the line to the next."""
    lane, spacing = way
    moving, towards = direction(x, scale, lower, upper, lane)
    at, low, high = x[moving], lower[moving], upper[moving]
    towards = towards * spacing
    room = np.where(towards > 0, high - at, at - low) / (LINE - 1)
    return moving, np.copysign(np.minimum(np.abs(towards), room), towards)


NEAR, FAR = 1e-6, 3e-3
"""Spacings of the lines, in the scale. The near line sees noise where J is steep. The far line sees noise that steps in
J hide from the near line, and how much J changes over distances at which a derivative is taken."""

EVALUATIONS = 1 + 2 * (LINE - 1)


@dataclass(frozen=True, eq=False)
class Survey:
    """What the lines show.

    Attributes
    ----------
    noise : Noise
    baseline : (m,) ndarray
    variation : (m,) ndarray
        The change of J over one scale as the far line shows it: by the slope, or by the curvature where the curvature
        stands out of the noise.
    spacing : float
        The spacing that showed the noise; NaN where none did.
    extra : ndarray
        Values (n, m) of the further points that were evaluated together with the lines.
    lines : tuple of Line
        Each line with its values: the near line, the far line, and lines that were added later.
    """

    noise: Noise
    baseline: Floats
    variation: Floats
    spacing: float
    extra: Floats
    lines: tuple[Line, ...] = ()

    @property
    def level(self) -> Floats:
        """The noise level, (m,); where that is not known, the rounding of a float64."""
        rounding = np.maximum(np.spacing(np.abs(self.baseline)), np.finfo(float).tiny)
        return np.where(np.isfinite(self.noise.level), np.maximum(self.noise.level, rounding / 4), rounding)

    def unknown(self, site: BasePoint) -> tuple[str, ...]:
        """A warning if the noise of most outputs is not known, so that their derivatives have no error bars.

        If it is known of most outputs, the steps suit J, and NaN among the error bars says the rest. Nor is there a
        warning if J failed along every line: that has its own word.
        """
        m = len(self.baseline)
        seen = np.any([np.isfinite(line.values).all(axis=0) for line in self.lines], axis=0)
        outputs = np.flatnonzero(~np.isfinite(self.noise.level) & seen)
        if 2 * len(outputs) <= m:
            return ()
        of = f" of {listed(lambda j: site.output(j, m), outputs)}" if m > 1 else ""
        text = (
            f"the derivative{of} has no error bars, and its steps may not suit J: along lines through x, J's noise "
            "could not be told from J's own changes. Give `scale`, the size over which J changes, or a step; "
            "`distfd check` (distfd.step_sweep) shows which step is right"
        )
        return (text,)

    def answer(
        self, site: BasePoint, rows: NDArray[np.int64], value: Floats, bar: Floats, step: Floats, *, vector: bool
    ) -> Answer:
        """The answer where coordinates ``rows`` have slopes and bars (a, m) and steps (a,), and the others are fixed.

        Where the noise is not known, the error is NaN: there is no honest estimate.
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
            warnings=noise_warnings(site.label, rows, value, error[rows]) + (self.unknown(site) if len(rows) else ()),
            noise=float(level.max()) if len(level) else None,
        )

    def no_change_warnings(self, site: BasePoint, rows: NDArray[np.int64], rises: Floats) -> tuple[str, ...]:
        """A warning for coordinates ``rows`` (a,) whose changes of J ``rises`` (a, n, m), from x, are all 0."""
        still = np.asarray((np.nan_to_num(rises) == 0).all(axis=(1, 2)) & np.isfinite(rises).any(axis=(1, 2)))
        unit = 0.0 if still.all() and is_plain_constant(self.baseline) else float(self.noise.quantum.max())
        return no_movement_warnings(site.label, rows[still], unit)

    def unmoved(self, site: BasePoint, *, vector: bool) -> Answer:
        """The answer where no coordinate may move."""
        empty = np.empty((0, len(self.baseline)))
        return self.answer(site, site.moving, empty, empty, np.empty(0), vector=vector)


@dataclass(frozen=True, eq=False)
class OpenSurvey:
    """Lines with their values, before it is decided whether they are enough.

    Attributes
    ----------
    site : BasePoint
    scale : (d,) ndarray
    vector : bool
    baseline : (m,) ndarray
    ways : tuple of (lane, spacing)
        The directions of the lines; a spacing < 0 leads the other way.
    values : tuple of ndarray
        The values of each line, (n, m), J(x) first.
    noise : Noise
        The noise that they show.
    extra : ndarray
        Values (n, m) of the further points that were evaluated together with the lines.
    """

    site: BasePoint
    scale: Floats
    vector: bool
    baseline: Floats
    ways: tuple[tuple[int, float], ...]
    values: tuple[Floats, ...]
    noise: Noise
    extra: Floats

    @property
    def failed(self) -> bool:
        """Whether every line lacks values."""
        return bool(self.values) and not any(np.isfinite(line).all() for line in self.values)

    def repeated(self, budget: Budget) -> Generator[Request, Wave, OpenSurvey]:
        """These lines and two further ones, if most outputs show no noise along these and the budget affords it."""
        unknown = np.mean([status == UNKNOWN for status in self.noise.status]) > 0.5
        if not self.values or not unknown or not budget.affords(EVALUATIONS - 1):
            return self
        # Where J failed along a line, the opposite direction may be free of failures.
        again = tuple(
            (lane + 2, next_spacing(line, spacing)) if np.isfinite(line).any(axis=0).all() else (lane, -spacing)
            for line, (lane, spacing) in zip(_whole(self.values), self.ways, strict=True)
        )
        points = line_points(self.site.x, self.scale, self.site.lower, self.site.upper, again)
        wave = yield budget.spend(Request(points, None, self.vector, outputs=_outputs(self.baseline, self.vector)))
        values = self.values + _split(self.baseline, wave.values)
        return replace(self, ways=self.ways + again, values=values, noise=estimate(values))

    def found(self) -> Survey:
        """The result of the lines."""
        site, noise = self.site, self.noise
        if not self.values:
            return Survey(noise, self.baseline, np.ones(len(self.baseline)), np.nan, self.extra)
        lines = tuple(
            Line(abs(spacing), *_line_move(site.x, self.scale, site.lower, site.upper, (lane, spacing)), values)
            for values, (lane, spacing) in zip(self.values, self.ways, strict=True)
        )
        shown = [line.spacing for line in lines if noise.shown_by(line.values)]
        found = Survey(noise, self.baseline, self.baseline, max(shown, default=np.nan), self.extra, lines)
        # The far line shows the variation; where J failed along it, the next nearer line does.
        variation = np.full(len(self.baseline), np.nan)
        for line in sorted(lines, key=lambda line: -line.spacing):
            whole = np.isfinite(line.values).all(axis=0)
            seen = np.where(whole, _variation(line.values, found.level, line.spacing), np.nan)
            variation = np.where(np.isnan(variation), seen, variation)
        return replace(found, variation=np.where(np.isnan(variation), 1.0, variation))


def open_survey(
    site: BasePoint,
    scale: Floats,
    *,
    vector: bool,
    budget: Budget,
    given: float | None = None,
    extra: Points | None = None,
    baseline: Floats | None = None,
) -> Generator[Request, Wave, OpenSurvey]:
    """Ask for two lines.

    Parameters
    ----------
    site, scale
        The base point, and the typical size of each coordinate, (d,).
    budget : Budget
    given : float, optional
        A noise level that the user gives: the lines then only show how much J varies.
    extra : Points, optional
        Further points for the same request.
    baseline : (m,) ndarray, optional
        J(x), where it is known; otherwise x is evaluated.
    """
    ways = ((0, NEAR), (1, FAR)) if len(site.moving) else ()
    lines = line_points(site.x, scale, site.lower, site.upper, ((0, NEAR), (1, FAR)))
    parts = [lines] if ways else []
    if baseline is None:
        alone = Points(site.x, np.zeros(2, dtype=np.int64), lines.indices[:0], lines.values[:0])
        request = Request(join_points([alone, *parts, *([] if extra is None else [extra])]), 0, vector)
    else:
        points = join_points([*parts, *([] if extra is None else [extra])])
        request = Request(points, None, vector, outputs=_outputs(baseline, vector))
    wave = yield budget.spend(request)
    values = wave.values
    if baseline is None:
        baseline, values = values[0], values[1:]
    of_lines = len(ways) * (LINE - 1)
    rows = _split(baseline, values[:of_lines]) if ways else ()
    m = len(baseline)
    if not ways:
        noise = Noise(np.full(m, np.nan), np.zeros(m), np.full(m, np.nan), (UNKNOWN,) * m)
    else:
        noise = estimate(rows) if given is None else known_noise(given, m)
    return OpenSurvey(site, scale, vector, baseline, ways, rows, noise, values[of_lines:])


def survey(
    site: BasePoint,
    scale: Floats,
    *,
    vector: bool,
    given: float | None = None,
    extra: Points | None = None,
    budget: Budget | None = None,
) -> Generator[Request, Wave, Survey]:
    """Asks for two lines, for two further ones where most outputs show no noise, and returns what they show.

    The parameters are those of `open_survey`.
    """
    budget = Budget() if budget is None else budget
    opened = yield from open_survey(site, scale, vector=vector, budget=budget, given=given, extra=extra)
    opened = yield from opened.repeated(budget)
    return opened.found()


def _outputs(baseline: Floats, vector: bool) -> int | None:
    return len(baseline) if vector else None


def _whole(lines: Sequence[Floats]) -> list[Floats]:
    """The lines, with an output set to NaN along the whole line where it failed at any point of the line."""
    return [np.where(np.isfinite(line).all(axis=0), line, np.nan) for line in lines]


def _split(baseline: Floats, values: Floats) -> tuple[Floats, ...]:
    return tuple(np.concatenate((baseline[None], part)) for part in np.split(values, len(values) // (LINE - 1)))


def _variation(line: Floats, level: Floats, spacing: float) -> Floats:
    """Slope or curvature along a line, whichever is larger, and at least as much as noise could hide."""
    slope = np.abs(line[-1] - line[0]) / ((LINE - 1) * spacing)
    curvature = np.abs(np.diff(line, 2, axis=0).mean(axis=0)) / spacing**2
    # The mean of the second differences is (F_6 - F_5 - F_1 + F_0) / 5; its noise is 2/5 of the level.
    stands_out = curvature > 3 * 0.4 * level / spacing**2
    hidden = np.sqrt(2) * level / ((LINE - 1) * spacing)
    variation = np.fmax(np.fmax(slope, hidden), np.where(stands_out, curvature, 0.0))
    return np.where(variation > 0, variation, 1.0)
