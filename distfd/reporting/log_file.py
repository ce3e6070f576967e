"""What log.jsonl tells of a run: its sessions, their waves, and an optimizer's iterations."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from distfd.core.files import open_plain, parse_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CHECK = "check"
"""The task of a session of ``distfd check``."""
_LABELS = 2000
"""Largest number of failed attempts whose points' names are kept."""


@dataclass
class LoggedWave:
    """One wave; times are seconds since the epoch by the driver's clock."""

    task: str
    n_points: int
    n_reused: int
    slots: int
    started: float
    ended: float | None = None
    ideal_seconds: float | None = None


@dataclass
class LoggedSession:
    """One process's work on the run; ``status`` is empty where it was killed."""

    task: str
    started: float
    ended: float | None = None
    status: str = ""
    waves: list[LoggedWave] = field(default_factory=list)
    iterations: list[tuple[int, float, float | None]] = field(default_factory=list)
    """(iteration, J, norm of the gradient)."""
    last: float = 0.0
    """The time of its last entry, in seconds since the epoch."""
    config: str = ""
    """The configuration file that it was given."""


@dataclass
class RunLog:
    """All sessions of a run, in order, and the names of points at which attempts failed."""

    sessions: list[LoggedSession] = field(default_factory=list)
    labels: dict[tuple[int, int, str], set[str]] = field(default_factory=dict)
    """(pid, attempt, cause) -> points."""
    waits: list[tuple[float, str]] = field(default_factory=list)
    """(seconds, reason) of times in which nothing ran."""

    @property
    def only_checked(self) -> bool:
        """Whether all sessions were checks of the derivative."""
        return bool(self.sessions) and all(session.task == CHECK for session in self.sessions)


def read_log(path: Path) -> RunLog:
    """The log as far as it can be read: a killed run may have cut its last line."""
    log = RunLog()
    for entry in _entries(path):
        try:
            _take(log, entry, datetime.fromisoformat(entry["time"]).timestamp())
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError, OSError):
            continue
    return log


def _entries(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with open_plain(path) as file:
            while line := file.readline(_LINE):
                try:
                    entry = parse_json(line.decode("utf-8", "replace"))
                except (ValueError, RecursionError):
                    continue
                if isinstance(entry, dict):
                    yield entry
    except OSError:
        return


_LINE = 2**26
"""Largest length of a line in bytes: an iterate of a million coordinates has 20 MB."""


_MOST = 2**53
"""No count comes near it, and a double holds each below."""


def _count(number: Any) -> int:
    """A number of things; `ValueError` where there cannot be so many."""
    count = int(number)
    if not 0 <= count <= _MOST:
        raise ValueError(number)
    return count


def _take(log: RunLog, entry: dict[str, Any], at: float) -> None:
    kind = entry["event"]
    if kind.endswith("_started") and kind not in ("wave_started", "slot_started"):
        config = str(entry.get("config") or "")
        log.sessions.append(LoggedSession(str(entry.get("task", "")), at, config=config))
    if not log.sessions:
        log.sessions.append(LoggedSession("", at))
    session = log.sessions[-1]
    session.last = max(session.last, at)
    if kind == "wave_started":
        n_points, n_reused, slots = (_count(entry[name]) for name in ("n_points", "n_reused", "slots"))
        session.waves.append(LoggedWave(str(entry["task"]), n_points, n_reused, slots, at))
    elif kind == "wave_ended" and session.waves:
        session.waves[-1].ended = at
        session.waves[-1].ideal_seconds = float(entry["ideal_seconds"])
    elif kind == "iterated":
        norm = entry.get("gradient_norm")
        session.iterations.append(
            (_count(entry["iteration"]), float(entry["value"]), None if norm is None else float(norm))
        )
    elif kind == "attempt_failed" and len(log.labels) < _LABELS:
        key = int(entry["pid"]), int(entry["attempt"]), str(entry["cause"])
        log.labels.setdefault(key, set()).add(str(entry["point"]))
    elif kind == "waiting":
        log.waits.append((float(entry["seconds"]), str(entry["reason"])))
    elif kind in ("run_ended", "check_ended"):
        session.ended, session.status = at, str(entry.get("status", ""))
