"""The complex step: complex points, the values that travel for them, and the J that loses what it should carry."""

from __future__ import annotations

import cmath
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from solving import bits

import distfd
from distfd.core.describe import coordinate_label, point_label
from distfd.core.points import Points
from distfd.differentiation.complex_step import imaginary_step
from distfd.errors import EvaluationError, InputError
from distfd.objectives.command.objective import CommandObjective
from distfd.workers.worker import BadValueError, as_value

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

SERIAL: dict[str, Any] = {"executor": "serial", "scheme": "complex-step"}
X = np.array([0.5, -1.2, 2.0])


def smooth(x: Any) -> Any:
    return np.exp(x[0]) * np.sin(x[1]) + x[2] ** 3


GRADIENT = np.array([math.exp(0.5) * math.sin(-1.2), math.exp(0.5) * math.cos(-1.2), 12.0])


def points_of(x: Floats, changes: list[dict[int, complex]]) -> Points:
    indptr = np.cumsum([0, *(len(change) for change in changes)])
    indices = np.array([k for change in changes for k in change], dtype=np.int64)
    values = np.array([v for change in changes for v in change.values()])
    return Points(x, indptr, indices, values)


def test_gradients_are_exact_to_round_off_and_never_of_a_point_with_two_types() -> None:
    types: list[Any] = []

    def fun(x: Any) -> Any:
        types.append(x.dtype)
        return smooth(x)

    found = distfd.differentiate(fun, X, **SERIAL)
    np.testing.assert_allclose(found.derivative, GRADIENT, rtol=4e-16)
    assert types == [np.float64] + 3 * [np.complex128] + [np.float64], "the baseline and the check are real points"
    assert (found.scheme, found.value) == ("complex-step", smooth(X))
    assert [type(e.value) for e in found.evaluations] == [float] + 3 * [complex] + [float]
    assert found.evaluations[1].changes == ((0, complex(0.5, found.step[0])),)
    assert "moved by 0+1.49e-08j" in found.evaluations[1].label


def test_complex_points_differ_from_x_in_their_imaginary_parts_alone() -> None:
    seen: list[Any] = []

    def fun(x: Any) -> Any:
        seen.append(x.copy())
        return x[0] + x[1]

    x = np.array([-0.0, 3.0])
    distfd.gradient(fun, x, **SERIAL)
    assert [bits(np.ascontiguousarray(at.real)) for at in seen[:-1]] == [bits(x)] * 3
    assert seen[-1].dtype == np.float64, "the check's point"


def test_only_a_point_with_an_imaginary_part_is_complex() -> None:
    points = points_of(X, [{}, {1: 3.0 + 0j}, {0: complex(-0.0, 1e-20), 2: 7 + 0j}])
    assert points.imaginary.tolist() == [False, False, True]
    assert [points.dense(k).dtype.kind for k in range(3)] == ["f", "f", "c"]
    assert points.dense(1).tolist() == [0.5, 3.0, 2.0]
    assert points.dense(2).tolist() == [1e-20j, -1.2, 7.0]
    assert math.copysign(1, points.dense(2)[0].real) == -1
    assert points.take(np.array([2, 0])).imaginary.tolist() == [True, False]
    assert point_label(points, 2, coordinate_label(None)) == "point 2, which changes coordinate 0 and coordinate 2"


def test_a_real_zero_keeps_its_sign() -> None:
    moved = imaginary_step(np.array([-0.0, 0.0]), np.array([1e-8, -1e-8]))
    assert bits(moved.view(np.float64)) == bits(np.array([-0.0, 1e-8, 0.0, -1e-8]))


FLOATS = st.floats(allow_nan=False, width=64)


@given(hnp.arrays(np.float64, 3, elements=FLOATS), hnp.arrays(np.float64, 3, elements=FLOATS), FLOATS, FLOATS)
def test_real_points_have_one_key_and_imaginary_parts_another(x: Floats, y: Floats, h: float, g: float) -> None:
    real = points_of(x, [{0: float(y[0]), 2: float(y[2])}])
    # Parts are put together, not added: a sum would lose the sign of a zero.
    same = Points(real.x, real.indptr, real.indices, imaginary_step(real.values, np.zeros(2)))
    assert real.keys(7).tolist() == same.keys(7).tolist()
    one, other = (
        Points(real.x, real.indptr, real.indices, imaginary_step(real.values, np.array([0, s]))) for s in (h, g)
    )
    assert (one.keys(7).tolist() == other.keys(7).tolist()) == (h == g)
    assert (one.keys(7).tolist() == real.keys(7).tolist()) == (h == 0)
    # Against another x, and in another order, it is the same point.
    full = imaginary_step(np.array([y[0], x[1], y[2]]), np.array([0, 0, h]))
    again = Points(y, np.array([0, 3]), np.array([2, 0, 1]), full[[2, 0, 1]])
    assert again.keys(7).tolist() == one.keys(7).tolist()


def test_where_an_imaginary_part_stands_counts() -> None:
    keys = points_of(np.zeros(2), [{0: 1j}, {1: 1j}, {0: 1 + 0j}, {0: 1 + 1j}, {}]).keys()
    assert len(set(map(tuple, keys.tolist()))) == 5


