"""The content of bytecode and the names that it refers to, independent of line numbers."""

from __future__ import annotations

import dis
from functools import lru_cache
from types import CodeType
from typing import TYPE_CHECKING

from distfd.fingerprint.module_origins import resolve

if TYPE_CHECKING:
    from collections.abc import Iterator


def code_label(code: CodeType) -> bytes:
    """Everything in a code object except its constants, its name, and its place in the source."""
    names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
    fields = [
        code.co_code,
        code.co_exceptiontable,
        repr(names).encode(errors="backslashreplace"),
        repr(counts).encode(),
    ]
    return b"".join(len(part).to_bytes(8, "little") + part for part in fields)


def constants(code: CodeType) -> tuple[object, ...]:
    """The constants, without two that Python 3.13 adds to class bodies and that do not affect values."""
    if "__firstlineno__" not in code.co_names:
        return code.co_consts
    return tuple(
        # The class's line, and a tuple of names whose order depends on the hash seed.
        "line"
        if value == code.co_firstlineno and type(value) is int
        else frozenset(value)
        if _is_names(value)
        else value
        for value in code.co_consts
    )


@lru_cache(maxsize=20_000)
def global_names(code: CodeType) -> frozenset[str]:
    """Names that the code, or code within it, reads as globals."""
    reads = {"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"}
    return frozenset(i.argval for part in _within(code) for i in dis.get_instructions(part) if i.opname in reads)


@lru_cache(maxsize=20_000)  # the result depends on the code object only
def used_names(code: CodeType) -> frozenset[str]:
    """All names in the code and in nested code, including names of attributes."""
    return frozenset(name for part in _within(code) for name in part.co_names)


@lru_cache(maxsize=20_000)
def text_constants(code: CodeType) -> frozenset[str]:
    """Texts in the code, and in tuples of constants, by which it may look for a name: getattr(module, "K")."""
    found: set[str] = set()
    for part in _within(code):
        for value in part.co_consts:
            found.update(
                each for each in (value if type(value) in (tuple, frozenset) else (value,)) if type(each) is str
            )
    return frozenset(text for text in found if all(map(str.isidentifier, text.split("."))))


def imports(code: CodeType, package: str) -> list[str]:
    """Full names of the modules that the code imports when it runs."""
    found: set[str] = set()
    for name, level, names in import_statements(code):
        found.update(resolve(name, level, names, package))
    return sorted(found)


@lru_cache(maxsize=20_000)
def import_statements(code: CodeType) -> tuple[tuple[str, int, tuple[str, ...]], ...]:
    """The module, level and names of each import in the code."""
    found = []
    for part in _within(code):
        steps = list(dis.get_instructions(part))
        for k, step in enumerate(steps):
            if step.opname == "IMPORT_NAME":
                # The two preceding constants are the level and the names of the import.
                found.append((step.argval, steps[k - 2].argval, tuple(steps[k - 1].argval or ())))
    return tuple(found)


def _within(code: CodeType) -> Iterator[CodeType]:
    yield code
    for value in code.co_consts:
        if isinstance(value, CodeType):
            yield from _within(value)


def _is_names(value: object) -> bool:
    return isinstance(value, tuple) and all(isinstance(name, str) for name in value)
