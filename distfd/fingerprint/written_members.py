"""The values of a module's members according to its text, as far as the text determines them."""

from __future__ import annotations

import ast
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import CodeType
from typing import TYPE_CHECKING

from distfd.fingerprint.members import exact_digest
from distfd.fingerprint.reads import file_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any

    from distfd.fingerprint.reads import Member

_NO_LITERAL = (ValueError, TypeError, SyntaxError, MemoryError, RecursionError)
"""What ast.literal_eval raises for other than literals."""


def written_digest(member: Member) -> str | None:
    """The digest of a member according to its module's text; None if the text alone does not determine it.

    The text does so if a name is assigned a number, a text, or a container of these, once, and nothing else in the
    module assigns it.
    """
    file = text_stamp(member)
    return None if file is None else _values(*file).get(member.name)


def written_code(member: Member) -> WrittenFunction | None:
    """A function according to its module's text; None unless the text has one such function."""
    file = text_stamp(member)
    return None if file is None else _functions(*file).get(member.name)


@dataclass(frozen=True)
class WrittenFunction:
    """What a module's text says of a function.

    Attributes
    ----------
    code : str
        The digest of its code.
    defaults : str or None
        The digest of the defaults of its arguments; None if the text alone does not determine them.
    """

    code: str
    defaults: str | None


def defaults_digest(defaults: tuple[Any, ...] | None, keywords: Mapping[str, Any] | None) -> str:
    """The digest of the defaults of a function's arguments, and of those that are given by their names only."""
    return exact_digest((tuple(defaults or ()), dict(sorted((keywords or {}).items()))))


def text_stamp(member: Member) -> tuple[str, int, int] | None:
    """Identifies a version of a module's text: the file, its time of change, its size."""
    file = file_of(member.module)
    if file is None:
        return None
    try:
        stat = file.stat()
    except OSError:
        return None
    return str(file), stat.st_mtime_ns, stat.st_size


@lru_cache(maxsize=2000)
def _values(file: str, _changed: int, _size: int) -> Mapping[str, str]:
    tree = _parsed(file)
    found: dict[str, str] = {}
    _gather(tree.body, "", found)
    times = Counter(name for node in ast.walk(tree) for name in _bound(node))
    return {name: digest for name, digest in found.items() if times[name.rpartition(".")[2]] == 1}


@lru_cache(maxsize=2000)
def _functions(file: str, _changed: int, _size: int) -> Mapping[str, WrittenFunction]:
    tree = _parsed(file)
    try:
        module = compile(tree, file, "exec", dont_inherit=True)
    except (SyntaxError, ValueError):
        return {}
    codes = list(_within(module))
    times = Counter(code.co_qualname for code in codes)
    defaults: dict[str, str | None] = {}
    _gather_defaults(tree.body, "", defaults)
    return {
        code.co_qualname: WrittenFunction(exact_digest(code), defaults.get(code.co_qualname))
        for code in codes
        if times[code.co_qualname] == 1
    }


def _gather_defaults(body: list[ast.stmt], prefix: str, found: dict[str, str | None]) -> None:
    for node in body:
        if isinstance(node, ast.ClassDef):
            _gather_defaults(node.body, f"{prefix}{node.name}.", found)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            arguments = node.args
            pairs = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
            try:
                values = tuple(ast.literal_eval(each) for each in arguments.defaults)
                keywords = {of.arg: ast.literal_eval(each) for of, each in pairs if each is not None}
            except _NO_LITERAL:
                continue
            found[prefix + node.name] = defaults_digest(values, keywords)


def _parsed(file: str) -> ast.Module:
    try:
        return ast.parse(Path(file).read_bytes())
    except (OSError, SyntaxError, ValueError):
        return ast.Module([], [])


def _gather(body: list[ast.stmt], prefix: str, found: dict[str, str]) -> None:
    for node in body:
        if isinstance(node, ast.ClassDef):
            _gather(node.body, f"{prefix}{node.name}.", found)
            continue
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            target, value = node.targets[0], node.value
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            target, value = node.target, node.value
        else:
            continue
        if isinstance(target, ast.Name):
            try:
                found[prefix + target.id] = exact_digest(ast.literal_eval(value))
            except _NO_LITERAL:
                continue


def _bound(node: ast.AST) -> Iterable[str]:
    """Names that a statement binds, wherever it is; names that functions may bind as globals are returned twice."""
    if isinstance(node, ast.Name) and isinstance(node.ctx, (ast.Store, ast.Del)):
        return (node.id,)
    if isinstance(node, (ast.Global, ast.Nonlocal)):
        return (*node.names, *node.names)
    return ()


def _within(code: CodeType) -> Iterator[CodeType]:
    for value in code.co_consts:
        if isinstance(value, CodeType):
            yield value
            yield from _within(value)
