"""Searches texts by regular expressions, in a process that can be ended: a pattern may backtrack without end.

Run as a script by `distfd.workers.bounded_regex`: it reads requests, JSON objects of one line each and the text behind
them, and answers each with one line. Standard library only: the script runs without site-packages.
"""

from __future__ import annotations

import json
import re
import signal
import sys
from typing import Any


def main() -> None:
    """Answer requests until there are no more; the kernel ends this process where one takes too long."""
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    while line := requests.readline():
        asked = json.loads(line)
        text = requests.read(asked["bytes"]).decode("utf-8", "surrogatepass")
        # Whoever asks may be gone by then; this ends all the same.
        signal.setitimer(signal.ITIMER_REAL, asked["seconds"])
        found: list[Any] = (
            lines_with(asked["pattern"], text)
            if asked["begin"] is None
            else spans(asked["pattern"], text, asked["begin"])
        )
        signal.setitimer(signal.ITIMER_REAL, 0)
        answers.write(json.dumps(found).encode() + b"\n")
        answers.flush()


def lines_with(pattern: str, text: str) -> list[int]:
    """The numbers of the lines in which there is a match."""
    seek = re.compile(pattern).search
    return [k for k, line in enumerate(text.split("\n")) if seek(line)]


def spans(pattern: str, text: str, begin: int) -> list[tuple[int, int, int, int]]:
    """Where each match from a place of the text on begins and ends, and where its first group does."""
    matches = re.compile(pattern, re.MULTILINE).finditer(text, begin)
    return [(*match.span(), *match.span(1)) for match in matches]


if __name__ == "__main__":
    # Python has a handler for neither of these that would run inside of a match.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    main()
