"""The identity of an objective: a digest that is equal in every process, as far as that is possible."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import TYPE_CHECKING, Any

from distfd.fingerprint.anatomy import describe
from distfd.fingerprint.graph_digest import Anatomy, ModuleName, Node, atom, graph_digest

if TYPE_CHECKING:
    from collections.abc import Callable

_MOST_PARTS = 2_000_000
_NAMED = (type, FunctionType, BuiltinFunctionType, MethodType)


@dataclass(frozen=True)
class Fingerprint:
    """The identity of an object across processes."""

    digest: str
    """32 hexadecimal digits."""
    stable: bool
    """Whether another process gets the same digest for the same object."""
    unstable_because: str | None = None
    """Which object has no stable digest, where it is, and what to do; None if all have one."""


def fingerprint(
    obj: Any,
    *,
    version: str | None = None,
    anatomy: Callable[[Any], Anatomy] = describe,
    most: int | None = None,
) -> Fingerprint:
    """Digests everything that the values computed by an object can depend on.

    For a function, these are its bytecode, defaults, closure, and the globals that it names, with everything that they
    refer to in turn. For an instance, its class and state. For a local module, its source and that of the local modules
    that it imports. For an installed module, its name and version. Files that J reads, and objects that it reaches in
    other ways than by name (``eval``, ``importlib``), are not included: use ``version`` for these.

    Parameters
    ----------
    obj : object
        A callable, an instance, or a tuple (callable, args, kwargs).
    version : str, optional
        Identifies the callable, its code and all it refers to: the callable's name and this version are digested
        instead. The rest of a tuple is digested as usual.
    anatomy : callable
        Returns the parts of an object. A function other than the default may return fewer parts, in less time.
    most : int
        Limit on the number of objects, 2 million by default; all objects beyond the limit have the same digest.
    """
    most = _MOST_PARTS if most is None else most
    if version is None:
        return _digest(obj, anatomy, most, vouched=False)
    fun, *rest = obj if isinstance(obj, tuple) and obj else (obj,)
    return _digest(("version", _name(fun), version, *rest), anatomy, most, vouched=True)


def _digest(root: Any, anatomy_of: Callable[[Any], Anatomy], most: int, *, vouched: bool) -> Fingerprint:
    nodes: list[Node] = []
    # Keep each object alive with the place where it was met, so that no id is used twice.
    met: list[tuple[Any, int, str]] = []
    numbers: dict[object, int] = {}
    waiting: deque[int] = deque()
    unstable: str | None = None

    def number(part: Any, parent: int, place: str) -> int:
        key: object = part if type(part) is ModuleName else id(part)
        if key not in numbers:
            numbers[key] = len(nodes)
            waiting.append(len(nodes))
            met.append((part, parent, place))
            nodes.append(Node(b""))
        return numbers[key]

    number(root, -1, "")
    while waiting and len(nodes) <= most:
        k = waiting.popleft()
        simple = atom(met[k][0])
        if simple is not None:
            nodes[k].label = b"atom " + simple
            continue
        anatomy = _anatomy(met[k][0], anatomy_of)
        nodes[k].label = anatomy.label
        nodes[k].ordered = [(place, number(part, k, place)) for place, part in anatomy.ordered]
        nodes[k].unordered = [number(part, k, place) for place, part in anatomy.unordered]
        if anatomy.unstable and unstable is None:
            unstable = f"{_where(met, k)} is {anatomy.unstable}"
    if waiting:
        nodes, unstable = [Node(b"vast")], f"{_name(root)} refers to more than {most} objects"
    # A version does not cover arguments that were not examined.
    if unstable is None or (vouched and not waiting):
        return Fingerprint(graph_digest(nodes).hex(), stable=True)
    return Fingerprint(
        graph_digest(nodes).hex(),
        stable=False,
        unstable_because=f"{unstable}, and another process cannot tell it from others; make it in J, or give "
        "`version` (objective.version) and change it whenever J changes",
    )


def _anatomy(obj: Any, anatomy_of: Callable[[Any], Anatomy]) -> Anatomy:
    try:
        return anatomy_of(obj)
    except Exception as error:
        # Reading an attribute of a foreign object may run arbitrary code.
        what = f"a {type(obj).__qualname__}"
        return Anatomy(what.encode(), unstable=f"{what} ({type(error).__name__}: {error})")


def _where(met: list[tuple[Any, int, str]], k: int) -> str:
    places: list[str] = []
    while k > 0:
        _, k, place = met[k]
        if place and not place.startswith("its "):
            places.append(place)
    return " of ".join([*places, _name(met[0][0])])


def _name(obj: Any) -> str:
    if isinstance(obj, partial):
        return _name(obj.func)
    if isinstance(obj, tuple):
        return _name(obj[0]) if obj else "()"
    return str(obj.__qualname__ if isinstance(obj, _NAMED) else type(obj).__qualname__)
