"""Derivatives that are wrong, found by people who looked for them, each have a word or an error bar that says so."""

from __future__ import annotations

import functools
import math
import re
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import distfd

if TYPE_CHECKING:
    from collections.abc import Callable

    from distfd import DerivativeResult

TIGHT = 1e-6
"""A length on which J changes, far below 1."""


def found(fun: Callable[[Any], Any], x: Any, **options: Any) -> DerivativeResult:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", distfd.DerivativeWarning)
        return distfd.differentiate(fun, x, executor="serial", **options)


def with_offset(offset: float) -> Callable[[Any], float]:
    return lambda x: float(offset + 5 * np.tanh(x[0] / TIGHT - 0.2) + x[1] ** 2)


@pytest.mark.parametrize("offset", [0.0, 100.0, 1e3])
@pytest.mark.parametrize("scheme", ["forward", "central", "central4", "richardson", "forward2"])
@pytest.mark.parametrize("kind", ["gradient", "hessian"])
def test_an_offset_does_not_hide_that_a_step_is_too_large(kind: Any, scheme: Any, offset: float) -> None:
    if (kind, scheme) == ("gradient", "forward"):
        pytest.skip("its step is small enough")
    result = found(with_offset(offset), [TIGHT, 1.0], kind=kind, scheme=scheme, check=False)
    assert "the default step is not small against coordinate 0" in " ".join(result.warnings)


def test_nor_does_another_output() -> None:
    result = found(
        lambda x: np.array([5 * np.tanh(x[0] / 2e-9), 101325.0 * x[1]]),
        [1e-9, 1.0],
        kind="jacobian",
        scheme="central",
        check=False,
    )
    assert "the default step is not small against coordinate 0" in " ".join(result.warnings)


BUMP: list[dict[str, Any]] = [
    {"kind": "jvp", "v": [1.0, 1.0]},
    {"kind": "directional", "directions": [[1.0, 1.0], [0.0, 1.0]]},
    {"kind": "jacobian", "sparsity": np.eye(2)},
    {"kind": "jacobian"},
]


@pytest.mark.parametrize("scheme", ["forward", "central", "central4", "richardson"])
@pytest.mark.parametrize("what", BUMP, ids=str)
def test_a_bump_within_the_step(what: dict[str, Any], scheme: Any) -> None:
    """The differences of a central scheme are 0 although J changes by its own size."""
    result = found(
        lambda x: np.array([5 * np.exp(-((x[0] / 2e-9) ** 2)), x[1] ** 2]),
        [1e-9, 1.0],
        scheme=scheme,
        check=False,
        **what,
    )
    assert "the default step is not small against coordinate 0" in " ".join(result.warnings)


LINEAR: list[dict[str, Any]] = [
    {},
    {"kind": "hessian"},
    {"kind": "hvp", "v": [1.0, 1.0]},
    {"kind": "jvp", "v": [1.0, 1.0]},
    {"kind": "directional", "directions": [[1.0, 1.0], [1.0, 2.0]]},
]


@pytest.mark.parametrize("x", [[1e-9, 1.0], [1e-12, 1e-10], [0.0, 1.0]], ids=str)
@pytest.mark.parametrize("scheme", ["forward", "central", "central4", "richardson", "forward2", "complex-step"])
@pytest.mark.parametrize("what", LINEAR, ids=str)
def test_a_j_of_scale_1_beside_0_is_not_doubted(what: dict[str, Any], scheme: Any, x: list[float]) -> None:
    if scheme == "complex-step" and what.get("kind") in ("hessian", "hvp"):
        pytest.skip("there are no complex steps for it")
    result = found(lambda x: 1 + 3 * x[0] + x[0] * x[1] + x[1] ** 2, x, scheme=scheme, check=False, **what)
    assert not [text for text in result.warnings if "not small" in text or "not smooth" in text]


