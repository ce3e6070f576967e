"""A J that returns float32, or less: its derivatives have steps that suit its digits, and say so."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from solving import quiet, told

import distfd
from distfd.core.errors import DerivativeWarning
from distfd.core.records import DOUBLE, WHOLE, Status
from distfd.differentiation.value_precision import wave_bits

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

COSH = np.array([0.04, 0.1, 0.3])
COSH_GRADIENT = np.array([1.0072115, 1.0454416, 1.4417605])
SINES = np.array([0.3, 1.7, 25.0])
SINES_GRADIENT = 3 * np.cos(SINES)


def cosh(x: Floats) -> np.float32:
    return np.float32(np.sum(np.cosh(x) ** 3 * x))


def sines(x: Floats) -> Any:
    """In single precision throughout, x too, as JAX computes by default."""
    return np.float32(3) * np.sum(np.sin(x.astype(np.float32)))


def sine_vector(x: Floats) -> Any:
    return np.float32(3) * np.sin(x.astype(np.float32)) * np.array([1, 2, 3], np.float32)


@pytest.mark.parametrize(("scheme", "nodes"), [("forward", 1), ("central", 2)])
@pytest.mark.parametrize(("fun", "x", "exact"), [(cosh, COSH, COSH_GRADIENT), (sines, SINES, SINES_GRADIENT)])
def test_gradients_of_single_precision(fun: Any, x: Floats, exact: Floats, scheme: str, nodes: int) -> None:
    result = quiet(fun, x, scheme=scheme)
    assert_allclose(result.derivative, exact, rtol=3e-3, atol=1e-3)
    assert result.n_evaluations == 2 * nodes * len(x) + 1
    assert (result.n_reused, result.n_failed) == (0, 0)
    assert told(result, "float32")
    assert_allclose(np.abs(result.step), 2.0 ** (-23 / (nodes + 1)) * np.maximum(1, x), rtol=1e-3)


@pytest.mark.parametrize("scheme", ["backward", "forward2", "backward2", "central4"])
def test_other_schemes(scheme: str) -> None:
    assert_allclose(quiet(sines, SINES, scheme=scheme).derivative, SINES_GRADIENT, rtol=0.05, atol=3e-3)


def test_richardson_stays_near_enough_for_its_bars() -> None:
    result = quiet(sines, SINES, scheme="richardson")
    assert (np.abs(result.derivative - SINES_GRADIENT) <= 3 * result.error).all()
    assert_allclose(result.derivative, SINES_GRADIENT, rtol=1e-3)


@pytest.mark.parametrize("options", [{"step": "auto"}, {"accuracy": 1e-3}, {"step": distfd.NoiseStep("shi")}])
def test_steps_that_are_found_need_no_word(options: dict[str, Any]) -> None:
    result = distfd.differentiate(sines, SINES, executor="serial", **options)
    assert result.error is not None
    assert (np.abs(result.derivative - SINES_GRADIENT) <= 2 * result.error).all()
    assert (result.error < 0.03).all()


def test_jacobians_dense_and_sparse() -> None:
    exact = np.diag(3 * np.cos(SINES) * [1, 2, 3])
    dense = quiet(sine_vector, SINES, kind="jacobian")
    assert_allclose(dense.derivative, exact, rtol=3e-3, atol=1e-3)
    assert dense.n_evaluations == 7
    sparse = quiet(sine_vector, SINES, kind="jacobian", sparsity=np.eye(3))
    assert_allclose(sparse.derivative.toarray(), exact, rtol=3e-3, atol=1e-3)
    assert sparse.n_evaluations == 3
    assert told(sparse, "float32")
    probed = quiet(sine_vector, SINES, kind="jacobian", sparsity="probe")
    assert_allclose(probed.derivative.toarray(), exact, rtol=3e-3, atol=1e-3)


def test_second_derivatives() -> None:
    exact = np.diag(-3 * np.sin(SINES))
    found = quiet(sines, SINES, kind="hessian")
    assert_allclose(found.derivative, exact, atol=0.02)
    assert found.n_evaluations == 25
    v = np.array([1.0, -1.0, 1.0])
    product = quiet(sines, SINES, kind="hvp", v=v)
    assert_allclose(product.derivative, exact @ v, atol=0.03)
    assert told(found, "float32")
    assert told(product, "float32")


def test_a_product_in_many_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the first of them went out with the steps of a double."""
    from distfd.differentiation import hessian_vector

    monkeypatch.setattr(hessian_vector, "_MOST_CHANGES", 0)
    v = np.array([1.0, -1.0, 1.0])
    result = quiet(sines, SINES, kind="hvp", v=v)
    assert_allclose(result.derivative, -3 * np.sin(SINES) * v, atol=0.03)
    assert result.n_evaluations == 13 + 6


