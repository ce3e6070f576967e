"""The environment of templates: Jinja's sandbox, with limits that end an endless loop before it fills the memory.

A template is trusted as much as its program. The limits are against mistakes, and the sandbox excludes everything that
would make J depend on anything but x.
"""

from __future__ import annotations

import functools
import re
from itertools import count, islice
from typing import TYPE_CHECKING, Any

import jinja2
from jinja2 import nodes
from jinja2.filters import FILTERS
from jinja2.sandbox import ImmutableSandboxedEnvironment, safe_range

from distfd.objectives.command.formats import by_method, by_percent, fit, fmt, fortran, is_number, nastran, padded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from distfd.objectives.command.formats import FormattedText

MOST_TURNS = 4_000_000
"""Largest number of turns of all loops in one rendering together: a second's work."""

MOST_TEXT = 2**28
"""Largest number of characters in the result, and in any intermediate text."""

_MOST_NUMBER = 2**24
"""Largest number of bits of an integer, and largest integer as an argument, such as a width."""

_WIDE = re.compile(r"[0-9]{8}")
"""A width in a format that is too large for any column."""

_ABSENT = ("lipsum", "cycler", "joiner")
_RANDOM = ("random",)
_PADDING = ("ljust", "rjust", "center", "zfill")

BUDGET = "turns left"
"""The name of a rendering's `Budget` in its context; no template can spell this name."""


class LimitError(Exception):
    """A template that would never end or would fill the memory; the text says which limit it reached."""


class Budget:
    """The number of turns that loops may still make in one rendering."""

    def __init__(self) -> None:
        self.left = MOST_TURNS

    def counted(self, items: Iterable[Any]) -> Iterator[Any]:
        """The items, until the limit of turns is reached."""
        for item in items:
            self.left -= 1
            if self.left < 0:
                raise LimitError(f"its loops take more than {MOST_TURNS:,} turns")
            yield item


def whole(pieces: Iterable[str]) -> str:
    """The text of all pieces; raises LimitError if it is too long."""
    parts, size = [], 0
    for piece in pieces:
        parts.append(piece)
        size += len(piece)
        if size > MOST_TEXT:
            raise LimitError(f"it writes more than {MOST_TEXT / 2**20:.0f} MiB")
    return "".join(parts)


@jinja2.pass_context
def _counted(context: Any, items: Any) -> Any:
    return context.get(BUDGET).counted(items)


@jinja2.pass_context  # so that Jinja does not evaluate it while it compiles
def _bounded(_context: Any, text: str) -> str:
    if len(text) > MOST_TEXT:
        raise LimitError(f"a text of more than {MOST_TEXT / 2**20:.0f} MiB")
    return text


def _check_arguments(given: Iterable[Any]) -> None:
    for value in given:
        if isinstance(value, int) and abs(value) > _MOST_NUMBER:
            raise LimitError(f"an argument is above {_MOST_NUMBER:,}: {str(value)[:20]}")


def _limited(filter_: Callable[..., Any]) -> Callable[..., Any]:
    """The filter, with an error for widths and counts that would fill the memory."""

    @functools.wraps(filter_)  # keeps the attributes by which Jinja passes further arguments
    def limited(*args: Any, **kwargs: Any) -> Any:
        _check_arguments(islice(args, 1, None))
        _check_arguments(kwargs.values())
        return filter_(*args, **kwargs)

    return limited


@functools.cache
def _filters(*, compared: bool) -> dict[str, Callable[..., Any]]:
    known = {name: _limited(made) for name, made in FILTERS.items() if name not in _RANDOM}
    inner, centre = known["format"], known["center"]

    def format_(value: Any, *args: Any, **kwargs: Any) -> FormattedText:
        _check_format(str(value))
        return by_percent(str(value), inner(value, *args, **kwargs), filtered=True)

    def center(value: Any, width: Any = 80) -> FormattedText:
        return padded(centre(value, width), "center", width)

    formats: dict[str, Callable[..., FormattedText]] = {
        "format": format_,
        "center": center,
        "fmt": fmt,
        "fit": fit,
        "nastran": nastran,
        "fortran": fortran,
    }
    made = {name: _format(write, compared=compared) for name, write in formats.items()}
    return {**known, **made, "_counted": _counted, "_bounded": _bounded}


