"""Reads text files of any size in blocks: lines by number or by a regex, and matches of a regex."""

from __future__ import annotations

import io
from collections import deque
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING, TextIO

from distfd.core.files import open_plain
from distfd.objectives.command.values import LARGEST, OutputError, encoding_of, read_text, timed
from distfd.workers.bounded_regex import lines_with, spans

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from distfd.workers.bounded_regex import Span

_PIECE = 2**22
"""Number of characters that are searched at a time."""

_FIRST_LINES = 2**13
"""Number of characters of lines that are searched first: a match is often near the start."""

_GUARD = 2**18
"""Number of characters at a block's end where a match may extend into the next block; in files above `LARGEST` a longer
match is cut."""

_LONGEST = 2**22
"""Largest length of a line, in characters, in files above `LARGEST`."""

_BESIDE = 80
"""Number of characters beside a match that are kept: no number is longer."""


@dataclass(frozen=True)
class Line:
    """A line of a file.

    Attributes
    ----------
    number : int
        Line number, from 0.
    text : str
        The line without its end-of-line characters.
    ended : bool
        Whether the line has an end-of-line; a truncated file's last line has none.
    """

    number: int
    text: str
    ended: bool


def raw_lines(path: Path) -> Iterator[str]:
    """The lines of a file with their ends, without a byte order mark.

    Raises
    ------
    OutputError
        If a line is too long to be one.
    """
    with _opened(path) as file:
        longest = _LONGEST if path.stat().st_size > LARGEST else LARGEST + 1
        lines = iter(partial(file.readline, longest), "")
        first = next(lines, None)
        if first is not None:
            yield _checked(path, first, 0)
        for k, raw in enumerate(lines, start=1):
            yield raw if len(raw) < longest else _checked(path, raw, k)


def _opened(path: Path) -> TextIO:
    with open_plain(path, follow=True) as file:
        encoding = encoding_of(file.read(4)).replace("utf-8", "utf-8-sig")  # which leaves out a byte order mark
    return io.TextIOWrapper(open_plain(path, follow=True), encoding=encoding, errors="replace", newline="\n")


def flagged(lines: Iterable[str], pattern: str) -> Iterator[tuple[str, bool]]:
    """Lines, each with whether a regex is found in it; many lines are searched at a time.

    Raises
    ------
    OutputError
        If the search takes too long.
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
    """A line by its number, from 1; negative numbers count from the end.

    Raises
    ------
    OutputError
        If there are fewer lines.
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
    """The lines ``below`` lines under those where a regex is found, for the chosen matches.

    Raises
    ------
    OutputError
        If a chosen match does not exist, or the file ends before that line.
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
            break  # later lines do not matter
    found = []
    for k in meant(count, which, what):
        number = wanted[k - (count - len(wanted)) if from_end else k]
        if number not in texts:
            raise OutputError(f"the line {below} below a match of '{pattern}' is missing: it has {n_lines} lines")
        found.append(texts[number])
    return found


def _kept(which: int | str | None) -> tuple[int | None, bool]:
    """The largest number of matches to keep (None for all), and whether they are the last ones."""
    if which is None:
        return 2, False
    if which == "all":
        return None, False
    at = {"first": 1, "last": -1}.get(which, 1) if isinstance(which, str) else which
    return abs(at), at < 0


def meant(n: int, which: int | str | None, what: str) -> list[int]:
    """The indices, from 0, of the chosen ones among n matches.

    Raises
    ------
    OutputError
        If the chosen match does not exist, or there are several where only one may be.
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


@dataclass(frozen=True)
class Found:
    """A match of a regex with one group.

    Attributes
    ----------
    group : str or None
        The text in the group; None if the group took no part in the match.
    before, after : str
        The text beside the group on its line, 80 characters at most.
    begins, ends : bool
        Whether the match begins, and ends, with the group.
    """

    group: str | None
    before: str = ""
    after: str = ""
    begins: bool = False
    ends: bool = False


def matches_found(path: Path, pattern: str, which: int | str | None) -> list[Found]:
    """The chosen matches of a regex with one group; ^ and $ match at lines.

    Raises
    ------
    OutputError
        If a chosen match does not exist.
    """
    most, from_end = _kept(which)
    found: deque[Found] = deque(maxlen=most if from_end else None)
    count = 0
    for match in _matches(path, pattern):
        count += 1
        if most is None or from_end or count <= most:
            found.append(match)
        if which is not None and not from_end and count == most:
            break
    kept = list(found)
    places = meant(count, which, f"the regex '{pattern}' matches")
    return [kept[k - (count - len(kept)) if from_end else k] for k in places]


def _matches(path: Path, pattern: str) -> Iterator[Found]:
    if path.stat().st_size <= LARGEST:
        text = read_text(path)
        with timed("regex", pattern) as seconds:
            found = spans(pattern, text, seconds)
        yield from (_found(text, span) for span in found)
        return
    with _opened(path) as file:
        text, begin, done = "", 0, False
        while not done:
            piece = file.read(_PIECE)
            done = not piece
            text += piece.replace("\r\n", "\n")
            limit = len(text) if done else len(text) - _GUARD
            with timed("regex", pattern) as seconds:
                found = spans(pattern, text, seconds, begin)
            for span in found:
                if span.last > limit:
                    break
                yield _found(text, span)
                begin = span.last + (span.first == span.last)
            # Start the next block at the beginning of a line, so that ^ and lookbehind see the same text as in the
            # whole file.
            begin = max(begin, 0 if done else text.rfind("\n", 0, max(0, limit)) + 1)
            keep = text.rfind("\n", 0, begin) + 1
            text, begin = text[keep:], begin - keep
            if len(text) > _LONGEST + _PIECE:
                raise _no_text(path, "a line")


def _found(text: str, span: Span) -> Found:
    first, last = span.group_first, span.group_last
    if first < 0:
        return Found(None)
    before = text[max(0, first - _BESIDE) : first].rpartition("\n")[2]
    after = text[last : last + _BESIDE].partition("\n")[0]
    return Found(text[first:last], before, after, span.first == first, span.last == last)
