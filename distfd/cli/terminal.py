"""The user's terminal, separated from what libraries write to standard error, which goes to a file.

Ray's C++ parts write to file descriptor 2 at any time, such as when a worker dies, even after the driver has finished.
A copy of the descriptor, made before that, is used for distfd's own messages only.
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
"""The start, after a colour code, of lines about Ray rather than about J."""


class _Terminal:
    own: TextIO | None = None
    answers: TextIO | None = None
    json: bool = False
    above: Callable[[str], None] | None = None


_state = _Terminal()


def stream() -> TextIO:
    """The stream for distfd's own messages: where standard error went when this was first called."""
    if _state.own is None:
        try:
            copy = os.dup(2)
        except OSError:  # standard error is closed
            return sys.stderr
        _state.own = os.fdopen(copy, "w", buffering=1, encoding=sys.stderr.encoding, errors="backslashreplace")
    return _state.own


def speak_json() -> None:
    """Makes errors and warnings JSON objects as well, one a line, from now on."""
    _state.json = True


@contextlib.contextmanager
def spoken_by(say: Callable[[str], None]) -> Iterator[None]:
    """A context in which warnings are printed by a display that keeps lines of its own at the bottom."""
    _state.above = say
    try:
        yield
    finally:
        _state.above = None


def answers() -> TextIO:
    """The stream for results: standard output as it was when the command began."""
    return _state.answers or sys.stdout


@contextlib.contextmanager
def answering() -> Iterator[None]:
    """A context in which results are printed; it is no error if the reader stops early.

    Raises
    ------
    StoreError
        If they cannot be written, such as when standard output is a file on a full disk.
    """
    try:
        yield
        answers().flush()
    except OSError as error:
        # Buffered text is written when the interpreter ends, so send it to the null device.
        nobody = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nobody, answers().fileno())
        os.close(nobody)
        if error.errno != errno.EPIPE:
            text = f"standard output cannot be written: {error.strerror}; what was finished is kept"
            raise StoreError(text) from error


def open_streams() -> None:
    """Opens closed standard streams on the null device; otherwise the next opened file would become one of them."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w" if number else "r", closefd=False))
    for answering in (sys.stdout, sys.stderr):
        # A name that the terminal's character set lacks must not cause a failure.
        if isinstance(answering, io.TextIOWrapper):
            answering.reconfigure(errors="backslashreplace")


def divert(log: Path, *, show_output: bool = False) -> None:
    """Redirects other writers' output, on standard error or standard output, to a file from now on.

    Results still go to standard output, by `answers`. The file is removed at the end if it is empty. Ray prints from
    its own threads until the process ends, so the redirection cannot be undone.

    Parameters
    ----------
    log : Path
    show_output : bool
        Whether to show what is printed in Python, including J's output by Ray, except for messages about Ray itself;
        and, on standard error, what compiled code of this process and its children print on standard output.
    """
    own = stream()
    sys.stderr.flush()
    with contextlib.suppress(OSError):  # if the file cannot be opened, output stays where it was
        nowhere = str(log) == os.devnull
        file = os.open(log, os.O_WRONLY | os.O_CLOEXEC) if nowhere else open_to_add(log)
        os.dup2(file, 2)
        _state.answers = _apart(sys.stdout, own.fileno() if show_output else file)
        os.close(file)
        # Register this before Ray is imported: such functions run last in, first out, so it runs after Ray's last
        # message.
        if not nowhere:
            atexit.register(_remove_if_empty, log)
    if show_output:
        os.environ.setdefault("RAY_DEDUP_LOGS", "0")
        sys.stdout = sys.stderr = _Printed(own, sys.stderr)
    else:
        sys.stdout = sys.stderr


def _apart(out: TextIO, others: int) -> TextIO:
    """A stream to where standard output goes; whatever else is written to descriptor 1 goes to another one from now."""
    out.flush()
    try:
        if out.fileno() != 1:
            return out
    except OSError:  # it is no file, as where Python has it replaced
        return out
    copy = os.fdopen(os.dup(1), "w", buffering=1, encoding=out.encoding, errors=out.errors)
    os.dup2(others, 1)
    return copy


class _Printed(io.TextIOBase):
    """Receives what Ray prints in Python: J's output goes to the user, messages of Ray's daemons go to the file."""

    def __init__(self, own: TextIO, rest: TextIO) -> None:
        self._own, self._rest, self._last = own, rest, own

    def write(self, text: str) -> int:
        """Writes text; Ray prints a line, and then its newline."""
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
    """Prints why the command fails."""
    if debug:
        stream().write(printable(traceback.format_exc()))
    _say("error", f"distfd: {text}", message=text, exit_code=code)


def show_warning(message: Warning | str, category: type[Warning], filename: str, *_: Any, **__: Any) -> None:
    """Replaces `warnings.showwarning`: distfd's warnings go to the user, those of libraries to the file."""
    if f"{os.sep}site-packages{os.sep}ray{os.sep}" in filename:
        sys.stderr.write(f"{filename}: {category.__name__}: {message}\n")
        return
    _say("warning", f"warning: {message}", message=str(message))


def _say(kind: str, text: str, **fields: Any) -> None:
    # The display above the panel makes its text printable itself.
    if _state.above is not None and not _state.json:
        _state.above(text)
        return
    if _state.json:
        text = json.dumps({"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": kind, **fields})
    with contextlib.suppress(OSError):  # the reader of the stream is gone
        stream().write(printable(text) + "\n")


def _remove_if_empty(log: Path) -> None:
    with contextlib.suppress(OSError):
        found = log.lstat()
        if stat.S_ISREG(found.st_mode) and found.st_size == 0:
            log.unlink()
