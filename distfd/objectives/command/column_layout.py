"""Lines that look like fixed columns, in which a number must keep its width.

A format without a width, ``{{ a }}`` or ``{{ a | fmt(".3f") }}``, writes more characters at some points than at others,
which shifts the rest of the line. Programs that read words between blanks do not mind; those that read columns take
other numbers. No deck says how it is read, so this is a suspicion, which needs evidence in the line itself.
"""

from __future__ import annotations

import operator
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distfd.objectives.command.deck_comparison import Look

_PITCHES = (8, 10, 12, 15, 16, 20)
"""Usual widths of fields: 8 and 16 (Nastran), 10 and 20 (LS-DYNA), 10, 12 and 15 (Fortran's F10.0, E12.4, E15.7)."""

_FEWEST = 3
"""Smallest number of words in a line that stand in columns; two may do so by chance."""

_BESIDE = 100
"""Number of marks beside one that are looked at for its line."""

_WORD = re.compile(r"[^ ]+")

_FREE = re.compile(r"[,\t=;:]")
"""Characters of lines in free format."""


def pitch(line: str, begin: int, end: int) -> int | None:
    """The width of the columns that a line seems to have.

    Parameters
    ----------
    line : str
    begin, end : int
        Where the number of a mark stands in it; it may end anywhere in its column.

    Returns
    -------
    int or None
        The width if each word has a column of its own, and all others but the first end, or begin, where their columns
        do; None if not. If some end and others begin there, they must be three.
    """
    words = [found.span() for found in _WORD.finditer(line)]
    if _FREE.search(line) or len(words) < _FEWEST or line[end : end + 1].strip():
        return None
    others = [(first, last) for first, last in words if last <= begin or first >= end]
    measured = [span for span in others if span != words[0]]
    if len(others) != len(words) - 1 or not measured:
        return None
    for width in _PITCHES:
        cells = [first // width for first, _ in words]
        if len(set(cells)) < len(cells) or any((last - 1) // width != first // width for first, last in words):
            continue
        left, right = ([at % width == 0 for at in ends] for ends in zip(*measured, strict=True))
        mixed = all(map(operator.or_, left, right)) and len(measured) >= _FEWEST
        if all(left) or all(right) or mixed:
            return width
    return None


@dataclass(frozen=True)
class _Number:
    """The text of a number, where it begins, the width of its line's columns, and where the words behind it stand."""

    text: str
    begin: int
    width: int
    behind: list[tuple[int, int]]

    def shifts(self, text: str) -> bool:
        """Whether it or a word behind it would leave its column, in whole or in part, if this were its text."""
        moved = len(text) - len(self.text)
        if (self.begin + len(text) - 1) // self.width != self.begin // self.width:
            return True
        return any((at + moved) // self.width != at // self.width for a, b in self.behind for at in (a, b - 1))


class ColumnWatch:
    """The numbers of a program's inputs that seem to stand in columns, with no width of their own.

    Parameters
    ----------
    first : Look
        The inputs at the first x that is asked for: there the program reads what its user has laid out.
    """

    def __init__(self, first: Look) -> None:
        self._fields = len(first.fields)
        self._seen: dict[int, _Number] = {}
        for k, field in enumerate(first.fields):
            if field.excess is None and _is_file(field.file):
                line, begin = line_of(first, k)
                if (width := pitch(line, begin, begin + len(field.text))) is not None:
                    behind = [w.span() for w in _WORD.finditer(line) if w.start() >= begin + len(field.text)]
                    self._seen[k] = _Number(field.text, begin, width, behind)

    def shifted(self, looks: Sequence[Look]) -> list[str]:
        """A sentence for each of these numbers that shifts the rest of its line in one of the looks; each once."""
        found = []
        for look in looks:
            for k, number in list(self._seen.items()) if len(look.fields) == self._fields else ():
                field = look.fields[k]
                if not number.shifts(field.text):
                    continue
                del self._seen[k]
                whole = (number.text + field.text).replace("-", "").isdigit()  # where a real number may be refused
                form = f'fmt("{number.width}d")' if whole else f"fit({number.width})"
                found.append(
                    f"{field.mark.where}, {field.mark.source}: {number.text!r} becomes {field.text!r}, which leaves "
                    "its column or shifts the rest of its line, and that seems to have columns of "
                    f"{number.width} characters. If the program reads columns, it takes other numbers there: put a "
                    f"mark with | {form} in place of this one and the blanks of its column. If it reads words between "
                    "blanks, all is well"
                )
        return found


def _is_file(name: str) -> bool:
    return name not in {"value", "stdin"} and not name.startswith(("argv[", "env ", "command "))


def line_of(look: Look, k: int) -> tuple[str, int]:
    """The line on which field k begins, and where the field stands in it."""
    at = {place: n for n, place in enumerate(look.place[max(0, k - _BESIDE) : k + _BESIDE], max(0, k - _BESIDE))}
    left, place = look.between[look.place[k]], look.place[k] - 1
    while "\n" not in left and place in at:
        left, place = look.between[place] + look.fields[at[place]].text + left, place - 1
    right, place = look.between[look.place[k] + 1], look.place[k] + 1
    while "\n" not in right and place in at:
        right, place = right + look.fields[at[place]].text + look.between[place + 1], place + 1
    left, right = left.rpartition("\n")[2], right.partition("\n")[0].rstrip("\r")
    return left + look.fields[k].text + right, len(left)
