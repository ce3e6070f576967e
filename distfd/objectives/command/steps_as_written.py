"""Finds the steps that a program sees, from the texts of its inputs at x and at x + h.

All inputs are written at every point before anything runs, and compared as text, whatever formatted them. The module
`distfd.objectives.command.step_reading` decides what the change of each number says about the step. This module also
refuses a field of fixed width whose width changes, a number that comes to touch its neighbour, and a text whose
structure changes.

Inputs at further points help to decide: some between x and x + h, at values that need all their digits, and some far
away. Each coordinate is moved alone where that is cheap (`distfd.objectives.command.coordinate_looks`). Where there are
many, all are moved together (`distfd.objectives.command.group_looks`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from distfd.core.errors import InputError
from distfd.objectives.command.deck_comparison import SIGNS, Inputs, printed
from distfd.objectives.command.formats import in_full
from distfd.objectives.command.group_looks import ManyCoordinates
from distfd.objectives.command.inputs import refuse_complex
from distfd.objectives.command.step_reading import BETWEEN, Move

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from distfd.objectives.command.deck_comparison import Look
    from distfd.objectives.command.spec import ProgramSpec

_ONE_BY_ONE = 20_000
"""Up to this product of coordinates and marks, each coordinate is first moved alone."""


def written(
    objective: ProgramSpec, x: NDArray[np.float64], index: NDArray[np.int64], values: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Offsets of coordinates from x, (a, n), as the program's inputs have them; see `CommandObjective.written`.

    A derivative is planned anew with each wave and asks for the same offsets again, so the last answers are kept.
    """
    refuse_complex(values)
    asked = (x.tobytes(), index.tobytes(), values.tobytes())
    known = _ANSWERS.setdefault(objective, {})
    found = known.get(asked)
    if found is None:
        found = known[asked] = _looked_up(objective, x, index, values)
        for old in list(known)[: -(_KEPT if values.size <= _SMALL else 1)]:
            known.pop(old, None)  # another thread may have removed it
    return found.copy()


_KEPT, _SMALL = 8, 100_000
"""Number of answers kept for an objective (those of some derivatives with their checks), and the number of values above
which only the last is kept."""

_ANSWERS: WeakKeyDictionary[ProgramSpec, dict[tuple[bytes, bytes, bytes], NDArray[np.float64]]] = WeakKeyDictionary()


def _looked_up(
    objective: ProgramSpec, x: NDArray[np.float64], index: NDArray[np.int64], values: NDArray[np.float64]
) -> NDArray[np.float64]:
    offsets = values - x[index, None]
    inputs = Inputs(objective, x)
    moves = [
        Move(k, float(x[k]), tuple(row), tuple(shift), k in inputs.whole)
        for k, row, shift in zip(index.tolist(), values.tolist(), offsets.tolist(), strict=True)
    ]
    rows = [a for a, move in enumerate(moves) if any(move.nominal)]
    if not rows:
        return offsets
    found = _Comparison(inputs).offsets([moves[a] for a in rows])
    for a, realised in zip(rows, found, strict=True):
        offsets[a] = realised
    return offsets


def _telling(move: Move, n: int) -> float:
    """A value on the way that needs all its digits: formats with few digits write a short number without error."""
    values = [move.between(0.4 + 0.4 * ((n + 1 + k * 7) * BETWEEN[1] % 1.0)) for k in range(8)]
    return max(values, key=lambda value: printed(in_full(abs(value))).digits)


