"""How far a program sees many coordinates moved: looks with groups of them moved together.

Which number depends on which coordinate is found from about 2 log2(d) looks, as in group testing.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, TypeVar

from distfd.core.errors import InputError
from distfd.objectives.command.coordinate_looks import OneCoordinate
from distfd.objectives.command.step_reading import BETWEEN, Judge, Slot, place_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from distfd.objectives.command.deck_comparison import Look
    from distfd.objectives.command.deck_looks import Looks, Place
    from distfd.objectives.command.step_reading import Move

_FULL = 15
"""Number of significant digits of a number that is written as exactly as a double allows."""

_At = TypeVar("_At", float, int)


def _swapped(value: Callable[[Move, _At], float], at: _At, move: Move) -> float:
    return value(move, at)


class ManyCoordinates:
    """Many coordinates, moved together.

    A number that depends on one coordinate only has the same text whatever else is moved, so a few texts serve all
    coordinates. Bits identify the coordinate: for each bit, first the coordinates whose number has that bit are moved,
    then those whose number does not. A number that changes both times depends on several coordinates; it must be
    written as exactly as a double allows.

    Parameters
    ----------
    looks : Looks
    moves : sequence of Move
    plain : mapping
        Fields whose numbers are coordinates in full, or do not change: which number is which coordinate.
    """

    def __init__(self, looks: Looks, moves: Sequence[Move], plain: Mapping[int, Mapping[int, int]]) -> None:
        self._looks, self._moves, self._plain = looks, moves, plain
        self._base, self._names = looks.base, looks.inputs.names
        self._numbers = looks.numbers
        self._nodes: list[Look] = []
        self._near: list[tuple[float, Look]] = []
        self._far: list[tuple[int, Look]] = []
        self._closer_looks: dict[float, Look | None] = {}

    def offsets(self) -> list[Sequence[float]] | None:
        """The offsets of each move; None if more than numbers changes in a text, so that each must be moved alone.

        Raises
        ------
        InputError
            If they cannot be determined, or differ between places.
        """
        nodes = [self._joint(lambda move, j=j: move.values[j]) for j in range(len(self._moves[0].values))]  # type: ignore[misc]
        self._nodes = [node for node in nodes if node is not None]
        if len(self._nodes) < len(nodes) or not all(map(self._numbers.alone_differ, self._nodes)):
            return None
        self._near = self._sights(BETWEEN, lambda move, t: move.between(t))
        self._far = self._sights(range(len(self._moves[0].far)), lambda move, n: move.far[n])
        owners = self._all_owners()
        if owners is None:
            return None
        slots = self._slots(owners)
        found = []
        in_full = self._in_full()
        for a, move in enumerate(self._moves):
            beside = in_full.get(move.coordinate, []) if a in slots else []
            every = [
                *slots.get(a, []),
                *(self._numbers.slot(k, n, self._nodes, closer=self._closer) for k, n in beside),
            ]
            found.append(self._judge(move).agreed(every) if every else move.nominal)
        unseen = [move for a, move in enumerate(self._moves) if a not in slots and move.coordinate not in in_full]
        if unseen and None not in owners.values() and self._looks.heeds(unseen):
            for move in unseen:
                OneCoordinate(self._looks, move).offsets()
        return found

    def _all_owners(self) -> dict[Place, int | None] | None:
        """Which move changes each number, close to x or far away; None if that cannot be determined."""
        plain = {(k, n) for k, numbers in self._plain.items() for n in numbers}
        changed = set().union(*(self._numbers.changed(node) for node in self._nodes)) - plain
        owners = self._owners(changed, lambda move: move.longest)
        if owners is None:
            return None
        for n, look in self._far:
            new = self._numbers.changed(look) - plain - owners.keys()
            more = self._owners(new, lambda move, n=n: move.far[n])  # type: ignore[misc]
            if more is None:
                return None
            owners |= more
        return owners

    def _slots(self, owners: Mapping[Place, int | None]) -> dict[int, list[Slot]]:
        """The numbers that each move changes."""
        slots: dict[int, list[Slot]] = {}
        for (k, n), owner in owners.items():
            move = None if owner is None else self._moves[owner]
            self._check_field(k, move)
            near = [(0.0 if move is None else move.between(t), look) for t, look in self._near]
            far = [(0.0 if move is None else move.far[at], look) for at, look in self._far]
            slot = self._numbers.slot(k, n, self._nodes, closer=self._closer, near=near, far=far)
            if owner is None:
                self._check_shared(slot)
            else:
                slots.setdefault(owner, []).append(slot)
        return slots

    def _in_full(self) -> dict[int, list[Place]]:
        """The numbers that are coordinates with all digits, by coordinate."""
        found: dict[int, list[Place]] = {}
        for k, numbers in self._plain.items():
            self._check_field(k, None)
            for n, owner in numbers.items():
                found.setdefault(owner, []).append((k, n))
        return found

    def _closer(self, t: float) -> Look | None:
        if t not in self._closer_looks:
            self._closer_looks[t] = self._joint(lambda move: move.between(t))
        return self._closer_looks[t]

    def _sights(self, where: Sequence[_At], value: Callable[[Move, _At], float]) -> list[tuple[_At, Look]]:
        looks = [(at, self._joint(partial(_swapped, value, at))) for at in where]
        return [(at, look) for at, look in looks if look is not None]

    def _joint(self, value: Callable[[Move], float], which: Callable[[int], bool] = lambda _: True) -> Look | None:
        moves = {move.coordinate: value(move) for a, move in enumerate(self._moves) if which(a)}
        return self._looks.seen(moves)

    def _owners(self, places: set[Place], value: Callable[[Move], float]) -> dict[Place, int | None] | None:
        """For each of these numbers the move that changes it; None for a number that several change."""
        if not places:
            return {}
        sides = []
        for has_bit in (True, False):
            looks = [
                self._joint(value, lambda a, b=b, has_bit=has_bit: bool(a >> b & 1) == has_bit)  # type: ignore[misc]
                for b in range(max(1, (len(self._moves) - 1).bit_length()))
            ]
            changed = [self._numbers.changed(look) for look in looks if look is not None]
            if len(changed) < len(looks):
                return None
            sides.append(changed)
        found: dict[Place, int | None] = {}
        for place in places:
            there = [(place in yes, place in no) for yes, no in zip(*sides, strict=True)]
            owner = sum(1 << b for b, (yes, _) in enumerate(there) if yes)
            alone = all(yes != no for yes, no in there) and owner < len(self._moves)
            found[place] = owner if alone else None
        return found

    def _judge(self, move: Move) -> Judge:
        return Judge(self._names[move.coordinate], move)

    def _check_field(self, k: int, move: Move | None) -> None:
        """Checks that only numbers change in a field, and that its width and its distance to others stay the same."""
        for node in self._nodes:
            if node.fields[k].text == self._base.fields[k].text:
                continue
            trouble = self._looks.trouble(k, node.fields[k])
            if not trouble and self._numbers.of(node, k) is None:
                here, there = self._base.fields[k].text, node.fields[k].text
                trouble = f"{here[:40]!r} becomes {there[:40]!r}: more than numbers changes"
            if trouble and move is not None:
                self._judge(move).refuse(trouble, self._base.fields[k])
            if trouble:
                raise InputError(f"step: {place_of(self._base.fields[k])}: {trouble}")

    @staticmethod
    def _check_shared(slot: Slot) -> None:
        seen = [slot.base, *slot.nodes, *(sight.there for sight in slot.near)]
        if max(one.digits for one in seen) < _FULL:
            raise InputError(
                f"step: {place_of(slot.at)}: depends on too many parameters to examine one by one, and is "
                "rounded by a format, so that their steps cannot be read back: write it without a format"
            )
