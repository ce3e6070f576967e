"""Extractors: read numbers from what a program wrote, with one small class for each kind of output.

Tables are read by `distfd.objectives.command.csv_cell`, files of other libraries by
`distfd.objectives.command.data_files`; `distfd.objectives.command.outputs` has the registry of all.
"""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections import Counter
from dataclasses import dataclass
from tokenize import TokenError
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from distfd.core.errors import InputError
from distfd.core.files import parse_json
from distfd.core.suggestions import did_you_mean, pointers_to
from distfd.objectives.command.text_files import matches_found, matching_lines, numbered_line
from distfd.objectives.command.values import LARGEST, MINUS, OutputError, number, read_bytes, read_text, short

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from distfd.objectives.command.text_files import Found, Line


_NUMERIC_END, _NUMERIC_BEGIN = re.compile(r"[-+.0-9eEdD]+\Z"), re.compile(r"[-+.0-9eEdD]+")
"""Characters that may belong to a number, at the end or at the start of a text."""

_HYPHEN = re.compile(r"[\w)\]][-+]\Z")
"""A sign at the end of a text that belongs to the name before it."""

_SIGN_IN_PATTERN = re.compile(r"(?:-|\\\+|\[[-+]+\])(?:\\s[*+]?| )*\((?!\?)")
"""A regex that names the sign before its group; a + that repeats what is before it names none."""

_SIGN_APART = re.compile(r"(?:[=:]|\(%o[0-9]+\))\s*-\s+\Z")
"""A minus with blanks between it and its number, as Maxima prints ``- 1.5``, behind a label. A list has one, too."""

_GROUPED = re.compile(
    r"(?<![\w.])[-+]?[0-9]{1,3}(?:['\u2019_\xa0\u202f\u2009][0-9]{3})+(?![0-9])(?:[.,][0-9]*)?"
    r"|(?<![\w.])[-+]?[1-9][0-9]{0,2}(?: [0-9]{3})*(?: 0[0-9]{2})(?: [0-9]{3})*[.,][0-9]+"
)
"""A number with another character than a comma between thousands: an apostrophe, a narrow blank.

A plain blank stands between two numbers as a rule, as in ``1 234.5``. They are one only where the second begins with a
zero, ``1 062.5``.
"""

_SPREAD = r"(?:\([0-9.]+\)|\s*(?:\+/?-|\xb1)\s*[0-9.]+\))"
"""An uncertainty between a number and its exponent: ``(12)``, or `` +/- 0.12)``."""

_TIMES_TEN = (
    r"\s?[x\xd7*\xb7\u22c5]\s?10(?:\s?(?:\^|\*\*)\s?\(?[-+]?[0-9]+\)?|[\u207a\u207b\u2070\xb9\xb2\xb3\u2074-\u2079]+)"
)
"""A power of ten, also in small raised digits."""

_POWER = re.compile(
    rf"{_SPREAD}?{_TIMES_TEN}|{_SPREAD}[eEdD][-+]?[0-9]{{1,3}}(?![\w.])|\*\^[-+]?[0-9]+"
    r"|[bBqQ][-+]?[0-9]{1,4}(?![\w.])|[ \t]+[eEdD][-+][0-9]{1,3}(?![\w.])"
)
"""An exponent that is no part of the number as most programs write it: ``x 10^3``, ``*^3``, ``b3``, `` E+03``."""

_PLAIN = (
    "have the program print plain numbers, which `env: {LC_ALL: C}` does for many; if these are two numbers, take a "
    "regex that names what is between them"
)
"""What to do about separators between thousands."""

_COMMA_END, _COMMA_BEGIN = re.compile(r"[-+,.0-9eEdD]*,\Z"), re.compile(r",[-+,.0-9eEdD]*")
"""Characters that may belong to a number with commas, at the end of a text up to a comma, or at the start from one."""

_WITH_COMMA = re.compile(r"[-+]?(?:[0-9]*,[0-9]+(?:[eEdD][-+]?[0-9]+)?|[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]*)?)")
"""A number with a decimal comma, or with commas between thousands."""


