"""Digests of members of the user's modules, so that two processes can compare their members one by one.

A member has an exact digest, which is equal wherever the member is equal. It takes some 50 us for each object in the
member. A member with many objects has a quick digest instead, of its pickle: if two quick digests are equal, so are the
members, but equal members may have different ones.
"""

from __future__ import annotations

import io
import pickle
import types
from functools import partial
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.fingerprint.anatomy import describe, installed
from distfd.fingerprint.array_digest import array_digest
from distfd.fingerprint.callables import attributes_of, closure_of
from distfd.fingerprint.fingerprint import fingerprint
from distfd.fingerprint.graph_digest import Anatomy, ModuleName, atom
from distfd.fingerprint.graph_digest import named as named_parts
from distfd.fingerprint.reads import Member, named

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST = 50_000
"""Largest number of objects in a member that is compared although pickle cannot write it: a few seconds."""
_QUICK = "quick "
"""Prefix of a quick digest."""


def digests(members: Mapping[Member, Any]) -> dict[Member, str]:
    """The digest of each member: the exact one, or a quick one where the exact one would take long."""
    return {
        member: _plain_digest(value) or _quick_digest(value) or exact_digest(value) for member, value in members.items()
    }


def digests_here(expected: Mapping[Member, str]) -> dict[Member, str | None]:
    """The digests of these members in this process, each of the same kind; None for members that do not exist here."""
    found: dict[Member, str | None] = {}
    for member, digest in expected.items():
        try:
            value = member.value()
        except (LookupError, TypeError):
            found[member] = None
            continue
        quick = _quick_digest(value) if digest.startswith(_QUICK) else None
        found[member] = quick or exact_digest(value)
    return found


def is_exact(digest: str) -> bool:
    """Whether a digest is exact, so that members whose digests differ are surely different."""
    return not digest.startswith(_QUICK)


def exact_digest(value: Any) -> str:
    """The exact digest of a member alone: functions and classes with a name of their own are included by name only.

    It is equal in two processes if the member is. Objects that the member reads by name are members themselves.
    """
    plain = _plain_digest(value)
    if plain is not None:
        return plain
    if isinstance(value, (staticmethod, classmethod)):
        value = value.__func__
    return fingerprint(value, anatomy=partial(by_name_anatomy, value), most=MOST).digest


def state_digest(obj: Any) -> str:
    """A digest of an object's state, comparable within this process only."""
    return _quick_digest(obj) or fingerprint(obj, anatomy=_quick, most=MOST).digest


def _plain_digest(value: Any) -> str | None:
    """A digest of numbers, texts and arrays, and containers of these; None for other objects."""
    found = _encoded(value)
    return None if found is None else blake2b(found, digest_size=16).hexdigest()


def _encoded(value: Any) -> bytes | None:
    simple = atom(value)
    if simple is not None:
        return b"%d:%b" % (len(simple), simple)
    kind = type(value)
    if kind is np.ndarray and not value.dtype.hasobject:
        return b"array" + array_digest(value)
    if kind in (list, tuple):
        parts = [_encoded(each) for each in value]
    elif kind is dict:
        parts = [_encoded(each) for pair in value.items() for each in pair]
    elif kind in (set, frozenset):
        parts = [_encoded(each) for each in value]
        if None not in parts:
            parts.sort()
    else:
        return None
    if None in parts:
        return None
    return b"%b %d[%b]" % (kind.__name__.encode(), len(parts), b"".join(parts))  # type: ignore[arg-type]  # narrowed


class _Pickler(pickle.Pickler):
    """A pickler that writes objects without bytes of their own by a description."""

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, types.ModuleType):
            return str, (obj.__name__,)
        return NotImplemented


def _quick_digest(value: Any) -> str | None:
    """A digest of the member's pickle; None if pickle cannot write it, or the exact digest is made as quickly."""
    if isinstance(value, (types.FunctionType, type, types.ModuleType, staticmethod, classmethod, property)):
        return None
    total = blake2b(digest_size=16)
    buffers: list[pickle.PickleBuffer] = []
    stream = io.BytesIO()
    try:
        _Pickler(stream, protocol=5, buffer_callback=buffers.append).dump(value)
        for buffer in buffers:
            total.update(array_digest(np.frombuffer(buffer.raw(), np.uint8)))
    except Exception:  # pickling runs code of the pickled objects
        return None
    total.update(stream.getbuffer())
    return _QUICK + total.hexdigest()


def by_name_anatomy(root: Any, obj: Any) -> Anatomy:
    """The parts of an object in a member: functions and classes with a name of their own, but the root, by name."""
    if isinstance(obj, (ModuleName, types.ModuleType)):
        return Anatomy(f"module {obj.name if isinstance(obj, ModuleName) else obj.__name__}".encode())
    # The members of a class are digested separately.
    by_name = isinstance(obj, type) or (isinstance(obj, types.FunctionType) and obj is not root)
    if by_name and (place := named(obj)) is not None:
        return Anatomy(f"named {place}".encode())
    if isinstance(obj, types.FunctionType):
        # Of a package by its name: a library that one process has imported may have marked it, as PyTorch marks Enum's.
        return installed(obj) or _function(obj)
    return _quick(obj)


def _quick(obj: Any) -> Anatomy:
    if type(obj) is np.ndarray and not obj.dtype.hasobject:
        return Anatomy(b"array " + array_digest(obj))
    if isinstance(obj, ModuleName):
        return Anatomy(f"module {obj.name}".encode())
    return describe(obj)


def _function(obj: types.FunctionType) -> Anatomy:
    """A function without what it reads by name."""
    parts: list[tuple[str, Any]] = [
        ("code", obj.__code__),
        ("defaults", obj.__defaults__),
        ("keyword defaults", obj.__kwdefaults__),
    ]
    parts += [(f"closure variable {k}", content) for k, content in enumerate(closure_of(obj).values())]
    return Anatomy(b"function", [*parts, *named_parts(attributes_of(obj), "attribute {!r}")])
