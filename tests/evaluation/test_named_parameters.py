"""x as a dict or another structure, from the call to the result."""

from __future__ import annotations

import pickle
import warnings
from collections import namedtuple
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest
import scipy.optimize

import distfd
from distfd.errors import EvaluationError, InputError
from distfd.results.structured_result import StructuredResult

if TYPE_CHECKING:
    from pathlib import Path


@dataclass
class Spring:
    k: float
    m: float


class Point(NamedTuple):
    a: float
    b: float


X: Any = {"k": 2, "w": {"a": np.array([[1.0, 2.0], [3.0, 4.0]])}}


def energy(p: Any) -> float:
    return float(p["k"] ** 2 + 3 * np.sum(p["w"]["a"] ** 2) + p["k"] * p["w"]["a"][0, 1])


def derivative_of(pending: distfd.Pending) -> Any:
    return pending.result().derivative


def outputs(p: Any) -> Any:
    return np.array([p["k"] ** 2 + p["w"]["a"].sum(), p["k"] * p["w"]["a"].sum()])


def test_a_gradient_has_the_structure_of_x() -> None:
    found: Any = distfd.differentiate(energy, X, scheme="central", executor="serial")
    assert isinstance(found, StructuredResult)
    assert found.derivative["k"] == pytest.approx(6.0)
    assert type(found.derivative["k"]) is float
    assert found.derivative["w"]["a"] == pytest.approx(np.array([[6.0, 14.0], [18.0, 24.0]]))
    assert found.names == ("k", "w.a[0, 0]", "w.a[0, 1]", "w.a[1, 0]", "w.a[1, 1]")
    assert found.x == {"k": 2.0, "w": {"a": pytest.approx(X["w"]["a"])}}
    assert found.flat.derivative.shape == (5,)
    assert "w.a[1, 0]" in repr(found)
    assert found.step["w"]["a"].shape == (2, 2)


def test_the_same_bits_as_of_a_flat_x() -> None:
    def flat(x: Any) -> float:
        return energy({"k": x[0], "w": {"a": x[1:].reshape(2, 2)}})

    ours = distfd.differentiate(energy, X, executor="serial").plain
    theirs = distfd.differentiate(flat, [2, 1, 2, 3, 4], executor="serial")
    assert ours.derivative.tobytes() == theirs.derivative.tobytes()
    assert ours.value == theirs.value


def test_jacobians_and_hessians_are_nested() -> None:
    jacobian = distfd.jacobian(outputs, X, scheme="central", executor="serial")
    assert jacobian["k"] == pytest.approx(np.array([4.0, 10.0]))
    assert jacobian["w"]["a"].shape == (2, 2, 2)
    assert jacobian["w"]["a"][1] == pytest.approx(np.full((2, 2), 2.0))
    hessian = distfd.hessian(energy, X, executor="serial")
    assert hessian["k"]["k"] == pytest.approx(2.0, abs=1e-4)
    assert hessian["k"]["w"]["a"] == pytest.approx(np.array([[0, 1], [0, 0]]), abs=1e-4)
    assert hessian["w"]["a"]["w"]["a"][1, 0, 1, 0] == pytest.approx(6.0, abs=1e-4)


def test_vectors_beside_x_and_other_kinds() -> None:
    v = {"k": 1.0, "w": {"a": np.zeros((2, 2))}}
    with distfd.Evaluator(energy, executor="serial") as ev:
        assert ev.hvp(X, v)["w"]["a"][0, 1] == pytest.approx(1.0, abs=1e-4)
        assert ev.jvp(X, v) == pytest.approx(6.0, rel=1e-6)
        assert ev.directional(X, [v, v]) == pytest.approx([6.0, 6.0], rel=1e-6)
        assert ev.map([X, X]) == pytest.approx([98.0, 98.0])
        assert ev.value(X) == 98.0
        pending = ev.begin(X)
        assert pending.value() == 98.0
        assert derivative_of(pending)["k"] == pytest.approx(6.0, rel=1e-6)


def test_a_dataclass_and_a_named_tuple() -> None:
    slope = distfd.gradient(lambda p: p.k * p.m, Spring(2, 3), scheme="central", executor="serial")
    assert isinstance(slope, Spring)
    assert (slope.k, slope.m) == pytest.approx((3.0, 2.0))
    pair = distfd.gradient(lambda p: p.a * p.b, Point(2, 3), scheme="central", executor="serial")
    assert isinstance(pair, Point)
    assert pair == pytest.approx((3.0, 2.0))


