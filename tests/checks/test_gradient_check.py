"""Gradients that are right are called so, and wrong ones by the components that are wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from solving import drive
from tiny_coordinates import decay

import distfd
from distfd.differentiation.auto_step import AutoStep
from distfd.differentiation.base_point import BasePoint
from distfd.evaluation.subspace import Subspace, line_base_point, random_directions

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

X = np.array([1.5, -2.0, 0.7, 3.0])
NAMES = ["a", "b", "c", "d"]


def fun(x: Floats) -> float:
    return float(np.exp(x[0]) + x[0] * x[1] ** 3 + np.sin(x[2]) * x[3])


def grad(x: Floats) -> Floats:
    return np.array([np.exp(x[0]) + x[1] ** 3, 3 * x[0] * x[1] ** 2, np.cos(x[2]) * x[3], np.sin(x[2])])


def check(given: Any, x: Any = X, j: Any = fun, **options: Any) -> distfd.GradientCheck:
    return distfd.check_gradient(j, given, x, executor="serial", **options)


def noisy(level: float, seed: int = 0) -> Callable[[Floats], float]:
    rng = np.random.default_rng(seed)
    return lambda x: fun(x) + level * float(rng.normal())


@pytest.mark.parametrize("level", [0.0, 1e-8, 1e-5])
@pytest.mark.parametrize("seed", range(5))
def test_a_right_gradient_agrees(level: float, seed: int) -> None:
    found = check(grad, j=noisy(level, seed), names=NAMES)
    assert found.ok, str(found)
    assert found.differing.tolist() == []
    assert found.hint == ""
    assert str(found).startswith("the gradient agrees with J in")


@pytest.mark.parametrize("k", range(4))
@pytest.mark.parametrize("factor", [1.01, 0.0, -1.0])
def test_one_wrong_component_is_named(k: int, factor: float) -> None:
    given = grad(X)
    given[k] *= factor
    found = check(given, names=NAMES, j=noisy(1e-8))
    assert not found.ok
    assert found.differing.tolist() == [k]
    assert [status for j, status in enumerate(found.status) if j != k] == ["agrees"] * 3
    assert str(found).startswith("the gradient is WRONG in 1 of 4 components")
    assert repr(NAMES[k]) in str(found).splitlines()[0]


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda x: -grad(x), "the sign is wrong"),
        (lambda x: 2 * grad(x), "all components are 2 times those of J"),
        (lambda x: grad(x) * x, "x times that of J"),
        (lambda x: grad(x) / x, "1 / x times that of J"),
        (lambda x: grad(x) * [1, 10, 100, 1000], "scale times that of J"),
        (lambda x: grad(x)[::-1], "in another order"),
        (lambda x: grad(x) + np.array([0, 0, 1, 2]), ""),
    ],
)
def test_what_a_wrong_gradient_looks_like_is_said(wrong: Any, hint: str) -> None:
    found = check(wrong, scale=[1, 10, 100, 1000])
    assert not found.ok
    assert hint in found.hint
    assert bool(hint) == bool(found.hint)


def test_noise_that_hides_a_component_leaves_it_open() -> None:
    rng = np.random.default_rng(3)

    def rough(x: Floats) -> float:
        return float(1e6 * x[0] + 1e-4 * x[1] ** 2 + 1e3 * rng.normal())

    found = check([1e6, 1e-4], [1.0, 1.0], rough)
    assert found.status[0] != "differs"
    found = check([1e6, 1e-4], [1.0, 1.0], lambda x: float(x[1] + 5 * rng.normal()), components=[1])
    assert found.status == ("", "cannot tell")
    assert not found.ok
    assert str(found).startswith("cannot tell")


def many(d: int) -> tuple[Floats, Callable[[Floats], float], Callable[[Floats], Floats]]:
    weights = np.linspace(1, 2, d)
    return (
        np.linspace(0, 1, d),
        lambda x: float(np.sin(weights * x).sum()),
        lambda x: weights * np.cos(weights * x),
    )


def test_of_many_coordinates_a_few_directions_are_enough_where_they_agree() -> None:
    x, j, g = many(400)
    found = check(g, x, j)
    assert found.ok
    assert found.slope_status == ("agrees",) * 4
    assert set(found.status) == {""}
    assert found.n_evaluations <= 4 * 4 + 40
    assert "4 random directions" in str(found)


@pytest.mark.slow
def test_of_many_coordinates_the_wrong_one_is_found() -> None:
    x, j, g = many(150)
    given = g(x)
    given[77] *= 1.5
    found = check(given, x, j)
    assert found.differing.tolist() == [77]
    assert "differs" in found.slope_status


def test_directions_alone_say_wrong_without_saying_where() -> None:
    x, j, g = many(400)
    given = g(x)
    given[77] = -given[77]
    found = check(given, x, j, components="none")
    assert not found.ok
    assert "slopes along random directions" in str(found)


@pytest.mark.parametrize("side", [0.0, 1e-9, 0.3])
def test_directions_stay_inside_the_bounds(side: float) -> None:
    x, j, g = many(120)
    lower, upper = x - side, x + 1.0
    upper[5] = lower[5] = x[5]
    lower[7], upper[7] = x[7] - 1.0, x[7]

    def inside(at: Floats) -> float:
        assert np.all((lower <= at) & (at <= upper))
        return j(at)

    found = check(g, x, inside, bounds=list(zip(lower, upper, strict=True)), components="none")
    assert found.ok, str(found)


def test_along_directions_a_method_sees_j_of_t() -> None:
    infinite = np.full(4, np.inf)
    site = BasePoint(X, -infinite, infinite)
    ways = random_directions(site, np.ones(4), 3)
    assert ways.tolist() == random_directions(site, np.ones(4), 3).tolist()
    method = Subspace(site, ways, AutoStep(line_base_point(site, ways), np.ones(3)))
    answer, _ = drive(method, fun)
    assert answer.error is not None
    assert np.all(np.abs(answer.derivative - ways @ grad(X)) <= np.maximum(3 * answer.error, 1e-9))


@pytest.mark.parametrize(
    ("given", "options", "says"),
    [
        ([1.0], {}, "must be 4 finite numbers"),
        ([1.0, 2.0, np.nan, 3.0], {}, "must be 4 finite numbers"),
        (grad, {"components": "some"}, "components: must be"),
        (grad, {"components": [9]}, "no coordinate 9"),
        (grad, {"step": 1e-6}, "needs error bars"),
    ],
)
def test_what_makes_no_sense_is_refused(given: Any, options: Any, says: str) -> None:
    with pytest.raises(distfd.InputError, match=says):
        check(given, **options)


def test_a_given_gradient_may_not_change_x() -> None:
    def spoils(x: Floats) -> Floats:
        found = grad(x)
        x[:] = 0
        return found

    assert check(spoils).ok


def test_zeros_in_x_and_in_the_gradient_are_no_trouble() -> None:
    found = check([2.0, 0.0, 3.0], [0.0, 1.0, 0.0], lambda x: float(2 * x[0] + x[2]))
    assert found.differing.tolist() == [2]
    assert found.status[1] == "agrees"


def decay_gradient(p: Floats) -> Floats:
    e = 5e-6 * np.exp(-1e-6 / (p[0] * p[1]))
    return np.array([-e / (p[0] ** 2 * p[1]), -e / (p[0] * p[1] ** 2)])


TINY: dict[str, tuple[Any, Any, list[float]]] = {
    "decay": (decay, decay_gradient, [1e3, 1e-9]),
    "saturation": (lambda p: p[0] / (p[0] + 1e-8), lambda p: 1e-8 / (p + 1e-8) ** 2, [1e-8]),
    "steep": (lambda x: float(np.sum((1e12 * x - 1) ** 2)), lambda x: 2e12 * (1e12 * x - 1), [2e-12, 5e-12]),
    "next to 0": (lambda x: np.sin(1 + x[0]) + x[1], lambda x: np.array([np.cos(1 + x[0]), 1]), [1e-9, 3.0]),
}


@pytest.mark.parametrize("case", list(TINY))
def test_gradients_at_tiny_coordinates(case: str) -> None:
    j, right, x = TINY[case]
    assert check(right, x, j).ok
    for k in range(len(x)):
        given = np.array(right(np.array(x)), dtype=float)
        given[k] *= 1.001
        found = check(given, x, j)
        assert found.differing.tolist() == [k]


def test_among_many_coordinates_a_tiny_one_is_looked_at_by_itself() -> None:
    x = np.linspace(1, 2, 150)
    x[7] = 1e-9

    def j(x: Floats) -> float:
        return float(np.sum(np.sin(x)))

    assert check(np.cos, x, j).ok
    wrong = np.cos(x)
    wrong[7] = 0.9
    assert check(wrong, x, j).differing.tolist() == [7]


@pytest.mark.filterwarnings("ignore::distfd.DerivativeWarning")
def test_at_a_kink_each_slope_between_both_sides_may_be_meant() -> None:
    def relu(x: Floats) -> float:
        return float(np.maximum(x, 0).sum() + np.abs(x[1]))

    x = np.array([0.0, 0.0, 2.0])
    for given in ([0.0, 1.0, 1.0], [1.0, 2.0, 1.0], [0.5, -1.0, 1.0]):
        found = check(given, x, relu)
        assert found.ok, str(found)
        assert found.cannot_tell.tolist() == [0, 1]
        assert any("kink" in text for text in found.warnings)
    assert check([1.5, 0.0, 1.0], x, relu).differing.tolist() == [0]
    assert check([0.0, -1.5, 1.0], x, relu).differing.tolist() == [1]


def test_at_a_stationary_point_a_right_gradient_agrees() -> None:
    def bowl(x: Floats) -> float:
        return float(x @ x + np.cosh(x[0]) + x[1] * x[2])

    zero = np.zeros(3)
    found = check(zero, zero, bowl)
    assert found.status == ("agrees",) * 3, str(found)
    assert check([0, 1e-3, 0], zero, bowl).differing.tolist() == [1]
    rng = np.random.default_rng(0)
    loud = check(zero, zero, lambda x: bowl(x) + 10 * float(rng.normal()))
    assert loud.status == ("cannot tell",) * 3, str(loud)


def test_a_gross_error_is_seen_in_a_component_however_small() -> None:
    def uneven(x: Floats) -> float:
        return float(1e6 * x[0] + 1e-3 * np.sin(x[1]) + x[2])

    x = np.array([1.3, -0.7, 0.4])
    right = np.array([1e6, 1e-3 * np.cos(x[1]), 1.0])
    assert check(right, x, uneven).status == ("agrees",) * 3
    for factor in (2.0, 0.0, -1.0):
        assert check(right * [1, factor, 1], x, uneven).differing.tolist() == [1]
    # A gradient in single precision has errors of this size next to a large component.
    assert check(np.array([1e6, 2e-3, 1.0], dtype=np.float32), x, uneven).ok


@pytest.mark.filterwarnings("ignore::distfd.DerivativeWarning")
@pytest.mark.parametrize("w", [3e6, 1e7, 1e8])
def test_a_gradient_of_a_phase_far_below_every_step_is_not_called_wrong(w: float) -> None:
    """An optical path in metres: J's own scale is the wavelength, and at larger steps J looks like noise."""

    def phase(x: Floats) -> float:
        return float(np.sin(w * x[0]) + x[1])

    x = np.array([0.3, 0.2])
    right = np.array([w * np.cos(w * x[0]), 1.0])
    found = check(right, x, phase)
    assert found.differing.tolist() == [], str(found)
    assert found.status[0] == "agrees"
    assert any("own scale along coordinate 0 is far below" in text for text in found.warnings)
    assert check(right * [1.5, 1], x, phase).differing.tolist() == [0]
    rng = np.random.default_rng(0)
    flat = check([1e4, 1.0], x, lambda x: float(x[1] + 0.5 * rng.normal()))
    assert 0 in flat.differing, "noise has no such slope at short steps either"
