"""Objects as bytes, by Ray's cloudpickle, and what that cannot write or does not bring up to date."""

from __future__ import annotations

import contextlib
import enum
import functools
import importlib
import io
import pickle
import sys
import types
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core.errors import InputError
from distfd.fingerprint.reach import OF_ENUM_MEMBERS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

_APART = 65_536
"""Bytes. Arrays of this size or more are not copied into the pickle, but stay beside it."""


@dataclass(frozen=True, eq=False)
class Pickled:
    """An object as bytes, with its large arrays beside them (pickle's protocol 5), where they need not be copied.

    Attributes
    ----------
    payload : bytes
    buffers : tuple of (NDArray[uint8], bool)
        The memory of each array, and whether that may be written to. They are the object's own until Ray has taken
        them.
    """

    payload: bytes = b""
    buffers: tuple[tuple[NDArray[np.uint8], bool], ...] = ()

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.payload) + sum(buffer.nbytes for buffer, _ in self.buffers)

    def load(self) -> Any:
        """The object again; its arrays are its own, and may be written to where the first ones might."""
        own = [bytearray(buffer) if writable else bytes(buffer) for buffer, writable in self.buffers]
        return pickle.loads(self.payload, buffers=own)  # noqa: S301  # from the driver, by Ray


def pickled(thing: object) -> Pickled:
    """Pickle as `pickled_bytes` does, but keep large arrays separate.

    Raises
    ------
    InputError
        If it cannot be pickled.
    """
    buffers: list[tuple[NDArray[np.uint8], bool]] = []

    def is_small(buffer: pickle.PickleBuffer) -> bool:
        with memoryview(buffer) as view:
            if view.nbytes < _APART or not view.contiguous:
                return True
        raw = buffer.raw()
        buffers.append((np.frombuffer(raw, dtype=np.uint8), not raw.readonly))
        return False

    return Pickled(pickled_bytes(thing, is_small), tuple(buffers))


def pickled_bytes(thing: object, in_band: Callable[[pickle.PickleBuffer], bool] | None = None) -> bytes:
    """Pickle by Ray's cloudpickle, which takes lambdas, notebook functions and classes by value.

    Parameters
    ----------
    thing : object
    in_band : callable, optional
        Whether a buffer is to be in the pickle (PEP 574's ``buffer_callback``); by default all are.

    Raises
    ------
    InputError
        If it cannot be pickled.
    """
    return _written(thing, pickler_class(), in_band)


def returned_bytes(thing: object) -> bytes:
    """Pickle what goes back to the driver, whose classes are its own.

    Raises
    ------
    InputError
        If it cannot be pickled.
    """
    from ray import cloudpickle

    return _written(thing, cloudpickle.Pickler, None)


def _written(thing: object, pickler: Any, in_band: Callable[[pickle.PickleBuffer], bool] | None) -> bytes:
    stream = io.BytesIO()
    _take_script_by_value()
    try:
        pickler(stream, buffer_callback=in_band).dump(thing)
    except Exception as error:  # pickling runs code of whatever is pickled
        raise InputError(
            f"J cannot be sent to another process: {type(error).__name__}: {error}; make what cannot travel (open "
            "files, locks, connections) inside J, or in a simulator's setup()"
        ) from error
    return stream.getvalue()


def _take_script_by_value() -> None:
    """Have what is defined in the script of a spawned process travel by value, as that of any other script does.

    multiprocessing gives the script another name there, by which no worker finds it.
    """
    script = sys.modules.get("__mp_main__")
    if script is not None and script.__name__ == "__mp_main__":
        from ray import cloudpickle

        cloudpickle.register_pickle_by_value(script)  # type: ignore[no-untyped-call]  # Ray lacks types


@functools.cache
def pickler_class() -> Any:
    """Ray's pickler, for what the driver sends to a worker.

    It takes `functools.lru_cache`, `functools.cached_property` (which has a lock before Python 3.12), modules of any
    class and weak dictionaries too (`functools.singledispatch` has one).
    Where a worker has read a class by value before, the class is brought up to date: cloudpickle leaves attributes that
    are gone.
    """
    from ray import cloudpickle

    class Pickler(cloudpickle.Pickler):
        def reducer_override(self, obj: Any) -> Any:
            if isinstance(obj, _LRU) and not _is_imported(obj):
                return _remembering, (obj.__wrapped__, obj.cache_parameters())
            if type(obj) is functools.cached_property:
                return _kept_property, (obj.func, obj.attrname)
            if isinstance(obj, (weakref.WeakKeyDictionary, weakref.WeakValueDictionary)):
                return type(obj), (dict(obj),)
            if _is_special_module(obj):
                return importlib.import_module, (obj.__name__,)
            reduced = super().reducer_override(obj)  # type: ignore[no-untyped-call]  # Ray's own lacks types
            if isinstance(obj, type) and isinstance(reduced, tuple) and len(reduced) == _WITH_SETTER:
                maker, made, state, _, _, setter = reduced
                return maker, made, (setter, state, _of_enum(obj)), None, None, _bring_up_to_date
            return reduced

    return Pickler


def _is_special_module(obj: Any) -> bool:
    """Whether this is a module of a class of its own, as mpmath's is: cloudpickle knows only Python's class."""
    if not isinstance(obj, types.ModuleType) or type(obj) is types.ModuleType:
        return False
    return sys.modules.get(obj.__name__) is obj and obj.__spec__ is not None


_LRU = type(functools.lru_cache(len))
_WITH_SETTER = 6
"""Parts of a recipe that says how the state is set."""
_set_before: weakref.WeakKeyDictionary[type, frozenset[str]] = weakref.WeakKeyDictionary()
"""Classes that were read by value here, and their attributes."""


def _is_imported(function: Any) -> bool:
    """Whether a function is found by its name in a module that other processes can import."""
    found: Any = sys.modules.get(function.__module__)
    if getattr(found, "__file__", None) is None or found.__name__ in ("__main__", "__mp_main__"):
        return False
    for name in function.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is function


def _remembering(function: Callable[..., Any], options: Mapping[str, Any]) -> Any:
    return functools.lru_cache(**options)(function)


def _kept_property(function: Callable[[Any], Any], name: str | None) -> functools.cached_property[Any]:
    made = functools.cached_property(function)
    made.attrname = name
    return made


def _of_enum(kind: type) -> dict[str, dict[str, Any]]:
    """What was set on the members of an enumeration beside their values."""
    if not issubclass(kind, enum.Enum):
        return {}
    return {member.name: _set_on(member) for member in kind}


def _set_on(member: enum.Enum) -> dict[str, Any]:
    return {name: value for name, value in vars(member).items() if name not in OF_ENUM_MEMBERS}


def _bring_up_to_date(kind: type, told: tuple[Callable[[type, Any], object], Any, dict[str, dict[str, Any]]]) -> None:
    """Give a class that was read the attributes that it has on the driver, and no others."""
    setter, state, members = told
    names = frozenset(state[0])
    for name in _set_before.get(kind, frozenset()) - names:
        with contextlib.suppress(AttributeError, TypeError):
            delattr(kind, name)
    setter(kind, state)
    _set_before[kind] = names
    if members and issubclass(kind, enum.Enum):
        for member in kind:
            for name in _set_on(member).keys() - members[member.name].keys():
                delattr(member, name)
            vars(member).update(members[member.name])