@pytest.mark.parametrize(
    ("raw", "vector", "wanted"),
    [
        (1 + 2j, False, [1, 2]),
        (np.complex64(1 + 2j), False, [1, 2]),
        (np.array([1 + 2j]), False, [1, 2]),
        (3.0, False, [3, 0]),
        (4, True, [4, 0]),
        (np.array([1 + 2j, 3]), True, [1, 2, 3, 0]),
        ([1j, 2.0], True, [0, 1, 2, 0]),
    ],
)
def test_a_value_at_a_complex_point_is_two_numbers_an_output(raw: Any, vector: bool, wanted: list[float]) -> None:
    assert as_value(raw, vector=vector, complex_=True).tolist() == wanted
    if np.iscomplexobj(raw):
        with pytest.raises(BadValueError, match="it returned"):
            as_value(raw, vector=vector)


@pytest.mark.parametrize("raw", [complex(1, math.nan), complex(math.inf, 1), "1j", None, True, np.ones((2, 2)) * 1j])
def test_what_is_no_complex_value_is_refused(raw: Any) -> None:
    with pytest.raises(BadValueError):
        as_value(raw, vector=True, complex_=True)
    if isinstance(raw, complex):
        assert len(as_value(raw, vector=True, complex_=True, lenient=True)) == 2


@pytest.mark.parametrize(
    "fun",
    [
        lambda x: float(np.real(x).sum()),
        lambda x: np.abs(x).sum(),
        lambda x: np.array([x.real.sum(), 1.0]),
        lambda x: 3.0,
    ],
)
def test_a_j_that_loses_every_imaginary_part_is_an_error_and_no_silent_zero(fun: Callable[..., Any]) -> None:
    with pytest.raises(EvaluationError, match="casts x or its result to a real type") as caught:
        distfd.jacobian(fun, X, **SERIAL)
    assert "use another scheme" in str(caught.value)
    with pytest.raises(EvaluationError, match="no imaginary part"):
        distfd.directional(fun, X, [[1, 1, 1]], on_failure="nan", **SERIAL)
    with pytest.raises(EvaluationError, match="no imaginary part"):
        distfd.jacobian(fun, X, sparsity=np.ones((2 if np.ndim(fun(X)) else 1, 3)), **SERIAL)


def test_a_coordinate_or_an_output_that_does_not_matter_is_a_true_zero() -> None:
    assert distfd.gradient(lambda x: x[0] ** 2 + x[2], X, **SERIAL).tolist() == [1.0, 0.0, 1.0]
    found = distfd.jacobian(lambda x: np.array([x[1] * x[1], 5.0]), X, **SERIAL)
    assert found.tolist() == [[0, -2.4, 0], [0, 0, 0]]
    bounds = [(v, v) for v in X]
    assert distfd.gradient(abs_sum, X, bounds=bounds, **SERIAL).tolist() == [0, 0, 0], "no complex point was needed"


def abs_sum(x: Any) -> Any:
    return np.abs(x).sum()


def test_bounds_do_not_matter_to_imaginary_steps_and_fixed_coordinates_stay() -> None:
    found = distfd.differentiate(smooth, X, bounds=[(0.5, 0.5), (-1.2, 3), (0, 2)], **SERIAL)
    np.testing.assert_allclose(found.derivative, GRADIENT * [0, 1, 1], rtol=4e-16)
    assert found.n_evaluations == 4


def test_a_function_that_cannot_take_complex_x_is_named_with_what_to_do() -> None:
    with pytest.raises(EvaluationError, match=r"coordinate 0 \('a'\), x = \(0.5\+1.49") as caught:
        distfd.gradient(lambda x: x[1] + math.exp(x[0]), X, names=["a", "b", "c"], **SERIAL)
    assert "let J take complex x" in str(caught.value)
    # numpy itself only warns when it throws an imaginary part away, and the derivative would be a silent 0.
    assert isinstance(caught.value.__cause__, np.exceptions.ComplexWarning)
    with pytest.raises(EvaluationError, match="TypeError: must be real number"):
        distfd.gradient(lambda x: math.exp(x.tolist()[0]), X, **SERIAL)
    found = distfd.gradient(lambda x: x[1] + (cmath.exp(x[0]) if np.iscomplexobj(x) else math.exp(x[0])), X, **SERIAL)
    np.testing.assert_allclose(found, [math.exp(0.5), 1, 0])


def test_a_complex_value_at_a_real_point_is_refused() -> None:
    with pytest.raises(EvaluationError, match=r"x itself \(the baseline\)") as caught:
        distfd.gradient(lambda x: complex(x[0]), X, **SERIAL)
    assert "(complex)" in str(caught.value)


@pytest.mark.parametrize("m", [1, 2])
def test_a_store_keeps_complex_values_bit_for_bit_and_shares_the_baseline(m: int, tmp_path: Path) -> None:
    def fun(x: Any) -> Any:
        return np.array([smooth(x), x[0] * x[2]][:m])

    store: dict[str, Any] = {"store": tmp_path / "run.sqlite", "executor": "serial", "kind": "jacobian"}
    first = distfd.differentiate(fun, X, scheme="complex-step", **store)
    again = distfd.differentiate(fun, X, scheme="complex-step", **store)
    assert (again.n_evaluations, again.n_reused) == (0, 5)
    assert bits(again.derivative) == bits(first.derivative)
    assert distfd.differentiate(fun, X, scheme="central", **store).n_reused == 1


def test_a_program_is_refused_before_anything_runs(tmp_path: Path) -> None:
    objective = CommandObjective(["false"], outputs={"a": {"file": "stdout", "regex": "(.*)"}}, work=tmp_path / "work")
    with pytest.raises(InputError, match="complex-step gives J complex x, but a program reads real numbers"):
        distfd.Evaluator(objective, **SERIAL)
    assert not (tmp_path / "work").exists()
