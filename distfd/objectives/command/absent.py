"""What is said of a program that is not there: why, and what to do."""

from __future__ import annotations

import difflib
import os
from typing import TYPE_CHECKING

from distfd.core.suggestions import did_you_mean, programs

if TYPE_CHECKING:
    from pathlib import Path


def absent(program: str, base: Path, hint: str | None) -> str:
    """The message for a program that cannot be found or run.

    Parameters
    ----------
    program : str
        As it would be started: a name for the PATH, or a path.
    base : Path
        The folder of relative paths, in which the user may have it.
    hint : str or None
        What to install.
    """
    if "/" not in program:
        if (base / program).is_file():
            return f"{program} is not on the PATH; the one that stands in {base} is written ./{program} in argv"
        near = "" if hint else did_you_mean(program, programs(os.environ.get("PATH"))).rstrip("?")
        return _hinted(f"{program} is not installed{near}", hint)
    path = base / program
    if path.is_dir():
        return f"{program} is a folder, not a program"
    if path.is_file():
        return f"{program} is not marked executable: chmod +x it, or name its interpreter first in argv"
    near = _close(path)
    return f"{program} does not exist{near}" if near else _hinted(f"{program} does not exist", hint)


def _hinted(text: str, hint: str | None) -> str:
    return f"{text}: {hint}" if hint else f"{text}; set objective.command.hint to say how to get it"


def _close(path: Path) -> str:
    try:
        names = os.listdir(path.parent)[:1000]  # noqa: PTH208  # names are all that is asked for
    except OSError:
        return f", nor does the folder {path.parent}"
    near = difflib.get_close_matches(path.name, names, 1)
    return f"; did you mean {near[0]}" if near else ""
