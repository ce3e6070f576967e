"""Steps for the precision in which J returns its values, which the first of them shows.

A difference of float32 values knows nothing of steps that suit a float64: at eps^(1/2) of the latter J does not move at
all. So the type of the values decides on steps that the user left open.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core.records import DOUBLE, WHOLE, Status
from distfd.differentiation.method import Request, Wave, without_optional

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from distfd.core.points import Points
    from distfd.core.records import Failure
    from distfd.differentiation.method import Answer, Method

SINGLE = np.finfo(np.float32).nmant
_PROOF = 18
"""Bits of a significand beyond which a float32 must have some for a number to be taken for one."""
_ROUND = 6
"""Bits up to which a number is a round one."""
_SHORT = 20
"""Bits of a coordinate up to which sums and products of it may have those of a float32 without any rounding."""
_LOOKED_AT = 200
"""Points whose digits are looked at."""
_STEP = 2.0**-13
"""The step of second derivatives, which is short itself; those of first ones are not."""
_ROOM = 2.0**-4
"""What simple factors, as 0.75 or 1/8, add to the digits of a sum or product."""
_NAMES = {SINGLE: "float32", 10: "float16", 7: "bfloat16", WHOLE: "whole numbers"}


def wave_bits(wave: Wave) -> int:
    """Bits of the shortest number type among the wave's values; `WHOLE` where all are whole numbers.

    A function that returns a float here and the number 0 there is one of floats. And one that makes a double of a
    float32 before it returns it (``float(loss)``, ``loss.item()``) is still one of float32. Optional points have no
    say: no derivative depends on them.
    """
    wave = without_optional(wave)
    good = wave.status == Status.OK
    seen = np.full(len(good), DOUBLE) if wave.bits is None else wave.bits
    seen = seen[good]
    fractions = seen[seen != WHOLE]
    bits = int(fractions.min()) if len(fractions) else WHOLE if len(seen) else DOUBLE
    if bits == DOUBLE and len(seen) and not np.iscomplexobj(wave.values):
        values = wave.values[good]
        if _are_single(values) and _are_rounded(values, wave.request.points.take(np.flatnonzero(good))):
            return SINGLE
    return bits


def stands_for_want_of_digits(values: NDArray[Any]) -> bool:
    """Whether J, of values (n, ...), is the same at all points, and that number is a float32, and no round one.

    A J that does not depend on x may be 2, 0.75, or 0.1; it has few bits or all.
    """
    first = values[0]
    if np.iscomplexobj(values) or not (values == first).all():
        return False
    with np.errstate(all="ignore"):
        fraction = np.frexp(first)[0] * 2.0**_ROUND
        return bool(((first.astype(np.float32) == first) & (fraction != np.rint(fraction)) & (first % 1 != 0)).any())


def _are_single(values: NDArray[np.float64]) -> bool:
    """Whether values (n, m) are all float32 numbers."""
    with np.errstate(all="ignore"):
        return all(bool((part.astype(np.float32) == part).all()) for part in (values[:1], values))


def _are_rounded(values: NDArray[np.float64], points: Points) -> bool:
    """Whether values (n, m), all of them float32 numbers, are so by rounding: by their digits it is no chance.

    A double has so few bits by chance once in 2^29. Whole numbers, and simple fractions such as 0.75, prove nothing.
    Nor does a value that sums and products of short coordinates have by themselves: of x = 0.5 + 2^-13 the J = 1e3 + x
    is a float32, and so is x^2 where it is small. A value with digits finer than these tells.
    """
    with np.errstate(all="ignore"):
        fraction = np.abs(np.frexp(values)[0]) * 2.0**_PROOF
        long = (fraction != np.rint(fraction)) & (values != np.rint(values))
        for k in np.flatnonzero(long.any(axis=1))[:_LOOKED_AT].tolist():
            exact = _exact_unit(_unit(points, k, values[k] != values[0]), np.abs(values[k]))
            if (long[k] & (np.isinf(exact) | (values[k] != np.rint(values[k] / exact) * exact))).any():
                return True
    return False


def _exact_unit(unit: NDArray[np.float64], size: NDArray[np.float64]) -> NDArray[np.float64]:
    """The unit of sums, and of products of up to four, of numbers whose unit is ``unit``, (m,).

    Beside x the unit of a product is `_STEP` to its power at least, times a factor where J is of such a ``size``, (m,):
    it would have more bits than a float32 else.
    """
    found = unit
    for power in range(2, 5):
        factor = np.exp2(np.ceil(np.log2(np.maximum(1.0, size * 2.0 ** -(SINGLE + 1) / _STEP**power))))
        found = np.minimum(found, unit**power * factor)
    return np.maximum(found * _ROOM, np.spacing(size))


def _unit(points: Points, k: int, moves: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The unit, a power of two up to 1, of which the short coordinates of point k are multiples, (m,).

    It is inf where none is short, and for outputs (m,) that move with one long coordinate alone: their digits are not
    those of the short ones, however few these have. Of several that move, one may undo the other.
    """
    indices, changed = points.changes(k)
    units = _last_bit(points.dense(k))
    unit = float(np.min(units, where=units > 0, initial=np.inf))
    moved = changed != points.x[indices]
    alone = np.count_nonzero(moved) == 1
    if not (_last_bit(changed)[moved] == 0).any():
        return np.full(len(moves), unit)
    return np.where(moves, np.inf if alone else min(unit, _STEP), unit)


