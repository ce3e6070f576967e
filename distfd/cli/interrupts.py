"""The end of a command: Ctrl-C, signals and errors become a message and an exit code.

The event loop (`distfd.evaluation.event_loop`) ends running evaluations, and `distfd.jobs.finalize` writes the run's
files; both react to the KeyboardInterrupt that a signal raises here.
"""

from __future__ import annotations

import io
import os
import signal
import sys
import warnings
from typing import TYPE_CHECKING, Any

import typer

from distfd.cli import terminal

if TYPE_CHECKING:
    from collections.abc import Callable

_INTERRUPTED = "interrupted; finished evaluations are kept, and the same command again continues from there"

_NO_DIRECTORY = "the working directory has been removed"


def guarded(command: Callable[[], Any], *, debug: bool) -> int:  # noqa: PLR0911  # one return an exit code
    """Run a command; whatever it raises becomes a message and an exit code."""
    from distfd.core.errors import ClusterLostError, DistfdError, InputError

    warnings.showwarning = terminal.show_warning
    signal.signal(signal.SIGTERM, _terminated)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:  # the terminal was closed, and not under nohup
        signal.signal(signal.SIGHUP, _terminated)
    try:
        code = int(command() or 0)
    except typer.Exit as stop:
        return stop.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return _fail(_INTERRUPTED, 130, debug=debug)
    except DistfdError as error:
        code = _fail(str(error), error.exit_code, debug=debug)
        if isinstance(error, ClusterLostError):
            # Threads may be inside Ray, waiting for servers that hang: a normal exit of the interpreter would crash.
            sys.stdout.flush()
            os._exit(code)
        return code
    except Exception as error:
        if hasattr(error, "show") and hasattr(error, "exit_code"):
            # A mistake in the command itself. Its class has another home in each version of typer.
            shown = io.StringIO()
            error.show(shown)
            terminal.say_as_it_is(shown.getvalue())
            return int(error.exit_code)
        if isinstance(error, FileNotFoundError) and not _has_directory():
            return _fail(f"{_NO_DIRECTORY}: change to one that is there (cd)", InputError.exit_code, debug=debug)
        text = f"this is a bug in distfd: {type(error).__name__}: {error}\nplease report it with what --debug shows"
        return _fail(text, 1, debug=debug)
    if code == 130:  # typer returns this code after it caught the interrupt itself
        return _fail(_INTERRUPTED, 130, debug=False)
    # All work is done; a signal from here on could only disturb the exit.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return code


def _has_directory() -> bool:
    try:
        os.getcwd()  # noqa: PTH109  # Path.cwd() has no other way to tell
    except FileNotFoundError:
        return False
    return True


def _fail(text: str, code: int, *, debug: bool) -> int:
    terminal.error(text, code, debug=debug)
    return code


def _terminated(signum: int, frame: object) -> None:  # noqa: ARG001  # as signal calls it
    """Ends like Ctrl-C: child processes ended, store closed, run resumable."""
    raise KeyboardInterrupt
