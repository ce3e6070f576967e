"""Paths and modes of files: ~ in a path, and files that their owner alone may read."""

from __future__ import annotations

import os
from pathlib import Path


def at_home(path: str | os.PathLike[str]) -> Path:
    """The path with ~ and ~user written out; as it is where there is no such user."""
    try:
        return Path(path).expanduser()
    except (RuntimeError, ValueError):
        return Path(path)


def owner_only(path: str, flags: int) -> int:
    """For ``open(..., opener=owner_only)``: a file that this makes has the mode 0600 from its first moment."""
    return os.open(path, flags, 0o600)
