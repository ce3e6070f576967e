"""One executor for calls of several threads: they wait in line, and each has the numbers of its own J."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

import distfd
from distfd.executors.turn import Turn, turn_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from distfd.executors.base import Executor

X = [1.0, 2.0]


def of(c: float, seconds: float = 0.0) -> Callable[[Any], float]:
    def fun(x: Any) -> float:
        time.sleep(seconds)
        return float(c * (x @ x))

    return fun


def executor_of(name: str) -> Executor:
    return distfd.SerialExecutor() if name == "serial" else distfd.RayExecutor(max_slots=2)


@pytest.mark.usefixtures("private_ray")
@pytest.mark.parametrize("name", ["serial", "ray"])
def test_one_call_functions_of_threads_wait_in_line(name: str) -> None:
    executor = executor_of(name)
    with executor, ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(distfd.gradient, of(c, 0.002), X, executor=executor) for c in range(1, 25)]
        for c, future in enumerate(asked, 1):
            assert future.result(60) == pytest.approx([2.0 * c, 4.0 * c], rel=1e-6)


@pytest.mark.usefixtures("private_ray")
@pytest.mark.parametrize("name", ["serial", "ray"])
def test_what_one_evaluator_has_begun_another_thread_finishes_first(name: str) -> None:
    executor = executor_of(name)

    def optimise(c: float) -> Any:
        return distfd.minimize(
            lambda x: c * float(((x - 3.0) ** 2).sum()), X, executor=executor, method="BFGS", speculative=True
        ).x

    with executor, ThreadPoolExecutor(3) as pool:
        ends = [pool.submit(optimise, c) for c in (1.0, 5.0, 20.0)]
        with distfd.Evaluator(of(7.0, 0.002), executor=executor) as evaluator:
            for k in range(5):
                pending = evaluator.begin([1.0, float(k)])
                time.sleep(0.01)
                assert pending.value() == pytest.approx(7.0 * (1 + k * k))
                assert pending.result(60).derivative == pytest.approx([14.0, 14.0 * k], rel=1e-6, abs=1e-5)
        for end in ends:
            assert end.result(60) == pytest.approx([3.0, 3.0], abs=1e-4)


def test_a_call_within_a_call_is_refused_at_once() -> None:
    executor = distfd.SerialExecutor()

    def outer(x: Any) -> float:
        return float(distfd.gradient(of(1.0), x, executor=executor).sum())

    with pytest.raises(distfd.EvaluationError, match="this executor is evaluating already"):
        distfd.gradient(outer, X, executor=executor)
    with distfd.Evaluator(
        lambda x: float(distfd.gradient(of(1.0), x, executor="serial").sum()), executor=executor
    ) as evaluator:
        assert evaluator.value(X) == pytest.approx(6.0, rel=1e-6)


def test_to_close_waits_for_nobody_and_leaves_the_slots_to_who_has_them() -> None:
    executor = distfd.SerialExecutor()
    inside, on = threading.Event(), threading.Event()

    def held(x: Any) -> float:
        inside.set()
        assert on.wait(60)
        return float(x @ x)

    first = distfd.Evaluator(of(1.0), executor=executor)
    assert first.value(X) == 5.0
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(distfd.gradient, held, X, executor=executor)
        assert inside.wait(60)
        first.close()
        on.set()
        assert other.result(60) == pytest.approx([2.0, 4.0], rel=1e-6)


def test_what_is_left_for_the_end_of_a_turn_is_done_once_by_somebody() -> None:
    turn, done = Turn(), []
    turn.at_end(lambda: done.append("free"))
    with turn:
        turn.at_end(lambda: done.append("own"))
        thread = threading.Thread(target=turn.at_end, args=(lambda: done.append("other's"),))
        thread.start()
        thread.join()
        assert done == ["free", "own"]
    assert done == ["free", "own", "other's"]
    with turn:
        pass
    assert done == ["free", "own", "other's"]


def test_an_adapted_executor_has_one_turn_in_all_its_sessions() -> None:
    class Foreign:
        pass

    class Slotted:
        __slots__ = ()

    one = Foreign()
    assert turn_of(one) is turn_of(one)
    assert turn_of(one) is not turn_of(Foreign())
    assert turn_of(Slotted()) is not turn_of(Slotted())
