"""How far a program sees its parameters moved: by the numbers as they were written, read back from the text."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from distfd.core.errors import InputError
from distfd.objectives.command.inputs import compiled, refuse_complex, variables
from distfd.objectives.command.traced_numbers import NumberNote, TracedNumber, parsed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from distfd.objectives.command.inputs import Written
    from distfd.objectives.command.spec import ProgramSpec

_AGREE = 0.01
"""Relative difference of one step as two places have it, beyond which no one number is right for it."""


@dataclass(frozen=True)
class _Place:
    """One step as one place of the files has it."""

    where: str
    how: str
    offset: float


@dataclass
class _Deck:
    """An input, what it notes at x, and what is found from that by coordinate."""

    name: str
    deck: Written
    render: Callable[[dict[int, float]], tuple[str, list[NumberNote]]]
    text: str = ""
    notes: list[NumberNote] = field(default_factory=list)
    direct: dict[int, dict[str, NumberNote]] = field(default_factory=lambda: defaultdict(dict))
    noted: set[int] = field(default_factory=set)
    formatted: list[NumberNote] = field(default_factory=list)
    """Expressions of parameters that are not written in full."""
    vague: bool = False
    """Whether some of what it writes depends on coordinates that were not told apart."""

    def study(self) -> None:
        """Render it at x."""
        self.text, self.notes = self.render({})
        for note in self.notes:
            if note.direct and note.coordinates:
                (k,) = note.coordinates
                self.direct[k].setdefault(note.how, note)
            elif note.how:
                self.formatted.append(note)
            self.noted.update(note.coordinates or ())
            self.vague |= note.coordinates is None


def written(
    objective: ProgramSpec, x: NDArray[np.float64], index: NDArray[np.int64], values: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Offsets of coordinates from x, (a, n), as the program's input files have them; see `CommandObjective.written`."""
    refuse_complex(values)
    offsets = values - x[index, None]
    decks = [_study(objective, name, source, x) for name, source in objective.decks.items()]
    names = objective.names or [f"x[{k}]" for k in range(len(x))]
    # Nearly always all numbers are written in full, and there is nothing to be done for any of a million coordinates.
    if not any(deck.formatted or any(set(by) - {""} for by in deck.direct.values()) for deck in decks) and not any(
        _unseen(deck, names, range(len(x))) for deck in decks
    ):
        return offsets
    for a, k in enumerate(index.tolist()):
        for j, value in enumerate(values[a].tolist()):
            places = [place for deck in decks for place in _places(deck, k, names[k], float(x[k]), value)]
            if places and offsets[a, j]:
                offsets[a, j] = _agreed(places, names[k], k, float(x[k]), value)
    return offsets


def _study(objective: ProgramSpec, name: str, source: Any, x: NDArray[np.float64]) -> _Deck:
    deck, at = compiled(source), list(objective.parameters(x).values())

    def render(changes: dict[int, float]) -> tuple[str, list[NumberNote]]:
        notes: list[NumberNote] = []
        traced = [TracedNumber.of(changes.get(k, value), k, notes) for k, value in enumerate(at)]
        # Where there are warm starts, points are compared with x by the decks of those: x alone starts cold.
        return deck.render(variables(traced, objective.names, warm=True if objective.restart else None)), notes

    studied = _Deck(name, deck, render)
    studied.study()
    return studied


def _unseen(deck: _Deck, names: Sequence[str] | Mapping[int, str], coordinates: Iterable[int]) -> bool:
    """Whether the deck mentions one of these coordinates, and never wrote it in a way that was noted."""
    mentioned = deck.deck.names
    return any(k not in deck.noted and ("x" in mentioned or names[k] in mentioned) for k in coordinates)


def _heeds(deck: _Deck, k: int, name: str, x: float) -> bool:
    """Whether the deck would follow the coordinate if it went far; x may be mentioned for the sake of others."""
    if name in deck.deck.names:
        return True
    try:
        return deck.render({k: x + 1e3 * max(1.0, abs(x))})[0] != deck.text
    except InputError:  # it cannot be written that far away, so it is heeded
        return True


def _places(deck: _Deck, k: int, name: str, x: float, value: float) -> list[_Place]:
    """The step of coordinate k to a value, in each way in which the deck writes it."""
    found = []
    for how, note in deck.direct.get(k, {}).items():
        before, after = note.read(x), note.read(value)
        if before is not None and after is not None:
            found.append(_Place(deck.name, how, after - before))
    unseen = _unseen(deck, {k: name}, (k,))
    if unseen or any(note.touches(k) for note in deck.formatted):
        text, notes = deck.render({k: value})
        if text == deck.text and not found:
            hows = {note.how for note in deck.formatted if note.touches(k) and note.coordinates is not None}
            if hows or (unseen and _heeds(deck, k, name, x)):
                found.append(_Place(deck.name, ", ".join(sorted(hows)), 0.0))
        elif len(notes) == len(deck.notes):
            pairs = zip(deck.notes, notes, strict=True)
            found += [place for before, after in pairs if (place := _ratio(deck.name, before, after, value - x))]
    return found


def _ratio(where: str, before: NumberNote, after: NumberNote, step: float) -> _Place | None:
    """By how much the text of an expression moved, compared with the expression itself."""
    moved = after.value - before.value
    ends = parsed(before.text), parsed(after.text)
    if before.direct or not before.how or moved == 0 or ends[0] is None or ends[1] is None:
        return None
    return _Place(where, before.how, (ends[1] - ends[0]) / moved * step)


def _agreed(places: list[_Place], name: str, k: int, x: float, value: float) -> float:
    """The one step that all places have."""
    nominal = value - x
    swallowed = [place for place in places if place.offset == 0]
    if swallowed:
        place = swallowed[0]
        form = place.how or "what it does with it"
        elsewhere = "" if len(swallowed) == len(places) else f", though not everywhere ({places[0].where} has it)"
        raise InputError(
            f"step: {name} (coordinate {k}) is moved from {x!r} by {nominal:.3g}, and {place.where} does not change: "
            f"{form} swallows it{elsewhere}; use a larger step, more digits, or {{{{ {name} }}}}, which writes 17"
        )
    coarsest = max(places, key=lambda place: abs(place.offset - nominal))
    finest = min(places, key=lambda place: abs(place.offset - nominal))
    if abs(coarsest.offset - finest.offset) > _AGREE * abs(nominal):
        raise InputError(
            f"step: {name} (coordinate {k}) is moved from {x!r} by {nominal:.3g}, which becomes {coarsest.offset:.6g} "
            f"in {coarsest.where} ({coarsest.how or 'in full'}) and {finest.offset:.6g} in {finest.where} "
            f"({finest.how or 'in full'}): write it alike in both, or use a larger step"
        )
    return coarsest.offset
