"""The numbers behind the charts of the local page, which a library draws in the browser.

They are those of the drawings in report.html: an optimisation's way, the gradient with its bars, and every attempt on
its slot.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core.records import Status
from distfd.reporting.attempt_kinds import CLASSES, WORDS, kinds
from distfd.reporting.convergence import iterations
from distfd.reporting.report_fields import moment
from distfd.reporting.run_clock import run_clock

if TYPE_CHECKING:
    from distfd.reporting.run_data import RunData

_COMPONENTS, _LARGEST = 40, 20
"""Components of a gradient that all have a bar, and how many have of more: the largest, as in report.html."""
_ATTEMPTS = 20_000
"""Attempts up to which each is drawn in the browser; of more the page shows how busy the slots were."""


def chart_fields(data: RunData) -> dict[str, Any]:
    """Numbers of all charts of a run; null for what there is nothing to draw of."""
    return {"convergence": convergence_fields(data), "gradient": _gradient(data), "timeline": _timeline(data)}


def convergence_fields(data: RunData) -> dict[str, Any] | None:
    """J and the size of the gradient by iteration."""
    way = iterations(data)
    if way is None:
        return None
    steps, values, norms = way
    return {"iteration": steps.astype(int).tolist(), "value": values.tolist(), "gradient_norm": norms.tolist()}


def _gradient(data: RunData) -> dict[str, Any] | None:
    gradient = data.numbers("derivative")
    if gradient is None or gradient.ndim != 1 or len(gradient) != len(data.names):
        return None
    error = data.numbers("error")
    error = np.full(gradient.shape, np.nan) if error is None or error.shape != gradient.shape else error
    most = len(gradient) if len(gradient) <= _COMPONENTS else _LARGEST
    shown = np.sort(np.argsort(-np.abs(np.nan_to_num(gradient)), kind="stable")[:most])
    return {
        "names": [data.names[k] for k in shown.tolist()],
        "derivative": gradient[shown].tolist(),
        "error": error[shown].tolist(),
    }


def _timeline(data: RunData) -> dict[str, Any] | None:
    """Columns of attempts: number in ``slots``, begin and end in seconds of running, kind, row of the store."""
    rows = data.attempts.rows
    at = np.flatnonzero(np.isfinite(rows["started"]) & np.isfinite(rows["ended"]) & (rows["slot"] >= 0))
    clock = run_clock(data)
    if clock is None or not len(at) or len(at) > _ATTEMPTS:
        return None
    rows = rows[at]
    clock = clock.from_first(rows["started"])
    slots = np.unique(rows["slot"])
    return {
        "slots": slots.tolist(),
        "slot": np.searchsorted(slots, rows["slot"]).tolist(),
        "begin": np.round(clock(rows["started"]), 6).tolist(),
        "end": np.round(clock(rows["ended"]), 6).tolist(),
        "kind": kinds(rows).tolist(),
        "row": at.tolist(),
        "kinds": list(CLASSES),
        "words": list(WORDS),
        "seconds": clock.total,
    }


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
