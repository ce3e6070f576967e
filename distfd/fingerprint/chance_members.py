"""Members of modules that are others in each process that imports them, though nobody has changed them.

Some of these belong to their process: its id, a handle, a folder of its own, a random generator. Others are data that
were drawn by chance, such as noise on measurements or first weights, and a derivative needs the same at all points.
"""

from __future__ import annotations

import os
import random
import threading
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.fingerprint.fingerprint import fingerprint
from distfd.fingerprint.graph_digest import Anatomy
from distfd.fingerprint.members import MOST, by_name_anatomy

if TYPE_CHECKING:
    from collections.abc import Iterable

    from distfd.fingerprint.reads import Member

_GENERATORS = (
    np.random.Generator,
    np.random.BitGenerator,
    np.random.RandomState,
    np.random.SeedSequence,
    random.Random,
)
_ADDRESSES = range(2**32, 2**48)
"""Whole numbers that may be addresses in memory, which mean nothing elsewhere."""


@dataclass(frozen=True)
class Outline:
    """Two digests of a member.

    Attributes
    ----------
    data : str
        Of all but random generators.
    frame : str
        Of all but random generators and numbers.
    """

    data: str
    frame: str


def outline(value: Any) -> Outline:
    """The outline of a member's value in this process."""
    return Outline(*(_digest(value, numbers=numbers) for numbers in (True, False)))


def outlines_here(members: Iterable[Member]) -> dict[Member, Outline]:
    """The outlines of those of these members that are in this process."""
    found = {}
    for member in members:
        try:
            found[member] = outline(member.value())
        except (LookupError, TypeError):
            continue
    return found


def drawn_by_chance(here: Outline, samples: Iterable[Outline | None]) -> bool:
    """Whether these are outlines of data that were drawn anew in each process: only numbers differ."""
    found = [here, *samples]
    frames = {each.frame for each in found if each is not None}
    data = {each.data for each in found if each is not None}
    return None not in found and len(frames) == 1 and len(data) > 1


def _digest(value: Any, *, numbers: bool) -> str:
    own = frozenset({os.getpid(), os.getppid(), os.getpgrp(), threading.get_ident(), threading.get_native_id()})
    anatomy = partial(_anatomy, value, own, numbers=numbers)
    # In a list, as the anatomy of an object says which of its parts are blank.
    return fingerprint([value], anatomy=anatomy, most=MOST).digest


def _anatomy(root: Any, own: frozenset[int], obj: Any, *, numbers: bool) -> Anatomy:
    if isinstance(obj, _GENERATORS):
        return Anatomy(f"a {type(obj).__qualname__}".encode())
    if not numbers and isinstance(obj, np.ndarray) and not obj.dtype.hasobject:
        return Anatomy(f"array {obj.dtype.descr!r} {obj.shape}".encode())
    if type(obj) in (list, tuple):
        found = Anatomy(type(obj).__name__.encode(), [(f"[{k}]", each) for k, each in enumerate(obj)])
    else:
        found = by_name_anatomy(root, obj)
    if numbers:
        return found
    ordered = [(place, _blank(part, own)) for place, part in found.ordered]
    return Anatomy(
        found.label, ordered, [(place, _blank(part, own)) for place, part in found.unordered], found.unstable
    )


def _blank(part: Any, own: frozenset[int]) -> Any:
    """The part of an object; only its type, where it is a number that means the same in every process."""
    kind: type = type(part)
    drawn = kind in (float, complex, bool) or (kind is int and part not in own and part not in _ADDRESSES)
    return f"a {kind.__name__}" if drawn or isinstance(part, np.number | np.bool_) else part