def _last_bit(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """The value of the last bit of each number, 1 where that is more or the number is 0; 0 of those that are long."""
    significand, exponent = np.frexp(x)
    digits = np.rint(significand * 2.0**_SHORT)
    short = digits == significand * 2.0**_SHORT
    whole = digits.astype(np.int64)
    lowest = np.ldexp((whole & -whole).astype(np.float64), exponent - _SHORT)
    return np.where(short, np.where(whole == 0, 1.0, np.minimum(lowest, 1.0)), 0.0)


def step_bits(bits: int) -> int:
    """The bits that steps are chosen by: whole numbers say nothing of how far one must go, and count as doubles."""
    return DOUBLE if bits == WHOLE else bits


def type_name(bits: int) -> str:
    """What people call a number type of so many bits."""
    return _NAMES.get(bits, f"numbers of {bits + 1} bits")


def unit_roundoff(bits: int) -> float:
    """How far apart numbers near 1 are: eps of the type."""
    return 2.0 ** -step_bits(bits)


@dataclass(frozen=True, eq=False)
class OwnPrecision:
    """A method whose steps may depend on the precision of J, which is known for good only once J was evaluated.

    Where J's type is the one that was expected, or the steps do not depend on it, there is nothing more to it. Else the
    points that the method wants for J's own type go out in a second request, without those that are known by then.

    Parameters
    ----------
    make : callable
        Bits of J's numbers -> the method.
    bits : int
        The bits that are expected.
    """

    make: Callable[[int], Method[Answer]]
    bits: int = DOUBLE

    def advance(self, waves: Sequence[Wave]) -> Request | Answer:
        """As the method that `method` is after these waves."""
        plan = self.method(waves)
        if not waves or step_bits(wave_bits(waves[0])) == self.bits:
            return plan.advance(waves)
        wanted = plan.advance(())
        assert isinstance(wanted, Request), "it began with a request for another type too"
        first = waves[0]
        known = _numbers(wanted.points, first.request.points)
        new = np.flatnonzero(known < 0)
        if not len(new):
            return plan.advance([_gathered(wanted, first, None, known), *waves[1:]])
        if len(waves) == 1:
            outputs = first.values.shape[1] if wanted.vector else None
            optional = np.flatnonzero(np.isin(new, wanted.optional))
            return Request(
                wanted.points.take(new),
                None,
                wanted.vector,
                wanted.lenient,
                outputs,
                wanted.fatal,
                optional,
                wanted.insist,
            )
        return plan.advance([_gathered(wanted, first, waves[1], known), *waves[2:]])

    def method(self, waves: Sequence[Wave]) -> Method[Answer]:
        """The method for the precision that the first wave shows."""
        return self.make(step_bits(wave_bits(waves[0])) if waves else self.bits)


def _numbers(wanted: Points, known: Points) -> NDArray[np.int64]:
    """For each wanted point its number among the known ones, -1 where it is not there."""
    here, there = wanted.keys(), known.keys()
    order = np.argsort(there[:, 0], kind="stable")
    at = order[np.minimum(np.searchsorted(there[:, 0], here[:, 0], sorter=order), len(there) - 1)]
    return np.where((there[at] == here).all(axis=1), at, -1)


def _gathered(wanted: Request, first: Wave, second: Wave | None, known: NDArray[np.int64]) -> Wave:
    """The wave of a request whose points are in one or the other of two."""
    old = np.flatnonzero(known >= 0)
    waves = [(first, old, known[old])]
    if second is not None:
        new = np.flatnonzero(known < 0)
        waves.append((second, new, np.arange(len(new))))
    n = len(wanted.points)
    shape = n, first.values.shape[1]
    values = np.full(shape, np.nan, dtype=np.result_type(*(wave.values for wave, _, _ in waves)))
    status, bits = np.zeros(n, dtype=np.uint8), np.full(n, DOUBLE, dtype=np.uint8)
    failures: dict[int, Failure] = {}
    for wave, to, source in waves:
        values[to], status[to] = wave.values[source], wave.status[source]
        if wave.bits is not None:
            bits[to] = wave.bits[source]
        if wave.failures:
            failures |= {
                k: wave.failures[s] for k, s in zip(to.tolist(), source.tolist(), strict=True) if s in wave.failures
            }
    return replace(first, request=wanted, values=values, status=status, failures=failures, bits=bits)
