"""A J that loses an imaginary part on its way is never a silent 0: the real point beside the complex ones tells."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import scipy.optimize

import distfd
from distfd.errors import DerivativeWarning, EvaluationError, InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Fun = Callable[[Any], Any]

COMPLEX: dict[str, Any] = {"executor": "serial", "scheme": "complex-step"}


def loses(message: str) -> Any:
    return pytest.raises(EvaluationError, match=rf"(?s)loses imaginary parts along {message}")


LOST: dict[str, tuple[Fun, list[float], str]] = {
    "abs squared": (lambda x: x[0] ** 2 + np.abs(x[1]) ** 2, [3, 4], "coordinate 1\n.* is 0 by the .* and 8 by real"),
    "conj": (lambda x: x[0] * np.conj(x[0]) + x[1], [3, 2], "coordinate 0\n.* is 0 by the .* and 6 by real"),
    "arctan2": (lambda x: np.arctan2(x[1].real, x[0].real) + x[0], [3, 2], "coordinate 0, coordinate 1"),
    "vdot": (lambda x: np.vdot(x, x) + x[0], [3, 2], "coordinate 0, coordinate 1"),
    "real": (lambda x: x[0] * x[1].real + x[1] ** 2, [3, 2], "coordinate 1\n.* is 4 by .* and 7 by real"),
    "norm": (lambda x: np.linalg.norm(x) + x[0], [3, 4], "coordinate 0, coordinate 1"),
    "abs of a small part": (lambda x: 1e3 * x[0] ** 2 + abs(x[1]), [3, 2], "coordinate 1\n.* is 0 by .* and 1 by real"),
    "abs under an offset": (lambda x: 1e9 + np.sin(x[0]) + abs(x[1]), [1, 2], "coordinate 1"),
    "abs beside a giant": (lambda x: 1e7 * x[0] ** 2 + abs(x[1]), [3, 2], "coordinate 1"),
    "one coordinate": (lambda x: x[0] ** 2 + abs(x[0]), [3], "coordinate 0\n.* is 6 by .* and 7 by real"),
    "a negative one": (lambda x: x[0] ** 2 + np.sqrt(np.abs(x[1]) ** 2), [3, -4], "coordinate 1\n.* and -1 by real"),
    "of many": (lambda x: np.sum(x**2) + abs(x[517]), list(np.linspace(1, 2, 1000)), "coordinate 517\n"),
}


@pytest.mark.parametrize(("fun", "x", "message"), LOST.values(), ids=LOST)
@pytest.mark.parametrize("bounded", [False, True])
def test_a_gradient_that_lost_a_part_is_an_error_by_name(fun: Fun, x: list[float], message: str, bounded: bool) -> None:
    bounds = [(v, None) if k % 2 else (None, v) for k, v in enumerate(x)] if bounded else None
    with loses(message) as caught:
        distfd.gradient(fun, x, bounds=bounds, **COMPLEX)
    assert "use another scheme (central)" in str(caught.value)
    # What the message says works.
    central = distfd.gradient(
        lambda v: float(np.real(fun(v + 0j))), x, bounds=bounds, scheme="central", executor="serial"
    )
    assert np.isfinite(central).all()


@pytest.mark.parametrize("on_failure", ["raise", "nan", "repair"])
def test_names_are_used_and_no_on_failure_hides_it(on_failure: Any) -> None:
    fun, x, _ = LOST["abs squared"]
    with pytest.raises(EvaluationError, match=r"along coordinate 1 \('b'\)") as caught:
        distfd.gradient(fun, x, names=["a", "b"], on_failure=on_failure, **COMPLEX)
    assert caught.value.missing == [1]


def part(x: Any) -> Any:
    return np.array([x[0] ** 2, abs(x[1]) + x[0], x[1] * x[0]])


def test_jacobians_dense_sparse_and_probed() -> None:
    with loses(r"coordinate 1\n.*the slope of output 1 along coordinate 1 is 0 by the complex step and 1 by real"):
        distfd.jacobian(part, [3.0, 4.0], **COMPLEX)
    with loses("coordinate 1"):
        distfd.jacobian(part, [3.0, 4.0], sparsity=[[1, 0], [1, 1], [1, 1]], **COMPLEX)
    with loses("coordinate 1"):
        distfd.jacobian(part, [3.0, 4.0], sparsity="probe", **COMPLEX)

    # A whole group of columns: the third output alone has lost a part.
    def banded(x: Any) -> Any:
        return np.array([x[0] ** 2, x[1] ** 3, np.abs(x[2]) ** 2])

    with loses("coordinate 2"):
        distfd.jacobian(banded, [1.0, 2.0, 3.0], sparsity=np.eye(3), **COMPLEX)


def test_slopes_along_directions_and_products() -> None:
    fun, x, _ = LOST["abs squared"]
    with loses(r"direction 0, direction 2\n"):
        distfd.directional(fun, x, [[1, 1], [1, 0], [0, 1]], **COMPLEX)
    with loses(r"direction 0\n.* is 6 by the complex step and 14 by real"):
        distfd.jvp(fun, x, [1, 1], **COMPLEX)
    # In a corner that the direction leaves both ways, two real points take the place of one.
    corner = [(3, 9), (0, 4)]
    with loses("direction 0"):
        distfd.jvp(fun, x, [1, 1], bounds=corner, **COMPLEX)
    good = distfd.differentiate(lambda v: v[0] ** 2 + v[1] ** 2, x, kind="jvp", v=[1, 1], bounds=corner, **COMPLEX)
    assert good.derivative[0] == pytest.approx(14, rel=1e-14)
    assert good.n_evaluations == 4


@pytest.mark.parametrize("kind", ["hessian", "hvp"])
def test_second_derivatives_that_lost_a_part(kind: Any) -> None:
    fun, x, _ = LOST["abs squared"]
    more: dict[str, Any] = {"v": [1.0, 1.0]} if kind == "hvp" else {}
    with loses("coordinate 1"):
        distfd.differentiate(fun, x, kind=kind, **more, **COMPLEX)
    # At 0 the slope is right, and the curvature alone is lost.
    with pytest.raises(EvaluationError, match="loses imaginary parts: its second difference is"):
        distfd.differentiate(fun, [3.0, 0.0], kind=kind, **more, **COMPLEX)


RIGHT: dict[str, tuple[Fun, list[float], list[float]]] = {
    "plain": (lambda x: x[0] ** 2 + x[1] ** 3, [3, 2], [6, 12]),
    "a true zero": (lambda x: x[0] ** 2 + 0 * x[1], [3, 2], [6, 0]),
    "flat to fourth order": (lambda x: x[0] ** 2 + x[1] ** 4, [3, 0], [6, 0]),
    "a cube at 0": (lambda x: x[0] + x[1] ** 3, [3, 0], [1, 0]),
    "a minimum": (lambda x: x[0] ** 2 + (x[1] - 1) ** 2, [1e-12, 1], [2e-12, 0]),
    "real values that lose digits": (lambda x: (1e9 + np.sin(x[0]) - 1e9) + x[1], [1, 2], [math.cos(1), 1]),
    "an offset": (lambda x: 1e9 + np.sin(x[0]) + x[1], [1, 2], [math.cos(1), 1]),
    "steep": (lambda x: np.log(x[0]) + x[1], [1e-3, 2], [1e3, 1]),
    "branches": (lambda x: (x[0] ** 2 if x[0].real > 1 else x[0]) + x[1], [3, 2], [6, 1]),
    "large arguments": (lambda x: np.sin(x[0]) + np.cos(x[1]), [900, -40], [math.cos(900), math.sin(40)]),
}


@pytest.mark.parametrize(("fun", "x", "exact"), RIGHT.values(), ids=RIGHT)
@pytest.mark.parametrize("bounded", [False, True])
def test_a_right_gradient_is_not_doubted(fun: Fun, x: list[float], exact: list[float], bounded: bool) -> None:
    bounds = [(v, v + 1) if k % 2 else (v - 1e-4, v) for k, v in enumerate(x)] if bounded else None
    found = distfd.differentiate(fun, x, bounds=bounds, **COMPLEX)
    np.testing.assert_allclose(found.derivative, exact, rtol=1e-8, atol=1e-15)
    assert not found.warnings


def test_it_costs_one_evaluation_and_two_where_a_component_is_exactly_0() -> None:
    assert distfd.differentiate(RIGHT["plain"][0], [3, 2], **COMPLEX).n_evaluations == 1 + 2 + 1
    assert distfd.differentiate(RIGHT["a true zero"][0], [3, 2], **COMPLEX).n_evaluations == 1 + 2 + 2
    matrix = np.random.default_rng(0).normal(size=(7, 5))
    found = distfd.differentiate(lambda x: np.sin(matrix @ x), np.ones(5), kind="jacobian", **COMPLEX)
    assert found.n_evaluations == 1 + 5 + 1


def test_random_functions_are_told_apart() -> None:
    rng, told, doubted = np.random.default_rng(3), 0, 0
    for k in range(60):
        d = int(rng.integers(1, 6))
        x, matrix, at = (
            rng.normal(size=d) * 10.0 ** rng.uniform(-2, 2, d),
            rng.normal(size=(d, d)),
            int(rng.integers(d)),
        )

        def right(v: Any, matrix: Floats = matrix) -> Any:
            return np.sum(np.sin(matrix @ v)) + np.exp(-np.sum(v * v) / (1 + np.sum(v * v)))

        def wrong(v: Any, at: int = at, k: int = k, right: Fun = right) -> Any:
            return right(v) + (np.abs(v[at]), np.abs(v[at]) ** 2, np.conj(v[at]) ** 2)[k % 3]

        doubted += bool(distfd.differentiate(right, x, on_failure="nan", **COMPLEX).warnings)
        try:
            distfd.gradient(wrong, x, **COMPLEX)
        except EvaluationError:
            told += 1
    assert (told, doubted) == (60, 0)


TINY: dict[str, tuple[Fun, list[float], list[float]]] = {
    "saturation": (lambda x: x[0] / (x[0] + 1e-8) + x[1], [1e-8, 1], [2.5e7, 1]),
    "reaction": (lambda x: 5 * (1 - np.exp(-1e-6 / (x[0] * x[1]))), [1e3, 1e-9], [-1.8393972e-3, -1.8393972e9]),
    "root": (lambda x: np.sqrt(x[0]) + x[1], [1e-14, 2], [5e6, 1]),
}


@pytest.mark.parametrize(("fun", "x", "exact"), TINY.values(), ids=TINY)
def test_a_step_that_is_too_large_is_told_with_a_remedy_that_works(
    fun: Fun, x: list[float], exact: list[float]
) -> None:
    bounds = [(0, None)] * 2
    with pytest.warns(DerivativeWarning, match=r"the step is too large for J along coordinate \d.*AbsoluteStep"):
        distfd.gradient(fun, x, bounds=bounds, **COMPLEX)
    for remedy in ({"step": distfd.AbsoluteStep(1e-30)}, {"scale": [abs(v) for v in x]}):
        found = distfd.differentiate(fun, x, bounds=bounds, **remedy, **COMPLEX)
        np.testing.assert_allclose(found.derivative, exact, rtol=1e-6)
        assert not found.warnings


def test_a_j_without_a_value_at_the_real_point_is_told() -> None:
    def picky(x: Any) -> Any:
        if not np.iscomplexobj(x) and x[0] != 3:
            raise ValueError("not here")
        return x[0] ** 2 + x[1]

    with pytest.warns(DerivativeWarning, match="no value at the real point that was to check it"):
        found = distfd.differentiate(picky, [3.0, 1.0], **COMPLEX)
    np.testing.assert_allclose(found.derivative, [6, 1])


def test_missing_components_do_not_keep_the_others_from_being_checked() -> None:
    def fun(x: Any) -> Any:
        if np.iscomplexobj(x) and x[2].imag:
            raise ValueError("no complex width")
        return x[0] ** 2 + np.abs(x[1]) ** 2 + x[2].real

    with loses("coordinate 1"):
        distfd.gradient(fun, [3.0, 4.0, 1.0], on_failure="nan", **COMPLEX)


def test_fixed_coordinates_are_not_moved_by_the_check() -> None:
    seen: list[Any] = []

    def fun(x: Any) -> Any:
        seen.append(x.copy())
        return x[0] ** 2 + abs(x[1])

    found = distfd.gradient(fun, [3.0, 4.0], bounds=[(0, 3), (4, 4)], **COMPLEX)
    np.testing.assert_allclose(found, [6, 0])
    assert all(x[1] == 4 and x[0].real <= 3 for x in seen)


MASKS = {
    "an empty row": [[1, 1, 0], [0, 1, 1], [0, 0, 0]],
    "a row that moves elsewhere": [[0, 0, 0], [0, 1, 1], [0, 0, 1]],
    "an entry that hides in a group": [[1, 0, 0], [0, 1, 1], [0, 0, 1]],
    "a column of its own": [[1, 1, 0], [0, 0, 1], [0, 0, 1]],
}


@pytest.mark.filterwarnings("ignore:sparsity")
@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_a_mask_that_lacks_an_entry_is_an_error_that_names_it(mask: Any) -> None:
    def fun(x: Any) -> Any:
        return np.array([x[0] * x[1], x[1] + x[2], x[2] ** 2])

    with pytest.raises(InputError, match=r"sparsity: output \d depends on .* the structure lacks some of these"):
        distfd.jacobian(fun, [1.0, 2.0, 0.5], sparsity=mask, **COMPLEX)
    right = distfd.jacobian(fun, [1.0, 2.0, 0.5], sparsity=[[1, 1, 0], [0, 1, 1], [0, 0, 1]], **COMPLEX)
    assert right.toarray().tolist() == [[2, 1, 0], [0, 1, 1], [0, 0, 1]]


@pytest.mark.parametrize("bounded", [False, True])
@pytest.mark.parametrize("d", [1, 2, 5])
def test_hessians_by_the_complex_step_lose_few_digits(d: int, bounded: bool) -> None:
    x = np.linspace(-1, 1.3, d)
    matrix = np.random.default_rng(d).normal(size=(d, d))

    def fun(v: Any) -> Any:
        return np.exp(matrix @ v / 3).sum()

    e = np.exp(matrix @ x / 3) / 9
    exact = matrix.T @ (e[:, None] * matrix)
    bounds = [(v, v + 1) if k % 2 else (v - 1, v) for k, v in enumerate(x)] if bounded else None
    found = distfd.differentiate(fun, x, kind="hessian", bounds=bounds, **COMPLEX)
    np.testing.assert_allclose(found.derivative, exact, rtol=1e-7, atol=1e-9)
    assert found.n_evaluations == 1 + d * d + 2 * d + 4
    assert (found.scheme, found.warnings) == ("complex-step", ())
    v = np.linspace(1, -0.5, d)
    product = distfd.differentiate(fun, x, kind="hvp", v=v, bounds=bounds, **COMPLEX)
    np.testing.assert_allclose(product.derivative, exact @ v, rtol=1e-7, atol=1e-9)


def test_complex_hessians_of_constants_fixed_points_and_zero_directions() -> None:
    fixed = scipy.optimize.Bounds([1.0, 2.0], [1.0, 2.0])
    assert not distfd.hessian(lambda x: x[0] * x[1], [1.0, 2.0], bounds=fixed, **COMPLEX).any()
    assert not distfd.hvp(lambda x: x[0] * x[1], [1.0, 2.0], [0.0, 0.0], **COMPLEX).any()
    half = distfd.hessian(lambda x: x[0] * x[1] + x[1] ** 2, [1.0, 2.0], bounds=[(1, 1), (0, 3)], **COMPLEX)
    np.testing.assert_allclose(half, [[0, 0], [0, 2]], atol=1e-9)


def test_steps_from_the_noise_are_not_for_complex_hessians() -> None:
    kinds: list[tuple[Any, dict[str, Any]]] = [("hessian", {}), ("hvp", {"v": [1.0]})]
    for kind, more in kinds:
        with pytest.raises(InputError, match="complex step does not depend on J's noise"):
            distfd.differentiate(lambda x: x[0] ** 2, [1.0], kind=kind, step="auto", **more, **COMPLEX)


@pytest.mark.parametrize("kind", ["hessian", "hvp"])
@pytest.mark.parametrize("ulps", [1, 4, 16, 1e6])
def test_bounds_of_a_few_spacings_are_told_where_second_derivatives_are_taken(kind: Any, ulps: float) -> None:
    x, width = np.array([1.0, 2.0]), ulps * np.spacing(1.0)
    v: dict[str, Any] = {} if kind == "hessian" else {"v": [1.0, 0.5]}
    bounds = [(1 - width, 1 + width), (2 - 2 * width, 2 + 2 * width)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = distfd.differentiate(
            lambda x: x[0] ** 3 * x[1] + np.exp(x[1]),
            x,
            kind=kind,
            scheme="complex-step",
            bounds=bounds,
            executor="serial",
            **v,
        )
    exact = np.array([[12.0, 3.0], [3.0, np.exp(2)]])
    off = np.abs(result.derivative - (exact if kind == "hessian" else exact @ v["v"])).max()
    told = any("so little room along coordinate 0" in text for text in result.warnings)
    assert told == (ulps < 1e6)
    assert told or off < 1e-5
