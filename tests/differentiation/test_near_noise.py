"""The noise in J at three points near x, in a row with it, and the small rows of second derivatives that it hides."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from problems import PROBLEMS

import distfd
from distfd.core.errors import DerivativeWarning
from distfd.core.points import dense_points
from distfd.differentiation.base_point import BasePoint
from distfd.differentiation.method import Answer
from distfd.differentiation.near_noise import SHARE, NearPoints, in_a_row, inward, near_product

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

TOLD = "are not known to 10 %"
X = np.array([1.0, 0.5, 0.7])
EXACT = np.array([[100.0, 1.0, 0.0], [1.0, 0.04, 1e-3], [0.0, 1e-3, 1e-3 * np.cosh(0.7)]])
"""The Hessian of `uneven` at X: its last row is far smaller than 1 % of its largest entry."""


def uneven(x: Floats, noise: float = 0.0, constant: float = 0.0) -> float:
    """J with rows of very different sizes, and noise that the bits of x make."""
    seed = np.frombuffer(np.asarray(x).tobytes(), dtype=np.uint32)
    value = 50 * x[0] ** 2 + x[0] * x[1] + 0.02 * x[1] ** 2 + 1e-3 * x[1] * x[2] + 1e-3 * np.cosh(x[2])
    return float(constant + value + noise * np.random.default_rng(seed).normal())


def differentiated(fun: Callable[[Floats], Any], x: Any = X, kind: Any = "hessian", **options: Any) -> Any:
    options = {"check": True, "executor": "serial", **options}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DerivativeWarning)
        return distfd.differentiate(fun, x, kind=kind, **options)


def told(result: Any) -> list[str]:
    return [text for text in result.warnings if TOLD in text]


def dense(matrix: Any) -> Floats:
    return np.asarray(matrix.toarray() if hasattr(matrix, "toarray") else matrix)


def site_of(x: Floats, lower: Any = -np.inf, upper: Any = np.inf) -> BasePoint:
    return BasePoint(x, np.broadcast_to(lower, x.shape).astype(float), np.broadcast_to(upper, x.shape).astype(float))


# --- the points ------------------------------------------------------------------------------------------------------


@given(
    x=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=5),
    room=st.lists(st.sampled_from([0.0, 1.0, np.inf]), min_size=5, max_size=5),
)
@settings(max_examples=100)
def test_they_are_in_a_row_and_inside_the_bounds(x: list[float], room: list[float]) -> None:
    at = np.array(x)
    size = 1e-4 * np.maximum(1.0, np.abs(at))
    lower, upper = at - np.array(room[: len(at)]) * size, at + 2 * size  # room for one step on one side at least
    site = site_of(at, lower, upper)
    moving = np.arange(len(at))
    found = in_a_row(site, moving, inward(site, moving, size))
    assert found is not None
    points, delta = found
    places = np.array([points.dense(k) for k in range(3)])
    assert ((places >= lower) & (places <= upper)).all()
    assert ((np.abs(delta) > 0.5 * SHARE * size) & (np.abs(delta) < 2 * SHARE * size)).all()
    unit = np.spacing(np.abs(at) + 4 * np.abs(delta))
    steps = np.diff(np.vstack((at, places)), axis=0)
    assert_allclose(steps, np.broadcast_to(delta, steps.shape), rtol=0, atol=unit.max())
    inner = np.spacing(np.abs(at)) == unit  # no power of two is between x and the points
    assert_array_equal(steps[:, inner], np.broadcast_to(delta, steps.shape)[:, inner])


def seven_digits(x: Floats, index: Any, values: Floats) -> Floats:
    """Displacements of values that are written with seven decimals."""
    return np.round(values, 7) - x[index, None]


def test_there_are_none_where_the_text_that_j_reads_does_not_show_them_in_a_row() -> None:
    site = replace(site_of(X), written=seven_digits)
    moving = np.arange(3)
    assert in_a_row(site, moving, 1e-6 * np.array([1.03, 1.54, -0.71])) is None
    assert in_a_row(site, moving, 1e-6 * np.array([1.0, 2.0, -1.0])) is not None
    assert in_a_row(site_of(X), moving, 1e-20 * np.ones(3)) is None


def answer_of(derivative: Floats, value: float) -> Answer:
    return Answer(derivative, np.array([value]), np.ones(len(derivative)), np.zeros(0, dtype=np.int64))


def test_a_parabola_has_no_noise_and_noise_has_its_size() -> None:
    near = NearPoints(dense_points([X]), lambda answer: 0.5)
    steps = np.arange(1, 4)
    parabola = 3.0 + 7.0 * steps + 0.25 * steps**2
    answer = answer_of(np.zeros((3, 3)), 3.0)
    assert near.noise(parabola, answer) == pytest.approx(0.0, abs=1e-12)
    rng = np.random.default_rng(5)
    squares = []
    for _ in range(4000):
        noise = 0.1 * rng.normal(size=4)
        found = near.noise(parabola + noise[1:], answer_of(np.zeros((3, 3)), 3.0 + noise[0]))
        assert found is not None
        squares.append(found**2)
    assert np.sqrt(np.mean(squares)) == pytest.approx(0.1, rel=0.05)
    assert near.noise(np.array([1.0, np.inf, 2.0]), answer) is None


def test_along_the_direction_of_a_product() -> None:
    v = np.array([1.0, -2.0, 0.5])
    near = near_product(site_of(X), X + 1e-3 * v, v)
    assert near is not None
    values = np.array([uneven(near.points.dense(k)) for k in range(3)])
    found = near.noise(values, answer_of(EXACT @ v, uneven(X)))
    assert found is not None
    assert found < 1e-13


# --- what they show --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "noise"),
    [
        ({}, 1e-11),
        ({"scheme": "forward2"}, 1e-11),
        ({"scheme": "central4"}, 1e-9),
        ({"bounds": [(1, 2), (0.5, 2), (0.7, 2)]}, 1e-11),
        ({"sparsity": (EXACT != 0).astype(int)}, 1e-11),
    ],
    ids=str,
)
def test_small_rows_that_noise_hides_are_told(options: dict[str, Any], noise: float) -> None:
    """The Hessian as a whole is right, and its last row is noise."""
    silent = wrong = 0
    for shift in np.linspace(0, 1e-6, 10):
        result = differentiated(lambda x: uneven(x, noise), X + shift, **options)
        assert result.consistency.verdict == "consistent"
        assert_allclose(dense(result.derivative)[:2, :2], EXACT[:2, :2], rtol=0.2, atol=0.1)
        off = np.abs(dense(result.derivative)[2] - EXACT[2]).max() > 0.1 * EXACT[2].max()
        wrong += off
        silent += off and not told(result)
        for text in told(result):
            assert "coordinate 2: J at three points near x shows noise of about" in text
            assert text.endswith("step='auto' finds steps, and error bars")
    assert wrong >= 8
    assert silent <= 1


@pytest.mark.parametrize("sparsity", [None, (EXACT != 0).astype(int)])
@pytest.mark.parametrize(("noise", "constant"), [(1e-11, 0.0), (1e-10, 0.0), (0.0, 1e6), (0.0, 1e9)])
def test_what_the_warning_advises_holds(noise: float, constant: float, sparsity: Any) -> None:
    more = {} if sparsity is None else {"sparsity": sparsity}
    plain = differentiated(lambda x: uneven(x, noise, constant), **more)
    assert plain.warnings
    better = differentiated(lambda x: uneven(x, noise, constant), step="auto", **more)
    # A bar holds 95 % of the time, and what the noise is depends on how the processor rounds: twice the bar holds.
    assert (np.abs(dense(better.derivative) - EXACT) <= 2 * dense(better.error)).all()


def test_rows_lost_under_a_large_constant_are_told() -> None:
    result = differentiated(lambda x: uneven(x, constant=1e6))
    assert result.consistency.verdict == "consistent"
    (text,) = told(result)
    assert "coordinate 1: J at three points near x" in text
    assert np.abs(result.derivative[1, 2] - EXACT[1, 2]) > 0.5 * EXACT[1, 2]


def test_rounding_counts_where_j_does_not_even_change_near_x() -> None:
    """J moves by less than its last digit from point to point there, so that its values are all the same."""

    def fun(x: Floats) -> float:
        moved = x - X
        return float(1e8 + 1e4 * moved[0] ** 2 + moved[0] * moved[1] + moved[1] ** 2 + moved[2] ** 2)

    near = [fun(X + shift) for shift in (1e-7, 2e-7, 3e-7)]
    assert near == [fun(X)] * 3
    result = differentiated(fun)
    assert result.consistency.verdict == "consistent"
    (text,) = told(result)
    assert "coordinate 1, coordinate 2: J at three points near x shows noise of about 6e-09" in text
    better = differentiated(fun, step="auto")
    assert (np.abs(better.derivative - [[2e4, 1, 0], [1, 2, 0], [0, 0, 2]]) <= better.error).all()


def test_v_may_be_of_any_size() -> None:
    """Its square overflows, or is 0."""
    for size in (1e-200, 1e200):
        v = size * np.array([1.0, -2.0, 0.5])
        near = near_product(site_of(X), X + 1e-3 * v / size, v)
        assert near is not None
        values = np.array([uneven(near.points.dense(k)) for k in range(3)])
        found = near.noise(values, answer_of(EXACT @ v, uneven(X)))
        assert found is not None
        assert found < 1e-13


def test_small_components_of_a_product_are_told() -> None:
    """They were never told for products: the largest component alone decided."""
    v = np.array([0.0, 1.0, 1.0])

    def fun(x: Floats) -> float:
        return uneven(np.array([x[0] / 10, x[1], x[2]]), 1e-10)

    exact = np.array([0.1, 0.041, 1e-3 * (1 + np.cosh(0.7))])
    silent = wrong = 0
    for shift in np.linspace(0, 1e-6, 10):
        result = differentiated(fun, X * [10, 1, 1] + shift, "hvp", v=v)
        if result.consistency.verdict == "consistent":
            off = (np.abs(result.derivative - exact) > 0.1 * np.maximum(exact, 0.01 * exact.max())).any()
            wrong += off
            silent += off and not told(result)
    assert wrong >= 5
    assert silent <= 1
    better = differentiated(fun, X * [10, 1, 1], "hvp", v=v, step="auto")
    assert (np.abs(better.derivative - exact) <= 2 * better.error).all()  # as above


# --- false alarms ----------------------------------------------------------------------------------------------------

CLEAN: dict[str, Callable[[Floats], Any]] = {
    "linear in one": lambda x: x[0] ** 2 + x[1] + 2 * x[2],
    "separable": lambda x: (x**2).sum(),
    "a pair": lambda x: x[0] * x[1] + x[2],
    "smooth": lambda x: np.exp(x[0]) + 3 * x[1] + np.sin(x[2]),
    "cubic and small": lambda x: x[0] ** 2 + 1e-3 * x[1] ** 3 + x[2],
    "above a constant": lambda x: 100 + x[0] ** 2 + x[1] - x[2],
    "steep": lambda x: np.exp(8 * x[0]) + x[1] ** 2 + x[2],
    "small residuals": lambda x: (x[0] - x[1] ** 2) ** 2 + (1 - x[1]) ** 2 + x[2],
}


@pytest.mark.parametrize("name", CLEAN)
@pytest.mark.parametrize("scheme", ["forward", "central4"])
def test_rows_of_zeros_are_no_news_where_j_is_clean(name: str, scheme: str) -> None:
    for seed in range(6):
        x = np.random.default_rng(seed).normal(size=3)
        for kind, more in (("hessian", {}), ("hvp", {"v": np.array([1.0, -2.0, 0.5])})):
            result = differentiated(lambda y: float(CLEAN[name](y)), x, kind, scheme=scheme, **more)
            assert not told(result), (kind, x)


def value_of(problem: Any) -> Callable[[Floats], float]:
    return lambda x: float(problem.value(x[None])[0])


def test_no_alarms_on_small_clean_problems() -> None:
    alarms = []
    for name, problem in PROBLEMS.items():
        d = len(problem.x0)
        if d > 6:
            continue
        result = differentiated(value_of(problem), problem.x0)
        alarms += [(name, text) for text in told(result)]
    assert not alarms


# --- what they cost --------------------------------------------------------------------------------------------------


class Wide(distfd.SerialExecutor):
    """As many slots as a test wants, on paper."""

    def __init__(self, slots: int) -> None:
        super().__init__()
        self.slots = slots


@pytest.mark.parametrize(("kind", "particulars", "pair"), [("hessian", {}, 2), ("hvp", {"v": [1.0, 2.0, -1.0]}, 4)])
def test_only_who_asks_for_the_check_pays_for_them(kind: str, particulars: dict[str, Any], pair: int) -> None:
    def run(check: bool | None, executor: Any = "serial", **more: Any) -> Any:
        return differentiated(uneven, kind=kind, check=check, executor=executor, **particulars, **more)

    never, asked, idle, none = run(False), run(True), run(None, Wide(64)), run(None)
    assert asked.consistency.n_evaluations == pair + 3 == asked.n_evaluations - never.n_evaluations
    assert idle.consistency.n_evaluations == pair == idle.n_evaluations - never.n_evaluations
    assert (none.consistency, none.n_evaluations, none.unchecked) == (None, never.n_evaluations, pair + 3)
    for one in (asked, idle, none):
        assert_array_equal(one.derivative, never.derivative)


def test_done_again_it_is_the_same(tmp_path: Any) -> None:
    how: dict[str, Any] = {"store": tmp_path / "s.sqlite", "version": "1"}
    noisy = lambda x: uneven(x, 1e-11)  # noqa: E731
    first = differentiated(noisy, **how)
    again = differentiated(noisy, executor=Wide(5), **how)
    assert again.n_evaluations == 0
    assert told(again) == told(first) != []
    later = differentiated(noisy, check=None, **how)
    assert later.n_evaluations == 0
    assert later.consistency is not None, "the values of the pair are known"


def test_a_failure_there_leaves_the_verdict() -> None:
    def fun(x: Floats) -> float:
        if 0 < np.abs(x - X).max() < 1e-5:
            raise ValueError("not so near")
        return uneven(x, 1e-11)

    result = differentiated(fun)
    assert result.consistency.verdict == "consistent"
    assert not result.warnings
