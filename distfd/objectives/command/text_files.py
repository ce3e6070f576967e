"""Text files of any size, read a piece at a time: lines by number or by a regex, and the matches of a regex."""

from __future__ import annotations

import io
from collections import deque
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING, TextIO

from distfd.core.files import open_plain
from distfd.objectives.command.values import LARGEST, OutputError, read_text, timed
from distfd.workers.bounded_regex import groups, lines_with, spans

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_PIECE = 2**22
"""Characters that are searched at a time."""

_FIRST_LINES = 2**13
"""Characters of lines that are searched first: what is looked for is often near the beginning."""

_GUARD = 2**18
"""Characters at a piece's end in which a match may go on beyond it; a longer one is cut in files past `LARGEST`."""

_LONGEST = 2**22
"""Characters of a line, in files past `LARGEST`, beyond which it is none."""

_MARK = "\ufeff"


@dataclass(frozen=True)
class Line:
    """A line of a file.

    Attributes
    ----------
    number : int
        From 0.
    text : str
        Without its end.
    ended : bool
        Whether it has one: the last line of a file that was cut has none.
    """

    number: int
    text: str
    ended: bool


def raw_lines(path: Path) -> Iterator[str]:
    """The lines of a file with their ends, without a byte order mark.

    Raises
    ------
    OutputError
        If one is so long that it is none.
    """
    with _opened(path) as file:
        longest = _LONGEST if path.stat().st_size > LARGEST else LARGEST + 1
        lines = iter(partial(file.readline, longest), "")
        first = next(lines, None)
        if first is not None:
            yield _checked(path, first.removeprefix(_MARK), 0)
        for k, raw in enumerate(lines, start=1):
            yield raw if len(raw) < longest else _checked(path, raw, k)


def _opened(path: Path) -> TextIO:
    return io.TextIOWrapper(open_plain(path, follow=True), encoding="utf-8", errors="replace", newline="\n")


def flagged(lines: Iterable[str], pattern: str) -> Iterator[tuple[str, bool]]:
    """Lines, each with whether a regex is found in it; they are searched many at a time.

    Raises
    ------
    OutputError
        If the search does not end.
    """
    waiting: list[str] = []
    size, most = 0, _FIRST_LINES
    for line in chain(lines, [None]):
        if line is not None:
            waiting.append(line)
            size += len(line)
        if waiting and (line is None or size >= most):
            plain = "\n".join(raw.rstrip("\n").removesuffix("\r") for raw in waiting)
            with timed("regex of the line", pattern) as seconds:
                hits = set(lines_with(pattern, plain, seconds))
            yield from ((raw, k in hits) for k, raw in enumerate(waiting))
            waiting, size, most = [], 0, _PIECE


def lines_of(path: Path) -> Iterator[str]:
    """The lines of a file, which end with newline, or carriage return and newline."""
    return (raw.rstrip("\n").removesuffix("\r") for raw in raw_lines(path))


def _checked(path: Path, raw: str, number: int) -> str:
    if len(raw) >= _LONGEST and path.stat().st_size > LARGEST:
        raise _no_text(path, f"line {number + 1}")
    return raw


def _no_text(path: Path, what: str) -> OutputError:
    size = path.stat().st_size / 2**20
    return OutputError(
        f"it is too large: {size:.0f} MiB; it may not be a text file, as {what} has more than 4 million characters"
    )


def _line(number: int, raw: str) -> Line:
    return Line(number, raw.removesuffix("\n").removesuffix("\r"), raw.endswith("\n"))


def numbered_line(path: Path, number: int) -> Line:
    """A line by its number from 1, or from the end by -1.

    Raises
    ------
    OutputError
        If there are not so many.
    """
    lines = enumerate(raw_lines(path))
    if number > 0:
        found = list(islice(lines, number - 1, number))
        if found:
            return _line(*found[0])
        raise OutputError(f"it has no line {number}, only {sum(1 for _ in raw_lines(path))}")
    last = deque(lines, maxlen=-number)
    if len(last) < -number:
        raise OutputError(f"it has no line {number}, only {len(last)}")
    return _line(*last[0])


