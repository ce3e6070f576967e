"""An input deck with marked numbers, made a template: ``{{ width = 0.3 }}`` becomes ``{{ width }}``."""

from __future__ import annotations

import keyword
import re
from typing import TYPE_CHECKING, NamedTuple

from distfd.core.errors import InputError
from distfd.objectives.command.column_layout import pitch
from distfd.objectives.command.formats import is_number
from distfd.objectives.command.templates import Deck, Template
from distfd.objectives.command.values import OutputError, number

if TYPE_CHECKING:
    from pathlib import Path

    from distfd.cli.deck_kinds import DeckKind

_MARK = re.compile(r"\{\{\s*(\w+)\s*=\s*([^|{}]*?)\s*(\|[^{}]*?)?\s*\}\}")
"""``{{ width = 0.3 }}``, or with a format ``{{ width = 0.3 | fmt("8.3f") }}``."""

_AGAIN = re.compile(r"\{\{([^{}]*)\}\}")
"""``{{ width }}`` or ``{{ 2 * width }}``, for a number that is marked elsewhere."""

_STATEMENT = re.compile(r"\{%.*?%\}", re.DOTALL)

_JINJA = re.compile(r"\{\{|\{%|\{#")


def marked_parts(
    deck: Path, text: str, values: dict[str, float], kind: DeckKind, remarks: list[str] | None = None
) -> list[str]:
    """The deck's text in parts: what stands between marks, and each mark as a template has it, in turn."""
    made, end = [], 0
    wrong: list[str] = []
    for mark in _MARK.finditer(text):
        name, written, form = mark[1], mark[2], mark[3]
        begin = text.rfind("\n", 0, mark.start()) + 1
        where = f"{deck}:{text.count(chr(10), 0, mark.start()) + 1}"
        column = mark.start() - begin + 1
        if not form and (own := kind.of_line(text[begin : mark.start()])):
            form = f"| {own}"
        before, end, gap = text[end : mark.start()], mark.end(), ("", "")
        if remarks is not None and not form and (cell := _cell(text, mark)):
            before, end, form = before[: len(before) - cell.before], end + cell.after, f"| fit({cell.width - 1})"
            gap = cell.gap
            remarks.append(
                f"fit({cell.width - 1}) in {deck.name}.j2: {where} seems to have columns of {cell.width} characters; "
                "if the program reads words between blanks, fit(20) shows it more digits"
            )
        made += [before + gap[0], f"{{{{ {name} {form.strip() + ' ' if form else ''}}}}}{gap[1]}"]
        try:
            value = _marked(name, written, f"{where}: {written!r}", where)
        except InputError as error:
            wrong.append(f"{error} (column {column})")
            continue
        if values.setdefault(name, value) != value:
            wrong.append(f"{where}: {name} = {written}, and elsewhere it is {values[name]!r} (column {column})")
    if wrong:
        raise InputError("\n".join(wrong))
    return [*made, text[end:]]


class _Cell(NamedTuple):
    """A column of a line of fixed columns.

    Attributes
    ----------
    width : int
    before, after : int
        The blanks in it before and behind its number.
    gap : pair of str
        The blank that stays there before or behind its number, for programs that read words after all.
    """

    width: int
    before: int
    after: int
    gap: tuple[str, str]


def _cell(text: str, mark: re.Match[str]) -> _Cell | None:
    """The column that a marked number stands in, if the line with its numbers as they were seems to have columns."""
    begin, end = text.rfind("\n", 0, mark.start()) + 1, (text.find("\n", mark.end()) + 1 or len(text) + 1) - 1

    def typed(part: str) -> str:
        return _MARK.sub(lambda found: found[2], part).rstrip("\r")

    line, first = typed(text[begin:end]), len(typed(text[begin : mark.start()]))
    last = first + len(mark[2])
    width = pitch(line, first, last)
    if width is None:
        return None
    before = first % width
    after = min(width - before - len(mark[2]), len(line) - last)
    left, right = line[: first - before][-1:].strip(), line[last + after :][:1].strip()
    if left and right:
        return None
    return _Cell(width, before, after, ("", " ") if right else (" ", ""))


