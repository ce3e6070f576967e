"""Options: checked once, when they are made."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from distfd.core.records import Status
from distfd.differentiation.stencils import SCHEMES, Stencil
from distfd.differentiation.steps import AbsoluteStep
from distfd.errors import InputError
from distfd.evaluation.evaluator import Evaluator
from distfd.evaluation.options import DerivativeOptions, EvaluationOptions

if TYPE_CHECKING:
    from collections.abc import Mapping


def tries(retries: Any) -> Mapping[Status, int]:
    return EvaluationOptions(retries=retries).policy(limits_itself=False).retries


def test_defaults() -> None:
    policy = EvaluationOptions().policy(limits_itself=True)
    assert policy.retries == {Status.ERROR: 0, Status.CRASH: 2, Status.TIMEOUT: 0}
    assert (policy.timeout, policy.limits_itself) == (None, True)
    assert DerivativeOptions().stencil is SCHEMES["forward"]


@pytest.mark.parametrize("n", [0, 3, np.int64(3)])
def test_one_number_of_retries_is_for_all_causes(n: int) -> None:
    assert tries(n) == {Status.ERROR: n, Status.CRASH: n, Status.TIMEOUT: n}


def test_causes_that_are_not_named_keep_their_default() -> None:
    assert tries({"timeout": 4}) == {Status.ERROR: 0, Status.CRASH: 2, Status.TIMEOUT: 4}
    assert tries({}) == tries(None)
    assert tries({"crash": 0}) == {Status.ERROR: 0, Status.CRASH: 0, Status.TIMEOUT: 0}


@pytest.mark.parametrize(
    "retries", [-1, 1.0, True, "2", [1], {"crash": -1}, {"crash": None}, {"error": True}, math.inf]
)
def test_what_is_no_number_of_retries_is_refused(retries: Any) -> None:
    with pytest.raises(InputError, match="whole numbers >= 0"):
        EvaluationOptions(retries=retries)


@pytest.mark.parametrize("retries", [{"crashes": 1}, {"lost": 1, "crash": 2}, {1: 1, "a": 2}])
def test_unknown_causes_are_refused_with_those_there_are(retries: Any) -> None:
    with pytest.raises(InputError, match=r"no cause .*; use error, crash, timeout"):
        EvaluationOptions(retries=retries)


@pytest.mark.parametrize("timeout", [0, -1.0, math.nan, math.inf, "10min", True, [1.0], 1j])
def test_what_is_no_timeout_is_refused(timeout: Any) -> None:
    with pytest.raises(InputError, match=r"^timeout: "):
        EvaluationOptions(timeout=timeout)


@pytest.mark.parametrize("timeout", [1e-3, 5, np.float64(2.5), np.int64(3)])
def test_a_timeout_is_seconds(timeout: Any) -> None:
    assert EvaluationOptions(timeout=timeout).policy(limits_itself=False).timeout == timeout


@pytest.mark.parametrize("on_failure", ["rise", "", None, ["raise"], True])
def test_what_a_failure_means_is_one_of_the_words(on_failure: Any) -> None:
    with pytest.raises(InputError, match=r"^on_failure: must be one of raise, nan"):
        EvaluationOptions(on_failure=on_failure)


@pytest.mark.parametrize("bad", [0, -1, math.nan, math.inf, [1, -1], "automatic", "1e-3", True, 1j, {}])
@pytest.mark.parametrize("what", ["step", "scale"])
def test_steps_and_scales_are_checked_before_there_is_an_x(what: str, bad: Any) -> None:
    with pytest.raises(InputError, match=f"^{what}: must be"):
        DerivativeOptions(**{what: bad})


@pytest.mark.parametrize("good", [None, 1, 1e-3, [1e-3, math.nan], np.ones(3), AbsoluteStep(1.0)])
def test_steps_that_can_be_used_pass(good: Any) -> None:
    assert DerivativeOptions(step=good).step is good


def test_a_scheme_is_checked_too() -> None:
    mine = Stencil("mine", (1, 2, 3))
    assert DerivativeOptions(mine).stencil is mine
    with pytest.raises(InputError, match="no 'forwards'"):
        DerivativeOptions("forwards")


def test_equal_names_are_refused() -> None:
    with pytest.raises(InputError, match=r"^names: must differ"):
        DerivativeOptions(names=["mass", "width", "mass"])


@pytest.mark.parametrize("word", ["no", "false", 2])
def test_deterministic_is_no_word(word: Any) -> None:
    with pytest.raises(InputError, match=r"^deterministic: must be True, False or None"):
        Evaluator(np.sum, deterministic=word, executor="serial")
