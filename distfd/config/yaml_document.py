"""YAML files read to a `Document`: values, and where each of them stands in the file.

PyYAML's events are made into a tree, and what a safe loader lets through (aliases, duplicate keys, deep nesting) is
refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

import yaml

from distfd.config.mistakes import KeyPath, Mistake, Place, config_error, nearest, shown
from distfd.config.yaml_scalars import resolve

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(slots=True)
class Spot:
    """Where a value stands, its key, and what is inside it.

    ``override`` is the override that the value came from, if it did.
    """

    at: Place
    key: Place | None = None
    inside: dict[str, Spot] | list[Spot] | None = None
    override: str | None = None

    def child(self, part: str | int) -> Spot | None:
        """The spot of one key or item, if it is there."""
        if isinstance(self.inside, dict):
            return self.inside.get(part) if isinstance(part, str) else None
        if isinstance(self.inside, list) and isinstance(part, int) and 0 <= part < len(self.inside):
            return self.inside[part]
        return None


@dataclass
class Document:
    """What a file says: plain data, where each part of it stands, and what was wrong with it as YAML."""

    name: str
    data: Any
    spot: Spot
    mistakes: list[Mistake] = field(default_factory=list)

    def mistake(
        self, path: KeyPath, text: str, given: str = "", suggestion: str = "", *, key: bool = False, hides: bool = False
    ) -> Mistake:
        """A mistake at this path, or at the nearest one above it that is there.

        With ``key`` it stands at the key, else at the value.
        """
        spot, override = self.spot, self.spot.override
        for part in path:
            below = spot.child(part)
            if below is None:
                key = True
                break
            spot = below
            override = spot.override or override
        if override is not None:
            return Mistake(f"override {override}", path, text, given, suggestion, hides=hides)
        at = spot.key if key and spot.key else spot.at
        return Mistake(f"{self.name}:{at[0]}:{at[1]}", path, text, given, suggestion, at, hides)


MOST_DEPTH = 50

MOST_KEYS = 10_000

MOST_MISTAKES = 100

_NOT_TEXT = re.compile("[\x00\ud800-\udfff]")


class TreeBuilder:
    """Makes the tree of one document from PyYAML's events."""

    def __init__(self, events: Iterator[Any], name: str) -> None:
        self.events = events
        self.name = name
        self.mistakes: list[Mistake] = []

    def document(self) -> Document:
        """The only document there is."""
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
        """Text where it is quoted, else what YAML 1.2 takes it for."""
        if _NOT_TEXT.search(event.value):
            self.refuse(event, path, "holds a character that is none", shown(event.value))
            return None
        if event.style:
            return event.value
        try:
            return resolve(event.value)
        except ValueError as error:
            self.refuse(event, path, str(error), event.value[:60])
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
                # Nothing stands after the key, so the key is what there is to point at.
                inside.at = inside.key
            if key not in values:
                values[key], spots[key] = value, inside
            if len(values) > MOST_KEYS:
                raise config_error([self.mistake(event, path, f"a mapping of more than {MOST_KEYS} keys")])
        spot.inside = spots
        return values

    def key(self, event: Any, path: KeyPath, before: dict[str, Spot]) -> str:
        """The key that this event is; what is none still gets a name, so that the rest can be read."""
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
                key, wrong = "?", "a key holds a character that is none"
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
        """Note a mistake after which the rest can still be read; many of them end the reading."""
        self.mistakes.append(self.mistake(event, path, text, given))
        if len(self.mistakes) >= MOST_MISTAKES:
            raise config_error(self.mistakes)

    def mistake(self, event: Any, path: KeyPath, text: str, given: str = "") -> Mistake:
        """A mistake at the beginning of this event."""
        at = _mark(event)
        return Mistake(f"{self.name}:{at[0]}:{at[1]}", path, text, given, at=at, hides=True)


def _is_text(plain: str) -> bool:
    try:
        return isinstance(resolve(plain), str)
    except ValueError:
        return False


def _mark(event: Any) -> Place:
    return event.start_mark.line + 1, event.start_mark.column + 1


MOST_BYTES = 10_000_000

_LINE_ENDS = re.compile("[\n\x85\u2028\u2029]")

"""Those of YAML 1.1, by which PyYAML counts lines."""

_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")


def read_file(path: Path) -> Document:
    """Read a YAML file.

    Raises
    ------
    ConfigError
        If it cannot be read at all. Mistakes after which the rest still makes sense are in the document.
    """
    name = str(path)
    try:
        with path.open("rb") as file:
            raw = file.read(MOST_BYTES + 1)
    except OSError as error:
        near = _meant(path) if isinstance(error, FileNotFoundError) else ""
        raise config_error([Mistake(name, (), f"cannot be read: {error.strerror}", "", near)]) from None
    if len(raw) > MOST_BYTES:
        text = f"is longer than {MOST_BYTES // 10**6} MB; keep long vectors in .npy files"
        raise config_error([Mistake(f"{name}:1:1", (), text)])
    return read_text(_decoded(raw, name), name)


def read_text(text: str, name: str) -> Document:
    """Read YAML text; ``name`` stands for the file in messages."""
    import yaml

    bad = _UNPRINTABLE.search(text)
    if bad:
        line, column = _place(text, bad.start())
        raise config_error(
            [Mistake(f"{name}:{line}:{column}", (), "a character that YAML does not allow", shown(bad[0]))]
        )
    # libyaml, where PyYAML was built with it, gives the same events some 25 times as fast.
    events = yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    try:
        return TreeBuilder(events, name).document()
    except yaml.YAMLError as error:
        raise config_error([_syntax_mistake(error, text, name)]) from None


def _place(text: str, index: int) -> Place:
    return text.count("\n", 0, index) + 1, index - text.rfind("\n", 0, index)


def _decoded(raw: bytes, name: str) -> str:
    try:
        text = raw.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        before = raw[: error.start].decode("utf-8")
        line, column = _place(before, len(before))
        given = f"byte 0x{raw[error.start]:02x}"
        raise config_error([Mistake(f"{name}:{line}:{column}", (), "not UTF-8 text", given)]) from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _syntax_mistake(error: Any, text: str, name: str) -> Mistake:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is None:
        return Mistake(f"{name}:1:1", (), f"not valid YAML: {error}".replace("\n", " "))
    lines = _LINE_ENDS.split(text.rstrip("\n"))
    # libyaml puts the end of a file on a line that does not exist.
    line, column = min((mark.line + 1, mark.column + 1), (len(lines), len(lines[-1]) + 1))
    words = f"not valid YAML: {error.problem[:200]}"
    if error.context and error.context_mark:
        words += f" {error.context} that begins at line {error.context_mark.line + 1}"
    at = lines[line - 1]
    if "\t" in at[:column]:
        words += "; indent with blanks, not with tabs"
    elif "escape" in words:
        words += "; in single quotes a backslash is only itself: '(\\S+)'"
    return Mistake(f"{name}:{line}:{column}", (), words)


def _meant(path: Path) -> str:
    """The file beside this one that has nearly its name. Of endings alone, all YAML files are alike."""
    try:
        beside = {
            entry.stem: entry for entry in islice(path.parent.iterdir(), 1000) if entry.suffix in (".yaml", ".yml")
        }
    except OSError:
        return ""
    near = nearest(path.stem, list(beside))
    return str(beside[near]) if near else ""
