"""The environment of templates: Jinja's sandbox, and limits that end a loop without end before it fills the memory.

A template is as trusted as the program it is written for; what is limited here are mistakes, and what is kept out is
whatever would make J depend on anything but x.
"""

from __future__ import annotations

import functools
import re
from itertools import islice
from typing import TYPE_CHECKING, Any

import jinja2
from jinja2 import nodes
from jinja2.filters import FILTERS
from jinja2.sandbox import ImmutableSandboxedEnvironment, safe_range

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

MOST_TURNS = 4_000_000
"""Turns of all loops of one rendering together: a second's work."""

MOST_TEXT = 2**28
"""Characters of what is written, and of any text on the way there."""

_MOST_NUMBER = 2**24
"""Bits of a whole number, and the largest one that is an argument, such as a width."""

_WIDE = re.compile(r"[0-9]{8}")
"""A width in a format that no column has."""

_ABSENT = ("lipsum", "cycler", "joiner")
_RANDOM = ("random",)

BUDGET = "turns left"
"""The name under which a rendering has its `Budget`; no template can spell it."""


class LimitError(Exception):
    """A template that would never end, or fill the memory; says which limit it met."""


class Budget:
    """The turns that loops of one rendering may still take."""

    def __init__(self) -> None:
        self.left = MOST_TURNS

    def counted(self, items: Iterable[Any]) -> Iterator[Any]:
        """The items, until there were too many."""
        for item in items:
            self.left -= 1
            if self.left < 0:
                raise LimitError(f"its loops take more than {MOST_TURNS:,} turns")
            yield item


def whole(pieces: Iterable[str]) -> str:
    """The text of all pieces, unless it is too long."""
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


@jinja2.pass_context  # for which Jinja does not work it out while it compiles
def _bounded(_context: Any, text: str) -> str:
    if len(text) > MOST_TEXT:
        raise LimitError(f"a text of more than {MOST_TEXT / 2**20:.0f} MiB")
    return text


def _check_arguments(given: Iterable[Any]) -> None:
    for value in given:
        if isinstance(value, int) and abs(value) > _MOST_NUMBER:
            raise LimitError(f"an argument is above {_MOST_NUMBER:,}: {str(value)[:20]}")


def _limited(filter_: Callable[..., Any]) -> Callable[..., Any]:
    """The filter, refusing widths and counts that would fill the memory."""

    @functools.wraps(filter_)  # with the marks by which Jinja knows what else it takes
    def limited(*args: Any, **kwargs: Any) -> Any:
        _check_arguments(islice(args, 1, None))
        _check_arguments(kwargs.values())
        return filter_(*args, **kwargs)

    return limited


@functools.cache
def _filters() -> dict[str, Callable[..., Any]]:
    known = {name: _limited(made) for name, made in FILTERS.items() if name not in _RANDOM}
    inner = known["format"]

    def format_(value: Any, *args: Any, **kwargs: Any) -> Any:
        _check_format(str(value))
        return inner(value, *args, **kwargs)

    return {**known, "format": format_, "_counted": _counted, "_bounded": _bounded}


def _check_format(text: str) -> None:
    if _WIDE.search(text):
        raise LimitError("a format with a width of 8 digits or more")


class DeckEnvironment(ImmutableSandboxedEnvironment):
    """A sandbox in which templates end."""

    intercepted_binops = frozenset(("*", "**", "%", "+"))

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.filters = dict(_filters())
        for name in _ABSENT:
            self.globals.pop(name, None)

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        template = super()._parse(source, name, filename)
        for loop in template.find_all(nodes.For):
            loop.iter = nodes.Filter(loop.iter, "_counted", [], [], None, None, lineno=loop.lineno)
        for joined in list(template.find_all(nodes.Concat)):
            inner = nodes.Concat(joined.nodes, lineno=joined.lineno)
            joined.nodes = [nodes.Filter(inner, "_bounded", [], [], None, None, lineno=joined.lineno)]
        return template

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """The operator's result, if it is no number or text without end."""
        if operator == "**" and isinstance(left, int) and isinstance(right, int):
            if right * left.bit_length() > _MOST_NUMBER:
                raise LimitError("a power that has millions of digits; write a factor as 2.0")
        elif operator == "*" and not (isinstance(left, float) or isinstance(right, float)):
            _check_product(left, right)
        elif operator == "%" and isinstance(left, str):
            _check_format(left)
        elif operator == "+" and isinstance(left, (str, list, tuple)) and len(left) > MOST_TEXT:
            raise LimitError("a text or list without end")
        return super().call_binop(context, operator, left, right)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """The format method of a text, kept to widths that columns have."""
        wrapped = super().wrap_str_format(value)
        if wrapped is not None:
            _check_format(value.__self__)
        return wrapped

    def call(self, __context: Any, __obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Call a method or macro, unless an argument would fill the memory."""
        if __obj is not safe_range:  # which has a limit of its own
            _check_arguments(args)
            _check_arguments(kwargs.values())
        owner = getattr(__obj, "__self__", None)
        if isinstance(owner, str) and __obj.__name__ in ("replace", "join", "translate", "expandtabs"):
            _check_growth(owner, args)
        return super().call(__context, __obj, *args, **kwargs)


def _check_product(left: Any, right: Any) -> None:
    for text, times in ((left, right), (right, left)):
        if isinstance(text, (str, bytes, list, tuple)) and isinstance(times, int) and len(text) * times > MOST_TEXT:
            raise LimitError("a text or list without end")
    if isinstance(left, int) and isinstance(right, int) and left.bit_length() + right.bit_length() > _MOST_NUMBER:
        raise LimitError("a whole number that has millions of digits")


def _check_growth(owner: str, args: tuple[Any, ...]) -> None:
    """Replacing and joining may put a text wherever there is a character."""
    longest = max((len(value) for value in args if isinstance(value, (str, list, tuple))), default=0)
    if (len(owner) + 1) * (longest + 1) > MOST_TEXT:
        raise LimitError("a text without end")
