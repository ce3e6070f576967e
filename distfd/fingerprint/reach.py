"""Finds all objects that J can reach in this process: by arguments, closures, attributes, and names in functions."""

from __future__ import annotations

import array
import collections
import contextlib
import contextvars
import datetime as dt
import decimal
import enum
import fractions
import functools
import io
import logging
import mmap
import pathlib
import re
import sys
import threading
import types
import uuid
import weakref
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np

from distfd.fingerprint.array_digest import array_digest
from distfd.fingerprint.callables import attributes_of, closure_of, context_value
from distfd.fingerprint.members import state_digest
from distfd.fingerprint.reads import Member, function_reads, is_local, named, names_and_texts, names_in, sees_less

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

_MOST = 500_000
"""Limit on the number of objects, without numbers and texts: some seconds. Objects beyond the limit are not seen."""

_IMMUTABLE = (
    *(type(None), bool, int, float, complex, str, bytes, range, slice, type(...), type(NotImplemented)),
    *(np.generic, np.dtype, np.ufunc, decimal.Decimal, fractions.Fraction, pathlib.PurePath, re.Pattern, uuid.UUID),
    *(dt.date, dt.time, dt.timedelta, dt.tzinfo),
    *(types.CodeType, types.GenericAlias, types.UnionType, types.MemberDescriptorType, types.GetSetDescriptorType),
    *(types.WrapperDescriptorType, types.MethodDescriptorType, types.ClassMethodDescriptorType),
)
_HANDLES = (
    *(logging.Logger, logging.Handler, io.IOBase, threading.Thread, type(threading.Lock()), type(threading.RLock())),
    *(threading.local, weakref.ref, types.GeneratorType, types.FrameType, types.TracebackType),
)
"""Types of objects that belong to their process and hold nothing that a value is computed from."""
_OWN = tuple(
    f"distfd.{package}."
    for package in ("evaluation", "executors", "stores", "observers", "scheduling", "jobs", "run_directory", "results")
)
"""Packages of distfd whose objects J may hold because they evaluate J; no value is computed from them."""
_PLAIN_DATA = frozenset({type(None), bool, int, float, complex, str, bytes})
_BUILT_IN = frozenset({list, tuple, dict, set, frozenset, np.ndarray, functools.partial, collections.deque})
_NOT_IN_VALUES = frozenset(
    {"__module__", "__qualname__", "__doc__", "__dict__", "__weakref__", "__annotations__", "__slotnames__"}
    | {"__abstractmethods__", "_abc_impl", "__parameters__", "__annotate__", "__annotate_func__"}
    | {"__annotations_cache__", "__firstlineno__", "__static_attributes__", "__match_args__"}
)
"""Members of classes that Python adds itself, or that no value is computed from."""

Parts: TypeAlias = "Callable[[Any], Sequence[Any]]"
"""Reads the parts of an object."""


_T = TypeVar("_T")


def _once_for_a_type(function: Callable[[type], _T]) -> Callable[[type], _T]:
    """Caches a function of a type for as long as the type exists: a type may hold a lot of data."""
    known: weakref.WeakKeyDictionary[type, _T] = weakref.WeakKeyDictionary()

    def look(kind: type) -> _T:
        try:
            return known[kind]
        except KeyError:
            found = known[kind] = function(kind)
            return found

    return look