def test_a_warm_start() -> None:
    class Simulator:
        def __init__(self) -> None:
            self.state = 0.0

        def evaluate(self, x: Floats) -> Any:
            return sines(x)

        def snapshot(self) -> float:
            return self.state

        def restore(self, state: float) -> None:
            self.state = state

    for mode in ("baseline", "iterate"):
        result = quiet(Simulator, SINES, warm=mode)
        assert_allclose(result.derivative, SINES_GRADIENT, rtol=3e-3, atol=1e-3)
        assert result.n_evaluations == 7


def test_along_directions() -> None:
    v = np.array([[1.0, 1.0, 1.0], [0.0, 1.0, -1.0]])
    assert_allclose(quiet(sines, SINES, kind="jvp", v=v[0]).derivative, v[0] @ SINES_GRADIENT, rtol=3e-3)
    found = quiet(sines, SINES, kind="directional", directions=v)
    assert_allclose(found.derivative, v @ SINES_GRADIENT, rtol=3e-3)
    assert found.n_evaluations == 5


def test_complex64_needs_no_other_step() -> None:
    def fun(x: Any) -> Any:
        return np.sum(3 * np.sin(x.astype(np.complex64 if np.iscomplexobj(x) else np.float32)))

    result = distfd.differentiate(fun, SINES, scheme="complex-step", executor="serial")
    assert_allclose(result.derivative, SINES_GRADIENT, rtol=1e-5)
    assert not result.warnings
    assert result.n_evaluations <= 26, "the real points of the check are singles, and are looked at again as such"


@pytest.mark.parametrize(("kind", "bits"), [(np.float16, 10), (np.float32, 23), (np.longdouble, DOUBLE)])
def test_the_type_says_how_many_bits(kind: Any, bits: int) -> None:
    result = quiet(lambda x: kind(np.sin(x[0])), [0.3])
    assert_allclose(np.abs(result.step), 2.0 ** (-bits / 2), rtol=1e-6)
    assert_allclose(result.derivative, np.cos(0.3), atol=2.0 ** (-bits / 2))


def test_bfloat16() -> None:
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    result = quiet(lambda x: np.array([np.sin(x[0])]).astype(bfloat16), [0.3])
    assert told(result, "bfloat16")
    assert_allclose(result.derivative, np.cos(0.3), atol=0.1)


def test_a_lesser_type_anywhere_counts() -> None:
    """Where J is a double at x and single precision beside it, differences have the latter's digits."""

    def fun(x: Floats) -> Any:
        return float(np.float32(x @ x)) if x[0] == 1.0 else np.float32(x @ x)

    result = quiet(fun, [1.0, 2.0])
    assert told(result, "float32")
    # Of coordinate 1 the points have x[0] == 1, and are doubles.
    assert_allclose(result.derivative, [2, 4], rtol=2e-3)


def test_whole_numbers_are_told_and_a_zero_among_floats_is_not() -> None:
    result = quiet(lambda x: int(100 * x[0]), [0.3])
    assert told(result, "whole numbers")
    mixed = quiet(lambda x: 0 if x[0] <= 0.3 else float(x[0] - 0.3), [0.3])
    assert_allclose(mixed.derivative, 1.0)
    assert not told(mixed, "whole")
    assert quiet(lambda x: np.int64(7), [0.3, 1.0]).derivative.tolist() == [0, 0]


