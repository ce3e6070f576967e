"""The command line."""

from __future__ import annotations

import os
import signal

__all__ = ["main"]


def main() -> None:
    """The command ``distfd``: run it, and exit with its code."""
    interrupt = signal.getsignal(signal.SIGINT)
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _before_it_began)
    from distfd.cli.commands import main as begin  # half a second of imports

    signal.signal(signal.SIGINT, interrupt)
    begin()  # which has a handler of its own for SIGTERM


def _before_it_began(signum: int, frame: object) -> None:  # noqa: ARG001  # as signal calls it
    """Ends the process at once: an exception within an import may come out of it as another one."""
    os.write(2, b"distfd: interrupted before it began\n")
    os._exit(130)
