"""One executor for calls of several threads: they wait in line, and each has the numbers of its own J."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

import distfd
from distfd.executors.turn import Turn, _turns, turn_of

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
    with turn.held():
        turn.at_end(lambda: done.append("own"))
        thread = threading.Thread(target=turn.at_end, args=(lambda: done.append("other's"),))
        thread.start()
        thread.join()
        assert done == ["free", "own"]
    assert done == ["free", "own", "other's"]
    with turn.held():
        pass
    assert done == ["free", "own", "other's"]


def test_an_adapted_executor_has_one_turn_in_all_its_sessions() -> None:
    class Foreign:
        pass

    class Slotted:
        __slots__ = ()

    @dataclass
    class Equal:
        slots: int = 1

    for kind in (Foreign, Equal):
        one, other = kind(), kind()
        assert turn_of(one) is turn_of(one)
        assert turn_of(one) is not turn_of(other)
    gone = id(other)
    del other
    gc.collect()
    assert gone not in _turns
    assert turn_of(Slotted()) is not turn_of(Slotted())


def interrupted(turn: Turn, how: str) -> None:
    """A call that Ctrl-C ends between two lines, where it has the turn and nobody is noted for it, or does not go."""
    if how == "before it is noted":
        turn._lock.acquire()
    else:
        turn.take(None, sys._getframe())


@pytest.mark.parametrize("how", ["before it is noted", "before it is given back"])
@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_turn_that_an_interrupt_has_kept_is_taken_back(how: str, elsewhere: bool) -> None:
    turn = Turn()
    if elsewhere:
        thread = threading.Thread(target=interrupted, args=(turn, how))
        thread.start()
        thread.join()
    else:
        interrupted(turn, how)
    with turn.held(), pytest.raises(distfd.InputError, match="is evaluating already"), turn.held():
        pass
    assert turn.take(0.0, sys._getframe()) is not None


def test_a_turn_is_given_back_by_the_call_that_has_it_alone() -> None:
    turn = Turn()
    first = turn.take(None, sys._getframe())
    turn.give_back(first)
    second = turn.take(None, sys._getframe())
    turn.give_back(first)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(turn.take, 0.6, sys._getframe()).result() is None, "this call has it, and is not over"
        turn.give_back(second)
        assert pool.submit(turn.take, 0.0, sys._getframe()).result() is not None


def test_a_forked_child_is_answered_by_what_its_parent_has_begun() -> None:
    code = """
import os, signal
import distfd
executor = distfd.SerialExecutor()
ev = distfd.Evaluator(lambda x: float(x @ x), executor=executor)
pending = ev.begin([1.0, 2.0])
if os.fork() == 0:
    signal.alarm(60)
    assert ev.value([3.0, 4.0]) == 25.0
    assert abs(pending.result().derivative - [2.0, 4.0]).max() < 1e-6
    os._exit(0)
assert os.wait()[1] == 0
assert abs(pending.result().derivative - [2.0, 4.0]).max() < 1e-6
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.usefixtures("private_ray")
def test_the_end_of_a_with_block_waits_for_calls_of_other_threads() -> None:
    with ThreadPoolExecutor(3) as pool:
        with distfd.RayExecutor(max_slots=2) as executor:
            asked = [pool.submit(distfd.gradient, of(c, 0.02), X, executor=executor) for c in range(1, 10)]
            asked[0].result(60)
        for c, future in enumerate(asked, 1):
            assert future.result(60) == pytest.approx([2.0 * c, 4.0 * c], rel=1e-6)


def test_a_call_that_is_over_keeps_nothing_alive() -> None:
    class Large:
        pass

    def call() -> weakref.ref[Large]:
        large = Large()
        holding = turn.take(None, sys._getframe())
        turn.give_back(holding)
        return weakref.ref(large)

    turn = Turn()
    gc.disable()
    try:
        assert call()() is None, "without the garbage collector"
    finally:
        gc.enable()
