"""What J printed in its workers, gathered from the files that each worker's output goes to."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from distfd.core.errors import StoreError
from distfd.core.files import open_plain, open_to_add
from distfd.results import events

if TYPE_CHECKING:
    from collections.abc import Iterator

_MOST = 1_000_000
"""Bytes of the end of one file that are kept."""
_RAYS_OWN = (b":actor_name:", b":task_name:", b":job_id:")
"""How lines begin by which Ray marks its files."""


class WorkerOutputs:
    """Remembers the files as workers start; `gather` puts what is in them, on this host, into one."""

    def __init__(self) -> None:
        self._files: dict[str, str] = {}

    def __call__(self, event: events.Event) -> None:
        """Take one event."""
        if isinstance(event, events.SlotStarted) and event.output and event.host == socket.gethostname():
            stem = event.output.removesuffix(".out")
            for suffix in (".out", ".err"):
                self._files[stem + suffix] = f"slot {event.slot}, process {event.pid}{', stderr' * (suffix == '.err')}"

    def gather(self, path: Path) -> None:
        """Add to the file at ``path`` what was printed; it is not made where nothing was."""
        with contextlib.suppress(OSError, StoreError):  # what J prints is no result
            for file, title in self._files.items():
                printed = b"".join(_lines(Path(file)))
                if printed.strip():
                    with open(open_to_add(path), "ab") as gathered:  # noqa: PTH123
                        gathered.write(f"--- {title}\n".encode() + printed)
        self._files.clear()


def _lines(file: Path) -> Iterator[bytes]:
    with contextlib.suppress(FileNotFoundError), open_plain(file, follow=True) as opened:
        size = opened.seek(0, 2)
        opened.seek(max(0, size - _MOST))
        for line in opened:
            if not line.startswith(_RAYS_OWN):
                yield line
