"""Regular expressions that end: those that may backtrack are searched for in a process of their own.

The ``regex`` package has a timeout, and would be one more dependency with a dialect of its own; a process costs some
30 ms once, and a fifth of a millisecond a search.
"""

from __future__ import annotations

import json
import re
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from distfd.workers import regex_server
from distfd.workers.helper_process import HelperProcess, NoAnswerError

SECONDS = 60.0
"""A search takes so long at most, where nothing else says how long."""
_SHORT = 10_000
"""Characters up to which a pattern with one repeat is searched for here: at most their square in steps, 0.1 s."""
_SERVER = Path(__file__).with_name("regex_server.py")


class RegexTimeoutError(Exception):
    """A search took longer than it may."""


class Span(NamedTuple):
    """Where a match and its first group lie in a text.

    Attributes
    ----------
    first, last : int
        The match is ``text[first:last]``.
    group_first, group_last : int
        The group is ``text[group_first:group_last]``; -1 where it took no part in the match.
    """

    first: int
    last: int
    group_first: int
    group_last: int


def spans(pattern: str, text: str, seconds: float | None, begin: int = 0) -> list[Span]:
    """Each match of a pattern in a text, as by ``re.finditer`` with ``re.MULTILINE``.

    Parameters
    ----------
    seconds : float or None
        How long it may take; None for `SECONDS`.
    begin : int
        Where in the text the search begins.

    Raises
    ------
    RegexTimeoutError
        If it takes longer.
    """
    if _is_quick(pattern, text):
        found: list[Any] = regex_server.spans(pattern, text, begin)
    else:
        found = _asked(pattern, text, seconds, begin)
    return [Span(*places) for places in found]


def lines_with(pattern: str, text: str, seconds: float | None) -> list[int]:
    """The numbers, from 0, of the lines of the text in which the pattern is found; parameters as for `spans`."""
    if _is_quick(pattern, text):
        return regex_server.lines_with(pattern, text)
    return _asked(pattern, text, seconds, None)


def _is_quick(pattern: str, text: str) -> bool:
    return len(text) <= _SHORT and is_tame(pattern)


@lru_cache(maxsize=256)
def is_tame(pattern: str) -> bool:
    """Whether a search takes no more steps than the square of the text's length: one repeat without end at most.

    None inside of another, none of alternatives, and no reference back.
    """
    from re import _constants, _parser  # type: ignore[attr-defined]  # no public part of Python, and so only a guess

    try:
        tree = _parser.parse(pattern, re.MULTILINE)
    except Exception:
        return False
    repeats = (_constants.MAX_REPEAT, _constants.MIN_REPEAT)
    plain = (_constants.LITERAL, _constants.NOT_LITERAL, _constants.ANY, _constants.IN, _constants.AT)

    def count(items: Any) -> float:
        """Repeats in a sequence; infinite where it is of another kind."""
        total = 0.0
        for kind, what in items:
            if kind in repeats:
                least, most, inner = what
                single = len(inner) == 1 and inner[0][0] in plain
                if not single and most != 1:
                    return float("inf")
                total += 1 if most > 1 and most != least else count(inner) if not single else 0
            elif kind is _constants.SUBPATTERN:
                total += count(what[-1])
            elif kind not in plain:
                return float("inf")
        return total

    return count(tree) <= 1


def _asked(pattern: str, text: str, seconds: float | None, begin: int | None) -> list[Any]:
    """What the other process finds: lines if there is no place to begin at."""
    limit = SECONDS if seconds is None else max(0.0, min(seconds, SECONDS))
    raw = text.encode("utf-8", "surrogatepass")
    # The process ends itself a moment later, in case that this one is gone by then.
    asked = {"pattern": pattern, "bytes": len(raw), "seconds": limit + 5.0, "begin": begin}
    try:
        answer = _helper.ask(json.dumps(asked).encode() + b"\n" + raw, limit)
    except NoAnswerError:
        raise RegexTimeoutError from None
    found: list[Any] = json.loads(answer)
    return found


_helper = HelperProcess(lambda: [sys.executable, "-I", "-S", str(_SERVER)])
