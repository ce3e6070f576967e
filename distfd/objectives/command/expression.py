"""Arithmetic expressions of output names, evaluated without Python's eval."""

from __future__ import annotations

import ast
import difflib
import operator
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from numpy.typing import NDArray

_LONGEST = 10_000
_DEEPEST = 200

_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}
_COMPARED: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_CONSTANTS = {"pi": np.pi}
"""Numbers by name; an output of the same name goes before."""

_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {ast.UAdd: operator.pos, ast.USub: operator.neg}


def _extreme(pair: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    """The minimum or maximum of one array, or of several values; unlike in Python, a NaN always gives NaN."""

    def extreme(*values: Any) -> Any:
        return reduce(pair, values if len(values) > 1 else np.ravel(values[0]))

    return extreme


def _trapezoid(y: Any, x: Any = None) -> Any:
    """The integral of values y over x, (n,) each, by the trapezoidal rule; without x, points are 1 apart."""
    heights = np.ravel(y)
    widths = 1.0 if x is None else np.diff(np.ravel(x))
    if x is not None and np.size(x) != heights.size:
        raise ValueError(f"trapezoid: there are {heights.size} values at {np.size(x)} places")
    return np.sum((heights[1:] + heights[:-1]) / 2 * widths)


def _where(condition: Any, one: Any, other: Any) -> Any:
    """``one`` where the condition is not 0, else ``other``."""
    return np.where(np.asarray(condition) != 0, one, other)[()]


def _interp(x: Any, known_x: Any, known_y: Any) -> Any:
    """Linear interpolation at x between known points, whose x increase; NaN outside them."""
    at, xs, ys = np.asarray(x, dtype=float), np.atleast_1d(known_x), np.atleast_1d(known_y)
    if xs.ndim != 1 or xs.shape != ys.shape:
        raise ValueError(f"interp(x, xp, fp): xp and fp are lists of one length (have {xs.size} and {ys.size})")
    if not (np.diff(xs) > 0).all():
        raise ValueError("interp(x, xp, fp): xp must rise")
    if (at < xs[0]).any() or (at > xs[-1]).any():
        raise ValueError(f"interp(x, xp, fp): x must be between {xs[0]:g} and {xs[-1]:g}, the ends of xp")
    return np.interp(at, xs, ys)


_FUNCTIONS: dict[str, tuple[Callable[..., Any], int, float]] = {
    # name: function, least and greatest number of arguments
    "abs": (np.abs, 1, 1),
    "sqrt": (np.sqrt, 1, 1),
    "exp": (np.exp, 1, 1),
    "log": (np.log, 1, 1),
    "log10": (np.log10, 1, 1),
    "sin": (np.sin, 1, 1),
    "cos": (np.cos, 1, 1),
    "tan": (np.tan, 1, 1),
    "min": (_extreme(np.minimum), 1, np.inf),
    "max": (_extreme(np.maximum), 1, np.inf),
    "sum": (np.sum, 1, 1),
    "mean": (np.mean, 1, 1),
    "dot": (np.dot, 2, 2),
    "norm": (lambda values: np.linalg.norm(np.ravel(values)), 1, 1),
    "std": (np.std, 1, 1),
    "trapezoid": (_trapezoid, 1, 2),
    "where": (_where, 3, 3),
    "interp": (_interp, 3, 3),
}


@dataclass(frozen=True)
class Expression:
    """An expression of named numbers and arrays: + - * / **, comparisons, indices, and a few functions.

    Parameters
    ----------
    text : str
        Such as ``"mass + 10 * max(0, stress - 250) ** 2"``. Functions: abs, sqrt, exp, log, log10, sin, cos, tan, min,
        max, sum, mean, std, norm, dot, trapezoid, where, interp; pi is a number. A comparison is 1 or 0; ``p[0]``,
        ``p[-1]`` and ``p[1:5]`` are elements of an array, from 0.
    names : collection of str
        The names that it may use.

    Raises
    ------
    InputError
        If the text is not such an expression, or uses another name; names the part and its place.
    """

    text: str
    names: Collection[str]

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(self.names))
        self._check(self._parse(), 0)

    @property
    def uses(self) -> frozenset[str]:
        """The names that occur in it."""
        nodes = ast.walk(self._parse())
        return frozenset(node.id for node in nodes if isinstance(node, ast.Name)) & frozenset(self.names)

    def __call__(self, values: Mapping[str, Any]) -> Any:
        """The value, a float or an array; NaN or inf where it is undefined, such as log(-1)."""
        with np.errstate(all="ignore"):
            return _evaluate(self._parse(), values)

    def _parse(self) -> ast.expr:
        if len(self.text) > _LONGEST:
            raise InputError(f"an expression of {len(self.text)} characters is too long (at most {_LONGEST})")
        if "#" in self.text:
            raise InputError(
                f"expression {_short(self.text)}: '#' begins a comment for Python, so what follows would be left out: "
                "remove it, and write comments outside the expression"
            )
        try:
            return ast.parse(self.text.strip(), mode="eval").body
        except SyntaxError as error:
            raise InputError(f"expression {_short(self.text)}: {error.msg} at character {error.offset}") from error
        except (ValueError, RecursionError, MemoryError) as error:
            raise InputError(f"expression {_short(self.text)}: cannot be read ({error})") from error

    def _check(self, node: ast.expr, depth: int) -> None:  # noqa: C901, PLR0912  # one case a kind of node
        if depth > _DEEPEST:
            raise InputError(f"expression {_short(self.text)} is nested too deeply")
        match node:
            case ast.Constant(value=bool()) | ast.Constant(value=complex()):
                raise self._refuse(node, "is not a number")
            case ast.Constant(value=int()) | ast.Constant(value=float()):
                return
            case ast.Name(id=name) if name in self.names or name in _CONSTANTS:
                return
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
                self._check(left, depth + 1)
                self._check(right, depth + 1)
            case ast.UnaryOp(op=sign, operand=operand) if type(sign) in _UNARY:
                self._check(operand, depth + 1)
            case ast.Compare(left=left, ops=ops, comparators=others) if all(type(op) in _COMPARED for op in ops):
                for part in (left, *others):
                    self._check(part, depth + 1)
            case ast.Subscript(value=ast.Name(id=name) as array, slice=index) if name in self.names:
                self._check(array, depth + 1)
                if _index(index) is None:
                    raise self._refuse(node, "has an index that is not whole numbers, from 0, or from the end by -1")
            case ast.Call(func=ast.Name(id=name), args=args, keywords=[]):
                self._check_call(node, name, args)
                for argument in args:
                    self._check(argument, depth + 1)
            case _:
                raise self._refuse(node, self._why(node))

    def _why(self, node: ast.expr) -> str:
        match node:
            case ast.Name(id=name):
                return f"is no output; known: {', '.join(self.names)}{_hint(name, self.names)}"
            case ast.BinOp(op=ast.BitXor()):
                return "uses ^; a power is written **"
        return "is not allowed; an expression has numbers, names, + - * / **, comparisons, indices and functions"

    def _check_call(self, node: ast.expr, name: str, args: list[ast.expr]) -> None:
        if name not in _FUNCTIONS:
            raise self._refuse(
                node, f"calls no known function; known: {', '.join(_FUNCTIONS)}{_hint(name, _FUNCTIONS)}"
            )
        _, least, most = _FUNCTIONS[name]
        if not least <= len(args) <= most:
            raise self._refuse(
                node, f"has {len(args)} arguments, {name} takes {least}{'' if most == least else ' or more'}"
            )

    def _refuse(self, node: ast.expr, why: str) -> InputError:
        part = ast.get_source_segment(self.text.strip(), node) or "?"
        return InputError(f"expression {_short(self.text)}: {_short(part)} {why}")


