"""Numbers that note how a deck writes them, so that what the program reads is known digit by digit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from distfd.objectives.command.values import OutputError, number

if TYPE_CHECKING:
    from collections.abc import Callable

_MANY = 64
"""Coordinates of one expression that are told apart; beyond it, it is taken to depend on all."""

EXACT = ".17g"
"""Tells every double from its neighbours."""


@dataclass(frozen=True)
class NumberNote:
    """One number as one place of a deck has it.

    Attributes
    ----------
    coordinates : frozenset of int or None
        The parameters that it depends on; None for any.
    direct : bool
        Whether it is the one parameter itself, not an expression of it.
    value : float
        The number before it was written.
    text : str
        As it was written.
    how : str
        The format: ``fmt("12.6e")``, ``round(3)``; empty where it is written in full.
    write : callable
        Writes another number in the same way.
    """

    coordinates: frozenset[int] | None
    direct: bool
    value: float
    text: str
    how: str
    write: Callable[[float], str]

    def read(self, value: float) -> float | None:
        """What a program reads where this place holds ``value``; None where the text is no number."""
        return parsed(self.write(value)) if self.how else value

    def touches(self, coordinate: int) -> bool:
        """Whether the number depends on this parameter."""
        return self.coordinates is None or coordinate in self.coordinates


class TracedNumber(float):
    """A parameter, or an expression of some, that leaves a `NumberNote` wherever it becomes text."""

    notes: list[NumberNote]
    coordinates: frozenset[int] | None
    direct: bool

    @classmethod
    def of(cls, value: float, coordinate: int, notes: list[NumberNote]) -> TracedNumber:
        """The parameter with this number."""
        return cls._made(value, frozenset((coordinate,)), notes, direct=True)

    @classmethod
    def _made(
        cls, value: float, coordinates: frozenset[int] | None, notes: list[NumberNote], *, direct: bool
    ) -> TracedNumber:
        made = cls(value)
        made.notes, made.coordinates, made.direct = notes, coordinates, direct
        return made

    def __format__(self, spec: str) -> str:
        if not spec:
            return repr(self)
        return self._note("" if spec == EXACT else f'fmt("{spec}")', lambda value: format(float(value), spec))

    def __repr__(self) -> str:
        return self._note("", lambda value: repr(float(value)))

    __str__ = __repr__

    def __round__(self, digits: Any = None) -> Any:
        self._note(f"round({digits})", lambda value: repr(round(float(value), digits)))
        # The note is made here: what is written later is another number, written in full.
        return round(float(self), digits)

    def _note(self, how: str, write: Callable[[float], str]) -> str:
        text = write(float(self))
        self.notes.append(NumberNote(self.coordinates, self.direct, float(self), text, how, write))
        return text


def parsed(text: str) -> float | None:
    """The number that a text is; None where it is none."""
    try:
        return number(text)
    except OutputError:
        return None


def _arithmetic(name: str) -> Callable[..., Any]:
    plain = getattr(float, name)

    def operate(self: TracedNumber, *others: Any) -> Any:
        result = plain(self, *others)
        if not isinstance(result, float):  # NotImplemented
            return result
        every = [self.coordinates, *(other.coordinates for other in others if isinstance(other, TracedNumber))]
        known = [some for some in every if some is not None]
        union = frozenset().union(*known) if len(known) == len(every) else None
        if union is not None and len(union) > _MANY:
            union = None
        return TracedNumber._made(result, union, self.notes, direct=False)  # noqa: SLF001  # it is this class's own method

    operate.__name__ = name
    return operate


for _name in ("add", "sub", "mul", "truediv", "pow"):
    setattr(TracedNumber, f"__{_name}__", _arithmetic(f"__{_name}__"))
    setattr(TracedNumber, f"__r{_name}__", _arithmetic(f"__r{_name}__"))
for _name in ("neg", "pos", "abs"):
    setattr(TracedNumber, f"__{_name}__", _arithmetic(f"__{_name}__"))
