"""Input files that stay unchanged except for some numbers, which are replaced by their paths, without a template."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from distfd.core.errors import InputError
from distfd.objectives.command.bounded_templates import make_deck
from distfd.objectives.command.edited_files import find_places
from distfd.objectives.command.extractors import JsonPointer
from distfd.objectives.command.templates import Mark, Part, Template, read_template
from distfd.objectives.command.values import OutputError, number

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

FORMATS = {
    ".json": "json",
    ".yaml": "yaml",
    ".yml": "yaml",
    ".xml": "xml",
    ".nml": "namelist",
    ".namelist": "namelist",
    ".ini": "ini",
    ".cfg": "ini",
}
"""Formats by the ending of the file's name."""


@dataclass(frozen=True)
class Edit:
    """A file, and the numbers in it that are replaced.

    Attributes
    ----------
    base : Template
        The file's text and permissions.
    format : str
        One of `FORMATS`.
    changes : tuple of (pointer, expression)
        The place of each number, as a JSON pointer, and its new value, an expression as in a template's ``{{ }}``.
    """

    base: Template
    format: str
    changes: tuple[tuple[str, str], ...]

    @property
    def text(self) -> str:
        """Everything that the result depends on besides the parameters, as text."""
        return json.dumps([self.base.text, self.changes])


def read_edit(path: Path, changes: Mapping[str, Any]) -> Edit:
    """Reads the file of an edit.

    Raises
    ------
    InputError
        If the file cannot be read, or its name has no known ending.
    """
    if path.suffix.lower() not in FORMATS:
        raise InputError(f"edit: {path} is none of {', '.join(FORMATS)}; write another file by a template")
    if not changes:
        raise InputError(f"edit: {path}: set is empty; say {{/path/to/number: parameter}}")
    for pointer in changes:
        JsonPointer(pointer)  # raises an error for a bad pointer
    return Edit(
        read_template(path), FORMATS[path.suffix.lower()], tuple((at, str(what)) for at, what in changes.items())
    )


class EditedDeck:
    """Writes an `Edit`; has the methods of `Deck`.

    Raises
    ------
    InputError
        If the file does not have the format of its name, or a path leads to no number; names file and path.
    """

    def __init__(self, edit: Edit) -> None:
        self._edit = edit
        file, mode = edit.base.file, edit.base.mode
        self._values = [
            (pointer, make_deck(Template(f"{file} {pointer}", f"{{{{ {expression} }}}}", mode)))
            for pointer, expression in edit.changes
        ]
        self._put = _put_json if edit.format == "json" else _placed(edit)
        self._put(edit, dict.fromkeys(dict(edit.changes), 0.0))  # raises an error for a bad path

    @property
    def mode(self) -> int:
        """The permissions of the written file."""
        return self._edit.base.mode

    @cached_property
    def names(self) -> frozenset[str]:
        """The variables that the expressions mention."""
        return frozenset().union(*(deck.names for _, deck in self._values))

    def render(self, variables: Mapping[str, Any]) -> str:
        """The file's text with these variables.

        Raises
        ------
        InputError
            If an expression fails or does not give a number; names file, path and the known names.
        """
        return self._put(self._edit, self._numbers(variables))

    def moved(self, variables: Mapping[str, Any]) -> list[str]:  # noqa: ARG002  # same signature as Deck's
        """Always empty: these files have no fixed columns."""
        return []

    def parts(self, variables: Mapping[str, Any]) -> list[Part]:
        """The numbers that are written, with a newline between them; the rest of the file never changes.

        Raises
        ------
        InputError
            As for `render`.
        """
        found, expressions = [Part("")], dict(self._edit.changes)
        for pointer, value in self._numbers(variables).items():
            mark = Mark(f"{self._edit.base.file} {pointer}", f"{{{{ {expressions[pointer]} }}}}")
            found += [Part(repr(value), mark), Part("\n")]
        return found

    def _numbers(self, variables: Mapping[str, Any]) -> dict[str, float]:
        numbers: dict[str, float] = {}
        for pointer, deck in self._values:
            text = deck.render(variables)
            value = _parsed(text)
            if value is None:
                raise InputError(f"{self._edit.base.file} {pointer}: {text!r} is not a number")
            # A whole number of whole numbers has no point, which programs may refuse; another one has.
            is_whole = _WHOLE.fullmatch(text) and all(isinstance(variables.get(name), int) for name in deck.names)
            numbers[pointer] = int(value) if is_whole else value
        return numbers


_WHOLE = re.compile(r"[+-]?[0-9]{1,15}")
"""A whole number that a double holds."""


