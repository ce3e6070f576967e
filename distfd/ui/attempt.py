"""One evaluation on the local page: all that the files of its run say of it, and how to repeat it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from distfd.core.records import Status
from distfd.reporting.report_fields import moment

if TYPE_CHECKING:
    from distfd.reporting.run_data import RunData


def attempt_fields(data: RunData, row: int) -> dict[str, Any] | None:
    """All that the store says of one attempt; None where there is no such row."""
    rows = data.attempts.rows
    if not 0 <= row < len(rows):
        return None
    one = rows[row]
    started, ended = float(one["started"]), float(one["ended"])
    causes = [
        failed.message
        for failed in data.attempts.failed
        if (failed.pid, failed.attempt, failed.started) == (int(one["pid"]), int(one["attempt"]), started)
    ]
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
        "cause": causes[0] if causes else None,
    }
