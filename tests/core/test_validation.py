"""Which values are real numbers."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from distfd.core.validation import is_number, is_whole, real_array


@pytest.mark.parametrize("given", [np.timedelta64(5, "s"), 10**400, True, "5", None, float("nan"), 1j])
def test_what_is_no_number(given: Any) -> None:
    assert not is_number(given)


def test_a_duration_is_no_whole_number() -> None:
    assert not is_whole(np.timedelta64(5, "s"))
    assert is_whole(np.int64(5))


@pytest.mark.parametrize(
    "given", [[1, 2], (1.0, np.float32(2)), range(1, 3), [Fraction(1), Decimal(2)], np.ma.array([1, 2])]
)
def test_numbers_of_many_types(given: Any) -> None:
    found = real_array(given)
    assert found.dtype == np.float64
    assert found.tolist() == [1.0, 2.0]


def test_none_among_numbers_is_a_gap() -> None:
    assert np.isnan(real_array([None, 1.0])).tolist() == [True, False]


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (["1", "2"], "text"),
        (np.array(["1", 2.0], dtype=object), "a str is no real number"),
        ([True], "truth values"),
        (np.array([True, 2.0], dtype=object), "a bool is no real number"),
        ([1j], "complex numbers"),
        (np.array([np.complex128(1), 2.0], dtype=object), "a complex128 is no real number"),
        (np.array(["2020-01-01"], dtype="datetime64[D]"), "dates"),
        (np.array([1], dtype="timedelta64[ns]"), "durations"),
        (np.array([(1.0, 2.0)], dtype=[("a", float), ("b", float)]), "records"),
        (np.ma.array([1.0, 2.0], mask=[True, False]), "masked"),
        ([10**400], "too large"),
        ([[1.0], [1.0, 2.0]], "inhomogeneous"),
        ((one for one in (1.0, 2.0)), "a generator is no real number"),
    ],
)
def test_what_is_no_array_of_real_numbers(given: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        real_array(given)