@pytest.mark.parametrize("kind", ["gradient", "jacobian"])
def test_single_precision_in_the_dress_of_a_double_is_known_by_its_digits(kind: str) -> None:
    """Most losses of float32 libraries are made floats before they are returned: float(loss), loss.item()."""
    result = quiet(
        (lambda x: float(sines(x))) if kind == "gradient" else lambda x: [float(sines(x)), 0.0, 1.0], SINES, kind=kind
    )
    assert told(result, "float32")
    assert result.n_evaluations == 7
    assert_allclose(np.atleast_2d(result.derivative)[0], SINES_GRADIENT, rtol=3e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("fun", "x"),
    [
        (lambda x: 12345.0, [1.0]),
        (lambda x: 0.75, [1.0, 2.0]),
        (lambda x: float(x[0]), [1.0]),
        (lambda x: float(x.sum()), [0.0, 0.0]),
        (lambda x: float(x @ x), [1.0, 2.0, 3.0]),
        (lambda x: float(np.float32(0.1)) * float(x[0]), [1.0, 2.0]),
    ],
)
def test_doubles_that_are_short_numbers_are_doubles(fun: Any, x: list[float]) -> None:
    result = quiet(fun, x)
    assert not told(result, "float32")
    assert np.abs(result.step).tolist() == [2.0**-26 * max(1, at) for at in x]


def test_a_session_knows_from_then_on() -> None:
    with distfd.Evaluator(sines, executor="serial") as ev, warnings.catch_warnings():
        warnings.simplefilter("ignore", DerivativeWarning)
        assert ev.differentiate(SINES).n_evaluations == 7
        second = ev.differentiate(SINES + 0.1)
        assert (second.n_evaluations, second.n_reused) == (4, 0)
        assert_allclose(second.derivative, 3 * np.cos(SINES + 0.1), rtol=5e-3, atol=2e-3)
        assert ev.differentiate(SINES + 0.1, kind="hessian").n_evaluations == 12
    with distfd.Evaluator(sines, executor="serial") as ev, warnings.catch_warnings():
        warnings.simplefilter("ignore", DerivativeWarning)
        ev.value(SINES)
        result = ev.differentiate(SINES)
        assert (result.n_evaluations, result.n_reused) == (3, 1)


def test_a_double_after_single_precision_has_scipys_steps() -> None:
    def fun(x: Floats) -> Any:
        value = np.sum(np.sin(x))
        return np.float32(value) if x[0] < 1 else value

    with distfd.Evaluator(fun, executor="serial") as ev, warnings.catch_warnings():
        warnings.simplefilter("ignore", DerivativeWarning)
        ev.differentiate([0.5, 0.5])
        result = ev.differentiate([2.0, 0.5])
        assert np.abs(result.step).tolist() == [2 * 2.0**-26, 2.0**-26]
        assert_allclose(result.derivative, np.cos([2.0, 0.5]), rtol=1e-6)
        assert not told(result, "float32")


def test_a_given_step_is_taken_and_told_where_it_is_too_small() -> None:
    result = quiet(sines, SINES, step=1e-7)
    assert result.n_evaluations == 4
    assert told(result, "is below what x + h holds")
    assert told(result, "coordinate 1")
    fine = distfd.differentiate(sines, SINES, step=1e-3, executor="serial")
    assert_allclose(fine.derivative, SINES_GRADIENT, rtol=0.02, atol=2e-3)
    assert fine.n_evaluations == 4


def test_gaps_in_given_steps_are_filled_for_the_precision() -> None:
    result = quiet(sines, SINES, step=np.array([1e-2, np.nan, np.nan]))
    assert result.n_evaluations == 4 + 2, "the point of the given step is there already"
    assert_allclose(result.derivative, SINES_GRADIENT, rtol=1e-2, atol=2e-3)


def test_a_scale_is_kept() -> None:
    result = quiet(lambda x: np.float32(np.exp(1e6 * x[0])), [1e-6], scale=[1e-6])
    assert_allclose(result.derivative, 1e6 * math.e, rtol=2e-3)


def test_repair_climbs_from_the_new_steps() -> None:
    def fun(x: Floats) -> np.float32:
        if x[0] > 0.3:
            raise ValueError("no")
        return cosh(x)

    result = quiet(fun, [0.3, 0.1], on_failure="repair")
    assert_allclose(result.derivative[0], 1.4417605, rtol=2e-3)
    assert 0 in result.repaired


def test_float32_residuals_are_fitted() -> None:
    t = np.linspace(0, 2, 12)
    data = 2.5 * np.exp(-1.3 * t)

    def residuals(b: Floats) -> Any:
        return (b[0] * np.exp(-b[1] * t) - data).astype(np.float32)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DerivativeWarning)
        fit = distfd.least_squares(residuals, [1.0, 0.5], executor="serial")
    assert_allclose(fit.x, [2.5, 1.3], rtol=1e-3)


