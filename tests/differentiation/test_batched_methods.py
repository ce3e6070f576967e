"""Several methods in the same waves: each answers as it would alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from solving import bits, drive, plan

from distfd.core.points import dense_points
from distfd.core.records import Failure, Status
from distfd.differentiation.batched_methods import BatchedMethods, joined
from distfd.differentiation.method import Answer, Method, Request, Value, Wave

if TYPE_CHECKING:
    from numpy.typing import NDArray


def fun(x: NDArray[Any]) -> Any:
    return np.sum(np.exp(0.3 * x)) + x[0] * x[-1] ** 2


def both(methods: list[Any]) -> tuple[list[Answer | None], list[Wave], BatchedMethods]:
    together = BatchedMethods(methods)
    _, waves = drive(together, fun)
    return together.answers(waves), waves, together


def test_each_answers_as_alone() -> None:
    xs = [np.array([0.3, -1.2, 0.7]), np.array([0.3, 2.0, -0.0]), np.array([5.0, 1.0, 1.0])]
    methods: list[Method[Answer]] = [
        plan("gradient", xs[0]),
        plan("gradient", xs[1], scheme="central"),
        Value(dense_points([xs[2]]), vector=False),
        plan("gradient", xs[2], step="auto"),
    ]
    answers, waves, together = both(methods)
    assert len(waves) > 1, "steps from noise take several waves"
    for method, answer, own in zip(methods, answers, together.waves(waves), strict=True):
        alone, alone_waves = drive(method, fun)
        assert answer is not None
        assert bits(answer.derivative) == bits(alone.derivative)
        assert bits(answer.value) == bits(alone.value)
        assert len(own) == len(alone_waves)


def test_complex_points_stay_complex_and_others_real() -> None:
    x = np.array([0.3, -1.2, 0.7])
    methods = [plan("gradient", x), plan("gradient", x + 1, scheme="complex-step")]
    answers, _, _ = both(methods)
    for method, answer in zip(methods, answers, strict=True):
        assert answer is not None
        assert bits(answer.derivative) == bits(drive(method, fun)[0].derivative)


def test_points_keep_their_bits_and_their_keys() -> None:
    first, second = dense_points([[0.0, 1.0]]), dense_points([[-0.0, 1.0], [2.0, 1.0]])
    one = joined([first, second])
    assert [one.dense(k).tobytes() for k in range(3)] == [
        np.array(row).tobytes() for row in ([0.0, 1.0], [-0.0, 1.0], [2.0, 1.0])
    ]
    np.testing.assert_array_equal(one.keys()[1:], second.keys())


@pytest.mark.parametrize("lost", [0, 1])
def test_a_method_whose_baseline_fails_is_given_up_alone(lost: int) -> None:
    xs = [np.array([0.5, 1.5]), np.array([2.5, -0.5])]
    together = BatchedMethods([plan("gradient", x) for x in xs])
    request = together.advance(())
    assert isinstance(request, Request)
    assert request.baseline is None
    values = np.array([[fun(request.points.dense(k))] for k in range(len(request.points))])
    status = np.full(len(values), Status.OK, dtype=np.uint8)
    bad = 3 * lost
    values[bad], status[bad] = np.nan, Status.ERROR
    wave = Wave(request, values, status, {bad: Failure(Status.ERROR, "no")})
    assert isinstance(together.advance([wave]), Answer)
    answers = together.answers([wave])
    assert answers[lost] is None
    kept = answers[1 - lost]
    assert kept is not None
    assert bits(kept.derivative) == bits(drive(plan("gradient", xs[1 - lost]), fun)[0].derivative)
    assert list(together.waves([wave])[lost][0].failures) == [0]
