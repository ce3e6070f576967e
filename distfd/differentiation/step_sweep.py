"""A step sweep: differences at steps in decades along a few coordinates, and the noise, in one request."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from distfd.core.errors import InputError
from distfd.core.points import single_points
from distfd.differentiation.diagnostics import kink_warnings, no_movement_warnings
from distfd.differentiation.method import Answer, Course, follow
from distfd.differentiation.noise import UNKNOWN, Noise, estimate, known_noise
from distfd.differentiation.noise_result import NoiseResult
from distfd.differentiation.noise_survey import Survey, survey
from distfd.differentiation.placement import place
from distfd.differentiation.probe_pairs import ProbePairs, no_pairs
from distfd.differentiation.rounding_quantum import is_plain_constant
from distfd.differentiation.scale_search import safe_sizes
from distfd.differentiation.stencils import SCHEMES
from distfd.differentiation.sweep_result import StepSweep
from distfd.differentiation.sweep_shapes import (
    contradicts_noise,
    find_jumps,
    find_kinks,
    find_two_slopes,
    noise_of_agreement,
    one_sided,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    from collections.abc import Generator, Sequence

    from distfd.differentiation.base_point import BasePoint
    from distfd.differentiation.method import Request, Wave
    from distfd.differentiation.sweep_shapes import Jumps


_PART = 0.3
"""Part of the noise of a pair's correction that counts in the error bar of the formula that includes this
correction."""

_APART = 1.5
"""A formula is rejected if it differs from one with a smaller step by more than its bar plus this many noise levels of
that one."""


def plateau(pairs: ProbePairs, noise: Noise) -> tuple[Floats, Floats, Floats]:
    """The derivative (a, m) where differences agree, its error bar (a, m), and the step (a,) that gave it.

    The formulas are each pair, and each two neighbouring pairs. Those that a formula with a smaller step contradicts
    are rejected (Lepski's principle), because among a dozen truncations that are estimated from neighbours, some are
    small by chance. Of the others, the formula with the smallest bar is used.
    """
    a, n = pairs.size.shape
    m = len(noise.level)
    if not n:
        return np.full((a, m), np.nan), np.full((a, m), np.nan), np.full(a, np.nan)
    slopes = pairs.slopes(noise)
    # A formula of two pairs has no ``doubt`` of its own: its correction is as noisy as that of its smaller pair.
    doubt = slopes.doubt.copy()
    doubt[n:] = _PART * np.nan_to_num(slopes.doubt[: n - 1])
    bars = slopes.noise + slopes.truncation + doubt
    agrees = np.isfinite(bars) & np.isfinite(slopes.value)
    for g in range(n):
        with np.errstate(invalid="ignore"):
            apart = np.abs(slopes.value - slopes.value[g]) > bars + _APART * slopes.noise[g]
            agrees &= ~(apart & (slopes.size > slopes.size[g])[..., None])
    cost = np.where(agrees, bars, np.inf)
    formula = cost.argmin(axis=0)
    known = np.isfinite(cost.min(axis=0))
    value, bar = (np.take_along_axis(part, formula[None], axis=0)[0] for part in (slopes.value, bars))
    # A single pair shows no truncation.
    alone = pairs.count == 1
    value = np.where(alone[:, None], slopes.value[0], np.where(known, value, np.nan))
    step = np.take_along_axis(slopes.size, formula[:, 0][None], axis=0)[0]
    return value, np.where(known, bar, np.nan), step


DECADES = 10.0 ** np.arange(-12.0, 0.0)
"""Steps in units of a coordinate's scale."""

_CLOSE = 0.5
"""If bounds or a text format shorten a step to less than this part of it, the step is skipped: the next decade covers
it."""


@dataclass(frozen=True, eq=False)
class Sweep(Course[Answer]):
    """Pairs x +- h e_k (h and 2 h on one side near a bound) for all h in `DECADES`, in one request.

    Parameters
    ----------
    site : Site
    scale : (d,) ndarray
    rows : (a,) ndarray of int
        Coordinates that may move.
    vector : bool
    """

    site: BasePoint
    scale: Floats
    rows: NDArray[np.int64]
    vector: bool = False

    def result(self, waves: Sequence[Wave], n_evaluations: int, n_reused: int) -> StepSweep:
        """The result of the sweep, once `advance` has answered."""
        found = follow(self._survey(), waves)
        assert isinstance(found, Survey), "the sweep was evaluated to its end"
        with np.errstate(all="ignore"):
            return self._result(found, n_evaluations, n_reused)

    def _course(self) -> Generator[Request, Wave, Answer]:
        """One request, two further lines if the first show no noise, then the coordinates' slopes as answer."""
        found = yield from self._survey()
        slopes = np.full((len(self.rows), len(found.baseline)), np.nan)
        return Answer(slopes, found.baseline, np.zeros(len(self.site.x)), np.empty(0, dtype=np.int64))

    def _survey(self) -> Generator[Request, Wave, Survey]:
        row, _, values, _ = self._placed
        extra = single_points(self.site.x, np.repeat(self.rows[row], 2), values.ravel())
        scale = safe_sizes(self.site, self.scale)
        return (yield from survey(self.site, scale, vector=self.vector, extra=extra))

    @cached_property
    def _placed(self) -> tuple[NDArray[np.int64], Floats, Floats, Floats]:
        """For every pair: its row (p,), size (p,), values (p, 2) and offsets (p, 2)."""
        site, rows = self.site, self.rows
        found: list[tuple[int, Floats, Floats]] = []
        for h in DECADES:
            values, _ = place(
                site.x[rows], h * self.scale[rows], SCHEMES["central"], site.lower[rows], site.upper[rows]
            )
            for a, k in enumerate(rows):
                offsets = _seen(site, int(k), values[a])
                if offsets is None or not _CLOSE < abs(offsets[0]) / (h * self.scale[k]) < 1 / _CLOSE:
                    continue
                found.append((a, values[a], offsets))
        values, offsets = (np.array([f[i] for f in found], dtype=float).reshape(-1, 2) for i in (1, 2))
        return np.array([f[0] for f in found], dtype=np.int64), np.abs(offsets[:, 0]), values, offsets

    def _pairs(self, found: Survey) -> ProbePairs:
        """The pairs that have values, for each coordinate in order of size."""
        row, size, _, offsets = self._placed
        a, m = len(self.rows), len(found.baseline)
        rises = found.extra.reshape(-1, 2, m) - found.baseline
        pairs = no_pairs(a, m)
        number = np.array([np.sum(row[:p] == row[p]) for p in range(len(row))], dtype=np.int64)
        for turn in range(int(number.max(initial=-1)) + 1):
            at = np.flatnonzero(number == turn)
            new = np.full(a, np.nan), np.full((a, 2), np.nan), np.full((a, 2, m), np.nan)
            for column, part in zip(new, (size, offsets, rises), strict=True):
                column[row[at]] = part[at]
            pairs = pairs.add(*new)
        return pairs

    def _result(self, found: Survey, n_evaluations: int, n_reused: int) -> StepSweep:
        site, rows = self.site, self.rows
        pairs = self._pairs(found)
        jumps = find_jumps(pairs, found.noise.quantum)
        found = _of_that_noise(found, pairs, jumps)
        noise, level = _usable(found), found.noise
        derivative, error, best = _slopes(pairs, jumps, noise)
        error[:, np.isnan(level.level)] = np.nan
        side = jumps.smooth_side
        # The forward difference has the direction of SciPy's step, the sign of x, unless a bound or a jump is there.
        drawn = _drawn(pairs, noise, np.where(side != 0, side > 0, site.x[rows] >= 0))
        still = (np.nan_to_num(pairs.rises) == 0).all(axis=(1, 2, 3)) & (pairs.count > 0)
        unit = 0.0 if still.all() and is_plain_constant(found.baseline) else float(level.quantum.max())
        warnings = no_movement_warnings(site.label, rows[still], unit)
        two_slopes = find_two_slopes(pairs, noise)
        warnings += jumps.warnings(site.label, rows) + two_slopes.warnings(site.label, rows, site.output)
        warnings += kink_warnings(site.label, rows[find_kinks(pairs, noise) & ~jumps.any])
        asked = np.bincount(self._placed[0], minlength=len(rows))
        worst = int(np.argmax(np.nan_to_num(level.level, nan=-1.0)))

        def shaped(columns: Floats) -> Floats:
            """Without the axis of outputs, where J returns a number."""
            return columns if self.vector else columns[..., 0]

        return StepSweep(
            coordinates=rows,
            labels=tuple(site.label(int(k)) for k in rows),
            outputs=tuple(site.output(j, len(found.baseline)) for j in range(len(found.baseline))),
            x=site.x[rows],
            value=found.baseline if self.vector else float(found.baseline[0]),
            noise=NoiseResult(
                float(level.level[worst]),
                level.status[worst],
                found.spacing,
                n_evaluations,
                float(level.quantum[worst]),
            ),
            step=drawn.step,
            forward=shaped(drawn.forward),
            forward_noise=shaped(drawn.forward_noise),
            central=shaped(drawn.central),
            central_noise=shaped(drawn.central_noise),
            derivative=shaped(derivative),
            error=shaped(error),
            best=best,
            near=shaped(two_slopes.near),
            far=shaped(two_slopes.far),
            side=np.where(jumps.any, side, np.nan),
            unseen=len(DECADES) - asked,
            failed=asked - pairs.count,
            warnings=warnings,
            n_evaluations=n_evaluations,
            n_reused=n_reused,
            bars=noise,
        )


def _of_that_noise(found: Survey, pairs: ProbePairs, jumps: Jumps) -> Survey:
    """The survey with the noise of J near x that agrees with the pairs, where the lines alone would mislead."""
    if jumps.any.any():
        # J jumps at x, so J(x) does not fit the smooth J beside it, and the lines begin with J(x): leave it out.
        found = replace(found, noise=estimate([line.values[1:] for line in found.lines]))
    if contradicts_noise(pairs, _usable(found), found.baseline):
        near, *others = (line.values[int(jumps.any.any()) :] for line in found.lines)
        alone = estimate([near], others)
        found = found if UNKNOWN in alone.status else replace(found, noise=alone)
        if contradicts_noise(pairs, _usable(found), found.baseline):
            # J's own scale may be below the spacing of all lines, as that of sin(1e8 x) is.
            found = replace(found, noise=noise_of_agreement(pairs, _usable(found), found.baseline))
    return found


def _slopes(pairs: ProbePairs, jumps: Jumps, noise: Noise) -> tuple[Floats, Floats, Floats]:
    """The slopes as `plateau` has them; where J jumps at x, those of its smooth side, or NaN."""
    derivative, error, best = plateau(pairs.shifted(jumps.lone), noise)
    side = jumps.smooth_side
    untold = jumps.any & (side == 0) & ~(jumps.lone != 0).any(axis=1)
    derivative[untold] = error[untold] = np.nan
    if side.any():
        at = np.flatnonzero(side)
        own = one_sided(pairs.take(at), side[at])
        derivative[at], error[at], best[at] = plateau(own, noise)
    return derivative, error, best


class _Drawn(NamedTuple):
    """Plain differences at each step, as a plot shows them, with what noise may put them off."""

    step: Floats
    forward: Floats
    forward_noise: Floats
    central: Floats
    central_noise: Floats


def _drawn(pairs: ProbePairs, noise: Noise, upwards: NDArray[np.bool_]) -> _Drawn:
    """Forward differences, towards larger x where ``upwards`` (a,) says so, and central ones."""
    one, two = pairs.offsets[..., 0], pairs.offsets[..., 1]
    second = (one * two < 0) & ((one > 0) != upwards[:, None])
    along = np.where(second, two, one)
    rise = np.where(second[..., None], pairs.rises[:, :, 1], pairs.rises[:, :, 0])
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        weights = np.stack((-two / (one * (one - two)), one / (two * (one - two))), axis=-1)
        return _Drawn(
            step=np.abs(along),
            forward=rise / along[..., None],
            forward_noise=noise.part(1 / along[..., None]),
            central=(weights[..., None] * pairs.rises).sum(axis=2),
            central_noise=noise.part(weights),
        )


def _seen(site: BasePoint, k: int, values: Floats) -> Floats | None:
    """Offsets (2,) of a pair as J reads them; None where they are equal to each other or to 0."""
    try:
        offsets = site.offsets(np.array([k]), values[None])[0]
    except InputError:
        return None  # the text that J reads has too few digits for this step
    good = np.isfinite(offsets).all() and (offsets != 0).all() and offsets[0] != offsets[1]
    return offsets if good else None


def _usable(found: Survey) -> Noise:
    """The noise; where it could not be measured, the rounding of a float64, which every J has."""
    noise = found.noise
    if UNKNOWN not in noise.status:
        return noise
    unknown = np.array([status == UNKNOWN for status in noise.status])
    rounding = known_noise(1.0, len(unknown))
    return Noise(
        np.where(unknown, found.level, noise.level),
        noise.quantum,
        np.where(unknown, rounding.factor, noise.factor),
        noise.status,
    )