def matching_lines(path: Path, pattern: str, which: int | str | None, below: int = 0) -> list[Line]:
    """The lines that are so many below those that a regex is found in, for the matches that are meant.

    Raises
    ------
    OutputError
        If there is no such match, or the file ends before that line.
    """
    what = f"the regex '{pattern}' of the line matches"
    most, from_end = _kept(which)
    wanted: deque[int] = deque(maxlen=most if from_end else None)
    pending: set[int] = set()
    texts: dict[int, Line] = {}
    count = n_lines = 0
    for number, (raw, is_hit) in enumerate(flagged(raw_lines(path), pattern)):
        n_lines = number + 1
        if is_hit:
            count += 1
            if most is None or from_end or count <= most:
                wanted.append(number + below)
                pending.add(number + below)
        if number in pending:
            pending.discard(number)
            texts[number] = _line(number, raw)
            if from_end and len(texts) > 2 * (most or 1) + below:
                texts = {at: kept for at, kept in texts.items() if at in wanted}
        if which is not None and not from_end and most is not None and count >= most and wanted[-1] in texts:
            break  # what comes behind is of no matter
    found = []
    for k in meant(count, which, what):
        number = wanted[k - (count - len(wanted)) if from_end else k]
        if number not in texts:
            raise OutputError(f"the line {below} below a match of '{pattern}' is missing: it has {n_lines} lines")
        found.append(texts[number])
    return found


def _kept(which: int | str | None) -> tuple[int | None, bool]:
    """How many matches are to be kept at most, None for all, and whether these are the last ones."""
    if which is None:
        return 2, False
    if which == "all":
        return None, False
    at = {"first": 1, "last": -1}.get(which, 1) if isinstance(which, str) else which
    return abs(at), at < 0


def meant(n: int, which: int | str | None, what: str) -> list[int]:
    """Which of n matches are meant, counted from 0.

    Raises
    ------
    OutputError
        If that one is not there, or not alone where it must be.
    """
    if which == "all" and n:
        return list(range(n))
    if which is None:
        if n != 1:
            more = "; `which` can say which is meant: first, last, all or a number" if n else ""
            raise OutputError(f"{what} {n} times, and must match exactly once{more}")
        return [0]
    at = {"first": 1, "last": -1, "all": 1}.get(which, 0) if isinstance(which, str) else which
    if abs(at) > n:
        raise OutputError(f"{what} {n} times, and match {which} is asked for")
    return [at - 1 if at > 0 else n + at]


def groups_found(path: Path, pattern: str, which: int | str | None) -> list[str | None]:
    """What the group of a regex holds, in the matches that are meant; ^ and $ match at lines.

    Raises
    ------
    OutputError
        If such a match is not there.
    """
    most, from_end = _kept(which)
    found: deque[str | None] = deque(maxlen=most if from_end else None)
    count = 0
    for group in _groups(path, pattern):
        count += 1
        if most is None or from_end or count <= most:
            found.append(group)
        if which is not None and not from_end and count == most:
            break
    kept = list(found)
    places = meant(count, which, f"the regex '{pattern}' matches")
    return [kept[k - (count - len(kept)) if from_end else k] for k in places]


def _groups(path: Path, pattern: str) -> Iterator[str | None]:
    if path.stat().st_size <= LARGEST:
        text = read_text(path)
        with timed("regex", pattern) as seconds:
            found = groups(pattern, text, seconds)
        yield from found
        return
    with _opened(path) as file:
        text, begin, done = "", 0, False
        while not done:
            piece = file.read(_PIECE)
            done = not piece
            text += piece.replace("\r\n", "\n")
            limit = len(text) if done else len(text) - _GUARD
            with timed("regex", pattern) as seconds:
                matches = spans(pattern, text, begin, seconds)
            for group, first, last in matches:
                if last > limit:
                    break
                yield group
                begin = last + (first == last)
            # From a line's beginning on, so that ^ and what looks behind see what they would see.
            begin = max(begin, 0 if done else text.rfind("\n", 0, max(0, limit)) + 1)
            keep = text.rfind("\n", 0, begin) + 1
            text, begin = text[keep:], begin - keep
            if len(text) > _LONGEST + _PIECE:
                raise _no_text(path, "a line")
