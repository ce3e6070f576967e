"""An open wave: a derivative on its way, whose value at x can be had before the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core.errors import InputError
from distfd.core.records import Status
from distfd.evaluation.event_loop import WorkGivenOut
from distfd.evaluation.outcome import scalar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from numpy.typing import NDArray

    from distfd.core.records import Batch
    from distfd.differentiation.method import Answer, Request
    from distfd.evaluation.run_method import Finished
    from distfd.evaluation.tally import Tally
    from distfd.results.derivative_result import DerivativeResult
    from distfd.workers.threads import CallLock


class Pending:
    """What `Evaluator.begin` gives: all points of a derivative at x are on their way in one wave.

    Slots are given more work only inside of its methods, and those of its Evaluator.

    Attributes
    ----------
    x : (d,) ndarray
    done : bool
        Whether nothing runs for it any more.
    """

    def __init__(  # made by the Evaluator alone
        self,
        x: NDArray[np.float64],
        steps: Generator[WorkGivenOut | Finished, None, Answer],
        tally: Tally,
        turn: CallLock,
        finish: Callable[[Answer, Tally], DerivativeResult],
        *,
        check: Callable[[], None],
        note: Callable[[], None],
        vector: bool,
        partial: bool = False,
    ) -> None:
        self.x = x
        self.done = False
        self.tally = tally
        self._steps = steps
        self._turn = turn
        self._finish = finish
        self._check = check
        self._note = note
        self._vector = vector
        self._partial = partial
        """Whether J(x) may lack some of J's outputs."""
        self._first: Request | None = None
        self._value: NDArray[np.float64] | None = None
        self._answer: Answer | None = None
        self._error: BaseException | None = None
        self._result: DerivativeResult | None = None

    def value(self) -> Any:
        """J(x), as soon as it is known: a float, or (m,) where the kind is that of a J with several outputs.

        Raises
        ------
        EvaluationError
            If J fails there for good.
        InputError
            If it was cancelled before.
        """
        while self._value is None:
            with self._turn:
                self.pull()
            self._complain()
        return self._value.copy() if self._vector else scalar(self._value)

    def result(self) -> DerivativeResult:
        """The derivative with all that is known of it, once the rest is there too.

        Raises
        ------
        EvaluationError
            If J fails at x, or (unless on_failure="nan") a component has no value.
        InputError
            If it was cancelled before.
        """
        while not self.done:
            with self._turn:
                self.pull()
        self._complain()
        if self._result is None:
            if self._answer is None:
                raise InputError("this evaluation was cancelled; begin another")
            self._result = self._finish(self._answer, self.tally)
        return self._result

    def cancel(self) -> None:
        """End what has not finished; what has stays in the store. Where nothing runs any more, it does nothing."""
        with self._turn:
            self.close()

    def close(self) -> None:
        """As `cancel`, for who has the turn."""
        self.done = True
        self._steps.close()

    def settle(self) -> None:
        """Finish it, for who has the turn; what goes wrong with J is told by `value` and `result`."""
        while not self.done:
            self.pull()

    def pull(self) -> None:
        """Wait for what comes next, for who has the turn."""
        if self.done:
            return
        try:
            self._check()
            try:
                step = next(self._steps)
            finally:
                self._note()
        except StopIteration as ended:
            answer: Answer = ended.value
            self.done, self._answer, self._value = True, answer, answer.value
        except BaseException as error:
            self.done, self._error = True, error
            if not isinstance(error, Exception):
                raise
        else:
            if isinstance(step, WorkGivenOut):
                return
            self._first = self._first or step.request
            if self._value is None and step.request is self._first:
                self._value = self._baseline(step.request, step.batch)

    def _baseline(self, request: Request, batch: Batch) -> NDArray[np.float64] | None:
        """J(x), if it is in the batch."""
        valid = (batch.status == Status.OK) | (batch.partial & self._partial)
        rows = np.flatnonzero((batch.index == request.baseline) & valid)
        if not len(rows):
            return None
        row = int(rows[0])
        start = int(batch.offsets[row])
        value = batch.flat[start : start + int(batch.size[row])]
        # Of a wrong size it is a failure, of which the wave's end tells.
        return value.copy() if request.vector or len(value) == 1 else None

    def _complain(self) -> None:
        if self._error is not None:
            raise self._error
        if self.done and self._value is None:
            raise InputError("this evaluation was cancelled before its value was known; begin another")
