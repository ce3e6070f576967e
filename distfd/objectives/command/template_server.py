"""Writes decks from templates with loops and macros, in a process of its own, which can be ended if it hangs.

Started by `distfd.objectives.command.bounded_templates`. Each request is a line of JSON, and so is each answer.
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
"""Limit of this process's memory, in bytes; a text of the greatest allowed length takes 1 GiB of it."""


def main() -> None:
    """Answers requests until input ends; the kernel ends the process if one takes too much processor time."""
    # Python's own handlers of these signals would not run inside a filter, so use the system's.
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(ValueError):  # the limit is lower already
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
    """Parts as JSON that is fast to read: a mark in a loop is written once, and referred to by number then."""
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
def _deck(file: str, text: str, marks_alone: bool) -> Deck:  # the arguments as in a request
    try:
        return Deck(Template(file, text, 0o600, marks_alone=marks_alone))
    except InputError as error:
        if isinstance(error.__cause__, MemoryError):
            raise error.__cause__ from None
        raise
