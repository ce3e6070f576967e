"""The user's terminal, apart from what libraries write to standard error: that goes to a file.

Ray's C++ parts write to file descriptor 2 as they please, when a worker dies and after the driver's last word. A copy
of the descriptor, made before, is for distfd's own words alone.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import io
import json
import os
import stat
import sys
import traceback
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TextIO

from distfd.core.errors import StoreError
from distfd.core.files import open_to_add
from distfd.core.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


_DAEMONS = ("(raylet", "(gcs_server", "(autoscaler")
"""How lines begin, behind a colour, that are about Ray and not about J."""


class _Terminal:
    own: TextIO | None = None
    answers: TextIO | None = None
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


def answers() -> TextIO:
    """Where results go: standard output as it was when the command began."""
    return _state.answers or sys.stdout


@contextlib.contextmanager
def answering() -> Iterator[None]:
    """Inside, results are printed. That nobody reads them to their end is no error.

    Raises
    ------
    StoreError
        If they cannot be written, as where standard output is a file and its disk is full.
    """
    try:
        yield
        answers().flush()
    except OSError as error:
        # What is still on its way is written when the interpreter ends.
        nobody = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nobody, 1)
        os.close(nobody)
        if error.errno != errno.EPIPE:
            text = f"standard output cannot be written: {error.strerror}; what was finished is kept"
            raise StoreError(text) from error


def open_streams() -> None:
    """Give closed standard streams to nobody, or the next file to be opened would be one of them."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w" if number else "r", closefd=False))
    for answering in (sys.stdout, sys.stderr):
        # A name that the terminal's character set lacks is no reason to fail.
        if isinstance(answering, io.TextIOWrapper):
            answering.reconfigure(errors="backslashreplace")


def divert(log: Path, *, show_output: bool = False) -> None:
    """From now on what anyone else writes to standard error or, in Python, to standard output is added to a file.

    The file goes at the end if it is empty. Ray prints from threads of its own until the process ends, so there is no
    way back.

    Parameters
    ----------
    log : Path
    show_output : bool
        Whether what is printed in Python, as Ray does with what J prints, is shown after all, but for Ray's own words.
    """
    _state.answers = answers()
    own = stream()
    sys.stderr.flush()
    with contextlib.suppress(OSError):  # without the file the noise stays where it was
        nowhere = str(log) == os.devnull
        file = os.open(log, os.O_WRONLY | os.O_CLOEXEC) if nowhere else open_to_add(log)
        os.dup2(file, 2)
        os.close(file)
        # Before Ray is imported, so after Ray has said its last word: such functions run last in, first out.
        if not nowhere:
            atexit.register(_remove_if_empty, log)
    if show_output:
        os.environ.setdefault("RAY_DEDUP_LOGS", "0")
        sys.stdout = sys.stderr = _Printed(own, sys.stderr)
    else:
        sys.stdout = sys.stderr


class _Printed(io.TextIOBase):
    """Takes what Ray prints in Python: J's words to the user, the words of Ray's own daemons to the file."""

    def __init__(self, own: TextIO, rest: TextIO) -> None:
        self._own, self._rest, self._last = own, rest, own

    def write(self, text: str) -> int:
        """Ray prints a line, and then its end."""
        if text.strip():
            self._last = self._rest if any(daemon in text[:60] for daemon in _DAEMONS) else self._own
        return self._last.write(text)

    def flush(self) -> None:
        self._own.flush()
        self._rest.flush()


def say_as_it_is(text: str) -> None:
    """Say lines that another library has made, such as how a command is used."""
    with contextlib.suppress(OSError):
        stream().write(printable(text))


def error(text: str, code: int, *, debug: bool) -> None:
    """Say why the command fails."""
    if debug:
        stream().write(printable(traceback.format_exc()))
    _say("error", f"distfd: {text}", message=text, exit_code=code)


def show_warning(message: Warning | str, category: type[Warning], filename: str, *_: Any, **__: Any) -> None:
    """In the place of `warnings.showwarning`: distfd's for the user, libraries' for the file."""
    if f"{os.sep}site-packages{os.sep}ray{os.sep}" in filename:
        sys.stderr.write(f"{filename}: {category.__name__}: {message}\n")
        return
    _say("warning", f"warning: {message}", message=str(message))


def _say(kind: str, text: str, **fields: Any) -> None:
    # The display above the panel makes its own text printable.
    if _state.above is not None and not _state.json:
        _state.above(text)
        return
    if _state.json:
        text = json.dumps({"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": kind, **fields})
    with contextlib.suppress(OSError):  # nobody listens any more
        stream().write(printable(text) + "\n")


def _remove_if_empty(log: Path) -> None:
    with contextlib.suppress(OSError):
        found = log.lstat()
        if stat.S_ISREG(found.st_mode) and found.st_size == 0:
            log.unlink()
