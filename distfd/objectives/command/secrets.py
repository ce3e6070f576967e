"""Masks values of the program's environment: messages, logs and stores show the variable's name instead.

A text is masked whole, before it is quoted or cut. Values of ``pass_env`` are found by their parts as well, as a
program prints them in pieces: in columns, cut by its own formats, or at the end of a log whose beginning is not read.
Each form in which they can come to be shown is looked for: as they are, line by line, and as Python, JSON and the shell
quote them, twice over. Where programs choose freely which characters they escape, as in addresses (``%2F``), pages
(``&amp;``) and scripts (a backslash), it is the text that is read without its escapes.
"""

from __future__ import annotations

import contextlib
import html
import json
import os
import re
import shlex
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_SHORTEST_SHIPPED, SHORTEST_SET = 4, 8
"""Least lengths of masked values, in characters: shorter ones are words like 1 or true, which occur with other
meanings."""
PART = 8
"""Least length in characters of a part of a ``pass_env`` value that is masked; shorter parts are like any other
words."""
_QUOTED_TWICE = 2
_LONGEST_ESCAPES = 12
"""Characters that one character may take: four bytes of UTF-8, each as %F0."""

_ADDRESS = re.compile("(?:%[0-9A-Fa-f]{2})+")
_FORM = re.compile(f"{_ADDRESS.pattern}|[+]")
_PAGE = re.compile("&(?:[a-z]{2,4}|#[0-9]{1,7}|#x[0-9A-Fa-f]{1,6});")
_SCRIPT = re.compile(r"""'\\''|'"'"'|\\[^A-Za-z0-9]|""|''""")
"""What stands for one character, or a few, in an address, a form that is sent, a page, and a script or a table."""


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
                whole.update(dict.fromkeys(_forms(value, SHORTEST_SET), f"${name}"))
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
        values = [value for value in (*shipped.values(), *env.values()) if isinstance(value, str)]
        self.longest = max([0, *map(len, ordered[:1]), *(_LONGEST_ESCAPES * len(value) for value in values)])
        """Characters of the longest form of a value."""

    def __call__(self, text: str) -> str:
        """The text with each value replaced, and each part of the ``pass_env`` values."""
        if self._pattern is None:
            return text
        found = [*self._found(text)]
        for escapes in (_ADDRESS, _FORM, _PAGE, _SCRIPT):
            if escapes.search(text):
                bare, places = _without(escapes, text)
                found += [(places[begin], places[end], name) for begin, end, name in self._found(bare)]
        found.sort()
        pieces: list[str] = []
        covered = 0
        for begin, end, name in found:
            if begin > covered or not pieces:
                pieces += [text[covered:begin], name]
            covered = max(covered, end)
        return "".join([*pieces, text[covered:]])

    def _found(self, text: str) -> Iterator[tuple[int, int, str]]:
        """Where values and parts of them are: (begin, end, what stands for it)."""
        assert self._pattern is not None
        for match in self._pattern.finditer(text):
            yield match.start(), match.end(), self._whole[match[0]]
        if self._parts:
            for k in range(len(text) - PART + 1):
                if (name := self._parts.get(text[k : k + PART])) is not None:
                    yield k, k + PART, name


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


def _without(escapes: re.Pattern[str], text: str) -> tuple[str, list[int]]:
    """The text with what its escapes stand for, and where each character of it begins in the text, and the end."""
    pieces: list[str] = []
    places: list[int] = []
    done = 0
    for match in escapes.finditer(text):
        begin, end = match.span()
        plain = _meant(match[0])
        # Of several bytes of an address, each character takes as many as it has.
        widths = [3 * len(c.encode("utf-8", "surrogateescape")) for c in plain] if match[0][0] == "%" else [end - begin]
        pieces += [text[done:begin], plain]
        places += range(done, begin)
        for width in widths:
            places.append(begin)
            begin += width
        done = end
    return "".join([*pieces, text[done:]]), [*places, *range(done, len(text) + 1)]


def _meant(escape: str) -> str:
    """What an escape stands for: one character, or those of some bytes of an address."""
    if escape[0] == "%":
        return bytes.fromhex(escape.replace("%", "")).decode("utf-8", "surrogateescape")
    if escape[0] == "&":
        plain = html.unescape(escape)
        return plain if len(plain) == 1 else " "
    return " " if escape == "+" else escape[1] if escape[0] == "\\" else escape[0]


def _is_a_place(value: str) -> bool:
    """Whether the value is a list of absolute paths of which at least one exists, such as PATH or HOME."""
    parts = [part for part in value.split(":") if part]
    return bool(parts) and all(map(os.path.isabs, parts)) and any(map(os.path.exists, parts))
