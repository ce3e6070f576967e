"""Finds the unit in which output is rounded, by its digits."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_DIGITS = 13
"""A value with at most this many digits is rounded. A computed float64 has 15 to 17; of a dozen such values none has so
few by chance."""
_MISSING = 12
"""Fewer values than are asked for will do if they differ, and lack this many digits together: chance is 1e-12."""
_FEW = 3
_LEAST = 4
"""Number of values that are needed for a verdict."""
_SAMPLE = 16
"""Number of elements of a long x whose digits are looked at."""


def quantum(values: NDArray[np.float64], *, printed: bool = False, least: int = _LEAST) -> NDArray[np.float64]:
    """The unit of each output's last digit, (m,), from values (n, m); 0 where values have all digits of a float64.

    Three kinds of rounding are seen: few decimal digits (printed output), half and single precision, and multiples of
    one unit. If the points are round numbers in binary, as with many fixed steps, J's values may have few digits by
    chance: then only ``printed`` output shows a unit. A verdict needs ``least`` values, or two different ones
    of very few digits.
    """
    return np.array([_quantum(column[np.isfinite(column)], printed, least) for column in values.T], dtype=np.float64)


def many_digits(values: NDArray[np.float64]) -> bool:
    """Whether most of these numbers have more digits than printed output has, as sums x + h with default steps do."""
    digits = [_last_digit(value)[1] for value in values[:_SAMPLE].tolist() if value and np.isfinite(value)]
    return 2 * sum(n > _DIGITS for n in digits) > len(digits)


def _quantum(values: NDArray[np.float64], printed: bool, least: int) -> float:
    different = np.unique(values[values != 0])
    if not len(different) or len(values) < min(least, 2):
        return 0.0
    units, most, missing = [], 0, 0
    # The first value with all digits settles it, so long outputs cost nothing more.
    for value in different.tolist():
        unit, digits = _last_digit(value)
        if digits > _DIGITS:
            return 0.0 if printed or len(values) < least else _spacing(different) or _lattice(different)
        units.append(unit)
        missing += 15 - digits
        most = max(most, digits)
    if len(values) < least and (len(different) < 2 or missing < _MISSING):
        return 0.0
    # A J that is 1 or 1500 everywhere may be rounded to whole numbers, but a warning about that would mislead.
    if printed and is_plain_constant(values):
        return 0.0
    if not printed:
        # Numbers of half precision have few decimal digits too (1.3291015625), whose last is no unit.
        return max(min(units), _spacing(different))
    return 0.0 if most < _FEW and len(different) < _FEW else min(units)


def is_plain_constant(values: NDArray[np.float64]) -> bool:
    """Whether all values are the same number, and it is whole or has only one or two digits."""
    one = float(values.flat[0]) if values.size else 0.0
    if not np.isfinite(one) or (values != one).any():
        return False
    return one == 0 or one.is_integer() or _last_digit(one)[1] < _FEW


def n_digits(value: float) -> int:
    """The number of digits in the number's shortest decimal form."""
    return _last_digit(value)[1] if np.isfinite(value) else 0


def _last_digit(value: float) -> tuple[float, int]:
    """The unit of the last digit in the number's shortest decimal form, and its number of digits."""
    number = Decimal(repr(value)).normalize().as_tuple()
    assert isinstance(number.exponent, int), "finite numbers have a whole exponent"
    return float(f"1e{number.exponent}"), len(number.digits)


def _spacing(values: NDArray[np.float64]) -> float:
    """The spacing of the coarsest floating-point type that holds all of these numbers; 0 if it is that of doubles."""
    for kind in (np.float16, np.float32):
        with np.errstate(over="ignore", under="ignore"):
            held = values.astype(kind)
        if np.array_equal(held.astype(np.float64), values):
            return float(np.spacing(np.abs(held).max()))
    return 0.0


def _lattice(values: NDArray[np.float64]) -> float:
    """The smallest gap, if all gaps are multiples of it and far above rounding; else 0.

    If all gaps are equal, the result is 0: a linear J has equal gaps at equally spaced points.
    """
    gaps = np.diff(values)
    if len(gaps) < _LEAST:
        return 0.0
    unit = float(gaps.min())
    counts = (values - values[0]) / unit
    coarse = unit > 1e6 * float(np.spacing(np.abs(values).max()))
    uneven = counts[-1] > len(gaps) + 0.5
    return unit if coarse and uneven and counts[-1] < 1e4 and np.all(np.abs(counts - np.rint(counts)) < 1e-4) else 0.0