class _Comparison:
    """The inputs around x, compared with those at x."""

    def __init__(self, inputs: Inputs) -> None:
        self._looks = Looks(inputs)
        self._base = self._looks.base
        self._plain: dict[int, dict[int, int]] = {}
        """Fields whose numbers are coordinates in full, or do not change: which number is which coordinate."""

    def offsets(self, moves: Sequence[Move]) -> list[Sequence[float]]:
        """The offsets of each move, as the texts show them."""
        if not self._not_in_full(moves):
            return [move.nominal for move in moves]
        if len(moves) * max(1, len(self._base.fields)) > _ONE_BY_ONE:
            found = ManyCoordinates(self._looks, moves, self._plain).offsets()
            if found is not None:
                return found
        alone = [OneCoordinate(self._looks, move) for move in moves]
        groups: list[SharedLooks] = []
        for single in alone:
            if not any(group.takes(single) for group in groups):
                groups.append(SharedLooks(self._looks, single))
        return [single.offsets() for single in alone]

    def _not_in_full(self, moves: Sequence[Move]) -> bool:
        """Whether some changing numbers are not parameters written with all their digits.

        All coordinates are moved at once, each by another fraction of its step. Then each number that changes must be
        exactly one of the parameters, before and after.
        """
        probe = {move.coordinate: _telling(move, n) for n, move in enumerate(moves)}
        look = self._looks.seen(probe)
        nodes = [
            self._looks.seen(dict(zip(probe, values, strict=True)))
            for values in zip(*(m.values for m in moves), strict=True)
        ]
        if look is None or any(node is None for node in nodes):
            return True
        pairs = {(move.x, probe[move.coordinate]): move.coordinate for move in moves}
        pairs |= {(-x, -value): k for (x, value), k in pairs.items()}
        self._plain = {k: found for k in self._base.changed(look) if (found := self._shown(k, look, pairs)) is not None}
        if len(self._plain) < len(self._base.changed(look)):
            return True
        for j, node in enumerate(node for node in nodes if node is not None):
            at = {(move.x, move.values[j]): move.coordinate for move in moves}
            at |= {(-x, -value): k for (x, value), k in at.items()}
            if any(self._looks.trouble(k, node.fields[k]) or self._shown(k, node, at) is None for k in self._plain):
                return True
        shown = {owner for numbers in self._plain.values() for owner in numbers.values()}
        unseen = [move for move in moves if move.coordinate not in shown]
        return self._more_follow(moves, look) or (bool(unseen) and self._looks.heeds(unseen))

    def _shown(self, k: int, look: Look, pairs: Mapping[tuple[float, float], int]) -> dict[int, int] | None:
        """The coordinates that are written, with all digits, in field k; None if the field changes in another way."""
        (before, rest), (after, other) = self._base.numbers(k), look.numbers(k)
        if rest != other or len(before) != len(after):
            return None
        found = {
            n: pairs.get((printed(old).value, printed(new).value), -1)
            for n, (old, new) in enumerate(zip(before, after, strict=True))
            if old != new
        }
        return None if -1 in found.values() else found

    def _more_follow(self, moves: Sequence[Move], near: Look) -> bool:
        """Whether more numbers change far away than close to x: few digits hide small steps."""
        looks = 0
        for n in range(len(moves[0].far)):
            look = self._looks.seen({move.coordinate: move.far[n] for move in moves})
            if look is not None and self._looks.numbers.alone_differ(look):
                if self._looks.numbers.changed(look) - self._looks.numbers.changed(near):
                    return True
                looks += 1
            if looks == 2:
                return False
        return True

    def seen(self, moves: Mapping[int, float]) -> Look | None:
        """What is written there; None where that is built otherwise than at x, or cannot be written."""
        try:
            look = self.inputs.look(moves)
        except InputError:
            return None
        return look if look.is_built_like(self.base) else None

    def heeds(self, moves: Sequence[Move]) -> bool:
        """Whether the inputs might follow these coordinates, which change nothing where they are moved to."""
        if any(self.inputs.names[move.coordinate] in self.inputs.mentioned for move in moves):
            return True
        if "x" not in self.inputs.mentioned:
            return False
        for n in range(2):  # beyond x by its own size, and by ten times as much
            look = self.seen({move.coordinate: move.far[n] for move in moves})
            if look is None or self.base.changed(look):
                return True
        return False

    def trouble(self, k: int, there: Field) -> str:
        """What is wrong with the width of field k as it is elsewhere; empty if nothing is."""
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


def _widen(here: Field, there: Field) -> str:
    """How to have a field keep its width."""
    form = re.search(r"(?:fmt\(\s*[\"']|%)([0-9]+)(\.[0-9]+)?", here.mark.source)
    n = max(len(here.text), len(there.text))
    fewer = ""
    if form and form[2] and int(form[2][1:]) > 1 and (there.excess or 0) > 0:
        digits = max(0, int(form[2][1:]) - max(here.excess or 0, there.excess or 0))
        fewer = f"{form[1]}.{digits} with fewer digits, "
    fitting = f"fit({form[1] if form else n}), which writes as many digits as fit"
    return f"make its columns {n} wide, or use {fewer}{fitting}, or other units"


