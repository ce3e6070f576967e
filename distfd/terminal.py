"""The user's terminal, apart from what libraries write to standard error: that goes to a file.

Ray's C++ parts write to file descriptor 2 as they please, when a worker dies and after the driver's last word. A copy
of the descriptor, made before, is for distfd's own words alone.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import sys
import traceback
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class _Terminal:
    own: TextIO | None = None
    json: bool = False
    above: Callable[[str], None] | None = None


_state = _Terminal()


def stream() -> TextIO:
    """Where distfd's own words go: where standard error went when this was first asked."""
    if _state.own is None:
        try:
            copy = os.dup(2)
        except OSError:  # it is closed
            return sys.stderr
        _state.own = os.fdopen(copy, "w", buffering=1, encoding=sys.stderr.encoding, errors="backslashreplace")
    return _state.own


def speak_json() -> None:
    """From now on errors and warnings are JSON objects too, one a line."""
    _state.json = True


@contextlib.contextmanager
def spoken_by(say: Callable[[str], None]) -> Iterator[None]:
    """Inside, warnings are said by a display that has lines of its own at the bottom."""
    _state.above = say
    try:
        yield
    finally:
        _state.above = None


def divert(log: Path) -> None:
    """From now on what anyone else writes to standard error is added to a file; it goes at the end if it is empty."""
    stream()
    sys.stderr.flush()
    with contextlib.suppress(OSError):  # without the file the noise stays where it was
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        os.dup2(file, 2)
        os.close(file)
        # Before Ray is imported, so after Ray has said its last word: such functions run last in, first out.
        atexit.register(_remove_if_empty, log)


@contextlib.contextmanager
def outputs_shown() -> Iterator[None]:
    """Inside, what is printed in Python goes to the user's terminal: standard output is the result's."""
    with contextlib.redirect_stdout(stream()), contextlib.redirect_stderr(stream()):
        yield


def error(text: str, code: int, *, debug: bool) -> None:
    """Say why the command fails."""
    if debug:
        traceback.print_exc(file=stream())
    _say("error", f"distfd: {text}", message=text, exit_code=code)


def show_warning(message: Warning | str, category: type[Warning], filename: str, *_: Any, **__: Any) -> None:
    """In the place of `warnings.showwarning`: distfd's for the user, libraries' for the file."""
    if f"{os.sep}site-packages{os.sep}ray{os.sep}" in filename:
        sys.stderr.write(f"{filename}: {category.__name__}: {message}\n")
        return
    _say("warning", f"warning: {message}", message=str(message))


def _say(kind: str, text: str, **fields: Any) -> None:
    if _state.above is not None and not _state.json:
        _state.above(text)
        return
    if _state.json:
        text = json.dumps({"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": kind, **fields})
    with contextlib.suppress(OSError):  # nobody listens any more
        stream().write(text + "\n")


def _remove_if_empty(log: Path) -> None:
    with contextlib.suppress(OSError):
        if log.is_file() and log.stat().st_size == 0:
            log.unlink()