@pytest.mark.parametrize("structure", [np.array([[1, 0, 1], [0, 1, 1]]), "probe"], ids=["given", "probed"])
def test_nor_are_columns_that_move_together(structure: Any) -> None:
    result = found(
        lambda x: np.array([1 + x[0] + 1e4 * x[2] ** 2, x[1] + x[2]]),
        [1e-9, 40.0, 3.0],
        kind="jacobian",
        sparsity=structure,
        check=False,
    )
    assert not result.warnings


KINKS: dict[str, tuple[Callable[[Any], float], list[float], float]] = {
    "at x": (lambda x: max(x[0] - 1, 0.0) + x[1] ** 2, [1.0, 1.0], 1.0),
    "a hair beside x": (lambda x: abs(x[0] - 1) + x[1] ** 2, [1 + 1e-9, 1.0], 1.0),
    "of a clip": (lambda x: float(np.clip(x[0], 0, 1)) + x[1] ** 2, [1 - 1e-6, 1.0], 1.0),
}


@pytest.mark.parametrize("scheme", ["central4", "richardson"])
@pytest.mark.parametrize("kink", KINKS.values(), ids=KINKS)
def test_a_kink(kink: tuple[Callable[[Any], float], list[float], float], scheme: Any) -> None:
    fun, x, exact = kink
    result = found(fun, x, scheme=scheme, check=False)
    assert "J is not smooth over the step along coordinate 0:" in " ".join(result.warnings)
    if scheme == "richardson":
        assert result.error is not None
        assert abs(result.derivative[0] - exact) <= 1.001 * result.error[0]
        assert result.error[1] < 1e-5


@pytest.mark.parametrize(
    ("fun", "x"),
    [
        (lambda x: abs(x[0] - 1) + x[1] ** 2, [1.001, 1.0]),
        (lambda x: float(x[0] >= 1) + x[0] + x[1] ** 2, [0.999, 1.0]),
        (lambda x: math.sin(x[0] / 2.5e-3 + 0.3) + 0.5 * (x[0] / 2.5e-3) ** 2 + x[1] + 1000, [1e-3, 1.0]),
    ],
    ids=["a kink between the points", "a jump", "a short scale"],
)
def test_the_bar_of_richardson_holds_where_j_is_not_smooth(fun: Callable[[Any], float], x: list[float]) -> None:
    exact = {1.001: 1.0, 0.999: 1.0, 1e-3: math.cos(0.7) / 2.5e-3 + 1e-3 / 2.5e-3**2}[x[0]]
    result = found(fun, x, scheme="richardson", check=False)
    assert result.error is not None
    assert abs(result.derivative[0] - exact) <= result.error[0]


SMOOTH: dict[str, tuple[Callable[[Any], float], list[float]]] = {
    "a minimum": (lambda x: float((x - 1) @ (x - 1)), [1.0, 1.0]),
    "flat to fourth order": (lambda x: float(x[0] ** 4 + x[1] ** 2), [0.0, 1.0]),
    "odd": (lambda x: float(np.sin(x[0]) + x[1] ** 3), [0.0, 0.0]),
    "linear with an offset": (lambda x: 1e9 + float(x @ [1.0, 2.0]), [1.0, 2.0]),
    "no dependence": (lambda x: float(np.exp(x[0])), [1.0, 2.0]),
    "exponential": (lambda x: float(np.exp(3 * x[0]) * x[1] ** 2), [1.0, 2.0]),
}


@pytest.mark.parametrize("scheme", ["central4", "richardson"])
@pytest.mark.parametrize("smooth", SMOOTH.values(), ids=SMOOTH)
def test_a_smooth_j_is_not_doubted(smooth: tuple[Callable[[Any], float], list[float]], scheme: Any) -> None:
    result = found(*smooth, scheme=scheme, check=False)
    assert "not smooth" not in " ".join(result.warnings)


