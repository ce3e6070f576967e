"""The parts of functions and classes."""

from __future__ import annotations

import enum
import types
from typing import TYPE_CHECKING, Any

from distfd.fingerprint.bytecode import code_label, constants, global_names, imports, used_names
from distfd.fingerprint.graph_digest import Anatomy, ModuleName, named
from distfd.fingerprint.module_origins import origin, recorded_name

if TYPE_CHECKING:
    import contextvars
    from collections.abc import Iterator, Sequence


def function(obj: types.FunctionType) -> Anatomy:
    """The parts of a function: its code, bound values, and the objects that the code names."""
    code = obj.__code__
    cells = closure_of(obj)
    parts: list[tuple[str, Any]] = [
        ("code", code),
        ("defaults", obj.__defaults__),
        ("keyword defaults", obj.__kwdefaults__),
        *((f"closure variable {name!r}", content) for name, content in cells.items()),
        *named(attributes_of(obj), "attribute {!r}"),
    ]
    module = obj.__globals__.get("__name__")
    place = origin(module) if isinstance(module, str) else None
    if place is not None and place.version is not None:
        # A function made by an installed package: the package's version covers what it refers to.
        return Anatomy(f"installed function {recorded_name(place.name)} {place.version}".encode(), parts)
    known = {name: obj.__globals__[name] for name in sorted(global_names(code)) if name in obj.__globals__}
    parts += named(known, "global {!r}")
    package = obj.__globals__.get("__package__") or ""
    parts += [(f"import {name}", ModuleName(name)) for name in imports(code, package)]
    seen: set[str] = set()
    for value in (*known.values(), *cells.values()):
        if isinstance(value, types.ModuleType):
            parts += _attributes(value, used_names(code), seen)
    return Anatomy(b"function", parts)


def _attributes(module: types.ModuleType, names: frozenset[str], seen: set[str]) -> Iterator[tuple[str, Any]]:
    """Attributes that a function may read from a local module: the source alone does not show later assignments."""
    place = origin(module.__name__)
    if module.__name__ in seen or place is None or place.version is not None:
        return
    seen.add(module.__name__)
    for name in sorted(names & vars(module).keys()):
        value = vars(module)[name]
        if isinstance(value, types.ModuleType):
            yield from _attributes(value, names, seen)
        elif not name.startswith("__"):
            yield f"{module.__name__}.{name}", value


def closure_of(function: types.FunctionType) -> dict[str, Any]:
    """What the variables of a function's closure hold, by name; without those that `functools` remembers in."""
    names, cells = function.__code__.co_freevars, function.__closure__ or ()
    left_out = _left_out(function)
    return {name: _content(cell) for name, cell in zip(names, cells, strict=True) if name not in left_out}


def attributes_of(function: types.FunctionType) -> dict[str, Any]:
    """The attributes of a function; without those by which `functools` forgets."""
    left_out = _left_out(function)
    return {name: value for name, value in vars(function).items() if name not in left_out}


def _left_out(function: types.FunctionType) -> Sequence[str]:
    return _REMEMBERED if function.__globals__.get("__name__") == "functools" else ()


_REMEMBERED = ("dispatch_cache", "cache_token", "_clear_cache")
"""Of `functools.singledispatch`: which function it took for types that it has seen."""


def _content(cell: types.CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:
        return "a variable without a value"


def context_value(variable: contextvars.ContextVar[Any]) -> tuple[Any, ...]:
    """The value that a variable has in this context, or nothing."""
    try:
        return (variable.get(),)
    except LookupError:
        return ()


def context_variable(obj: contextvars.ContextVar[Any]) -> Anatomy:
    """A variable of contexts, with the value that it has in this one."""
    return Anatomy(b"context variable " + obj.name.encode(), [("its value", context_value(obj))])


def code(obj: types.CodeType) -> Anatomy:
    """The parts of bytecode: its instructions and constants."""
    return Anatomy(b"code " + code_label(obj), [("constant", value) for value in constants(obj)])


def method(obj: types.MethodType) -> Anatomy:
    """The parts of a bound method."""
    return Anatomy(b"method", [("its function", obj.__func__), ("its object", obj.__self__)])


# Members that Python or libraries add at run time, or that do not affect what the class computes.
_NO_MEMBERS = frozenset(
    {"__module__", "__qualname__", "__doc__", "__dict__", "__weakref__", "__annotations__", "__annotate__"}
    | {"__annotate_func__", "__annotations_cache__", "__firstlineno__", "__static_attributes__", "__slotnames__"}
    | {"__abstractmethods__", "_abc_impl", "__parameters__"}
)


def local_class(obj: type) -> Anatomy:
    """The parts of a class that is in no installed package: its bases and members."""
    label = b"class " + obj.__name__.encode()
    members = {k: v for k, v in vars(obj).items() if k not in _NO_MEMBERS and not k.startswith("__pydantic")}
    if issubclass(obj, enum.Enum):
        values = {member.name: member.value for member in obj}
        kinds = (types.FunctionType, staticmethod, classmethod, property)
        members = {k: v for k, v in members.items() if isinstance(v, kinds)} | {f"={k}": v for k, v in values.items()}
    bases = [(f"base {base.__name__}", base) for base in (*obj.__bases__, type(obj)) if base not in (object, type)]
    return Anatomy(label, [*bases, *named(members, "{}")])


def property_anatomy(obj: property) -> Anatomy:
    """The parts of a property."""
    return Anatomy(b"property", [("its getter", obj.fget), ("its setter", obj.fset), ("its deleter", obj.fdel)])


def wrapper(obj: Any) -> Anatomy:
    """The parts of a staticmethod or classmethod."""
    return Anatomy(type(obj).__name__.encode(), [("its function", obj.__func__)])


def descriptor(obj: Any) -> Anatomy:
    """The parts of a slot descriptor."""
    return Anatomy(f"descriptor {obj.__name__}".encode())
