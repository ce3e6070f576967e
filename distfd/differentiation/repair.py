"""``on_failure="repair"``: forms the missing components of a derivative from other points than planned."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from distfd.differentiation.auto_step import best
from distfd.differentiation.check_points import Checkable, CheckPoints
from distfd.differentiation.diagnostics import listed, no_movement_warnings
from distfd.differentiation.evaluation_budget import UNLIMITED, Budget
from distfd.differentiation.failure_ladder import Ladder, failed_coordinates, gather_samples
from distfd.differentiation.method import Answer, Course, Request
from distfd.differentiation.placement import arrangements
from distfd.differentiation.probe_refinement import refine
from distfd.differentiation.scale_search import scaled_survey

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence
    from typing import TypeAlias

    from numpy.typing import NDArray

    from distfd.core.records import Failure
    from distfd.differentiation.base_point import BasePoint
    from distfd.differentiation.failure_ladder import Samples
    from distfd.differentiation.method import Method, MultiRound, Wave
    from distfd.differentiation.scale_search import ScaledSurvey
    from distfd.differentiation.stencils import Stencil

    Floats = NDArray[np.float64]
    Failed: TypeAlias = Mapping[int, tuple[complex, Failure | None]]

T = TypeVar("T")

_WORDS = 300
"""Number of characters that are kept of a failure's text."""


@dataclass(frozen=True, eq=False)
class _Repairs:
    """The state that repairs read and extend: waves, what was left out, first failures, and what was done."""

    waves: list[Wave]
    budget: Budget
    failed: Failed
    texts: dict[int, str]


