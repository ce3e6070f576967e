"""The method "model" of `distfd.least_squares` from start to end: rounds of as many points as the slots hold."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core.errors import ClusterLostError, EvaluationError, TimeUpError
from distfd.core.points import dense_points
from distfd.differentiation.batched_methods import BatchedMethods
from distfd.differentiation.direction_stencils import lengths
from distfd.differentiation.directional import Directional
from distfd.differentiation.first_derivative import FirstDerivative
from distfd.differentiation.method import Answer, Request, Value
from distfd.differentiation.stencils import SCHEMES
from distfd.differentiation.steps import NoiseStep
from distfd.evaluation.method_registry import make_method
from distfd.evaluation.outcome import give_warnings
from distfd.evaluation.tally import Tally, gather
from distfd.optimization.limits import Stop
from distfd.optimization.model_fit import ModelSearch, Room, Trial
from distfd.optimization.model_fit_observations import Evaluated, Slope
from distfd.optimization.scipy_least_squares import left_out, outputs_named
from distfd.optimization.second_search import SecondSearch
from distfd.optimization.seen_point import Seen
from distfd.optimization.weighting import Weighting

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from distfd.differentiation.method import Method
    from distfd.optimization.model_fit_options import ModelOptions
    from distfd.optimization.optimization_run import OptimizationRun
    from distfd.optimization.robust_loss import Loss

    Floats = NDArray[np.float64]

_PATIENCE = 2
"""After this many refused steps in a row, a predicted decrease that the noise hides ends the run."""
_BARS = 2.0
"""A decrease of less than this many standard deviations of the cost's noise is hidden by it."""
_NEGLIGIBLE = 0.1
"""A predicted decrease below this part of ``ftol`` is not worth a round."""
_SHORT = 0.3
"""Differences over less than this part of the length that the noise asks for are spoiled by it."""
_DROWNED = 0.1
"""Noise in slopes that is larger than this part of them spoils the standard errors."""
_LOOKS = 4
"""Largest number of Jacobians, over longer and longer steps, at the end of a noisy run."""
_LONGER = 10.0
"""Factor by which the steps of such slopes are lengthened."""
_CHANGES = 2**24
"""Largest number of changed coordinates, by index and value, in the points of one round: 256 MiB."""
_MODEL = "model"
"""Scheme of a Jacobian that comes from the regression, without differences."""


@dataclass(eq=False)
class ModelFit:
    """A fit by the method "model"; calling it with a start returns SciPy's result from there.

    Parameters
    ----------
    course : OptimizationRun
    bounds : pair of (d,) ndarrays
    typical : (d,) ndarray
        Sizes by which displacements are measured.
    loss : Loss
    options : ModelOptions
    adapts : bool
        Whether these sizes come only from x0, which says little where it is near 0.
    weighting : Weighting
        Turns J's outputs into residuals; noise is given for the outputs.
    kept : (m,) ndarray of bool, or None before the first residuals
        As for `distfd.optimization.scipy_least_squares.Squares`.
    noise : float or None
        Standard deviation of the noise that the last run assumed.
    """

    course: OptimizationRun
    bounds: tuple[Floats, Floats]
    typical: Floats
    loss: Loss
    options: ModelOptions
    adapts: bool = False
    weighting: Weighting = field(default_factory=Weighting)
    kept: NDArray[np.bool_] | None = None
    noise: float | None = None
    cost_noise: float = 0.0
    """Standard deviation of the noise in the cost at the end, if that noise is real."""

    def __call__(self, x0: Floats) -> Any:
        """The result from x0 on."""
        run = _Run(self, x0)
        try:
            return run.to_its_end()
        finally:
            self.noise = None if run.noise is None else run.noise / self.weighting.per_noise
            self.cost_noise = run.cost_noise


