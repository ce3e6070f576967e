"""Finds the places of numbers in files of some formats, so that they can be replaced and all else stays unchanged."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.parsers import expat

from distfd.core.errors import InputError
from distfd.core.suggestions import did_you_mean
from distfd.objectives.command.formats import is_number

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

Places = dict[tuple[str, ...], list[tuple[int, int]]]
"""The path of each value, with its start and end in the text; several where a path occurs more than once."""


def ini_places(text: str) -> Places:
    """Values of an INI file: ``(section, key)``, and ``(key,)`` before the first section.

    A value is its first word, as a unit may stand behind it; of several numbers, it is all of them.
    """
    found: Places = {}
    section: tuple[str, ...] = ()
    at = 0
    for line in text.splitlines(keepends=True):
        if head := re.match(r"[\s\ufeff]*\[([^\]]+)\]", line):
            section = (head[1].strip(),)
        elif entry := re.match(r"[\s\ufeff]*([^=:#;\s][^=:]*?)\s*[=:]\s*([^\s#;]+)((?:[ \t]+[^\s#;]+)*)", line):
            more = any(is_number(word) for word in entry[3].split())
            found.setdefault((*section, entry[1]), []).append((at + entry.start(2), at + entry.end(3 if more else 2)))
        at += len(line)
    return found


_NAMELIST = re.compile(
    r"(?P<skip>![^\n]*|'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\")|[&$](?P<group>\w+)|(?P<end>/|[&$]end\b)"
    r"|(?P<name>[A-Za-z_]\w*(?:%[A-Za-z_]\w*|\s*\([^()=!'\"/&$]*\))*)\s*=|(?P<comma>,)|(?P<value>[^\s,=!'\"/&$]+)",
    re.IGNORECASE,
)

_SUBSCRIPT = re.compile(r"(.+?)\((?:([0-9]{1,18})(?::[0-9]*)?|:[0-9]*)\)")
"""A name with the subscript of an element, ``b(2)``, or of a range of them, ``b(2:5)``, ``b(:)``."""

_REPEATED = re.compile(r"([0-9]{1,9})\*(.*)")
"""A value that stands for several, ``3*2.0``; without a value behind the asterisk, these elements keep theirs."""

_MOST_REPEATED = 1000
"""Number of elements of such a value that are known by their numbers, to limit memory."""


def namelist_places(text: str) -> Places:
    """Values of Fortran namelists: ``(group, name)``, and ``(group, name, n)`` for the n-th of several, from 1.

    Names are in lower case, as Fortran ignores case. An element of an array with several subscripts is
    ``(group, "b(2,1)")``.
    """
    reader = _NamelistReader(text)
    for token in _NAMELIST.finditer(text):
        if token["group"] and token["group"].lower() != "end":
            reader.group, reader.name = token["group"].lower(), ""
        elif token["end"] or token["group"]:
            reader.group, reader.name = "", ""
        elif token["name"] and reader.group:
            reader.begin(token["name"])
        elif reader.name and not token[0].startswith("!"):
            reader.take(token)
    return reader.found


class _NamelistReader:
    """The values of the variable that is being read, and their places."""

    def __init__(self, text: str) -> None:
        self.found: Places = {}
        self.group = self.name = ""
        self._text = text
        self._count, self._is_open = 0, True

    def begin(self, name: str) -> None:
        """Begins a variable, or an element or a part of an array."""
        self.name, self._count, self._is_open = "".join(name.split()).lower(), 0, True
        if part := _SUBSCRIPT.fullmatch(self.name):
            self.name, self._count = part[1], int(part[2] or "1") - 1

    def take(self, token: re.Match[str]) -> None:
        """Takes a value, or a comma."""
        if token["comma"]:
            self._count += self._is_open  # nothing between two commas: that element keeps its value
            self._is_open = True
            return
        self._is_open = False
        repeated = _REPEATED.fullmatch(token[0]) if token["value"] else None
        if repeated is None:
            self._add(token.span(), 1)
            return
        # These elements have one place, where none of them can be replaced by itself, as it is no number.
        self._add(token.span(), int(repeated[1]))
        self._count -= not repeated[2] and self._text[token.end() : token.end() + 1] in ("'", '"')  # it counts, too

    def _add(self, span: tuple[int, int], n: int) -> None:
        for k in range(self._count + 1, self._count + min(n, _MOST_REPEATED) + 1):
            if k == 1:
                self.found.setdefault((self.group, self.name), []).append(span)
            self.found.setdefault((self.group, self.name, str(k)), []).append(span)
        self._count += n


def xml_places(text: str) -> Places:
    """Texts of elements and values of attributes: ``(case, wing, span)``, ``(case, wing, @span)``.

    The n-th of several sibling elements with the same name is ``rib[n]``, from 1.

    Raises
    ------
    InputError
        If the text is not XML.
    """
    reader = _XmlReader(text.encode("utf-8", "surrogateescape"))
    return reader.found


_TAG = re.compile(rb"<(?:\"[^\"]*\"|'[^']*'|[^>\"'])*>")


class _XmlReader:
    """The events of an XML parser, with their places."""

    def __init__(self, raw: bytes) -> None:
        self.found: Places = {}
        self._raw = raw
        self._path: list[tuple[str, ...]] = [()]
        self._counts: list[dict[str, int]] = [{}]
        self._texts: list[list[tuple[int, int]]] = [[]]
        self._parser = parser = expat.ParserCreate()
        parser.StartElementHandler, parser.EndElementHandler = self._start, self._end
        parser.CharacterDataHandler = self._data
        try:
            parser.Parse(raw, True)
        except expat.ExpatError as error:
            raise InputError(f"is not XML: {error}") from error

    def _characters(self, begin: int, end: int) -> tuple[int, int]:
        before = len(self._raw[:begin].decode("utf-8", "surrogateescape"))
        return before, before + len(self._raw[begin:end].decode("utf-8", "surrogateescape"))

    def _start(self, name: str, attributes: Mapping[str, str]) -> None:
        begin = self._parser.CurrentByteIndex
        self._counts[-1][name] = n = self._counts[-1].get(name, 0) + 1
        self._path.append((*self._path[-1], name if n == 1 else f"{name}[{n}]"))
        self._counts.append({})
        self._texts.append([])
        tag = _TAG.match(self._raw, begin)
        for key in attributes if tag is not None else ():
            pattern = rb"\s" + re.escape(key.encode()) + rb"\s*=\s*([\"'])(.*?)\1"
            value = re.search(pattern, tag[0] if tag is not None else b"", re.DOTALL)
            if value is not None:
                self._add(f"@{key}", self._characters(begin + value.start(2), begin + value.end(2)))

    def _data(self, content: str) -> None:
        if content.strip():
            lead = content[: len(content) - len(content.lstrip())].encode()
            first = self._parser.CurrentByteIndex + len(lead)
            self._texts[-1].append((first, first + len(content.strip().encode())))

    def _end(self, _: str) -> None:
        texts = self._texts.pop()
        if len(texts) == 1:
            self._add("", self._characters(*texts[0]))
        self._path.pop()
        self._counts.pop()

    def _add(self, attribute: str, span: tuple[int, int]) -> None:
        for path in _aliases(self._path[-1]):
            self.found.setdefault((*path, attribute) if attribute else path, []).append(span)


def _aliases(path: tuple[str, ...]) -> Sequence[tuple[str, ...]]:
    """The paths with and without the number [1] of a first element."""
    *above, last = path
    return [path] if last.endswith("]") else [path, (*above, f"{last}[1]")]


READERS: dict[str, Callable[[str], Places]] = {"ini": ini_places, "namelist": namelist_places, "xml": xml_places}


def find_places(file: str, kind: str, text: str, paths: Mapping[str, Sequence[str]]) -> dict[str, tuple[int, int]]:
    """The places of the numbers with these paths in a file, by pointer.

    Raises
    ------
    InputError
        If a path is not in the file, occurs several times, or leads to no number.
    """
    try:
        known = READERS[kind](text)
    except InputError as error:
        raise InputError(f"{file} {error}") from error
    found = {}
    for pointer, parts in paths.items():
        path = tuple("".join(part.split()).lower() for part in parts) if kind == "namelist" else tuple(parts)
        spans = known.get(path, [])
        if len(spans) != 1:
            names = ["/" + "/".join(each) for each in known]
            near = did_you_mean(pointer, names) or f"; there are: {', '.join(names)[:300] or 'none'}"
            raise InputError(f"{file} {pointer}: is there {len(spans)} times{near if not spans else ''}")
        (begin, end) = spans[0]
        if not is_number(text[begin:end]):
            raise InputError(
                f"{file} {pointer}: holds {text[begin:end][:80]!r}, and only a number can be replaced; use a template"
            )
        found[pointer] = (begin, end)
    return found