@dataclass(frozen=True, eq=False)
class RepairedMethod(Checkable, Course[Answer]):
    """A gradient or dense Jacobian by any method; components that it leaves missing are formed from other points.

    A method that finds its steps probes such a coordinate again, on the side where J did not fail, at steps that the
    noise allows there. Components that are still missing then, and all missing components of other methods, go through
    the failure ladder. Where no point fails, only the method's own points are evaluated.

    Parameters
    ----------
    method : Method
    site : Site
    stencil : Stencil
        The formula that the ladder aims at; a real stencil.
    h : (d,) ndarray
        The signed steps that the ladder begins with.
    vector : bool
    scale : (d,) ndarray, optional
        Typical sizes, for a method that finds its own steps and begins with `scale_search.scaled_survey`.
    noise : float, optional
        The standard deviation of the noise, if the method was given one.
    most : int
        Largest number of evaluations by method and repairs together.
    drifts : bool
        See `distfd.differentiation.failure_ladder.Ladder`.
    """

    method: Method[Answer]
    site: BasePoint
    stencil: Stencil
    h: Floats
    vector: bool
    scale: Floats | None = None
    noise: float | None = None
    most: int = UNLIMITED
    drifts: bool = False

    def check_points(self, waves: Sequence[Wave]) -> CheckPoints | None:
        """The check's points of the method."""
        return self.method.check_points(waves) if isinstance(self.method, Checkable) else None

    def _course(self) -> MultiRound:
        """The method's own requests, then those of the repairs, then the answer."""
        waves: list[Wave] = []
        while isinstance(step := self.method.advance(waves), Request):
            waves.append((yield step))
        answer = step
        failed = failed_coordinates(waves)
        if not failed:
            return answer
        texts = {k: _text(*failed[k], "its other points were used") for k in failed.keys() - answer.missing.tolist()}
        work = _Repairs(waves, Budget(self.most - sum(len(wave.request.points) for wave in waves)), failed, texts)
        if self.scale is not None and len(rows := self._broken(answer, failed)):
            answer = yield from self._probed_again(answer, rows, work)
        # A point where some outputs failed is suspect in the others too: repair whole columns first, then single
        # outputs.
        for whole in (True, False) if self.vector else (True,):
            if len(rows := self._broken(answer, failed)):
                answer = yield from self._climbed(answer, rows, work, whole=whole)
        if work.budget.short and len(rows := self._broken(answer, failed)):
            answer = replace(answer, warnings=(*answer.warnings, self._left_out(rows)))
        return replace(answer, repaired=dict(sorted(texts.items())))

    def _left_out(self, rows: NDArray[np.int64]) -> str:
        return (
            f"the repair of {listed(self.site.label, rows)} was cut short, as step='auto' takes {self.most} "
            "evaluations at most: repairs of a derivative with a given step (step=1e-4, say) have no such limit"
        )

    def _climbed(
        self, answer: Answer, rows: NDArray[np.int64], work: _Repairs, *, whole: bool
    ) -> Generator[Request, Wave, Answer]:
        """The answer with the components that the ladder formed for these coordinates; extends ``work``."""
        needed = _lacking(answer, rows, vector=self.vector)
        if whole:
            needed = np.ones_like(needed)
        samples = gather_samples(work.waves, self.site.x, rows, needed)
        baseline = np.asarray(answer.value.real, dtype=np.float64)
        h = self._steps(rows, samples)
        ladder = Ladder(self.site, rows, h, self.stencil, samples, baseline, needed, work.budget, self.drifts)
        yield from _recorded(ladder.climb(vector=self.vector), work.waves)
        good = np.flatnonzero([bool(how) for how in ladder.how])
        work.texts.update({int(rows[r]): _text(*work.failed[int(rows[r])], ladder.how[r]) for r in good.tolist()})
        slope = np.where(needed, ladder.slope, np.nan)[good]
        # The errors are unknown (NaN): the method's error bars hold for its own formulas only.
        answer = _filled(answer, rows[good], slope, np.full(slope.shape, np.nan), ladder.step[good], vector=self.vector)
        still = rows[good][(np.nan_to_num(slope) == 0).all(axis=1)]
        return replace(answer, warnings=answer.warnings + no_movement_warnings(self.site.label, still, 0.0))

    @staticmethod
    def _broken(answer: Answer, failed: Failed) -> NDArray[np.int64]:
        return np.array([k for k in answer.missing.tolist() if k in failed], dtype=np.int64)

    def _probed_again(
        self, answer: Answer, rows: NDArray[np.int64], work: _Repairs
    ) -> Generator[Request, Wave, Answer]:
        """The answer with components by probes on the side of x that has values; extends ``work``."""
        site = self.site
        samples = gather_samples(work.waves, site.x, rows, _lacking(answer, rows, vector=self.vector))
        bad, above = ~samples.ok, samples.at > samples.x[samples.row]
        up, down = (np.bincount(samples.row[bad & side], minlength=len(rows)) > 0 for side in (above, ~above))
        lower, upper = site.lower.copy(), site.upper.copy()
        upper[rows[up]], lower[rows[down]] = site.x[rows[up]], site.x[rows[down]]
        walled = replace(site, lower=lower, upper=upper)
        rows = rows[(up != down) & (lower[rows] < upper[rows])]
        if not work.budget.affords(2 * len(rows)):
            rows = rows[: work.budget.free // 2]
        if not len(rows):
            return answer
        lines = self._lines(work.waves)
        found = lines.found
        probing = refine(walled, rows, lines.scale, found, vector=self.vector, budget=work.budget)
        search, slopes = yield from _recorded(probing, work.waves)
        value, bar, size = best(slopes)
        good = np.isfinite(value).any(axis=1)
        sign = np.where(upper[rows] > site.x[rows], 1.0, -1.0)
        for r in np.flatnonzero(good).tolist():
            k, word = int(rows[r]), "+" if sign[r] > 0 else "-"
            how = f"other points at a step from the noise: J at x {word} h, x {word} 2 h with h = {size[r]:.3g}"
            work.texts[k] = _text(*work.failed[k], how)
        bar = np.where(np.isfinite(bar) & np.isfinite(found.noise.level), bar, np.nan)
        filled = _filled(answer, rows[good], value[good], bar[good], (sign * size)[good], vector=self.vector)
        return replace(filled, warnings=filled.warnings + search.doubts(value, size))

    def _lines(self, waves: Sequence[Wave]) -> ScaledSurvey:
        """The lines that the method began with, and the scale that it found for tiny coordinates."""
        assert self.scale is not None, "of a method that finds its steps"
        course = scaled_survey(self.site, self.scale, vector=self.vector, given=self.noise)
        next(course)
        for wave in waves:
            try:
                course.send(wave)
            except StopIteration as stop:
                found: ScaledSurvey = stop.value
                return found
        raise AssertionError("the method's first waves are those of the lines")

    def _steps(self, rows: NDArray[np.int64], samples: Samples) -> Floats:
        """Signed steps to begin with, (a,): the wanted ones, or those used instead where bounds left no room."""
        wanted = self.h[rows]
        if self.scale is not None:
            return wanted
        x, nearest = self.site.x[rows], samples.nearest()
        nodes = {float(direction * c) for direction, window in arrangements(self.stencil.nodes) for c in window}
        as_wanted = np.any([samples.near(x + wanted * c, np.abs(wanted))[1] for c in nodes], axis=0)
        shrunk = np.isfinite(nearest) & ~as_wanted
        return np.where(shrunk, np.copysign(nearest / float(np.abs(self.stencil.nodes).min()), wanted), wanted)


def _recorded(course: Generator[Request, Wave, T], waves: list[Wave]) -> Generator[Request, Wave, T]:
    """Runs the generator and appends its waves to ``waves``."""
    try:
        step = next(course)
        while True:
            wave = yield step
            waves.append(wave)
            step = course.send(wave)
    except StopIteration as stop:
        result: T = stop.value
        return result


def _lacking(answer: Answer, rows: NDArray[np.int64], *, vector: bool) -> NDArray[np.bool_]:
    """Which outputs lack a derivative along each of these coordinates, (a, m)."""
    part = answer.derivative[:, rows].T if vector else answer.derivative[rows, None]
    return np.asarray(~np.isfinite(part))


def _filled(
    answer: Answer, rows: NDArray[np.int64], slope: Floats, bar: Floats, step: Floats, *, vector: bool
) -> Answer:
    """The answer with these coordinates' slopes and bars (a, m) replaced where new ones exist."""
    derivative, steps = np.array(answer.derivative), answer.step.copy()
    error = None if answer.error is None else np.array(answer.error)
    steps[rows] = step
    for part, new in ((derivative, slope), (error, bar)):
        if part is None:
            continue
        table = part.T if vector else part[:, None]
        table[rows] = np.where(np.isfinite(slope), new, table[rows])
    table = derivative.T if vector else derivative[:, None]
    whole = rows[np.isfinite(table[rows]).all(axis=1)]
    return replace(answer, derivative=derivative, error=error, step=steps, missing=np.setdiff1d(answer.missing, whole))


def _text(offset: complex, failure: Failure | None, how: str) -> str:
    """A sentence on the first failure and what was done about it."""
    size = f"{abs(offset.imag or offset.real):.3g}"
    sign = "-" if (offset.imag or offset.real) < 0 else "+"
    at = f"x {sign} {size}i" if offset.imag else f"x {sign} {size}"
    why = "" if failure is None else f" ({failure.status.word}: {_short(failure.text)})"
    return f"J failed at {at}{why}; {how}"


def _short(text: str) -> str:
    text = text.partition("; work directory ")[0]
    return text if len(text) <= _WORDS else text[: _WORDS - 3] + "..."
