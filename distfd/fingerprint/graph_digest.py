"""A digest of a labelled graph that has cycles, and parts without an order."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    Label: TypeAlias = bytes | tuple[bytes, memoryview]
    """Bytes, or bytes followed by the memory of a large array, which is not copied."""


@dataclass
class Node:
    """A label, with ordered and unordered children, given by their numbers.

    ``ordered`` holds (name of the edge, child).
    """

    label: Label
    ordered: list[tuple[str, int]] = field(default_factory=list)
    unordered: list[int] = field(default_factory=list)

    @property
    def children(self) -> list[int]:
        """All children."""
        return [child for _, child in self.ordered] + self.unordered


def graph_digest(nodes: Sequence[Node]) -> bytes:
    """Digest, 16 bytes, of all that is reached from node 0.

    Graphs that unfold to equal trees have equal digests, whatever the numbers of their nodes. Children are digested
    first; the nodes of a cycle are digested together, by colour refinement (Weisfeiler & Leman 1968).
    """
    digests: dict[int, bytes] = {}
    for component in _components(nodes):
        if len(component) == 1 and component[0] not in nodes[component[0]].children:
            digests[component[0]] = _combine(nodes[component[0]], digests)
        else:
            digests.update(_refine(nodes, component, digests))
    return digests[0]


def _combine(node: Node, digests: dict[int, bytes]) -> bytes:
    parts: list[Label] = [node.label]
    for name, child in node.ordered:
        parts += (name.encode(errors="surrogatepass"), digests[child])
    parts.append(b"")
    parts += sorted(digests[child] for child in node.unordered)
    return _hash(parts)


def _refine(nodes: Sequence[Node], component: list[int], digests: dict[int, bytes]) -> dict[int, bytes]:
    colours = {number: _hash([nodes[number].label]) for number in component}
    distinct = 0
    # Each round separates more nodes than the last, until no more can be separated.
    while len(set(colours.values())) > distinct:
        distinct = len(set(colours.values()))
        known = {**_outside(nodes, component, digests), **colours}
        colours = {number: _combine(nodes[number], known) for number in component}
    everything = sorted(set(colours.values()))
    return {number: _hash([colour, *everything]) for number, colour in colours.items()}


def _outside(nodes: Sequence[Node], component: list[int], digests: dict[int, bytes]) -> dict[int, bytes]:
    return {child: digests[child] for number in component for child in nodes[number].children if child in digests}


def _hash(parts: Sequence[Label]) -> bytes:
    digest = blake2b(digest_size=16)
    for part in parts:
        pieces = part if isinstance(part, tuple) else (part,)
        # Start with the length, so that different lists of parts never give the same bytes.
        digest.update(sum(map(len, pieces)).to_bytes(8, "little"))
        for piece in pieces:
            digest.update(piece)
    return digest.digest()


def _components(nodes: Sequence[Node]) -> Iterator[list[int]]:
    """Strongly connected components, children before parents (Tarjan 1972, without recursion)."""
    order: dict[int, int] = {}
    low: dict[int, int] = {}
    open_nodes: list[int] = []
    is_open: set[int] = set()
    calls: list[tuple[int, Iterator[int]]] = []

    def enter(number: int) -> None:
        order[number] = low[number] = len(order)
        open_nodes.append(number)
        is_open.add(number)
        calls.append((number, iter(nodes[number].children)))

    enter(0)
    while calls:
        number, children = calls[-1]
        for child in children:
            if child not in order:
                enter(child)
                break
            if child in is_open:
                low[number] = min(low[number], order[child])
        else:
            calls.pop()
            if calls:
                low[calls[-1][0]] = min(low[calls[-1][0]], low[number])
            if low[number] == order[number]:
                at = _last(open_nodes, number)
                component = open_nodes[at:]
                del open_nodes[at:]
                is_open.difference_update(component)
                yield component


def _last(numbers: list[int], number: int) -> int:
    at = len(numbers) - 1
    while numbers[at] != number:
        at -= 1
    return at


@dataclass(frozen=True)
class Anatomy:
    """A label, and the object's parts, each with the name of its place.

    ``unstable`` describes the object where it cannot be identified across processes.
    """

    label: Label
    ordered: list[tuple[str, Any]] = field(default_factory=list)
    unordered: list[tuple[str, Any]] = field(default_factory=list)
    unstable: str | None = None


@dataclass(frozen=True)
class ModuleName:
    """A module by its name, loaded or not."""

    name: str


def atom(obj: object) -> bytes | None:
    """A number, text or similar as bytes; None for an object that has parts."""
    encode = _ATOMS.get(type(obj))
    return None if encode is None else type(obj).__name__.encode() + b":" + encode(obj)


_ATOMS: dict[type, Callable[[Any], bytes]] = {
    type(None): lambda _: b"",
    type(...): lambda _: b"",
    type(NotImplemented): lambda _: b"",
    bool: lambda obj: b"1" if obj else b"0",
    int: lambda obj: obj.to_bytes(obj.bit_length() // 8 + 1, "little", signed=True),
    # Compare bits, so that -0.0 differs from 0.0, and a NaN equals itself.
    float: lambda obj: struct.pack("<d", obj),
    complex: lambda obj: struct.pack("<2d", obj.real, obj.imag),
    str: lambda obj: obj.encode(errors="surrogatepass"),
    bytes: lambda obj: obj,
}


def named(members: Mapping[str, Any], phrase: str) -> list[tuple[str, Any]]:
    """The parts in the order of their names; ``phrase`` says what kind of name it is."""
    return [(phrase.format(name), members[name]) for name in sorted(members)]
