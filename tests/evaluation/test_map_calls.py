"""A map over slots: what Python's own map does, elsewhere."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import scipy.optimize

from distfd import EvaluationError, Evaluator, RayExecutor

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(params=["serial", "ray"])
def evaluator(request: pytest.FixtureRequest) -> Iterator[Evaluator]:
    if request.param == "ray":
        request.getfixturevalue("private_ray")
    executor: Any = RayExecutor(max_slots=2) if request.param == "ray" else "serial"
    with Evaluator(lambda x: float(x @ x), executor=executor) as made:
        yield made


def test_a_map_is_a_map_whatever_the_items_and_what_comes_back(evaluator: Evaluator) -> None:
    offset = 7  # functions with a closure, as SciPy's are
    items = [3, "a", (1, [2]), {"k": np.arange(3)}, None] * 5
    found = evaluator.map_function(lambda item: (item, offset), (item for item in items))
    assert str(found) == str([(item, 7) for item in items])
    assert evaluator.map_function(len, []) == []


def test_what_the_function_raises_is_raised_at_the_first_item(evaluator: Evaluator) -> None:
    def inverse(k: float) -> float:
        return 1 / k

    with pytest.raises(ZeroDivisionError, match="division by zero"):
        evaluator.map_function(inverse, [1, 2, 0, 4])
    assert evaluator.map_function(inverse, [1, 2]) == [1.0, 0.5]


def test_the_store_and_the_learned_times_know_nothing_of_it(evaluator: Evaluator) -> None:
    evaluator.map_function(abs, range(-50, 0))
    assert evaluator._session.pool.times.count == 0
    assert evaluator.value([3.0]) == 9.0
    with evaluator.checked(check=False):
        assert evaluator.differentiate([3.0]).n_evaluations == 1, "the baseline is known, the other point is not"


def test_scipy_takes_it_for_workers(evaluator: Evaluator) -> None:
    found = scipy.optimize.differential_evolution(
        scipy.optimize.rosen, [(-2, 2)] * 2, workers=evaluator.map_function, updating="deferred", rng=1, maxiter=5
    )
    alone = scipy.optimize.differential_evolution(
        scipy.optimize.rosen, [(-2, 2)] * 2, updating="deferred", rng=1, maxiter=5
    )
    assert found.x.tobytes() == alone.x.tobytes()


@pytest.mark.usefixtures("private_ray")
def test_a_call_whose_process_dies_is_tried_again_and_then_named() -> None:
    def dies(k: int) -> int:
        if k == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return k

    with Evaluator(sum, executor=RayExecutor(max_slots=2), retries=0) as evaluator:
        with pytest.raises(EvaluationError, match="item 3 failed: the worker process died"):
            evaluator.map_function(dies, range(5))
        assert evaluator.map_function(dies, range(3)) == [0, 1, 2]


@pytest.mark.usefixtures("private_ray")
def test_what_cannot_come_back_is_an_error_of_its_item() -> None:
    def generator(k: int) -> Any:
        return (i for i in range(k))

    with Evaluator(sum, executor=RayExecutor(max_slots=1)) as evaluator, pytest.raises(Exception, match="generator"):
        evaluator.map_function(generator, [1])
