"""Input decks as Jinja templates: sandboxed, strict about names, numbers written so that they round-trip."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from distfd.core.errors import InputError
from distfd.objectives.command.traced_numbers import EXACT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    import jinja2

_SHOWN = 20
_ENDLESS = re.compile(r"[0-9]{5}")
"""A width or a number of digits that no column has, and that would fill the memory."""
_WIDTH = re.compile(r"(?:.?[<>=^])?[-+ ]?z?#?0?([1-9][0-9]*)")
"""The width in a format specification."""

_WIDE = "\ue0d1"
"""Stands on both sides of a number that is wider than its format, until the deck is whole; for private use."""

_BEFORE, _AFTER = tuple("0123456789."), tuple("+-.0123456789")
"""What belongs to another number there. A minus before may be the template's own."""


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


def read_template(path: Path) -> Template:
    """Read a template file.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    try:
        text = path.read_bytes().decode("utf-8", "surrogateescape")
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
        environment = _environment(template)
        try:
            self._compiled = environment.get_template(template.file)
        except jinja2.TemplateSyntaxError as error:
            raise InputError(f"template {template.file}:{error.lineno}: {error.message}") from error
        except (RecursionError, MemoryError, SyntaxError) as error:
            raise InputError(f"template {template.file}: is nested too deeply") from error

    @property
    def mode(self) -> int:
        """The permissions of the file that is written."""
        return self._template.mode

    @cached_property
    def names(self) -> frozenset[str]:
        """The variables that the template mentions."""
        from jinja2 import meta

        return frozenset(meta.find_undeclared_variables(_environment(self._template).parse(self._template.text)))

    def render(self, variables: Mapping[str, Any]) -> str:
        """The deck's text with these variables.

        Raises
        ------
        InputError
            If a name is unknown or an expression fails: says file, line and the names there are.
        """
        import jinja2

        try:
            text = self._text(variables)
            return _checked_widths(text) if _WIDE in text else text
        except Exception as error:
            where = f"template {self._template.file}:{_line(error, self._template.file)}"
            text = str(error) or type(error).__name__
            if isinstance(error, RecursionError):
                text = "it calls or includes itself without end"
            if isinstance(error, jinja2.UndefinedError):
                text += f"; {_known(text, variables)}"
            elif isinstance(error, jinja2.TemplateNotFound):
                text = f"templates cannot include others ({text})"
            raise InputError(f"{where}: {text}") from error

    def _text(self, variables: Mapping[str, Any]) -> str:
        from distfd.objectives.command.template_sandbox import BUDGET, Budget, whole

        return whole(self._compiled.generate(variables, **{BUDGET: Budget()}))

    def moved(self, variables: Mapping[str, Any]) -> list[str]:
        """Numbers wider than their format with something behind them on their line: in fixed columns it is moved."""
        parts = self._text(variables).split(_WIDE)
        behind = ("".join(parts[k + 1 :]).split("\n")[0] for k in range(1, len(parts), 2))
        return [text for text, rest in zip(parts[1::2], behind, strict=True) if rest.strip()]


def _environment(template: Template) -> jinja2.Environment:
    import jinja2

    from distfd.objectives.command.template_sandbox import DeckEnvironment

    def load(name: str) -> tuple[str, str, None] | None:
        # The file's name makes Jinja's tracebacks point into the template, which is where lines come from.
        return (template.text, template.file, None) if name == template.file else None

    environment = DeckEnvironment(
        loader=jinja2.FunctionLoader(load),
        undefined=jinja2.StrictUndefined,
        finalize=_write,
        keep_trailing_newline=True,
        newline_sequence="\r\n" if "\r\n" in template.text else "\n",
    )
    environment.filters["fmt"] = _fmt
    return environment


def _write(value: Any) -> Any:
    """What ``{{ value }}`` writes: 17 digits tell every double from its neighbours."""
    if value is None:
        raise TypeError("the expression between {{ }} is None")
    if isinstance(value, float):
        return format(value, EXACT)
    if isinstance(value, (list, tuple)):
        raise TypeError("the expression between {{ }} is a list; write its elements one by one: {{ x[0] }}")
    if callable(value) and not isinstance(value, _undefined()):
        raise TypeError("the expression between {{ }} is a function; call it, or give a name of another kind")
    return value


def _undefined() -> type:
    import jinja2

    return jinja2.Undefined


def _fmt(value: Any, spec: Any) -> str:
    """``{{ a | fmt("12.6e") }}``: Python's format specification, an error where it does not fit the value."""
    import jinja2

    if not isinstance(spec, str) or _ENDLESS.search(spec):
        raise TypeError(f"fmt needs a format in quotes, such as '12.6e', not {str(spec)[:40]!r}")
    if isinstance(value, jinja2.Undefined):
        return str(value)  # raises, and says which name it is
    try:
        text = format(value, spec)
    except ValueError as error:
        raise ValueError(f"fmt({spec!r}) cannot write {value!r}: {error}") from error
    width = _WIDTH.match(spec)
    return f"{_WIDE}{text}{_WIDE}" if width and len(text) > int(width[1]) else text


def _checked_widths(text: str) -> str:
    """The text without the marks of numbers wider than their format, none of which may run into another number.

    Raises
    ------
    ValueError
        If one does: a program that reads fixed columns would take wrong numbers without a word.
    """
    parts = text.split(_WIDE)
    for k in range(1, len(parts), 2):
        before, after = ("".join(parts[:k]))[-1:], ("".join(parts[k + 1 :]))[:1]
        if before in _BEFORE or after in _AFTER:
            line = "".join(parts[:k]).count("\n") + 1
            raise ValueError(
                f"{parts[k]} is wider than its format and runs into the number beside it (line {line} of what is "
                "written); widen the columns, or use fewer digits or other units"
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
