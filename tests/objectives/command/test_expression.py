"""The expression evaluator: agrees with mathematics, and lets nothing else through."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distfd.errors import InputError
from distfd.objectives.command.expression import Expression

VALUES = {"a": 2.0, "b": -3.0, "profile": np.array([1.0, 4.0, -2.0]), "other": np.array([1.0, 0.0, 2.0])}
VALUES |= {"places": np.array([0.0, 2.0, 2.5]), "grid": np.arange(6.0).reshape(2, 3)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a", 2.0),
        ("a + 2 * b", -4.0),
        ("-a ** 2", -4.0),
        ("(a - b) / 4", 1.25),
        ("+a", 2.0),
        ("2 ** -1", 0.5),
        ("2 ** 3 ** 2", 512.0),
        ("abs(b) + sqrt(4) + exp(0) + log(1) + log10(100)", 8.0),
        ("sin(0) + cos(0) + tan(0)", 1.0),
        ("min(a, b) + max(a, b, 7)", 4.0),
        ("min(profile) + max(profile) + sum(profile)", 5.0),
        ("mean(profile ** 2)", 7.0),
        ("dot(profile, other)", -3.0),
        ("mean((profile - other) ** 2)", 32 / 3),
        ("  a\n", 2.0),
        ("profile[0] + profile[-1] * 10", -19.0),
        ("sum(profile[1:]) + sum(profile[:-1])", 7.0),
        ("sum(profile[::2])", -1.0),
        ("sum(profile[0:3]) + sum(profile[-3:])", 6.0),
        ("sum(grid[1, 0:3])", 12.0),
        ("a * cos(pi)", -2.0),
        ("grid[1, 2] + grid[-1, 0] + sum(grid[:, 1])", 13.0),
        ("(a < 3) + (a <= 2) + (b > 0) + (a != b)", 3.0),
        ("(0 < a < 3) * 10 + (a == 2)", 11.0),
        ("sum(profile > 0)", 2.0),
        ("where(b < 0, 10, 20) + sum(where(profile > 0, profile, 0))", 15.0),
        ("norm(other) ** 2 + std(other) ** 2", 5.0 + 2 / 3),
        ("norm(b)", 3.0),
        ("trapezoid(profile)", 3.5),
        ("trapezoid(profile, places)", 2.5 * 2 + 1.0 * 0.5),
    ],
)
def test_values(text: str, expected: float) -> None:
    assert Expression(text, VALUES)(VALUES) == pytest.approx(expected, rel=1e-15)


def test_arrays_stay_arrays() -> None:
    np.testing.assert_array_equal(Expression("2 * profile - a", VALUES)(VALUES), [0.0, 6.0, -6.0])


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os')",
        "a.real",
        "a.__class__",
        "profile['a']",
        "profile[0.5]",
        "profile[a]",
        "profile[True]",
        "profile[::0]",
        "profile[None]",
        "(2 * profile)[0]",
        "'text'",
        "a if a else b",
        "a in b",
        "a is b",
        "a and b",
        "not a",
        "[a, b]",
        "(lambda: 1)()",
        "[k for k in profile]",
        "(a := 3)",
        "True",
        "1j",
        "None",
        "a % 2",
        "a // 2",
        "~a",
        "f'{a}'",
        "sum(*profile)",
        "sum(profile, axis=0)",
        "eval('1')",
        "getattr(a, b)",
        "sqrt",
        "dot(a)",
        "sqrt()",
        "",
        "a +",
        "a; b",
        "a b",
        "a#b",
        "a  # the drag",
        "a\0",
        "(" * 500 + "a" + ")" * 500,
        "-" * 5000 + "a",
        "+".join(["a"] * 1000),
        "a + " * 5000 + "a",
    ],
)
def test_refused(text: str) -> None:
    with pytest.raises(InputError):
        Expression(text, VALUES)


def test_messages_help() -> None:
    with pytest.raises(InputError, match=r"profil.*did you mean profile"):
        Expression("sum(profil)", VALUES)
    with pytest.raises(InputError, match=r"\*\*"):
        Expression("a ^ 2", VALUES)
    with pytest.raises(InputError, match="'#' begins a comment"):
        Expression("a#b", VALUES)
    with pytest.raises(InputError, match="known function"):
        Expression("average(profile)", VALUES)


def test_what_has_no_value_is_not_finite() -> None:
    assert math.isnan(Expression("log(b)", VALUES)(VALUES))
    assert math.isinf(Expression("a / 0", VALUES)(VALUES))
    assert math.isinf(Expression("9 ** 9 ** 9 ** 9", VALUES)(VALUES))
    assert math.isinf(Expression("1" + "0" * 400, VALUES)(VALUES))
    assert math.isnan(Expression("b ** 0.5", VALUES)(VALUES))


@pytest.mark.parametrize("text", ["min(a, bad)", "max(bad, a)", "min(several)", "max(several)"])
def test_a_nan_is_never_dropped(text: str) -> None:
    values = {"a": 1.0, "bad": math.nan, "several": np.array([1.0, math.nan])}
    assert math.isnan(Expression(text, values)(values))


def test_pickles() -> None:
    assert pickle.loads(pickle.dumps(Expression("a * b", VALUES)))(VALUES) == -6.0


NUMBERS = st.floats(-1e3, 1e3, allow_subnormal=False)
LEAVES = st.sampled_from(["a", "b", "1.5", "2", "1e-3"])
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from("+-*"), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        inner.map(lambda t: f"-({t})"),
        inner.map(lambda t: f"abs({t})"),
    ),
    max_leaves=12,
)


@given(TREES, NUMBERS, NUMBERS)
def test_agrees_with_python(text: str, a: float, b: float) -> None:
    expected = eval(text, {"a": a, "b": b, "abs": abs})
    found = Expression(text, ("a", "b"))({"a": a, "b": b})
    assert found == expected or (math.isnan(found) and math.isnan(expected))


def test_what_it_uses() -> None:
    assert Expression("2 * a + max(b, 1)", ("a", "b", "c")).uses == {"a", "b"}


@pytest.mark.parametrize(
    "text", ["sum(profile[1:9])", "sum(profile[3:])", "sum(profile[-4:])", "sum(profile[5:7])", "sum(grid[0, 0:4])"]
)
def test_a_slice_beyond_the_array_is_an_error(text: str) -> None:
    """A sum over a truncated file would be smaller, and over no elements 0."""
    with pytest.raises(IndexError, match=r"reaches beyond the array, which has 3|has no elements, of 3"):
        Expression(text, VALUES)(VALUES)


def test_an_output_called_pi_goes_before_the_number() -> None:
    assert Expression("2 * pi", ("pi",))({"pi": 3.0}) == 6.0
    assert Expression("2 * pi", ("a",)).uses == frozenset()


@pytest.mark.parametrize("text", ["profile[7]", "a[0]", "trapezoid(profile, places[1:])"])
def test_what_is_not_there_is_an_error(text: str) -> None:
    with pytest.raises((IndexError, ValueError)):
        Expression(text, VALUES)(VALUES)


def test_interp_takes_a_simulation_to_the_times_of_measurements() -> None:
    values = {"t": np.array([0.5, 1.5]), "ts": np.array([0.0, 1.0, 2.0]), "y": np.array([0.0, 10.0, 40.0])}
    assert Expression("interp(t, ts, y)", list(values))(values).tolist() == [5.0, 25.0]
    assert float(Expression("interp(2, ts, y)", list(values))(values)) == 40.0
    for wrong, why in (
        ("interp(3, ts, y)", "between 0 and 2"),
        ("interp(1, y[::-1], ts)", "rise"),
        ("interp(1, t, y)", "one length"),
    ):
        with pytest.raises(ValueError, match=why):
            Expression(wrong, list(values))(values)