def _format(write: Callable[..., FormattedText], *, compared: bool) -> Callable[..., FormattedText]:
    """The filter, with an error if the number is not defined."""

    def written(value: Any, *args: Any, **kwargs: Any) -> FormattedText:
        if isinstance(value, jinja2.Undefined):
            str(value)  # raises an error that names the undefined variable
        text = write(value, *args, **kwargs)
        text.compared = compared
        return text

    return written


def _check_format(text: str) -> None:
    if _WIDE.search(text):
        raise LimitError("a format with a width of 8 digits or more")


_CAPTURING = (nodes.Macro, nodes.CallBlock, nodes.FilterBlock, nodes.AssignBlock)
"""Nodes that make a text of their body, which the template may then change."""


def _outputs(node: nodes.Node, *, captured: bool = False) -> Iterator[tuple[nodes.Output, bool]]:
    """All nodes that write, in the order of the text, and whether the written text is captured."""
    if isinstance(node, nodes.Output):
        yield node, captured
        return
    for child in node.iter_child_nodes():
        yield from _outputs(child, captured=captured or isinstance(node, _CAPTURING))


def marks_in(environment: jinja2.Environment, text: str) -> list[tuple[int, str]]:
    """Line and source of each mark, numbered as in an environment that is ``marked``."""
    found = [
        child.lineno
        for output, _ in _outputs(environment.parse(text))
        for child in output.nodes
        if not isinstance(child, nodes.TemplateData)
    ]
    writing = [
        (node.lineno, f"{{% {'filter' if isinstance(node, nodes.FilterBlock) else 'call'} ... %}}")
        for node in _writing_blocks(environment.parse(text))
    ]
    sources, open_ = [], False
    for _, token, piece in environment.lexer.tokeniter(text, None):
        if token == "variable_begin":  # noqa: S105  # Jinja's name of the token
            open_ = True
            sources.append("")
        if open_:
            sources[-1] += piece
        open_ = open_ and token != "variable_end"  # noqa: S105
    if len(sources) != len(found):  # {% print %} writes too
        sources = ["{{ ... }}"] * len(found)
    return [*((line, " ".join(source.split())) for line, source in zip(found, sources, strict=True)), *writing]


def _writing_blocks(node: nodes.Node) -> Iterator[nodes.Node]:
    """Blocks that make a text of their body and write the changed text; blocks within such bodies are left out."""
    for child in node.iter_child_nodes():
        if isinstance(child, (nodes.FilterBlock, nodes.CallBlock)):
            yield child
        elif not isinstance(child, _CAPTURING):
            yield from _writing_blocks(child)


