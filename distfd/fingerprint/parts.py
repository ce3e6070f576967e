"""The form in which an object is taken apart."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


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


def named(members: Mapping[str, Any], phrase: str) -> list[tuple[str, Any]]:
    """Parts in the order of their names; ``phrase`` says what a name is the name of."""
    return [(phrase.format(name), members[name]) for name in sorted(members)]
