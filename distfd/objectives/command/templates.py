"""Input decks as Jinja templates: sandboxed, strict about names, with numbers that read back exactly."""

from __future__ import annotations

import contextlib
import difflib
import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from distfd.core.errors import InputError
from distfd.core.files import open_plain
from distfd.objectives.command.formats import BEGIN, END, WIDE, in_full, width_of
from distfd.objectives.command.values import encoding_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    import jinja2
    from jinja2 import nodes

_SHOWN = 20
_ENDS = ("start", "end")

BEFORE, AFTER = tuple("0123456789."), tuple("+-.0123456789")
"""Characters that belong to another number if they stand before or behind a number. A minus before may be the
template's own."""

_FIELD = re.compile("\ue0d2([0-9]+)\ue0d3(.*?)\ue0d4", re.DOTALL)
"""The text of a mark, where decks are compared: see `distfd.objectives.command.template_sandbox`."""

_FIXED = re.compile(f"{BEGIN}(.)(.*?){END}", re.DOTALL)


@dataclass(frozen=True)
class Mark:
    """A place in an input where numbers are written.

    Attributes
    ----------
    where : str
        File and line, or another description of the place.
    source : str
        The mark's text in the file: ``{{ a | fmt("8.3f") }}``.
    """

    where: str
    source: str


@dataclass(slots=True)
class Part:
    """A piece of written text: the text of a mark, or a text between marks.

    Attributes
    ----------
    text : str
    mark : Mark or None
    excess : int or None
        How many characters wider than its format a mark's text is; None where the format fixes no width.
    """

    text: str
    mark: Mark | None = None
    excess: int | None = None


@dataclass(frozen=True)
class Template:
    """The text of one template file, read once on the driver.

    Attributes
    ----------
    file : str
        The file's name in messages.
    text : str
        The file's text; bytes that are not UTF-8 are kept as surrogates and written back unchanged.
    mode : int
        The file's permissions, which the written file also gets.
    """

    file: str
    text: str
    mode: int
    marks_alone: bool = False
    """Whether only ``{{ }}`` has a meaning in the text: a shell has other uses for ``{#`` and ``{%``."""


def read_template(path: Path) -> Template:
    """Reads a template file.

    Raises
    ------
    InputError
        If the file cannot be read, or is no UTF-8.
    """
    try:
        with open_plain(path, follow=True) as file:
            raw = file.read()
        return Template(str(path), deck_text(raw, f"template {path}"), path.stat().st_mode & 0o777)
    except OSError as error:
        raise InputError(f"template {path}: {error.strerror or error}") from error


def deck_text(raw: bytes, what: str) -> str:
    """A deck's text; bytes that are not UTF-8 are kept as surrogates.

    Raises
    ------
    InputError
        If it is UTF-16 or UTF-32, in which no marks would be found; begins with ``what``.
    """
    encoding = encoding_of(raw[:4]).upper()
    if encoding != "UTF-8":
        raise InputError(
            f"{what}: is {encoding}, and marks are found in UTF-8 only: save it as UTF-8, by "
            f"`iconv -f {encoding} -t UTF-8` or in an editor"
        )
    return raw.decode("utf-8", "surrogateescape")