class _Single:
    """One coordinate, moved alone.

    Parameters
    ----------
    comparison : _Comparison
    move : Move

    Raises
    ------
    InputError
        If something else than numbers changes with it.
    """

    def __init__(self, comparison: _Comparison, move: Move) -> None:
        self._comparison, self.move = comparison, move
        self._base, self._inputs = comparison.base, comparison.inputs
        self._looks: dict[float, Look | None] = {}
        self._judge = judge = Judge(self._inputs.names[move.coordinate], move)
        self._nodes = [self._node(value, judge) for value in move.values]
        numbers = comparison.numbers
        self._near = self._sights((move.between(t) for t in BETWEEN), numbers)
        self._far = self._sights(move.far, numbers)
        for look in self._nodes:
            for k in self._base.changed(look):
                if numbers.of(look, k) is None:
                    judge.changes_otherwise(self._base.fields[k], look.fields[k])
        looks = (*self._nodes, *(look for _, look in (*self._near, *self._far)))
        self.places: set[_Place] = set().union(*(numbers.changed(look) for look in looks))
        """The numbers that change with it."""
        self.group: _Group | None = None
        """Others that may be moved at the same time."""

    def offsets(self) -> Sequence[float]:
        """What the move has become.

        Raises
        ------
        InputError
            If that cannot be told, or is not the same everywhere.
        """
        if not self.places:
            if self._comparison.heeds([self.move]):
                self._judge.swallowed(self._inputs.mentioning(self.move.coordinate))
            return self.move.nominal
        if self.group is not None and self.group.several:
            with contextlib.suppress(InputError):  # which may come from another of the group: it is looked at alone
                return self._agreed(self._with_group)
        return self._agreed(self._closer)

    def _with_group(self, t: float) -> Look | None:
        """One look for the whole group; alone where all of them together build another text, as a condition may."""
        together = None if self.group is None else self.group.closer(t)
        return self._closer(t) if together is None else together

    def _agreed(self, closer: Callable[[float], Look | None]) -> Sequence[float]:
        def slot(k: int, n: int) -> Slot:
            return self._comparison.numbers.slot(k, n, self._nodes, closer=closer, near=self._near, far=self._far)

        return self._judge.agreed([slot(k, n) for k, n in sorted(self.places)])

    def _closer(self, t: float) -> Look | None:
        if t not in self._looks:
            self._looks[t] = self._comparison.seen({self.move.coordinate: self.move.between(t)})
        return self._looks[t]

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
            if trouble := self._comparison.trouble(k, look.fields[k]):
                judge.refuse(trouble, self._base.fields[k])
        return look

    def _sights(self, values: Iterable[float], numbers: _Numbers) -> list[tuple[float, Look]]:
        """Looks at other values, where what is written differs in numbers alone."""
        looks = ((value, self._comparison.seen({self.move.coordinate: value})) for value in values)
        return [(value, look) for value, look in looks if look is not None and numbers.alone_differ(look)]


class _Group:
    """Coordinates that change different numbers: one look with all of them moved serves each.

    Parameters
    ----------
    comparison : _Comparison
    first : _Single
    """

    def __init__(self, comparison: _Comparison, first: _Single) -> None:
        self._comparison = comparison
        self._places: set[_Place] = set()
        self._moves: list[Move] = []
        self._looks: dict[float, Look | None] = {}
        self.takes(first)

    def takes(self, single: _Single) -> bool:
        """Take another coordinate in, if it changes none of the numbers of those that are here."""
        if self._places & single.places:
            return False
        self._places |= single.places
        self._moves.append(single.move)
        single.group = self
        return True

    @property
    def several(self) -> bool:
        """Whether there are others than the first."""
        return len(self._moves) > 1

    def closer(self, t: float) -> Look | None:
        """What is written with all of them at this fraction of their ways."""
        if t not in self._looks:
            self._looks[t] = self._comparison.seen({move.coordinate: move.between(t) for move in self._moves})
        return self._looks[t]


def _difference(here: Look, there: Look) -> str:
    """The file in which two looks begin to differ."""
    for one, other in itertools.zip_longest(here.fields, there.fields):
        if one is None or other is None or one.mark != other.mark:
            found = one or other
            return found.file if found is not None else ""
    return here.fields[-1].file if here.fields else "the input"