def test_a_simulator_and_the_complex_step() -> None:
    class Simulator:
        def reset(self) -> None: ...
        def evaluate(self, p: dict[str, Any]) -> Any:
            return p["a"] ** 3 + np.sum(p["w"])

    found: Any = distfd.gradient(Simulator, {"a": 2.0, "w": np.ones(2)}, scheme="complex-step", executor="serial")
    assert found["a"] == pytest.approx(12.0, rel=1e-14)
    assert found["w"] == pytest.approx([1.0, 1.0])


def test_options_by_name_go_where_they_belong() -> None:
    asked: list[dict[str, Any]] = []

    def fun(p: dict[str, Any]) -> float:
        asked.append(p)
        return float(p["a"] * p["b"])

    x = {"a": 1.0, "b": 2.0}
    found: Any = distfd.differentiate(
        fun, x, step=distfd.AbsoluteStep({"b": 0.5}), bounds={"a": (0, 1), "b": (0, None)}, executor="serial"
    )
    assert found.step["b"] == 0.5
    assert found.step["a"] < 0
    assert max(p["a"] for p in asked) == 1.0
    with pytest.raises(
        InputError, match=r"bounds: x0 must have the keys 'a', 'b', and has besides 'c'|has besides 'c'"
    ):
        distfd.gradient(fun, x, bounds={"c": (0, 1)}, executor="serial")
    with pytest.raises(InputError, match="step: b must be finite and > 0"):
        distfd.gradient(fun, x, step={"b": -1.0}, executor="serial")
    with pytest.raises(InputError, match="step: is given by name, but x0 has no names"):
        distfd.gradient(fun, [1.0, 2.0], step={"b": 1.0}, executor="serial")
    with pytest.raises(InputError, match="names: x0 has names of its own, a, b; leave names out"):
        distfd.gradient(fun, x, names=["u", "v"], executor="serial")
    with pytest.raises(InputError, match=r"x0: coordinate 1 \('b'\) = 2.0 is outside"):
        distfd.gradient(fun, x, bounds={"b": (0, 1)}, executor="serial")


@pytest.mark.parametrize(
    "step", [distfd.NoiseStep(noise=1e-9), distfd.AbsoluteStep(1e-6), "auto", 1e-6, [1e-6, 1e-5]], ids=str
)
def test_a_step_without_names_goes_with_any_x(step: Any) -> None:
    """What a step is, such as a dataclass, says nothing of whether it has names."""
    flat = distfd.gradient(lambda x: float(x @ x), [1.0, 2.0], step=step, executor="serial")
    np.testing.assert_allclose(flat, [2.0, 4.0], rtol=1e-4)
    named = distfd.gradient(lambda p: p["a"] ** 2 + p["b"] ** 2, {"a": 1.0, "b": 2.0}, step=step, executor="serial")
    np.testing.assert_allclose([named["a"], named["b"]], flat, rtol=1e-4)


def test_names_stand_in_errors_and_warnings() -> None:
    def fails(p: Any) -> float:
        return float("nan") if p["w"][1] != 1 else p["k"] + p["w"].sum()

    with pytest.raises(EvaluationError, match=r"J failed at coordinate 2 \('w\[1\]'\)"):
        distfd.gradient(fails, {"k": 1.0, "w": np.ones(2)}, executor="serial")
    with pytest.warns(distfd.DerivativeWarning, match=r"coordinate 2 \('w\[1\]'\)"):
        distfd.gradient(lambda p: p["k"] + p["w"][0], {"k": 1.0, "w": np.ones(2)}, executor="serial")
    with warnings.catch_warnings(action="ignore"):
        found: Any = distfd.differentiate(fails, {"k": 1.0, "w": np.ones(2)}, executor="serial", on_failure="nan")
    assert np.isnan(found.derivative["w"][1])
    assert found.missing_entries.tolist() == [[2]]
    assert "missing, as J failed there: w[1]" in repr(found)


def test_an_evaluator_takes_flat_numbers_too_for_other_optimisers() -> None:
    with distfd.Evaluator(energy, executor="serial") as ev:
        start = ev.flatten(X)
        assert start.tolist() == [2, 1, 2, 3, 4]
        best = scipy.optimize.minimize(ev.value, start, jac=ev.gradient)
        assert ev.unflatten(best.x)["w"]["a"] == pytest.approx(np.zeros((2, 2)), abs=1e-4)
        with pytest.raises(InputError, match="lacks 'w'"):
            ev.value({"k": 1.0})


def test_values_are_found_in_a_store_by_structure(tmp_path: Path) -> None:
    def run(x: Any) -> int:
        return distfd.differentiate(either, x, executor="serial", store=tmp_path / "s.sqlite").n_evaluations

    assert run({"a": 1.0, "b": 2.0}) == 3
    assert run({"a": 1, "b": 2}) == 0
    assert run({"b": 2.0, "a": 1.0}) == 3  # another order is another structure
    assert run(Point(1.0, 2.0)) == 3
    assert run([1.0, 2.0]) == 3