class Reach:
    """A walk over all that J can reach.

    Parameters
    ----------
    roots : iterable
        The objects that J consists of: a callable and its arguments.
    imports : bool
        Whether to go on to modules that functions import when they run, look for by a text, or are given as objects;
        without, the members are those that a fingerprint sees.

    Attributes
    ----------
    members : dict
        `Member` of a local module or class -> its value: what is read there by name by functions that other processes
        import too. What a function reads that is pickled itself, as a lambda is, travels with it.
    sees_more : bool
        Whether there may be members that a fingerprint does not see.
    """

    def __init__(self, roots: Iterable[Any], *, imports: bool = True) -> None:
        self.members: dict[Member, Any] = {}
        self.sees_more = False
        self._imports = imports
        self._names: set[str] = set()
        """All names by which the functions that are reached may read a module that they are given."""
        self._modules: dict[types.ModuleType, set[str]] = {}
        """Local modules that are held as objects, and those of their names that have been reached."""
        self._imported = False
        """Whether the visited object is part of a module, which other processes import themselves."""
        self._seen: dict[int, tuple[bool, Any]] = {}
        """Visited objects by id; they are kept alive so that no id is used twice."""
        self._waiting: list[tuple[bool, Any]] = [(False, root) for root in roots]
        while (self._waiting or self._go_on_to_modules()) and len(self._seen) < _MOST:
            self._imported, obj = self._waiting.pop()
            kind: type = type(obj)
            visit = _visit_of(kind)
            if visit is not None and self._seen.get(id(obj), (None,))[0] not in (True, self._imported):
                self._seen[id(obj)] = self._imported, obj
                with contextlib.suppress(Exception):  # reading attributes of a foreign object may run any code
                    visit(self, obj)
        self._waiting.clear()

    def note_parts(self, obj: Any, read: Parts, parts: Sequence[Any]) -> None:
        """Called for an object with these parts; ``read`` returns them again."""

    def note_digest(self, obj: Any, digest: Callable[[Any], Any]) -> None:
        """Called for an object whose parts cannot be examined, but which has this digest."""

    def add(self, found: Iterable[Any]) -> None:
        """Marks objects as reached."""
        self._waiting += [(self._imported, each) for each in found if type(each) not in _PLAIN_DATA]

    def parts(self, obj: Any, read: Parts) -> None:
        """Marks an object's parts as reached."""
        found = read(obj)
        self.note_parts(obj, read, found)
        self.add(found)

    def attributes(self, obj: Any) -> None:
        """Visits the attributes of an instance of a class written in Python."""
        kind: type = type(obj)
        if kind in _BUILT_IN:
            return
        self.add((kind,))
        state = getattr(obj, "__dict__", None)
        if type(state) is dict:
            self.parts(state, _items)
        slots = _slots(kind)
        if slots is not None:
            self.parts(obj, slots)

    def function(self, obj: types.FunctionType) -> None:
        """Visits a function: its code, bound values, and what it reads by name."""
        place = named(obj)
        if place is not None:
            self.members[place] = obj
            self._imported = True
        self._parts_but_modules(obj, _function_parts)
        self.parts(obj, _function_attributes)
        module = obj.__globals__.get("__name__")
        own = is_local(module)
        if not own and module != "__main__" and not _made_up(obj):
            return  # of an installed package: known by its version
        self.sees_more |= sees_less(obj)
        self._names |= names_and_texts(obj)
        imported = self._imported
        for of, there, names in function_reads(obj, imports=self._imports):
            self.sees_more |= "__getattr__" in names
            self._imported = imported or of is not None
            self._parts_but_modules(there, _Named(tuple(names)))
            if of is not None or (own and imported):
                where = str(module) if of is None else of.__name__
                self.members.update((Member(where, name), there[name]) for name in names)

    def _parts_but_modules(self, obj: Any, read: Parts) -> None:
        """Parts of which what is read of modules is known from the names beside them."""
        found = read(obj)
        self.note_parts(obj, read, found)
        self.add(each for each in found if not isinstance(each, types.ModuleType))

    def module(self, obj: types.ModuleType) -> None:
        """A module that is an argument, an attribute or an element: any function may be the one that reads it."""
        if self._imports and is_local(obj.__name__):
            self.sees_more = True
            self._modules.setdefault(obj, set())

    def _go_on_to_modules(self) -> bool:
        """Reach what functions may read of modules that they are given; False where there is nothing new."""
        self._imported = True
        for module, known in self._modules.items():
            names = [name for name in names_in(module, self._names) if name not in known]
            known.update(names)
            self.members.update((Member(module.__name__, name), vars(module)[name]) for name in names)
            if names:
                self._parts_but_modules(vars(module), _Named(tuple(names)))
        return bool(self._waiting)

    def class_(self, obj: type) -> None:
        """Visits a class: its bases and members."""
        if not is_local(obj.__module__) and obj.__module__ != "__main__" and not _made_up(obj):
            return
        place = named(obj)
        self._imported |= place is not None
        self.parts(obj, _class_parts)
        self.add((*obj.__bases__, type(obj)))
        if place is not None:
            members = {name: value for name, value in vars(obj).items() if name not in _NOT_IN_VALUES}
            self.members.update((Member(place.module, f"{place.name}.{name}"), v) for name, v in members.items())

    def method(self, obj: types.MethodType) -> None:
        """Visits a bound method."""
        self.add((obj.__func__, obj.__self__))

    def builtin(self, obj: types.BuiltinMethodType) -> None:
        """Visits a function of C, or a method of an object implemented in C."""
        if not isinstance(obj.__self__, types.ModuleType):
            self.add((obj.__self__,))

    def mapping(self, obj: Mapping[Any, Any]) -> None:
        """Visits a dictionary."""
        self.parts(obj, _items)
        self.attributes(obj)

    def sequence(self, obj: Any) -> None:
        """Visits a list."""
        self.parts(obj, tuple)
        self.attributes(obj)

    def fixed(self, obj: Iterable[Any]) -> None:
        """Visits a tuple."""
        self.add(obj)
        self.attributes(obj)

    def set_(self, obj: set[Any]) -> None:
        """Visits a set."""
        self.parts(obj, tuple)
        self.attributes(obj)

    def array(self, obj: np.ndarray[Any, Any]) -> None:
        """Visits an array."""
        if obj.dtype.hasobject:
            self.parts(obj, _elements)
        elif not _read_only(obj):
            self.note_digest(obj, array_digest)
        self.attributes(obj)

    def context_variable(self, obj: contextvars.ContextVar[Any]) -> None:
        """A variable of contexts, of which the value in this one counts."""
        self.parts(obj, context_value)

    def buffer(self, obj: Any) -> None:
        """Visits mutable bytes."""
        self.note_digest(obj, _buffer_digest)

    def partial(self, obj: functools.partial[Any]) -> None:
        """Visits a partial: a function with some of its arguments."""
        self.parts(obj, _partial_parts)
        self.attributes(obj)

    def wrapper(self, obj: Any) -> None:
        """Visits a property, or a static or class method."""
        self.add(getattr(obj, name, None) for name in ("__func__", "fget", "fset", "fdel", "func"))

    def cached(self, obj: Any) -> None:
        """Visits a function with a cache; the cached values are not visited."""
        self.add((obj.__wrapped__,))

    def instance(self, obj: Any) -> None:
        """Visits an instance of any other class."""
        kind: type = type(obj)
        self.add((kind,))
        if isinstance(obj, enum.Enum):
            self.enum_member(obj)
            return
        if _plain(kind):
            self.attributes(obj)
        else:
            self.note_digest(obj, state_digest)
            self.add((getattr(obj, "__wrapped__", None),))

    def enum_member(self, obj: enum.Enum) -> None:
        """A member of an enumeration, which travels by its name: what somebody has set on it does not."""
        self.parts(vars(obj), _items)
        place = named(type(obj))
        if place is not None and self._imports:
            own = {name: value for name, value in vars(obj).items() if name not in OF_ENUM_MEMBERS}
            path = f"{place.name}.{obj.name}"
            self.members.update((Member(place.module, f"{path}.{name}"), value) for name, value in own.items())
            self.sees_more |= bool(own)


