"""Stencils: the moment conditions, by exact arithmetic, and what is refused."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distfd.differentiation.stencils import (
    COMPLEX_STEP,
    EPS,
    SCHEMES,
    Stencil,
    coefficients,
    curvature_coefficients,
    resolve_scheme,
)
from distfd.errors import InputError

U = Fraction(1, 2**53)
"""The unit round-off."""
NODE = st.one_of(st.integers(-6, 6), st.floats(-50, 50)).map(float).filter(lambda c: abs(c) > 1e-3)
NODES = st.lists(NODE, min_size=1, max_size=6, unique=True).map(tuple)
WEIGHTS = {
    "forward": (1,),
    "backward": (-1,),
    "forward2": (2, -0.5),
    "backward2": (-2, 0.5),
    "central": (-0.5, 0.5),
    "central4": (1 / 12, -2 / 3, 2 / 3, -1 / 12),
}


def moments(stencil: Stencil, power: int) -> tuple[Fraction, Fraction]:
    """Sum of w c^power, without rounding, and of its absolute terms."""
    terms = [Fraction(w) * Fraction(c) ** power for w, c in zip(stencil.weights, stencil.nodes, strict=True)]
    return sum(terms, Fraction(0)), sum((abs(t) for t in terms), Fraction(0))


def assert_moments(stencil: Stencil) -> None:
    # A weight is a product of n - 1 factors, each rounded at the difference, the quotient and the product, over c.
    rounding = 4 * len(stencil.nodes) * U
    for power in range(1, stencil.order + 1):
        total, size = moments(stencil, power)
        assert abs(total - (power == 1)) <= rounding * size, power


@pytest.mark.parametrize("name", SCHEMES)
def test_every_scheme_meets_the_moment_conditions_of_its_order_and_no_more(name: str) -> None:
    stencil = SCHEMES[name]
    assert stencil.name == name
    assert_moments(stencil)
    beyond, size = moments(stencil, stencil.order + 1)
    assert abs(beyond) > size / 10


@given(NODES)
def test_every_user_stencil_meets_the_moment_conditions(nodes: tuple[float, ...]) -> None:
    assert_moments(Stencil("mine", nodes))


@pytest.mark.parametrize("name", SCHEMES)
def test_weights_are_those_of_the_textbooks(name: str) -> None:
    np.testing.assert_allclose(SCHEMES[name].weights, WEIGHTS[name], rtol=4 * EPS, atol=0)


@pytest.mark.parametrize(
    ("name", "power"),
    [("forward", 2), ("backward", 2), ("forward2", 3), ("backward2", 3), ("central", 3), ("central4", 5)],
)
def test_default_step_is_the_root_of_eps_of_one_more_than_the_order(name: str, power: int) -> None:
    assert SCHEMES[name].order == power - 1
    assert SCHEMES[name].relative_step == pytest.approx(EPS ** (1 / power), rel=4 * EPS)


@given(st.floats(1e-300, 1e300), st.floats(-1e300, 1e300).filter(bool))
def test_one_node_has_the_coefficient_one_exactly(a: float, b: float) -> None:
    assert coefficients(np.array([[a], [b]])).tolist() == [[1.0], [1.0]]


@given(NODE, NODE)
def test_two_unequal_offsets_follow_the_closed_formula(h1: float, h2: float) -> None:
    if math.isclose(h1, h2, rel_tol=1e-3):
        return
    c1, c2 = coefficients(np.array([h1, h2]))
    # (h2^2 (J1 - J0) - h1^2 (J2 - J0)) / (h1 h2 (h2 - h1)), NUMERICS section 1
    a, b = Fraction(h1), Fraction(h2)
    assert c1 / h1 == pytest.approx(float(b**2 / (a * b * (b - a))), rel=1e-12)
    assert c2 / h2 == pytest.approx(float(-(a**2) / (a * b * (b - a))), rel=1e-12)


@given(NODES, st.integers(-500, 500), st.randoms(use_true_random=False))
def test_coefficients_know_no_unit_and_no_order(nodes: tuple[float, ...], power: int, random: Any) -> None:
    offsets = np.array(nodes)
    assert coefficients(offsets * 2.0**power).tolist() == coefficients(offsets).tolist()
    order = random.sample(range(len(nodes)), len(nodes))
    np.testing.assert_allclose(coefficients(offsets[order]), coefficients(offsets)[order], rtol=8 * len(nodes) * EPS)


@given(st.lists(st.integers(-12, 12).filter(bool), min_size=2, max_size=5, unique=True), st.floats(1e-9, 1e3))
def test_curvature_meets_the_moment_conditions(nodes: list[int], unit: float) -> None:
    """J = (x / unit)^q has the second derivative 2 / unit^2 at 0 for q = 2, and 0 for the other q up to the order."""
    offsets = np.array(nodes) * unit
    c = curvature_coefficients(offsets)
    for q in range(1, len(nodes) + 1):
        parts = [
            Fraction(a) * Fraction(o) ** (q - 1) / Fraction(unit) ** (q - 2) for a, o in zip(c, offsets, strict=True)
        ]
        error = sum(parts, Fraction(-2 if q == 2 else 0))
        assert abs(error) <= 64 * EPS * sum(map(abs, parts), Fraction(0))


def test_the_textbooks_second_differences() -> None:
    """(J(-1) - 2 J(0) + J(1)), and (2 J(0) - 5 J(1) + 4 J(2) - J(3)); each c_i is for a secant's slope."""
    assert curvature_coefficients(np.array([-1.0, 1.0])).tolist() == [-1.0, 1.0]
    np.testing.assert_allclose(curvature_coefficients(np.array([1.0, 2.0, 3.0])) / [1, 2, 3], [-5, 4, -1], rtol=4 * EPS)


