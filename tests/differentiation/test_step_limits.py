"""Steps too coarse for x, and differences that are lost in J's rounding, are told; what is in order is not."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import scipy.optimize
from numpy.testing import assert_allclose
from problems import PROBLEMS
from solving import drive, plan, quiet, told
from tiny_coordinates import DECAY_GRADIENT, DECAY_X, decay, saturation, steep

import distfd
from distfd.core.errors import DerivativeWarning

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

COARSE, LOST = "default step is not small", "rounding hides"


TINY = {
    "decay": (decay, DECAY_X, DECAY_GRADIENT, 1),
    "saturation": (saturation, [1e-8], np.array([2.5e7]), 0),
    "steep": (steep, [2e-12], np.array([2e12]), 0),
    "bounds": (lambda x: np.exp(1e9 * x[0]), [0.0], np.array([1e9]), 0),
}


@pytest.mark.parametrize("scheme", ["forward", "backward", "central", "forward2", "central4"])
@pytest.mark.parametrize("case", list(TINY))
def test_a_default_step_that_is_not_small_is_told_and_each_remedy_works(case: str, scheme: Any) -> None:
    fun, x, exact, k = TINY[case]
    bounds = [(0, 1e-9)] if case == "bounds" else None
    result = quiet(fun, x, scheme=scheme, bounds=bounds)
    if np.allclose(result.derivative, exact, rtol=0.01, atol=0):
        return  # bounds have shortened the step enough
    assert told(result, COARSE, f"coordinate {k}")
    size = [float(at) or 1e-9 for at in x]
    scaled = distfd.differentiate(fun, x, scheme=scheme, scale=size, bounds=bounds, executor="serial")
    assert_allclose(scaled.derivative, exact, rtol=1e-5)
    assert not told(scaled, COARSE)
    found = distfd.differentiate(fun, x, step="auto", bounds=bounds, executor="serial")
    assert_allclose(found.derivative, exact, rtol=1e-6)
    if case != "bounds":  # a relative step at 0 is none
        r = float(next(t for t in result.warnings if COARSE in t).partition("(step=")[2].partition(")")[0])
        relative = distfd.differentiate(fun, x, scheme=scheme, step=r, executor="serial")
        assert_allclose(relative.derivative, exact, rtol=1e-5)


def test_the_default_steps_are_scipys_all_the_same() -> None:
    result = quiet(decay, DECAY_X)
    expected = scipy.optimize.approx_fprime(np.array(DECAY_X), decay, np.array([1e3, 1.0]) * 2.0**-26)
    assert result.derivative.tolist() == expected.tolist()


def test_the_complex_step_is_told_too() -> None:
    result = quiet(saturation, [1e-9], scheme="complex-step")
    assert len(result.warnings) == 1
    assert "distfd.AbsoluteStep(" in result.warnings[0], "by the check that goes with the complex step"
    good = distfd.differentiate(saturation, [1e-9], scheme="complex-step", scale=[1e-9], executor="serial")
    assert_allclose(good.derivative, 1e-8 / 1.1e-8**2, rtol=1e-9)


def test_richardson_is_told_too() -> None:
    assert told(quiet(decay, DECAY_X, scheme="richardson"), COARSE, "coordinate 1")


def test_hessians() -> None:
    def fun(x: Floats) -> float:
        return float(np.exp(1e6 * x[0]))

    result = quiet(fun, [1e-6], kind="hessian")
    assert told(result, COARSE, "coordinate 0")
    for options in ({"scale": [1e-6]}, {"step": 1.2e-4}):
        better = distfd.differentiate(fun, [1e-6], kind="hessian", executor="serial", **options)
        assert_allclose(better.derivative, [[1e12 * math.e]], rtol=1e-5)
    product = quiet(fun, [1e-6], kind="hvp", v=[1.0])
    assert told(product, COARSE)
    better = distfd.differentiate(fun, [1e-6], kind="hvp", v=[1.0], scale=[1e-6], executor="serial")
    assert_allclose(better.derivative, [1e12 * math.e], rtol=1e-5)


def test_jacobians_and_directions() -> None:
    def both(p: Floats) -> Floats:
        return np.array([np.sin(p[1]), saturation(p)])

    x = [1e-8, 1.0]
    for options in ({}, {"sparsity": [[0, 1], [1, 0]]}):
        result = quiet(both, x, kind="jacobian", **options)
        assert told(result, COARSE, "coordinate 0")
        assert not told(result, COARSE, "coordinate 1")
    assert told(quiet(both, x, kind="jvp", v=[1.0, 0.0]), COARSE, "coordinate 0")
    assert not told(quiet(both, x, kind="jvp", v=[0.0, 1.0]), COARSE)


def test_a_j_of_scale_1_next_to_0_is_in_order() -> None:
    result = distfd.differentiate(lambda x: np.sin(1 + x[0]) + x[1], [1e-9, 1e-300], executor="serial")
    assert result.warnings == ()
    assert_allclose(result.derivative, [np.cos(1), 1], rtol=1e-6)


def test_names_are_used() -> None:
    result = quiet(decay, DECAY_X, names=["thickness", "permeability"])
    assert told(result, COARSE, "'permeability'")
    assert not told(result, COARSE, "'thickness'")


def offset(size: float) -> Callable[[Floats], float]:
    return lambda x: float(size + np.sum(np.sin(x)))


@pytest.mark.parametrize("size", [1e8, 1e9, -1e10, 1e12])
def test_a_large_offset_is_told_and_the_remedies_work(size: float) -> None:
    x = [1.0, 1.0]
    result = quiet(offset(size), x)
    assert told(result, LOST, "coordinate 0, coordinate 1") or told(result, "did not change at all")
    found = distfd.differentiate(offset(size), x, step="auto", executor="serial")
    assert_allclose(found.derivative, np.cos(1), rtol=0.02)
    assert found.error is not None
    assert (np.abs(found.derivative - np.cos(1)) <= 2 * found.error).all()
    subtracted = distfd.differentiate(lambda x: offset(size)(x) - size, x, step=1e-2, executor="serial")
    assert_allclose(subtracted.derivative, np.cos(1), rtol=0.05 if abs(size) < 1e12 else 0.1)


def test_the_case_of_the_issue() -> None:
    result = quiet(offset(1e9), [1.0, 1.0])
    assert result.derivative.tolist() == [8, 8]
    assert told(result, LOST, "step='auto'")
    central = distfd.differentiate(offset(1e9), [1.0, 1.0], scheme="central", executor="serial")
    assert_allclose(central.derivative, np.cos(1), rtol=0.05)
    assert central.warnings == ()


def test_each_output_is_looked_at_by_itself() -> None:
    def both(x: Floats) -> Floats:
        return np.array([np.sin(x).sum(), 1e9 + np.sin(x).sum()])

    for options in ({}, {"sparsity": [[1, 1], [1, 1]]}):
        result = quiet(both, [1.0, 1.0], kind="jacobian", **options)
        assert told(result, LOST, "of output 1 along coordinate 0, coordinate 1")
    assert told(quiet(both, [1.0, 2.0], kind="jvp", v=[1.0, 0.0]), LOST, "output 1")


def test_second_derivatives_and_directions() -> None:
    x = [1.0, 1.0]
    for options in ({"kind": "hessian"}, {"kind": "hvp", "v": [1.0, 1.0]}):
        told_of = quiet(offset(1e9), x, **options).warnings
        assert any(LOST in text or "mostly rounding" in text for text in told_of)
        better = distfd.differentiate(offset(1e9), x, step=3e-2, executor="serial", **options)
        exact = -np.sin(1) * (np.eye(2) if options["kind"] == "hessian" else np.ones(2))
        assert_allclose(better.derivative, exact, atol=0.01)
    assert told(quiet(offset(1e9), x, kind="jvp", v=[1.0, 1.0]), LOST, "direction 0")
    assert told(quiet(offset(1e12), x, kind="jvp", v=[1.0, 1.0]), "did not change at all", "direction 0")
    flat = distfd.differentiate(lambda x: 1 + x[0] + 2 * x[1], x, kind="hessian", executor="serial")
    assert flat.warnings == ()


def test_a_component_that_is_0_beside_others_is_in_order() -> None:
    def fun(x: Floats) -> float:
        return float(5 + (x[0] - 1) ** 2 + np.exp(x[1]))

    result = distfd.differentiate(fun, [1 + 1e-7, 1.0], executor="serial")
    assert result.warnings == ()


def test_the_end_of_a_minimisation_is_in_order() -> None:
    """Where a gradient is next to 0 its differences are few units of J: the run has shown what J can change by."""

    def fun(x: Floats) -> float:
        return float(100 + (x[0] - 1) ** 2 + 3 * (x[1] - 2) ** 2)

    for method in ("L-BFGS-B", "BFGS", "L-BFGS", "trust-constr"):
        with warnings.catch_warnings(record=True) as given:
            warnings.simplefilter("always")
            found = distfd.minimize(fun, [3.0, -1.0], method=method, executor="serial")
        assert_allclose(found.x, [1, 2], atol=1e-3)
        assert not [each for each in given if LOST in str(each.message)]
    with distfd.Evaluator(fun, executor="serial") as ev, warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        ended = scipy.optimize.minimize(ev.value, [3.0, -1.0], jac=ev.gradient)
    assert_allclose(ended.x, [1, 2], atol=1e-3)
    assert not [each for each in given if LOST in str(each.message)]


def test_a_search_that_ends_next_to_0_is_in_order() -> None:
    with distfd.Evaluator(lambda x: float(x @ x), executor="serial") as ev:
        x = np.array([1.0, -2.0])
        for _ in range(25):
            x = x - 0.5 * ev.gradient(x)
    assert np.abs(x).max() < 1e-7


def test_a_minimisation_under_an_offset_is_told() -> None:
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        distfd.minimize(offset(1e9), [1.0, 1.0], executor="serial")
    assert LOST in str(given[0].message)


def printed(digits: int) -> Callable[[Floats], float]:
    return lambda x: float(f"{np.sum(np.sin(x)):.{digits}g}")


def test_printed_digits_count_as_the_last_ones() -> None:
    x = [0.3, 1.0, 2.0, 3.0]
    result = quiet(printed(7), x, step=1e-6)
    assert told(result, LOST, "coordinate 2, coordinate 3")
    assert told(result, "few digits", "coordinate 0, coordinate 1")
    better = distfd.differentiate(printed(7), x, step="auto", executor="serial")
    assert_allclose(better.derivative, np.cos(x), atol=1e-3)


@pytest.mark.parametrize("check", [False, True])
def test_columns_of_a_sparse_jacobian_that_printed_digits_hide_are_told(check: bool) -> None:
    """An entry of the mask that is 0 is as suspect as a component of a gradient; an empty column is not."""

    def printed(x: Floats) -> Floats:
        return np.array([float(f"{v:.5e}") for v in (np.exp(x[0]) + x[1] * x[2], np.sin(x[1]) + x[2])])

    mask, x = np.array([[1, 1, 1, 0], [0, 1, 1, 0]]), [0.3, 0.7, 1.1, 0.5]
    with pytest.warns(DerivativeWarning) as told:
        result = distfd.differentiate(printed, x, kind="jacobian", sparsity=mask, check=check, executor="serial")
    hidden: Any = result.derivative
    assert not hidden.toarray().any()
    (text,) = [str(w.message) for w in told if "did not change" in str(w.message)]
    assert "coordinate 0, coordinate 1, coordinate 2. J has few digits (the last of them is worth" in text
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        larger = distfd.jacobian(printed, x, sparsity=mask, step=0.05, scheme="central", check=check, executor="serial")
    assert_allclose(larger.toarray(), [[np.exp(0.3), 1.1, 0.7, 0], [0, np.cos(0.7), 1, 0]], rtol=1e-2)


def test_simple_arithmetic_is_no_printed_output() -> None:
    result = distfd.differentiate(lambda x: float(x.sum()), [1.0, 2.0, 3.0, 4.0], step=1e-3, executor="serial")
    assert result.warnings == ()
    result = distfd.differentiate(
        lambda x: float(x.sum()), [1.0, 2.0, 3.0, 4.0], step=distfd.AbsoluteStep(0.5), executor="serial"
    )
    assert result.warnings == ()


@pytest.mark.parametrize("value", [0.0, 1.0, 5.0, 1500.0, 123.0])
@pytest.mark.parametrize("step", [None, "auto"])
def test_a_constant_is_no_multiple_of_anything(value: float, step: Any) -> None:
    result = quiet(lambda x: value, [0.3, 1.0, 2.0, 3.0], step=step)
    assert told(result, "did not change at all")
    assert not told(result, "multiple")
    assert result.derivative.tolist() == [0, 0, 0, 0]


def test_few_false_alarms_on_clean_functions() -> None:
    """At most 1 % of forward differences that are right are doubted, at and around the start and along a descent."""
    rng = np.random.default_rng(7)
    right, doubted = 0, []
    for name, problem in PROBLEMS.items():
        if len(problem.x0) > 30:
            continue

        def gradient(x: Floats, problem: Any = problem) -> Floats:
            with np.errstate(all="ignore"):
                return np.asarray(problem.gradient(x))

        def fun(x: Floats, problem: Any = problem) -> float:
            with np.errstate(all="ignore"):
                return float(problem.value(np.asarray(x)[None])[0])

        spread = 0.1 * np.maximum(1, np.abs(problem.x0))
        points = [problem.x0, *(problem.x0 + spread * rng.standard_normal(len(problem.x0)) for _ in range(2))]
        scipy.optimize.minimize(
            fun,
            problem.x0,
            jac=gradient,
            method="L-BFGS-B",
            callback=lambda x, points=points: points.append(x.copy()),
            options={"maxiter": 12},
        )
        for x in points:
            answer, _ = drive(plan("gradient", x), fun)
            with np.errstate(all="ignore"):
                h, exact = np.abs(answer.step), gradient(x)
                error = np.linalg.norm((answer.derivative - exact) * h) / np.linalg.norm(exact * h)
            if error < 0.02:
                right += 1
                doubted += [(name, text) for text in answer.warnings if COARSE in text or LOST in text]
    assert right > 300
    assert len(doubted) <= 0.01 * right, doubted


REPLACED = "the given relative step does not change"


@pytest.mark.parametrize(
    ("kind", "particulars"),
    [
        ("gradient", {}),
        ("jacobian", {}),
        ("jacobian", {"sparsity": np.ones((1, 3))}),
        ("hessian", {}),
        ("hvp", {"v": [1.0, 1.0, 1.0]}),
        ("jvp", {"v": [1.0, 1.0, 1.0]}),
        ("directional", {"directions": [[1.0, 1.0, 1.0]]}),
    ],
    ids=str,
)
def test_a_step_that_does_not_change_x_is_never_replaced_in_silence(kind: Any, particulars: Any) -> None:
    def fun(x: Floats) -> float:
        return float(x[0] ** 2 + x[0] * x[1] + x[2])

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DerivativeWarning)
        with distfd.Evaluator(fun, executor="serial", step=[1e-20, 1e-4, 1e-20]) as ev:
            found = ev.differentiate([2.0, 3.0, 0.0], kind=kind, **particulars)
    (text,) = [text for text in found.warnings if REPLACED in text]
    # 0 has no size of its own, so that no relative step has one there.
    assert "coordinate 0 in floating point, so the scheme's default step was used there" in text


def test_steps_that_are_taken_as_they_are_are_not_told_of() -> None:
    for options in ({"step": 1e-4}, {"step": [np.nan, 1e-4]}, {"step": 1e-17, "scale": [1e4, 1e4]}, {"step": "auto"}):
        assert not told(quiet(lambda x: x[0] ** 2 + x[1], [2.0, 3.0], **options), REPLACED)
    fixed = quiet(lambda x: x[0] ** 2 + x[1], [2.0, 3.0], step=[1e-20, 1e-4], bounds=[(2, 2), (0, 5)])
    assert not told(fixed, REPLACED)


def test_a_fit_tells_of_a_step_that_does_not_change_x() -> None:
    with pytest.warns(DerivativeWarning, match=REPLACED):
        distfd.least_squares(lambda x: x - [1.0, 2.0, 3.0], [2.0, 3.0, 4.0], executor="serial", step=1e-20)
    with pytest.warns(DerivativeWarning, match=REPLACED):
        distfd.curve_fit(lambda t, a, b: a * t + b, [1, 2, 3], [1, 2, 4], [2.0, 1.0], executor="serial", step=1e-20)


@pytest.mark.parametrize("method", ["trf", "dogbox"])
def test_a_fit_of_fewer_residuals_than_parameters_is_one_of_many_and_says_so(method: Any) -> None:
    found = distfd.least_squares(
        lambda x: np.array([x[0] - 1 + x[1] * x[2]]), [2.0, 1.0, 3.0], method=method, executor="serial"
    )
    assert found.success
    assert abs(found.fun[0]) < 1e-4
    assert "no standard errors: there are no more residuals than parameters" in repr(found)
    assert "not told apart by the residuals: x0, x1, x2" in repr(found)
