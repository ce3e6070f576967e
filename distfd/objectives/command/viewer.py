"""Who is shown an evaluation while it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from distfd.objectives.command.values import Value


class Viewer(Protocol):
    """Is shown an evaluation while it runs."""

    def deck(self, name: str, text: str) -> None:
        """An input as it is written."""

    def command(self, argv: tuple[str, ...], stdin: str | None, folder: str) -> None:
        """A program that is started, what it reads, and where."""

    def outputs(self, found: dict[str, Value]) -> None:
        """What was taken from what they wrote."""
