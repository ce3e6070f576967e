"""Time and memory limits for templates: those that might never end run in a helper process.

A template is trusted as much as its program, but it may contain mistakes: a macro that calls itself twice, or a filter
on a huge text, would hang every reader of the template or fill the memory. Templates that only write numbers, decide,
and loop over parameters run in this process. Templates with macros, growing texts or functions run in a helper with
limits of processor time and memory. One helper serves all templates of this process. Starting it takes some 0.2 s, and
each rendering a fifth of a millisecond more (both measured on a quiet machine).
"""

from __future__ import annotations

import json
import os
import sys
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distfd.core.errors import InputError
from distfd.objectives.command.templates import Deck, Mark, Part, Template, parsed, variables_in
from distfd.workers.helper_process import HelperProcess, NoAnswerError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jinja2 import nodes

SECONDS = 3.0
"""Processor time, in seconds, for compiling and writing one deck, in addition to the time for its length."""

_PER_CHARACTER, _PER_PARAMETER = 2e-6, 2e-5
"""Additional seconds for each character of the template, and for each parameter: several times what is needed."""

_PATIENCE = 10.0
"""The limit of wall time is this many times the processor time, plus this many seconds, as a machine may be busy."""


def make_deck(template: Template) -> Deck | LimitedDeck:
    """Compiles a template, for this process or for the helper.

    Raises
    ------
    InputError
        If the text is not a valid template; the message names file and line.
    """
    return Deck(template) if _is_tame(parsed(template)) else LimitedDeck(template)


class LimitedDeck:
    """Like `Deck`, for a template that might never end; it runs in the helper.

    Parameters
    ----------
    template : Template

    Raises
    ------
    InputError
        If the text is not a valid template, or takes too long to compile, as constants in it are computed then.
    """

    def __init__(self, template: Template) -> None:
        self._template = template
        self._asked("", {})

    @property
    def mode(self) -> int:
        """The permissions of the written file."""
        return self._template.mode

    @cached_property
    def names(self) -> frozenset[str]:
        """The variables that the template mentions."""
        return variables_in(self._template)

    def render(self, variables: Mapping[str, Any]) -> str:
        """As `Deck.render`.

        Raises
        ------
        InputError
            Also if rendering takes too long, or too much memory.
        """
        return str(self._asked("render", variables))

    def parts(self, variables: Mapping[str, Any]) -> list[Part]:
        """As `Deck.parts`.

        Raises
        ------
        InputError
            As for `render`.
        """
        answer = self._asked("parts", variables)
        marks = [None if mark is None else Mark(*mark) for mark in answer["marks"]]
        which = [marks[number] for number in answer["which"]]
        return list(map(Part, answer["texts"], which, answer["excess"]))

    def moved(self, variables: Mapping[str, Any]) -> list[str]:
        """As `Deck.moved`."""
        return list(self._asked("moved", variables))

    def _asked(self, method: str, variables: Mapping[str, Any]) -> Any:
        template = self._template
        what = {
            "file": template.file,
            "text": template.text,
            "marks_alone": template.marks_alone,
            "method": method,
            "variables": dict(variables),
        }
        x = variables.get("x")  # all parameters, or the one that is called x
        parameters = max(len(variables), len(x) if isinstance(x, (list, tuple)) else 0)
        seconds = SECONDS + _PER_CHARACTER * len(template.text) + _PER_PARAMETER * parameters
        request = json.dumps({"seconds": seconds, "what": what}).encode() + b"\n"
        try:
            answer = json.loads(_helper.ask(request, _PATIENCE * (seconds + 1.0)))
        except NoAnswerError as error:
            if error.failed:
                raise RuntimeError(f"template {template.file}: the process that writes it could not start") from None
            raise InputError(
                f"template {template.file}: takes more than {seconds:.3g} s of processor time: has it a macro that "
                "calls itself, or a text that grows?"
            ) from None
        if "memory" in answer:
            _helper.end()  # the helper may hold on to memory that it has used
            raise InputError(f"template {template.file}: takes more than 3 GiB of memory")
        if "error" in answer:
            raise InputError(answer["error"])
        return answer["answer"]


def _command() -> list[str]:
    start = (
        "import json, sys; sys.path[:] = json.loads(sys.argv.pop()); "
        "from distfd.objectives.command.template_server import main; main()"
    )
    # distfd itself may be found by the hook of an editable installation, which is not in sys.path.
    paths = [*(os.path.abspath(path) for path in sys.path), str(Path(__file__).parents[3])]  # noqa: PTH100
    return [sys.executable, "-I", "-S", "-c", start, json.dumps(paths)]


