"""An open wave: a derivative on its way, whose value at x can be had before the rest."""

from __future__ import annotations

import sys
import threading
import time
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core import awake_clock
from distfd.core.errors import CancelledEvaluationError, InputError
from distfd.core.records import Status
from distfd.core.validation import is_number
from distfd.evaluation.event_loop import WorkGivenOut
from distfd.evaluation.outcome import scalar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import Self

    from numpy.typing import NDArray

    from distfd.core.records import Batch
    from distfd.differentiation.method import Answer, Request
    from distfd.evaluation.run_method import Finished
    from distfd.evaluation.tally import Tally
    from distfd.executors.turn import Turn
    from distfd.results.derivative_result import DerivativeResult

_LOOK_SECONDS = 0.1
"""How long the thread of a future has the Evaluator to itself, while others wait to cancel or to ask for the value."""
_PAUSE_SECONDS = 0.001
"""How long it then lets them have it: a lock that is taken again at once would go to the same thread."""


class Done(int):
    """Whether nothing runs any more: as it is, like a bool, or called, as that of concurrent.futures."""

    _pending: Pending

    def __new__(cls, pending: Pending) -> Self:
        """As things are now."""
        made = super().__new__(cls, pending.ended)
        made._pending = pending  # of its own
        return made

    def __call__(self) -> bool:
        """Take what is there, give slots more work, and say whether nothing runs any more; it does not wait."""
        return self._pending.look()

    def __repr__(self) -> str:
        return repr(bool(self))