class _Run:
    """One search from one start."""

    def __init__(self, fit: ModelFit, x0: Floats) -> None:
        self._fit, self._course = fit, fit.course
        self._evaluator = fit.course.evaluator
        self._evaluator.start()
        priors = fit.weighting.prior_slopes(len(x0))
        first = ModelSearch(np.array(x0), *fit.bounds, fit.typical.copy(), fit.loss, fit.options, fit.adapts, priors)
        self._searches = SecondSearch(first)
        self._step = step = self._evaluator.setting(x0).options.step
        given = step.noise if isinstance(step, NoiseStep) else None
        if self._search.noise is None and given is not None:
            self._search.noise = given
        if self._search.noise is not None:
            self._search.noise *= fit.weighting.per_noise
        self._measures = isinstance(step, NoiseStep) and self._search.noise is None
        self._told: set[str] = set()
        self._number = 0
        self._corrected = False
        """Whether better slopes have arrived since the last round was asked for."""
        self._known: set[bytes] = set()
        """Points that have been asked for."""
        self._whole: dict[bytes, Answer] = {}
        """Answers with a complete Jacobian, at the points of the last round."""

    def to_its_end(self) -> Any:
        """Runs rounds until the search ends, and returns the result."""
        from scipy.optimize import OptimizeResult

        self._begin()
        iterations = 0
        while True:
            search, room = self._search, self._searches.room(self._room())
            trials = search.ask(room)
            if self._searches.ended(stuck=not trials):
                continue
            if end := self._end(trials):
                if self._searches.ended(stuck=True) or self._searches.begins_at_the_end():
                    continue
                success, message = end
                return OptimizeResult(x=search.x, success=success, status=int(success), message=message, nit=iterations)
            search.converged = ""
            if self._corrected:
                self._corrected = False
                continue  # the new Jacobian shows that the cost can fall further
            if self._searches.noted(room.slots, moved=self._round(trials)):
                iterations += 1
                self._course.iterated(search.x, search.cost)

    @property
    def _search(self) -> ModelSearch:
        return self._searches.search

    @property
    def noise(self) -> float | None:
        """Standard deviation of the noise in a residual; None if there is no relevant noise."""
        return self._search.noise

    @property
    def cost_noise(self) -> float:
        """Standard deviation of the noise in the cost; 0 if there is no relevant noise."""
        return self._search.cost_noise

    def _begin(self) -> None:
        """Evaluates x0 and its slopes; the search asks for failed slopes again.

        Raises
        ------
        EvaluationError
            If J fails at x0, or no slope there has a value.
        """
        search = self._search
        if search.noise:  # differencing steps depend on the size of the residuals
            self._round([Trial(search.x)])
        else:
            self._round(search.ask(self._room()))
        if search.residuals is None:
            self._evaluator.value(search.x)  # the error of this call says what failed
            raise EvaluationError("J failed at x0")
        while search.lost_at_start:
            self._round(search.ask(self._room()))
        if not search.has_slopes:
            self._evaluator.differentiate(search.x, kind="jacobian")
            raise EvaluationError(
                "the Jacobian at x0 could not be found: J failed at every point near x0 that was tried"
            )

    def _end(self, trials: Sequence[Trial]) -> tuple[bool, str] | None:
        """Whether the search has converged, and its message; None to go on. A missing Jacobian is computed first.

        ``trials`` are the trials of the next round.
        """
        search, options = self._search, self._fit.options
        if search.cost == 0:
            self._confirmed()  # the result's Jacobian must be one of differences; nothing can be lower than 0
            return True, "the residuals vanish"
        noise = _BARS * search.told_cost_noise
        why = search.converged
        if noise and search.failed >= _PATIENCE and search.foretold <= noise:
            why = "the predicted decrease is smaller than the noise in J"
        elif search.measured and search.gradient_size() <= options.gtol:
            why = "gtol: the gradient is as small"
        elif search.foretold < _NEGLIGIBLE * options.ftol * search.cost:
            why = "ftol: the predicted decrease is smaller"
        if (trials and not why) or not self._confirmed():
            return None
        if search.falls_beyond_noise:
            return (
                False,
                f"{why or 'no lower point was found'}, but the slopes there foretell a fall far beyond the noise",
            )
        return True, why or "the model of the residuals has no lower point"

    def _confirmed(self) -> bool:
        """Whether the end is confirmed by a Jacobian of differences of the scheme that was asked for.

        Where noise would spoil these differences, they are longer. If the Jacobian has to be computed first and shows
        that the cost can fall further, the search goes on.
        """
        search, before = self._search, np.nan
        for tried in range(_LOOKS + 1):
            best = self._course.record.best
            here = None if best is None or not best.measured or best.x.tobytes() != search.x.tobytes() else best
            needed = self._lengths_at_the_end(here)
            known = here is not None and (needed is None or self._long_enough(here.result.step, needed))
            if known or tried == _LOOKS:
                break
            if not tried:
                before = search.gradient_size()
            whole = Trial(search.x, "all")
            plan = self._evaluator.method(search.x, "jacobian") if needed is None else self._plan(whole, needed)
            evaluated = self._solve([(whole, plan)], tries=False)
            search.correct(evaluated[0])
            self._corrected = True
            self._see(evaluated)
            if needed is None:
                break
        return bool(np.isnan(before)) or search.gradient_size() <= max(2 * before, self._fit.options.gtol)

    def _lengths_at_the_end(self, here: Seen | None) -> Floats | None:
        """Differencing steps for the last Jacobian, (d,), where the noise determines them; else None.

        The model may take noise for curvature, so the steps are longer than it asks for where the noise in the slopes
        that are known ``here``, at x, is not small against these slopes.
        """
        search = self._search
        needed = search.lengths()
        if needed is None or isinstance(self._step, NoiseStep):  # step="auto" measures the noise at x for itself
            return None
        if here is None or search.noise is None:
            return needed
        steps = np.abs(here.result.step)
        slopes = np.sqrt(np.mean(np.square(here.result.derivative), axis=0))
        drowned = np.sqrt(2) * search.noise > _DROWNED * slopes * steps
        # A step that was long enough stays, where another one has to become longer.
        return np.maximum(needed, np.where(drowned, np.minimum(_LONGER * steps, search.longest), steps))

    @staticmethod
    def _long_enough(steps: Floats, needed: Floats) -> bool:
        """Whether a Jacobian's steps, (d,), are about as long as the noise asks for."""
        moved = steps != 0
        return bool((np.abs(steps) >= _SHORT * needed)[moved].all())

    def _round(self, trials: Sequence[Trial]) -> bool:
        """Runs a round; returns whether x has moved."""
        evaluated = self._solve([(trial, self._plan(trial)) for trial in trials])
        moved = self._search.tell(evaluated)
        self._see(evaluated)
        return moved

    def _room(self) -> Room:
        """The room in a round. Only this decision depends on slots, so the journal keeps it for a replay."""
        self._number += 1
        slots = self._course.journal.decide(f"round {self._number}: slots", self._course.slots)
        x = self._search.x
        first = self._plan(Trial(x, "all")).advance(())
        whole = len(first.points) if isinstance(first, Request) else 1
        d = max(1, int((self._fit.bounds[0] < self._fit.bounds[1]).sum()))
        if self._evaluator.warm is not None:  # with warm starts, all points of a wave start from the state of one x
            slots = min(slots, whole)
        slots = min(slots, max(whole, _CHANGES // max(1, len(x))))
        return Room(slots, whole, max(1, -(-(whole - 1) // d)))

    def _plan(self, trial: Trial, h: Floats | None = None) -> Method[Answer]:
        """The method for a trial: differences as asked for, or with steps that are given, or that the noise determines.

        Parameters
        ----------
        h : (d,) ndarray, optional
            Differencing steps.
        """
        x, directions = trial.x, trial.directions
        if directions is None:
            return Value(dense_points([x]))
        if h is None and self._search.residuals is not None:
            h = self._search.lengths()
        if h is None:
            if isinstance(directions, str):
                return self._evaluator.method(x, "jacobian")
            # A slope that fails is left out, so it needs no repair.
            return make_method("directional", replace(self._evaluator.setting(x), repair=False), directions=directions)
        site, forward = self._evaluator.setting(x).site, SCHEMES["forward"]
        if isinstance(directions, str):
            return FirstDerivative(site, forward, h, vector=True)
        return Directional(site, forward, directions, lengths(directions, h), h)

    def _solve(self, wanted: Sequence[tuple[Trial, Method[Answer]]], *, tries: bool = True) -> list[Evaluated]:
        """Evaluates trials in one wave, or as few as their methods need."""
        record = self._course.record
        together = BatchedMethods([plan for _, plan in wanted], partial=True)
        try:
            _, self._tally = self._evaluator.solve(together, "trials", raises=False)
        except (KeyboardInterrupt, TimeUpError, ClusterLostError):
            self._see_what_is_known(wanted)
            raise
        waves = [gather(request, batches) for request, batches in self._tally.waves]
        answers = together.answers(waves)
        record.count(self._tally)
        # A base point that an earlier round evaluated is not counted a second time.
        record.n_reused -= min(self._tally.n_reused, sum(trial.x.tobytes() in self._known for trial, _ in wanted))
        self._known.update(trial.x.tobytes() for trial, _ in wanted)
        record.n_values += len(wanted)
        self._whole = {}
        found = []
        for (trial, _), answer in zip(wanted, answers, strict=True):
            found.append(self._taken(trial, answer))
            if tries:
                record.tried(failed=found[-1].residuals is None)
        return found

    def _see_what_is_known(self, wanted: Sequence[tuple[Trial, Method[Answer]]]) -> None:
        """Gives points with a complete Jacobian to the record, after the round was cut off."""
        self._whole, self._tally = {}, Tally()
        there = [(trial, self._evaluator.known_answer(plan)) for trial, plan in wanted if trial.directions is not None]
        with contextlib.suppress(Stop):
            self._see([self._taken(trial, answer) for trial, answer in there if answer is not None])

    def _taken(self, trial: Trial, answer: Answer | None) -> Evaluated:
        """The fit's residuals and slopes from an answer."""
        residuals = None if answer is None else self._residuals(np.atleast_1d(answer.value), trial.x)
        if answer is None or residuals is None or trial.directions is None:
            return Evaluated(trial.x, residuals)
        assert self.kept is not None, "set with the first residuals"
        give_warnings(answer.warnings, self._told)
        by_axis = isinstance(trial.directions, str)
        table = np.asarray(answer.derivative)
        rows = table.T if by_axis else table.reshape(len(trial.directions), -1)
        rows = rows[:, self.kept]
        axes = np.eye(len(trial.x)) if by_axis else np.asarray(trial.directions)
        rows = self._fit.weighting.slopes(rows, axes, self.kept)
        if by_axis:
            self._learn_noise(answer)
            self._whole[trial.x.tobytes()] = answer
        moved = np.abs(answer.step) > 0
        slopes = [Slope(axes[k], rows[k], float(abs(answer.step[k]))) for k in np.flatnonzero(moved)]
        return Evaluated(trial.x, residuals, slopes)

    @property
    def kept(self) -> NDArray[np.bool_] | None:
        """Which of J's outputs are residuals of the fit."""
        return self._fit.kept

    def _residuals(self, value: Floats, x: Floats) -> Floats | None:
        """The fit's residuals; None if one of them has no value, so that the trial has failed."""
        there = np.isfinite(value)
        if self._fit.kept is None:
            if not there.any():
                return None
            self._fit.kept = there
            if not there.all():
                give_warnings((left_out(there),))
        kept = self._fit.kept
        if len(there) != len(kept) or (kept & ~there).any():
            if self._course.record.best is None and len(there) == len(kept):
                raise EvaluationError(f"J has no value at {outputs_named(np.flatnonzero(kept & ~there))}")
            return None
        return self._fit.weighting.values(np.asarray(value[kept], dtype=np.float64), kept, x)

    def _learn_noise(self, answer: Answer) -> None:
        """With step="auto", takes the noise from the first Jacobian; the others have steps that follow from it."""
        if self._measures:
            self._measures = False
            size = float(np.sqrt(np.mean(np.square(answer.value[self._fit.kept]))))
            measured = answer.noise if answer.noise is not None and np.isfinite(answer.noise) else 0.0
            self._search.noise = max(float(measured), float(np.spacing(size))) * self._fit.weighting.per_noise

    def _see(self, evaluated: Sequence[Evaluated]) -> None:
        """Gives a round to the record, the best point first, before a limit stops the run.

        Raises
        ------
        Stop
            If a limit is reached.
        """
        record, loss, search = self._course.record, self._fit.loss, self._search
        there = [(loss.cost(one.residuals), one) for one in evaluated if one.residuals is not None]
        for cost, one in sorted(there, key=lambda each: each[0]):
            assert one.residuals is not None, "sorted out"
            answer = self._whole.get(one.x.tobytes())
            record.valued(one.x, cost)
            at_best = one.x.tobytes() == search.x.tobytes() and search.residuals is not None
            if answer is not None and not np.isfinite(np.asarray(answer.derivative)[self.kept]).all() and not at_best:
                answer = None  # the answer is incomplete
            elif answer is not None:
                record.see(self._seen(one, cost, answer))
            elif at_best and search.has_slopes and (record.best is None or record.best.x.tobytes() != one.x.tobytes()):
                record.see(self._seen(one, cost, None))
        record.check()

    def _seen(self, one: Evaluated, cost: float, answer: Answer | None) -> Seen:
        """A point with its Jacobian; at the best point, the model's Jacobian replaces missing differences."""
        assert one.residuals is not None, "its value is known"
        assert self.kept is not None, "set with the first residuals"
        if answer is None:
            jacobian, none = self._search.jacobian(), np.zeros(0, dtype=np.int64)
            answer = Answer(jacobian, one.residuals, np.zeros(len(one.x)), none, scheme=_MODEL)
            measured = False
        else:
            rows, weighting = np.flatnonzero(self.kept), self._fit.weighting
            jacobian = np.array(weighting.matrix(np.asarray(answer.derivative)[rows], self.kept))
            measured = bool(np.isfinite(jacobian).all())
            if not measured:
                jacobian = np.where(np.isfinite(jacobian), jacobian, self._search.jacobian())
            error = None if answer.error is None else weighting.bars(np.asarray(answer.error)[rows], self.kept)
            lost = answer.missing if not measured else np.zeros(0, dtype=np.int64)
            answer = replace(answer, derivative=jacobian, value=one.residuals, error=error, missing=lost)
        tally: Tally = self._tally
        result = self._evaluator.result(one.x, answer, tally, "jacobian")
        gradient = self._fit.loss.gradient(one.residuals, jacobian)
        return Seen(one.x, cost, result, gradient, measured=measured)
