"""Second derivatives, and slopes of few evaluations, of a J that is rounded: right, or told."""

from __future__ import annotations

import warnings
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import distfd

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

ROUNDINGS: dict[str, Callable[[float], Any]] = {
    "3 decimals of a large number": lambda value: round(1e9 + value, 3),
    "6 decimals": lambda value: round(value, 6),
    "8 decimals": lambda value: round(value, 8),
    "8 digits": lambda value: float(f"{1e3 + value:.8g}"),
    "a large number": lambda value: 1e9 + value,
    "a larger number": lambda value: 1e14 + value,
    "float32": lambda value: np.float32(1e3 + value),
    "float32 of a large number": lambda value: np.float32(1e9 + value),
}


def fun(x: NDArray[np.float64]) -> float:
    return float(np.sin(x[0] + x[2]) + np.sin(2 * x[1]) / 2 + 0.3 * x[0] * x[1] ** 2)


def hessian(x: NDArray[np.float64]) -> NDArray[np.float64]:
    same, mixed = -np.sin(x[0] + x[2]), 0.6 * x[1]
    return np.array([[same, mixed, same], [mixed, -2 * np.sin(2 * x[1]) + 0.6 * x[0], 0], [same, 0, same]])


def slope(x: NDArray[np.float64]) -> NDArray[np.float64]:
    cosine = np.cos(x[0] + x[2])
    return np.array([cosine + 0.3 * x[1] ** 2, np.cos(2 * x[1]) + 0.6 * x[0] * x[1], cosine])


def told(call: Callable[[], Any]) -> tuple[Any, list[str]]:
    """What it returns, and its warnings but the one that names J's type."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = call()
    texts = [str(each.message) for each in caught]
    return np.asarray(found), [text for text in texts if not text.startswith("J's values are float")]


V = np.array([1.0, -0.5, 0.7])
KINDS: dict[str, tuple[Callable[..., Any], Callable[[NDArray[np.float64]], Any]]] = {
    "hessian": (distfd.hessian, hessian),
    "hvp": (lambda J, x, **options: distfd.hvp(J, x, V, **options), lambda x: hessian(x) @ V),
    "jvp": (lambda J, x, **options: distfd.jvp(J, x, V, **options), lambda x: slope(x) @ V),
}


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("rounding", list(ROUNDINGS))
def test_a_wrong_one_is_told_without_a_point_more(kind: str, rounding: str) -> None:
    take, exact = KINDS[kind]
    rng = np.random.default_rng(11)
    for _ in range(12):
        x = rng.uniform(-2, 2, 3)
        found, texts = told(partial(take, lambda y: ROUNDINGS[rounding](fun(y)), x, executor="serial", check=False))
        right = np.asarray(exact(x))
        if np.abs(found - right).max() > 0.1 * np.abs(right).max():
            assert texts, f"{found} for {right} at {x}"


def test_a_hessian_of_half_precision_is_told() -> None:
    _, texts = told(lambda: distfd.hessian(lambda y: np.float16(fun(y)), [0.4, 1.2, 0.7], executor="serial"))
    assert "second differences along coordinate 0" in texts[0]


@pytest.mark.parametrize("kind", list(KINDS))
def test_nothing_is_told_of_a_j_with_all_its_digits(kind: str) -> None:
    take, exact = KINDS[kind]
    rng = np.random.default_rng(12)
    for _ in range(12):
        x = rng.uniform(-2, 2, 3)
        found, texts = told(partial(take, fun, x, executor="serial"))
        np.testing.assert_allclose(found, exact(x), atol=1e-3)
        assert not texts


def test_a_linear_j_has_no_curvature_and_nothing_is_told() -> None:
    found, texts = told(lambda: distfd.hessian(lambda x: float(x @ V), [0.4, 1.2, 0.7], executor="serial"))
    assert np.abs(found).max() < 1e-3
    assert not texts


def test_a_saddle_has_curvature_where_no_coordinate_alone_moves_j() -> None:
    found, texts = told(lambda: distfd.hessian(lambda x: float(x[0] * x[1]), [0.0, 0.0], executor="serial"))
    np.testing.assert_allclose(found, [[0, 1], [1, 0]], atol=1e-6)
    assert not texts


def test_a_coordinate_that_j_does_not_heed_is_named_as_in_a_gradient() -> None:
    found, texts = told(lambda: distfd.hessian(lambda x: float(np.exp(x[0])), [0.3, 2.0], executor="serial"))
    np.testing.assert_allclose(found, [[np.exp(0.3), 0], [0, 0]], atol=1e-4)
    assert len(texts) == 1
    assert texts[0].startswith("J did not change at all along coordinate 1:")


@pytest.mark.parametrize(
    "rounding", [np.float16, lambda value: float(np.float16(value)), lambda value: round(value, 3)]
)
def test_the_bar_of_auto_covers_digits_that_never_change(rounding: Callable[[float], Any]) -> None:
    """A slope of -0.024 beside slopes of 1: J in half precision is the same number wherever auto looks first."""

    def rounded(x: NDArray[np.float64]) -> Any:
        return rounding(float(np.exp(x[0]) * np.sin(x[1])))

    x, v = np.array([0.4, 1.1]), np.array([1.0, -2.0])
    exact = float(np.exp(0.4) * (np.sin(1.1) - 2 * np.cos(1.1)))
    with distfd.Evaluator(rounded, step="auto", executor="serial") as evaluator:
        found = evaluator.differentiate(x, kind="directional", directions=[v])
    assert found.error is not None
    assert abs(float(np.ravel(found.derivative)[0]) - exact) <= float(np.ravel(found.error)[0])