class Pending:
    """What `Evaluator.begin` gives: all points of a derivative at x are on their way in one wave.

    Slots are given more work only inside of its methods, and those of its Evaluator. Once `as_future`,
    `add_done_callback` or ``await`` has asked for it, a thread sees to that, and nobody needs to wait.

    Attributes
    ----------
    x : (d,) ndarray
    done : Done
        Whether nothing runs for it any more: ``pending.done()``, or ``if pending.done``.
    ended : bool
        The same.
    """

    def __init__(  # made by the Evaluator alone
        self,
        x: NDArray[np.float64],
        steps: Generator[WorkGivenOut | Finished, None, Answer],
        tally: Tally,
        turn: Turn,
        finish: Callable[[Answer, Tally], DerivativeResult],
        *,
        check: Callable[[], None],
        note: Callable[[], None],
        limit: Callable[[float | None], None],
        vector: bool,
        partial: bool = False,
    ) -> None:
        self.x = x
        self.ended = False
        self._cancelled = False
        self._limit = limit
        """Tells the session until when this call waits."""
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
        self._future: ResultFuture | None = None
        self._finishing = threading.RLock()
        """Held while the result or the future is made, as a thread of distfd's and the user's may both ask for it."""

    @property
    def done(self) -> Done:
        """Whether nothing runs for it any more."""
        return Done(self)

    def running(self) -> bool:
        """Whether something of it is still to come."""
        return not self.ended

    def cancelled(self) -> bool:
        """Whether it was cancelled before it was done."""
        return self._cancelled

    def value(self, timeout: float | None = None) -> Any:
        """J(x), as soon as it is known: a float, or (m,) where the kind is that of a J with several outputs.

        Parameters
        ----------
        timeout : float, optional
            Seconds to wait; see `result`.

        Raises
        ------
        EvaluationError
            If J fails there for good.
        CancelledEvaluationError
            If it was cancelled before.
        TimeoutError
            If it is not known in time.
        """
        until = _moment(timeout)
        while self._value is None:
            self._pull_until(until, for_value=True)
            self._complain()
            if self._value is None and _is_over(until):
                raise TimeoutError(f"J(x) is not known after {timeout} s; its evaluation goes on, so you can ask again")
        return self._value.copy() if self._vector else scalar(self._value)

    def result(self, timeout: float | None = None) -> DerivativeResult:
        """The derivative with all that is known of it, once the rest is there too.

        Parameters
        ----------
        timeout : float, optional
            Seconds to wait; None: as long as it takes. With the serial executor an evaluation that has begun is waited
            for, and while Ray starts the time is not looked at.

        Raises
        ------
        EvaluationError
            If J fails at x, or (unless on_failure="nan") a component has no value.
        CancelledEvaluationError
            If it was cancelled before.
        TimeoutError
            If it is not done in time; it goes on, and may be asked again.
        """
        until = _moment(timeout)
        while not self.ended:
            self._pull_until(until)
            if not self.ended and _is_over(until):
                raise TimeoutError(
                    f"the derivative is not done after {timeout} s; its evaluations go on, so you can ask again"
                )
        self._complain()
        with self._finishing:
            if self._result is None:
                if self._answer is None:
                    raise CancelledEvaluationError("this evaluation was cancelled; begin another")
                self._result = self._finish(self._answer, self.tally)
        return self._result

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What `result` raises, or None; parameters and errors of waiting as for that.

        Raises
        ------
        CancelledEvaluationError, TimeoutError
            As `result`.
        """
        try:
            self.result(timeout)
        except (CancelledEvaluationError, TimeoutError):
            raise
        except Exception as error:
            return error
        return None

    def as_future(self) -> Future[DerivativeResult]:
        """A future of concurrent.futures that gets this result, for `concurrent.futures.wait`, asyncio and others.

        A thread waits for the result, and gives slots more work meanwhile. Where the executor is "serial", J runs in
        this thread; observers are called, and callbacks of the future too. To cancel the future cancels this.
        """
        with self._finishing:
            if self._future is None:
                self._future = ResultFuture()
                if self.ended:
                    self._fulfil(self._future)
                else:
                    threading.Thread(
                        target=self._fulfil, args=(self._future,), name="distfd future", daemon=True
                    ).start()
            return self._future

    def _fulfil(self, future: ResultFuture) -> None:
        """Wait for the result and give it to the future."""
        result: DerivativeResult | None = None
        failure: BaseException | None = None
        try:
            while not self.ended and not future.cancelled():
                self._pull_until(awake_clock.now() + _LOOK_SECONDS)
                time.sleep(_PAUSE_SECONDS)
            if not future.cancelled():
                result = self.result()
        except CancelledEvaluationError:
            future.cancel()
        except BaseException as error:  # a KeyboardInterrupt too: whoever asks the future gets it
            failure = error
        if not future.set_running_or_notify_cancel():
            self.cancel()
        elif failure is not None:
            future.set_exception(failure)
        else:
            future.set_result(result)

    def add_done_callback(self, function: Callable[[Pending], object]) -> None:
        """Call a function with this once it is done or cancelled; in the thread that `as_future` starts."""
        self.as_future().add_done_callback(lambda _: function(self))

    def __await__(self) -> Generator[Any, None, DerivativeResult]:
        """The result, where asyncio runs; other coroutines go on meanwhile. To cancel the task cancels this."""
        import asyncio

        return asyncio.wrap_future(self.as_future()).__await__()

    def cancel(self) -> bool:
        """End what has not finished; what has stays in the store. Where nothing runs any more, it does nothing.

        Returns
        -------
        bool
            Whether it is cancelled: False if it was done before.
        """
        with self._turn.held():
            self.close()
        return self._cancelled

    def close(self) -> None:
        """As `cancel`, for who has the turn."""
        self._cancelled = self._cancelled or not self.ended
        self.ended = True
        self._steps.close()

    def look(self) -> bool:
        """Take what is there, without waiting; whether nothing runs any more."""
        if not self.ended:
            self._pull_until(awake_clock.now())
        return self.ended

    def _pull_until(self, until: float | None, *, for_value: bool = False) -> None:
        """Wait for what comes next, at most until then; another thread may have the turn all the time.

        With ``for_value`` for nothing, if another thread has got the value meanwhile.
        """
        holding = self._turn.take(None if until is None else until - awake_clock.now(), sys._getframe())  # noqa: SLF001
        if holding is None:
            return
        try:
            if for_value and self._value is not None:
                return
            self._limit(until)
            try:
                self.pull()
            finally:
                self._limit(None)
        finally:
            self._turn.give_back(holding)

    def settle(self) -> None:
        """Finish it, for who has the turn; what goes wrong with J is told by `value` and `result`."""
        if self._future is not None and self._future.cancelled():
            self.close()  # its thread has not come to it yet
        while not self.ended:
            self.pull()

    def pull(self) -> None:
        """Wait for what comes next, for who has the turn."""
        if self.ended:
            return
        try:
            self._check()
            try:
                step = next(self._steps)
            finally:
                self._note()
        except StopIteration as ended:
            answer: Answer = ended.value
            self.ended, self._answer, self._value = True, answer, answer.value
        except BaseException as error:
            self.ended, self._error = True, error
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
        if self.ended and self._value is None:
            raise CancelledEvaluationError("this evaluation was cancelled before its value was known; begin another")


class ResultFuture(Future[Any]):
    """A future that can be cancelled until it is done: it counts as running only for who asks."""

    def running(self) -> bool:
        """Whether something of it is still to come."""
        return not self.done()


def _moment(timeout: float | None) -> float | None:
    """When a call is to end that waits for so many seconds."""
    if timeout is not None and not (is_number(timeout) and timeout >= 0):
        raise InputError(f"timeout: must be a number of seconds >= 0, or None (was {timeout!r})")
    return None if timeout is None else awake_clock.now() + timeout


def _is_over(until: float | None) -> bool:
    return until is not None and awake_clock.now() >= until
