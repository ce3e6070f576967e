"""Chooses steps for the precision of J's values, which the first values show.

Steps that suit float64 values are too small for float32 values: with a step of eps^(1/2) of float64, J does not change
at all. So the type of the values decides on steps that the user did not give.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from distfd.core.records import DOUBLE, WHOLE, Status
from distfd.differentiation.method import Answer, Course, Request, Wave
from distfd.differentiation.rounding_quantum import n_digits

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from distfd.core.points import Points
    from distfd.core.records import Failure
    from distfd.differentiation.method import Method, MultiRound

SINGLE = np.finfo(np.float32).nmant
_PROOF = 18
"""A number is taken for a rounded float32 only if its significand has more bits than this: fewer may be chance."""
_ROUND = 6
"""A number is round if its significand has at most this many bits."""
_FEW = 3
"""A number of fewer decimal digits is round too."""
_SHORT = 20
"""A coordinate is short if its significand has at most this many bits: sums and products of it may fit a float32
without rounding."""
_LOOKED_AT = 200
"""Number of points whose digits are examined."""
_STEP = 2.0**-13
"""The step of second derivatives in float32, which is a short number; steps of first derivatives are not short."""
_ROOM = 2.0**-4
"""Allowance for simple factors, such as 0.75 or 1/8, which add digits to a sum or product."""
_NAMES = {SINGLE: "float32", 10: "float16", 7: "bfloat16", WHOLE: "whole numbers"}


def wave_bits(wave: Wave) -> int:
    """Bits of the shortest number type among the wave's values; `WHOLE` where all are whole numbers.

    A function that returns floats at some points and the integer 0 at others counts as one of floats. A function that
    converts a float32 to a double before it returns it (``float(loss)``, ``loss.item()``) counts as one of float32.
    Optional points do not count, as no derivative depends on them.
    """
    wave = wave.required
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


def single_outputs(waves: Sequence[Wave]) -> NDArray[np.bool_]:
    """Outputs (m,) whose values are rounded to float32 although other outputs have all the digits of a double.

    So it is where one part of J computes in float32, and its result is put into an array of doubles.
    """
    good = [np.flatnonzero(wave.status == Status.OK) for wave in waves]
    parts = [wave.values[rows] for wave, rows in zip(waves, good, strict=True)]
    points = [wave.request.points.take(rows) for wave, rows in zip(waves, good, strict=True)]
    with np.errstate(all="ignore"):
        held = np.all([(part.astype(np.float32) == part).all(axis=0) for part in parts], axis=0)
    found = np.zeros(len(held), dtype=bool)
    for j in np.flatnonzero(held)[:_LOOKED_AT].tolist():
        found[j] = any(_are_rounded(part[:, [j]], at) for part, at in zip(parts, points, strict=True) if len(part))
    return found


def hides_nothing(waves: Sequence[Wave]) -> bool:
    """Whether a J that is the same at all points likely does not depend on x, rather than lacks the digits to show it.

    So it is where J is a double, and its value a number of few bits or of one or two decimal digits: 2, 0.75, 0.1.
    """
    value = float(waves[0].values[0, 0])
    fraction = np.frexp(value)[0] * 2.0**_ROUND
    plain = bool(fraction == np.rint(fraction)) or n_digits(value) < _FEW
    return plain and all(wave_bits(wave) in (DOUBLE, WHOLE) for wave in waves)


def _are_single(values: NDArray[np.float64]) -> bool:
    """Whether values (n, m) are all float32 numbers."""
    with np.errstate(all="ignore"):
        return all(bool((part.astype(np.float32) == part).all()) for part in (values[:1], values))


def _are_rounded(values: NDArray[np.float64], points: Points) -> bool:
    """Whether values (n, m), all of them float32 numbers, are so because J rounds them: their digits rule out chance.

    A double fits a float32 by chance once in 2^29. Whole numbers, and simple fractions such as 0.75, prove nothing. Nor
    does a value that sums and products of short coordinates have without rounding: for x = 0.5 + 2^-13, J = 1e3 + x is
    a float32, and so is x^2 where it is small. Only a value with finer digits than these is proof. One beside zeros
    alone is none: it may be what is left of a difference of nearly equal numbers, which has few digits too.
    """
    if values.size > 1 and np.count_nonzero(values) == 1:
        return False
    with np.errstate(all="ignore"):
        fraction = np.abs(np.frexp(values)[0]) * 2.0**_PROOF
        long = (fraction != np.rint(fraction)) & (values != np.rint(values))
        for k in np.flatnonzero(long.any(axis=1))[:_LOOKED_AT].tolist():
            exact = _exact_unit(_unit(points, k, values[k] != values[0]), np.abs(values[k]))
            if (long[k] & (np.isinf(exact) | (values[k] != np.rint(values[k] / exact) * exact))).any():
                return True
    return False


def _exact_unit(unit: NDArray[np.float64], size: NDArray[np.float64]) -> NDArray[np.float64]:
    """The unit of sums, and of products of up to four factors, of numbers whose unit is ``unit``, (m,).

    For products, the unit is at least `_STEP` to the power of the number of factors, times a scale for large J
    (``size``, (m,)): a product with a finer unit would have more bits than a float32.
    """
    found = unit
    for power in range(2, 5):
        factor = np.exp2(np.ceil(np.log2(np.maximum(1.0, size * 2.0 ** -(SINGLE + 1) / _STEP**power))))
        found = np.minimum(found, unit**power * factor)
    return np.maximum(found * _ROOM, np.spacing(size))


def _unit(points: Points, k: int, moves: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The unit, a power of two up to 1, of which the short coordinates of point k are multiples, (m,).

    It is inf where no coordinate is short, and for outputs (m,) that only one coordinate moves, a long one: their
    digits come from that coordinate, whatever the short ones have. If several coordinates move, one may undo the effect
    of another.
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
    """The value of the last bit of each number, at most 1, and 1 for the number 0; 0 for numbers that are not short."""
    significand, exponent = np.frexp(x)
    digits = np.rint(significand * 2.0**_SHORT)
    short = digits == significand * 2.0**_SHORT
    whole = digits.astype(np.int64)
    lowest = np.ldexp((whole & -whole).astype(np.float64), exponent - _SHORT)
    return np.where(short, np.where(whole == 0, 1.0, np.minimum(lowest, 1.0)), 0.0)


def step_bits(bits: int) -> int:
    """The bits by which steps are chosen; whole numbers count as doubles, as they say nothing about a suitable step."""
    return DOUBLE if bits == WHOLE else bits


def type_name(bits: int) -> str:
    """The usual name of a number type with this many bits."""
    return _NAMES.get(bits, f"numbers of {bits + 1} bits")


def unit_roundoff(bits: int) -> float:
    """The distance of neighbouring numbers at 1, eps of the type."""
    return 2.0 ** -step_bits(bits)


@dataclass(frozen=True, eq=False)
class OwnPrecision(Course[Answer]):
    """A method whose steps may depend on J's precision, which is known for sure only after the first evaluations.

    If J's type is the expected one, or the steps do not depend on it, the method runs unchanged. Otherwise the points
    that the method wants for J's real type go out in a second request, without points that are known already.

    Parameters
    ----------
    make : callable
        Makes the method, given the bits of J's numbers.
    bits : int
        The expected number of bits.
    """

    make: Callable[[int], Method[Answer]]
    bits: int = DOUBLE

    def _course(self) -> MultiRound:
        """The requests and the answer of the method that `method` returns for these waves."""
        plan = self.method(())
        step = plan.advance(())
        own: list[Wave] = []
        if isinstance(step, Request):
            first = yield step
            own.append(first)
            if step_bits(wave_bits(first)) != self.bits:
                plan = self.method(own)
                wanted = plan.advance(())
                assert isinstance(wanted, Request), "it began with a request for another type too"
                known = _numbers(wanted.points, first.request.points)
                new = np.flatnonzero(known < 0)
                second = (yield _rest(wanted, new, first)) if len(new) else None
                own = [_gathered(wanted, first, second, known)]
        while isinstance(step := plan.advance(own), Request):
            own.append((yield step))
        return step

    def method(self, waves: Sequence[Wave]) -> Method[Answer]:
        """The method for the precision that the first wave shows."""
        return self.make(step_bits(wave_bits(waves[0])) if waves else self.bits)


def _rest(wanted: Request, new: NDArray[np.int64], first: Wave) -> Request:
    """The part of a request that asks for these of its points, once an earlier wave has shown J's outputs."""
    return replace(
        wanted,
        points=wanted.points.take(new),
        baseline=None,
        outputs=first.values.shape[1] if wanted.vector else None,
        optional=np.flatnonzero(np.isin(new, wanted.optional)),
    )


def _numbers(wanted: Points, known: Points) -> NDArray[np.int64]:
    """For each wanted point, its number among the known points, or -1."""
    here, there = wanted.keys(), known.keys()
    order = np.argsort(there[:, 0], kind="stable")
    at = order[np.minimum(np.searchsorted(there[:, 0], here[:, 0], sorter=order), len(there) - 1)]
    return np.where((there[at] == here).all(axis=1), at, -1)


def _gathered(wanted: Request, first: Wave, second: Wave | None, known: NDArray[np.int64]) -> Wave:
    """The wave of a request, with values taken from two other waves that together have its points."""
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
