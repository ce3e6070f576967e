"""How a thread is told to end, so that Ctrl-C or a finaliser in the thread that tells it leaves nothing locked."""

from __future__ import annotations

import contextlib
import queue


class ThreadEnding:
    """Told by any thread, heard by one; as `threading.Event`, whose lock an interrupt in `set` leaves held for good."""

    def __init__(self) -> None:
        self.told = False
        self._news: queue.SimpleQueue[None] = queue.SimpleQueue()
        """Written in C, and made for finalisers."""

    def tell(self) -> None:
        """Have the thread end, once it is through with what it is at."""
        self.told = True
        self._news.put(None)

    def wait(self, seconds: float) -> bool:
        """Wait for so many seconds to be told, in the thread that is to end; whether it was."""
        if not self.told:
            with contextlib.suppress(queue.Empty):
                self._news.get(timeout=seconds)
        return self.told
