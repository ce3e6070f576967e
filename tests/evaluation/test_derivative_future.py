"""Open waves: the value before the rest, the rest cancelled, one at a time."""

from __future__ import annotations

import asyncio
import concurrent.futures
import json
import os
import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy.optimize import rosen, rosen_der

import distfd

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

X = np.array([-1.2, 1.0, 0.5])


class Counted:
    """Rosenbrock's function, with the points at which it was asked."""

    def __init__(self) -> None:
        self.seen: list[NDArray[np.float64]] = []

    def __call__(self, x: NDArray[np.float64]) -> float:
        self.seen.append(np.array(x))
        return float(rosen(x))


def test_the_value_comes_before_the_rest() -> None:
    fun = Counted()
    with distfd.Evaluator(fun, executor="serial") as ev:
        pending = ev.begin(X)
        assert pending.value() == rosen(X)
        assert len(fun.seen) == 1, "only the baseline"
        result = pending.result()
        assert len(fun.seen) == 4
        np.testing.assert_allclose(result.derivative, rosen_der(X), rtol=1e-5)
        assert result.derivative.tobytes() == ev.gradient(X).tobytes()
        assert len(fun.seen) == 4
        assert result.n_evaluations == 4
        assert pending.result() is result
        assert pending.value() == rosen(X)


def test_what_is_cancelled_is_not_evaluated_and_what_was_is_kept() -> None:
    fun = Counted()
    with distfd.Evaluator(fun, executor="serial") as ev:
        pending = ev.begin(X)
        pending.value()
        pending.cancel()
        assert pending.done
        assert pending.tally.n_evaluations == 1
        assert pending.value() == rosen(X)
        with pytest.raises(distfd.InputError, match="cancelled"):
            pending.result()
        assert len(fun.seen) == 1
        assert ev.differentiate(X).n_reused == 1
        assert len(fun.seen) == 4
        pending.cancel()
        assert len(fun.seen) == 4


def test_another_call_finishes_the_open_wave_first() -> None:
    fun = Counted()
    with distfd.Evaluator(fun, executor="serial") as ev:
        first = ev.begin(X)
        ev.value(X + 1)
        assert first.done
        assert len(fun.seen) == 5
        assert fun.seen[-1].tolist() == (X + 1).tolist()
        second = ev.begin(X + 2)
        third = ev.begin(X + 3)
        assert second.done
        assert not third.done
        np.testing.assert_allclose(second.result().derivative, rosen_der(X + 2), rtol=1e-5)
    assert third.done, "closing the Evaluator ends it"


def test_failures_are_told_by_whoever_asks() -> None:
    def fun(x: NDArray[np.float64]) -> float:
        if x[0] > 1 or x[1] > 2:
            raise ArithmeticError("too far")
        return float(rosen(x))

    with distfd.Evaluator(fun, executor="serial") as ev:
        bad = ev.begin([1.5, 0.0])
        with pytest.raises(distfd.EvaluationError, match="too far"):
            bad.value()
        with pytest.raises(distfd.EvaluationError, match="too far"):
            bad.result()
        edge = ev.begin([0.0, 2.0])
        assert edge.value() == rosen([0.0, 2.0])
        with pytest.raises(distfd.EvaluationError, match="coordinate 1"):
            edge.result()
        unasked = ev.begin([1.5, 0.0])
        assert ev.value([0.0, 0.0]) == 1.0
        with pytest.raises(distfd.EvaluationError, match="too far"):
            unasked.value()


