"""What the page shows as fields for programs: ``distfd report --json`` and the local page."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core.records import Status
from distfd.reporting.run_clock import run_clock
from distfd.reporting.time_spent import where_time_went

if TYPE_CHECKING:
    from distfd.reporting.log_file import LoggedSession
    from distfd.reporting.run_data import RunData


def report_fields(data: RunData) -> dict[str, Any]:
    """The whole report in JSON's own types; docs/command-line.md lists the fields.

    Times are ISO 8601 in UTC, lengths of time are in seconds, and what is not known is null.
    """
    clock = run_clock(data)
    shares = where_time_went(data, clock) if clock is not None else []
    return {
        "path": str(data.path),
        "state": data.status,
        "task": data.task,
        "writer": data.writer,
        "names": data.names,
        "result": data.result or None,
        "sessions": [_session(session) for session in data.log.sessions],
        "evaluations": evaluations_fields(data),
        "time_spent": [{"part": one.kind, "meaning": one.meaning, "seconds": one.seconds} for one in shares],
        "causes": [
            {"status": status, "cause": cause, "attempts": attempts, "points": points}
            for status, cause, attempts, points in data.attempts.causes
        ],
        "failures": [
            {
                "point": data.point_name(one.point, one.coordinate),
                "attempt": one.attempt,
                "status": one.status,
                "message": one.message,
                "host": one.host,
                "pid": one.pid,
                "slot": one.slot,
                "started": moment(one.started),
                "ended": moment(one.ended),
            }
            for one in data.attempts.failed
        ],
        "work_directories": [
            {"path": folder.path, "status": folder.status, "failure": folder.failure} for folder in data.folders
        ],
        "check": data.check,
        "trouble": data.attempts.trouble or None,
    }


def evaluations_fields(data: RunData) -> dict[str, Any]:
    """Attempts by how they ended, and how long those took that have a value."""
    rows = data.attempts.rows
    ok = rows[rows["status"] == Status.OK]
    seconds = ok["ended"] - ok["started"]
    seconds = seconds[np.isfinite(seconds) & (seconds >= 0)]
    marks = np.quantile(seconds, [0.0, 0.5, 0.9, 1.0]).tolist() if len(seconds) else [None] * 4
    lengths = dict(zip(("shortest", "median", "nine_of_ten_within", "longest"), marks, strict=True))
    attempts = {status.word: n for status in Status if (n := int((rows["status"] == status).sum()))}
    return {"attempts": attempts, "seconds": lengths, "hosts": len(data.attempts.hosts)}


def moment(epoch: float | None) -> str | None:
    """A time as ISO 8601 in UTC; None where it is not known, or is none that a calendar has."""
    if epoch is None or not np.isfinite(epoch):
        return None
    try:
        return datetime.fromtimestamp(epoch, UTC).isoformat(timespec="milliseconds")
    except (OverflowError, ValueError, OSError):
        return None


def _session(session: LoggedSession) -> dict[str, Any]:
    return {
        "task": session.task,
        "started": moment(session.started),
        "ended": moment(session.ended),
        "status": session.status or None,
        "waves": [
            {
                "task": wave.task,
                "n_points": wave.n_points,
                "n_reused": wave.n_reused,
                "slots": wave.slots,
                "started": moment(wave.started),
                "ended": moment(wave.ended),
                "ideal_seconds": wave.ideal_seconds,
            }
            for wave in session.waves
        ],
        "iterations": [
            {"iteration": iteration, "value": value, "gradient_norm": norm}
            for iteration, value, norm in session.iterations
        ],
    }
