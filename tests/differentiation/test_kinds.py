"""Hessians, products with vectors and directions: exact, of their order, inside bounds, and what they cost."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from solving import bits, drive, method, plan, solve

import distfd
import distfd.differentiation.hessian_vector
from distfd.core.records import Status
from distfd.differentiation.direction_stencils import lengths
from distfd.differentiation.method import Request, Wave
from distfd.differentiation.second_differences import PAIR_WEIGHTS
from distfd.differentiation.stencils import COMPLEX_STEP, SCHEMES
from distfd.differentiation.steps import AbsoluteStep
from distfd.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

X = np.array([0.3, -0.2, 0.5])
V = np.array([0.7, -1.0, 0.4])
A = np.array([1.0, 0.5, -0.8])


def smooth(x: Any) -> Any:
    """J = 1 / (3 - a x) + exp(x_0 x_1) x_2: no derivative of it is 0 here, and it takes complex x."""
    return 1 / (3 - A @ x) + np.exp(x[0] * x[1]) * x[2]


def gradient(x: Floats) -> Floats:
    e = math.exp(x[0] * x[1])
    return np.asarray(A / (3 - A @ x) ** 2 + np.array([x[1] * x[2] * e, x[0] * x[2] * e, e]))


def hessian(x: Floats) -> Floats:
    e, (u, v, w) = math.exp(x[0] * x[1]), x
    mixed = w * e * (1 + u * v)
    own = np.array([[v * v * w * e, mixed, v * e], [mixed, u * u * w * e, u * e], [v * e, u * e, 0]])
    return np.asarray(2 * np.outer(A, A) / (3 - A @ x) ** 3 + own)


# Where coordinates can go: all free, at bounds on one side or the other, and in a corner that V leaves both ways.
SURROUNDINGS: dict[str, Any] = {
    "free": None,
    "lower": [(v, v + 9) for v in X],
    "upper": [(v - 9, v) for v in X],
    "mixed": [(X[0], 9), (None, None), (-9, X[2])],
    "corner": [(X[0], 9), (X[1], 9), (None, None)],
    "near": [(v - 1e-12, v + 9) for v in X],
}
TIGHT = [(v - 0.02, v + 0.02) for v in X]
"""Less room than a step: v has to leave some of it to the coordinates."""
SURROUNDED = pytest.mark.parametrize("bounds", SURROUNDINGS.values(), ids=SURROUNDINGS)


def falls(error: Callable[[float], float], order: int, steps: tuple[float, ...]) -> None:
    errors = [error(h) for h in steps]
    for (coarse, fine), (h, smaller) in zip(pairwise(errors), pairwise(steps), strict=True):
        assert abs(math.log(coarse / fine) / math.log(h / smaller) - order) < 0.3


@pytest.mark.parametrize("sides", list(PAIR_WEIGHTS))
def test_the_weights_of_pairs_meet_the_moment_conditions_of_second_order(sides: tuple[bool, bool]) -> None:
    offsets = {False: (-1.0, 1.0), True: (1.0, 2.0)}
    nodes, others, weights = PAIR_WEIGHTS[sides]
    a, b = ([offsets[side][k] for k in ks] for side, ks in zip(sides, (nodes, others), strict=True))
    assert (sum(weights), np.dot(weights, a), np.dot(weights, b)) == (1, 0, 0)


@SURROUNDED
def test_hessians_are_of_second_order(bounds: Any) -> None:
    wanted = hessian(X)

    def error(h: float, entry: tuple[int, int]) -> float:
        found = drive(plan("hessian", X, bounds=bounds, step=AbsoluteStep(h)), smooth)[0].derivative
        assert bits(found) == bits(found.T)
        return float(abs(found - wanted)[entry])

    for entry in ((0, 0), (1, 1), (0, 1), (0, 2), (1, 2)):
        falls(lambda h, entry=entry: error(h, entry), 2, (0.02, 0.01, 0.005))  # type: ignore[misc]  # bound now


@SURROUNDED
def test_hessian_vector_products_are_of_second_order(bounds: Any) -> None:
    wanted = hessian(X) @ V

    def error(h: float) -> float:
        found = drive(plan("hvp", X, bounds=bounds, step=AbsoluteStep(h), v=V), smooth)[0].derivative
        return float(np.linalg.norm(found - wanted))

    falls(error, 2, (0.02, 0.01, 0.005))


@pytest.mark.parametrize("scheme", [*SCHEMES.values(), COMPLEX_STEP], ids=lambda s: s.name)
@SURROUNDED
def test_slopes_along_directions_are_of_the_schemes_order(scheme: Any, bounds: Any) -> None:
    def error(h: float) -> float:
        asked = plan("directional", X, bounds=bounds, scheme=scheme, step=AbsoluteStep(h), directions=[V, -V])
        found = drive(asked, smooth)[0].derivative
        return float(abs(found[0] - gradient(X) @ V) + abs(found[1] + gradient(X) @ V))

    falls(error, scheme.order, (0.04, 0.02, 0.01) if scheme.order > 2 else (0.01, 0.005, 0.0025))


def test_the_complex_step_is_of_second_order_and_needs_no_large_one() -> None:
    def error(h: float) -> float:
        found = drive(plan("gradient", X, scheme="complex-step", step=AbsoluteStep(h)), smooth)[0].derivative
        return float(np.linalg.norm(found - gradient(X)))

    falls(error, 2, (0.04, 0.02, 0.01))
    assert error(1e-20) < 1e-15
    assert error(1e-200) < 1e-15


@pytest.mark.parametrize("kind", ["hessian", "hvp"])
@pytest.mark.parametrize("bounds", [*SURROUNDINGS.values(), TIGHT], ids=[*SURROUNDINGS, "tight"])
@settings(max_examples=15)
@given(data=st.data())
def test_second_derivatives_of_cubics_have_no_error_but_round_off(kind: str, bounds: Any, data: st.DataObject) -> None:
    """Second order is exact up to degree 3, mixed terms included, one-sided ones too."""
    cubic = data.draw(hnp.arrays(np.float64, (3, 3, 3), elements=st.integers(-5, 5)))
    square = data.draw(hnp.arrays(np.float64, (3, 3), elements=st.integers(-5, 5)))

    def fun(x: Floats) -> float:
        return float(np.einsum("ijk,i,j,k", cubic, x, x, x) + x @ square @ x)

    whole = sum(
        np.transpose(cubic, axes) for axes in ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))
    )
    wanted = whole @ X + square + square.T
    particulars: dict[str, Any] = {"v": V} if kind == "hvp" else {}
    found = drive(plan(kind, X, bounds=bounds, step=AbsoluteStep(2.0**-5), **particulars), fun)[0].derivative
    expected = wanted @ V if kind == "hvp" else wanted
    tolerance = 1e-9 if SURROUNDINGS["near"] != bounds else 1e-8
    np.testing.assert_allclose(found, expected, atol=tolerance * (1 + np.abs(cubic).sum() + np.abs(square).sum()))


@pytest.mark.parametrize("d", [1, 2, 6])
def test_what_each_kind_costs(d: int) -> None:
    x, v = np.linspace(0.1, 1, d), np.ones(d)

    def cost(kind: str, **options: Any) -> int:
        return sum(len(w.request.points) for w in drive(plan(kind, x, **options), lambda at: at.sum())[1])

    assert cost("hessian") == 1 + d * d + d
    assert cost("hvp", v=v) == 1 + 4 * d
    assert cost("jvp", v=v) == 2
    assert cost("jvp", v=v, scheme="central4") == 5
    assert cost("directional", directions=np.ones((3, d)), scheme="central") == 7
    assert cost("directional", directions=np.zeros((3, d))) == 1
    assert cost("gradient", scheme="complex-step") == 1 + d + 1, "and a real point that checks it"


@st.composite
def boxes(draw: st.DrawFn) -> tuple[Floats, list[tuple[float, float]]]:
    d = draw(st.integers(1, 4))
    x = draw(hnp.arrays(np.float64, d, elements=st.floats(-1e3, 1e3)))

    def edge(v: float, to: float) -> float:
        near = (v, math.nextafter(v, to), v + math.copysign(1e-12, to), v + math.copysign(0.3, to), to)
        return draw(st.sampled_from(near))

    return x, [(edge(v, -math.inf), edge(v, math.inf)) for v in x.tolist()]


@pytest.mark.parametrize("kind", ["hessian", "hvp", "directional", "central4"])
@settings(max_examples=50)
@given(boxes(), st.data())
def test_no_point_is_outside_by_one_ulp(kind: str, box: tuple[Floats, list[Any]], data: st.DataObject) -> None:
    x, bounds = box
    # What bounds hardly let move has no step that can be held, and is refused.
    numbers = st.sampled_from([0.0, 1.0, -1.0, 0.3, -1e-3, 7.0])
    v = data.draw(hnp.arrays(np.float64, len(x), elements=numbers))
    step = data.draw(st.none() | st.sampled_from([AbsoluteStep(1e-3), AbsoluteStep(0.5), 1e-2]))
    particulars = {"hessian": {}, "hvp": {"v": v}}.get(kind, {"directions": [v, -v]})
    scheme = "central4" if kind == "central4" else "central"
    asked = plan(
        "directional" if kind == "central4" else kind, x, bounds=bounds, step=step, scheme=scheme, **particulars
    )
    try:
        request = asked.advance(())
    except InputError as error:
        assume("step" not in str(error))
        raise
    assert isinstance(request, Request)
    lower, upper = np.array(bounds).T
    for k in range(len(request.points)):
        at = request.points.dense(k)
        assert np.all((lower <= at) & (at <= upper))


def test_products_stay_inside_boxes_that_rounding_nearly_leaves() -> None:
    random = np.random.default_rng(0)
    for _ in range(200):
        x, width = random.normal(size=3), 10.0 ** random.uniform(-9, 3)
        bounds = [(v - width * random.random(), v + width * random.random()) for v in x.tolist()]
        request = plan("hvp", x, v=random.normal(size=3), bounds=bounds, step=AbsoluteStep(1e3)).advance(())
        assert isinstance(request, Request)
        at = np.array([request.points.dense(k) for k in range(len(request.points))])
        assert np.all((at >= np.array(bounds)[:, 0]) & (at <= np.array(bounds)[:, 1]))


@pytest.mark.parametrize("scheme", SCHEMES)
@settings(max_examples=25)
@given(hnp.arrays(np.float64, 3, elements=st.floats(0, 1e6)), st.sampled_from([None, 1e-4, AbsoluteStep(1e-3)]))
def test_along_an_axis_the_slope_is_the_gradients_component_bit_for_bit(scheme: str, x: Floats, step: Any) -> None:
    def fun(at: Floats) -> float:
        return float(np.sin(at).sum() + at[0] * at[2])

    wanted = solve(method(x, scheme, step=step), fun)
    found = drive(plan("directional", x, scheme=scheme, step=step, directions=np.eye(3)), fun)[0]
    assert bits(found.derivative) == bits(wanted.derivative)
    np.testing.assert_allclose(found.step, wanted.step, rtol=1e-15)


def test_directions_are_measured_in_the_coordinates_own_steps() -> None:
    h = np.array([1e-3, 1.0, 1e6])
    assert lengths(np.diag([1.0, -2.0, 4.0]), h).tolist() == [1e-3, 0.5, 2.5e5]
    np.testing.assert_allclose(lengths(h[None], h), 1 / math.sqrt(3))
    assert lengths(np.zeros((1, 3)), h).tolist() == [0.0]


def test_a_coordinate_too_large_to_move_along_leaves_the_others_slope_right() -> None:
    """x + t v leaves 1e10 as it is; the slope of the rest must not be divided by a t that counts it."""
    for step in (None, AbsoluteStep(1e-8)):
        slope = drive(plan("jvp", [1e10, 1.0], v=[1.0, 1.0], step=step), lambda x: np.sin(x[1]))[0].derivative
        assert slope[0] == pytest.approx(math.cos(1), rel=1e-6)


def test_coordinates_that_do_not_move_have_no_part() -> None:
    bounds = [(X[0], X[0]), (None, None), (None, None)]
    for kind, particulars in (("hessian", {}), ("hvp", {"v": V}), ("directional", {"directions": [V, [1, 0, 0]]})):
        answer, waves = drive(plan(kind, X, bounds=bounds, **particulars), smooth)
        assert not any(np.any(wave.request.points.indices == 0) for wave in waves)
        if kind == "directional":
            np.testing.assert_allclose(answer.derivative, [gradient(X)[1:] @ V[1:], 0.0], rtol=1e-6)
            assert answer.step[1] == 0
            continue
        block = hessian(X)[1:, 1:]
        np.testing.assert_allclose(
            answer.derivative[1:], block @ V[1:] if kind == "hvp" else np.c_[[0, 0], block], atol=1e-6
        )
        assert np.all(answer.derivative[0] == 0)


@pytest.mark.parametrize(
    ("kind", "particulars"),
    [
        ("hessian", {}),
        ("hvp", {"v": V}),
        ("directional", {"directions": [V]}),
        ("jacobian", {"sparsity": np.ones((1, 3))}),
        ("jacobian", {"sparsity": "probe"}),
    ],
)
@pytest.mark.parametrize("scheme", ["central", "complex-step"])
def test_where_nothing_moves_there_is_the_baseline_alone(kind: str, particulars: dict[str, Any], scheme: str) -> None:
    bounds = [(v, v) for v in X]
    answer, waves = drive(plan(kind, X, bounds=bounds, scheme=scheme, **particulars), smooth)
    assert {len(wave.request.points) for wave in waves} == {1}
    derivative = answer.derivative.toarray() if kind == "jacobian" else answer.derivative
    assert not derivative.any()
    assert answer.value.tolist() == [smooth(X)]
    assert not answer.step.any()
    assert answer.missing.tolist() == []


def test_several_outputs_along_directions() -> None:
    def fun(x: Floats) -> Floats:
        return np.array([x[0] ** 2, x[0] * x[1], x[2]])

    jacobian = np.array([[2 * X[0], 0, 0], [X[1], X[0], 0], [0, 0, 1]])
    directions = np.array([V, [0, 0, 1.0]])
    found = drive(plan("directional", X, scheme="central", directions=directions), fun)[0]
    np.testing.assert_allclose(found.derivative, directions @ jacobian.T, atol=1e-9)
    np.testing.assert_allclose(drive(plan("jvp", X, v=V), fun)[0].derivative, jacobian @ V, rtol=1e-6)


@pytest.mark.parametrize("bounds", [None, SURROUNDINGS["mixed"], SURROUNDINGS["corner"]])
@pytest.mark.parametrize("v", [V, [0, 0.5, 0], [0, 0, 0]])
def test_a_long_direction_takes_a_request_for_each_gradient_with_the_same_bits(
    bounds: Any, v: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, waves = drive(plan("hvp", X, bounds=bounds, v=v), smooth)
    assert len(waves) == 1
    monkeypatch.setattr(distfd.differentiation.hessian_vector, "_MOST_CHANGES", 0)
    several, parts = drive(plan("hvp", X, bounds=bounds, v=v), smooth)
    assert bits(several.derivative) == bits(one.derivative)
    assert bits(several.value) == bits(one.value)
    assert len(parts) >= (2 if np.any(v) else 1)
    keys = [set(map(tuple, np.concatenate([w.request.points.keys() for w in ws]).tolist())) for ws in (waves, parts)]
    assert keys[0] == keys[1]


@pytest.mark.parametrize("kind", ["hessian", "hvp", "directional", "jvp"])
@settings(max_examples=25)
@given(st.data())
def test_a_missing_value_is_missing_where_it_is_used(kind: str, data: st.DataObject) -> None:
    particulars = {"hessian": {}, "directional": {"directions": np.eye(3)}}.get(kind, {"v": V})
    asked = plan(kind, X, scheme="central", **particulars)
    whole, (wave,) = drive(asked, smooth)
    lost = data.draw(st.integers(1, len(wave.values) - 1))
    values, status = wave.values.copy(), wave.status.copy()
    values[lost], status[lost] = np.nan, Status.CRASH
    answer = asked.advance([Wave(wave.request, values, status)])
    assert not isinstance(answer, Request)
    found, known = np.atleast_1d(answer.derivative), np.isfinite(np.atleast_1d(answer.derivative))
    assert not known.all()
    assert len(answer.missing)
    assert bits(found[known]) == bits(np.atleast_1d(whole.derivative)[known])
    if kind == "hessian":
        # A pair's point is the loss of that entry alone; a coordinate's own that of its row and column.
        moved, _ = wave.request.points.changes(lost)
        assert set(np.argwhere(~known)[:, 0]) == (set(moved) if len(moved) == 2 else {0, 1, 2})


@pytest.mark.parametrize(
    ("kind", "particulars", "message"),
    [
        ("gradiant", {}, "kind: must be one of gradient, jacobian, hessian, hvp, jvp, directional"),
        ("hvp", {}, "hvp: missing a required argument: 'v'"),
        ("hvp", {"v": [1, 2]}, "v: must be 3 finite numbers"),
        ("jvp", {"v": [1, 2, math.nan]}, "v: must be 3 finite numbers"),
        ("gradient", {"v": V}, "gradient: has no argument 'v'; beside x it takes none"),
        ("directional", {"directions": V}, r"directions: must be \(p, 3\).*jvp takes one"),
        ("directional", {"directions": [[1, 2]]}, r"directions: must be \(p, 3\)"),
        ("directional", {"directions": [[1, 2, math.inf]]}, "directions: must be finite"),
        ("directional", {"directions": ["a"]}, "directions: must be"),
    ],
)
def test_what_makes_no_sense_is_said(kind: str, particulars: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        plan(kind, X, **particulars)


def test_steps_along_directions_that_cannot_be_held_name_the_direction() -> None:
    asked = plan("directional", [1.0, 1.0], step=AbsoluteStep(1e-30), directions=[[0, 0], [1, 1]])
    with pytest.raises(InputError, match="direction 1 the step is too small"):
        asked.advance(())


def test_one_step_for_all_is_the_same_as_equal_ones_for_each() -> None:
    for kind in ("jvp", "hvp"):
        found = [drive(plan(kind, X, v=V, step=AbsoluteStep(h)), smooth)[0] for h in (1e-3, [1e-3] * 3)]
        assert bits(found[0].derivative) == bits(found[1].derivative)


def test_the_kinds_by_their_own_names() -> None:
    on: dict[str, Any] = {"executor": "serial"}
    np.testing.assert_allclose(distfd.hessian(smooth, X, **on), hessian(X), atol=1e-6)
    np.testing.assert_allclose(distfd.hvp(smooth, X, V, **on), hessian(X) @ V, atol=1e-6)
    np.testing.assert_allclose(distfd.directional(smooth, X, [V, V], **on), [gradient(X) @ V] * 2, rtol=1e-6)
    assert type(distfd.jvp(smooth, X, V, **on)) is float
    assert distfd.jvp(smooth, X, V, **on) == pytest.approx(gradient(X) @ V, rel=1e-6)
    with distfd.Evaluator(smooth, executor="serial", scheme="central") as evaluator:
        assert bits(evaluator.hessian(X)) == bits(distfd.hessian(smooth, X, **on)), "the scheme is for slopes"
        assert bits(evaluator.hvp(X, V)) == bits(distfd.hvp(smooth, X, V, **on))
        assert evaluator.directional(X, [V]).tolist() == [evaluator.jvp(X, V)]
        result = evaluator.differentiate(X, kind="hessian")
    assert (result.scheme, result.value, result.missing.tolist()) == ("central", smooth(X), [])
    assert result.step.shape == (3,)


def test_a_hessian_of_several_outputs_is_refused() -> None:
    with pytest.raises(distfd.EvaluationError, match="J must return a number"):
        distfd.hessian(lambda x: x, X, executor="serial")


def test_a_slope_past_floating_point_names_its_direction() -> None:
    def cliff(x: Floats) -> float:
        return 1e308 if x[1] > 0 else -1e308

    with pytest.raises(distfd.EvaluationError, match="the difference at direction 1 is too large for floating point"):
        distfd.directional(cliff, [1.0, 0.0], [[1, 0], [0, 1]], executor="serial")
