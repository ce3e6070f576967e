"""How far a program sees one coordinate moved: looks with it moved alone.

Coordinates that change different numbers share the further looks, as `SharedLooks`.
"""

from __future__ import annotations

import contextlib
import itertools
from typing import TYPE_CHECKING

from distfd.core.errors import InputError
from distfd.objectives.command.step_reading import BETWEEN, Judge, Slot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from distfd.objectives.command.deck_comparison import Look
    from distfd.objectives.command.deck_looks import Looks, Numbers, Place
    from distfd.objectives.command.step_reading import Move


class OneCoordinate:
    """One coordinate, moved alone.

    Parameters
    ----------
    looks : Looks
    move : Move

    Raises
    ------
    InputError
        If anything but numbers changes with it.
    """

    def __init__(self, looks: Looks, move: Move) -> None:
        self._looks, self.move = looks, move
        self._base, self._inputs = looks.base, looks.inputs
        self._closer_looks: dict[float, Look | None] = {}
        self._judge = judge = Judge(self._inputs.names[move.coordinate], move)
        self._nodes = [self._node(value, judge) for value in move.values]
        numbers = looks.numbers
        self._near = self._sights((move.between(t) for t in BETWEEN), numbers)
        self._far = self._sights(move.far, numbers)
        for look in self._nodes:
            for k in self._base.changed(look):
                if numbers.of(look, k) is None:
                    judge.changes_otherwise(self._base.fields[k], look.fields[k])
        seen = (*self._nodes, *(look for _, look in (*self._near, *self._far)))
        self.places: set[Place] = set().union(*(numbers.changed(look) for look in seen))
        """The numbers that change with the coordinate."""
        self.group: SharedLooks | None = None
        """Other coordinates that may be moved at the same time; None if it is alone."""

    def offsets(self) -> Sequence[float]:
        """The offsets of the move, as the texts show them.

        Raises
        ------
        InputError
            If they cannot be determined, or differ between places.
        """
        if not self.places:
            if self._looks.heeds([self.move]):
                self._judge.swallowed(self._inputs.mentioning(self.move.coordinate))
            return self.move.nominal
        if self.group is not None and self.group.several:
            with contextlib.suppress(InputError):  # another of the group may be the cause: try it alone
                return self._agreed(self._with_group)
        return self._agreed(self._closer)

    def _with_group(self, t: float) -> Look | None:
        """The text with the whole group moved, or with this one alone if the group changes the text's structure."""
        together = None if self.group is None else self.group.closer(t)
        return self._closer(t) if together is None else together

    def _agreed(self, closer: Callable[[float], Look | None]) -> Sequence[float]:
        def slot(k: int, n: int) -> Slot:
            return self._looks.numbers.slot(k, n, self._nodes, closer=closer, near=self._near, far=self._far)

        return self._judge.agreed([slot(k, n) for k, n in sorted(self.places)])

    def _closer(self, t: float) -> Look | None:
        if t not in self._closer_looks:
            self._closer_looks[t] = self._looks.seen({self.move.coordinate: self.move.between(t)})
        return self._closer_looks[t]

    def _node(self, value: float, judge: Judge) -> Look:
        try:
            look = self._inputs.look({self.move.coordinate: value})
        except InputError as error:
            judge.refuse(f"with {value!r} its inputs cannot be written: {error}")
        if not look.is_built_like(self._base):
            judge.refuse(
                f"at {value!r} {_difference(self._base, look)} is built differently: a condition or the number of "
                "turns of a loop in the template depends on this parameter, so J jumps there; remove that dependence, "
                "or keep the step on one side of the jump"
            )
        for k in self._base.changed(look):
            if trouble := self._looks.trouble(k, look.fields[k]):
                judge.refuse(trouble, self._base.fields[k])
        return look

    def _sights(self, values: Iterable[float], numbers: Numbers) -> list[tuple[float, Look]]:
        """Texts at other values, as far as they differ from that at x in numbers only."""
        looks = ((value, self._looks.seen({self.move.coordinate: value})) for value in values)
        return [(value, look) for value, look in looks if look is not None and numbers.alone_differ(look)]


class SharedLooks:
    """Coordinates that change different numbers, so that one text with all of them moved serves each.

    Parameters
    ----------
    looks : Looks
    first : OneCoordinate
    """

    def __init__(self, looks: Looks, first: OneCoordinate) -> None:
        self._looks = looks
        self._places: set[Place] = set()
        self._moves: list[Move] = []
        self._closer_looks: dict[float, Look | None] = {}
        self.takes(first)

    def takes(self, single: OneCoordinate) -> bool:
        """Adds a coordinate if it changes none of the numbers of the others; returns whether it did."""
        if self._places & single.places:
            return False
        self._places |= single.places
        self._moves.append(single.move)
        single.group = self
        return True

    @property
    def several(self) -> bool:
        """Whether the group has more than one coordinate."""
        return len(self._moves) > 1

    def closer(self, t: float) -> Look | None:
        """The text with all coordinates moved by this fraction of their ways."""
        if t not in self._closer_looks:
            self._closer_looks[t] = self._looks.seen({move.coordinate: move.between(t) for move in self._moves})
        return self._closer_looks[t]


def _difference(here: Look, there: Look) -> str:
    """The file where two texts begin to differ."""
    for one, other in itertools.zip_longest(here.fields, there.fields):
        if one is None or other is None or one.mark != other.mark:
            found = one or other
            return found.file if found is not None else ""
    return here.fields[-1].file if here.fields else "the input"
