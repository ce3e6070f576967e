"""Checks of the types of values that users give."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import TypeGuard


def is_number(given: Any) -> TypeGuard[float]:
    """Whether it is a real number; a bool and NaN are not."""
    return isinstance(given, Real) and not isinstance(given, bool) and not math.isnan(float(given))


def is_whole(given: Any) -> TypeGuard[int]:
    """Whether it is an integer; a bool is not."""
    return isinstance(given, Integral) and not isinstance(given, bool)
