"""The number of elements in an expression's value, as far as it can be known without values."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from distfd.objectives.command.expression import Expression

_ONE = ("sum", "mean", "std", "norm", "dot", "trapezoid")
"""Functions that reduce arrays to one number."""


def expression_length(expression: Expression, lengths: Mapping[str, int | None]) -> int | None:
    """The number of elements in the expression's value; None where that depends on something unknown.

    Parameters
    ----------
    lengths : mapping of str to int or None
        Number of elements of each name that it may use: 1 for a number, None where it is not known.
    """
    return _length(ast.parse(expression.text.strip(), mode="eval").body, lengths)


def _length(node: ast.expr, known: Mapping[str, int | None]) -> int | None:  # noqa: PLR0911  # one case a kind of node
    match node:
        case ast.Name(id=name):
            return known.get(name, 1)
        case ast.Subscript(value=ast.Name(id=name), slice=index):
            return _of_slice(known.get(name, 1), index)
        case ast.BinOp(left=left, right=right):
            return _together(_length(part, known) for part in (left, right))
        case ast.UnaryOp(operand=operand):
            return _length(operand, known)
        case ast.Compare(left=left, comparators=others):
            return _together(_length(part, known) for part in (left, *others))
        case ast.Call(func=ast.Name(id=name), args=args):
            if name in _ONE or (name in ("min", "max") and len(args) == 1):
                return 1
            return _together(_length(part, known) for part in (args[:1] if name == "interp" else args))
    return 1  # a number


def _together(lengths: Iterable[int | None]) -> int | None:
    """The length of values that are combined element by element: numbers, and arrays of one length."""
    found = list(lengths)
    longest = max((length for length in found if length is not None), default=1)
    return None if longest <= 1 and None in found else longest


def _of_slice(length: int | None, index: ast.expr) -> int | None:
    if not isinstance(index, ast.Slice):
        return None if isinstance(index, ast.Tuple) else 1
    if length is None:
        return None
    ends = (None if part is None else ast.literal_eval(part) for part in (index.lower, index.upper, index.step))
    return len(range(length)[slice(*ends)])
