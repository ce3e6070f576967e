"""The contract of an observer: anything that can be called with an event."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from distfd.results.events import Event


class Observer(Protocol):
    """Sees what happens and changes nothing; a plain function will do.

    One that raises is told of once, and the wave goes on; a `distfd.errors.DistfdError` ends it.
    """

    def __call__(self, event: Event, /) -> None:
        """Take one event (`distfd.events`)."""