class DeckEnvironment(ImmutableSandboxedEnvironment):
    """A sandbox in which templates end.

    Parameters
    ----------
    marked : bool
        Whether to put private-use characters around the text that each mark writes, with the mark's number, and around
        texts of fixed width.
    """

    intercepted_binops = frozenset(("*", "**", "%", "+"))

    def __init__(self, *, marked: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self._is_marked = marked
        self.filters = dict(_filters(compared=marked))
        for name in _ABSENT:
            self.globals.pop(name, None)

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        template = super()._parse(source, name, filename)
        for loop in template.find_all(nodes.For):
            loop.iter = nodes.Filter(loop.iter, "_counted", [], [], None, None, lineno=loop.lineno)
        for joined in list(template.find_all(nodes.Concat)):
            inner = nodes.Concat(joined.nodes, lineno=joined.lineno)
            joined.nodes = [nodes.Filter(inner, "_bounded", [], [], None, None, lineno=joined.lineno)]
        if self._is_marked:
            _surround(template)
        return template

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """The operator's result; an error if that is a huge number or text."""
        if operator == "**" and isinstance(left, int) and isinstance(right, int):
            if right * left.bit_length() > _MOST_NUMBER:
                raise LimitError("a power that has millions of digits; write a factor as 2.0")
        elif operator == "*" and not (isinstance(left, float) or isinstance(right, float)):
            _check_product(left, right)
        elif operator == "%" and isinstance(left, str):
            _check_format(left)
        elif operator == "+" and isinstance(left, (str, list, tuple)) and len(left) > MOST_TEXT:
            raise LimitError("a text or list without end")
        elif operator == "+" and _is_printed(left) and _is_printed(right) and right == right.lstrip():
            raise TypeError(
                f"{left.strip()!r} and {right!r} are texts, and + writes one behind the other: add the numbers first, "
                "and write their sum"
            )
        result = super().call_binop(context, operator, left, right)
        if operator == "%" and isinstance(left, str) and isinstance(result, str):
            return self._compared(by_percent(left, result, filtered=False))
        return result

    def _compared(self, text: FormattedText) -> FormattedText:
        text.compared = self._is_marked
        return text

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """The format method of a text, with an error for widths that no column has."""
        wrapped = super().wrap_str_format(value)
        if wrapped is None:
            return None
        template = str(value.__self__)
        _check_format(template)
        return lambda *args, **kwargs: self._compared(by_method(template, wrapped(*args, **kwargs)))

    def call(self, __context: Any, __obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Calls a method or macro; an error if an argument would fill the memory."""
        if __obj is not safe_range:  # safe_range has a limit of its own
            _check_arguments(args)
            _check_arguments(kwargs.values())
        owner = getattr(__obj, "__self__", None)
        if isinstance(owner, str) and __obj.__name__ in ("replace", "join", "translate", "expandtabs"):
            _check_growth(owner, args)
        result = super().call(__context, __obj, *args, **kwargs)
        if isinstance(owner, str) and __obj.__name__ in _PADDING and args:
            return self._compared(padded(result, __obj.__name__, args[0]))
        return result


def _surround(template: nodes.Template) -> None:
    """Makes each mark write its number and its start and end, except for marks whose text is captured."""
    blocks = list(_writing_blocks(template))
    numbers = count()
    for output, captured in _outputs(template):
        made: list[nodes.Expr] = []
        for child in output.nodes:
            if isinstance(child, nodes.TemplateData):
                made.append(child)
                continue
            number = next(numbers)
            if captured:
                made.append(child)
            else:
                before, after = nodes.TemplateData(f"\ue0d2{number}\ue0d3"), nodes.TemplateData("\ue0d4")
                for data in (before, after):
                    data.set_lineno(child.lineno)
                made += [before, child, after]
        output.nodes = made
    for block in blocks:
        _surround_block(template, block, next(numbers))


def _surround_block(template: nodes.Node, block: nodes.Node, number: int) -> None:
    for parent in (template, *template.find_all(nodes.Node)):
        for field in parent.fields:
            body = getattr(parent, field, None)
            if isinstance(body, list) and any(each is block for each in body):
                at = next(k for k, each in enumerate(body) if each is block)
                around = [nodes.Output([nodes.TemplateData(text)]) for text in (f"\ue0d2{number}\ue0d3", "\ue0d4")]
                for output in around:
                    output.set_lineno(block.lineno)
                body[at : at + 1] = [around[0], block, around[1]]
                return


def _check_product(left: Any, right: Any) -> None:
    for text, times in ((left, right), (right, left)):
        if isinstance(text, (str, bytes, list, tuple)) and isinstance(times, int) and len(text) * times > MOST_TEXT:
            raise LimitError("a text or list without end")
        if isinstance(times, int) and _is_printed(text):
            raise TypeError(
                f"{text.strip()!r} is a text, and to multiply it writes it again: put the formula in parentheses"
            )
    if isinstance(left, int) and isinstance(right, int) and left.bit_length() + right.bit_length() > _MOST_NUMBER:
        raise LimitError("a whole number that has millions of digits")


def _is_printed(text: Any) -> bool:
    """Whether this is a number with a point that has become a text; with a blank behind it, it is meant as one."""
    return type(text) is str and "." in text and is_number(text) and text == text.rstrip()


def _check_growth(owner: str, args: tuple[Any, ...]) -> None:
    """Checks replace and join, which may insert a text at every character."""
    longest = max((len(value) for value in args if isinstance(value, (str, list, tuple))), default=0)
    if (len(owner) + 1) * (longest + 1) > MOST_TEXT:
        raise LimitError("a text without end")
