"""Methods: what they cost, where they evaluate, and what is missing; test_accuracy has how exact they are."""

from __future__ import annotations

import math
import tracemalloc
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from solving import ask, bits, method, rosenbrock, solve, trigonometric, wave

from distfd.core.describe import coordinate_label
from distfd.core.points import dense_points
from distfd.core.records import Status
from distfd.differentiation.base_point import BasePoint
from distfd.differentiation.first_derivative import FirstDerivative
from distfd.differentiation.method import Answer, PointValues, Request, Value, Values, Wave, check_x
from distfd.differentiation.placement import as_bounds
from distfd.differentiation.stencils import SCHEMES
from distfd.differentiation.steps import AbsoluteStep
from distfd.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

LARGEST = float(np.finfo(np.float64).max)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
POINTS_EACH = {"forward": 1, "backward": 1, "forward2": 2, "backward2": 2, "central": 2, "central4": 4}


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("d", [1, 2, 7])
def test_points_are_the_baseline_and_those_of_each_coordinate(scheme: str, d: int) -> None:
    x = np.linspace(-1, 1, d)
    request = ask(method(x, scheme))
    assert len(request.points) == 1 + POINTS_EACH[scheme] * d
    assert request.baseline == 0
    assert bits(request.points.dense(0)) == bits(x)
    for k in range(1, len(request.points)):
        changed, _ = request.points.changes(k)
        assert changed.tolist() == [(k - 1) // POINTS_EACH[scheme]]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_coordinate_between_equal_bounds_costs_nothing_and_has_the_derivative_zero(scheme: str) -> None:
    bounds = [(None, None), (2, 2), (0, 9), (4, 4)]
    plan = method([1.0, 2.0, 3.0, 4.0], scheme, bounds=bounds)
    request = ask(plan)
    assert len(request.points) == 1 + 2 * POINTS_EACH[scheme]
    assert set(request.points.indices.tolist()) == {0, 2}
    answer = solve(plan, lambda x: float(x @ x))
    np.testing.assert_allclose(answer.derivative, [2, 0, 6, 0], rtol=1e-6)
    assert answer.derivative[[1, 3]].tolist() == answer.step[[1, 3]].tolist() == [0, 0]
    assert np.all(answer.step[[0, 2]] != 0)
    assert answer.missing.tolist() == []


@pytest.mark.parametrize("vector", [False, True])
def test_a_point_that_cannot_move_at_all_costs_the_baseline(vector: bool) -> None:
    plan = method([1.0, 2.0], "central", bounds=[(1, 1), (2, 2)], vector=vector)
    assert len(ask(plan).points) == 1
    answer = solve(plan, trigonometric if vector else rosenbrock)
    assert answer.derivative.tolist() == ([[0, 0]] * 3 if vector else [0, 0])
    assert answer.missing.tolist() == []


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", [math.inf, 1e-9])
def test_a_plan_needs_memory_for_its_points_alone(scheme: str, width: float) -> None:
    d = 100_000
    x = np.random.default_rng(0).normal(size=d)
    bounds = None if math.isinf(width) else np.stack([x - width, x + 2 * width], axis=1)
    plan = method(x, scheme, bounds=bounds)
    n = 1 + d * POINTS_EACH[scheme]
    values = np.zeros((n, 1))
    tracemalloc.start()
    try:
        request = ask(plan)
        answer = plan.advance([Wave(request, values, np.ones(n, dtype=np.uint8))])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert isinstance(answer, Answer)
    assert peak < 100 * (n + 2 * d)  # a dense array of the points would be 8 n d


def test_values_asks_for_its_points_and_says_which_are_missing() -> None:
    points = dense_points([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    plan = Values(points, vector=True)
    request = plan.advance(())
    assert isinstance(request, Request)
    assert (request.points, request.baseline, request.vector) == (points, None, True)
    status = np.array([Status.OK, Status.CRASH, Status.NOT_RUN], dtype=np.uint8)
    answer = plan.advance([Wave(request, np.array([[1.0], [math.nan], [math.nan]]), status)])
    assert isinstance(answer, PointValues)
    assert answer.missing.tolist() == [1, 2]
    assert answer.values[0] == 1.0


def test_value_asks_for_x_alone_as_its_baseline() -> None:
    plan = Value(dense_points([[1.0, 2.0]]))
    request = plan.advance(())
    assert isinstance(request, Request)
    assert (len(request.points), request.baseline) == (1, 0)
    answer = plan.advance([Wave(request, np.array([[4.0, 5.0]]), np.array([Status.OK], dtype=np.uint8))])
    assert isinstance(answer, Answer)
    assert answer.value.tolist() == [4.0, 5.0]


@st.composite
def places(draw: st.DrawFn) -> tuple[Floats, list[tuple[float, float]], Any]:
    d = draw(st.integers(1, 3))
    special = st.sampled_from([0.0, -0.0, 1.0, -1.0, 2.0**52, 1e300, LARGEST, -LARGEST, 5e-324])
    x = draw(hnp.arrays(np.float64, d, elements=special | st.floats(-1e3, 1e3) | FINITE))

    def edge(v: float, to: float) -> float:
        return draw(st.sampled_from([v, math.nextafter(v, to), v + math.copysign(1e-12, to), to]))

    bounds = [(edge(v, -math.inf), edge(v, math.inf)) for v in x.tolist()]
    relative = st.none() | st.sampled_from([1e-3, 1e-12, 1e300])
    step = draw(relative | st.sampled_from([1e-6, 1e-17, 1e300]).map(AbsoluteStep))
    return x, bounds, step


@pytest.mark.parametrize("scheme", SCHEMES)
@given(places())
def test_points_are_inside_the_bounds_and_apart_or_the_coordinate_is_named(
    scheme: str, place: tuple[Floats, list[tuple[float, float]], Any]
) -> None:
    x, bounds, step = place
    plan = method(x, scheme, bounds=bounds, step=step)
    lower, upper = as_bounds(bounds, len(x))
    try:
        points = ask(plan).points
    except InputError as error:
        assert "step: at coordinate" in str(error)  # noqa: PT017  # both ends are right, and hypothesis finds both
        return
    for k in range(len(points)):
        at = points.dense(k)
        assert np.all((lower <= at) & (at <= upper) & np.isfinite(at))
    for k in np.flatnonzero(lower != upper).tolist():
        own = points.values[points.indices == k].tolist()
        assert len({float(x[k]), *own}) == 1 + POINTS_EACH[scheme]


def test_a_step_too_small_to_hold_names_its_coordinate() -> None:
    plan = FirstDerivative(
        BasePoint(
            np.array([1.0, 1e20, 1.0]),
            *as_bounds([(1, 1), (None, None), (None, None)], 3),
            label=coordinate_label(["a", "b", "c"]),
        ),
        SCHEMES["central"],
        np.full(3, 1e-3),
        vector=False,
    )
    with pytest.raises(InputError, match=r"coordinate 1 \('b'\) the step is too small"):
        plan.advance(())


@pytest.mark.parametrize("vector", [False, True])
@pytest.mark.parametrize("scheme", SCHEMES)
@given(lost=st.sets(st.integers(1, 12)))
def test_a_missing_value_is_missing_at_its_coordinate_alone(scheme: str, vector: bool, lost: set[int]) -> None:
    x = np.array([0.3, 5.0, -0.2, 1.1])
    plan = method(x, scheme, vector=vector, bounds=[(None, None), (5, 5), (None, None), (None, None)])
    full = wave(ask(plan), trigonometric if vector else rosenbrock)
    complete = plan.advance([full])
    gone = sorted(k for k in lost if k < len(full.values))
    values, status = full.values.copy(), full.status.copy()
    values[gone], status[gone] = math.nan, Status.CRASH
    answer = plan.advance([Wave(full.request, values, status)])
    assert isinstance(answer, Answer)
    assert isinstance(complete, Answer)
    missing = sorted({int(full.request.points.changes(k)[0][0]) for k in gone})
    assert answer.missing.tolist() == missing
    kept = [k for k in range(4) if k not in missing]
    assert np.isnan(answer.derivative[..., missing]).all()
    assert bits(answer.derivative[..., kept]) == bits(complete.derivative[..., kept])


def test_without_a_baseline_all_that_moves_is_missing() -> None:
    plan = method([1.0, 2.0, 3.0], bounds=[(0, 9), (2, 2), (0, 9)])
    full = wave(ask(plan), rosenbrock)
    full.values[0] = math.nan
    answer = plan.advance([full])
    assert isinstance(answer, Answer)
    assert answer.missing.tolist() == [0, 2]


def test_a_difference_that_floating_point_cannot_hold_is_missing() -> None:
    answer = solve(method([1.0, 2.0], step=AbsoluteStep(1.0)), lambda x: -1e308 if x[0] == 1 else 1e308)
    assert answer.missing.tolist() == [0]
    assert math.isnan(answer.derivative[0])
    assert answer.derivative[1] == 0.0


@pytest.mark.parametrize("x0", [1, 1.5, np.float32(1.5), [1, 2], (1.0, 2.0), np.arange(3), range(2), [Fraction(1, 2)]])
def test_x_is_a_read_only_copy_in_float64(x0: Any) -> None:
    x = check_x(x0)
    assert x.dtype == np.float64
    assert x.shape == (np.size(x0),)
    assert x.tolist() == [float(v) for v in np.atleast_1d(np.array(x0))]
    with pytest.raises(ValueError, match="read-only"):
        x[0] = 7
    mine = np.ones(2)
    assert not np.shares_memory(check_x(mine), mine)


NO_NUMBERS: list[Any] = ["1", ["1"], [True], None, [None], 1j, np.array([1 + 0j]), {}, [math.nan], math.inf]


@pytest.mark.parametrize("x0", [[], [[1.0]], [[1.0], [1.0, 2.0]], *NO_NUMBERS])
def test_what_is_no_point_is_refused(x0: Any) -> None:
    with pytest.raises(InputError, match=r"^x0: "):
        check_x(x0)


def test_a_bad_coordinate_is_named() -> None:
    with pytest.raises(InputError, match="coordinate 1 is nan"):
        check_x([1.0, math.nan])
    label = coordinate_label(["a", "b"])
    with pytest.raises(InputError, match=r"coordinate 1 \('b'\) = 2.0 is outside its bounds \[0.0, 1.9"):
        check_x([1.0, 2.0], np.zeros(2), np.array([1.0, math.nextafter(2.0, 0.0)]), label)
    assert check_x([0.0, 2.0], np.array([0.0, 2.0]), np.array([0.0, 2.0])).tolist() == [0.0, 2.0]
