"""What a command does where a library holds its main thread for good: it ends all the same, in what order it can.

Ray's calls to servers that hang never return, and no exception reaches a thread that is inside one.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_acts: list[Callable[[str], None]] = []


@contextlib.contextmanager
def offer_emergency_exit(act: Callable[[str], None]) -> Iterator[None]:
    """Inside, ``act`` is called with the reason, in another thread, where the main one is held.

    Nothing is done in a program that has set none: it is not distfd's to end.
    """
    _acts.append(act)
    try:
        yield
    finally:
        _acts.remove(act)


def emergency_exit(reason: str) -> None:
    """The main thread is held, for this reason."""
    for act in _acts[-1:]:
        act(reason)