class Deck:
    """A compiled template.

    Parameters
    ----------
    template : Template
        The template.

    Raises
    ------
    InputError
        If the text is not a valid template; names file and line.
    """

    def __init__(self, template: Template) -> None:
        self._template = template
        self._tells_apart: bool | None = None
        environment = _environment(template)
        with _explained(template):
            self._compiled = environment.get_template(template.file)

    @property
    def mode(self) -> int:
        """The permissions of the file that is written."""
        return self._template.mode

    @cached_property
    def names(self) -> frozenset[str]:
        """The variables that the template mentions."""
        return variables_in(self._template)

    def render(self, variables: Mapping[str, Any]) -> str:
        """The deck's text with these variables.

        Raises
        ------
        InputError
            If a name is unknown or an expression fails; gives file, line and the known names.
        """
        try:
            text = self._text(self._compiled, variables)
            return _checked_widths(text) if WIDE in text else text
        except _TooWideError as error:
            where = self._mark_of(error.number, variables) or f"{self._template.file}:?"
            raise InputError(f"template {where}: {error}") from error
        except Exception as error:
            raise self._explained(error, variables) from error

    def _mark_of(self, number: int, variables: Mapping[str, Any]) -> str:
        """File, line and mark of the text that is wider than its format, by its number; empty if it cannot be told."""
        wide = [
            self._marks[int(field[1])]
            for field in _FIELD.finditer(self._text(self._marked, variables))
            for fixed in _FIXED.finditer(field[2])
            if len(fixed[2]) > width_of(fixed[1])
        ]
        return f"{wide[number].where}, {wide[number].source}" if number < len(wide) else ""

    def parts(self, variables: Mapping[str, Any]) -> list[Part]:
        """The deck's text with these variables, in parts: in turn a text between marks, and the text of a mark.

        Marks within macros and captured blocks are parts of the mark that writes those. Where the text cannot be split
        (a template may process texts that it has written itself), it is a single part.

        Raises
        ------
        InputError
            As for `render`.
        """
        try:
            if self._tells_apart is False:
                return self._in_one(self._text(self._compiled, variables))
            text = self._text(self._marked, variables)
            whole = self._text(self._compiled, variables) if self._tells_apart is None else ""
        except Exception as error:
            raise self._explained(error, variables) from error
        found, end = [], 0
        for field in _FIELD.finditer(text):
            found += [Part(text[end : field.start()]), self._part(int(field[1]), field[2])]
            end = field.end()
        found.append(Part(text[end:]))
        if self._tells_apart is None:
            self._tells_apart = "".join(part.text for part in found) == whole.replace(WIDE, "")
            if not self._tells_apart:
                return self._in_one(whole)
        return found

    def _in_one(self, text: str) -> list[Part]:
        return [Part(""), Part(text.replace(WIDE, ""), Mark(self._template.file, "its text")), Part("")]

    def _part(self, number: int, text: str) -> Part:
        mark = self._marks[number]
        if BEGIN not in text:
            return Part(text, mark)
        excess = sum(max(0, len(fixed[2]) - width_of(fixed[1])) for fixed in _FIXED.finditer(text))
        return Part(_FIXED.sub(r"\2", text), mark, excess)

    @cached_property
    def _marked(self) -> jinja2.Template:
        """The template in a form that records which mark writes which text."""
        return _environment(self._template, marked=True).get_template(self._template.file)

    @cached_property
    def _marks(self) -> list[Mark]:
        from distfd.objectives.command.template_sandbox import marks_in

        return [
            Mark(f"{self._template.file}:{line}", source)
            for line, source in marks_in(_environment(self._template), self._template.text)
        ]

    def _explained(self, error: Exception, variables: Mapping[str, Any]) -> InputError:
        import jinja2

        where = f"template {self._template.file}:{_line(error, self._template.file)}"
        text = str(error) or type(error).__name__
        if isinstance(error, RecursionError):
            text = "it calls or includes itself without end"
        if isinstance(error, jinja2.UndefinedError):
            text += f"; {_known(text, variables)}"
        elif isinstance(error, jinja2.TemplateNotFound):
            text = f"templates cannot include others ({text})"
        return InputError(f"{where}: {text}")

    @staticmethod
    def _text(compiled: jinja2.Template, variables: Mapping[str, Any]) -> str:
        from distfd.objectives.command.template_sandbox import BUDGET, Budget, whole

        return whole(compiled.generate(variables, **{BUDGET: Budget()}))

    def moved(self, variables: Mapping[str, Any]) -> list[str]:
        """Numbers wider than their format, with text behind them on their line: fixed columns are then shifted."""
        parts = self._text(self._compiled, variables).split(WIDE)
        behind = ("".join(parts[k + 1 :]).split("\n")[0] for k in range(1, len(parts), 2))
        return [text for text, rest in zip(parts[1::2], behind, strict=True) if rest.strip()]


def parsed(template: Template) -> nodes.Template:
    """The syntax tree of a template; no constant in it is computed.

    Raises
    ------
    InputError
        If the text is not a valid template; names file and line.
    """
    with _explained(template):
        return _environment(template).parse(template.text, template.file, template.file)


@contextlib.contextmanager
def _explained(template: Template) -> Iterator[None]:
    """Inside, what Jinja raises for a text that is no template becomes an InputError with file and line."""
    import jinja2

    try:
        yield
    except jinja2.TemplateSyntaxError as error:
        raise _misread(template, error) from error
    except (RecursionError, MemoryError, SyntaxError) as error:
        raise InputError(f"template {template.file}: is nested too deeply") from error
    except ValueError as error:
        raise InputError(f"template {template.file}: {_no_number(error)}") from error


