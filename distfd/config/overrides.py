"""Applies ``key.path=value`` from the command line to the content of the file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from distfd.config.mistakes import ENVIRONMENT, KeyPath, Mistake, is_secret, nearest, shown, shown_path
from distfd.config.yaml_document import Document, Spot
from distfd.config.yaml_source import read_text
from distfd.core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

_MOST_TEXT = 80
_MOST_KEYS = 50


class _RefusedError(Exception):
    """The reason why an override cannot be applied."""

    def __init__(self, path: KeyPath, text: str, given: str = "", suggestion: str = "") -> None:
        super().__init__(text)
        self.path = path
        self.text = text
        self.given = given
        self.suggestion = suggestion


def apply_override(document: Document, override: str) -> Mistake | None:
    """Applies an override to the document; returns the mistake if it cannot be applied.

    Items of a list are given by their number, or by their ``name`` if they have one.
    """
    key, equals, given = override.partition("=")
    path = tuple(key.strip().split("."))
    # Variables of a program may be secret, and so may what has them in it.
    secret = is_secret(path) or (path == ENVIRONMENT[: len(path)] and str(ENVIRONMENT[-1]) in given)
    told = f"{key}=..." if equals and secret else override
    label = told if len(told) <= _MOST_TEXT else told[: _MOST_TEXT - 3] + "..."
    label = "".join(c if c.isprintable() else "?" for c in label)
    try:
        keys, value, spot = _split(override)
        spot.override = label
        _put(document, keys, value, spot)
    except _RefusedError as no:
        return Mistake(f"override {label}", no.path, no.text, no.given, no.suggestion, hides=bool(no.path))
    return None


def _split(override: str) -> tuple[list[str], Any, Spot]:
    """The path, the value, and the spots in the value."""
    path, equals, text = override.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys) or not path.isprintable():
        raise _RefusedError((), "must be key.path=value")
    if len(keys) > _MOST_KEYS:
        raise _RefusedError((), f"nested more than {_MOST_KEYS} deep")
    if not text.strip():
        return keys, None, Spot((1, 1))
    try:
        document = read_text(text, "value", tuple(keys))
    except ConfigError as error:
        raise _RefusedError(tuple(keys), str(error).replace("\n", "; ")) from None
    if document.mistakes:
        raise _RefusedError(tuple(keys), "; ".join(str(mistake) for mistake in document.mistakes))
    return keys, document.data, document.spot


def _put(document: Document, keys: list[str], value: Any, spot: Spot) -> None:
    """Sets the value; missing mappings on the path are made."""
    data, at = document.data, document.spot
    steps = list(_steps(data, keys))
    for part in steps[:-1]:
        below = at.child(part)
        if below is None or data[part] is None:
            # The value was empty, so everything that is here now comes from the override.
            data[part], below = {}, Spot(spot.at, None, {}, spot.override)
            _attach(at, part, below)
        data, at = data[part], below
    data[steps[-1]] = value
    _attach(at, steps[-1], spot)


def _attach(parent: Spot, part: str | int, spot: Spot) -> None:
    # `_steps` has checked that the parent is a mapping or a list.
    if isinstance(parent.inside, dict):
        parent.inside[str(part)] = spot
    elif isinstance(parent.inside, list) and isinstance(part, int):
        parent.inside[part] = spot


def _steps(data: Any, keys: list[str]) -> Iterator[str | int]:
    """The keys for lookup: names of items become numbers, and dots may be part of a key."""
    done: KeyPath = ()
    rest = keys
    while rest:
        if data is None:
            data = {}
        part: str | int
        if isinstance(data, dict):
            # model.inp is one key if the mapping has it; by the dots it would be two steps.
            used = next((n for n in range(len(rest), 1, -1) if ".".join(rest[:n]) in data), 1)
            part = ".".join(rest[:used])
            data = data.get(part)
        elif isinstance(data, list):
            used, part = 1, _item(data, rest[0], done)
            data = data[part]
        else:
            text = f"{shown_path(done)} is no mapping here, so it has no key {rest[0]}"
            raise _RefusedError((*done, *rest), text, "" if is_secret(done) else shown(data))
        yield part
        done, rest = (*done, part), rest[used:]


def _item(items: list[Any], word: str, path: KeyPath) -> int:
    if word.isdecimal() and word.isascii():
        number = int(word[:9])
        if number < len(items):
            return number
        raise _RefusedError((*path, number), f"{shown_path(path)} has {len(items)} items, counted from 0")
    names = [str(item.get("name")) if isinstance(item, dict) else "" for item in items]
    if word in names:
        return names.index(word)
    near = nearest(word, names)
    raise _RefusedError(
        (*path, word), f"no item of {shown_path(path)} has this name", "", shown_path((*path, near)) if near else ""
    )
