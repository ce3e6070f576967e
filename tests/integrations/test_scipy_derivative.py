"""approx_derivative beyond SciPy's own tests: its bits, types, errors, and what runs where."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.optimize._numdiff import approx_derivative as scipys
from solving import bits

import distfd

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

X = np.array([0.5, -1.2, 20.0])


def fun(x: Any) -> Any:
    return np.array([np.sin(x[0]) * x[1], x[2] ** 2 * x[0]])


class Recorder:
    """What it was called with, in its own process."""

    def __init__(self) -> None:
        self.seen: list[NDArray[Any]] = []

    def __call__(self, x: Any) -> Any:
        self.seen.append(x.copy())
        return np.sin(x).sum()


@pytest.fixture(params=["caller", "serial"])
def where(request: pytest.FixtureRequest) -> dict[str, Any]:
    return {} if request.param == "caller" else {"executor": request.param}


@pytest.mark.parametrize("method", ["2-point", "cs"])
@settings(max_examples=30)
@given(
    hnp.arrays(np.float64, 3, elements=st.floats(-50, 50)).map(lambda x: x + 0.0),  # SciPy's sum loses the sign of -0.0
    st.none() | st.sampled_from([1e-6, -1e-4, 0.0]),
    st.sampled_from([(-np.inf, np.inf), (-50.0, 50.0)]),
)
def test_two_point_and_complex_steps_have_scipys_bits(method: str, x: Floats, rel_step: Any, bounds: Any) -> None:
    options: dict[str, Any] = {"method": method, "rel_step": rel_step, "bounds": bounds}
    assert bits(distfd.approx_derivative(fun, x, **options)) == bits(scipys(fun, x, **options))


def test_every_place_gives_the_same_bits(where: dict[str, Any]) -> None:
    for method in ("2-point", "3-point", "cs"):
        for sparsity in (None, sp.csr_array(np.ones((2, 3)))):
            found = [
                distfd.approx_derivative(fun, X, method=method, sparsity=sparsity, full_output=True, **options)
                for options in ({}, where)
            ]
            derivatives = [d.toarray() if sp.issparse(d) else d for d, _ in found]
            assert bits(derivatives[0]) == bits(derivatives[1])
            assert found[0][1] == found[1][1] == scipys(fun, X, method=method, sparsity=sparsity, full_output=True)[1]


def test_exceptions_keep_their_type_and_nan_passes(where: dict[str, Any]) -> None:
    def raises(x: Floats) -> float:
        raise ZeroDivisionError("no solution")

    with pytest.raises(ZeroDivisionError, match="no solution"):
        distfd.approx_derivative(raises, X, **where)
    found = distfd.approx_derivative(lambda x: np.array([np.nan, x[0]]), X, method="2-point", **where)
    assert np.isnan(found[0]).all()
    np.testing.assert_allclose(found[1], [1, 0, 0])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_x_keeps_its_type_and_steps_match_it(dtype: Any, where: dict[str, Any]) -> None:
    recorder = Recorder()
    x = np.array([0.5, 1.0], dtype=dtype)
    found = distfd.approx_derivative(recorder, x, method="2-point", **where)
    assert {at.dtype for at in recorder.seen} == {np.dtype(dtype)}
    moved = recorder.seen[1][0] - x[0]
    assert abs(float(moved)) == pytest.approx(float(np.finfo(dtype).eps) ** 0.5, rel=0.01)
    np.testing.assert_allclose(found, np.cos(x.astype(float)), rtol=5 * float(np.finfo(dtype).eps) ** 0.5)
    assert found.dtype == np.float64


def test_differences_are_divided_by_the_steps_that_float32_made(where: dict[str, Any]) -> None:
    x = np.array([0.1, -7.3], dtype=np.float32)
    for method in ("2-point", "3-point"):
        found = distfd.approx_derivative(lambda at: 3.0 * float(at[0]) + 5.0 * float(at[1]), x, method=method, **where)
        np.testing.assert_allclose(found, [3, 5], rtol=1e-6)


def test_float32_points_are_inside_float64_bounds() -> None:
    x = np.array([0.1], dtype=np.float32)
    recorder = Recorder()
    high = float(x[0]) + 2.49 * float(np.spacing(x[0]))
    distfd.approx_derivative(recorder, x, method="2-point", bounds=(float(x[0]), high))
    assert float(x[0]) < float(recorder.seen[1][0]) <= high


@pytest.mark.parametrize("inner", [np.float32, np.float64])
def test_steps_match_the_smaller_type_of_the_value(inner: Any, where: dict[str, Any]) -> None:
    seen: list[float] = []

    def rounded(x: Floats) -> Any:
        seen.append(float(x[0]))
        return inner(np.sin(x[0]))

    distfd.approx_derivative(rounded, [0.5], method="2-point", **where)
    assert seen[1] - seen[0] == pytest.approx(float(np.finfo(inner).eps) ** 0.5, rel=1e-6)


def test_a_known_baseline_is_not_computed(where: dict[str, Any]) -> None:
    recorder = Recorder()
    known = np.sin(X).sum()
    found, told = distfd.approx_derivative(recorder, X, method="2-point", f0=known, full_output=True, **where)
    assert len(recorder.seen) == told["nfev"] == 3
    assert bits(found) == bits(distfd.approx_derivative(Recorder(), X, method="2-point"))


def test_a_coordinate_without_room_has_no_derivative(where: dict[str, Any]) -> None:
    bounds = (np.array([-1, -1.2, 0]), np.array([1, -1.2, 30]))
    found = distfd.approx_derivative(Recorder(), X, bounds=bounds, **where)
    assert np.isnan(found).tolist() == [False, True, False]


def test_steps_that_float32_cannot_hold_give_way_to_the_default() -> None:
    recorder = Recorder()
    distfd.approx_derivative(recorder, np.ones(1, dtype=np.float32), method="2-point", rel_step=1e-12)
    assert recorder.seen[1][0] != recorder.seen[0][0]


def test_operators_evaluate_when_they_are_used(where: dict[str, Any]) -> None:
    recorder = Recorder()
    operator = distfd.approx_derivative(recorder, X, as_linear_operator=True, **where)
    assert len(recorder.seen) == 1
    assert operator.shape == (1, 3)
    np.testing.assert_allclose(operator @ np.array([1.0, 2.0, 3.0]), [np.cos(X) @ [1, 2, 3]], rtol=1e-6)
    np.testing.assert_allclose(operator @ np.array([0.0, 0.0, 0.0]), [0.0])
    np.testing.assert_allclose(operator @ np.eye(3), np.cos(X)[None], rtol=1e-6)
    assert len(recorder.seen) == 3 + 6


def test_workers_may_be_a_number_of_processes() -> None:
    one = distfd.approx_derivative(np.sum, X, workers=1)
    assert bits(distfd.approx_derivative(np.sum, X, workers=2)) == bits(one)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"method": "4-point"}, ValueError, "Unknown method"),
        ({"bounds": ([0, 0], 1)}, ValueError, "Inconsistent shapes"),
        ({"bounds": (0, 1)}, ValueError, "violates bound"),
        ({"workers": 2, "executor": "serial"}, distfd.InputError, "either this or workers"),
        ({"workers": -3}, distfd.InputError, "number of processes"),
        ({"f0": [[1.0]]}, ValueError, "more than 1 dimension"),
        ({"f0": [1.0, 2.0, 3.0]}, ValueError, "gave 2 values, and 3 at"),
    ],
)
def test_mistakes(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        distfd.approx_derivative(fun, X, **options)


def test_a_mask_of_two_rows_is_no_pair() -> None:
    mask = np.array([[1, 1, 0], [1, 0, 1]])
    for given_mask in (mask, mask.tolist(), (mask, np.arange(3))):
        found = distfd.approx_derivative(fun, X, sparsity=given_mask)
        np.testing.assert_allclose(found.toarray(), mask * scipys(fun, X), rtol=1e-9)


def test_in_this_process_a_function_that_looks_the_same_is_another() -> None:
    executor, first, second = distfd.SerialExecutor(), Recorder(), Recorder()
    for recorder in (first, second):
        distfd.approx_derivative(recorder, X, executor=executor)
    assert len(first.seen) == len(second.seen) == 7


@pytest.mark.slow
def test_an_executor_keeps_its_workers_for_the_next_function(private_ray: None) -> None:
    executor = distfd.RayExecutor(max_slots=1)

    def process(data: float) -> float:
        seen = distfd.approx_derivative(lambda x: os.getpid() * x + 0 * data, [1.0], executor=executor)
        return round(float(seen[0]))

    def fails(x: Floats) -> float:
        raise KeyError("lost")

    try:
        assert process(1.0) == process(1.0) != os.getpid()
        assert process(2.0) == process(1.0)
        with pytest.raises(KeyError, match="lost"):
            distfd.approx_derivative(fails, [1.0], executor=executor)
    finally:
        executor.close()


@pytest.mark.parametrize("value", [None, "1", True])
def test_what_is_no_number_is_scipys_type_error(value: Any, where: dict[str, Any]) -> None:
    for derive, options in ((scipys, {}), (distfd.approx_derivative, where)):
        with pytest.raises(TypeError):
            derive(lambda _x: value, [1.0, 2.0], **options)


@pytest.mark.parametrize("method", ["2-point", "3-point"])
def test_complex_values_at_real_points_are_their_real_parts(method: str) -> None:
    for derive in (scipys, distfd.approx_derivative):
        with pytest.warns(np.exceptions.ComplexWarning):
            found = derive(lambda x: 3 * x + 1j * x**2, [1.0, 2.0], method=method)
        np.testing.assert_allclose(found, [[3, 0], [0, 3]], atol=1e-7)


@pytest.mark.parametrize("method", ["2-point", "3-point"])
def test_a_function_may_return_an_array_of_its_own(method: str, where: dict[str, Any]) -> None:
    own = np.zeros(2)

    def reuses(x: Any) -> Any:
        own[:] = fun(x)
        return own

    assert bits(distfd.approx_derivative(reuses, X, method, **where)) == bits(scipys(fun, X, method))