_helper = HelperProcess(_command)

_NUMERIC_FILTERS = frozenset({"abs", "float", "int", "round"})
_FORMATS = frozenset({"fit", "fmt", "format", "fortran", "nastran"})
_LONGEST_CONSTANT, _LARGEST_POWER, _LARGEST_NUMBER, _DEEPEST_LOOP = 1000, 64, 10**6, 2


def _is_tame(template: nodes.Node) -> bool:
    """Whether a template only writes numbers, decides, and loops over parameters: the limit of turns then bounds it."""
    return all(_statement(child, 0) for child in template.iter_child_nodes())


def _statement(node: nodes.Node, depth: int) -> bool:
    from jinja2 import nodes

    if isinstance(node, nodes.Output):
        return all(isinstance(child, nodes.TemplateData) or _value(child) for child in node.nodes)
    if isinstance(node, nodes.If):
        inner = (*node.body, *node.elif_, *node.else_)
        return _value(node.test) and all(_statement(child, depth) for child in inner)
    if isinstance(node, nodes.Assign):
        return isinstance(node.target, nodes.Name) and _number(node.node)
    if isinstance(node, nodes.For):
        plain = not node.recursive and depth < _DEEPEST_LOOP and isinstance(node.target, nodes.Name)
        test = node.test is None or _value(node.test)
        inner = (*node.body, *node.else_)
        return plain and test and _items(node.iter) and all(_statement(child, depth + 1) for child in inner)
    return False


def _items(node: nodes.Node) -> bool:
    """Whether a loop over this is bounded: x, a part of x, or a range of numbers."""
    from jinja2 import nodes

    if isinstance(node, nodes.Filter) and node.name == "_counted" and node.node is not None:
        return _items(node.node)
    if isinstance(node, nodes.Call) and isinstance(node.node, nodes.Name) and node.node.name == "range":
        plain = node.dyn_args is None and node.dyn_kwargs is None and not node.kwargs
        return plain and all(_number(child) for child in node.args)
    if isinstance(node, nodes.Getitem):
        return isinstance(node.node, nodes.Name) and isinstance(node.arg, nodes.Slice)
    return isinstance(node, nodes.Name)


def _value(node: nodes.Node) -> bool:
    """Whether this is a number, a short text, or a formatted number."""
    from jinja2 import nodes

    if isinstance(node, nodes.Const) and isinstance(node.value, str):
        return len(node.value) <= _LONGEST_CONSTANT
    if isinstance(node, nodes.Filter) and node.name in _FORMATS:
        return node.node is not None and _value(node.node) and all(_value(child) for child in node.args)
    if isinstance(node, nodes.Mod) and isinstance(node.left, nodes.Const):
        return _value(node.left) and _number(node.right)
    if isinstance(node, nodes.CondExpr):
        return all(child is None or _value(child) for child in (node.test, node.expr1, node.expr2))
    return _number(node)


def _number(node: nodes.Node) -> bool:
    """Whether this expression is a number of ordinary size, or a truth value."""
    from jinja2 import nodes

    children = tuple(node.iter_child_nodes())
    if isinstance(node, (nodes.Name, nodes.Const)):
        return isinstance(node, nodes.Name) or node.value is None or _is_at_most(node, _LARGEST_NUMBER)
    if isinstance(node, nodes.Pow):
        return _is_at_most(node.right, _LARGEST_POWER) and _number(node.left)
    if isinstance(node, nodes.Filter):
        return node.name in _NUMERIC_FILTERS and not node.kwargs and all(map(_number, children))
    if isinstance(node, (nodes.Test, nodes.Compare, nodes.Operand)):
        return all(map(_value, children))
    if isinstance(node, (nodes.Getattr, nodes.Getitem)):
        return _part_of_a_name(node)
    return isinstance(node, (nodes.BinExpr, nodes.UnaryExpr)) and all(map(_number, children))


def _part_of_a_name(node: nodes.Getattr | nodes.Getitem) -> bool:
    """Whether this is an attribute of ``loop``, or an element of x."""
    from jinja2 import nodes

    if not isinstance(node.node, nodes.Name):
        return False
    if isinstance(node, nodes.Getattr):
        return node.node.name == "loop"
    return not isinstance(node.arg, nodes.Slice) and _number(node.arg)


def _is_at_most(node: nodes.Node, most: int) -> bool:
    """Whether this is a constant: a float, or an integer that is not larger than ``most``."""
    from jinja2 import nodes

    if not isinstance(node, nodes.Const):
        return False
    return isinstance(node.value, float) or (isinstance(node.value, int) and abs(node.value) <= most)
