"""Suggests names that the user may have meant."""

from __future__ import annotations

import difflib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_LONGEST = 100
"""Largest length of a word, in characters, for which names are suggested: the time grows with its square."""
_MOST = 10_000
"""Largest number of names, or parts of a document, that are compared."""


def did_you_mean(word: Any, options: Iterable[str]) -> str:
    """The end of a sentence that suggests the nearest name, or an empty text; also where the word is no text."""
    if not isinstance(word, str) or not word or len(word) > _LONGEST:
        return ""
    by_lower = {option.lower(): option for _, option in zip(range(_MOST), options, strict=False)}
    near = difflib.get_close_matches(word.lower(), list(by_lower), n=1, cutoff=0.7)
    return f"; did you mean {by_lower[near[0]]!r}?" if near and by_lower[near[0]] != word else ""


def programs(path: str | None) -> Iterator[str]:
    """The names of all programs in the folders of a PATH."""
    for folder in (path or "").split(os.pathsep):
        try:
            yield from (entry.name for entry in os.scandir(folder or ".") if os.access(entry.path, os.X_OK))
        except OSError:
            continue


def pointers_to(document: Any, key: str) -> list[str]:
    """JSON pointers to values with this key anywhere in a document, the nearest to its root first."""
    found, waiting, seen = [], [("", document)], 0
    while waiting and seen < _MOST:
        (where, at), seen = waiting.pop(0), seen + 1
        items = at.items() if isinstance(at, dict) else enumerate(at) if isinstance(at, list) else ()
        for part, below in items:
            pointer = f"{where}/{str(part).replace('~', '~0').replace('/', '~1')}"
            if part == key:
                found.append(pointer)
            if isinstance(below, (dict, list)) and len(waiting) < _MOST:
                waiting.append((pointer, below))
    return found
