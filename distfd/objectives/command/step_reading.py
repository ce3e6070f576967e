"""Finds the step that a parameter really makes, from the texts of the numbers that change with it.

For each number there are three cases. It is the parameter itself, to the digits that are written: then the step is the
one in the text. It is another function of the parameter, such as ``100*a``: then the nominal step is right if the
change of the number is written with six digits or more and is smooth; a number that moves in jumps does not follow the
parameter. Anything else is refused, and so is a step for which two places show different values.
"""

from __future__ import annotations

import math
import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from distfd.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from distfd.objectives.command.deck_comparison import Field, Printed

_AGREE = 1e-5
"""Largest relative difference between the steps at two places; beyond it, no single number is right for both."""

_SIX_DIGITS = 1e5
"""A number must change by at least this many units of its last digit, so that six digits of its change are written."""

_SMOOTH = 0.02
"""A number moves in jumps if it is farther than this part of its change from the cubic through other points."""

_SCALES = tuple(0.3**k for k in range(8))
"""Parts of the step in which jumps are searched."""

_TELLING = 200.0
"""Jumps are judged only where a number changes by this many units of its last digit: rounding could look like a
jump."""

BETWEEN = (0.27182818284590452, 0.61803398874989485, 0.84147098480789651)
"""Where inputs are written between x (0) and x + h (1); fractions with many digits."""


@dataclass(frozen=True)
class Move:
    """A coordinate and its new values; ``nominal`` are these minus x, ``whole`` says that it is an integer."""

    coordinate: int
    x: float
    values: tuple[float, ...]
    nominal: tuple[float, ...]
    whole: bool = False

    @property
    def longest(self) -> float:
        """The value that is farthest from x."""
        return self.values[max(range(len(self.values)), key=lambda j: abs(self.nominal[j]))]

    def between(self, t: float) -> float:
        """The value at fraction t of the way from x to the farthest value."""
        return self._rounded(self.x + t * (self.longest - self.x))

    def _rounded(self, value: float) -> float:
        return float(round(value)) if self.whole else value

    @property
    def sides(self) -> tuple[float, ...]:
        """For each side of x that has values: its farthest value as a fraction of the longest way, for `between`."""
        ends = (1.0, min((shift / (self.longest - self.x) for shift in self.nominal if shift), default=1.0))
        return ends if ends[1] < 0 else ends[:1]

    @property
    def far(self) -> tuple[float, ...]:
        """Distant values, which tell the parameter itself from a number that just happens to be close to it."""
        h, size = self.longest - self.x, max(1.0, abs(self.x))
        own = 0.37214093 * (abs(self.x) or size)
        steps = (own, 10.037214093 * size, 0.57721566490153286 * size, 7.3890560989306502 * h)
        return tuple(self._rounded(self.x + sign * step) for sign in (1.0, -1.0) for step in steps)


@dataclass(frozen=True)
class Sight:
    """A number at one point: the parameter's value there, and the number that is written."""

    parameter: float
    there: Printed


@dataclass
class Slot:
    """A number that changes with a coordinate, with its texts.

    Attributes
    ----------
    at : Field
        The field that the number is in, at x.
    base : Printed
        The number at x.
    nodes : list of Printed
        The number at the new values of the coordinate.
    near, far : list of Sight
        The number between these values and x, and far away.
    closer : callable
        Returns its text at a fraction of the way to the value that is farthest from x; None where there is none.
    """

    at: Field
    base: Printed
    nodes: list[Printed]
    near: list[Sight]
    far: list[Sight]
    closer: Callable[[float], Printed | None]

    @property
    def moves(self) -> bool:
        """Whether the number differs from that at x anywhere that it was read."""
        seen = [*self.nodes, *(sight.there for sight in (*self.near, *self.far))]
        return any(there.value != self.base.value for there in seen)