def test_an_imaginary_stencil_is_of_second_order_with_scipys_step() -> None:
    assert (COMPLEX_STEP.order, COMPLEX_STEP.weights) == (2, (1.0,))
    assert COMPLEX_STEP.relative_step == EPS**0.5
    assert resolve_scheme("complex-step") is COMPLEX_STEP
    with pytest.raises(InputError, match="an imaginary one has one node"):
        Stencil("mine", (1, 2), imaginary=True)


def test_a_stencil_may_have_a_default_step_of_its_own() -> None:
    assert Stencil("mine", (1,), default_step=1e-3).relative_step == 1e-3
    for step in (0.0, -1e-3, math.inf, math.nan):
        with pytest.raises(InputError, match="default_step must be finite and > 0"):
            Stencil("mine", (1,), default_step=step)


def test_coefficients_of_many_coordinates_are_those_of_each() -> None:
    offsets = np.random.default_rng(0).normal(size=(7, 3))
    assert coefficients(offsets).tolist() == [coefficients(row).tolist() for row in offsets]


@pytest.mark.parametrize("nodes", [[1, 2], np.array([1, 2]), (1.0, 2.0), range(1, 3)])
def test_nodes_are_kept_as_a_tuple_of_floats(nodes: Any) -> None:
    stencil = Stencil("mine", nodes)
    assert stencil.nodes == (1.0, 2.0)
    assert all(type(node) is float for node in stencil.nodes)
    assert {stencil: 1}[Stencil("mine", (1, 2))] == 1


@pytest.mark.parametrize(
    "nodes", [(), (0.0,), (-0.0, 1), (1, 1), (1, True), (math.nan, 1), (math.inf,), ("a",), 1, None, (1j,)]
)
def test_nodes_that_make_no_formula_are_refused(nodes: Any) -> None:
    with pytest.raises(InputError, match=r"'mine'.*distinct, finite and not 0"):
        Stencil("mine", nodes)


def test_a_scheme_is_a_name_or_a_stencil() -> None:
    mine = Stencil("mine", (3, 4))
    assert resolve_scheme(mine) is mine
    assert resolve_scheme("central") is SCHEMES["central"]


@pytest.mark.parametrize("scheme", ["centrl", "", None, 1, ["forward"]])
def test_what_is_no_scheme_is_refused_with_the_names_of_those_there_are(scheme: Any) -> None:
    with pytest.raises(InputError, match="forward2, backward2, central, central4, complex-step"):
        resolve_scheme(scheme)
