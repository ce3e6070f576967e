"""Masks values of the program's environment: messages, logs and stores show the variable's name instead.

A text is masked as a whole, before it is quoted or cut. Values of ``pass_env`` are also found by their parts, as a
program may print them in pieces: in columns, cut by formats, or at the end of a log whose start is not read. The search
covers each form in which a value may be shown: unchanged, line by line, and quoted once or twice as in Python, JSON and
the shell.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_SHORTEST_SHIPPED, _SHORTEST_SET = 4, 8
"""Least lengths of masked values, in characters: shorter ones are words like 1 or true, which occur with other
meanings."""
PART = 8
"""Least length in characters of a part of a ``pass_env`` value that is masked; shorter parts are like any other
words."""
_QUOTED_TWICE = 2


class Mask:
    """Replaces values by ``$NAME``, the variable's name.

    Parameters
    ----------
    shipped, env : mapping
        Values of ``pass_env``, and values that the configuration sets.
    """

    def __init__(self, shipped: Mapping[str, str], env: Mapping[str, str | float | None]) -> None:
        whole: dict[str, str] = {}
        for name, value in env.items():
            if isinstance(value, str):
                whole.update(dict.fromkeys(_forms(value, _SHORTEST_SET), f"${name}"))
        parts: dict[str, str] = {}
        for name, value in shipped.items():
            forms = _forms(value, _SHORTEST_SHIPPED)
            whole.update(dict.fromkeys(forms, f"${name}"))
            # The folders where programs are found are no secret, and appear in all messages.
            if not _is_a_place(value):
                parts.update({form[k : k + PART]: f"${name}" for form in forms for k in range(len(form) - PART + 1)})
        self._whole, self._parts = whole, parts
        # Replace longer values first, as one value may be the beginning of another.
        ordered = sorted(whole, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, ordered))) if ordered else None
        self.longest = len(ordered[0]) if ordered else 0
        """Number of characters of the longest form of a value."""

    def __call__(self, text: str) -> str:
        """The text with each value replaced, and each part of the ``pass_env`` values."""
        if self._pattern is None:
            return text
        found = [(match.start(), match.end(), self._whole[match[0]]) for match in self._pattern.finditer(text)]
        if self._parts:
            parts = ((k, self._parts.get(text[k : k + PART])) for k in range(len(text) - PART + 1))
            found += [(k, k + PART, name) for k, name in parts if name is not None]
            found.sort()
        pieces: list[str] = []
        covered = 0
        for begin, end, name in found:
            if begin > covered or not pieces:
                pieces += [text[covered:begin], name]
            covered = max(covered, end)
        return "".join([*pieces, text[covered:]])


NOTHING = Mask({}, {})

_current: ContextVar[Mask] = ContextVar("mask", default=NOTHING)


@contextlib.contextmanager
def masking(mask: Mask) -> Iterator[None]:
    """A context in which `masked` replaces these values, for code that quotes or cuts a program's output."""
    token = _current.set(mask)
    try:
        yield
    finally:
        _current.reset(token)


def masked(text: str) -> str:
    """The text without the secret values of the current evaluation."""
    return _current.get()(text)


def _forms(value: str, shortest: int) -> set[str]:
    """All forms in which a value may be shown; forms too short to be told from other words are left out."""
    # Bytes that are not UTF-8 are read from a log as replacement characters.
    as_read = value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    first = {value, as_read, " ".join(value.split())}
    for text in (value, as_read):
        first.update(line.strip() for line in text.splitlines() if len(line.strip()) >= max(shortest, PART))
    forms = {form for form in first if len(form) >= shortest}
    newest = forms
    for _ in range(_QUOTED_TWICE):
        newest = {quoted for form in newest for quoted in _quoted(form)} - forms
        forms |= newest
    return forms


def _quoted(text: str) -> Iterable[str]:
    """The text as Python, JSON and the shell write it between quotes."""
    yield repr(text)[1:-1]
    # Python uses the other kind of quotes if the text, or another part of the quoted text, contains the first kind.
    yield repr(text + '"')[1:-2]
    yield repr(text + "'\"")[1:-4]
    yield ascii(text)[1:-1]
    yield json.dumps(text)[1:-1]
    yield json.dumps(text, ensure_ascii=False)[1:-1]
    yield shlex.quote(text).strip("'")
    yield repr(text.encode("utf-8", "surrogateescape"))[2:-1]
    # Escaped as in a JSON pointer.
    yield text.replace("~", "~0").replace("/", "~1")


def _is_a_place(value: str) -> bool:
    """Whether the value is a list of absolute paths of which at least one exists, such as PATH or HOME."""
    parts = [part for part in value.split(":") if part]
    return bool(parts) and all(map(os.path.isabs, parts)) and any(map(os.path.exists, parts))