OF_ENUM_MEMBERS = frozenset({"_value_", "_name_", "__objclass__", "_sort_order_"})
"""What Python itself keeps in each member of an enumeration."""


_Visit: TypeAlias = "Callable[[Reach, Any], None]"
_VISITS: tuple[tuple[Any, _Visit | None], ...] = (
    (types.FunctionType, Reach.function),
    (types.MethodType, Reach.method),
    (types.BuiltinMethodType, Reach.builtin),
    (types.ModuleType, Reach.module),
    (type, Reach.class_),
    ((dict, types.MappingProxyType), Reach.mapping),
    ((list, collections.deque), Reach.sequence),
    ((tuple, frozenset), Reach.fixed),
    (set, Reach.set_),
    (np.ndarray, Reach.array),
    ((bytearray, memoryview, array.array, mmap.mmap), Reach.buffer),
    (functools.partial, Reach.partial),
    (contextvars.ContextVar, Reach.context_variable),
    ((staticmethod, classmethod, property, functools.cached_property, functools.partialmethod), Reach.wrapper),
    (type(functools.lru_cache(len)), Reach.cached),
)


@_once_for_a_type
def _visit_of(kind: type) -> _Visit | None:
    """The function that visits instances of a type; None where there is nothing to visit."""
    if issubclass(kind, (*_IMMUTABLE, *_HANDLES)) or str(kind.__module__).startswith(_OWN):
        return None
    return next((visit for each, visit in _VISITS if issubclass(kind, each)), Reach.instance)


