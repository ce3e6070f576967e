"""What a program wrote, as numbers: one small class for each kind of output, and a registry of them."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from distfd.core.errors import InputError
from distfd.core.suggestions import did_you_mean, pointers_to
from distfd.objectives.command.values import OutputError, number, read_text, short

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


_NUMERIC_END, _NUMERIC_BEGIN = re.compile(r"[-+.0-9eEdD]+\Z"), re.compile(r"[-+.0-9eEdD]+")
"""What can be in a number, at the end or at the beginning of a text."""


class Extractor(Protocol):
    """Takes a value from one file."""

    def read(self, path: Path) -> Any:
        """The value in the file; OutputError where there is none."""


@dataclass(frozen=True)
class JsonPointer:
    """``json: /results/0/mass``: RFC 6901; "" is the whole document."""

    pointer: str

    def __post_init__(self) -> None:
        if not isinstance(self.pointer, str) or (self.pointer and not self.pointer.startswith("/")):
            raise InputError(f"json: a pointer starts with /, such as /results/0/mass (given {self.pointer!r})")
        if re.search("~(?![01])", self.pointer):
            raise InputError(f"json: in a pointer ~ is written ~0 and a / inside a name ~1 (given {self.pointer!r})")

    def read(self, path: Path) -> Any:
        """What the pointer points to."""
        try:
            at = json.loads(read_text(path))
        except (json.JSONDecodeError, RecursionError) as error:
            raise OutputError(f"it is not JSON, or was cut: {error}") from error
        try:
            return self.walk(at, self.parts)
        except OutputError as error:
            others = [] if "did you mean" in str(error) else pointers_to(at, self.parts[-1])
            raise OutputError(f"{error}; did you mean json: {others[0]}" if others else str(error)) from None

    @property
    def parts(self) -> list[str]:
        """The keys and indices on the way."""
        return [part.replace("~1", "/").replace("~0", "~") for part in self.pointer.split("/")[1:]]

    @classmethod
    def walk(cls, document: Any, parts: Sequence[str]) -> Any:
        """What is there at the end of this way; OutputError where there is nothing."""
        at = document
        for k, part in enumerate(parts):
            at = cls._step(at, part, "".join(f"/{above}" for above in parts[:k]))
        return at

    @staticmethod
    def _step(at: Any, key: str, walked: str) -> Any:
        where = walked or "the document"
        if isinstance(at, dict):
            if key not in at:
                meant = did_you_mean(key, map(str, at))
                raise OutputError(f"{where} has no {key!r}; it has: {short(', '.join(map(str, at)))}{meant}")
            return at[key]
        if isinstance(at, list):
            if not re.fullmatch("0|[1-9][0-9]*", key) or int(key) >= len(at):
                raise OutputError(f"{where} has no element {key!r}; it has {len(at)}, counted from 0")
            return at[int(key)]
        raise OutputError(f"{where} is {short(at)}, which has no {key!r}")


@dataclass(frozen=True)
class Regex:
    r"""``regex: "mass = (\S+)"``: must match exactly once; its one group is the number. ^ and $ match at lines.

    ``which`` says which match is meant where there are several: "first", "last", a number from 1 (from the end: -1),
    or "all" for an array of all of them.
    """

    pattern: str
    which: int | str | None = None

    def __post_init__(self) -> None:
        _check_which(self.which)
        groups = _compile("regex", self.pattern).groups
        if groups != 1:
            raise InputError(f"regex: {self.pattern!r} has {groups} groups (...), and needs one: the number")

    def read(self, path: Path) -> Any:
        """The number in the match that is meant, or an array of all."""
        found = [match.group(1) for match in re.finditer(self.pattern, read_text(path), re.MULTILINE)]
        meant = [self._number(found[k]) for k in _meant(len(found), self.which, f"the regex '{self.pattern}' matches")]
        return meant if self.which == "all" else meant[0]

    def _number(self, text: str | None) -> float:
        if text is None:
            raise OutputError(f"the regex '{self.pattern}' matches, but its group is empty")
        return number(text)


@dataclass(frozen=True)
class Columns:
    """``columns: {line: 12, from: 21, to: 32}``: characters of a line, both inclusive; all count from 1.

    The line may be a regex that matches within exactly one line, or, with ``which`` as for `Regex`, within several;
    line -1 is the last.
    """

    line: int | str
    first: int
    last: int
    which: int | str | None = None

    def __post_init__(self) -> None:
        _check_which(self.which)
        if isinstance(self.line, str):
            _compile("columns: line", self.line)
        elif not _is_int(self.line) or self.line == 0:
            raise InputError(f"columns: line is a number from 1, or a regex (given {self.line!r})")
        elif self.which is not None:
            raise InputError("which: goes with a line that is found by a regex")
        if not (_is_int(self.first) and _is_int(self.last) and 1 <= self.first <= self.last):
            raise InputError(f"columns: 1 <= from <= to must hold (given {self.first!r}, {self.last!r})")

    def read(self, path: Path) -> Any:
        """The number in these columns, or an array of those of all lines."""
        lines = read_text(path).split("\n")
        if ended := lines[-1] == "":
            lines.pop()
        meant = [self._cell(lines, at, cut=not ended and at == len(lines) - 1) for at in self._find(lines)]
        return meant if self.which == "all" else meant[0]

    def _cell(self, lines: list[str], at: int, *, cut: bool) -> float:
        line = lines[at]
        if len(line) < self.first or (cut and len(line) < self.last):
            raise OutputError(f"line {at + 1} ends at column {len(line)}: {short(line)}")
        if whole := _cut_number(line, self.first - 1, self.last):
            raise OutputError(
                f"line {at + 1}: columns {self.first}-{self.last} cut the number {short(whole)}; widen them, or take a "
                "regex if these are two numbers"
            )
        try:
            return number(line[self.first - 1 : self.last])
        except OutputError as error:
            raise OutputError(f"line {at + 1}, columns {self.first}-{self.last}: {error}") from error

    def _find(self, lines: list[str]) -> list[int]:
        if isinstance(self.line, str):
            found = [k for k, line in enumerate(lines) if re.search(self.line, line)]
            return [found[k] for k in _meant(len(found), self.which, f"the regex '{self.line}' of the line matches")]
        at = self.line - 1 if self.line > 0 else len(lines) + self.line
        if not 0 <= at < len(lines):
            raise OutputError(f"it has no line {self.line}, only {len(lines)}")
        return [at]


def _cut_number(line: str, first: int, last: int) -> str:
    """The number of which line[first:last] is only a part; empty where its ends are those of a number.

    Full columns leave no blank between two numbers, so a digit beside the field is no proof: it is where both together
    are one number. 12345.6789 beside 0.1234 is none.
    """
    inside = line[first:last]
    begin = _NUMERIC_END.search(line, 0, first) if inside[:1].strip() else None
    end = _NUMERIC_BEGIN.match(line, last) if inside[-1:].strip() else None
    left, right = (found[0] if found else "" for found in (begin, end))
    for whole in (left + inside + right, left + inside, inside + right):
        if len(whole) > len(inside) and _is_number(whole):
            return whole.strip()
    return ""


def _is_number(text: str) -> bool:
    try:
        number(text)
    except OutputError:
        return False
    return True


def _check_which(which: Any) -> None:
    if not (which in (None, "first", "last", "all") or (_is_int(which) and which != 0)):
        raise InputError(f"which: first, last, all, or a number from 1 or, from the end, -1 (given {which!r})")


def _meant(n: int, which: int | str | None, what: str) -> list[int]:
    """Which of n matches are meant, counted from 0."""
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


def _compile(what: str, pattern: Any) -> re.Pattern[str]:
    if not isinstance(pattern, str):
        raise InputError(f"{what}: a regex is text (given {pattern!r})")
    try:
        return re.compile(pattern, re.MULTILINE)
    except re.error as error:
        raise InputError(f"{what}: {pattern!r} is no regex: {error}") from error


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
