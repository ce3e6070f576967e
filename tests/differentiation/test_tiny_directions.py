"""Steps from the noise along several coordinates at once, where a coordinate is tiny."""

from __future__ import annotations

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


def test_a_product_with_the_hessian_is_doubted_and_right_with_a_scale() -> None:
    def steep(x: Any) -> float:
        return float(np.exp(1e6 * x[0]))

    with pytest.warns(distfd.DerivativeWarning, match="along coordinate 0"):
        distfd.hvp(steep, [1e-6], [1.0], step="auto", executor="serial")
    found = distfd.hvp(steep, [1e-6], [1.0], step="auto", scale=[1e-6], executor="serial")
    np.testing.assert_allclose(found, [1e12 * np.e], rtol=1e-5)


@pytest.mark.parametrize("kind", [{"kind": "jvp", "v": [1.0]}, {"kind": "hvp", "v": [1.0]}])
def test_where_j_has_the_usual_scale_the_bars_hold(kind: dict[str, Any]) -> None:
    found = distfd.differentiate(lambda x: float(np.exp(x[0])), [1e-8], step="auto", executor="serial", **kind)
    assert found.error is None or not (np.abs(found.derivative - np.exp(1e-8)) > found.error).any()