class Extractor(Protocol):
    """Reads a value from one file."""

    def read(self, path: Path) -> Any:
        """The value in the file; raises OutputError if there is none."""


class _Object(dict[str, Any]):
    """An object of JSON, which knows the names that it has more than once."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        names = [name for name, _ in pairs] if len(self) < len(pairs) else []
        self.twice = frozenset(name for name, count in Counter(names).items() if count > 1)


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
        """The value that the pointer points to."""
        try:
            at = parse_json(read_text(path), objects=_Object)
        except (ValueError, RecursionError) as error:
            raise OutputError(f"it is not JSON, or was cut: {error}") from error
        try:
            return self.walk(at, self.parts)
        except OutputError as error:
            others = [] if "did you mean" in str(error) else pointers_to(at, self.parts[-1])
            raise OutputError(f"{error}; did you mean json: {others[0]}" if others else str(error)) from None

    @property
    def parts(self) -> list[str]:
        """The keys and indices of the path."""
        return [part.replace("~1", "/").replace("~0", "~") for part in self.pointer.split("/")[1:]]

    @classmethod
    def walk(cls, document: Any, parts: Sequence[str]) -> Any:
        """The value at the end of this path; raises OutputError if there is none."""
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
            if isinstance(at, _Object) and key in at.twice:
                raise OutputError(f"{where} has {key!r} twice, and only one of them can be meant")
            return at[key]
        if isinstance(at, list):
            if not re.fullmatch("0|[1-9][0-9]{,17}", key) or int(key) >= len(at):
                raise OutputError(f"{where} has no element {key!r}; it has {len(at)}, counted from 0")
            return at[int(key)]
        raise OutputError(f"{where} is {short(at)}, which has no {key!r}")


@dataclass(frozen=True)
class Regex:
    r"""``regex: "mass = (\S+)"``: must match exactly once; its one group is the number. ^ and $ match at lines.

    ``which`` chooses among several matches: "first", "last", a number from 1 (negative ones count from the end), or
    "all" for an array of all matches.
    """

    pattern: str
    which: int | str | None = None

    def __post_init__(self) -> None:
        _check_which(self.which)
        groups = checked_regex("regex", self.pattern).groups
        if groups != 1:
            raise InputError(f"regex: {self.pattern!r} has {groups} groups (...), and needs one: the number")

    def read(self, path: Path) -> Any:
        """The number in the chosen match, or an array of all."""
        meant = [self._number(match) for match in matches_found(path, self.pattern, self.which)]
        return meant if self.which == "all" else meant[0]

    def _number(self, found: Found) -> float:
        if found.group is None:
            raise OutputError(f"the regex '{self.pattern}' matches, but its group is empty")
        value = number(re.sub(r"^\s*([-+])[ \t]+(?=[0-9.])", r"\1", found.group.replace(MINUS, "-")))
        if whole := self._cut(found, found.group):
            what = f"the group of the regex '{self.pattern}' holds {short(found.group.strip())}, a part of the number "
            if _GROUPED.fullmatch(whole):
                raise OutputError(f"{what}{short(whole)}; {_PLAIN}")
            raise OutputError(
                f"{what}{short(whole)}; let the group take the whole number, such as ([-+.0-9eEdD]+), or, if these are "
                "two numbers, let the pattern name the character between them"
            )
        before = "" if _SIGN_IN_PATTERN.search(self.pattern) else found.before
        _check_beside(before, found.group, found.after if found.ends else "")
        return value

    def _cut(self, found: Found, inside: str) -> str:
        """The number of which the group is only a part; empty if the group holds a whole number."""
        before, after = found.before.replace(MINUS, "-"), found.after
        inside = inside.replace(MINUS, "-")
        # The point that ends a sentence.
        after = "" if re.fullmatch(r"\.(?:\s.*)?", after) else after
        whole = _cut_number(before + inside + after, len(before), len(before) + len(inside))
        only_sign = len(whole) == len(inside.strip()) + 1 and whole[0] in "+-"
        if whole and not (only_sign and (_HYPHEN.search(before) or _SIGN_IN_PATTERN.search(self.pattern))):
            return whole
        # What the pattern names beside its group is meant to be there.
        left, right = before if found.begins else "", after if found.ends else ""
        if grouped := _grouped(left + inside + right, len(left), len(left) + len(inside)):
            return grouped
        begin, end = _COMMA_END.search(left), _COMMA_BEGIN.match(right)
        whole = (begin[0] if begin else "") + inside + (end[0] if end else "")
        return whole if len(whole) > len(inside) and _WITH_COMMA.fullmatch(whole) else ""


@dataclass(frozen=True)
class Columns:
    """``columns: {line: 12, from: 21, to: 32}``: characters of a line, both inclusive; all count from 1.

    The line may be a regex that is found in exactly one line, or, with ``which`` as for `Regex`, in several; line -1 is
    the last.
    """

    line: int | str
    first: int
    last: int
    which: int | str | None = None

    def __post_init__(self) -> None:
        _check_line("columns", self.line, self.which)
        if not (is_int(self.first) and is_int(self.last) and 1 <= self.first <= self.last):
            raise InputError(f"columns: 1 <= from <= to must hold (given {self.first!r}, {self.last!r})")

    def read(self, path: Path) -> Any:
        """The number in these columns, or an array of those of all chosen lines."""
        meant = [self._cell(line) for line in _lines(path, self.line, self.which)]
        return meant if self.which == "all" else meant[0]

    def _cell(self, at: Line) -> float:
        line = at.text
        if len(line) < self.first or (not at.ended and len(line) < self.last):
            raise OutputError(f"line {at.number + 1} ends at column {len(line)}: {short(line)}")
        at_once = line.replace(MINUS, "-"), self.first - 1, self.last
        if whole := _cut_number(*at_once) or _grouped(*at_once):
            raise OutputError(
                f"line {at.number + 1}: columns {self.first}-{self.last} cut the number {short(whole)}; widen them, or "
                "take a regex if these are two numbers"
            )
        try:
            return number(line[self.first - 1 : self.last])
        except OutputError as error:
            raise OutputError(f"line {at.number + 1}, columns {self.first}-{self.last}: {error}") from error


def _lines(path: Path, line: int | str, which: int | str | None, below: int = 0) -> list[Line]:
    """The chosen lines, by number or by a regex."""
    if isinstance(line, str):
        return matching_lines(path, line, which, below)
    return [numbered_line(path, line)]


def _check_line(what: str, line: Any, which: Any) -> None:
    _check_which(which)
    if isinstance(line, str):
        checked_regex(f"{what}: line", line)
    elif not is_int(line) or line == 0:
        raise InputError(f"{what}: line is a number from 1, or a regex (given {line!r})")
    elif which is not None:
        raise InputError("which: goes with a line that is found by a regex")


@dataclass(frozen=True)
class Token:
    """``token: {line: 'TOTAL ENERGY', below: 2, field: 3}``: a word in the line that is ``below`` lines under a match.

    Words are separated by blanks, or by another delimiter, and count from 1 (-1 is the last). The line is found as for
    `Columns`.
    """

    line: int | str
    field: int
    below: int = 0
    delimiter: str = "whitespace"
    which: int | str | None = None

    def __post_init__(self) -> None:
        _check_line("token", self.line, self.which)
        if not is_int(self.field) or self.field == 0:
            raise InputError(f"token: field is a number from 1, or from the end by -1 (given {self.field!r})")
        if not is_int(self.below) or self.below < 0 or (self.below and not isinstance(self.line, str)):
            raise InputError(
                f"token: below is a number of lines >= 0 after line, which must then be a regex (given {self.below!r})"
            )
        object.__setattr__(self, "delimiter", checked_delimiter("token", self.delimiter))

    def read(self, path: Path) -> Any:
        """The number in the chosen word, or an array of those of all chosen lines."""
        meant = [self._word(line) for line in _lines(path, self.line, self.which, self.below)]
        return meant if self.which == "all" else meant[0]

    def _word(self, line: Line) -> float:
        where = f"line {line.number + 1}"
        words = self._words(line.text)
        if abs(self.field) > len(words):
            raise OutputError(f"{where} has no field {self.field}, only {len(words)}: {short(line.text)}")
        first, last = words[self.field - (self.field > 0)]
        try:
            return self._value(line.text, first, last)
        except OutputError as error:
            raise OutputError(f"{where}, field {self.field}: {error}: {short(line.text)}") from error

    def _words(self, line: str) -> list[tuple[int, int]]:
        if self.delimiter == "whitespace":
            return [found.span() for found in re.finditer(r"\S+", line)]
        ends = [k for k, character in enumerate(line) if character == self.delimiter]
        return list(zip([0, *(k + 1 for k in ends)], [*ends, len(line)], strict=True))

    @staticmethod
    def _value(line: str, first: int, last: int) -> float:
        value = number(line[first:last])
        if whole := _grouped(line, first, last):
            raise OutputError(f"it is a part of {short(whole)}; {_PLAIN}")
        _check_beside(line[:first], line[first:last], line[last:])
        return value


_DELIMITERS = {"tab": "\t", "comma": ",", "semicolon": ";", "whitespace": "whitespace"}
"""Delimiters that have a name."""


def checked_delimiter(what: str, given: Any) -> str:
    """One character, or "whitespace", by the name or as it is given; ``what`` is the key that messages begin with."""
    found = _DELIMITERS.get(given, given) if isinstance(given, str) else given
    if found != "whitespace" and (not isinstance(found, str) or len(found) != 1):
        raise InputError(f"{what}: delimiter is one character, or {', '.join(_DELIMITERS)} (given {given!r})")
    return str(found)


def _cut_number(line: str, first: int, last: int) -> str:
    """The number of which line[first:last] is only a part; empty if the field holds whole numbers.

    Full columns leave no blank between two numbers, so a digit beside the field proves nothing. The field is cut only
    where the text across its edge is one number: 12345.6789 beside 0.1234 is not.
    """
    inside = line[first:last]
    begin = _NUMERIC_END.search(line, 0, first) if inside[:1].strip() else None
    end = _NUMERIC_BEGIN.match(line, last) if inside[-1:].strip() else None
    left, right = (found[0] if found else "" for found in (begin, end))
    # A letter that could be an exponent's may end a name, as that of mode1.5.
    lefts = [left[k:] for k in range(len(left)) if k == 0 or left[k - 1] in "eEdD"]
    for whole in (*(part + inside + rest for part in lefts for rest in (right, "")), inside + right):
        if len(whole) > len(inside) and _is_number(whole):
            return whole.strip()
    return ""


def _grouped(line: str, first: int, last: int) -> str:
    """The number with blanks or apostrophes between thousands of which line[first:last] is a part; empty if none is."""
    inside = line[first:last].strip()
    first += line[first:last].index(inside)
    for found in _GROUPED.finditer(line, max(0, first - _FAR), last + _FAR):
        if found.start() <= first and found.end() >= first + len(inside) and len(found[0]) > len(inside) > 0:
            return found[0]
    return ""


_FAR = 80
"""Number of characters beside a field in which a number that it is a part of may begin and end."""


def _check_beside(before: str, inside: str, after: str) -> None:
    """Refuses a number without its sign or its exponent, which stand beside it with something in between."""
    if power := _POWER.match(after):
        raise OutputError(
            f"{short(inside.strip())} is followed by an exponent, {short(power[0])}: read that as an output of its "
            "own, and write value: 'J * 10 ** exponent'; if it is a unit, let the regex name it behind its group"
        )
    if _SIGN_APART.search(before.replace(MINUS, "-")) and not inside.strip().startswith(("+", "-", MINUS)):
        raise OutputError(
            f"a minus stands before {short(inside.strip())}, with a blank between them: take a regex whose group has "
            r"both, such as (-?\s*[.0-9eE+-]+), or that names the minus"
        )


def _is_number(text: str) -> bool:
    try:
        number(text)
    except OutputError:
        return False
    # Full columns make 12.5 and -3 look like 12.5-3; only three digits are surely an exponent without a letter.
    return not re.search(r"[0-9.][+-][0-9]{1,2}$", text.strip())


def _check_which(which: Any) -> None:
    if not (which in (None, "first", "last", "all") or (is_int(which) and which != 0)):
        raise InputError(f"which: first, last, all, or a number from 1 or, from the end, -1 (given {which!r})")


def checked_regex(what: str, pattern: Any) -> re.Pattern[str]:
    """A regex as the configuration has it; ^ and $ match at lines."""
    if not isinstance(pattern, str):
        raise InputError(f"{what}: a regex is text (given {pattern!r})")
    try:
        return re.compile(pattern, re.MULTILINE)
    except re.error as error:
        raise InputError(f"{what}: {pattern!r} is no regex: {error}") from error


def is_int(value: Any) -> bool:
    """Whether it is a whole number, which True is not."""
    return isinstance(value, int) and not isinstance(value, bool)


_BROKEN_ARRAY = (
    *(ValueError, EOFError, OSError, SyntaxError, TypeError, OverflowError, MemoryError, TokenError, KeyError),
    *(zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError),
)
"""Exceptions of NumPy for files that are not arrays, or are damaged."""


@dataclass(frozen=True)
class NpyElement:
    """``npy: 3`` or ``npy: [0, 2]``: an element of a NumPy array, from 0; ``npy: []`` or "all" is the whole array.

    ``npy: {array: pressure, index: 3}`` reads an array of an .npz archive; without ``index`` the whole array.
    """

    index: Any
    array: str | None = None

    def __post_init__(self) -> None:
        index = () if self.index == "all" else self.index
        index = tuple(index) if isinstance(index, (list, tuple)) else (index,)
        if not all(isinstance(k, int) and not isinstance(k, bool) for k in index):
            raise InputError(f"npy: an index is a whole number from 0 or a list of them (given {self.index!r})")
        object.__setattr__(self, "index", index)

    def read(self, path: Path) -> Any:
        """The element, or the whole array."""
        loaded: Any = None
        try:
            # Map a large array, so that one element of it does not read all of it into memory.
            large = path.stat().st_size > LARGEST
            source = path if large else io.BytesIO(read_bytes(path))
            loaded = np.load(source, mmap_mode="r" if large else None, allow_pickle=False)
            array = loaded if isinstance(loaded, np.ndarray) else self._member(loaded)
        except _BROKEN_ARRAY as error:
            if isinstance(error, OutputError):
                raise
            kind = "npy" if self.array is None else "npz"
            raise OutputError(f"it is no .{kind} file, or was cut: {error}") from error
        finally:
            if isinstance(loaded, np.lib.npyio.NpzFile):
                loaded.close()
        if self.array is not None and array is loaded:
            raise OutputError(f"it is one array, not an .npz archive with {self.array!r}; write npy: index")
        if array.ndim == 0 and self.index == (0,):
            return array[()]
        try:
            return np.array(array[self.index])
        except IndexError as error:
            raise OutputError(f"its array has the shape {array.shape}: {error}") from error

    def _member(self, archive: Any) -> Any:
        names = ", ".join(archive.files)
        if self.array is None:
            raise OutputError(f"it is an .npz archive, not one array; write npy: {{array: one of {short(names)}}}")
        if self.array not in archive.files:
            raise OutputError(f"it has no array {self.array!r}; it has: {short(names)}")
        # Check the unpacked size, as compressed zeros grow a thousandfold.
        entries = (self.array, f"{self.array}.npy")
        size = max(entry.file_size for entry in archive.zip.infolist() if entry.filename in entries)
        if size > LARGEST:
            raise OutputError(f"its array is too large: {size / 2**20:.0f} MiB, the limit is {LARGEST // 2**20} MiB")
        return archive[self.array]
