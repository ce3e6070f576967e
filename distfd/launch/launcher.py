"""What all ways to a cluster have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import IO


class Job(Protocol):
    """A job on a cluster."""

    @property
    def title(self) -> str:
        """What it is called there, for people."""

    def follow(self, say: Callable[[str], None]) -> int:
        """Hand on the lines that it writes until it has ended; its exit code."""

    def stop(self) -> None:
        """Have it end as by Ctrl-C; what was finished is kept."""

    def bring_back(self, archive: IO[bytes]) -> bool:
        """Write its run's directory as a tar; False where that is on this machine's own file system."""


class Launcher(Protocol):
    """A way to a cluster."""

    def describe(self) -> str:
        """What `start` would do, as text."""

    def start(self, say: Callable[[str], None]) -> Job:
        """Submit the job, or find it where it runs already."""