class Judge:
    """Decides what the step of one coordinate is in the texts.

    Parameters
    ----------
    name : str
        Name of the parameter.
    move : Move
    """

    def __init__(self, name: str, move: Move) -> None:
        self._name, self._move = name, move

    def agreed(self, slots: Sequence[Slot]) -> Sequence[float]:
        """The offset of each value on which all places agree.

        Raises
        ------
        InputError
            If the places do not agree.
        """
        # A zero that only changes its sign (0 times a parameter, in a mesh) has not moved.
        moving = [slot for slot in slots if slot.moves] or slots
        found = [(slot, self._offsets(slot)) for slot in moving]
        for j, nominal in enumerate(self._move.nominal):
            if not nominal:
                continue
            swallowed = [slot for slot, offsets in found if not offsets[j]]
            if swallowed:
                others = [slot for slot, offsets in found if offsets[j]]
                self._swallow(swallowed[0], others, nominal)
            places = [(abs(offsets[j] - nominal), n) for n, (_, offsets) in enumerate(found)]
            (fine, finest), (coarse, coarsest) = found[min(places)[1]], found[max(places)[1]]
            if abs(coarsest[j] - finest[j]) > _AGREE * abs(nominal):
                self._disagree(nominal, (fine, finest[j]), (coarse, coarsest[j]))
        # The slot with the coarsest digits decides; a nominal step elsewhere agrees to six digits.
        j = max(range(len(self._move.nominal)), key=lambda j: abs(self._move.nominal[j]))
        return max(found, key=lambda place: abs(place[1][j] - self._move.nominal[j]))[1]

    def _offsets(self, slot: Slot) -> Sequence[float]:
        """The offsets of the parameter according to one number."""
        sights = [
            Sight(self._move.x, slot.base),
            *(Sight(value, there) for value, there in zip(self._move.values, slot.nodes, strict=True)),
            *slot.near,
            *slot.far,
        ]
        for sign in (1.0, -1.0):
            if all(_is_itself(sign * sight.parameter, sight.there) for sight in sights):
                return [
                    sign * (there.value - slot.base.value) if nominal else 0.0
                    for there, nominal in zip(slot.nodes, self._move.nominal, strict=True)
                ]
        self._check_function(slot)
        return [
            nominal if there.value != slot.base.value else 0.0
            for there, nominal in zip(slot.nodes, self._move.nominal, strict=True)
        ]

    def _check_function(self, slot: Slot) -> None:
        """Checks that a function of the parameter follows it closely enough for the nominal step to be right."""
        sights = (*slot.near, *slot.far) if self._move.whole else slot.near
        seen = [slot.base, *slot.nodes, *(sight.there for sight in sights)]
        if self._move.whole and all(one.text.strip("+-").isdigit() for one in seen):
            return
        unit = min(one.unit for one in seen)
        for there, nominal in zip(slot.nodes, self._move.nominal, strict=True):
            change = abs(there.value - slot.base.value)
            if nominal and 0 < change < _SIX_DIGITS * unit:
                units = change / unit
                digits = max(1, math.floor(math.log10(units) + 1 + 1e-9)) if units else 0
                self.refuse(
                    f"{slot.base.text.strip()} becomes {there.text.strip()}, which shows {digits} "
                    f"digit{'s' if digits > 1 else ''} of the change. It is a formula of {self._name}, and the step is "
                    "known only if six digits of the change are shown: write it in full, {{ formula }} without a "
                    "format, or use a larger step",
                    slot.at,
                )
        if not self._move.whole and self._jump(slot, unit) > _SMOOTH:
            self.refuse(
                f"it changes in jumps when {self._name} changes smoothly: take rounding, int and conditions out of the "
                "formula, and write it in full",
                slot.at,
            )

    def _jump(self, slot: Slot, unit: float) -> float:
        """Largest distance of the number from the cubic through four other points, as a part of its change.

        The test is repeated closer and closer to x: a staircase of many small steps looks smooth from far away.
        """
        return max(self._jump_beside(slot, unit, side) for side in self._move.sides)

    @staticmethod
    def _jump_beside(slot: Slot, unit: float, side: float) -> float:
        """The same on one side of x: its values end at this fraction of the longest way."""
        worst, whole = 0.0, 0.0
        for scale in _SCALES:
            looks = [(t, slot.closer(side * scale * t)) for t in (*BETWEEN, 1.0)]
            points = [(0.0, slot.base.value), *((t, there.value) for t, there in looks if there is not None)]
            change = points[-1][1] - slot.base.value
            whole = whole or abs(change)
            if len(points) == 5 and not change and whole * scale**3 > _TELLING * unit:
                return 1.0  # the number does not change at all: that is a jump's flat part
            if len(points) < 5 or abs(change) < _TELLING * unit:
                continue
            (t, value), known = points[2], [points[0], points[1], points[3], points[4]]
            expected = sum(at * math.prod((t - s) / (r - s) for s, _ in known if s != r) for r, at in known)
            worst = max(worst, abs(value - expected) / abs(change))
        return worst

    def _disagree(self, nominal: float, fine: tuple[Slot, float], coarse: tuple[Slot, float]) -> NoReturn:
        told = [f"{offset:.6g} in {slot.at.file} ({_how(slot.at) or 'in full'})" for slot, offset in (coarse, fine)]
        places = "; ".join(dict.fromkeys(place_of(slot.at) for slot, _ in (coarse, fine)))
        raise InputError(
            f"{self._moved(nominal)}, which becomes {told[0]} and {told[1]}: write it alike in both, "
            f"with {{{{ {self._name} }}}} or in the same format, or use a larger step ({places})"
        )

    def _swallow(self, slot: Slot, others: Sequence[Slot], nominal: float) -> NoReturn:
        form = _how(slot.at) or "what is computed there"
        elsewhere = f", though not everywhere ({others[0].at.file} has it)" if others else ""
        raise InputError(
            f"{self._moved(nominal)}, and {slot.at.file} does not change: {form} swallows it{elsewhere}; use "
            f"a larger step, more digits, or {{{{ {self._name} }}}}, which writes all ({place_of(slot.at)})"
        )

    def swallowed(self, where: str) -> NoReturn:
        """Raises InputError: no text changes with the parameter."""
        nominal = max(self._move.nominal, key=abs)
        raise InputError(
            f"{self._moved(nominal)}, and {where} does not change: what is computed there swallows it; use a "
            f"larger step, or write {{{{ {self._name} }}}}"
        )

    def changes_otherwise(self, here: Field, there: Field) -> NoReturn:
        """Raises InputError: not only numbers have changed."""
        self.refuse(
            f"{here.text[:40]!r} becomes {there.text[:40]!r}: more than a number changes, so that the step cannot "
            "be read: write the number by itself",
            here,
        )

    def refuse(self, why: str, at: Field | None = None) -> NoReturn:
        """Raises InputError with the coordinate, the place and the reason."""
        place = "" if at is None else f"{place_of(at)}: "
        raise InputError(f"{self._moved(max(self._move.nominal, key=abs))}: {place}{why}")

    def _moved(self, nominal: float) -> str:
        return (
            f"step: {self._name} (coordinate {self._move.coordinate}) is moved from {self._move.x!r} by {nominal:.3g}"
        )


def _is_itself(parameter: float, there: Printed) -> bool:
    """Whether the printed number is this parameter, rounded or cut to the number's digits."""
    return abs(there.value - parameter) <= there.unit * (1 + 1e-9) + 4 * sys.float_info.epsilon * abs(parameter)


def place_of(at: Field) -> str:
    """File, line and mark, for messages."""
    return f"{at.mark.where}, {at.mark.source}"


def _how(at: Field) -> str:
    """The format in a mark, for messages; empty if it has none."""
    found = re.findall(r"(?:fmt|fit|nastran|fortran|round|format)\s*\([^()]*\)", at.mark.source)
    return ", ".join(dict.fromkeys(found))
