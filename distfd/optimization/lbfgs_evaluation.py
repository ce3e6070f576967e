"""A round of trials: how many it has room for, and their values and gradients from one wave."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from distfd.core.errors import ClusterLostError, TimeUpError
from distfd.core.points import dense_points
from distfd.differentiation.batched_methods import BatchedMethods
from distfd.differentiation.method import Answer, Request, Value
from distfd.evaluation.outcome import give_warnings
from distfd.evaluation.tally import Tally, gather
from distfd.optimization.lbfgs import Found
from distfd.optimization.limits import Stop
from distfd.optimization.seen_point import Seen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from distfd.differentiation.method import Method, Wave
    from distfd.optimization.optimization_run import OptimizationRun

    Floats = NDArray[np.float64]

_VALUES = 6
"""Largest number of values without gradients: more say nothing new about a step."""
_CHANGES = 2**24
"""Largest number of changed coordinates, by index and value, in the points of one round: 256 MiB."""


class Gradients(Protocol):
    """The way in which gradients are computed."""

    @property
    def warns(self) -> bool:
        """Whether doubts about a gradient give warnings; not where error bars decide, as doubts are expected then."""

    @property
    def scheme(self) -> str | None:
        """The scheme of the gradients, if it is not the one that was asked for."""

    def plan(self, x: Floats) -> Method[Answer]:
        """The method that computes the gradient at x."""

    def found(self, x: Floats, answer: Answer) -> Found:
        """The value and gradient in a method's answer."""

    def refine(self) -> bool:
        """Changes to more accurate gradients; returns False where there are none."""


class Rounds:
    """Evaluates trials and gives the results to the record.

    Parameters
    ----------
    course : Course
    """

    def __init__(self, course: OptimizationRun) -> None:
        self._course = course
        self._number = 0
        self._told: set[str] = set()
        course.evaluator.start()

    def room(self, gradients: Gradients, x: Floats, most: int | None) -> tuple[int, int]:
        """The number of gradients, and of values without gradients, that a round has room for.

        Only this decision depends on slots, so the journal keeps it: a replay then decides alike.
        """
        slots, journal = self._course.slots, self._course.journal
        first = gradients.plan(x).advance(())
        cost = len(first.points) if isinstance(first, Request) else 1
        # If one gradient takes more than one round of the slots, the room is what its last round leaves free.
        room = -(-cost // slots) * slots
        trials = max(1, min(room // cost, len(x) + 4, most or room))
        while trials > 1 and (trials - 1) * cost * len(x) > _CHANGES:
            trials -= 1
        values = min(_VALUES, room - trials * cost)
        self._number += 1
        return (
            journal.decide(f"round {self._number}: gradients", trials),
            journal.decide(f"round {self._number}: values", values),
        )

    def again(self, x: Floats, gradients: Gradients) -> Found:
        """The gradient at the current iterate, computed again in the present way."""
        trials, failures = self._course.record.trials, self._course.record.failures
        found, _ = self.solve([(x, gradients.plan(x))], gradients)
        self._course.record.trials, self._course.record.failures = trials, failures  # this point was no trial
        return found[0]

    def evaluate(self, points: Sequence[tuple[Floats, bool]], gradients: Gradients) -> list[Found]:
        """Values at all points, and gradients where wanted, in one wave or as few as the methods need.

        Raises
        ------
        Stop
            If a limit is reached.
        """
        found, _ = self.solve([(x, gradients.plan(x) if wants else None) for x, wants in points], gradients)
        return found

    def solve(
        self, points: Sequence[tuple[Floats, Method[Answer] | None]], gradients: Gradients
    ) -> tuple[list[Found], list[list[Wave]]]:
        """Values and gradients by the given methods, together with each point's waves."""
        evaluator, record = self._course.evaluator, self._course.record
        together = BatchedMethods(
            [Value(dense_points([x]), vector=False) if plan is None else plan for x, plan in points]
        )
        try:
            _, tally = evaluator.solve(together, "trials", raises=False)
        except (KeyboardInterrupt, TimeUpError, ClusterLostError):
            self._see_what_is_known(points, gradients)
            raise
        waves = [gather(request, batches) for request, batches in tally.waves]
        answers = together.answers(waves)
        record.count(tally)
        record.n_values += len(points)
        found = []
        for (x, plan), answer in zip(points, answers, strict=True):
            if answer is None or not np.isfinite(answer.value).all():
                found.append(Found(x, np.nan))
            elif plan is None:
                found.append(Found(x, float(np.ravel(answer.value)[0])))
            else:
                if gradients.warns:
                    give_warnings(answer.warnings, self._told)
                found.append(gradients.found(x, answer))
        for each in found:
            record.tried(failed=not np.isfinite(each.value))
        self._see(found, answers, tally, gradients)
        return found, together.waves(waves)

    def _see(
        self, found: Sequence[Found], answers: Sequence[Answer | None], tally: Tally, gradients: Gradients
    ) -> None:
        """Gives all points of a round to the record, the best first, before a limit stops the run.

        Raises
        ------
        Stop
            If a limit is reached.
        """
        evaluator, record = self._course.evaluator, self._course.record
        stop: Stop | None = None
        # Sort points without a value last: NaN cannot be compared with numbers.
        for k in sorted(range(len(found)), key=lambda k: np.nan_to_num(found[k].value, nan=np.inf, posinf=np.inf)):
            answer = answers[k]
            record.valued(found[k].x, found[k].value)
            if answer is not None and found[k].gradient is not None:
                result = evaluator.result(found[k].x, answer, tally)
                if gradients.scheme is not None:
                    result = replace(result, scheme=gradients.scheme)
                try:
                    record.see(Seen(found[k].x, found[k].value, result, result.derivative))
                except Stop as reached:
                    stop = stop or reached
        if stop is not None:
            raise stop
        record.check()

    def _see_what_is_known(self, points: Sequence[tuple[Floats, Method[Answer] | None]], gradients: Gradients) -> None:
        """Gives points with a complete gradient to the record, after the round was cut off."""
        evaluator = self._course.evaluator
        found, answers = [], []
        for x, plan in points:
            answer = None if plan is None else evaluator.known_answer(plan)
            if answer is not None and np.isfinite(answer.value).all():
                found.append(gradients.found(x, answer))
                answers.append(answer)
        with contextlib.suppress(Stop):
            self._see(found, answers, Tally(), gradients)