def either(p: Any) -> float:
    a, b = (p["a"], p["b"]) if isinstance(p, dict) else p
    return float(a * b)


def test_ray_gives_j_the_same_structure() -> None:
    slope = distfd.gradient(lambda p: p.k * p.m, Spring(2, 3), check=False)
    assert isinstance(slope, Spring)
    assert (slope.k, slope.m) == pytest.approx((3.0, 2.0), rel=1e-6)


def test_check_gradient_of_an_evaluator_and_in_one_call() -> None:
    x = {"a": 1.0, "w": np.array([2.0, 3.0])}

    def fun(p: Any) -> float:
        return float(p["a"] ** 2 + np.sum(p["w"] ** 2))

    def slope(p: Any) -> Any:
        return {"a": 2 * p["a"], "w": np.array([2, -2]) * p["w"]}

    found: Any = distfd.check_gradient(fun, slope, x, executor="serial")
    assert found.differing.tolist() == [2]
    assert "'w[1]'" in str(found)
    with distfd.Evaluator(fun, executor="serial") as ev:
        assert ev.check_gradient({"a": 2, "w": [4.0, 6.0]}, x).ok
        with pytest.raises(InputError, match="needs error bars"):
            ev.check_gradient(slope, x, step=1e-3)
    with distfd.Evaluator(lambda x: float(np.sum(x**2)), executor="serial") as ev:
        assert ev.check_gradient(lambda x: 2 * x, [1.0, 2.0]).ok


def test_sensitivity_by_name() -> None:
    found: Any = distfd.sensitivity(either, {"a": 2.0, "b": 3.0}, {"a": 0.1, "b": 0.2}, executor="serial")
    assert found.sigma[0] == pytest.approx(0.5, rel=1e-6)


def test_a_series_and_to_series(require_simulator: Any) -> None:
    require_simulator("pandas")
    import pandas as pd

    found: Any = distfd.differentiate(
        lambda p: p["u"] * p["v"], pd.Series([2.0, 3.0], ["u", "v"]), scheme="central", executor="serial"
    )
    assert list(found.derivative.index) == ["u", "v"]
    assert found.derivative["u"] == pytest.approx(3.0)
    assert found.to_series()["v"] == pytest.approx(2.0)
    plain = distfd.differentiate(lambda x: x[0] * x[1], [2.0, 3.0], executor="serial").to_series()
    assert list(plain.index) == ["x0", "x1"]
    with pytest.raises(InputError, match="to_series: a jacobian is a matrix"):
        distfd.differentiate(outputs, X, kind="jacobian", executor="serial").to_series()


def parabola(p: Any) -> float:
    return float(np.sum((np.asarray(p["a"]) - 9) ** 2) + np.sum((np.asarray(p["b"]) - 9) ** 2))


@pytest.mark.parametrize("call", ["noise_level", "step_sweep", "method"])
def test_options_by_name_hold_in_whatever_call_comes_first(call: str) -> None:
    seen: list[tuple[float, float]] = []

    def fun(p: dict[str, float]) -> float:
        seen.append((p["a"], p["b"]))
        return p["a"] ** 2 + p["b"] ** 2

    x, bounds = {"a": 1.0, "b": 2.0}, {"a": (0.999, 1.001), "b": (2, 2.002)}
    if call == "noise_level":
        distfd.noise_level(fun, x, bounds=bounds, executor="serial")
    elif call == "step_sweep":
        distfd.step_sweep(fun, x, ["b"], bounds=bounds, executor="serial")
    else:
        steps = {"a": 1e-3, "b": 1e-4}
        with distfd.Evaluator(fun, step=distfd.AbsoluteStep(steps), executor="serial") as evaluator:
            evaluator.method(x)
            result = evaluator.differentiate(x)
        assert result.step == {"a": pytest.approx(1e-3, rel=1e-9), "b": pytest.approx(1e-4, rel=1e-9)}
        return
    a, b = np.array(seen).T
    assert a.min() >= 0.999
    assert a.max() <= 1.001
    assert b.min() >= 2
    assert b.max() <= 2.002


