"""Mistakes in a configuration, reported in one line each."""

from __future__ import annotations

import difflib
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from distfd.core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

KeyPath = tuple[str | int, ...]
"""Keys and list positions from the root to a value."""

Place = tuple[int, int]
"""Line and column, both from 1."""

ENVIRONMENT: KeyPath = ("objective", "command", "env")
"""The path below which values are not shown: environment variables may be secret."""

MOST_SHOWN = 20
_MOST_TEXT = 60
_PLAIN_KEY = re.compile(r"[\w-]{1,60}")


@dataclass(frozen=True)
class Mistake:
    """One mistake; ``where`` is ``file:line:column`` or ``override TEXT``."""

    where: str
    path: KeyPath
    text: str
    given: str = ""
    suggestion: str = ""
    at: Place = (0, 0)
    """The position by which mistakes are sorted; (0, 0) if they are in no file."""
    hides: bool = False
    """Whether other mistakes at this path or below it are only consequences of this one."""

    def __str__(self) -> str:
        parts = [self.where, shown_path(self.path), self.text]
        line = ": ".join(part for part in parts if part)
        line += f" ({self.given})" if self.given else ""
        return line + (f"; did you mean {self.suggestion}" if self.suggestion else "")


def config_error(mistakes: Iterable[Mistake]) -> ConfigError:
    """The error that reports these mistakes, one line each, in the order of the file."""
    known = list(mistakes)
    hiding = {mistake.path: mistake for mistake in reversed(known) if mistake.hides}
    kept = [m for m in known if all(hiding.get(m.path[:n], m) is m for n in range(len(m.path) + 1))]
    kept.sort(key=lambda mistake: mistake.at)
    lines = [str(mistake) for mistake in kept[:MOST_SHOWN]]
    if len(kept) > MOST_SHOWN:
        lines.append(f"... and {len(kept) - MOST_SHOWN} more mistakes, at least")
    return ConfigError("\n".join(lines))


def is_secret(path: KeyPath) -> bool:
    """Whether the value at this path must not be shown."""
    return path[: len(ENVIRONMENT)] == ENVIRONMENT


def shown_path(path: KeyPath) -> str:
    """The path in the form of overrides: ``parameters.0.value``."""
    return ".".join(
        str(part) if isinstance(part, int) or _PLAIN_KEY.fullmatch(part) else shown(part, in_key=True) for part in path
    )


def shown(value: Any, *, in_key: bool = False) -> str:
    """A value of a document as YAML on one line, cut if it is long."""
    match value:
        case str():
            return _quoted(value, 40 if in_key else _MOST_TEXT)
        case dict():
            # A program's variables are told nowhere, also where a key above them is misspelt.
            inside = (
                f"{shown_path((str(k),))}: {'{...}' if k == ENVIRONMENT[-1] else shown(v)}" for k, v in value.items()
            )
            return "{" + _joined(inside, len(value)) + "}"
        case list() | tuple():
            return "[" + _joined((shown(item) for item in value), len(value)) + "]"
        case None | bool():
            return {None: "null", True: "true", False: "false"}[value]
    # YAML writes these values as .inf and .nan.
    text = str(value) if math.isfinite(value) else str(value).replace("inf", ".inf").replace("nan", ".nan")
    return text if len(text) <= _MOST_TEXT else text[: _MOST_TEXT - 3] + "..."


def nearest(word: str, options: Sequence[str]) -> str:
    """The option that ``word`` was probably meant to be, or nothing."""
    if len(word) > _MOST_TEXT:
        return ""
    lower = {option.lower(): option for option in options}
    found = difflib.get_close_matches(word.lower(), list(lower), n=1)
    return lower[found[0]] if found else ""


def _quoted(text: str, most: int) -> str:
    cut = text if len(text) <= most else text[: most - 3] + "..."
    escaped = cut.replace("\\", "\\\\").replace('"', '\\"')
    # Escape characters that would affect a terminal: escape sequences, line ends, reversed text.
    return '"' + "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in escaped) + '"'


def _joined(items: Iterable[str], count: int) -> str:
    text, used = "", 0
    for item in items:
        if len(text) + len(item) > _MOST_TEXT:
            break
        text += (", " if used else "") + item
        used += 1
    return text if used == count else text + (", ..." if used else "...")