def _parsed(text: str) -> float | None:
    """The number that a text shows; None if it is not a number."""
    try:
        return number(text)
    except OutputError:
        return None


def _put_json(edit: Edit, numbers: Mapping[str, float]) -> str:
    file = edit.base.file
    try:
        document = json.loads(edit.base.text.removeprefix("\ufeff"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file} is not JSON: {error}") from error
    for pointer, value in numbers.items():
        *above, last = JsonPointer(pointer).parts or [""]
        if not pointer:
            raise InputError(f'{file}: "" is the whole document; give a path such as /case/width')
        try:
            holder = JsonPointer.walk(document, above)
            old = JsonPointer.walk(document, [*above, last])
        except OutputError as error:
            raise InputError(f"{file} {pointer}: {error}") from error
        if isinstance(old, bool) or not isinstance(old, (int, float)):
            raise _no_number(file, pointer, json.dumps(old))
        holder[int(last) if isinstance(holder, list) else last] = value
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _placed(edit: Edit) -> Callable[[Edit, Mapping[str, float]], str]:
    """A function that puts numbers in their places; the rest of the text stays as it is, comments included."""
    if edit.format == "yaml":
        return _YamlPlaces(edit).put
    paths = {pointer: JsonPointer(pointer).parts for pointer, _ in edit.changes}
    places = find_places(edit.base.file, edit.format, edit.base.text, paths)

    def put(edit: Edit, numbers: Mapping[str, float]) -> str:
        text = edit.base.text
        for pointer, (start, end) in sorted(places.items(), key=lambda place: -place[1][0]):
            text = text[:start] + repr(numbers[pointer]) + text[end:]
        return text

    return put


class _YamlPlaces:
    """The places of numbers in a YAML text; the rest of the text stays as it is, comments included."""

    def __init__(self, edit: Edit) -> None:
        import yaml

        try:
            root = yaml.compose(edit.base.text, Loader=yaml.SafeLoader)
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise InputError(f"{edit.base.file} is not YAML: {' '.join(str(error).split())}") from error
        seen: dict[int, int] = {}
        _count(root, seen)
        self._places = {}
        for pointer, _ in edit.changes:
            node = root
            for part in JsonPointer(pointer).parts:
                node = _below(node, part, f"{edit.base.file} {pointer}")
                if seen[id(node)] > 1:
                    raise InputError(
                        f"{edit.base.file} {pointer}: is used elsewhere too, by an alias (*), "
                        "which would change with it; use a template"
                    )
            if not isinstance(node, yaml.ScalarNode) or node.style is not None or _parsed(node.value) is None:
                found = node.value if isinstance(node, yaml.ScalarNode) else "a list or mapping"
                raise _no_number(edit.base.file, pointer, repr(found))
            self._places[pointer] = (node.start_mark.index, node.end_mark.index)

    def put(self, edit: Edit, numbers: Mapping[str, float]) -> str:
        text = edit.base.text
        for pointer, (start, end) in sorted(self._places.items(), key=lambda place: -place[1][0]):
            text = text[:start] + _yaml_number(numbers[pointer]) + text[end:]
        return text


def _count(node: Any, seen: dict[int, int]) -> None:
    """Counts how often each node is used: the target of an alias is there more than once."""
    seen[id(node)] = seen.get(id(node), 0) + 1
    if seen[id(node)] == 1 and not isinstance(node.value, str):
        for item in node.value:
            for below in item if isinstance(item, tuple) else (item,):
                _count(below, seen)


def _below(node: Any, part: str, where: str) -> Any:
    import yaml

    if isinstance(node, yaml.MappingNode):
        found = [value for key, value in node.value if key.value == part]
        if len(found) == 1:
            return found[0]
        names = ", ".join(str(key.value) for key, _ in node.value)
        raise InputError(f"{where}: there is no {part!r}; there are: {names[:300]}")
    if isinstance(node, yaml.SequenceNode):
        if re.fullmatch("0|[1-9][0-9]{,17}", part) and int(part) < len(node.value):
            return node.value[int(part)]
        raise InputError(f"{where}: there is no element {part!r} among {len(node.value)}, counted from 0")
    raise InputError(f"{where}: there is nothing below {node.value!r}")


def _yaml_number(number: float) -> str:
    """The number with a decimal point before the exponent: YAML 1.1 reads 1e-05 as text."""
    text = repr(number)
    return text.replace("e", ".0e") if "e" in text and "." not in text else text


def _no_number(file: str, pointer: str, found: str) -> InputError:
    return InputError(f"{file} {pointer}: holds {found[:80]}, and only a number can be replaced; use a template")
