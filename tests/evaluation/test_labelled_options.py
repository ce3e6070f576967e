"""Series and DataFrames of pandas: what is by name goes to the parameter of this name, whatever the order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import distfd
from distfd.errors import InputError

api: Any = distfd
pd: Any = pytest.importorskip("pandas")

AT = np.array([1.0, 2.0])
NAMES = ["a", "b"]
SERIAL: Any = {"executor": "serial"}


def by_number(x: Any) -> float:
    return float(x[0] ** 2 * x[1] ** 3)


def by_name(p: Any) -> float:
    return float(p["a"] ** 2 * p["b"] ** 3)


X = pd.Series({"a": 1.0, "b": 2.0})
TURNED = pd.Series({"b": 2.0, "a": 1.0})
"""Numbers by name, in another order than x has."""


@pytest.mark.parametrize("option", ["step", "absolute", "scale"])
def test_sizes_by_name_for_an_array_with_names(option: str) -> None:
    sizes = 1e-3 * TURNED
    given: dict[str, Any] = {
        "step": {"step": sizes},
        "absolute": {"step": distfd.AbsoluteStep(sizes)},
        "scale": {"scale": TURNED},
    }
    found = api.differentiate(by_number, AT, names=NAMES, **given[option], **SERIAL)
    flat: dict[str, Any] = {"step": {"step": [1e-3, 2e-3]}, "absolute": {"step": distfd.AbsoluteStep([1e-3, 2e-3])}}
    wanted = api.differentiate(by_number, AT, **(flat.get(option) or {"scale": [1.0, 2.0]}), **SERIAL)
    assert found.step.tolist() == wanted.step.tolist()


@pytest.mark.parametrize("option", ["step", "scale"])
def test_sizes_by_names_that_x_has_not(option: str) -> None:
    given: Any = {option: pd.Series({"a": 1e-3, "q": 1e-3})}
    with pytest.raises(InputError, match=rf"{option}: has the names 'a', 'q', and x has 'a', 'b'"):
        api.gradient(by_number, AT, names=NAMES, **given, **SERIAL)


@pytest.mark.parametrize("function", ["minimize", "least_squares"])
def test_bounds_as_two_series_for_an_array_with_names(function: str) -> None:
    call: Any = getattr(distfd, function)
    bounds = (pd.Series({"b": 1.5, "a": 0.5}), pd.Series({"a": 2.0, "b": 3.0}))
    assert call(by_number, AT, names=NAMES, bounds=bounds, **SERIAL).x.tolist() == pytest.approx([0.5, 1.5])


def test_vectors_and_directions_by_name() -> None:
    turned = pd.Series({"b": 1.0, "a": 0.0})
    found = api.hvp(by_number, AT, turned, names=NAMES, **SERIAL)
    assert found == pytest.approx([24.0, 12.0], rel=1e-5)
    rows = pd.DataFrame({"b": [1.0, 0.0], "a": [0.0, 1.0]}, index=["first", "second"])
    for fun, x, more in ((by_number, AT, {"names": NAMES}), (by_name, X, {}), (by_name, dict(X), {})):
        assert api.directional(fun, x, rows, **more, **SERIAL) == pytest.approx([12.0, 16.0], rel=1e-5)


def test_a_gradient_by_name_for_an_array_with_names() -> None:
    given = pd.Series({"b": 12.0, "a": 16.0})
    assert api.check_gradient(by_number, given, AT, names=NAMES, **SERIAL).ok


def test_a_covariance_by_name() -> None:
    covariance = pd.DataFrame([[0.01, 0.002], [0.002, 0.04]], index=["b", "a"], columns=["b", "a"])
    wanted = api.sensitivity(by_number, AT, [[0.04, 0.002], [0.002, 0.01]], **SERIAL).sigma
    for fun, x, more in ((by_number, AT, {"names": NAMES}), (by_name, X, {}), (by_name, dict(X), {})):
        found = api.sensitivity(fun, x, covariance, **more, **SERIAL)
        assert found.sigma == pytest.approx(wanted, rel=1e-9)
    with pytest.raises(InputError, match="sigma_x: has the names 'b', 'z', and x has 'a', 'b'"):
        api.sensitivity(by_name, X, covariance.rename(index={"a": "z"}), **SERIAL)


def test_a_name_in_bounds_that_a_series_has_not_is_no_bound_left_out() -> None:
    with pytest.raises(InputError, match="bounds: x0 has no 'c'; it has 'a', 'b'"):
        api.gradient(by_name, X, bounds={"c": (0.0, 5.0)}, **SERIAL)


def test_a_series_may_leave_names_out_of_options_as_a_dict_may() -> None:
    found = api.differentiate(by_name, X, scale={"b": 100.0}, **SERIAL)
    same = api.differentiate(by_name, dict(X), scale={"b": 100.0}, **SERIAL)
    assert found.step.to_dict() == same.step
    best = api.minimize(by_name, X, bounds=pd.Series({"b": (1.5, None), "a": (0.5, 2.0)}), **SERIAL)
    assert best.x.to_dict() == pytest.approx({"a": 0.5, "b": 1.5})
    with pytest.raises(InputError, match=r"bounds: b must be a pair \(lower, upper\)"):
        api.gradient(by_name, X, bounds={"b": 1.5}, **SERIAL)


def test_a_series_with_two_levels_of_names_is_a_series_to_j() -> None:
    index = pd.MultiIndex.from_tuples([("wing", 1), ("tail", 2)])
    x = pd.Series([1.0, 2.0], index=index)

    def fun(p: Any) -> float:
        return float(p["wing", 1] ** 2 * p["tail", 2] ** 3)

    found = api.differentiate(fun, x, step={("tail", 2): 1e-3}, **SERIAL)
    assert found.derivative.index.equals(index)
    assert found.derivative.tolist() == pytest.approx([16.0, 12.0], rel=1e-2)
    assert found.step["tail", 2] == pytest.approx(2e-3)
    with distfd.Evaluator(fun, **SERIAL) as evaluator:
        assert evaluator.map([x, x.iloc[::-1]]).tolist() == [8.0, 8.0]


def test_a_frame_is_no_part_of_x() -> None:
    frame = pd.DataFrame({"u": [1.0, 2.0]})
    with pytest.raises(InputError, match=r"x0: w is a DataFrame; give a dict of its columns"):
        api.gradient(by_name, {"w": frame}, **SERIAL)
    with pytest.raises(InputError, match=r"had shape \(2, 1\)\); a dict may hold arrays of any shape"):
        api.gradient(by_number, frame, **SERIAL)


def test_a_dict_goes_to_the_names_of_an_array_too() -> None:
    found = api.differentiate(by_number, AT, names=NAMES, step={"b": 1e-3}, bounds={"a": (0, 1)}, **SERIAL)
    assert found.step.tolist() == pytest.approx([-1.5e-8, 2e-3], rel=0.01)  # a is at its upper bound
    absolute = api.differentiate(by_number, AT, names=NAMES, step=distfd.AbsoluteStep({"b": 1e-3}), **SERIAL)
    assert absolute.step[1] == pytest.approx(1e-3)
    np.testing.assert_allclose(api.hvp(by_number, AT, {"b": 0.0, "a": 1.0}, names=NAMES, **SERIAL), [16, 24], rtol=1e-4)
    best = api.minimize(lambda x: float(x @ x), AT, names=NAMES, bounds={"a": (0.5, 3)}, **SERIAL)
    np.testing.assert_allclose(best.x, [0.5, 0.0], atol=1e-6)
    fit = api.least_squares(
        lambda x: x - 3, AT, names=NAMES, bounds={"b": (0, 2.5)}, x_scale={"b": 2, "a": 1}, **SERIAL
    )
    np.testing.assert_allclose(fit.x, [3.0, 2.5], atol=1e-4)
    assert api.sensitivity(by_number, AT, {"b": 0.0, "a": 1.0}, names=NAMES, **SERIAL).sigma == pytest.approx(16.0)
    for wrong in ({"c": 1.0}, {"a": 1.0, "b": 1.0, "c": 1.0}):
        with pytest.raises(InputError, match="step: must have the keys 'a', 'b', and has besides 'c'"):
            api.gradient(by_number, AT, names=NAMES, step=wrong, **SERIAL)