@pytest.mark.parametrize("method", ["L-BFGS-B", "L-BFGS", "BFGS"])
def test_float32_is_minimised(method: Any) -> None:
    def fun(x: Floats) -> np.float32:
        return np.float32((x[0] - 1) ** 2 + 3 * (x[1] + 0.5) ** 2 + 0.5)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DerivativeWarning)
        found = distfd.minimize(fun, [3.0, 2.0], method=method, executor="serial")
    assert_allclose(found.x, [1, -0.5], atol=5e-3)


def test_bits_of_a_wave() -> None:
    from solving import ask, method, wave

    seen = wave(ask(method([1.0, 2.0])), lambda x: float(x @ x))

    def bits(*each: int, status: tuple[int, ...] = (1, 1, 1)) -> int:
        from dataclasses import replace

        return wave_bits(replace(seen, bits=np.array(each, np.uint8), status=np.array(status, np.uint8)))

    assert wave_bits(seen) == DOUBLE
    assert bits(52, 23, 52) == 23
    assert bits(WHOLE, 23, 52) == 23
    assert bits(WHOLE, WHOLE, 52) == 52
    assert bits(WHOLE, WHOLE, WHOLE) == WHOLE
    assert bits(23, WHOLE, WHOLE, status=(Status.ERROR, 1, 1)) == WHOLE


def test_an_open_wave_has_its_value_first() -> None:
    with distfd.Evaluator(sines, executor="serial") as ev, warnings.catch_warnings():
        warnings.simplefilter("ignore", DerivativeWarning)
        pending = ev.begin(SINES)
        assert pending.value() == float(sines(SINES))
        assert_allclose(pending.result().derivative, SINES_GRADIENT, rtol=3e-3, atol=1e-3)
        pending = ev.begin(SINES + 1)
        pending.cancel()
        assert ev.differentiate(SINES + 2).n_evaluations == 4


