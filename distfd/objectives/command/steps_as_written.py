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

from distfd.core.warning import warn
from distfd.objectives.command.column_layout import ColumnWatch
from distfd.objectives.command.coordinate_looks import OneCoordinate, SharedLooks
from distfd.objectives.command.deck_comparison import Inputs, printed
from distfd.objectives.command.deck_looks import Looks, doubled_signs, negative_powers, whole_quotients
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


_TOLD: WeakKeyDictionary[ProgramSpec, set[str]] = WeakKeyDictionary()
"""The marks of each objective of which something has been said, which is not said again at every iterate."""

_WATCHES: WeakKeyDictionary[ProgramSpec, ColumnWatch] = WeakKeyDictionary()


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
    compared = _Comparison(inputs)
    found = compared.offsets([moves[a] for a in rows])
    watch = _WATCHES.get(objective) or _WATCHES.setdefault(objective, ColumnWatch(compared.base))
    doubts = whole_quotients(compared.base, compared.nodes) | doubled_signs(compared.base)
    doubts |= negative_powers([compared.base, *compared.nodes])
    told = _TOLD.setdefault(objective, set())
    new = [text for place, text in doubts.items() if place not in told]
    told.update(doubts)
    for text in (*new, *watch.shifted([compared.base, *compared.nodes])):
        warn(text)
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
        self.base = self._base = self._looks.base
        self.nodes: list[Look] = []
        """The inputs with all coordinates moved to their new values, one after the other."""
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
        self.nodes = [node for node in nodes if node is not None]
        if look is None or len(self.nodes) < len(nodes):
            return True
        pairs = {(move.x, probe[move.coordinate]): move.coordinate for move in moves}
        pairs |= {(-x, -value): k for (x, value), k in pairs.items()}
        self._plain = {k: found for k in self._base.changed(look) if (found := self._shown(k, look, pairs)) is not None}
        if any(k not in self._plain for one in (look, *self.nodes) for k in self._base.changed(one)):
            return True
        plain = set(self._plain)
        for j, node in enumerate(self.nodes):
            plain &= self._plain_at(node, j, moves)
        if len(plain) < len(self._plain):
            self._plain = {k: self._plain[k] for k in sorted(plain)}
            return True
        shown = {owner for numbers in self._plain.values() for owner in numbers.values()}
        unseen = [move for move in moves if move.coordinate not in shown]
        return self._more_follow(moves, look) or (bool(unseen) and self._looks.heeds(unseen))

    def _plain_at(self, node: Look, j: int, moves: Sequence[Move]) -> set[int]:
        """The fields of ``_plain`` that have their coordinates with all digits also at the j-th values of these."""
        at = {(move.x, move.values[j]): move.coordinate for move in moves}
        at |= {(-x, -value): k for (x, value), k in at.items()}
        still = {move.coordinate for move in moves if not move.nominal[j]}
        found = set()
        for k, owners in self._plain.items():
            shown = self._shown(k, node, at)
            moving = {n for n, owner in owners.items() if owner not in still}
            # A number may stay as it is on one side of x, as that of ``[a, 1] | min`` does.
            if shown is not None and shown.keys() == moving and not self._looks.trouble(k, node.fields[k]):
                found.add(k)
        return found

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
