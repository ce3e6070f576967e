"""One evaluation on the local page: all that the files of its run say of it, and how to repeat it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distfd.core.files import parse_json, read_plain
from distfd.core.records import Status
from distfd.reporting.attempts import read_point
from distfd.reporting.report_fields import moment

if TYPE_CHECKING:
    from distfd.reporting.run_data import RunData

_PLACE = re.compile(r"; work directory (.+?)(?: \(sh rerun\.sh there runs it again\))?$", re.DOTALL)
"""How a failed program's message ends where its directory was kept."""
_FOLDERS = 400
"""Work directories that are looked into for that of an evaluation which succeeded."""
_LARGEST = 2**20
_LONGEST_COMMAND = 100_000
"""Characters; a longer argument is more than Linux hands to a program."""


def attempt_fields(data: RunData, row: int) -> dict[str, Any] | None:
    """All that the files of a run say of one attempt; None where there is no such row.

    Parameters
    ----------
    data : RunData
    row : int
        In the order in which the store holds the attempts.

    Returns
    -------
    dict or None
        ``x`` is null where the store does not hold all of it; ``moved`` is the one coordinate that it then knows.
        ``directory`` is the work directory that was kept, and ``command`` what evaluates J there again.
    """
    rows = data.attempts.rows
    if not 0 <= row < len(rows):
        return None
    one = rows[row]
    started, ended = float(one["started"]), float(one["ended"])
    point = read_point(data.path / "evaluations.sqlite", row)
    x = None if point is None else point.x(len(data.names))
    message = "" if point is None else point.message
    place = _PLACE.search(message)
    folder = _told_folder(data, place[1]) if place else _folder_of(data, x, ended)
    moved = None
    if point is not None and point.value is not None and 0 <= (point.coordinate or 0) < len(data.names):
        moved = f"{data.names[point.coordinate or 0]} = {point.value!r}"
    return {
        "point": data.point_name(int(one["point"]), int(one["coordinate"])),
        "status": Status(int(one["status"])).word,
        "value": float(one["value"]),
        "attempt": int(one["attempt"]),
        "seconds": ended - started,
        "started": moment(started),
        "ended": moment(ended),
        "slot": int(one["slot"]),
        "host": data.attempts.hosts[int(one["host"])],
        "pid": int(one["pid"]),
        "cause": (message[: place.start()] if place else message) or None,
        "names": data.names if x is not None else None,
        "x": x,
        "moved": moved,
        "directory": str(folder) if folder is not None else place[1] if place else None,
        "command": _command(data, x, folder),
    }


def _told_folder(data: RunData, told: str) -> Path | None:
    """The directory of a failed program, if it is where this run keeps its own: no other path is so much as looked at.

    By its name alone, as the run's directory may have been moved since.
    """
    name = Path(told).name
    if name in ("", ".", "..") or (data.path / "work").is_symlink():
        return None
    folder = data.path / "work" / name
    return folder if _is_file(folder / "distfd-outcome.json") and not folder.is_symlink() else None


def _folder_of(data: RunData, x: list[float] | None, ended: float) -> Path | None:
    """The directory of a program that had this x, of several that which ended nearest; None where none was kept."""
    work = data.path / "work"
    if x is None or not work.is_dir() or work.is_symlink():
        return None
    found: list[tuple[float, Path]] = []
    for outcome in sorted(work.glob("*/distfd-outcome.json"))[:_FOLDERS]:
        try:
            given = parse_json(read_plain(outcome.parent / "parameters.json", _LARGEST).decode("utf-8", "replace"))
            if [float(given[name]) for name in data.names] != x:
                continue
            when = float(parse_json(read_plain(outcome, _LARGEST).decode("utf-8", "replace"))["ended"])
        except (OSError, ValueError, TypeError, KeyError, RecursionError, OverflowError):
            continue
        found.append((abs(when - ended), outcome.parent))
    return min(found)[1] if found else None


def _command(data: RunData, x: list[float] | None, folder: Path | None) -> str | None:
    """What evaluates J at this point again: the script that a program's directory holds, or distfd with the point.

    It is shown and never run; what a terminal would not show as it is makes no command.
    """
    if folder is not None and _is_file(folder / "rerun.sh"):
        text = f"sh {shlex.quote(str(folder.absolute() / 'rerun.sh'))}"
    elif x is not None and _is_file(data.path / "config.yaml"):
        config = shlex.quote(str(data.path.absolute() / "config.yaml"))
        text = f"distfd run {config} --evaluate={','.join(map(repr, x))}"
        given = [session.config for session in data.log.sessions if session.config]
        if given:  # where its modules are
            text = f"cd {shlex.quote(str(Path(given[-1]).parent))} && {text}"
    else:
        return None
    return text if text.isprintable() and len(text) <= _LONGEST_COMMAND else None


def _is_file(path: Path) -> bool:
    try:
        return path.is_file() and not path.is_symlink()
    except (OSError, ValueError):
        return False
