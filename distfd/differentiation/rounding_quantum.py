"""The unit in which output is rounded, read off its digits."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_DIGITS = 12
"""A float64 that was computed has 15 to 17 digits; of a dozen of them none has so few by chance."""
_FEW = 3
_LEAST = 4
"""Values that it takes to say so."""
_SAMPLE = 16
"""Of a long x, numbers that are looked at."""


def quantum(values: NDArray[np.float64], *, printed: bool = False, least: int = _LEAST) -> NDArray[np.float64]:
    """The unit of each output's last digit, (m,), from values (n, m); 0 where they have all the digits of a float64.

    Three kinds are seen: few decimal digits (printed output), single precision, and multiples of one unit. At points
    that are round numbers in binary, as those of fixed steps often are, only ``printed`` output is told from chance.
    It takes ``least`` values to say so.
    """
    return np.array([_quantum(column[np.isfinite(column)], printed, least) for column in values.T], dtype=np.float64)


def many_digits(values: NDArray[np.float64]) -> bool:
    """Whether most of some numbers have more digits than printed output, as the sums x + h of default steps have."""
    digits = [_last_digit(value)[1] for value in values[:_SAMPLE].tolist() if value and np.isfinite(value)]
    return 2 * sum(n > _DIGITS for n in digits) > len(digits)


def _quantum(values: NDArray[np.float64], printed: bool, least: int) -> float:
    different = np.unique(values[values != 0])
    if len(values) < least or not len(different):
        return 0.0
    units, most = [], 0
    # The first that has all its digits settles it, at no cost for the rest.
    for value in different.tolist():
        unit, digits = _last_digit(value)
        if digits > _DIGITS:
            return 0.0 if printed else _single(different) or _lattice(different)
        units.append(unit)
        most = max(most, digits)
    # A J that is 1 or 1500 wherever one looks may be rounded to whole numbers, but nobody should be told so.
    if printed and is_plain_constant(values):
        return 0.0
    return 0.0 if printed and most < _FEW and len(different) < _FEW else min(units)


def is_plain_constant(values: NDArray[np.float64]) -> bool:
    """Whether the values are all one number, which is whole or has but a digit or two."""
    one = float(values.flat[0]) if values.size else 0.0
    if not np.isfinite(one) or (values != one).any():
        return False
    return one == 0 or one.is_integer() or _last_digit(one)[1] < _FEW


def _last_digit(value: float) -> tuple[float, int]:
    """The unit of the last digit of the shortest decimal that reads back as this number, and how many it has."""
    number = Decimal(repr(value)).normalize().as_tuple()
    assert isinstance(number.exponent, int), "finite numbers have a whole exponent"
    return float(f"1e{number.exponent}"), len(number.digits)


def _single(values: NDArray[np.float64]) -> float:
    with np.errstate(over="ignore"):
        held = values.astype(np.float32)
    return float(np.spacing(np.abs(held).max())) if np.array_equal(held.astype(np.float64), values) else 0.0


def _lattice(values: NDArray[np.float64]) -> float:
    """The smallest gap where all gaps are multiples of it, and are far above rounding.

    Gaps that are all alike are those of a straight J at equally spaced points, and tell of no unit.
    """
    gaps = np.diff(values)
    if len(gaps) < _LEAST:
        return 0.0
    unit = float(gaps.min())
    counts = (values - values[0]) / unit
    coarse = unit > 1e6 * float(np.spacing(np.abs(values).max()))
    uneven = counts[-1] > len(gaps) + 0.5
    return unit if coarse and uneven and counts[-1] < 1e4 and np.all(np.abs(counts - np.rint(counts)) < 1e-4) else 0.0