class _Numbers:
    """The numbers of looks, field by field, told apart from what else is written."""

    def __init__(self, base: Look) -> None:
        self._base = base
        self._known: dict[int, tuple[list[str], list[str]]] = {}

    def of(self, look: Look, k: int) -> list[str] | None:
        """Those of field k; None where more than numbers differs from x."""
        if k not in self._known:
            self._known[k] = self._base.numbers(k)
        texts, rest = self._known[k]
        if look.fields[k].text == self._base.fields[k].text:
            return texts
        there, other = look.numbers(k)
        return there if other == rest and len(there) == len(texts) else None

    def alone_differ(self, look: Look) -> bool:
        """Whether there is no other difference to what is written at x."""
        return all(self.of(look, k) is not None for k in self._base.changed(look))

    def changed(self, look: Look) -> set[tuple[int, int]]:
        """Field and number of each that is another than at x."""
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
        """The n-th number of field k in all these looks, which nodes have all."""

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


class _ByGroups:
    """Many coordinates, moved together.

    A number that depends on one coordinate alone has the same text whatever else is moved, so that a few looks serve
    all coordinates. Which one it is, the bits of its number say: in turn those are moved that have a bit, and those
    that have not. A number that changes both times depends on several; it must be written as exactly as a double can
    be.

    Parameters
    ----------
    comparison : _Comparison
    moves : sequence of Move
    """

    def __init__(self, comparison: _Comparison, moves: Sequence[Move]) -> None:
        self._comparison, self._moves = comparison, moves
        self._base, self._names = comparison.base, comparison.inputs.names
        self._numbers = comparison.numbers
        self._nodes: list[Look] = []
        self._near: list[tuple[float, Look]] = []
        self._far: list[tuple[int, Look]] = []
        self._looks: dict[float, Look | None] = {}

    def offsets(self) -> list[Sequence[float]] | None:
        """What each move has become; None where some text is built otherwise, so that each must be looked at alone.

        Raises
        ------
        InputError
            If that cannot be told, or is not the same everywhere.
        """
        nodes = [self._joint(lambda move, j=j: move.values[j]) for j in range(len(self._moves[0].values))]  # type: ignore[misc]
        self._nodes = [node for node in nodes if node is not None]
        if len(self._nodes) < len(nodes):
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
        if unseen and None not in owners.values() and self._comparison.heeds(unseen):
            for move in unseen:
                _Single(self._comparison, move).offsets()
        return found

    def _all_owners(self) -> dict[_Place, int | None] | None:
        """Which move changes which number, close to x or far away; None where that cannot be told."""
        plain = {(k, n) for k, numbers in self._comparison.plain.items() for n in numbers}
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

    def _slots(self, owners: Mapping[_Place, int | None]) -> dict[int, list[Slot]]:
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

    def _in_full(self) -> dict[int, list[_Place]]:
        """The numbers that are coordinates in full."""
        found: dict[int, list[_Place]] = {}
        for k, numbers in self._comparison.plain.items():
            self._check_field(k, None)
            for n, owner in numbers.items():
                found.setdefault(owner, []).append((k, n))
        return found

    def _closer(self, t: float) -> Look | None:
        if t not in self._looks:
            self._looks[t] = self._joint(lambda move: move.between(t))
        return self._looks[t]

    def _sights(self, where: Sequence[_At], value: Callable[[Move, _At], float]) -> list[tuple[_At, Look]]:
        looks = [(at, self._joint(partial(_swapped, value, at))) for at in where]
        return [(at, look) for at, look in looks if look is not None]

    def _joint(self, value: Callable[[Move], float], which: Callable[[int], bool] = lambda _: True) -> Look | None:
        moves = {move.coordinate: value(move) for a, move in enumerate(self._moves) if which(a)}
        return self._comparison.seen(moves)

    def _owners(self, places: set[_Place], value: Callable[[Move], float]) -> dict[_Place, int | None] | None:
        """For each of these numbers which move changes it; None for one that several change."""
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
        found: dict[_Place, int | None] = {}
        for place in places:
            there = [(place in yes, place in no) for yes, no in zip(*sides, strict=True)]
            owner = sum(1 << b for b, (yes, _) in enumerate(there) if yes)
            alone = all(yes != no for yes, no in there) and owner < len(self._moves)
            found[place] = owner if alone else None
        return found

    def _judge(self, move: Move) -> Judge:
        return Judge(self._names[move.coordinate], move)

    def _check_field(self, k: int, move: Move | None) -> None:
        """See that nothing but numbers changes in a field, and that it keeps its width and its distance."""
        for node in self._nodes:
            if node.fields[k].text == self._base.fields[k].text:
                continue
            trouble = self._comparison.trouble(k, node.fields[k])
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
