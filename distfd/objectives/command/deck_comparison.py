"""Compares a program's inputs at two points as text: which numbers changed, and how.

This module knows no file formats. Inputs are written at points near x. Where their texts differ in numbers only, each
of these numbers is a `Slot`, with its text at every point.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from distfd.core.errors import InputError
from distfd.objectives.command.arguments import Arguments
from distfd.objectives.command.formats import in_full
from distfd.objectives.command.inputs import compiled, variables
from distfd.objectives.command.spec import whole
from distfd.objectives.command.templates import AFTER, BEFORE, Mark
from distfd.objectives.command.values import number

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike

    from distfd.objectives.command.inputs import Written
    from distfd.objectives.command.spec import ProgramSpec

_NUMBER = re.compile(
    r"[+-]?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eEdD][+-]?[0-9]+|[+-][0-9]{1,3}(?![0-9.]))?"
    r"|[+-]?[0-9]+(?:[eEdD][+-]?[0-9]+)?"
)
"""A number within a text; if it has a decimal point, its exponent may lack the letter."""

_LEFT, _RIGHT = re.compile(r"[0-9.]+(?:[eEdD][+-]?)?\Z"), re.compile(r"[0-9.]+")
"""Parts of a number that stand in the template itself, before or behind a mark."""

_LAST_NUMBER = re.compile(rf"(?:{_NUMBER.pattern})\Z")

_WITH_COMMA = re.compile(r"""\breplace\(\s*(["'])\.\1\s*,\s*(["']),\2\s*\)""")
"""A mark that writes a decimal comma: ``{{ a | string | replace(".", ",") }}``."""

SIGNS = ("+", "-")

_BESIDE = 80
"""Number of characters before a mark in which a number of the template may begin: none is longer."""

_ONE_BY_ONE = 100
"""Largest number of parameters that are examined one by one."""


@dataclass(frozen=True)
class Printed:
    """A number as it is printed.

    Attributes
    ----------
    text : str
    value : float
    unit : float
        The value of one unit of its last digit.
    """

    text: str
    value: float
    unit: float

    @property
    def digits(self) -> int:
        """The number of significant digits."""
        mantissa = re.split("[eEdD]|(?<=.)[+-]", self.text)[0]
        return len(re.sub("[^0-9]", "", mantissa).lstrip("0"))


@lru_cache(maxsize=1 << 14)
def printed(text: str) -> Printed:
    """The number that a text shows."""
    found = re.fullmatch(r"[+-]?[0-9]*(?:\.([0-9]*))?(?:[eEdD]?([+-]?[0-9]+))?", text.strip())
    assert found is not None, "only numbers are asked for"
    power = int((found[2] or "0")[:18]) - len(found[1] or "")
    return Printed(text, number(text), float(f"1e{power}"))


@dataclass(slots=True)
class Field:
    """The text that one mark has written.

    Attributes
    ----------
    file : str
        The input that it is in.
    mark : Mark
    text : str
    excess : int or None
        How many characters wider than its format it is; None where the format fixes no width.
    """

    file: str
    mark: Mark
    text: str
    excess: int | None


@dataclass(frozen=True)
class Look:
    """The text of all inputs at one point.

    Attributes
    ----------
    between : list of str
        The texts between marks; each file has one more of them than fields.
    fields : list of Field
    place : list of int
        For each field, the index in ``between`` of the text before it.
    """

    between: list[str]
    fields: list[Field]
    place: list[int]

    def is_built_like(self, other: Look) -> bool:
        """Whether both are equal except for the texts of marks, which are the same marks in the same places."""
        if self.between != other.between or self.place != other.place:
            return False
        pairs = zip(self.fields, other.fields, strict=True)
        return all(here.mark is there.mark or here.mark.source == there.mark.source for here, there in pairs)

    def changed(self, other: Look) -> list[int]:
        """The fields whose texts differ."""
        pairs = enumerate(zip(self.fields, other.fields, strict=True))
        return [k for k, (here, there) in pairs if here.text != there.text]

    def numbers(self, k: int) -> tuple[list[str], list[str]]:
        """The numbers of field k, and the texts between them, with each run of blanks as one.

        Digits in the template itself beside the field belong to its numbers, except for fields of fixed width, which
        end where their columns end.
        """
        text, before, after = self.fields[k].text, self.between[self.place[k]], self.between[self.place[k] + 1]
        if self.fields[k].excess is not None:
            before = after = ""
        if (left := _LEFT.search(before)) and text[:1] in AFTER:
            text = left[0] + text
        if (right := _RIGHT.match(after)) and text[-1:] in BEFORE:
            text += right[0]
        if _WITH_COMMA.search(self.fields[k].mark.source):
            text = text.replace(",", ".")
        found = _NUMBER.findall(text)
        return found, [" ".join(rest.split()) for rest in _NUMBER.split(text)]

    def glued(self, k: int, text: str) -> str:
        """What field k, had it this text, and the template's own digits beside it write, if that is not one number."""
        if self.fields[k].excess is not None:
            return ""
        left, right = (
            _LEFT.search(self.between[self.place[k]][-_BESIDE:]),
            _RIGHT.match(self.between[self.place[k] + 1]),
        )
        first, last = _NUMBER.match(text), _LAST_NUMBER.search(text)
        if left and "." in left[0] and first and not _NUMBER.fullmatch(left[0] + first[0]):
            return left[0] + first[0]
        if right and "." in right[0] and last and not _NUMBER.fullmatch(last[0] + right[0]):
            return last[0] + right[0]
        return ""

    def touches(self, k: int, text: str) -> tuple[bool, bool]:
        """Whether field k, had it this text, would run into a number before it, and into one behind it."""
        before, after = self.before(k)[-1:], self._neighbour(k, 1)[:1]
        first, last = text[:1], text[-1:]
        return before in BEFORE and first in AFTER, last in BEFORE and after in AFTER

    def neighbouring(self, k: int, side: int) -> Field | None:
        """The field right before (-1) or behind (1) field k, with nothing between them."""
        if self.between[self.place[k] + (side > 0)] or not 0 <= k + side < len(self.fields):
            return None
        return self.fields[k + side] if abs(self.place[k + side] - self.place[k]) == 1 else None

    def before(self, k: int) -> str:
        """What stands right before field k: the template's own text, or another field's."""
        return self._neighbour(k, -1)

    def _neighbour(self, k: int, side: int) -> str:
        fixed = self.between[self.place[k] + (side > 0)]
        field = None if fixed else self.neighbouring(k, side)
        return field.text if field is not None else fixed


class Inputs:
    """Everything that is written for a program from the parameters.

    Parameters
    ----------
    objective : ProgramSpec
    x : (d,) ndarray
        The point around which texts are compared.
    """

    def __init__(self, objective: ProgramSpec, x: ArrayLike) -> None:
        self._objective = objective
        self._at = list(objective.parameters(x).values())
        self._decks: dict[str, Written] = {name: compiled(source) for name, source in objective.decks.items()}
        self._decks |= Arguments(objective, objective.names).decks
        self.names: Sequence[str] = objective.names or [f"x[{k}]" for k in range(len(self._at))]
        self._in_value = [k for k, name in enumerate(self.names) if name in objective.in_value]
        self.whole = frozenset(k for k, name in enumerate(self.names) if name in objective.integers)
        self.mentioned: frozenset[str] = frozenset().union(
            objective.in_value, *(deck.names for deck in self._decks.values())
        )

    def mentioning(self, coordinate: int) -> str:
        """The first input that mentions a coordinate."""
        wanted = {self.names[coordinate], "x"}
        return next((name for name, deck in self._decks.items() if wanted & deck.names), "the input")

    def without_effect(self, names: Sequence[str]) -> list[str]:
        """Those of these parameters that change nothing in the texts; of many, either none or all that are reported."""
        base, where = self.look(), {name: k for k, name in enumerate(self.names)}

        def still(some: Sequence[str]) -> bool:
            moves = {where[name]: self._at[where[name]] * 1.37214093 + 0.61803398874989485 for name in some}
            try:
                look = self.look(moves)
            except InputError:
                return False
            return look.is_built_like(base) and not base.changed(look)

        if still(names):
            return list(names)
        return [name for name in names if still([name])] if len(names) <= _ONE_BY_ONE else []

    def look(self, moves: Mapping[int, float] | None = None) -> Look:
        """The texts at x, with these coordinates moved to other values.

        Raises
        ------
        InputError
            If an input cannot be written.
        """
        values = self._at
        if moves:
            values = values.copy()
            for k, value in moves.items():
                values[k] = whole(self.names[k], value) if k in self.whole else value
        between: list[str] = []
        fields: list[Field] = []
        place: list[int] = []
        # With warm starts, compare the decks of warm starts: all points but x start warm.
        known: dict[str, Any] = variables(values, self._objective.names, warm=True if self._objective.restart else None)
        for name, deck in self._decks.items():
            for part in deck.parts(known):
                if part.mark is None:
                    between.append(part.text)
                else:
                    place.append(len(between) - 1)
                    fields.append(Field(name, part.mark, part.text, part.excess))
        for k in self._in_value:  # ``value`` gets the number in full, whatever the program reads
            between += ["", ""]
            place.append(len(between) - 2)
            fields.append(Field("value", Mark("value", self.names[k]), in_full(values[k]), None))
        return Look(between, fields, place)