_SUFFIXED = re.compile(r"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)([A-Za-z]+)")
"""A number followed by a unit or a SPICE factor."""


def _marked(name: str, written: str, what: str, where: str) -> float:
    if not name.isidentifier() or keyword.iskeyword(name):
        raise InputError(f"{where}: {name!r} is no name: letters, digits and _, no digit first")
    try:
        return _number(written, where)
    except InputError:
        suffixed = _SUFFIXED.fullmatch(written)
        if suffixed is None:
            raise
        raise InputError(
            f"{what} is not a number: leave what stands behind it outside of the mark, {{{{ {name} = {suffixed[1]} }}}}"
            f"{suffixed[2]}, or write the number in full"
        ) from None


def _number(text: str, where: str) -> float:
    try:
        return number(text)
    except OutputError as error:
        raise InputError(f"{where}: {error}; a mark is {{{{ name = number }}}}") from error


def template_text(parts: list[str], values: dict[str, float], deck: str, form: str = "") -> str:
    """A template in which Jinja touches nothing but the marks, and expressions of parameters that are marked.

    Expressions without a format of their own get ``form``.
    """
    line = 1

    def kept(text: str) -> str:
        end, made = 0, ""
        for again in _AGAIN.finditer(text):
            if _is_formula(again[0], values, f"{deck}:{line + text.count(chr(10), 0, again.start())}"):
                made += _JINJA.sub(_escaped, text[end : again.start()]) + _in_format(again, form)
                end = again.end()
        for statement in _STATEMENT.finditer(text):
            if used := sorted(values.keys() & set(re.findall(r"\w+", statement[0]))):
                at = line + text.count("\n", 0, statement.start())
                raise InputError(
                    f"{deck}:{at}: {statement[0][:60]} uses {used[0]}, but a marked deck may only have marks "
                    "and formulas: "
                    "remove it from the deck, and add it to the template that init writes"
                )
        return made + _JINJA.sub(_escaped, text[end:])

    made = ""
    for k, part in enumerate(parts):
        made += part if k % 2 else kept(part)
        line += part.count("\n")
    return made


def _in_format(formula: re.Match[str], form: str) -> str:
    text = formula[1].strip()
    if not form or "|" in text:
        return formula[0]
    return f"{{{{ {text if text.isidentifier() else f'({text})'} | {form} }}}}"


def _is_formula(text: str, values: dict[str, float], where: str) -> bool:
    """Whether ``{{ text }}`` is an expression of marked parameters; if not, it is the deck's own."""
    try:
        names = Deck(Template(where, text, 0o600, marks_alone=True)).names
    except InputError as error:
        if used := sorted(values.keys() & set(re.findall(r"\w+", text))):
            formula, _, value = (part.strip() for part in text.strip("{} ").partition("="))
            if value:
                raise InputError(
                    f"{where}: {text} gives a formula a value: mark {used[0]} where it stands alone, {{{{ {used[0]} = "
                    f"number }}}}, and write {{{{ {formula} }}}} here"
                ) from error
            raise InputError(f"{where}: {text} names {used[0]}, and is no expression: {error}") from error
        _check_name(text, where)
        return False
    if not names & values.keys():
        _check_name(text, where)
        return False
    if unknown := sorted(names - values.keys() - {"x"}):
        raise InputError(
            f"{where}: {text} uses {unknown[0]}, which is marked nowhere: mark it too, {{{{ {unknown[0]} = number }}}}"
        )
    return True


def _check_name(text: str, where: str) -> None:
    """Refuses a marked number without a name, or with one that is none."""
    name, equals, written = text.strip("{} ").partition("|")[0].rpartition("=")
    value = written.strip()
    if not value[-1:].isdigit() or not is_number(value):
        return
    if equals:
        raise InputError(f"{where}: {name.strip()!r} is no name: letters, digits and _, no digit first")
    raise InputError(
        f"{where}: {text} has no name: write {{{{ name = {value} }}}}. If the braces are the deck's own, write the "
        "template yourself"
    )


def _escaped(found: re.Match[str]) -> str:
    return f"{{{{ '{found[0]}' }}}}"
