"""Checks of the types of values that users give."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from typing import TypeGuard

    from numpy.typing import NDArray

_NO_NUMBERS = (str, bytes, bool, np.bool_, complex, np.complexfloating, np.datetime64, np.timedelta64)
"""Types of which some could be converted to a float, but are mistakes where a real number is asked for."""
_OTHER_KINDS = {
    "U": "text",
    "S": "bytes",
    "b": "truth values",
    "c": "complex numbers",
    "M": "dates",
    "m": "durations",
    "V": "records with fields",
}
"""What arrays hold that hold no real numbers, by NumPy's letter for the kind."""


def is_number(given: Any) -> TypeGuard[float]:
    """Whether it is a real number that a float can hold; a bool, a duration of NumPy's and NaN are not."""
    if not isinstance(given, Real) or isinstance(given, (bool, np.timedelta64)):
        return False
    try:
        return not math.isnan(float(given))
    except OverflowError:
        return False


def is_whole(given: Any) -> TypeGuard[int]:
    """Whether it is an integer; a bool and a duration of NumPy's are not."""
    return isinstance(given, Integral) and not isinstance(given, (bool, np.timedelta64))


def real_array(given: Any) -> NDArray[np.float64]:
    """Real numbers as a fresh float64 array; None among others is NaN.

    Raises
    ------
    ValueError
        If something else is among them, such as text, truth values, complex numbers or masked entries; it says what.
    """
    if np.ma.is_masked(given):
        raise ValueError("some of its entries are masked")
    try:
        array = np.asarray(given)
        if array.dtype.kind == "O":
            for one in array.flat:
                if isinstance(one, _NO_NUMBERS) or not (one is None or hasattr(one, "__float__")):
                    raise ValueError(f"a {type(one).__name__} is no real number")
        elif array.dtype.kind not in "iuf":
            raise ValueError(_OTHER_KINDS.get(array.dtype.kind, str(array.dtype)))
        return np.array(array, dtype=np.float64)
    except (TypeError, OverflowError) as error:
        raise ValueError(str(error)) from error
