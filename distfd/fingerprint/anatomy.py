"""The parts of an object that the values it computes may depend on."""

from __future__ import annotations

import collections.abc
import contextvars
import copyreg
import functools
import logging
import os
import sys
import types
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.fingerprint.callables import (
    code,
    context_variable,
    descriptor,
    function,
    local_class,
    method,
    property_anatomy,
    wrapper,
)
from distfd.fingerprint.graph_digest import Anatomy, ModuleName, atom, named
from distfd.fingerprint.module_origins import imported_by, origin, recorded_name, source_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


def describe(obj: object) -> Anatomy:
    """The parts of ``obj``."""
    if isinstance(obj, ModuleName):
        return _module(obj.name)
    if isinstance(obj, types.ModuleType):
        return _module_object(obj)
    by_name = installed(obj)
    if by_name is not None:
        return by_name
    exact = _EXACT.get(type(obj))
    if exact is not None:
        return exact(obj)
    for kind, anatomy in _KINDS:
        if isinstance(obj, kind):
            return anatomy(obj)
    return _instance(obj)


def installed(obj: object) -> Anatomy | None:
    """The name and package version, for objects that an installed package provides under a name; else None."""
    try:
        module, name = getattr(obj, "__module__", None), getattr(obj, "__qualname__", None)
    except Exception:
        # An object may claim attributes that it does not have.
        return None
    if isinstance(obj, types.MethodType | types.BuiltinMethodType) and module is None:
        # random.gauss and numpy.random.normal are methods of an object in their module.
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
    return Anatomy(f"installed {recorded_name(module)} {name} {place.version}".encode())


def _module(name: str) -> Anatomy:
    place = origin(name)
    if place is None:
        return Anatomy(f"absent {name}".encode())
    if place.version is not None:
        return Anatomy(f"installed {recorded_name(name)} {place.version}".encode())
    if place.file is None or not place.file.is_file():
        return Anatomy(f"local {name}".encode())
    parts = [(f"import {part}", ModuleName(part)) for part in imported_by(name, place.file)]
    return Anatomy(b"local module " + source_digest(place.file), parts)


def _module_object(obj: types.ModuleType) -> Anatomy:
    if origin(obj.__name__) is not None:
        return Anatomy(b"module", [("", ModuleName(obj.__name__))])
    # A module made at run time: its content counts.
    names = {name: value for name, value in vars(obj).items() if not name.startswith("__")}
    return Anatomy(b"module", named(names, "{}"))


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
    keys = list(obj)
    if all(type(key) is str for key in keys):
        return Anatomy(b"dict" + _order(keys), named(obj, "[{!r}]"))
    items = [("an item", (key, value)) for key, value in obj.items()]
    atoms = [atom(key) for key in keys]
    if None in atoms:
        return Anatomy(b"dict", items)
    return Anatomy(b"dict" + _order(atoms), [], items)


def _order(keys: Sequence[Any]) -> bytes:
    """The order of a dict's keys: code may go through them in it. Empty where they are sorted."""
    ranks = sorted(range(len(keys)), key=keys.__getitem__)
    return b"" if ranks == list(range(len(keys))) else b" in the order " + np.array(ranks, dtype="<i8").tobytes()


_LARGE = 65_536
"""Size in bytes from which an array is digested without a copy."""


def _array(obj: np.ndarray[Any, Any]) -> Anatomy:
    label = f"array {obj.dtype.descr!r} {obj.shape}"
    own = [] if type(obj) is np.ndarray else [("type", type(obj))]
    if obj.dtype.hasobject:
        return Anatomy(label.encode(), [*own, ("elements", obj.ravel().tolist())])
    if type(obj) is np.ndarray and obj.flags.c_contiguous and obj.nbytes >= _LARGE:
        return Anatomy((label.encode(), obj.reshape(-1).view(np.uint8).data))
    return Anatomy(label.encode() + obj.tobytes(), own)


def _scalar(obj: np.generic) -> Anatomy:
    return Anatomy(f"scalar {obj.dtype.descr!r}".encode() + obj.tobytes())


def _ufunc(obj: np.ufunc) -> Anatomy:
    # Only ufuncs of NumPy and SciPy: one made with numpy.frompyfunc hides a Python function.
    for module in ("numpy", "scipy.special"):
        place = origin(module)
        if place is not None and getattr(sys.modules.get(module), obj.__name__, None) is obj:
            return Anatomy(f"installed ufunc {module} {obj.__name__} {place.version}".encode())
    return Anatomy(b"ufunc", unstable=f"a numpy ufunc of your own ({obj.__name__})")


def _nothing(obj: object) -> Anatomy:
    """No parts: for objects that do not affect values, such as loggers, and the environment in `os`."""
    return Anatomy(f"a {type(obj).__qualname__}".encode())


# Exact types only: subclasses may hold more, and are treated like other instances.
_EXACT: dict[type, Callable[[Any], Anatomy]] = {list: _sequence, tuple: _sequence, dict: _mapping}

_KINDS: tuple[tuple[Any, Callable[[Any], Anatomy]], ...] = (
    (types.FunctionType, function),
    (types.CodeType, code),
    (types.MethodType, method),
    (type, local_class),
    (collections.abc.Set, _set),
    (types.MappingProxyType, _mapping),
    (np.ndarray, _array),
    (np.generic, _scalar),
    (np.ufunc, _ufunc),
    (property, property_anatomy),
    (contextvars.ContextVar, context_variable),
    ((staticmethod, classmethod), wrapper),
    ((types.MemberDescriptorType, types.GetSetDescriptorType), descriptor),
    (functools.cached_property, lambda obj: Anatomy(b"cached property", [("its function", obj.func)])),
    ((logging.Logger, logging.Handler, type(os.environ)), _nothing),
)


def _instance(obj: object) -> Anatomy:
    what = f"a {type(obj).__module__}.{type(obj).__qualname__}".replace("builtins.", "").replace("_io.", "")
    library = type(obj).__module__.partition(".")[0]
    if library == "numba" and hasattr(obj, "__wrapped__"):
        # A compiled function contains a number that differs in each process, so use the function in it.
        return Anatomy(what.encode(), [("its function", obj.__wrapped__)])
    if library == "torch" and hasattr(obj, "detach"):
        return Anatomy(what.encode(), [("its elements", obj.detach().cpu().numpy())])
    if library in ("ray", "ctypes", "_ctypes"):
        return Anatomy(what.encode(), unstable=f"{what}, which is a handle")
    return _recipe(obj, what)


def _recipe(obj: object, what: str) -> Anatomy:
    """The function, arguments and state that would recreate the object (PEP 307), without pickling to bytes."""
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
        parts += named(state, "attribute {!r}")
    else:
        parts.append(("its state", state))
    parts += [("its items", list(items))] if items is not None else []
    parts += [("its items", dict(pairs))] if pairs is not None else []
    return Anatomy(b"instance" + (_order(list(state or ())) if isinstance(obj, types.SimpleNamespace) else b""), parts)
