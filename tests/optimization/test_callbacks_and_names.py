"""Optimisations of an x with names, and callbacks in each of their forms."""

from __future__ import annotations

import functools
from typing import Any, get_args

import numpy as np
import pytest

import distfd
from distfd.errors import InputError
from distfd.events import Iterated
from distfd.optimization.scipy_methods import Fitter, Minimizer

X: Any = {"a": 3, "b": np.zeros(2)}


def bowl(p: Any) -> float:
    return float((p["a"] - 1) ** 2 + 5 * np.sum((p["b"] - 2) ** 2))


def residuals(p: Any) -> Any:
    return np.array([p["a"] - 1, *(p["b"] - 2), p["a"] * p["b"][0] - 2])


@pytest.mark.parametrize("method", ["L-BFGS-B", "L-BFGS", "trust-constr"])
def test_minimize_gives_back_the_structure(method: Any) -> None:
    found = distfd.minimize(bowl, X, method=method, bounds={"b": (None, 1.5)}, executor="serial")
    assert found.x["a"] == pytest.approx(1.0, abs=1e-4)
    assert found.x["b"] == pytest.approx([1.5, 1.5], abs=1e-4)
    assert found.jac["b"] == pytest.approx([-5.0, -5.0], abs=1e-2)
    assert found.x_flat.shape == (3,)
    assert set(found.derivative.derivative) == {"a", "b"}


@pytest.mark.parametrize("method", get_args(Fitter))
def test_least_squares_has_params_by_name(method: Any) -> None:
    found = distfd.least_squares(residuals, X, method=method, executor="serial")
    assert found.params["a"] == pytest.approx(1.0, abs=1e-5)
    assert found.params["b"] == pytest.approx([2.0, 2.0], abs=1e-5)
    assert found.names == ["a", "b[0]", "b[1]"]


def test_bounds_priors_and_sizes_of_a_fit_by_name() -> None:
    found = distfd.least_squares(
        residuals, X, bounds=({"b": 0}, {"b": 1.5}), prior={"a": (1, 0.1)}, x_scale={"a": 1, "b": 2}, executor="serial"
    )
    assert found.params["b"] == pytest.approx([1.5, 1.5])
    assert "b[1]" in str(found)


def test_what_takes_arrays_says_so() -> None:
    with pytest.raises(InputError, match=r"constraints: SciPy's take arrays, but x0 has names; .* distfd.Outputs"):
        distfd.minimize(bowl, X, method="SLSQP", constraints={"type": "ineq", "fun": lambda x: x[0]}, executor="serial")
    with pytest.raises(InputError, match="p0: must be an array, in the order of f's parameters"):
        distfd.curve_fit(lambda x, a: a * x, [1.0, 2.0], [1.0, 2.0], {"a": 1.0}, executor="serial")  # type: ignore[call-overload]


@pytest.mark.parametrize("method", get_args(Minimizer))
def test_true_ends_any_method(method: Any) -> None:
    seen: list[Any] = []

    def callback(xk: Any) -> bool:
        seen.append(xk)
        return len(seen) == 2

    def tub(x: Any) -> float:
        return float(np.sum((x - 1) ** 4) + np.sum((x - 1) ** 2))

    found = distfd.minimize(tub, [3.0, 5.0], method=method, callback=callback, executor="serial", scheme="central")
    assert (len(seen), found.status, found.message) == (2, 99, "the callback stopped it")


@pytest.mark.parametrize("method", get_args(Fitter))
@pytest.mark.parametrize("how", ["True", "StopIteration"])
def test_true_and_stop_iteration_end_any_fit(method: Any, how: str) -> None:
    def callback(xk: Any) -> bool:
        if how == "StopIteration":
            raise StopIteration
        assert set(xk) == {"a", "b"}
        return True

    found = distfd.least_squares(residuals, X, method=method, callback=callback, executor="serial")
    assert (found.nit, found.message) == (1, "the callback stopped it")


def test_what_is_not_true_does_not_end_it() -> None:
    seen: list[Any] = []
    found = distfd.minimize(bowl, X, callback=lambda xk: seen.append(xk) or [1], executor="serial")  # type: ignore[func-returns-value]
    assert found.success
    assert len(seen) == found.nit


@pytest.mark.parametrize("method", ["L-BFGS-B", "L-BFGS", "SLSQP"])
def test_an_intermediate_result_says_what_is_known(method: Any) -> None:
    seen: list[Any] = []

    def callback(intermediate_result: Any) -> None:
        seen.append(intermediate_result)

    found = distfd.minimize(bowl, X, method=method, callback=callback, executor="serial")
    assert [one.nit for one in seen] == list(range(1, found.nit + 1))
    assert seen[-1].fun == pytest.approx(bowl(seen[-1].x))
    known = [one for one in seen if one.jac is not None]
    assert known
    for one in known:
        norm = np.hypot(one.jac["a"], np.linalg.norm(one.jac["b"]))
        assert one.gradient_norm == pytest.approx(norm)
    counts = [one.n_evaluations for one in seen]
    assert counts == sorted(counts)
    assert 4 < counts[-1] <= found.n_evaluations


def test_the_other_forms_of_a_callback() -> None:
    told: list[Any] = []

    def with_state(xk: Any, state: Any) -> None:
        told.append((xk["a"], state.nit))

    def with_event(event: Any) -> None:
        told.append(event)

    distfd.minimize(bowl, X, callback=with_state, executor="serial")
    assert told[0][1] == 1
    told.clear()
    distfd.minimize(bowl, X, callback=with_event, executor="serial")
    assert isinstance(told[0], Iterated)
    assert told[0].measure == "J"
    told.clear()
    distfd.least_squares(lambda x: x - 1.0, np.zeros(2), callback=with_event, executor="serial")
    assert told[0].measure == "cost"


def test_a_parameter_that_need_not_be_given_says_nothing() -> None:
    seen: list[Any] = []

    def with_state(xk: Any, intermediate_result: Any = None) -> None:
        seen.append((xk, intermediate_result))

    def with_event(x: Any, event: Any = None) -> None:
        seen.append((x, event))

    bound = functools.partial(with_event, event="mine")
    for callback in (with_state, with_event, bound):
        seen.clear()
        distfd.minimize(bowl, X, callback=callback, executor="serial")
        assert seen
        assert {other for _, other in seen} == {"mine" if callback is bound else None}
        assert set(seen[-1][0]) == {"a", "b"}