def test_on_ray_it_is_the_same(private_ray: None) -> None:
    """The type travels from other processes as it does from this one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DerivativeWarning)
        result = distfd.differentiate(sines, SINES, executor=distfd.RayExecutor(max_slots=2))
    here = quiet(sines, SINES)
    assert result.derivative.tobytes() == here.derivative.tobytes()
    assert result.consistency is not None
    assert (result.n_evaluations - result.consistency.n_evaluations, result.warnings) == (7, here.warnings)


def rosenbrock(x: Floats) -> float:
    return float(100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2)


SHORT: list[tuple[Callable[[Floats], float], list[float]]] = [
    (lambda x: 1e3 + x[0] - x[1], [0.5, 2.0]),
    (lambda x: 2e3 + x[0] - x[1], [0.5, 2.0]),
    (lambda x: 1e3 + x[0] - x[1] + 0 * x[2], [0.5, 2.0, 0.1]),
    (lambda x: 1e4 + abs(x[0]) + 0.25 * x[1], [1.5, 3.0]),
    (lambda x: max(x[0], x[1]) + 100, [0.5, 0.25]),
    (lambda x: float(np.sum(x)) / 8 + 1000, [1.0, 2.0, 3.0, 4.0]),
    (lambda x: x[0] ** 2, [0.375]),
    (lambda x: x[0] ** 2, [1001 / 4096]),
    (lambda x: 3 * x[0] * x[1] + 0.75 * x[0], [0.125, 0.0625]),
    (lambda x: x[0] ** 3, [2.0**-6]),
    (rosenbrock, [0.0, 0.0]),
]
"""Doubles that have no more bits than a float32 where x is short: sums and products of it."""


@pytest.mark.parametrize("kind", ["hessian", "hvp", "gradient"])
@pytest.mark.parametrize(("fun", "x"), SHORT)
def test_doubles_that_are_short_as_x_is_are_no_float32(fun: Any, x: Any, kind: Any) -> None:
    given: Any = {"v": np.ones(len(x))} if kind == "hvp" else {}
    result = quiet(fun, np.array(x), kind=kind, **given)
    assert not told(result, "float32")


ROUNDED: list[tuple[Callable[[Floats], float], list[float]]] = [
    (lambda x: 3 * float(np.sum(np.sin(x))), [0.5, 2.0]),
    (lambda x: float(np.sum(np.cos(x + 0.1))), [0.0, 0.0]),
    (lambda x: 1000 + np.exp(x[0]) * x[1], [0.5, 2.0]),
    (lambda x: 1e4 * np.exp(x[0]) * x[1], [0.125, 0.375]),
    (lambda x: 0.3 * x[0] + 0.1 * x[1], [1.0, 1.0]),
    (lambda x: 0.3 * x[0] ** 2 + 0.1 * x[1] ** 2, [1.0, 0.5]),
    (lambda x: float(np.sum(np.sin(x))), [float(np.float32(each)) for each in (25.3, 0.3, 1.7)]),
    (rosenbrock, [0.3, 0.5]),
]


@pytest.mark.parametrize("kind", ["hessian", "hvp", "gradient"])
@pytest.mark.parametrize(("fun", "x"), ROUNDED)
def test_a_double_made_of_a_float32_is_told_at_short_x_too(fun: Any, x: Any, kind: Any) -> None:
    given: Any = {"v": np.ones(len(x))} if kind == "hvp" else {}
    result = quiet(lambda at: float(np.float32(fun(at))), np.array(x), kind=kind, **given)
    assert told(result, "float32")


@pytest.mark.parametrize("kind", ["hessian", "hvp"])
def test_a_second_derivative_of_a_j_that_does_not_move_for_its_digits_says_so(kind: Any) -> None:
    given: Any = {"v": [1.0, -2.0]} if kind == "hvp" else {}

    def fun(x: Floats) -> float:
        return float(np.float16(0.7 + 1e-4 * float(np.exp(x[0]) * np.sin(x[1]))))

    with pytest.warns(DerivativeWarning, match="did not change at all along coordinate 0, coordinate 1"):
        distfd.differentiate(fun, [0.4, 1.1], kind=kind, executor="serial", **given)
    for value in (2.0, 0.75, 0.1, 1e10):
        result = quiet(lambda x, c=value: c + 0 * x[0], [0.4, 1.1], kind=kind, **given)
        assert not told(result, "did not change")


# --- one output of several -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("as_list", [False, True], ids=["array", "list"])
def test_one_output_in_single_precision_is_told_and_auto_helps(as_list: bool, sparse: bool) -> None:
    def outputs(x: Floats) -> Any:
        part = np.float32(np.sum(np.cosh(x) ** 3 * x))
        rest = [float(np.sin(x).sum()), float(np.exp(x[0] - x[2]))]
        return [part, *rest] if as_list else np.array([part, *rest])

    options: dict[str, Any] = {"sparsity": np.ones((3, 3))} if sparse else {}
    with pytest.warns(DerivativeWarning, match="rounding hides the derivative of output 0 "):
        distfd.jacobian(outputs, COSH, executor="serial", **options)
    with warnings.catch_warnings():
        warnings.simplefilter("error", DerivativeWarning)
        right = distfd.jacobian(outputs, COSH, step="auto", executor="serial", **options)
    row = np.asarray(right.toarray() if sparse else right)[0]
    assert_allclose(row, COSH_GRADIENT, rtol=1e-2)


def test_outputs_with_all_digits_are_not_taken_for_single_precision() -> None:
    rng = np.random.default_rng(4)
    for _ in range(50):
        a, x = rng.normal(size=(5, 3)), rng.normal(size=3)
        a[1] = [1.0, 0.0, 0.5]  # short numbers, and an output that is constant
        a[2] = 0.0
        with warnings.catch_warnings():
            warnings.simplefilter("error", DerivativeWarning)
            distfd.jacobian(lambda x, a=a: np.tanh(a @ x) + np.array([0, 0, 0.5, 1, 2]), x, executor="serial")
            distfd.jacobian(lambda x, a=a: a @ x, np.round(8 * x) / 8, executor="serial", step=2.0**-10)


@pytest.mark.parametrize("kind", ["gradient", "jacobian"])
def test_what_is_left_of_a_difference_is_no_float32(kind: str) -> None:
    """A difference of nearly equal numbers has few digits: one of them beside zeros told of float32."""
    threshold = 1.3 + 1.9e-8 - 3.1234567e-10

    def fun(x: Floats) -> Any:
        left = max(float(x[0]) - threshold, 0.0)
        return left if kind == "gradient" else [left, 0.0]

    result = quiet(fun, [1.3, 0.0], kind=kind)
    assert np.any(result.derivative)
    assert not told(result, "float32")
    assert result.n_evaluations == 3