@pytest.mark.parametrize("options", [{"accuracy": 0.01}, {"accuracy": 1e-3, "step": "auto"}], ids=str)
@pytest.mark.parametrize(
    ("fun", "x"),
    [
        (lambda x: float(np.tanh(1000 * (x[0] - 3)) + 3 * x[0]), [3.0]),
        (lambda x: float(1 / (1 + np.exp(-1000 * (x[0] - 1))) + x[1] + x[2]), [1.0, 1.0, 1.0]),
    ],
    ids=["tanh", "logistic"],
)
def test_accuracy_compares_scales_as_auto_does(fun: Any, x: list[float], options: dict[str, Any]) -> None:
    result = found(fun, x, check=False, **options)
    assert "J looks different at two scales" in " ".join(result.warnings)
    exact = {1: 1003.0, 3: 250.0}[len(x)]
    assert result.error is not None
    assert abs(result.derivative[0] - exact) < result.error[0]


@pytest.mark.parametrize("size", [1e-9, 1e-5, 1.0, 1e5])
@pytest.mark.parametrize("options", [{"accuracy": 0.01}, {"accuracy": 1e-4}, {"step": "auto"}], ids=str)
def test_a_direction_of_any_length_has_the_same_points(size: float, options: dict[str, Any]) -> None:
    far = []

    def fun(x: Any) -> float:
        far.append(abs(x[0] - 1))
        return float(np.exp(x[0]))

    result = found(fun, [1.0], kind="jvp", v=[size], check=False, **options)
    assert result.derivative / size == pytest.approx(math.e, rel=1e-4)
    assert max(far) < 0.2


@pytest.mark.parametrize("method", ["gill", "shi"])
def test_steps_by_noise_that_show_no_change(method: Any) -> None:
    table = np.arange(0.0, 1.01, 0.01)

    def nearest(x: Any) -> float:
        return float(table[np.abs(table - x[0]).argmin()] ** 2 + np.sin(x[1]))

    result = found(nearest, [0.511, 1.0], step=distfd.NoiseStep(method), check=False)
    if result.derivative[0] == 0:
        assert "J did not change at all along coordinate 0" in " ".join(result.warnings)
    else:
        assert result.error is not None
        assert abs(result.derivative[0] - 1.02) < 3 * result.error[0]


@pytest.mark.parametrize(
    ("fun", "x"),
    [
        (lambda x: 5 * math.exp(-((x[0] / 1e-4 - 0.4) ** 2)) + 0.1 * x[0] / 1e-4 * x[1] + x[1] ** 3, [0.0, 1.3]),
        (lambda x: 5 * math.atan(x[0] / 3e-3) + x[1] ** 2 + 0.1 * x[0] / 3e-3 * x[1], [3e-3, 1.0]),
        (lambda x: abs(x[0]) + x[1] ** 2, [0.0, 1.0]),
    ],
    ids=["a bump", "an arc tangent", "a kink"],
)
def test_a_hessian_by_steps_beyond_the_scale_of_j(fun: Callable[[Any], float], x: list[float]) -> None:
    result = found(fun, x, kind="hessian", step="auto", check=False)
    assert re.search("J looks different at two scales|J is not smooth over the step", " ".join(result.warnings))


@pytest.mark.parametrize("what", [{"kind": "hessian"}, {"kind": "hvp", "v": [1.0, 2.0]}], ids=str)
@pytest.mark.parametrize("noise", [0.0, 1e-6])
def test_a_smooth_hessian_is_not_doubted(what: dict[str, Any], noise: float) -> None:
    rng = np.random.default_rng(0)
    smooth: list[tuple[Callable[[Any], float], list[float]]] = [
        (lambda x: float(np.exp(x[0]) * x[1] ** 2), [1.0, 2.0]),
        (lambda x: float((x - 1) @ (x - 1)), [1.0, 1.0]),
        (lambda x: float(np.cos(x[0]) + np.sin(x[1])), [math.pi / 2, 0.0]),
        (lambda x: float(x[0] ** 4 + x[1] ** 4), [0.0, 1.0]),
    ]
    for fun, x in smooth:
        noisy = functools.partial(lambda fun, x: fun(x) + noise * float(rng.normal()), fun)
        result = found(noisy, x, step="auto", check=False, **what)
        assert not re.search("two scales|not smooth", " ".join(result.warnings))
