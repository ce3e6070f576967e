"""Reads vectors from .npy files, and from text."""

from __future__ import annotations

import re
from tokenize import TokenError
from typing import TYPE_CHECKING

import numpy as np

from distfd.core.files import open_plain, read_plain

if TYPE_CHECKING:
    from numpy.typing import NDArray


TEXT_SUFFIXES = (".csv", ".txt", ".dat")
"""Endings of files that contain numbers as text."""
_MOST_TEXT = 100 * 2**20
"""Largest size in bytes of a list of numbers that is read as text."""


def read_vector(path: str) -> NDArray[np.float64]:
    """A (d,) array of real numbers, infinite ones included, from an .npy file.

    Raises
    ------
    ValueError
        If the file does not exist, or contains anything else. Pickles are never read.
    """
    try:
        with open_plain(path, follow=True) as file:
            is_archive = file.read(2) == b"PK"  # numpy would not close a broken archive
        # Map the file: a header that promises more data than there is then fails, instead of allocating memory.
        found = None if is_archive else np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, SyntaxError, TypeError, OverflowError, MemoryError, TokenError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise ValueError(f"{path} cannot be read as an .npy file: {reason}") from None
    if not isinstance(found, np.ndarray):
        raise ValueError(f"{path} is an archive, not an .npy file")  # noqa: TRY004 - the value is wrong, not its type
    if found.ndim != 1 or found.size == 0 or found.dtype.kind not in "fiu":
        raise ValueError(f"{path} must hold a (d,) array of real numbers, and holds {found.dtype} {found.shape}")
    vector = np.array(found, dtype=np.float64)
    nan = np.flatnonzero(np.isnan(vector))
    if nan.size:
        raise ValueError(f"{path} holds NaN at index {nan[0]}")
    return vector


def read_numbers(path: str) -> NDArray[np.float64]:
    """A (d,) array of real numbers from an .npy file, or from text: one number a line, or one line of them.

    Text may have a title in its first line, numbers separated by commas, semicolons or blanks, and comments after #.

    Raises
    ------
    ValueError
        If the file does not exist, or contains anything else.
    """
    if path.endswith(".npy"):
        return read_vector(path)
    try:
        text = read_plain(path, _MOST_TEXT, follow=True).decode("utf-8-sig")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise ValueError(f"{path} cannot be read as a list of numbers: {reason}") from None
    lines = text.splitlines()
    rows = [(k, re.split(r"[,;\s]+", line.partition("#")[0].strip(" \t\r,;"))) for k, line in enumerate(lines)]
    rows = [(k, [cell.strip('"') for cell in cells]) for k, cells in rows if cells != [""]]
    first = rows[0][1] if rows else []
    if len(rows) > 1 and len(first) == 1 and _number(first[0]) is None and not re.match(r"[-+.]?\d", first[0]):
        rows = rows[1:]  # a title
    if not rows:
        raise ValueError(f"{path} holds no numbers")
    if len(rows) > 1 and (wide := [k for k, cells in rows if len(cells) > 1]):
        raise ValueError(f"{path} must hold one number a line, and line {wide[0] + 1} has more")
    found = [(k, cell, _number(cell)) for k, cells in rows for cell in cells]
    for k, cell, number in found:
        if number is None or np.isnan(number):
            raise ValueError(f"{path} must hold numbers, and line {k + 1} has {cell!r}")
    return np.array([number for _, _, number in found], dtype=np.float64)


def _number(cell: str) -> float | None:
    try:
        return None if "_" in cell else float(cell)
    except ValueError:
        return None


def first_not_finite(vector: NDArray[np.float64]) -> int | None:
    """The index of the first number that is infinite or NaN."""
    bad = np.flatnonzero(~np.isfinite(vector))
    return int(bad[0]) if bad.size else None
