"""How long J took in the last call sizes the first chunks of the next one, and nothing else."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import distfd
from distfd.evaluation import usual_times
from distfd.objectives.adapt import as_objective
from distfd.scheduling.evaluation_times import EvaluationTimes

if TYPE_CHECKING:
    from collections.abc import Callable

    from distfd.objectives.base import Objective
    from distfd.workers.messages import Chunk

SLOTS = 2


class CountingExecutor(distfd.RayExecutor):
    """A Ray executor that notes how many points each chunk has."""

    def __init__(self) -> None:
        super().__init__(max_slots=SLOTS)
        self.sizes: list[int] = []

    def submit(self, slot: int, chunk: Chunk) -> None:
        """As usual."""
        self.sizes.append(len(chunk.index))
        super().submit(slot, chunk)


@pytest.fixture
def executor(private_ray: None) -> CountingExecutor:
    """With all its slots up."""
    usual_times._seconds.clear()
    made = CountingExecutor()
    with distfd.Evaluator(lambda x: float(x[0]), executor=made) as evaluator:
        evaluator.start(wait=True)
    return made


def sleeper(seconds: float) -> Callable[[Any], float]:
    def model(x: Any) -> float:
        time.sleep(seconds)
        return float(x @ x)

    return model


def sizes_of_a_call(executor: CountingExecutor, seconds: float, **options: Any) -> list[int]:
    executor.sizes.clear()
    x = np.arange(1.0, 16.0)
    found = distfd.gradient(sleeper(seconds), x, executor=executor, check=False, **options)
    assert np.allclose(found, 2 * x, rtol=1e-6)
    assert sum(executor.sizes) >= len(x) + 1
    return list(executor.sizes)


def known(seconds: float) -> None:
    """As after a call in which each evaluation of `sleeper` took so long; on a busy machine none takes as others do."""
    usual_times._seconds[f"{__name__}.sleeper.<locals>.model"] = seconds


def test_the_second_call_of_a_name_is_given_out_in_whole_shares(executor: CountingExecutor) -> None:
    first = sizes_of_a_call(executor, 0.05)
    assert first[:SLOTS] == [1] * SLOTS
    known(0.05)
    second = sizes_of_a_call(executor, 0.05)
    assert max(second[:SLOTS]) > 4  # one slot has J(x) alone, the other its half of what is left


def test_a_j_that_takes_far_longer_than_the_last_of_its_name_is_spread_all_the_same(executor: CountingExecutor) -> None:
    known(0.001)
    found = distfd.differentiate(sleeper(0.3), np.ones(7), executor=executor, check=False)
    by_slot = np.bincount([evaluation.slot for evaluation in found.evaluations], minlength=SLOTS)
    assert by_slot.sum() == 8  # no point was taken for late
    assert by_slot.min() >= 3


def test_nothing_is_guessed_where_a_timeout_holds(executor: CountingExecutor) -> None:
    known(0.05)
    assert sizes_of_a_call(executor, 0.05, timeout=60)[:SLOTS] == [1] * SLOTS


def test_another_name_is_not_guessed_by_this_one(executor: CountingExecutor) -> None:
    known(0.05)
    distfd.gradient(lambda x: float(x @ x), np.ones(15), executor=executor, check=False)
    assert executor.sizes[:SLOTS] == [1] * SLOTS


def test_a_guess_holds_until_the_first_evaluation_has_ended() -> None:
    times = EvaluationTimes()
    times.guess = 5.0
    assert (times.median, times.mean, times.even, times.count) == (5.0, 5.0, True, 0)
    times.note(4, np.array([0]), np.array([0.25]))
    assert (times.median, times.mean, times.even, times.count) == (0.25, 0.25, False, 1)


def even_times(seconds: float) -> EvaluationTimes:
    times = EvaluationTimes()
    times.note(9, np.arange(9), np.full(9, seconds))
    return times


def objective(fun: Any) -> Objective:
    return as_objective(fun, (), None, None)


def test_times_that_differ_are_no_guess() -> None:
    usual_times._seconds.clear()
    one = objective(sleeper(0.0))
    usual_times.remember(one, even_times(0.25))
    assert usual_times.guess(one) == 0.25
    usual_times.remember(one, EvaluationTimes())
    assert usual_times.guess(one) == 0.25  # a session without evaluations says nothing
    times = even_times(0.25)
    times.note(9, np.arange(4), np.full(4, 2.0))
    usual_times.remember(one, times)
    assert usual_times.guess(one) is None


def test_a_session_that_ends_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[tuple[str | None, int]] = []
    monkeypatch.setattr(usual_times, "remember", lambda of, times: kept.append((usual_times._name(of), times.count)))
    with distfd.Evaluator(whole, executor="serial") as evaluator:
        evaluator.gradient(np.ones(9))
    assert kept == [(f"{__name__}.whole", 10)]


def test_names_are_kept_to_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usual_times, "_seconds", {})
    monkeypatch.setattr(usual_times, "_MOST", 3)
    for k in range(5):
        model = type(f"Model{k}", (), {"__call__": lambda _self, x: float(x @ x)})()
        usual_times.remember(objective(model), even_times(1.0))
    assert [name.rpartition(".")[2] for name in usual_times._seconds] == ["Model2", "Model3", "Model4"]


class Model:
    """A J that is an object."""

    def __call__(self, x: Any) -> float:
        return float(x @ x)


def whole(x: Any, factor: float = 1.0) -> float:
    return factor * float(x @ x)


@pytest.mark.parametrize(
    ("fun", "name"),
    [
        (whole, "whole"),
        (partial(partial(whole), factor=2.0), "whole"),
        (sleeper(0.0), "sleeper.<locals>.model"),
        (Model(), "Model"),
        (Model().__call__, "Model.__call__"),
    ],
    ids=["function", "partial", "closure", "object", "method"],
)
def test_functions_and_classes_have_their_own_names(fun: Any, name: str) -> None:
    assert usual_times._name(objective(fun)) == f"{__name__}.{name}"