def _index(node: ast.expr) -> Any:
    """An index: of one element, of a slice, or one for each dimension; None if this is no index of integers."""
    match node:
        case ast.Tuple(elts=parts):
            found = [_index(part) for part in parts]
            return None if None in found or any(isinstance(each, tuple) for each in found) else tuple(found)
        case ast.Slice(lower=lower, upper=upper, step=step):
            ends = [None if end is None else _index(end) for end in (lower, upper, step)]
            given = [end for end, node in zip(ends, (lower, upper, step), strict=True) if node is not None]
            return slice(*ends) if all(isinstance(end, int) for end in given) and ends[2] != 0 else None
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int(number))) if not isinstance(number, bool):
            return -number
        case ast.Constant(value=int(number)) if not isinstance(number, bool):
            return number
    return None


def _evaluate(node: ast.expr, values: Mapping[str, Any]) -> Any:  # noqa: PLR0911  # one case a kind of node
    match node:
        case ast.Constant(value=int() | float() as number):
            # Doubles throughout: 9**9**9 must be inf, not an hour's work on integers.
            return _double(number)
        case ast.Name(id=name):
            return np.asarray(values[name] if name in values else _CONSTANTS[name], dtype=np.float64)[()]
        case ast.BinOp(left=left, op=op, right=right):
            a, b = _evaluate(left, values), _evaluate(right, values)
            # numpy would broadcast the shorter array, so a truncated file would look like a valid misfit.
            if np.ndim(a) and np.ndim(b) and np.shape(a) != np.shape(b):
                raise ValueError(f"arrays of shapes {np.shape(a)} and {np.shape(b)} meet in {ast.unparse(node)[:80]}")
            return _BINARY[type(op)](a, b)
        case ast.UnaryOp(op=sign, operand=operand):
            return _UNARY[type(sign)](_evaluate(operand, values))
        case ast.Compare(left=left, ops=ops, comparators=others):
            parts = [_evaluate(part, values) for part in (left, *others)]
            held = [_COMPARED[type(op)](a, b) for op, a, b in zip(ops, parts[:-1], parts[1:], strict=True)]
            return reduce(np.logical_and, held) * np.float64(1)
        case ast.Subscript(value=array, slice=index):
            return _part(np.asarray(_evaluate(array, values)), _index(index), ast.unparse(node))
        case ast.Call(func=ast.Name(id=name), args=args):
            return _FUNCTIONS[name][0](*(_evaluate(argument, values) for argument in args))
    raise AssertionError(node)  # _check allows no other node


def _part(array: NDArray[np.float64], index: Any, text: str) -> Any:
    """The elements of an array; unlike in Python, a slice that reaches beyond its ends is an error.

    The elements that are missing in a truncated file would otherwise count as 0 in a sum.
    """
    for n, each in zip(array.shape, index if isinstance(index, tuple) else (index,), strict=False):
        ends = (each.start, each.stop) if isinstance(each, slice) else ()
        if any(end is not None and not -n <= end <= n for end in ends):
            raise IndexError(f"{text[:80]} reaches beyond the array, which has {n} elements")
    found = array[index]
    if not np.size(found):
        raise IndexError(f"{text[:80]} has no elements, of {array.size} in the array")
    return found


def _double(number: float) -> np.float64 | NDArray[np.float64]:
    try:
        return np.float64(number)
    except OverflowError:
        return np.float64(np.inf)


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")


def _hint(name: str, known: Collection[str]) -> str:
    close = difflib.get_close_matches(name, known, 1)
    return f"; did you mean {close[0]}?" if close else ""
