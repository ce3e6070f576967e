"""One round of trials: how many there is room for, and their values and gradients from one wave."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from distfd.core.points import dense_points
from distfd.differentiation.batched_methods import BatchedMethods
from distfd.differentiation.method import Answer, Request, Value
from distfd.evaluation.outcome import give_warnings
from distfd.evaluation.tally import gather
from distfd.optimization.lbfgs import Found
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
        _, tally = evaluator.solve(together, "trials", raises=False)
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
        # The best first: a target that is reached ends it at once.
        for k in sorted(range(len(found)), key=lambda k: found[k].value):
            answer = answers[k]
            record.valued(found[k].x, found[k].value)
            if answer is not None and found[k].gradient is not None:
                result = evaluator.result(found[k].x, answer, tally)
                if gradients.scheme is not None:
                    result = replace(result, scheme=gradients.scheme)
                record.see(Seen(found[k].x, found[k].value, result, result.derivative))
        record.check()
        return found, together.waves(waves)
