"""Writes decks from templates with loops and macros, in a process that can be ended: such a template may never end.

Run by `distfd.objectives.command.bounded_templates`: each request is a line of JSON, and so is each answer.
"""

from __future__ import annotations

import contextlib
import json
import resource
import signal
import sys
from functools import lru_cache
from typing import Any

from distfd.core.errors import InputError
from distfd.objectives.command.templates import Deck, Part, Template

MEMORY = 3 * 2**30
"""Bytes that this process may have; a text of the longest that templates may write takes 1 GiB of them."""


def main() -> None:
    """Answer requests until there are no more; the kernel ends this process where one takes too much of a processor."""
    # Python has a handler for neither of these that would run inside of a filter.
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(ValueError):  # of a limit that is lower already
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
    for line in sys.stdin.buffer:
        asked = json.loads(line)
        signal.setitimer(signal.ITIMER_PROF, asked["seconds"])
        try:
            answer = {"answer": _done(**asked["what"])}
        except InputError as error:
            answer = {"error": str(error)}
        except MemoryError:
            answer = {"memory": True}
        signal.setitimer(signal.ITIMER_PROF, 0)
        sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n")
        sys.stdout.buffer.flush()


def _done(file: str, text: str, marks_alone: bool, method: str, variables: dict[str, Any]) -> Any:
    deck = _deck(file, text, marks_alone)
    variables = {name: tuple(value) if isinstance(value, list) else value for name, value in variables.items()}
    try:
        done: Any = getattr(deck, method)(variables) if method else None
    except InputError as error:
        if isinstance(error.__cause__, MemoryError):
            raise error.__cause__ from None
        raise
    return _in_columns(done) if method == "parts" else done


def _in_columns(parts: list[Part]) -> dict[str, list[Any]]:
    """Parts as JSON that is read quickly: a mark in a loop is named once, and by its number then."""
    numbers: dict[tuple[str, str] | None, int] = {}
    marks = [None if part.mark is None else (part.mark.where, part.mark.source) for part in parts]
    which = [numbers.setdefault(mark, len(numbers)) for mark in marks]
    return {
        "marks": list(numbers),
        "which": which,
        "texts": [part.text for part in parts],
        "excess": [part.excess for part in parts],
    }


@lru_cache(maxsize=64)
def _deck(file: str, text: str, marks_alone: bool) -> Deck:  # as requests have it
    try:
        return Deck(Template(file, text, 0o600, marks_alone=marks_alone))
    except InputError as error:
        if isinstance(error.__cause__, MemoryError):
            raise error.__cause__ from None
        raise
