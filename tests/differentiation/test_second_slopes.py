"""Hessians, products, slopes and sparse Jacobians with steps from the noise: values, error bars, and what they cost."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy.optimize import rosen, rosen_hess

import distfd
from distfd.errors import DerivativeWarning, InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

SERIAL: dict[str, Any] = {"executor": "serial"}
X = np.array([1.0, 0.5])
EXACT = np.array([[200 * (2 * math.exp(-2) - 0.3 * math.exp(-1)), math.sinh(0.5)], [math.sinh(0.5), math.cosh(0.5)]])
AT = np.array([0.3, 1.2, -0.7, 2.0])


def well(p: Floats) -> float:
    return float(100 * (np.exp(-p[0]) - 0.3) ** 2 + np.cosh(p[1]) * p[0])


def noisy(fun: Callable[[Floats], Any], level: float, seed: int) -> Callable[[Floats], Any]:
    rng = np.random.default_rng(seed)

    def rough(x: Floats) -> Any:
        value = fun(x)
        return value + level * rng.normal(size=np.shape(value))

    return rough


def outputs(x: Floats) -> Floats:
    return np.array([np.sin(x[0]) * x[1], np.exp(x[1] / 2) + x[2], x[2] ** 3, x[0] + x[3] ** 2])


def slopes(x: Floats) -> Floats:
    return np.array(
        [
            [np.cos(x[0]) * x[1], np.sin(x[0]), 0, 0],
            [0, np.exp(x[1] / 2) / 2, 1, 0],
            [0, 0, 3 * x[2] ** 2, 0],
            [1, 0, 0, 2 * x[3]],
        ]
    )


MASK = slopes(AT) != 0


@pytest.mark.parametrize("level", [0.0, 1e-10, 1e-6, 1e-4])
def test_the_error_of_a_hessian_holds_it_and_is_worth_something(level: float) -> None:
    inside, widths = [], []
    for seed in range(10):
        found = distfd.differentiate(noisy(well, level, seed), X, kind="hessian", step="auto", **SERIAL)
        inside.append(np.abs(found.derivative - EXACT) <= found.error)
        widths.append(found.error[0, 0])
        assert np.array_equal(found.error, found.error.T)
        assert found.n_evaluations <= 13 + 12 + 20 * 2 + 3 * 4
    assert np.mean(inside) >= 0.9
    # What the best step would leave: (noise J'''')^(1/2), a few times over.
    assert np.median(widths) < 60 * math.sqrt(max(level, 1e-15) * 1e3)


def test_noise_that_ruins_fixed_steps_leaves_an_error_that_says_so() -> None:
    rough = noisy(well, 1e-6, 0)
    assert np.abs(distfd.hessian(rough, X, **SERIAL) - EXACT).max() > 10
    found = distfd.differentiate(rough, X, kind="hessian", step="auto", **SERIAL)
    assert np.abs(found.derivative - EXACT).max() < 0.05
    assert (found.error < 0.1).all()
    assert found.scheme == "auto"
    assert found.noise == pytest.approx(1e-6, rel=0.8)


def test_noise_that_hides_a_hessian_is_a_warning() -> None:
    with pytest.warns(DerivativeWarning, match="noise above the signal: the derivative along coordinate 1"):
        distfd.hessian(noisy(lambda p: float(np.cos(p[0] * 2)) + 1e-9 * p[1] ** 2, 1e-6, 3), X, step="auto", **SERIAL)


@pytest.mark.parametrize(
    "options",
    [
        {"accuracy": 1e-3},
        {"accuracy": 1e-3, "step": 1e-3},
        {"scheme": "richardson"},
        {"step": distfd.NoiseStep(noise=1e-9)},
    ],
)
@pytest.mark.parametrize("kind", ["hessian", "hvp"])
def test_accuracy_richardson_and_a_known_noise_have_error_bars_too(options: dict[str, Any], kind: Any) -> None:
    more: dict[str, Any] = {"v": [1.0, -2.0]} if kind == "hvp" else {}
    exact = EXACT @ [1.0, -2.0] if kind == "hvp" else EXACT
    found = distfd.differentiate(well, X, kind=kind, **more, **options, **SERIAL)
    assert np.all(np.abs(found.derivative - exact) <= found.error)
    np.testing.assert_allclose(found.derivative, exact, rtol=1e-5)
    if "step" in options and "accuracy" in options:
        np.testing.assert_allclose(found.step, 1e-3 * X, rtol=1e-6)


@pytest.mark.parametrize("kind", ["hessian", "hvp"])
@pytest.mark.parametrize("method", ["shi", "gill"])
def test_searches_for_first_derivatives_name_what_serves_for_second(kind: Any, method: str) -> None:
    more: dict[str, Any] = {"v": X} if kind == "hvp" else {}
    with pytest.raises(InputError, match=r"is only for first derivatives.*use step='auto'"):
        distfd.differentiate(well, X, kind=kind, step=distfd.NoiseStep(method), **more, **SERIAL)


@pytest.mark.parametrize("kind", ["hessian", "hvp"])
def test_auto_keeps_to_bounds(kind: Any) -> None:
    x = np.linspace(-1, 1.3, 4)
    bounds = [(v, v + 1) if k % 2 else (v - 1, v + 1e-3) for k, v in enumerate(x.tolist())]
    lower, upper = np.array(bounds).T
    v = np.array([1.0, -1.0, 0.5, 2.0])

    def watched(p: Floats) -> float:
        assert np.all((lower <= p) & (p <= upper))
        return float(rosen(p))

    more: dict[str, Any] = {"v": v} if kind == "hvp" else {}
    found = distfd.differentiate(watched, x, kind=kind, step="auto", bounds=bounds, **more, **SERIAL)
    exact = rosen_hess(x) @ v if kind == "hvp" else rosen_hess(x)
    np.testing.assert_allclose(found.derivative, exact, atol=0.05)
    assert np.mean(np.abs(found.derivative - exact) <= found.error) > 0.9


@pytest.mark.parametrize("kind", ["hessian", "hvp"])
def test_auto_where_nothing_moves_and_in_one_dimension(kind: Any) -> None:
    more: dict[str, Any] = {"v": [1.0, 1.0]} if kind == "hvp" else {}
    found = distfd.differentiate(well, X, kind=kind, step="auto", bounds=[(1, 1), (0.5, 0.5)], **more, **SERIAL)
    assert (found.n_evaluations, float(np.abs(found.derivative).max())) == (1, 0.0)
    more = {"v": [2.0]} if kind == "hvp" else {}
    one = distfd.differentiate(lambda p: math.exp(p[0]), [0.3], kind=kind, step="auto", **more, **SERIAL)
    assert np.ravel(one.derivative)[0] == pytest.approx((2 if kind == "hvp" else 1) * math.exp(0.3), rel=1e-7)
    if kind == "hvp":
        none = distfd.differentiate(well, X, kind="hvp", v=[0.0, 0.0], step="auto", **SERIAL)
        assert not none.derivative.any()
        assert not none.error.any()


def test_a_hessian_with_missing_points_lacks_their_entries() -> None:
    def hull(p: Floats) -> float:
        return math.nan if p[0] > 1 else well(p)

    found = distfd.differentiate(hull, X, kind="hessian", step="auto", on_failure="nan", **SERIAL)
    assert found.missing.tolist() == [0, 1], "each has an entry without a value"
    assert np.isnan(found.derivative).tolist() == [[True, True], [True, False]]
    assert found.derivative[1, 1] == pytest.approx(EXACT[1, 1], rel=1e-5)


BOUNDS: dict[str, Any] = {
    "free": None,
    "upper": [(v - 1, v) for v in AT],
    "corner": [(AT[0], 9), (-9, AT[1]), (AT[2] - 1e-5, 9), (AT[3] - 3, AT[3] + 1e-7)],
}


@pytest.mark.parametrize("bounds", BOUNDS.values(), ids=BOUNDS)
@pytest.mark.parametrize("options", [{"step": "auto"}, {"accuracy": 1e-4}], ids=["auto", "accuracy"])
@pytest.mark.parametrize("level", [0.0, 1e-6])
def test_slopes_products_and_sparse_jacobians_have_errors_that_hold(
    level: float, options: dict[str, Any], bounds: Any
) -> None:
    exact, ways = slopes(AT), np.random.default_rng(1).normal(size=(3, 4))
    wanted: list[tuple[Any, dict[str, Any], Floats]] = [
        ("jacobian", {"sparsity": MASK}, exact),
        ("directional", {"directions": ways}, ways @ exact.T),
        ("jvp", {"v": ways[0]}, exact @ ways[0]),
    ]
    for kind, particulars, right in wanted:
        found: Any = distfd.differentiate(
            noisy(outputs, level, 5), AT, kind=kind, bounds=bounds, **particulars, **options, **SERIAL
        )
        value, error = (part.toarray() if kind == "jacobian" else part for part in (found.derivative, found.error))
        assert value.shape == error.shape == right.shape
        known = ~np.isnan(error)
        assert np.mean(np.abs(value - right)[known] <= error[known] + 1e-300) > 0.8
        assert np.abs(value - right).max() < (1e-6 if level == 0 else 0.1)


@pytest.mark.parametrize("method", ["shi", "gill"])
def test_the_searches_of_the_literature_go_along_directions_and_groups(method: str) -> None:
    step = distfd.NoiseStep(method)
    # One output at a time: these searches take one step for all outputs.
    first = distfd.differentiate(lambda x: outputs(x)[0], AT, kind="jvp", v=[1, 1, 0, 0], step=step, **SERIAL)
    assert first.derivative == pytest.approx(slopes(AT)[0, :2].sum(), abs=1e-3)
    sparse = distfd.jacobian(lambda x: x**2, AT, sparsity=np.eye(4), step=step, **SERIAL)
    np.testing.assert_allclose(sparse.toarray(), np.diag(2 * AT), atol=1e-3)


def test_a_group_of_three_thousand_columns_costs_what_one_coordinate_does() -> None:
    x = np.linspace(0.5, 1.5, 3000)
    found = distfd.differentiate(lambda p: p**3, x, kind="jacobian", sparsity=distfd_eye(3000), step="auto", **SERIAL)
    assert found.n_evaluations <= 42
    np.testing.assert_allclose(found.derivative.diagonal(), 3 * x**2, rtol=1e-7)


def distfd_eye(d: int) -> Any:
    import scipy.sparse as sp

    return sp.eye_array(d, format="csr")


def test_probing_and_steps_from_the_noise_do_not_go_together() -> None:
    with pytest.raises(InputError, match=r"'probe' would mistake noise for entries.*give a mask"):
        distfd.jacobian(outputs, AT, sparsity="probe", step="auto", **SERIAL)


def test_an_entry_that_a_mask_lacks_is_told_under_auto_too() -> None:
    mask = MASK.copy()
    mask[2] = False
    with pytest.warns(DerivativeWarning, match=r"output 2 changes where .*coordinate 2.* moved"):
        distfd.jacobian(outputs, AT, sparsity=mask, step="auto", **SERIAL)


def test_directions_that_do_not_move_are_exactly_0() -> None:
    found = distfd.differentiate(
        lambda x: x[0] ** 2 + x[1],
        [1.0, 2.0],
        kind="directional",
        directions=[[1, 0], [0, 0], [1, 1]],
        step="auto",
        **SERIAL,
    )
    np.testing.assert_allclose(found.derivative, [2, 0, 3], rtol=1e-9)
    assert (found.error[1], found.step[1]) == (0, 0)
    assert found.missing.tolist() == []


@pytest.mark.parametrize("kind", ["directional", "jvp"])
def test_auto_along_directions_costs_two_points_each_and_the_lines(kind: Any) -> None:
    more: dict[str, Any] = {"directions": np.eye(4)[:3]} if kind == "directional" else {"v": np.ones(4)}
    found = distfd.differentiate(lambda x: float(np.exp(x).sum()), AT, kind=kind, step="auto", **more, **SERIAL)
    p = 3 if kind == "directional" else 1
    assert 13 + 2 * p <= found.n_evaluations <= 4 * p + 38
