"""Tells, in microseconds, whether J has changed since the last call: checks all that it can reach in this process.

A fingerprint identifies J in every process, but it takes long if J's arguments are large. A watch walks once over the
objects that J refers to, and notes what each of them holds. Checking again only compares these notes: objects by
identity, arrays by a digest that is as fast as memory.
"""

from __future__ import annotations

from operator import is_
from typing import TYPE_CHECKING, Any

from distfd.fingerprint.graph_digest import atom
from distfd.fingerprint.reach import Reach

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from distfd.fingerprint.reach import Parts


class Watch(Reach):
    """Everything that J can reach, as it was when this object was made.

    Parameters
    ----------
    roots : iterable
        The objects that J consists of: a callable and its arguments.
    """

    def __init__(self, roots: Iterable[Any]) -> None:
        self._parts: list[tuple[Any, Parts, tuple[Any, ...]]] = []
        self._digests: list[tuple[Any, Callable[[Any], Any], Any]] = []
        super().__init__(roots)

    def note_parts(self, obj: Any, read: Parts, parts: Sequence[Any]) -> None:
        """Notes that an object has these parts."""
        self._parts.append((obj, read, tuple(parts)))

    def note_digest(self, obj: Any, digest: Callable[[Any], Any]) -> None:
        """Notes that an object has this digest."""
        self._digests.append((obj, digest, digest(obj)))

    def same(self) -> bool:
        """Whether nothing has changed since the watch was made."""
        try:
            return all(_alike(read(obj), parts) for obj, read, parts in self._parts) and all(
                digest(obj) == before for obj, digest, before in self._digests
            )
        except Exception:  # an object can no longer be read, or changes while it is read
            return False


def _alike(now: Sequence[Any], before: Sequence[Any]) -> bool:
    """Whether both are the same objects, or numbers and texts with the same bits."""
    return len(now) == len(before) and (all(map(is_, now, before)) or all(map(_equal, now, before)))


def _equal(a: Any, b: Any) -> bool:
    return a is b or (type(a) is type(b) and (bits := atom(a)) is not None and bits == atom(b))
