"""A run's derivative and evaluations as columns, for CSV files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core.records import Status

if TYPE_CHECKING:
    from distfd.reporting.run_data import RunData

_SINGLE = ("x0", "x", "derivative", "error", "step")


def derivative_columns(data: RunData) -> dict[str, Any]:
    """One row a parameter; a column for each output of J where it has several. Empty where there is no derivative."""
    if data.numbers("derivative") is None or not data.names:
        return {}
    columns: dict[str, Any] = {"name": data.names}
    for name in _SINGLE:
        values = data.numbers(name)
        if values is None:
            continue
        if values.ndim == 1 and len(values) == len(data.names):
            columns[name] = values
        elif values.ndim == 2 and values.shape[1] == len(data.names):
            columns |= {f"{name}{a}": row for a, row in enumerate(values)}
    return columns


def evaluation_columns(data: RunData) -> dict[str, Any]:
    """One row an attempt, in the order in which they were stored."""
    rows = data.attempts.rows
    if not len(rows):
        return {}
    words = np.array([status.word for status in Status])
    places = zip(rows["point"].tolist(), rows["coordinate"].tolist(), strict=True)
    return {
        "point": rows["point"],
        "moved": [data.point_name(*place) for place in places],
        "attempt": rows["attempt"],
        "status": words[rows["status"]],
        "value": rows["value"],
        "started": rows["started"],
        "ended": rows["ended"],
        "seconds": rows["ended"] - rows["started"],
        "host": np.array(data.attempts.hosts)[rows["host"]],
        "pid": rows["pid"],
        "slot": rows["slot"],
    }
