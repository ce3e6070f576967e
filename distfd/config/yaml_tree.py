"""Builds the tree of a YAML document from PyYAML's events, and refuses what a safe loader would let through."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import yaml

from distfd.config.mistakes import KeyPath, Mistake, Place, config_error, is_secret, shown
from distfd.config.yaml_document import Document, Spot
from distfd.config.yaml_scalars import resolve

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_DEPTH = 50

MOST_KEYS = 10_000

MOST_MISTAKES = 100

_NOT_TEXT = re.compile("[\x00\ud800-\udfff]")


class TreeBuilder:
    """Builds the tree of one document from PyYAML's events.

    Parameters
    ----------
    events : iterator
    name : str
        Stands for the file in messages.
    below : tuple
        Where in a configuration the document will stand: values of variables of programs are not told.
    """

    def __init__(self, events: Iterator[Any], name: str, below: KeyPath = ()) -> None:
        self.events = events
        self.name = name
        self.below = below
        self.mistakes: list[Mistake] = []

    def document(self) -> Document:
        """The only document in the file."""
        next(self.events)
        if isinstance(next(self.events), yaml.StreamEndEvent):
            raise config_error([Mistake(f"{self.name}:1:1", (), "there is nothing in it")])
        data, spot = self.node(next(self.events), ())
        next(self.events)
        after = next(self.events)
        if not isinstance(after, yaml.StreamEndEvent):
            raise config_error([self.mistake(after, (), "a second document begins here; a file holds one")])
        return Document(self.name, data, spot, self.mistakes)

    def node(self, event: Any, path: KeyPath) -> tuple[Any, Spot]:
        """The value that begins with this event, and its spot."""
        spot = Spot(_mark(event))
        if isinstance(event, yaml.AliasEvent):
            self.refuse(event, path, "aliases are not read; write the value out", f"*{str(event.anchor)[:60]}")
            return None, spot
        if len(path) >= MOST_DEPTH:
            raise config_error([self.mistake(event, path[:3], f"nested more than {MOST_DEPTH} deep")])
        if event.anchor is not None:
            self.refuse(event, path, "anchors are not read; write values out", f"&{str(event.anchor)[:60]}")
        if event.tag is not None:
            self.refuse(event, path, "tags are not read", event.tag[:60])
        if isinstance(event, yaml.ScalarEvent):
            return self.scalar(event, path), spot
        if isinstance(event, yaml.SequenceStartEvent):
            return self.sequence(path, spot), spot
        return self.mapping(path, spot), spot

    def scalar(self, event: Any, path: KeyPath) -> Any:
        """Text if the scalar is quoted, else the value that YAML 1.2 gives it."""
        if _NOT_TEXT.search(event.value):
            self.refuse(event, path, "contains an invalid character", shown(event.value))
            return None
        if event.style:
            return event.value
        try:
            return resolve(event.value)
        except ValueError as error:
            told = "is no text: put it in quotes" if is_secret((*self.below, *path)) else str(error)
            self.refuse(event, path, told, event.value[:60])
            return None

    def sequence(self, path: KeyPath, spot: Spot) -> list[Any]:
        """The items up to the end of the sequence; their spots go into its spot."""
        values: list[Any] = []
        spots: list[Spot] = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            value, inside = self.node(event, (*path, len(values)))
            values.append(value)
            spots.append(inside)
        spot.inside = spots
        return values

    def mapping(self, path: KeyPath, spot: Spot) -> dict[str, Any]:
        """The keys and values up to the end of the mapping; their spots go into its spot."""
        values: dict[str, Any] = {}
        spots: dict[str, Spot] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            key = self.key(event, path, spots)
            first = next(self.events)
            value, inside = self.node(first, (*path, key))
            inside.key = _mark(event)
            if isinstance(first, yaml.ScalarEvent) and not first.style and not first.value:
                # The value is empty, so use the place of its key.
                inside.at = inside.key
            if key not in values:
                values[key], spots[key] = value, inside
            if len(values) > MOST_KEYS:
                raise config_error([self.mistake(event, path, f"a mapping of more than {MOST_KEYS} keys")])
        spot.inside = spots
        return values

    def key(self, event: Any, path: KeyPath, before: dict[str, Spot]) -> str:
        """The key of this event; an invalid key also gets a name, so that the rest can be read."""
        wrong = ""
        if isinstance(event, yaml.ScalarEvent):
            key = str(event.value)
            if event.tag is not None or event.anchor is not None:
                wrong = "tags and anchors are not read"
            elif not event.style and key == "<<":
                wrong = "merge keys are not read; write the keys out"
            elif not event.style and not _is_text(key):
                wrong = "a key must be text; put it in quotes"
            elif _NOT_TEXT.search(key):
                key, wrong = "?", "a key contains an invalid character"
            elif key in before and (earlier := before[key].key):
                wrong = f"given twice, first at line {earlier[0]}"
        else:
            key, wrong = "?", "a key must be text"
            if not isinstance(event, yaml.AliasEvent):
                self.node(event, (*path, key))
        if wrong:
            self.refuse(event, (*path, key), wrong)
        return key

    def refuse(self, event: Any, path: KeyPath, text: str, given: str = "") -> None:
        """Records a mistake after which reading can go on; after many of them, reading ends."""
        given = "" if is_secret((*self.below, *path)) else given
        self.mistakes.append(self.mistake(event, path, text, given))
        if len(self.mistakes) >= MOST_MISTAKES:
            raise config_error(self.mistakes)

    def mistake(self, event: Any, path: KeyPath, text: str, given: str = "") -> Mistake:
        """A mistake at the place of this event."""
        at = _mark(event)
        return Mistake(f"{self.name}:{at[0]}:{at[1]}", path, text, given, at=at, hides=True)


def _is_text(plain: str) -> bool:
    try:
        return isinstance(resolve(plain), str)
    except ValueError:
        return False


def _mark(event: Any) -> Place:
    return event.start_mark.line + 1, event.start_mark.column + 1
