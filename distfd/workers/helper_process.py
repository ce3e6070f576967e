"""A process beside this one that answers requests and can be ended: for work that may take without end.

Requests and answers go through its standard input and output; an answer is one line. All threads of a process share
it; a fork starts its own.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import select
import subprocess
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class NoAnswerError(Exception):
    """The helper was ended, as it took longer than it may, or has ended itself.

    Parameters
    ----------
    failed : bool
        Whether it ended by an error of its own, such as a module that it could not import.
    """

    def __init__(self, *, failed: bool = False) -> None:
        super().__init__()
        self.failed = failed


class HelperProcess:
    """A process that is started when it is first asked, and again where it has ended.

    Parameters
    ----------
    argv : callable
        Gives its command line.
    """

    def __init__(self, argv: Callable[[], Sequence[str]]) -> None:
        self._argv = argv
        self._lock = threading.Lock()
        self._owner = -1
        self._process: subprocess.Popen[bytes] | None = None
        atexit.register(self.end)

    def ask(self, request: bytes, seconds: float) -> bytes:
        """Send a request and await the line that answers it.

        Parameters
        ----------
        request : bytes
        seconds : float
            How long that may take; a helper that is late is ended.

        Raises
        ------
        NoAnswerError
        """
        with self._lock:
            process, end = self._running(), time.monotonic() + seconds
            try:
                return _exchange(process, request, end)
            except BaseException:
                self.end()
                raise

    def end(self) -> None:
        """End it, if it runs."""
        process, self._process = self._process, None
        if process is None or self._owner != os.getpid():
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._owner != os.getpid() or self._process.poll() is not None:
            self.end()
            self._owner = os.getpid()
            self._process = subprocess.Popen(  # noqa: S603  # our own scripts
                self._argv(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd="/",
            )
        return self._process


def _exchange(process: subprocess.Popen[bytes], request: bytes, end: float) -> bytes:
    sends, gets = process.stdin, process.stdout
    assert sends is not None
    assert gets is not None
    os.set_blocking(sends.fileno(), False)
    left, answer = memoryview(request), bytearray()
    while not answer.endswith(b"\n"):
        wait = end - time.monotonic()
        ready = select.select([gets], [sends] if left else [], [], wait) if wait > 0 else None
        if ready is None or not (ready[0] or ready[1]):
            raise NoAnswerError
        if ready[1]:
            with contextlib.suppress(BlockingIOError):
                try:
                    left = left[os.write(sends.fileno(), left) :]
                except BrokenPipeError:
                    raise NoAnswerError from None
        if ready[0]:
            more = os.read(gets.fileno(), 2**16)
            if not more:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(5.0)
                raise NoAnswerError(failed=(process.returncode or 0) > 0)
            answer += more
    return bytes(answer)
