"""Nominal steps: SciPy's, bit for bit, and the user's."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.optimize import _numdiff
from solving import bits

from distfd.differentiation.stencils import SCHEMES, resolve_scheme
from distfd.differentiation.steps import AbsoluteStep, MixedStep, as_real, nominal_steps
from distfd.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

FINITE = st.floats(allow_nan=False, allow_infinity=False)
SPECIAL = st.sampled_from([0.0, -0.0, 1.0, -1.0, 5e-324, -5e-324, 1e-300, 1e300, -1e300, 1.7976931348623157e308, 0.1])
X = hnp.arrays(np.float64, st.integers(1, 6), elements=st.one_of(SPECIAL, FINITE))
POSITIVE = st.one_of(st.sampled_from([1e-8, 5e-324, 1e-17, 1.0, 1e-3]), st.floats(5e-324, 1e3))
STENCIL = SCHEMES["forward"]
SCIPY = [("forward", "2-point"), ("central", "3-point")]


def scipys(x: Floats, step: Any, method: str) -> Floats:
    with np.errstate(over="ignore"):
        steps: Floats = _numdiff._compute_absolute_step(step, x, np.zeros(1), method)
    return steps


@pytest.mark.parametrize(("scheme", "method"), SCIPY)
@given(X)
def test_default_steps_are_scipys_bit_for_bit(scheme: str, method: str, x: Floats) -> None:
    assert bits(nominal_steps(x, SCHEMES[scheme])) == bits(scipys(x, None, method))


@pytest.mark.parametrize(("scheme", "method"), SCIPY)
@given(X, st.data())
@example(np.array([0.0, -0.0, 1e-300, -2.0, 1e300]), None)
def test_relative_steps_are_scipys_bit_for_bit(scheme: str, method: str, x: Floats, data: Any) -> None:
    step: Any = 1e-3 if data is None else data.draw(POSITIVE | hnp.arrays(np.float64, x.shape, elements=POSITIVE))
    assert bits(nominal_steps(x, SCHEMES[scheme], step)) == bits(scipys(x, step, method))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_relative_step_that_moves_nothing_gives_way_to_the_default(scheme: str) -> None:
    x = np.array([0.0, -0.0, -3.0, 1e10, 2.0])
    steps = nominal_steps(x, SCHEMES[scheme], [1e-3, 1e-3, 1e-17, 1e-17, 1e-3])
    default = nominal_steps(x, SCHEMES[scheme])
    assert steps[:4].tolist() == default[:4].tolist()
    assert steps[4] == 2e-3
    assert default[0] == default[1] == SCHEMES[scheme].relative_step
    assert default[2] == -3 * SCHEMES[scheme].relative_step


@given(X, st.data())
def test_nan_stands_for_no_step_of_its_own(x: Floats, data: Any) -> None:
    step = data.draw(hnp.arrays(np.float64, x.shape, elements=st.one_of(st.just(math.nan), POSITIVE)))
    none = np.isnan(step)
    steps, stencil = nominal_steps(x, SCHEMES["central"], step), SCHEMES["central"]
    assert bits(steps[none]) == bits(nominal_steps(x, stencil)[none])
    assert bits(steps[~none]) == bits(nominal_steps(x, stencil, np.where(none, 1.0, step))[~none])


@given(X, st.data())
def test_scale_takes_the_place_of_the_size_of_x(x: Floats, data: Any) -> None:
    scale = data.draw(hnp.arrays(np.float64, x.shape, elements=st.one_of(st.just(math.nan), st.floats(1e-9, 1e9))))
    none, sign, stencil = np.isnan(scale), np.where(x >= 0, 1.0, -1.0), SCHEMES["forward"]
    default = nominal_steps(x, stencil, scale=scale)
    assert bits(default[none]) == bits(nominal_steps(x, stencil)[none])
    assert bits(default[~none]) == bits((stencil.relative_step * sign * scale)[~none])
    given_step = nominal_steps(x, stencil, 1e-3, scale)
    assert bits(given_step[none]) == bits(nominal_steps(x, stencil, 1e-3)[none])
    with np.errstate(over="ignore"):
        asked = 1e-3 * sign * scale
        moves = ~none & ((x + asked) - x != 0)
    assert bits(given_step[moves]) == bits(asked[moves])
    assert bits(given_step[~none & ~moves]) == bits(default[~none & ~moves])


def test_scale_may_be_one_number_for_all() -> None:
    x = np.array([5.0, -5.0])
    assert nominal_steps(x, SCHEMES["forward"], 0.5, 4.0).tolist() == [2.0, -2.0]


@given(X, st.data())
def test_an_absolute_step_is_taken_as_it_is(x: Floats, data: Any) -> None:
    h = data.draw(POSITIVE | hnp.arrays(np.float64, x.shape, elements=POSITIVE))
    for scheme in SCHEMES.values():
        assert bits(nominal_steps(x, scheme, AbsoluteStep(h))) == bits(np.broadcast_to(h, x.shape))


def test_a_step_past_the_largest_number_is_infinite_and_no_warning() -> None:
    assert nominal_steps(np.array([1e300, -1e300]), SCHEMES["forward"], 1e300).tolist() == [math.inf, -math.inf]


BAD = [0, -1.0, math.nan, math.inf, [1.0, -1.0], [1.0, 0.0], [math.inf, 1.0], "auto", ["a", "b"], True, 1j, [1j, 1], {}]


@pytest.mark.parametrize("bad", [*BAD, [[1.0], [1.0, 2.0]]])
@pytest.mark.parametrize("what", ["step", "scale", "absolute"])
def test_what_is_no_step_or_scale_is_refused(what: str, bad: Any) -> None:
    make: Any = AbsoluteStep if what == "absolute" else lambda v: nominal_steps(np.ones(2), STENCIL, **{what: v})
    with pytest.raises(InputError, match=r"^step: must be|^scale: must be"):
        make(bad)


def test_an_absolute_step_has_no_gaps() -> None:
    with pytest.raises(InputError, match="nan at coordinate 1"):
        AbsoluteStep([1.0, math.nan])


@pytest.mark.parametrize("wrong", [[1.0], [1.0] * 3, [[1.0, 1.0]]])
@pytest.mark.parametrize("what", ["step", "scale", "absolute"])
def test_another_length_than_that_of_x_is_refused(what: str, wrong: Any) -> None:
    keywords = {"step": AbsoluteStep(wrong)} if what == "absolute" else {what: wrong}
    with pytest.raises(InputError, match="one number or 2"):
        nominal_steps(np.ones(2), STENCIL, **keywords)


def test_a_refusal_names_the_coordinate() -> None:
    with pytest.raises(InputError, match=r"was -3.0 at coordinate 1\)"):
        nominal_steps(np.ones(3), SCHEMES["forward"], [1.0, -3.0, -4.0])


def test_steps_belong_to_the_caller() -> None:
    h = np.array([1.0, 2.0])
    steps = nominal_steps(np.ones(2), SCHEMES["forward"], AbsoluteStep(h))
    h[0] = 7.0
    assert steps.tolist() == [1.0, 2.0]


def test_real_numbers_are_a_fresh_float64_array() -> None:
    given_array = np.array([1, 2], dtype=np.int32)
    array = as_real("x0", given_array)
    assert array.dtype == np.float64
    assert array.tolist() == [1.0, 2.0]
    same = np.ones(2)
    assert not np.shares_memory(as_real("x0", same), same)


def test_a_refusal_of_a_long_list_is_short() -> None:
    with pytest.raises(InputError) as caught:
        as_real("x0", ["a"] * 100_000)
    assert len(str(caught.value)) < 200


def test_absolute_steps_of_some_coordinates_and_relative_ones_of_the_others() -> None:
    x = np.array([2.0, 0.0, -4.0, 5.0])
    stencil = resolve_scheme("forward")
    given = MixedStep(np.array([np.nan, 0.1, np.nan, 0.2]), np.array([0.5, np.nan, 0.25, np.nan]))
    assert nominal_steps(x, stencil, given).tolist() == [1.0, 0.1, -1.0, 0.2]
    own = MixedStep(np.array([np.nan, 0.1, np.nan, 0.2]))
    plain = nominal_steps(x, stencil)
    assert nominal_steps(x, stencil, own).tolist() == [plain[0], 0.1, plain[2], 0.2]
    with pytest.raises(InputError, match="step: must be finite and > 0"):
        MixedStep(np.array([np.nan, 0.0]))
    with pytest.raises(InputError, match="step: must be finite and > 0"):
        MixedStep(np.array([np.nan, 1.0]), -1.0)
