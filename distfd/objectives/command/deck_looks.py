"""Looks at a program's inputs around x: what is written with coordinates moved, and whether it can be compared with x.

It can where the text is built alike, and differs in numbers alone; where a number runs into its neighbour, or shifts
the rest of its line, `Looks.trouble` says so.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeAlias

from distfd.core.errors import InputError
from distfd.objectives.command.column_layout import line_of
from distfd.objectives.command.deck_comparison import SIGNS, printed
from distfd.objectives.command.step_reading import Sight, Slot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from distfd.objectives.command.deck_comparison import Field, Inputs, Look, Printed
    from distfd.objectives.command.step_reading import Move

Place: TypeAlias = tuple[int, int]
"""The number of a field, and the number of a number within it."""


class Looks:
    """Looks at inputs around x.

    Parameters
    ----------
    inputs : Inputs
    """

    def __init__(self, inputs: Inputs) -> None:
        self.inputs = inputs
        self.base = inputs.look()
        self.numbers = Numbers(self.base)

    def seen(self, moves: Mapping[int, float]) -> Look | None:
        """The text at this point; None if its structure differs from that at x, or it cannot be written."""
        try:
            look = self.inputs.look(moves)
        except InputError:
            return None
        return look if look.is_built_like(self.base) else None

    def heeds(self, moves: Sequence[Move]) -> bool:
        """Whether inputs depend on these coordinates although they do not change at their new values."""
        if any(self.inputs.names[move.coordinate] in self.inputs.mentioned for move in moves):
            return True
        if "x" not in self.inputs.mentioned:
            return False
        for n in range(2):  # move x by its own size, and by ten times as much
            look = self.seen({move.coordinate: move.far[n] for move in moves})
            if look is None or self.base.changed(look):
                return True
        return False

    def trouble(self, k: int, there: Field) -> str:
        """What is wrong with the width of field k at another point; empty if nothing is."""
        here = self.base.fields[k]
        if here.excess is not None and here.excess != there.excess:
            return (
                f"{there.text!r} differs in width from {here.text!r}, which shifts the rest of its line: "
                f"{_widen(here, there)}"
            )
        if here.text == there.text:
            return ""
        sign = self.base.before(k)[-1:]
        if sign in SIGNS and here.text.startswith(SIGNS) != there.text.startswith(SIGNS):
            both = sign + (there.text if there.text.startswith(SIGNS) else here.text)
            return (
                f"with {here.text!r} and {there.text!r} one of them has a sign behind the template's own: {both}, "
                "which many programs do not read: write both signs by the mark, as {{ -a }} does, or put "
                "parentheses around the mark if the program reads them"
            )
        return self._touching(k, there)

    def _touching(self, k: int, there: Field) -> str:
        """What is wrong where field k has no blank beside it; empty if nothing is."""
        here = self.base.fields[k]
        if glued := self.base.glued(k, here.text) or self.base.glued(k, there.text):
            return (
                f"it stands right beside a number of the template, {glued}, and both would be read as one: put a blank "
                "between them, or a mark with the width of its column, such as | fit(8), in place of the mark and the "
                "blanks of its column"
            )
        was, now = self.base.touches(k, here.text), self.base.touches(k, there.text)
        for side, (before, after) in enumerate(zip(was, now, strict=True)):
            neighbour = self.base.neighbouring(k, 2 * side - 1)
            beside = repr(neighbour.text) if neighbour is not None else "the number"
            if after and not before:
                return (
                    f"{there.text!r} would touch {beside} beside it, and both would be read as one number: put a "
                    "blank between them, or use fewer digits"
                )
            left = here if side else neighbour
            if before and neighbour is not None and left is not None and left.excess is None:
                return (
                    f"{here.text!r} touches {beside} beside it, and both would be read as one number: put a blank "
                    'between them, or give both a width, as fmt("12.6f") does'
                )
        return ""


def doubled_signs(look: Look) -> dict[str, str]:
    """A sentence for each mark whose number has a sign behind the template's own, by the mark's place."""
    found: dict[str, str] = {}
    for k, field in enumerate(look.fields):
        sign = look.before(k)[-1:] if field.text.startswith(SIGNS) else ""
        if sign in SIGNS:
            place = f"{field.mark.where}, {field.mark.source}"
            found[place] = (
                f"{place}: {field.text[:40]!r} stands behind the template's own sign: {sign}{field.text[:40]}, which "
                "many programs do not read, or take for 0: write both signs by the mark, as {{ -a }} does. If the "
                "program reads it, all is well"
            )
    return found


_POWER = re.compile(r"\s*(?:\^|\*\*)\s*\(?[-+\w.]+\)?")


def negative_powers(looks: Sequence[Look]) -> dict[str, str]:
    """A sentence for each mark with a negative number that is raised to a power, by the mark's place.

    ``{{ a }}^2`` is -2^2 there, which is -4 in nearly all languages.
    """
    found: dict[str, str] = {}
    for look in looks:
        for k, field in enumerate(look.fields):
            power = _POWER.match(look.between[look.place[k] + 1]) if field.text.startswith("-") else None
            if power is not None:
                place = f"{field.mark.where}, {field.mark.source}"
                found[f"{place}, power"] = (
                    f"{place}: {field.text[:40]}{power[0]} is -({field.text[1:40]}{power[0]}) in most programs, which "
                    "take the sign last: put the mark in parentheses. If the program takes it first, all is well"
                )
    return found


_WHOLE = re.compile(r"[0-9]+")
_DIVIDEND, _DIVISOR = re.compile(r"(?<![\w./])[0-9]+ */ *\Z"), re.compile(r" */ *[0-9]+(?![\w./])")
"""A whole number with a slash, before and behind another; more slashes make a path or a date."""


def whole_quotients(base: Look, others: Sequence[Look]) -> dict[str, str]:
    """A sentence for each number that is whole at x alone and stands in a quotient of whole numbers, by its place.

    ``{{ a }}/4`` is 3/4 at x and 3.0001/4 beside it, and 0 in a program that divides whole numbers as C does.
    """
    found: dict[str, str] = {}
    for k, field in enumerate(base.fields):
        if not _WHOLE.fullmatch(field.text) or all("." not in look.fields[k].text for look in others):
            continue
        line, begin = line_of(base, k)
        left, right = _DIVIDEND.search(line, 0, begin), _DIVISOR.match(line, begin + len(field.text))
        if bool(left) != bool(right):  # 1/3/2026 is a date
            quotient = (left[0] if left else "") + field.text + (right[0] if right else "")
            place = f"{field.mark.where}, {field.mark.source}"
            found[place] = (
                f"{place}: {quotient} is a quotient of whole numbers here, and at other points it is not. Programs "
                'that divide these to a whole number (gnuplot, C, Fortran) jump there: write {{ a | fmt("") }}, which '
                "has a point always. If the program does not, all is well"
            )
    return found


def _widen(here: Field, there: Field) -> str:
    """How the user can make a field keep its width."""
    form = re.search(r"(?:fmt\(\s*[\"']|%)([0-9]+)(\.[0-9]+)?", here.mark.source)
    n = max(len(here.text), len(there.text))
    fewer = ""
    if form and form[2] and int(form[2][1:]) > 1 and (there.excess or 0) > 0:
        digits = max(0, int(form[2][1:]) - max(here.excess or 0, there.excess or 0))
        fewer = f"{form[1]}.{digits} with fewer digits, "
    fitting = f"fit({form[1] if form else n}), which writes as many digits as fit"
    return f"make its columns {n} wide, or use {fewer}{fitting}, or other units"


class Numbers:
    """The numbers in texts, by field, separated from everything else that is written."""

    def __init__(self, base: Look) -> None:
        self._base = base
        self._known: dict[int, tuple[list[str], list[str]]] = {}

    def of(self, look: Look, k: int) -> list[str] | None:
        """The numbers of field k; None if it differs from x in more than numbers."""
        if k not in self._known:
            self._known[k] = self._base.numbers(k)
        texts, rest = self._known[k]
        if look.fields[k].text == self._base.fields[k].text:
            return texts
        there, other = look.numbers(k)
        return there if other == rest and len(there) == len(texts) else None

    def alone_differ(self, look: Look) -> bool:
        """Whether the text differs from that at x in numbers only."""
        return all(self.of(look, k) is not None for k in self._base.changed(look))

    def changed(self, look: Look) -> set[tuple[int, int]]:
        """Field and index of each number that differs from that at x."""
        found = set()
        for k in self._base.changed(look):
            there, here = self.of(look, k), self.of(self._base, k) or []
            found |= {(k, n) for n, text in enumerate(here) if there is not None and there[n] != text}
        return found

    def slot(
        self,
        k: int,
        n: int,
        nodes: Sequence[Look],
        *,
        closer: Callable[[float], Look | None],
        near: Iterable[tuple[float, Look]] = (),
        far: Iterable[tuple[float, Look]] = (),
    ) -> Slot:
        """The n-th number of field k in all these texts; all ``nodes`` must have it."""

        def at(look: Look) -> Printed | None:
            there = self.of(look, k)
            return None if there is None else printed(there[n])

        sights = [
            [Sight(value, there) for value, look in looks if (there := at(look)) is not None] for looks in (near, far)
        ]
        base = at(self._base)
        assert base is not None, "it is its own measure"
        return Slot(
            at=self._base.fields[k],
            base=base,
            nodes=[there for look in nodes if (there := at(look)) is not None],
            near=sights[0],
            far=sights[1],
            closer=lambda t: None if (look := closer(t)) is None else at(look),
        )
