"""Input decks as Jinja templates: sandboxed, strict about names, numbers written so that they round-trip."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from distfd.core.errors import InputError
from distfd.core.files import open_plain
from distfd.objectives.command.formats import BEGIN, END, WIDE, in_full, width_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    import jinja2
    from jinja2 import nodes

_SHOWN = 20
_ENDS = ("start", "end")

BEFORE, AFTER = tuple("0123456789."), tuple("+-.0123456789")
"""What belongs to another number there. A minus before may be the template's own."""

_FIELD = re.compile("\ue0d2([0-9]+)\ue0d3(.*?)\ue0d4", re.DOTALL)
"""What a mark has written, where decks are compared: see `distfd.objectives.command.template_sandbox`."""

_FIXED = re.compile(f"{BEGIN}(.)(.*?){END}", re.DOTALL)


@dataclass(frozen=True)
class Mark:
    """A place of an input where numbers are written.

    Attributes
    ----------
    where : str
        File and line, or whatever else it stands in.
    source : str
        As the file has it: ``{{ a | fmt("8.3f") }}``.
    """

    where: str
    source: str


@dataclass(slots=True)
class Part:
    """A piece of what is written: a mark's text, or what stands between marks.

    Attributes
    ----------
    text : str
    mark : Mark or None
    excess : int or None
        By how many characters a mark's text is wider than its format says; None where that fixes no width.
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
        Where it was read, as messages name it.
    text : str
        Its text; bytes that are not UTF-8 are kept as surrogates and written back as they were.
    mode : int
        The file's permissions, which what is written from it gets too.
    """

    file: str
    text: str
    mode: int
    marks_alone: bool = False
    """Whether ``{{ }}`` alone means something in it: a shell has other uses for ``{#`` and ``{%``."""


def read_template(path: Path) -> Template:
    """Read a template file.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    try:
        with open_plain(path, follow=True) as file:
            text = file.read().decode("utf-8", "surrogateescape")
        return Template(str(path), text, path.stat().st_mode & 0o777)
    except OSError as error:
        raise InputError(f"template {path}: {error.strerror or error}") from error


class Deck:
    """A compiled template.

    Parameters
    ----------
    template : Template
        Its text.

    Raises
    ------
    InputError
        If the text is no template: names file and line.
    """

    def __init__(self, template: Template) -> None:
        import jinja2

        self._template = template
        self._tells_apart: bool | None = None
        environment = _environment(template)
        try:
            self._compiled = environment.get_template(template.file)
        except jinja2.TemplateSyntaxError as error:
            raise InputError(f"template {template.file}:{error.lineno}: {error.message}") from error
        except (RecursionError, MemoryError, SyntaxError) as error:
            raise InputError(f"template {template.file}: is nested too deeply") from error
        except ValueError as error:
            raise InputError(f"template {template.file}: {_no_number(error)}") from error

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
            If a name is unknown or an expression fails: says file, line and the names there are.
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
        """The deck's text with these variables in parts: what stands between marks, and what each mark has written.

        Marks within macros and captured blocks are parts of the mark that writes those. Where the text cannot be told
        apart (a template may look at texts that it has written itself), it is one part.

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
        """The template that says which mark has written what."""
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
        """Numbers wider than their format with something behind them on their line: in fixed columns it is moved."""
        parts = self._text(self._compiled, variables).split(WIDE)
        behind = ("".join(parts[k + 1 :]).split("\n")[0] for k in range(1, len(parts), 2))
        return [text for text, rest in zip(parts[1::2], behind, strict=True) if rest.strip()]


def parsed(template: Template) -> nodes.Template:
    """What a template is made of; nothing of it is worked out.

    Raises
    ------
    InputError
        If the text is no template: names file and line.
    """
    import jinja2

    try:
        return _environment(template).parse(template.text, template.file, template.file)
    except jinja2.TemplateSyntaxError as error:
        raise InputError(f"template {template.file}:{error.lineno}: {error.message}") from error
    except (RecursionError, MemoryError, SyntaxError) as error:
        raise InputError(f"template {template.file}: is nested too deeply") from error
    except ValueError as error:
        raise InputError(f"template {template.file}: {_no_number(error)}") from error


def _no_number(error: ValueError) -> str:
    """What Python says of a literal that it does not read, in words of a template."""
    return "has a whole number of thousands of digits" if "digits" in str(error) else str(error)


def variables_in(template: Template) -> frozenset[str]:
    """The variables that a template mentions.

    Raises
    ------
    InputError
        As for `parsed`.
    """
    from jinja2 import meta

    return frozenset(meta.find_undeclared_variables(parsed(template)))


def _environment(template: Template, *, marked: bool = False) -> jinja2.Environment:
    import jinja2

    from distfd.objectives.command.template_sandbox import DeckEnvironment

    def load(name: str) -> tuple[str, str, None] | None:
        # The file's name makes Jinja's tracebacks point into the template, which is where lines come from.
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
    """What ``{{ value }}`` writes."""
    if value is None:
        raise TypeError("the expression between {{ }} is None")
    if isinstance(value, float):
        return in_full(value)
    if isinstance(value, (list, tuple)):
        raise TypeError("the expression between {{ }} is a list; write its elements one by one: {{ x[0] }}")
    if callable(value) and not isinstance(value, _undefined()):
        raise TypeError("the expression between {{ }} is a function; call it, or give a name of another kind")
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
    """The text without the marks of numbers wider than their format, none of which may run into another number.

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
    """The line of the template in which an error arose; '?' where it cannot be told."""
    line: int | str = "?"
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == file:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def _known(text: str, names: Iterable[str]) -> str:
    """What names there are, and the one that was probably meant."""
    known = sorted(names)
    shown = ", ".join(known[:_SHOWN]) + (f", ... ({len(known)} names)" if len(known) > _SHOWN else "")
    quoted = text.split("'")
    close = difflib.get_close_matches(quoted[1], known, 1) if len(quoted) > 1 else []
    return f"known: {shown}" + (f"; did you mean {close[0]}?" if close else "")
