"""A thread that ends with the process, for what is to live as long: the kernel ends Ray's servers with their thread.

Ray has its servers killed once their parent dies, and for Linux the parent is the thread that started them (PDEATHSIG
in prctl(2)). So a cluster that was started by a short thread, as of a pool or a web server, would end with it.
"""

from __future__ import annotations

import queue
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

R = TypeVar("R")


class _Lasting:
    """The thread, once it is needed, and what it is to do."""

    def __init__(self) -> None:
        self._work: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._making = threading.Lock()

    def do(self, work: Callable[[], None]) -> None:
        with self._making:
            if self._thread is None or not self._thread.is_alive():  # or this process was forked
                self._work = queue.SimpleQueue()
                # Not one of an executor of concurrent.futures, which would end before Ray's own end at exit.
                self._thread = threading.Thread(target=self._run, name="distfd starts Ray", daemon=True)
                self._thread.start()
        self._work.put(work)

    def _run(self) -> None:
        while True:
            self._work.get()()


_lasting = _Lasting()


def in_lasting_thread(function: Callable[[], R]) -> R:
    """What the function returns or raises: called here where this is the main thread, else in one that lasts."""
    if threading.current_thread() is threading.main_thread():
        return function()
    answer: Future[R] = Future()

    def work() -> None:
        try:
            answer.set_result(function())
        except BaseException as error:  # whoever asked gets it
            answer.set_exception(error)

    _lasting.do(work)
    return answer.result()