def _misread(template: Template, error: jinja2.TemplateSyntaxError) -> InputError:
    """The error for a text that is no template."""
    own = (
        ""
        if template.marks_alone
        else ". If the deck itself has {{, {% or {# there, put {% raw %} before and {% endraw %} behind it"
    )
    return InputError(f"template {template.file}:{error.lineno}: {(error.message or '').rstrip('.')}{own}")


def _no_number(error: ValueError) -> str:
    """Python's message about a number that it cannot read, in the words of templates."""
    return "has a whole number of thousands of digits" if "digits" in str(error) else str(error)


def variables_in(template: Template) -> frozenset[str]:
    """The variables that a template mentions.

    Raises
    ------
    InputError
        As for `parsed`.
    """
    from jinja2 import meta, nodes

    tree = parsed(template)
    # Jinja has functions and objects of its own, such as range: a parameter may have their name.
    functions = {id(call.node) for call in tree.find_all(nodes.Call)}
    own = {*tree.environment.globals, "self"} if tree.environment is not None else {"self"}
    named = {name.name for name in tree.find_all(nodes.Name) if name.ctx == "load" and id(name) not in functions}
    return frozenset(meta.find_undeclared_variables(tree) | (named & own))


def _environment(template: Template, *, marked: bool = False) -> jinja2.Environment:
    import jinja2

    from distfd.objectives.command.template_sandbox import DeckEnvironment

    def load(name: str) -> tuple[str, str, None] | None:
        # With the file's name, Jinja's tracebacks point into the template; `_line` reads the line from there.
        return (template.text, template.file, None) if name == template.file else None

    options: dict[str, str] = {}
    if template.marks_alone:
        options = {
            name: f"\ue0d8{name}" for name in (f"{what}_{end}_string" for what in ("block", "comment") for end in _ENDS)
        }
    return DeckEnvironment(
        marked=marked,
        **options,
        loader=jinja2.FunctionLoader(load),
        undefined=jinja2.StrictUndefined,
        finalize=_write,
        keep_trailing_newline=True,
        newline_sequence="\r\n" if "\r\n" in template.text else "\n",
    )


def _write(value: Any) -> Any:
    """The text that ``{{ value }}`` writes."""
    if value is None:
        raise TypeError("the expression between {{ }} is None")
    if isinstance(value, float):
        return in_full(value)
    if isinstance(value, (list, tuple)):
        raise TypeError("the expression between {{ }} is a list; write its elements one by one: {{ x[0] }}")
    if callable(value) and not isinstance(value, _undefined()):
        raise TypeError("the expression between {{ }} is a function; call it, or give a name of another kind")
    if not isinstance(value, (str, int, _undefined())):
        raise TypeError(f"the expression between {{{{ }}}} is no number and no text, but a {type(value).__name__}")
    return value


def _undefined() -> type:
    import jinja2

    return jinja2.Undefined


class _TooWideError(ValueError):
    """A number is wider than its format, and touches another; ``number`` says which of those that are wider, from 0."""

    def __init__(self, text: str, number: int) -> None:
        super().__init__(text)
        self.number = number


def _checked_widths(text: str) -> str:
    """The text without the characters that mark too wide numbers; none of these numbers may touch another number.

    Raises
    ------
    _TooWideError
        If one does: a program that reads fixed columns would take wrong numbers without a word.
    """
    parts = text.split(WIDE)
    for k in range(1, len(parts), 2):
        before, after = ("".join(parts[:k]))[-1:], ("".join(parts[k + 1 :]))[:1]
        if before in BEFORE or after in AFTER:
            line = "".join(parts[:k]).count("\n") + 1
            raise _TooWideError(
                f"{parts[k]} is wider than its format and runs into the number beside it (line {line} of what is "
                "written); widen the columns, or use fewer digits or other units",
                k // 2,
            )
    return "".join(parts)


def _line(error: BaseException, file: str) -> int | str:
    """The line of the template where an error arose; '?' if it cannot be determined."""
    line: int | str = "?"
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == file:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def _known(text: str, names: Iterable[str]) -> str:
    """The known names, and the one that was probably meant, as text."""
    known = sorted(names)
    shown = ", ".join(known[:_SHOWN]) + (f", ... ({len(known)} names)" if len(known) > _SHOWN else "")
    quoted = text.split("'")
    close = difflib.get_close_matches(quoted[1], known, 1) if len(quoted) > 1 else []
    return f"known: {shown}" + (f"; did you mean {close[0]}?" if close else "")
