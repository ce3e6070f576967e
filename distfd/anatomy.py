"""What an object is made of, as far as the values that it computes can depend on it."""

from __future__ import annotations

import collections.abc
import copyreg
import enum
import functools
import logging
import os
import struct
import sys
import types
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.code_anatomy import code_label, constants, global_names, imports, used_names
from distfd.origins import imported_by, origin, source_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


@dataclass(frozen=True)
class Anatomy:
    """A label, and parts by the name of the place where they are.

    ``unstable`` says what the object is, where that cannot be told apart across processes.
    """

    label: bytes
    ordered: list[tuple[str, Any]] = field(default_factory=list)
    unordered: list[tuple[str, Any]] = field(default_factory=list)
    unstable: str | None = None


@dataclass(frozen=True)
class ModuleName:
    """A module by its name, loaded or not."""

    name: str


def atom(obj: object) -> bytes | None:
    """A number, text or the like as bytes; None for what has parts."""
    encode = _ATOMS.get(type(obj))
    return None if encode is None else type(obj).__name__.encode() + b":" + encode(obj)


_ATOMS: dict[type, Callable[[Any], bytes]] = {
    type(None): lambda _: b"",
    type(...): lambda _: b"",
    type(NotImplemented): lambda _: b"",
    bool: lambda obj: b"1" if obj else b"0",
    int: lambda obj: obj.to_bytes(obj.bit_length() // 8 + 1, "little", signed=True),
    # Bits: -0.0 is not 0.0, and a NaN is itself.
    float: lambda obj: struct.pack("<d", obj),
    complex: lambda obj: struct.pack("<2d", obj.real, obj.imag),
    str: lambda obj: obj.encode(errors="surrogatepass"),
    bytes: lambda obj: obj,
}


def describe(obj: object) -> Anatomy:
    """What ``obj`` is made of."""
    if isinstance(obj, ModuleName):
        return _module(obj.name)
    if isinstance(obj, types.ModuleType):
        return _module_object(obj)
    installed = _installed(obj)
    if installed is not None:
        return installed
    exact = _EXACT.get(type(obj))
    if exact is not None:
        return exact(obj)
    for kind, anatomy in _KINDS:
        if isinstance(obj, kind):
            return anatomy(obj)
    return _instance(obj)


def _installed(obj: object) -> Anatomy | None:
    """What an installed package gives by name is known by that name and the package's version."""
    module, name = getattr(obj, "__module__", None), getattr(obj, "__qualname__", None)
    if isinstance(obj, types.MethodType | types.BuiltinMethodType) and module is None:
        # random.gauss and numpy.random.normal are methods of an object that their module keeps.
        module, name = type(obj.__self__).__module__, obj.__name__
    elif isinstance(obj, types.MethodType):
        module, name = type(obj.__self__).__module__, obj.__name__
    if not isinstance(module, str) or not isinstance(name, str):
        return None
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    if found is not obj and not (type(found) is type(obj) is types.MethodType and found == obj):
        return None
    place = origin(module)
    if place is None or place.version is None:
        return None
    return Anatomy(f"installed {module} {name} {place.version}".encode())


def _module(name: str) -> Anatomy:
    place = origin(name)
    if place is None:
        return Anatomy(f"absent {name}".encode())
    if place.version is not None:
        return Anatomy(f"installed {name} {place.version}".encode())
    if place.file is None or not place.file.is_file():
        return Anatomy(f"local {name}".encode())
    parts = [(f"import {part}", ModuleName(part)) for part in imported_by(name, place.file)]
    return Anatomy(b"local module " + source_digest(place.file), parts)


def _module_object(obj: types.ModuleType) -> Anatomy:
    if origin(obj.__name__) is not None:
        return Anatomy(b"module", [("", ModuleName(obj.__name__))])
    # Made at run time: it is what is in it.
    names = {name: value for name, value in vars(obj).items() if not name.startswith("__")}
    return Anatomy(b"module", _named(names, "{}"))


def _function(obj: types.FunctionType) -> Anatomy:
    code = obj.__code__
    cells = [_cell(cell) for cell in obj.__closure__ or ()]
    parts: list[tuple[str, Any]] = [
        ("code", code),
        ("defaults", obj.__defaults__),
        ("keyword defaults", obj.__kwdefaults__),
        *((f"closure variable {name!r}", cell) for name, cell in zip(code.co_freevars, cells, strict=True)),
        *_named(vars(obj), "attribute {!r}"),
    ]
    module = obj.__globals__.get("__name__")
    place = origin(module) if isinstance(module, str) else None
    if place is not None and place.version is not None:
        # Made by an installed package: what it refers to there has that package's version.
        return Anatomy(f"installed function {place.name} {place.version}".encode(), parts)
    known = {name: obj.__globals__[name] for name in global_names(code) if name in obj.__globals__}
    parts += _named(known, "global {!r}")
    package = obj.__globals__.get("__package__") or ""
    parts += [(f"import {name}", ModuleName(name)) for name in imports(code, package)]
    seen: set[str] = set()
    for value in (*known.values(), *cells):
        if isinstance(value, types.ModuleType):
            parts += _attributes(value, used_names(code), seen)
    return Anatomy(b"function", parts)


def _attributes(module: types.ModuleType, names: frozenset[str], seen: set[str]) -> Iterator[tuple[str, Any]]:
    """What a function may read from a local module: its source alone does not tell what was set since."""
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


def _cell(cell: types.CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:
        return "a variable without a value"


def _code(obj: types.CodeType) -> Anatomy:
    return Anatomy(b"code " + code_label(obj), [("constant", value) for value in constants(obj)])


def _method(obj: types.MethodType) -> Anatomy:
    return Anatomy(b"method", [("its function", obj.__func__), ("its object", obj.__self__)])


# Made by Python or by libraries as they go, or without a part in what the class computes.
_NO_MEMBERS = frozenset(
    {"__module__", "__qualname__", "__doc__", "__dict__", "__weakref__", "__annotations__", "__annotate__"}
    | {"__annotate_func__", "__annotations_cache__", "__firstlineno__", "__static_attributes__", "__slotnames__"}
    | {"__abstractmethods__", "_abc_impl", "__parameters__"}
)


def _class(obj: type) -> Anatomy:
    label = b"class " + obj.__name__.encode()
    members = {k: v for k, v in vars(obj).items() if k not in _NO_MEMBERS and not k.startswith("__pydantic")}
    if issubclass(obj, enum.Enum):
        values = {member.name: member.value for member in obj}
        members = {k: v for k, v in members.items() if isinstance(v, types.FunctionType) and k not in values}
        members = {k: v for k, v in members.items() if not k.startswith("_")} | {f"={k}": v for k, v in values.items()}
    bases = [(f"base {base.__name__}", base) for base in (*obj.__bases__, type(obj)) if base not in (object, type)]
    return Anatomy(label, [*bases, *_named(members, "{}")])


def _sequence(obj: list[Any] | tuple[Any, ...]) -> Anatomy:
    label = type(obj).__name__.encode() + len(obj).to_bytes(8, "little")
    atoms = [atom(item) for item in obj]
    if all(item is not None for item in atoms):
        return Anatomy(label + b"".join(len(item).to_bytes(8, "little") + item for item in atoms if item is not None))
    return Anatomy(label, [(f"[{k}]", item) for k, item in enumerate(obj)])


def _set(obj: collections.abc.Set[Any]) -> Anatomy:
    own = [("type", type(obj)), ("state", getattr(obj, "__dict__", None))]
    return Anatomy(b"set", own, [("an element", item) for item in obj])


def _mapping(obj: Mapping[Any, Any]) -> Anatomy:
    if all(type(key) is str for key in obj):
        return Anatomy(b"dict", _named(obj, "[{!r}]"))
    return Anatomy(b"dict", [], [("an item", (key, value)) for key, value in obj.items()])


def _array(obj: np.ndarray[Any, Any]) -> Anatomy:
    label = f"array {obj.dtype.descr!r} {obj.shape}"
    own = [] if type(obj) is np.ndarray else [("type", type(obj))]
    if obj.dtype.hasobject:
        return Anatomy(label.encode(), [*own, ("elements", obj.ravel().tolist())])
    return Anatomy(label.encode() + obj.tobytes(), own)


def _scalar(obj: np.generic) -> Anatomy:
    return Anatomy(f"scalar {obj.dtype.descr!r}".encode() + obj.tobytes())


def _ufunc(obj: np.ufunc) -> Anatomy:
    # Only SciPy's besides: made by hand (numpy.frompyfunc), one hides the function in it.
    for module in ("numpy", "scipy.special"):
        place = origin(module)
        if place is not None and getattr(sys.modules.get(module), obj.__name__, None) is obj:
            return Anatomy(f"installed ufunc {module} {obj.__name__} {place.version}".encode())
    return Anatomy(b"ufunc", unstable=f"a numpy ufunc of your own ({obj.__name__})")


def _property(obj: property) -> Anatomy:
    return Anatomy(b"property", [("its getter", obj.fget), ("its setter", obj.fset), ("its deleter", obj.fdel)])


def _wrapper(obj: Any) -> Anatomy:
    return Anatomy(type(obj).__name__.encode(), [("its function", obj.__func__)])


def _descriptor(obj: Any) -> Anatomy:
    return Anatomy(f"descriptor {obj.__name__}".encode())


def _nothing(obj: object) -> Anatomy:
    """What has no part in a value: loggers, and the environment that `os` shows."""
    return Anatomy(f"a {type(obj).__qualname__}".encode())


# Subclasses of these may hold more: they are instances like others.
_EXACT: dict[type, Callable[[Any], Anatomy]] = {list: _sequence, tuple: _sequence, dict: _mapping}

_KINDS: tuple[tuple[Any, Callable[[Any], Anatomy]], ...] = (
    (types.FunctionType, _function),
    (types.CodeType, _code),
    (types.MethodType, _method),
    (type, _class),
    (collections.abc.Set, _set),
    (types.MappingProxyType, _mapping),
    (np.ndarray, _array),
    (np.generic, _scalar),
    (np.ufunc, _ufunc),
    (property, _property),
    ((staticmethod, classmethod), _wrapper),
    ((types.MemberDescriptorType, types.GetSetDescriptorType), _descriptor),
    (functools.cached_property, lambda obj: Anatomy(b"cached property", [("its function", obj.func)])),
    ((logging.Logger, logging.Handler, type(os.environ)), _nothing),
)


def _instance(obj: object) -> Anatomy:
    what = f"a {type(obj).__module__}.{type(obj).__qualname__}".replace("builtins.", "").replace("_io.", "")
    library = type(obj).__module__.partition(".")[0]
    if library == "numba" and hasattr(obj, "__wrapped__"):
        # A compiled function carries a number that is new in each process.
        return Anatomy(what.encode(), [("its function", obj.__wrapped__)])
    if library == "torch" and hasattr(obj, "detach"):
        return Anatomy(what.encode(), [("its elements", obj.detach().cpu().numpy())])
    if library in ("ray", "ctypes", "_ctypes"):
        return Anatomy(what.encode(), unstable=f"{what}, which is a handle")
    return _recipe(obj, what)


def _recipe(obj: object, what: str) -> Anatomy:
    """The function, arguments and state that would make the object again (PEP 307), of which no bytes are pickled."""
    own: Callable[[object], Any] | None = copyreg.dispatch_table.get(type(obj))
    try:
        made = obj.__reduce_ex__(4) if own is None else own(obj)
    except Exception as error:
        return Anatomy(what.encode(), unstable=f"{what} ({error})")
    if isinstance(made, str):
        module = getattr(obj, "__module__", None)
        parts: list[tuple[str, Any]] = [("its function", getattr(obj, "__wrapped__", None))]
        parts += [("its module", ModuleName(module))] if isinstance(module, str) and parts[0][1] is None else []
        return Anatomy(f"{what} named {made}".encode(), parts)
    function, arguments, state, items, pairs = (*made, None, None, None)[:5]
    parts = [("its maker", function), ("its arguments", arguments)]
    if type(state) is dict and all(type(name) is str for name in state):
        parts += _named(state, "attribute {!r}")
    else:
        parts.append(("its state", state))
    parts += [("its items", list(items))] if items is not None else []
    parts += [("its items", dict(pairs))] if pairs is not None else []
    return Anatomy(b"instance", parts)


def _named(members: Mapping[str, Any], phrase: str) -> list[tuple[str, Any]]:
    return [(phrase.format(name), members[name]) for name in sorted(members)]
