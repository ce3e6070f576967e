"""One round of trials: how many there is room for, and their values and gradients from one wave."""

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
"""More values without gradients than this say nothing new of a step."""
_CHANGES = 2**24
"""At most so many coordinates, by index and value, are written out for one round: 256 MiB."""


class Gradients(Protocol):
    """How gradients are taken."""

    @property
    def warns(self) -> bool:
        """Whether what is doubtful about a gradient is told; where error bars decide, it is what is expected."""

    @property
    def scheme(self) -> str | None:
        """Of the gradients, where it is not the one that was asked for."""

    def plan(self, x: Floats) -> Method[Answer]:
        """The plan of the gradient at x."""

    def found(self, x: Floats, answer: Answer) -> Found:
        """What the plan's answer says."""

    def refine(self) -> bool:
        """Take better ones from now on; False where there are none."""


class Rounds:
    """Evaluates trials, and has the record see them.

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
        """How many gradients, and values beside them, a round has room for.

        It is the one decision that rests on slots, so it is kept in the journal: a replay decides alike.
        """
        slots, journal = self._course.slots, self._course.journal
        first = gradients.plan(x).advance(())
        cost = len(first.points) if isinstance(first, Request) else 1
        # Where one gradient takes several rounds, there is as much room as the last of them leaves.
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
        """The gradient at the iterate itself, as it is taken now."""
        trials, failures = self._course.record.trials, self._course.record.failures
        found, _ = self.solve([(x, gradients.plan(x))], gradients)
        self._course.record.trials, self._course.record.failures = trials, failures  # it was no trial
        return found[0]

    def evaluate(self, points: Sequence[tuple[Floats, bool]], gradients: Gradients) -> list[Found]:
        """Value at all points, and gradients where they are wanted, in one wave or as few as their plans need.

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
        """The same by given plans, with each point's waves."""
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
        """Have the record see all points of a round, the best one first, and only then stop where that is enough.

        Raises
        ------
        Stop
            If a limit is reached.
        """
        evaluator, record = self._course.evaluator, self._course.record
        stop: Stop | None = None
        # Points without a value come last: no order holds between NaN and numbers.
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
        """The round was cut off: have the record see the points whose gradient was complete before that."""
        evaluator = self._course.evaluator
        found, answers = [], []
        for x, plan in points:
            answer = None if plan is None else evaluator.known_answer(plan)
            if answer is not None and np.isfinite(answer.value).all():
                found.append(gradients.found(x, answer))
                answers.append(answer)
        with contextlib.suppress(Stop):
            self._see(found, answers, Tally(), gradients)
