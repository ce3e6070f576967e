"""J with several outputs of which some lack a value: per output, as on_failure asks."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import distfd
from distfd.errors import DerivativeWarning, EvaluationError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

X = np.array([1.0, 2.0])
EXACT = np.array([[2.0, 1.0], [0.0, 4.0], [3.0, 0.0]])
WAYS: dict[str, dict[str, Any]] = {
    "forward": {},
    "central": {"scheme": "central"},
    "backward": {"scheme": "backward"},
    "richardson": {"scheme": "richardson"},
    "auto": {"step": "auto"},
    "accuracy": {"accuracy": 1e-5},
    "shi": {"step": distfd.NoiseStep("shi")},
    "gill": {"step": distfd.NoiseStep("gill")},
}
EVERY_WAY = pytest.mark.parametrize("options", WAYS.values(), ids=WAYS)


def walled(x: Floats) -> Floats:
    """The second output ends at x1 = 2."""
    return np.array([x[0] * x[1], x[1] ** 2 if x[1] <= 2 else math.nan, x[0] ** 3])


def holed(x: Floats) -> Floats:
    """The second output is there; one more never is."""
    return np.array([x[0] * x[1], x[1] ** 2, x[0] ** 3, math.inf])


def of(fun: Any, **options: Any) -> Any:
    return distfd.differentiate(fun, X, kind="jacobian", executor="serial", **options)


@EVERY_WAY
def test_under_nan_one_missing_output_is_one_missing_entry(options: dict[str, Any]) -> None:
    found = of(walled, on_failure="nan", **options)
    backward = options.get("scheme") == "backward"
    lost = np.zeros((3, 2), dtype=bool)
    lost[1, 1] = not backward
    assert np.isnan(found.derivative).tolist() == lost.tolist()
    np.testing.assert_allclose(
        found.derivative[~lost], EXACT[~lost], rtol=2e-2 if options == WAYS["gill"] else 5e-3, atol=1e-6
    )
    assert found.missing.tolist() == ([] if backward else [1])
    assert found.missing_entries.tolist() == ([] if backward else [[1, 1]])
    if found.error is not None:
        assert np.isnan(found.error[1, 1])
    if not backward:
        assert "x1 (output 1)" in str(found)


@EVERY_WAY
def test_under_nan_a_datum_that_is_never_there_is_a_row(options: dict[str, Any]) -> None:
    found = of(holed, on_failure="nan", **options)
    assert np.isnan(found.derivative).tolist() == [[False] * 2] * 3 + [[True] * 2]
    np.testing.assert_allclose(found.derivative[:3], EXACT, rtol=2e-2 if options == WAYS["gill"] else 5e-3, atol=1e-6)
    assert found.missing.tolist() == [0, 1]
    assert np.isnan(found.value[3])
    assert np.isfinite(found.value[:3]).all()
    if found.error is not None:
        assert np.all(np.abs(found.derivative - np.vstack((EXACT, [[0, 0]])))[:3] <= 2 * found.error[:3] + 1e-7)


@EVERY_WAY
def test_under_repair_what_can_be_is_repaired(options: dict[str, Any]) -> None:
    found = of(lambda x: np.append(walled(x), math.nan), on_failure="repair", **options)
    np.testing.assert_allclose(found.derivative[:3], EXACT, rtol=2e-2 if options == WAYS["gill"] else 5e-3, atol=1e-6)
    assert np.isnan(found.derivative[3]).all()
    if options.get("scheme") != "backward":
        assert list(found.repaired) == [1]


def test_outputs_that_fail_on_different_sides_are_repaired_each_on_its_own() -> None:
    def fun(x: Floats) -> Floats:
        return np.array([x[0] if x[0] <= 1 else math.nan, x[0] ** 2 if x[0] >= 1 else math.nan, x[1]])

    found = of(fun, on_failure="repair")
    np.testing.assert_allclose(found.derivative, [[1, 0], [2, 0], [0, 1]], atol=1e-6)


@EVERY_WAY
def test_under_raise_the_error_says_which_output(options: dict[str, Any]) -> None:
    with pytest.raises(EvaluationError, match=r"J returned inf at output 3"):
        of(holed, **options)
    if options.get("scheme") != "backward":
        with pytest.raises(EvaluationError, match=r"(?s)coordinate 1.*J returned nan at output 1\n"):
            of(walled, **options)


def test_all_outputs_missing_is_a_failure_as_ever() -> None:
    def fun(x: Floats) -> Floats:
        return np.array([math.nan, math.inf]) if x[1] > 2 else x**2

    found = of(fun, on_failure="nan")
    assert np.isnan(found.derivative).tolist() == [[False, True], [False, True]]
    with pytest.raises(EvaluationError, match="J returned nan at output 0 and 1 more of 2"):
        of(lambda x: x * math.nan, on_failure="nan")


@pytest.mark.parametrize("scheme", ["complex-step"])
def test_complex_points_lack_outputs_too(scheme: Any) -> None:
    def fun(x: Any) -> Any:
        lost = np.iscomplexobj(x) and x[0].imag
        return np.array([x[0] * x[1], complex(1, math.nan) if lost else x[0] ** 2, x[1]])

    found = of(fun, scheme=scheme, on_failure="nan")
    assert np.isnan(found.derivative).tolist() == [[False, False], [True, False], [False, False]]
    np.testing.assert_allclose(found.derivative[[0, 2]], [[2, 1], [0, 1]])
    repaired = of(fun, scheme=scheme, on_failure="repair")
    np.testing.assert_allclose(repaired.derivative, [[2, 1], [2, 0], [0, 1]], atol=1e-8)


@pytest.mark.parametrize("kind", ["jvp", "directional"])
def test_slopes_along_directions_lack_the_output_alone(kind: Any) -> None:
    more: dict[str, Any] = {"v": [1.0, 1.0]} if kind == "jvp" else {"directions": [[1.0, 1.0], [1.0, 0.0]]}
    found = distfd.differentiate(walled, X, kind=kind, on_failure="nan", executor="serial", **more)
    rows = np.atleast_2d(found.derivative)
    assert np.isnan(rows[0]).tolist() == [False, True, False]
    np.testing.assert_allclose(rows[0][[0, 2]], [3, 3], rtol=1e-6)


def test_further_tries_come_first_and_failures_are_counted() -> None:
    calls: list[float] = []

    def fun(x: Floats) -> Floats:
        calls.append(float(x[1]))
        return walled(x)

    found = of(fun, on_failure="nan", retries={"error": 2})
    assert calls.count(max(calls)) == 3
    assert (found.n_failed, found.n_retried) == (1, 2)


def test_values_and_maps_keep_what_there_is() -> None:
    with distfd.Evaluator(holed, executor="serial", on_failure="nan") as ev:
        assert np.isnan(ev.value(X)).tolist() == [False, False, False, True]
        assert np.isnan(ev.map([X, X + 1])).tolist() == [[False, False, False, True]] * 2
        pending = ev.begin(X, kind="jacobian")
        assert np.isnan(pending.value()).tolist() == [False, False, False, True]
        assert np.isnan(pending.result().derivative[3]).all()
    with distfd.Evaluator(holed, executor="serial") as ev, pytest.raises(EvaluationError, match="output 3"):
        ev.value(X)


def test_a_store_does_not_take_a_part_for_a_value(tmp_path: Any) -> None:
    store = tmp_path / "run.sqlite"
    first = of(walled, on_failure="nan", store=store)
    again = of(walled, on_failure="nan", store=store)
    assert np.array_equal(first.derivative, again.derivative, equal_nan=True)
    assert (again.n_reused, again.n_evaluations) == (2, 1), "what failed is tried again"
    with pytest.raises(EvaluationError, match="output 1"):
        of(walled, store=store)


TIMES = np.linspace(0, 1, 9)
DATA = 2 * np.exp(-1.5 * TIMES)


def residuals(p: Floats) -> Floats:
    found: Floats = p[0] * np.exp(p[1] * TIMES) - DATA
    return found


@pytest.mark.parametrize("on_failure", ["nan", "repair"])
@pytest.mark.parametrize(
    "options", [{}, {"method": "lm"}, {"step": "auto"}, {"scheme": "central", "loss": "soft_l1"}, {"method": "dogbox"}]
)
def test_a_fit_leaves_out_data_that_are_missing_and_says_so(on_failure: Any, options: dict[str, Any]) -> None:
    def fun(p: Floats) -> Floats:
        found = residuals(p)
        found[[3, 7]] = math.nan
        return found

    with pytest.warns(
        DerivativeWarning, match=r"no value at outputs 3, 7 of 9 at x0: the fit uses the other 7"
    ) as told:
        found = distfd.least_squares(fun, [1.0, -1.0], on_failure=on_failure, executor="serial", **options)
    assert len(told) == 1
    np.testing.assert_allclose(found.x, [2, -1.5], rtol=1e-5)
    assert found.success
    assert np.flatnonzero(~found.kept).tolist() == [3, 7]
    assert found.fun.shape == (7,)
    assert found.jac.shape == (7, 2)
    assert found.cost == pytest.approx(0.5 * np.sum(found.fun**2), abs=1e-12) or "loss" in options


def test_a_sparse_fit_leaves_them_out_too() -> None:
    def fun(p: Floats) -> Floats:
        return np.array([p[0] - 1, math.nan, p[1] ** 2 - 4, p[2] * p[1] - 1])

    mask = [[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 1, 1]]
    for sparsity in (mask, "probe"):
        with pytest.warns(DerivativeWarning, match="output 1 of 4"):
            found = distfd.least_squares(fun, [0.5, 1.0, 1.0], sparsity=sparsity, on_failure="nan", executor="serial")
        np.testing.assert_allclose(found.x, [1, 2, 0.5], rtol=1e-6)


def test_a_whole_fit_has_all_its_data() -> None:
    found = distfd.least_squares(residuals, [1.0, -1.0], executor="serial")
    assert found.kept.all()
    np.testing.assert_allclose(found.x, [2, -1.5], rtol=1e-6)


def test_a_datum_that_is_lost_on_the_way_is_a_step_refused() -> None:
    def fun(p: Floats) -> Floats:
        found = residuals(p)
        if p[0] > 2.5:
            found[3] = math.nan
        return found

    found = distfd.least_squares(fun, [0.2, 3.0], on_failure="nan", executor="serial")
    np.testing.assert_allclose(found.x, [2, -1.5], rtol=1e-5)
    assert found.fun.shape == (9,)


def test_a_derivative_that_is_missing_for_a_datum_names_it() -> None:
    def fun(p: Floats) -> Floats:
        found = residuals(p)
        if p[0] > 1:
            found[3] = math.nan
        return found

    with pytest.raises(EvaluationError, match=r"number 0 for 1 of J's outputs, the first of them number 3.*repair"):
        distfd.least_squares(fun, [1.0, -1.0], on_failure="nan", executor="serial")
    with pytest.raises(EvaluationError, match="output 3"):
        distfd.least_squares(fun, [1.0, -1.0], executor="serial")
