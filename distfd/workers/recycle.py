"""When a worker's process is replaced by a fresh one: after so many evaluations, or once it holds so much memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from distfd.core.errors import InputError
from distfd.core.records import Failure, Status
from distfd.core.validation import is_whole

RECYCLED = Failure(Status.LOST, "the worker's process has had its time, and another takes its place")
"""The failure of a slot whose worker has reached a limit: no point is charged, and queued points are sent again."""


@dataclass(frozen=True)
class Recycle:
    """Limits to the life of a worker's process, looked at after each evaluation; what was evaluated stays.

    Parameters
    ----------
    evaluations : int or None
        Evaluations; 1 gives each one a process of its own.
    memory : int or None
        Bytes of resident memory. The serial executor, which has no process of its own, does not look at it.

    Raises
    ------
    InputError
        If one is no whole number >= 1.
    """

    evaluations: int | None = None
    memory: int | None = None

    def __post_init__(self) -> None:
        for name, value in (("evaluations", self.evaluations), ("memory", self.memory)):
            if value is not None and (not is_whole(value) or value < 1):
                raise InputError(f"recycle: {name} must be a whole number >= 1, or None (was {value!r})")

    def due(self, evaluations: int) -> bool:
        """Whether this process, which has made so many evaluations, has had its time."""
        if self.evaluations is not None and evaluations >= self.evaluations:
            return True
        if self.memory is None:
            return False
        import psutil

        return bool(psutil.Process().memory_info().rss >= self.memory)


def as_recycle(given: Recycle | Mapping[str, Any] | None) -> Recycle | None:
    """The limits from plain data; None where there are none.

    Raises
    ------
    InputError
        If there is a key that no limit has, or a limit makes no sense.
    """
    if isinstance(given, Mapping):
        for key in given:
            if key not in ("evaluations", "memory"):
                raise InputError(f"recycle: there is no {key!r}; use evaluations, memory")
        given = Recycle(**given)
    if given is None or given == Recycle():
        return None
    if not isinstance(given, Recycle):
        raise InputError(f"recycle: takes a mapping with evaluations and memory (was {given!r})")
    return given