def test_two_numbers_are_a_pair_in_bounds_alone() -> None:
    point = namedtuple("point", "a b")  # noqa: PYI024
    result: Any = distfd.differentiate(
        lambda p: float(np.sum(p.a**2) + np.sum(p.b**2)),
        point(np.ones(2), np.ones(2)),
        step=distfd.AbsoluteStep(point(1e-6, 1e-3)),
        executor="serial",
    )
    np.testing.assert_allclose(result.step.a, 1e-6)
    np.testing.assert_allclose(result.step.b, 1e-3)
    found = distfd.minimize(
        lambda p: float(np.sum((p["q"][0] - 9) ** 2) + np.sum((p["q"][1] - 9) ** 2)),
        {"q": (np.full(2, 0.5), np.full(2, 0.5))},
        bounds=({"q": (0, 0)}, {"q": (0.6, 7)}),
        executor="serial",
    )
    where: Any = found.x
    np.testing.assert_allclose(where["q"], np.array([[0.6, 0.6], [7.0, 7.0]]), atol=1e-4)


def test_bounds_that_may_be_read_two_ways_are_refused() -> None:
    with pytest.raises(InputError, match=r"a has two numbers, and .* may be read"):
        distfd.minimize(
            lambda p: float(np.sum(p["a"] ** 2)), {"a": np.ones(2)}, bounds={"a": [(0.5, 1), (2, 3)]}, executor="serial"
        )


def test_bounds_of_lists_of_arrays() -> None:
    w, b = np.ones(3), np.ones(2)
    found = distfd.minimize(
        lambda p: float(np.sum((p[0] - 9) ** 2) + np.sum((p[1] - 9) ** 2)),
        [w, b],
        bounds=[(w * 0, w * 3), (0, 4)],
        executor="serial",
    )
    np.testing.assert_allclose(found.x[0], 3, atol=1e-4)
    np.testing.assert_allclose(found.x[1], 4, atol=1e-4)
    steps = distfd.differentiate(
        lambda p: float(p[0].sum() + p[1].sum()), [w, b], step=[w * 1e-6, b * 1e-5], executor="serial"
    )
    np.testing.assert_allclose(np.concatenate(steps.step), [1e-6] * 3 + [1e-5] * 2, rtol=1e-6)


def test_a_column_with_numbered_rows_is_an_array(require_simulator: Any) -> None:
    require_simulator("pandas")
    import pandas as pd

    def fun(x: Any) -> float:
        assert isinstance(x, np.ndarray)
        return float(((x[1:] - x[:-1]) ** 2).sum() + x[-1])

    column, right = pd.Series([1.0, 3.0, 2.0]), [-4.0, 6.0, -1.0]
    np.testing.assert_allclose(distfd.gradient(fun, column, executor="serial"), right, rtol=1e-6)
    steps = pd.Series([1e-6, 1e-6, 1e-6], index=["a", "b", "c"])
    np.testing.assert_allclose(distfd.gradient(fun, [1.0, 3.0, 2.0], step=steps, executor="serial"), right, rtol=1e-4)
    found = distfd.check_gradient(
        fun, pd.Series(right, index=["a", "b", "c"]), np.array([1.0, 3.0, 2.0]), executor="serial"
    )
    assert found.ok


def test_a_given_value_stands_for_all_points_like_it() -> None:
    found = distfd.differentiate(
        lambda x: float(x[0] ** 2 + 2 * x[1] ** 2), [1.0, 2.0], kind="hvp", v=[1.0, 0.0], f0=9.0, executor="serial"
    )
    np.testing.assert_allclose(found.derivative, [2.0, 0.0], atol=1e-3)


def test_constraints_as_outputs_of_a_j_with_names() -> None:
    found = distfd.minimize(
        lambda p: np.array([(p["a"] - 1) ** 2 + (p["b"] - 2) ** 2, p["a"] + p["b"]]),
        {"a": 0.0, "b": 0.0},
        constraints=distfd.Outputs([-np.inf], [1.5]),
        method="SLSQP",
        executor="serial",
    )
    assert found.x["a"] == pytest.approx(0.25, abs=1e-3)
    assert set(found.jac) == {"a", "b"}


@pytest.mark.parametrize("named", ["names", "dict"])
@pytest.mark.parametrize("function", ["differentiate", "sensitivity", "check_gradient", "step_sweep", "minimize"])
def test_results_with_names_can_be_pickled(function: str, named: str) -> None:
    def fun(x: Any) -> float:
        a, b = (x["a"], x["b"]) if isinstance(x, dict) else x
        return float(a**2 + 3 * b**2 + a * b)

    call: Any = getattr(distfd, function)
    x: Any = {"a": 1.0, "b": 2.0} if named == "dict" else [1.0, 2.0]
    given = {"sensitivity": (x, 0.1), "check_gradient": ([4.0, 13.0], x)}.get(function, (x,))
    more: Any = {} if named == "dict" else {"names": ["a", "b"]}
    found = call(fun, *given, executor="serial", **more)
    assert repr(pickle.loads(pickle.dumps(found))) == repr(found)
