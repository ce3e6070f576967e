"""A run's derivative and evaluations as columns, for CSV files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core.records import Status
from distfd.results.derivative_result import jacobian_titles, output_names

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
            outputs = data.outputs if data.task == "jacobian" and len(data.outputs or ()) == len(values) else None
            columns |= {_title(name, a, outputs, data.names): row for a, row in enumerate(values)}
    return columns


def residual_columns(data: RunData) -> dict[str, Any]:
    """One row a residual of a fit, with its derivative by each parameter. Empty where there are none."""
    residuals, jacobian = data.numbers("residuals"), data.numbers("jacobian")
    if data.task != "least_squares" or residuals is None or residuals.ndim != 1:
        return {}
    columns: dict[str, Any] = {"name": output_names(data.outputs, len(residuals)), "residual": residuals}
    if jacobian is not None and jacobian.shape == (len(residuals), len(data.names)):
        columns |= {f"d / d {name}": jacobian[:, k] for k, name in enumerate(data.names)}
    return columns


def _title(field: str, a: int, outputs: list[str] | None, names: list[str]) -> str:
    """The column of output a in a field of result.json."""
    if outputs is None:
        return f"{field}{a}"
    return jacobian_titles(outputs, names, len(outputs))[a] if field == "derivative" else f"{field} of {outputs[a]}"


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
