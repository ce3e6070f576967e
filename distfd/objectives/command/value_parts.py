"""The parts of a program's J: which outputs come from which expression of ``value``, and their names."""

from __future__ import annotations

import ast
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.objectives.command.csv_cell import CsvCell
from distfd.objectives.command.extractors import Columns, Regex, Token
from distfd.objectives.command.options import LONGEST_NAME
from distfd.objectives.command.values import OutputError
from distfd.objectives.output_parts import OutputPart, part_lengths

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from distfd.objectives.command.expression import Expression
    from distfd.objectives.command.values import Value

TIMES = ("time", "Time", "TIME", "t")
"""Names of columns that hold the times of measurements."""
_ONE = ("sum", "mean", "std", "norm", "dot", "trapezoid")
"""Functions that reduce arrays to one number."""


def length_of(extractor: Any) -> int | None:
    """The number of elements that an extractor reads from a file; None where that depends on the file."""
    if isinstance(extractor, (Columns, Regex, Token)):
        return None if extractor.which == "all" else 1
    return 1 if isinstance(extractor, CsvCell) and extractor.row != "all" else None


def parts_of(
    formula: Sequence[Expression], lengths: Mapping[str, int | None], measured: Mapping[str, Value] | None = None
) -> tuple[OutputPart, ...]:
    """The parts that expressions make.

    Parameters
    ----------
    lengths : mapping of str to int or None
        Number of elements of outputs and data, by name, where known.
    measured : mapping of str to float or ndarray
        The data.
    """
    return tuple(
        OutputPart(
            " ".join(each.text.split()),
            tuple(name for name in lengths if name in each.uses),
            expression_length(each, lengths),
            *_data_in(each, measured or {}),
        )
        for each in formula
    )


def _data_in(expression: Expression, measured: Mapping[str, Value]) -> tuple[NDArray[np.float64] | None, int]:
    """The data in ``simulated - measured`` (1) or ``measured - simulated`` (-1); None for other expressions."""
    match ast.parse(expression.text.strip(), mode="eval").body:
        case ast.BinOp(left=left, op=ast.Sub(), right=right):
            given = [node.id for node in (left, right) if isinstance(node, ast.Name) and node.id in measured]
            if len(given) == 1:
                reverse = isinstance(left, ast.Name) and left.id in measured
                return np.ravel(measured[given[0]]).astype(np.float64), -1 if reverse else 1
    return None, 1


def times_of(extractor: Any, path: Path, value: Value) -> NDArray[np.float64] | None:
    """Times of measurements, (n,): the column time or t of their table; None if there is no such column."""
    if not isinstance(extractor, CsvCell) or extractor.row != "all" or not extractor.header:
        return None
    for column in TIMES:
        try:
            times = np.asarray(replace(extractor, column=column).read(path), dtype=np.float64)
        except OutputError:
            continue
        if times.shape == np.shape(value) and np.isfinite(times).all():
            return times
    return None


def part_names(
    parts: Sequence[OutputPart],
    outputs: Collection[str],
    measured: Mapping[str, Value],
    times: Mapping[str, NDArray[np.float64]],
    m: int,
) -> tuple[str, ...] | None:
    """The names of J's m outputs; None where they cannot be determined, or two would be equal.

    An expression that gives one number is named by its text. Several numbers are named ``level(t=2.5)``, by the output
    in the expression and the times of its data, or ``level[3]`` if there are no times.
    """
    lengths = part_lengths(parts, m)
    if lengths is None:
        return None
    found: list[str] = []
    for part, length in zip(parts, lengths, strict=True):
        of = part.text if length == 1 else _subject(part, outputs, measured, times)
        if of is None:
            return None
        found += [of] if length == 1 else _elements(of, length, [times[name] for name in part.names if name in times])
    distinct = len(set(found)) == m and max(map(len, found), default=0) <= LONGEST_NAME
    return tuple(found) if distinct else None


def _subject(
    part: OutputPart,
    outputs: Collection[str],
    measured: Mapping[str, Value],
    times: Mapping[str, NDArray[np.float64]],
) -> str | None:
    """The only output in the expression, or its only data that are not times."""
    for names in (
        [name for name in part.names if name in outputs],
        [n for n in part.names if n in measured and not (n in times and np.array_equal(measured[n], times[n]))],
    ):
        if len(names) == 1:
            return names[0]
    return None


def _elements(of: str, length: int, times: Sequence[NDArray[np.float64]]) -> list[str]:
    fitting = [each for each in times if each.shape == (length,)]
    one = fitting and all(np.array_equal(each, fitting[0]) for each in fitting)
    if one and len(np.unique(fitting[0])) == length:
        return [f"{of}(t={t!r})" for t in fitting[0].tolist()]
    return [f"{of}[{k}]" for k in range(length)]


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