MISSING = object()
"""Stands for a value that does not exist."""


def _items(obj: Mapping[Any, Any]) -> list[Any]:
    return [*obj, *obj.values()]


class _Named:
    """Reads certain names of a namespace."""

    __slots__ = ("_names",)

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names

    def __call__(self, there: Mapping[str, Any]) -> list[Any]:
        return [there.get(name, MISSING) for name in self._names]


def _class_parts(obj: type) -> list[Any]:
    members = vars(obj)
    names = [name for name in members if name not in _NOT_IN_VALUES]
    return [*names, *(members[name] for name in names), *obj.__bases__]


def _function_parts(obj: types.FunctionType) -> list[Any]:
    return [obj.__code__, obj.__defaults__, obj.__kwdefaults__, *closure_of(obj).values()]


def _function_attributes(obj: types.FunctionType) -> list[Any]:
    return _items(attributes_of(obj))


def _partial_parts(obj: functools.partial[Any]) -> list[Any]:
    return [obj.func, obj.args, obj.keywords]


def _elements(obj: np.ndarray[Any, Any]) -> list[Any]:
    found: list[Any] = obj.ravel().tolist()
    return found


def _made_up(obj: Any) -> bool:
    """Whether an object belongs to no importable module: it was typed in, or made at run time."""
    module = sys.modules.get(getattr(obj, "__module__", None) or "")
    return module is None or (getattr(module, "__file__", None) is None and getattr(module, "__spec__", None) is None)


def _read_only(obj: Any) -> bool:
    """Whether nobody can write to an array, nor to the memory that it views."""
    while isinstance(obj, np.ndarray):
        if obj.flags.writeable:
            return False
        obj = obj.base
    return obj is None or isinstance(obj, bytes)


def _buffer_digest(obj: Any) -> Any:
    view = memoryview(obj)
    flat = view.cast("B") if view.contiguous else view.tobytes()
    return view.format, view.shape, array_digest(np.frombuffer(flat, np.uint8))


_MADE_BY_CLASS_STATEMENT = 1 << 9
"""A flag of types: the type was made while the program ran."""


@_once_for_a_type
def _plain(kind: type) -> bool:
    """Whether an instance's state is entirely in its ``__dict__`` and ``__slots__``."""
    for each in kind.__mro__[:-1]:
        members = vars(each)
        if "__dict__" in members or "__slots__" in members:
            continue
        # A class statement does not add a __dict__ if a base class has one.
        if not each.__flags__ & _MADE_BY_CLASS_STATEMENT:
            return False
        if not any("__dict__" in vars(base) for base in each.__mro__[1:-1]):
            return False
    return kind is not object


@_once_for_a_type
def _slots(kind: type) -> Parts | None:
    """A function that reads the values of an instance's ``__slots__``; None if its class has none."""
    slots = [
        value
        for each in kind.__mro__[:-1]
        if "__slots__" in vars(each)
        for value in vars(each).values()
        if isinstance(value, types.MemberDescriptorType)
    ]

    def read(obj: Any) -> list[Any]:
        values = []
        for slot in slots:
            try:
                values.append(slot.__get__(obj))
            except AttributeError:
                values.append(MISSING)
        return values

    return read if slots else None
