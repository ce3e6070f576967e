"""Whether J is still what it was a call ago: all that it can reach in this process, looked at again in microseconds.

A fingerprint says what J is in every process, and takes as long as J's arguments are large. A watch walks once over
the objects that J refers to and notes what each of them holds. To look again is to compare these notes: objects by
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
    """All that J can reach, as it was when this was made.

    Parameters
    ----------
    roots : iterable
        The objects that J is made of: a callable and its arguments.
    """

    def __init__(self, roots: Iterable[Any]) -> None:
        self._parts: list[tuple[Any, Parts, tuple[Any, ...]]] = []
        self._digests: list[tuple[Any, Callable[[Any], Any], Any]] = []
        super().__init__(roots)

    def note_parts(self, obj: Any, read: Parts, parts: Sequence[Any]) -> None:
        """An object has these parts."""
        self._parts.append((obj, read, tuple(parts)))

    def note_digest(self, obj: Any, digest: Callable[[Any], Any]) -> None:
        """An object has this digest."""
        self._digests.append((obj, digest, digest(obj)))

    def same(self) -> bool:
        """Whether nothing of it has changed since."""
        try:
            return all(_alike(read(obj), parts) for obj, read, parts in self._parts) and all(
                digest(obj) == before for obj, digest, before in self._digests
            )
        except Exception:  # what could be read before cannot be now, or changes while it is read
            return False


def _alike(now: Sequence[Any], before: Sequence[Any]) -> bool:
    """Whether these are the same objects, or numbers and texts of the same bits."""
    return len(now) == len(before) and (all(map(is_, now, before)) or all(map(_equal, now, before)))


def _equal(a: Any, b: Any) -> bool:
    return a is b or (type(a) is type(b) and (bits := atom(a)) is not None and bits == atom(b))
