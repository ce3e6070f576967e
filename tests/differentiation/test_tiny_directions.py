"""Steps from the noise along several coordinates at once, where a coordinate is tiny."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest

import distfd


def saturation(x: Any) -> float:
    return float(x[0] / (x[0] + 1e-8))


def outputs(x: Any) -> Any:
    return np.array([saturation(x), np.sin(x[1])])


X, SLOPE = [1e-8, 0.7], 2.5e7
KINDS: list[tuple[dict[str, Any], Any]] = [
    ({"kind": "jvp", "v": [1.0, 0.0]}, [SLOPE, 0.0]),
    ({"kind": "directional", "directions": [[1.0, 0.0], [0.0, 1.0]]}, [[SLOPE, 0.0], [0.0, np.cos(0.7)]]),
    ({"kind": "jacobian", "sparsity": [[1, 0], [0, 1]]}, [[SLOPE, 0.0], [0.0, np.cos(0.7)]]),
    ({"kind": "jacobian"}, [[SLOPE, 0.0], [0.0, np.cos(0.7)]]),
]


@pytest.mark.parametrize("options", [{"step": "auto"}, {"accuracy": 1e-3}], ids=["auto", "accuracy"])
@pytest.mark.parametrize(("kind", "exact"), KINDS, ids=["jvp", "directional", "sparse", "dense"])
def test_first_derivatives(kind: dict[str, Any], exact: Any, options: dict[str, Any]) -> None:
    found = distfd.differentiate(outputs, X, executor="serial", **kind, **options)
    derivative: Any = found.derivative
    derivative = derivative.toarray() if hasattr(derivative, "toarray") else derivative
    np.testing.assert_allclose(derivative, exact, rtol=1e-3, atol=1e-6)


def bent(p: Any) -> float:
    """It changes over x's own size; it is finite at distances of 1, and almost flat there."""
    return float(np.log1p(p[0] / 1e-8) * np.arctan(p[1]) + np.tanh(p[1]))


def steep(x: Any) -> float:
    return float(np.exp(1e6 * x[0]))


T, S = np.arctan(0.7), np.tanh(0.7)
BENT = np.array(
    [
        [-T / 2e-8**2, 1 / 2e-8 / 1.49],
        [1 / 2e-8 / 1.49, -np.log(2) * 1.4 / 1.49**2 - 2 * S * (1 - S**2)],
    ]
)


@pytest.mark.parametrize("options", [{"step": "auto"}, {"accuracy": 1e-3}], ids=["auto", "accuracy"])
def test_second_derivatives(options: dict[str, Any]) -> None:
    found = distfd.differentiate(bent, X, kind="hessian", executor="serial", **options)
    np.testing.assert_allclose(found.derivative, BENT, rtol=1e-3)
    assert not (np.abs(found.derivative - BENT) > found.error).any()
    v = np.array([1e-8, 1.0])
    product = distfd.differentiate(bent, X, kind="hvp", v=v, executor="serial", **options)
    np.testing.assert_allclose(product.derivative, BENT @ v, rtol=1e-3)
    np.testing.assert_allclose(
        distfd.hvp(steep, [1e-6], [1.0], executor="serial", **options), [1e12 * math.e], rtol=1e-4
    )


@pytest.mark.parametrize("kind", [{"kind": "jvp", "v": [1.0]}, {"kind": "hvp", "v": [1.0]}])
def test_where_j_has_the_usual_scale_the_bars_hold(kind: dict[str, Any]) -> None:
    found = distfd.differentiate(lambda x: float(np.exp(x[0])), [1e-8], step="auto", executor="serial", **kind)
    assert found.error is None or not (np.abs(found.derivative - np.exp(1e-8)) > found.error).any()


def valley(p: Any) -> float:
    return float(100 * (np.exp(-p[0]) - 0.3) ** 2 + np.cosh(p[1]) * p[0])


SLOPE_OF_VALLEY = np.array([-200 * (np.exp(-1) - 0.3) * np.exp(-1) + np.cosh(1), np.sinh(1)]) @ [1.0, 0.5]


@pytest.mark.parametrize("scheme", ["forward", "backward", "central", "forward2", "central4"])
@pytest.mark.parametrize("width", [1e-8, 1e-10, 1e-12, 1e-13, 1e-14, 3e-15, 1e-15])
def test_directions_whose_bounds_are_a_few_spacings_wide_are_right_or_told(width: float, scheme: Any) -> None:
    """Rounding hides J's change along such a coordinate, or turns the step away from its direction."""
    bounds = [(1 - width / 2, 1 + width / 2), (None, None)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = distfd.differentiate(
            valley,
            [1.0, 1.0],
            kind="directional",
            directions=[[1.0, 0.5]],
            scheme=scheme,
            bounds=bounds,
            executor="serial",
        )
    assert found.warnings or abs(found.derivative[0] / SLOPE_OF_VALLEY - 1) < 0.1
    assert bool(found.warnings) <= (width < 1e-12), "wider ones are right, without a warning"
    assert found.warnings or width > 1e-15
