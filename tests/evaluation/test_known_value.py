"""f0: J(x), where the caller knows it."""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import distfd
from distfd.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

X = np.array([2.0, 3.0])


def outputs(x: Any) -> Any:
    return np.array([x[0] * x[1], x[0] ** 2, x[1]])


def product(x: Any) -> float:
    return float(x[0] * x[1])


@pytest.mark.parametrize("f0", [6.0, np.float64(6), np.array(6.0), [6.0], 6])
def test_it_is_not_evaluated_and_the_bits_are_the_same(f0: Any) -> None:
    asked = []

    def fun(x: Any) -> float:
        asked.append(x.tolist())
        return product(x)

    with distfd.Evaluator(fun, executor="serial") as ev:
        found = ev.differentiate(X, f0=f0)
        assert X.tolist() not in asked
        assert (found.value, found.n_evaluations, found.n_reused) == (6.0, 2, 1)
        assert found.derivative.tobytes() == ev.differentiate(X).derivative.tobytes()
        assert X.tolist() in asked, "it counts in its own call alone"


def test_in_one_call_of_each_kind() -> None:
    assert distfd.gradient(product, X, f0=6.0, executor="serial") == pytest.approx([3.0, 2.0], rel=1e-6)
    with pytest.warns(distfd.DerivativeWarning, match="f0 seems to be wrong"):
        assert distfd.gradient(product, X, f0=7.0, executor="serial")[0] < -1e6, "it is believed"
    assert distfd.jacobian(outputs, X, f0=outputs(X), executor="serial")[1] == pytest.approx([4.0, 0.0], rel=1e-6)
    assert distfd.hessian(product, X, f0=6.0, executor="serial")[0, 1] == pytest.approx(1.0, abs=1e-4)
    slope = distfd.gradient(lambda p: p["a"] ** 2, {"a": 3.0}, f0=9.0, executor="serial")
    assert slope["a"] == pytest.approx(6.0, rel=1e-6)


@pytest.mark.parametrize(
    ("f0", "said"),
    [
        ([6.0, 1.0], r"f0: must be one number, because a gradient needs a J with one output \(had shape \(2,\)\)"),
        ("6", "f0: must be J"),
        (np.nan, "f0: must be J"),
        ([[6.0]], "f0: must be J"),
        (True, "f0: must be J"),
        (6j, "f0: must be J"),
        ([], "f0: must be J"),
    ],
)
def test_what_is_no_value_of_j_is_refused(f0: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        distfd.gradient(product, X, f0=f0, executor="serial")


@pytest.mark.parametrize("executor", ["serial", "ray"])
def test_another_number_of_outputs_is_refused(executor: Any) -> None:
    with pytest.raises(InputError, match="f0: has 2 numbers, and J has 3 outputs"):
        distfd.jacobian(outputs, X, f0=[6.0, 4.0], executor=executor, check=False)


@pytest.mark.filterwarnings("ignore:f0 seems to be wrong:distfd.DerivativeWarning")
def test_it_is_not_stored(tmp_path: Path) -> None:
    with distfd.Evaluator(product, store=tmp_path / "v.sqlite", executor="serial") as ev:
        ev.gradient(X, f0=6.5)
        assert ev.value(X) == 6.0
        assert ev.differentiate(X, f0=6.5).value == 6.0, "what J itself has said goes first"


def wavy(x: Any) -> float:
    return float(x[0] ** 2 * x[1] + np.sin(x[0]) * x[2] ** 3)


AT = np.array([1.3, -0.7, 0.4])


@pytest.mark.parametrize(
    ("kind", "off"), [("gradient", 0.01), ("gradient", -3.0), ("jacobian", 1e-3), ("jacobian", 5.0), ("hessian", -3.0)]
)
def test_a_value_of_another_x_is_told(kind: Any, off: float) -> None:
    with pytest.warns(distfd.DerivativeWarning, match="f0 seems to be wrong.*another x"):
        distfd.differentiate(wavy, AT, kind=kind, f0=wavy(AT) + off, executor="serial")


@pytest.mark.parametrize("scheme", ["forward", "backward", "central", "forward2", "backward2", "central4"])
@pytest.mark.parametrize("kind", ["gradient", "hessian"])
def test_a_value_of_another_x_is_told_by_every_scheme_that_takes_it(scheme: Any, kind: Any) -> None:
    def twice(x: Any) -> float:
        return float(np.exp(x[0]) + x[1] ** 2)

    at = np.array([1.0, 2.0])
    off = 0.1 if scheme == "central4" else 1e-3
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", distfd.DerivativeWarning)
        given: list[tuple[Any, float]] = [
            (kind, twice(at) + off),
            ("hessian", float(f"{twice(at):.6g}")),
            (kind, twice(at)),
        ]
        found = [
            distfd.differentiate(twice, at, kind=one, scheme=scheme, f0=f0, executor="serial", check=False).warnings
            for one, f0 in given
        ]
    assert re.search("f0 seems to be wrong.*another x", str(found[0]))
    assert re.search(r"f0 seems to be wrong.*it has \d digits", str(found[1]))
    assert not found[2]


@pytest.mark.parametrize("kind", ["gradient", "hessian"])
@pytest.mark.parametrize("scheme", ["forward2", "central4"])
def test_a_value_at_a_minimum_is_right(scheme: Any, kind: Any) -> None:
    def bowl(x: Any) -> float:
        return 1e6 * float(np.sum((x - 1) ** 2))

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "rounding hides the derivative", distfd.DerivativeWarning)
        distfd.differentiate(bowl, [1.0, 1.0, 1.0], kind=kind, scheme=scheme, f0=0.0, executor="serial", check=False)


@pytest.mark.parametrize("digits", [6, 7])
def test_a_rounded_value_is_told(digits: int) -> None:
    with pytest.warns(distfd.DerivativeWarning, match=f"f0 seems to be wrong.*it has {digits} digits, and J has all"):
        found = distfd.differentiate(wavy, AT, f0=float(f"{wavy(AT):.{digits}g}"), executor="serial")
    assert abs(found.derivative[1] / AT[0] ** 2 - 1) > 0.1


@pytest.mark.filterwarnings("error::distfd.DerivativeWarning")
@pytest.mark.parametrize("scheme", ["forward", "central", "complex-step"])
def test_a_right_value_is_not_doubted(scheme: Any) -> None:
    for fun, x in (
        (wavy, AT),
        (product, X),
        (sum, np.ones(5)),
        (lambda x: 1.25 * sum(x**2), np.ones(5)),
        (lambda x: sum(1 / (x + 0.5)), np.full(4, 1.5)),
    ):

        def takes_complex(x: Any, fun: Any = fun) -> Any:
            return fun(x) if fun is not wavy else x[0] ** 2 * x[1] + np.sin(x[0]) * x[2] ** 3

        value = float(takes_complex(x))
        if fun is product and scheme == "complex-step":
            continue  # it returns a float
        distfd.differentiate(takes_complex, x, scheme=scheme, f0=value, executor="serial")