def test_kinds() -> None:
    def fun(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.array([x[0] ** 2, x[0] * x[1]])

    with distfd.Evaluator(fun, executor="serial") as ev:
        assert ev.begin([2.0, 3.0], kind="value").value().tolist() == [4.0, 6.0]
        pending = ev.begin([2.0, 3.0], kind="jacobian")
        assert pending.value().tolist() == [4.0, 6.0]
        np.testing.assert_allclose(pending.result().derivative, [[4, 0], [3, 2]], atol=1e-6)
    with distfd.Evaluator(rosen, executor="serial") as ev:
        assert ev.begin(X, kind="value").value() == rosen(X)


def test_observers_cannot_come_in_between() -> None:
    caught: list[BaseException] = []

    def observer(event: Any) -> None:
        if type(event).__name__ == "BatchFinished" and not caught:
            try:
                ev.begin(X + 1)
            except distfd.InputError as error:
                caught.append(error)

    with distfd.Evaluator(rosen, executor="serial", observers=[observer]) as ev:
        ev.begin(X).result()
    assert "evaluating already" in str(caught[0])


class Waits:
    """Never ends where x is not whole; says by a file that it has begun there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, x: NDArray[np.float64]) -> float:
        if x.tolist() != np.round(x).tolist():
            (self.folder / str(os.getpid())).touch()
            time.sleep(600)
        return float(x.sum())


@pytest.mark.slow
def test_on_ray_the_value_does_not_wait_and_cancelled_processes_are_replaced(tmp_path: Path) -> None:
    with distfd.Evaluator(Waits(tmp_path), executor=distfd.RayExecutor(max_slots=2)) as ev:
        ev.start(wait=True)
        pending = ev.begin([1.0, 1.0])
        assert pending.value() == 2.0
        end = time.monotonic() + 60
        while not list(tmp_path.iterdir()) and time.monotonic() < end:
            time.sleep(0.01)
        pending.cancel()
        assert pending.tally.n_evaluations == 1
        assert ev.value([3.0, 1.0]) == 4.0
        hung = int(next(tmp_path.iterdir()).name)
        second = ev.begin([5.0, 1.0])
        assert second.value() == 6.0
        second.cancel()
        assert ev.map([[k, 0.0] for k in range(8)]).tolist() == list(range(8))
        k, end = 8, time.monotonic() + 60
        while os.path.exists(f"/proc/{hung}") and time.monotonic() < end:  # noqa: PTH110  # a name
            assert ev.value([k := k + 1, 0.0]) == k
        assert not os.path.exists(f"/proc/{hung}")  # noqa: PTH110  # the same


def test_it_has_the_methods_of_a_future() -> None:
    fun = Counted()
    with distfd.Evaluator(fun, executor="serial") as ev:
        pending = ev.begin(X)
        assert not pending.done()
        assert not pending.done
        assert pending.running()
        assert not pending.cancelled()
        assert pending.exception() is None
        assert pending.done()
        assert not pending.running()
        assert not pending.cancel(), "it was done before"
        assert not pending.cancelled()
        other = ev.begin(X + 1)
        assert other.cancel()
        assert other.cancelled()
        assert other.done()
        for ask in (other.result, other.exception, other.value):
            with pytest.raises(concurrent.futures.CancelledError, match="cancelled"):
                ask()


def test_what_j_raised_is_its_exception() -> None:
    def fails(x: NDArray[np.float64]) -> float:
        raise ValueError("no")

    with distfd.Evaluator(fails, executor="serial") as ev:
        assert isinstance(ev.begin(X).exception(), distfd.EvaluationError)


def test_it_waits_so_long_and_goes_on(tmp_path: Path) -> None:
    gate = tmp_path / "gate"

    def waits(x: NDArray[np.float64]) -> float:
        while not gate.exists():
            time.sleep(0.01)
        return float(rosen(x))

    with distfd.Evaluator(waits, executor=distfd.RayExecutor(num_cpus=1), check=False) as ev:
        ev.start(wait=True)
        pending = ev.begin(X)
        for wait in (pending.value, pending.result):
            with pytest.raises(TimeoutError, match=r"after 0\.2 s; its evaluation(s go| goes) on"):
                wait(0.2)
        assert pending.running()
        gate.touch()
        np.testing.assert_allclose(pending.result(timeout=300).derivative, rosen_der(X), rtol=1e-5)
        with pytest.raises(distfd.InputError, match="timeout: must be a number of seconds"):
            pending.result(timeout="1")  # type: ignore[arg-type]


def test_done_gives_slots_more_work_and_is_a_number_like_a_bool(private_ray: None) -> None:
    def fun(x: Any) -> float:
        return float(x @ x)

    with distfd.Evaluator(fun, executor=distfd.RayExecutor(max_slots=1), check=False) as evaluator:
        pending = evaluator.begin(np.arange(1.0, 6.0))
        waited = time.monotonic() + 120
        while not pending.done() and time.monotonic() < waited:
            time.sleep(0.05)
        assert pending.done == 1
        assert json.dumps(sum([pending.done])) == "1"
        np.testing.assert_allclose(pending.result().derivative, 2 * np.arange(1.0, 6.0), rtol=1e-6)


def test_it_becomes_a_future_for_wait_and_as_completed() -> None:
    with distfd.Evaluator(rosen, executor="serial") as one, distfd.Evaluator(rosen, executor="serial") as other:
        futures = [one.begin(X).as_future(), other.begin(X + 1).as_future()]
        done, waiting = concurrent.futures.wait(futures, timeout=300)
        assert (len(done), len(waiting)) == (2, 0)
        assert [future.running() for future in futures] == [False, False]
        assert sorted(f.result().value for f in concurrent.futures.as_completed(futures)) == sorted(
            [rosen(X), rosen(X + 1)]
        )
        pending = one.begin(X + 2)
        assert pending.as_future() is pending.as_future()
        assert pending.as_future().result(300) is pending.result()


def test_a_callback_is_called_without_anybody_waiting() -> None:
    called, arrived = [], threading.Event()

    def call(pending: Any) -> None:
        called.append(pending)
        arrived.set()

    with distfd.Evaluator(rosen, executor="serial") as ev:
        pending = ev.begin(X)
        pending.add_done_callback(call)
        assert arrived.wait(300)
        assert called == [pending]
        assert pending.done
        pending.add_done_callback(call)
        assert called == [pending, pending], "at once, as it is done"


def test_a_future_has_what_j_raised_and_is_cancelled_with_it() -> None:
    def fails(x: NDArray[np.float64]) -> float:
        raise ValueError("no")

    with distfd.Evaluator(fails, executor="serial") as ev:
        assert isinstance(ev.begin(X).as_future().exception(300), distfd.EvaluationError)
    with distfd.Evaluator(rosen, executor="serial") as ev:
        pending = ev.begin(X)
        assert pending.cancel()
        with pytest.raises(concurrent.futures.CancelledError):
            pending.as_future().result(300)


class Gated:
    """Says by a file that it has begun where x is not whole, and waits there for another file.

    Files, as an object that J refers to must not change between two of its evaluations.
    """

    def __init__(self, folder: Path) -> None:
        self.gate, self.begun = folder / "gate", folder / "begun"

    def __call__(self, x: NDArray[np.float64]) -> float:
        if x.tolist() != np.round(x).tolist():
            self.begun.touch()
            assert appears(self.gate)
        return float(x @ x)


def appears(path: Path) -> bool:
    end = time.monotonic() + 300
    while not path.exists() and time.monotonic() < end:
        time.sleep(0.01)
    return path.exists()


def test_who_cancels_the_future_cancels_the_derivative(tmp_path: Path) -> None:
    fun = Gated(tmp_path)
    with distfd.Evaluator(fun, executor="serial") as ev:
        pending = ev.begin([1.0, 2.0, 3.0, 4.0, 5.0])
        future = pending.as_future()
        assert appears(fun.begun)
        assert future.running()
        assert future.cancel()
        fun.gate.touch()
        assert concurrent.futures.wait([future], timeout=300).done == {future}
        assert ev.value([7.0] * 5) == 245.0
        assert pending.cancelled()
        with pytest.raises(concurrent.futures.CancelledError):
            pending.result()


def test_the_value_does_not_wait_for_what_the_thread_of_a_future_begins_next(tmp_path: Path) -> None:
    fun = Gated(tmp_path)
    fun.gate.touch()
    with distfd.Evaluator(fun, executor="serial") as ev:
        pending = ev.begin([1.0, 2.0])
        future = pending.as_future()
        assert pending.value(300) == 5.0
        np.testing.assert_allclose(future.result(300).derivative, [2, 4], rtol=1e-6)


def test_to_close_the_evaluator_cancels_its_future(tmp_path: Path) -> None:
    fun = Gated(tmp_path)
    with distfd.Evaluator(fun, executor="serial") as ev:
        future = ev.begin([1.0, 2.0, 3.0, 4.0, 5.0]).as_future()
        assert appears(fun.begun)
        threading.Timer(1.0, fun.gate.touch).start()
    with pytest.raises(concurrent.futures.CancelledError):
        future.result(300)


def test_coroutines_go_on_while_one_awaits(tmp_path: Path) -> None:
    fun = Gated(tmp_path)

    async def both() -> Any:
        with distfd.Evaluator(fun, executor="serial") as ev:
            waiting = asyncio.ensure_future(_awaited(ev.begin([1.0, 2.0])))
            assert await asyncio.to_thread(appears, fun.begun)
            fun.gate.touch()  # here, and not in the thread that waits
            return await waiting

    np.testing.assert_allclose(asyncio.run(both()).derivative, [2, 4], rtol=1e-6)


async def _awaited(pending: Any) -> Any:
    return await pending


def test_a_task_that_is_cancelled_cancels_what_it_awaits(tmp_path: Path) -> None:
    fun = Gated(tmp_path)

    async def give_up(ev: distfd.Evaluator) -> distfd.Pending:
        pending = ev.begin([1.0, 2.0, 3.0, 4.0, 5.0])
        task = asyncio.ensure_future(_awaited(pending))
        assert await asyncio.to_thread(appears, fun.begun)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        fun.gate.touch()
        return pending

    with distfd.Evaluator(fun, executor="serial") as ev:
        pending = asyncio.run(give_up(ev))
        ev.value([7.0] * 5)
        assert pending.cancelled()


@pytest.mark.slow
def test_on_ray_a_future_is_done_without_anybody_waiting(private_ray: None) -> None:
    arrived = threading.Event()
    with distfd.Evaluator(rosen, executor=distfd.RayExecutor(max_slots=1), check=False) as ev:
        pending = ev.begin(X)
        pending.add_done_callback(lambda _: arrived.set())
        assert arrived.wait(300)
        np.testing.assert_allclose(pending.result().derivative, rosen_der(X), rtol=1e-5)


def test_the_result_of_a_value_alone_prints_as_one() -> None:
    with distfd.Evaluator(lambda x: float(x @ x), executor="serial") as ev:
        result = ev.begin([1.0, 2.0], kind="value").result()
    assert repr(result).startswith("J = 5.0\n")
    assert "J = 5.0" in result._repr_html_()
