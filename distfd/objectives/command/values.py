"""Numbers from text and files: text that does not parse is an error that quotes it, never cut short or guessed."""

from __future__ import annotations

import contextlib
import os
import re
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from distfd.core.files import open_plain
from distfd.objectives.command.secrets import masked
from distfd.workers.bounded_regex import SECONDS, RegexTimeoutError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LARGEST = 64 * 2**20

Value: TypeAlias = float | NDArray[np.float64]

_NUMBER = re.compile(
    r"[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eEdD][+-]?[0-9]+)?|inf(?:inity)?|nan)",
    re.IGNORECASE,
)

_NO_LETTER = re.compile(r"([+-]?(?:[0-9]+\.[0-9]*|\.[0-9]+))([+-][0-9]{1,3})")
"""A number whose exponent has no letter: Fortran's ``3.95756-109``, Nastran's ``2.1+5``. The point tells it from
12-5."""


MINUS = "\u2212"
"""Unicode's minus, which some programs print (qalc, R's formatters), and which is not the hyphen of the keyboard."""


class OutputError(ValueError):
    """An output that is missing or does not parse; the message says what was found."""


def number(text: str) -> float:
    """A printed number, also ``1.5D-3`` and ``1.5-103``, or with Unicode's minus; anything else is refused.

    Raises
    ------
    OutputError
        If it is not a number; the message quotes the text.
    """
    text = text.strip().replace(MINUS, "-")
    if bare := _NO_LETTER.fullmatch(text):
        return float(f"{bare[1]}e{bare[2]}")
    if not _NUMBER.fullmatch(text):
        raise OutputError(f"{short(text)} is not a number" if text else "there is only blank space")
    return float(re.sub("[dD]", "e", text) if text[-1].isdigit() else text)


def as_value(found: Any) -> Value:
    """A number or an array of numbers in double precision; whether it is finite is checked elsewhere.

    Raises
    ------
    OutputError
        If it is anything else; also for a bool, a string or a complex number.
    """
    try:
        array = np.asarray(found)
    except ValueError as error:  # a ragged list
        raise OutputError(f"{short(found)} is no array of numbers: {error}") from error
    if array.dtype.kind not in "iuf" or _has_bool(found):
        raise OutputError(f"{short(found)} is not a number or an array of numbers")
    if array.ndim == 0:
        return float(array)
    return array.astype(np.float64)


def _has_bool(found: Any) -> bool:
    """Whether a list contains a bool, which numpy would silently turn into 0 or 1."""
    return isinstance(found, bool) or (isinstance(found, (list, tuple)) and any(map(_has_bool, found)))


_ENCODINGS = {b"\xff\xfe\0\0": "utf-32", b"\0\0\xfe\xff": "utf-32", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
"""Byte order marks of encodings with several bytes for each character; the longer ones first."""

_TWO_BYTES = {"utf-16-le": re.compile(rb"(?:[\t\n\r -~]\0){2}"), "utf-16-be": re.compile(rb"(?:\0[\t\n\r -~]){2}")}
"""How texts of such an encoding begin without a byte order mark."""


def encoding_of(head: bytes) -> str:
    """The encoding of a text by its first four bytes: UTF-8, or UTF-16 or UTF-32 as programs of Windows write them."""
    for mark, name in _ENCODINGS.items():
        if head.startswith(mark):
            return name
    return next((name for name, begin in _TWO_BYTES.items() if begin.match(head)), "utf-8")


def read_text(path: Path) -> str:
    """A file's whole text, with newlines as line ends, without a byte order mark."""
    raw = read_bytes(path)
    return raw.decode(encoding_of(raw[:4]), "replace").removeprefix("\ufeff").replace("\r\n", "\n")


def read_bytes(path: Path) -> bytes:
    """A file's whole content, if it is small enough for memory."""
    with open_plain(path, follow=True) as file:
        size = os.fstat(file.fileno()).st_size
        if size > LARGEST:
            raise OutputError(f"it is too large: {size / 2**20:.0f} MiB, the limit is {LARGEST // 2**20} MiB")
        return file.read(LARGEST + 1)


_seconds_left: ContextVar[Callable[[], float | None]] = ContextVar("seconds_left", default=lambda: None)


@contextlib.contextmanager
def reading_within(left: Callable[[], float | None]) -> Iterator[None]:
    """A context in which outputs are read; ``left`` returns the seconds left for the evaluation, None for no limit."""
    token = _seconds_left.set(left)
    try:
        yield
    finally:
        _seconds_left.reset(token)


@contextlib.contextmanager
def timed(what: str, pattern: str) -> Iterator[float | None]:
    """A context that yields the seconds for a search of a pattern; if it takes longer, raises OutputError."""
    seconds = _seconds_left.get()()
    try:
        yield seconds
    except RegexTimeoutError as error:
        limit = SECONDS if seconds is None else max(0.0, min(seconds, SECONDS))
        raise OutputError(
            f"the {what} {short(pattern)} did not end within {limit:.3g} s: it backtracks; avoid a repeat inside a "
            "repeat, such as (a+)+, and match the text just before and after the number"
        ) from error


def short(found: Any) -> str:
    """A value that was found, quoted and cut to fit a message."""
    text = masked(found if isinstance(found, str) else repr(found))
    return repr(text if len(text) <= 80 else text[:77] + "...")
