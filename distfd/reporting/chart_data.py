"""The numbers for all charts of a run.

charts.js draws them in report.html and on the local page, and `distfd.plot` draws them with matplotlib. They are
columns of equal length, so that a chart, its table and other drawings of it agree.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core.records import Status
from distfd.reporting.formatting import page_json, short
from distfd.reporting.run_clock import run_clock
from distfd.reporting.time_spent import where_time_went
from distfd.reporting.timeline import busy_fields, timeline_fields
from distfd.results.derivative_result import output_names

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from distfd.reporting.run_data import RunData

    Floats = NDArray[np.float64]

BARS, LARGEST = 40, 20
"""A gradient with at most `BARS` components has a bar for each; a longer one has bars for the `LARGEST` largest."""
_STRETCHES, _SIZES = 420, 600
_CELLS = 80
"""Largest number of cells along a side of a matrix; in larger matrices, a cell shows the largest of several entries."""
_ITERATIONS = 5000
"""Largest number of iterations that are all drawn; of more, an even selection."""
_RESIDUALS = 5000
"""Largest number of residuals that are all drawn."""
_LENGTHS = 40
_SWEEPS = 8
_NAME = 60
"""Largest length of a name in a chart, in characters."""
_MOST_BYTES = 3_500_000
"""Limit in bytes for the numbers in a single-file page; with the library and the text, the page stays below 5 MB."""


def chart_fields(data: RunData, *, named: bool = False) -> dict[str, Any]:
    """The numbers of all charts of a run; null where there is nothing to draw.

    Parameters
    ----------
    data : RunData
    named : bool
        As of `distfd.reporting.timeline.timeline_fields`.
    """
    gradient = gradient_columns(data)
    return {
        "convergence": convergence_fields(data),
        "gradient": None if gradient is None else _bars(data.names, *gradient),
        "profile": None if gradient is None else _profile(gradient[0]),
        "sizes": None if gradient is None else _sizes(*gradient),
        "matrix": _matrix(data),
        "fit": fit_curves(data),
        "correlation": correlations(data),
        "sweeps": [{name: _listed(value) for name, value in one.items()} for one in sweeps(data)],
        "timeline": timeline_fields(data, named=named),
        "busy": busy_fields(data),
        "spent": _spent(data),
        "lengths": _lengths(data),
    }


def inlined(data: RunData) -> str:
    """The numbers as JSON that is safe inside a script element, whatever a run's files contain."""
    fields = chart_fields(data, named=True)
    text = _safe(fields)
    for key in ("timeline", "matrix", "fit", "gradient", "sweeps", "convergence"):
        if len(text.encode()) <= _MOST_BYTES:
            break
        text = _safe(fields := {**fields, key: None})
    return text


def _safe(fields: dict[str, Any]) -> str:
    """The JSON without characters that could end the element or begin a comment."""
    return page_json(fields).replace("&", r"\u0026").replace("<", r"\u003c").replace(">", r"\u003e")


def iterations(data: RunData) -> tuple[Floats, Floats, Floats] | None:
    """Iterations, J and |g| of the last session with iterations, NaN where not known; None if there is none."""
    ways = [session.iterations for session in data.log.sessions if session.iterations]
    if not ways:
        return None
    first = data.result.get("value0")  # the start is iteration 0 where it is known
    return columns_of_iterations([*([(0, float(first), None)] if isinstance(first, (int, float)) else []), *ways[-1]])


def columns_of_iterations(way: Iterable[Any]) -> tuple[Floats, Floats, Floats]:
    """Rows that begin with an iteration, J and |g| as three columns."""
    columns = list(zip(*(row[:3] for row in way), strict=True)) or [(), (), ()]
    return tuple(np.array(column, dtype=np.float64) for column in columns)  # type: ignore[return-value]  # three of them


def is_logarithmic(values: Floats) -> bool:
    """Whether a curve is drawn with a logarithmic axis: all values are positive and range far."""
    known = values[np.isfinite(values)]
    return bool((known > 0).all() and known.max(initial=0.0) > 30 * known.min(initial=np.inf))


def above_lowest(values: Floats) -> Floats | None:
    """J minus its lowest value, NaN where that is 0; None if the curve of J itself shows as much."""
    above = values - (np.nanmin(values) if np.isfinite(values).any() else 0.0)
    above[above <= 0] = np.nan
    return above if np.isfinite(above).sum() > 2 and not is_logarithmic(values) else None


def convergence_fields(data: RunData) -> dict[str, Any] | None:
    """J, how far it was above its lowest value, and the size of the gradient, by iteration."""
    way = iterations(data)
    if way is None:
        return None
    steps, values, norms = way
    above = above_lowest(values)
    shown = np.unique(np.linspace(0, len(steps) - 1, min(len(steps), _ITERATIONS)).astype(int))
    return {
        "name": data.measure,
        "iteration": steps[shown].astype(int).tolist(),
        "value": values[shown].tolist(),
        "gradient_norm": norms[shown].tolist(),
        "above": None if above is None else above[shown].tolist(),
    }


def gradient_columns(data: RunData) -> tuple[Floats, Floats] | None:
    """The gradient and its error bars, NaN where one is not known; None where there is no gradient."""
    gradient = data.numbers("derivative")
    if gradient is None or gradient.ndim != 1 or len(gradient) != len(data.names) or not np.isfinite(gradient).any():
        return None
    error = data.numbers("error")
    return gradient, np.full(gradient.shape, np.nan) if error is None or error.shape != gradient.shape else error


def largest_components(gradient: Floats) -> NDArray[np.int64]:
    """The components that get a bar, in the order of the parameters: all, or of very many the largest."""
    if len(gradient) <= BARS:
        return np.arange(len(gradient))
    return np.sort(np.argsort(-np.abs(np.nan_to_num(gradient)), kind="stable")[:LARGEST])


def falling_sizes(gradient: Floats, error: Floats) -> tuple[Floats, Floats]:
    """Sizes of the components that are not 0, in falling order, and the error bars of the same components."""
    known = np.isfinite(gradient) & (gradient != 0)
    order = np.argsort(-np.abs(gradient[known]), kind="stable")
    return np.abs(gradient[known])[order], error[known][order]


def profile(gradient: Floats) -> tuple[NDArray[np.int64], Floats, Floats]:
    """Edges of stretches of parameters, and the least and the greatest component in each, or 0."""
    edges = np.unique(np.linspace(0, len(gradient), min(_STRETCHES, len(gradient)) + 1).astype(int))
    filled = np.nan_to_num(gradient)
    low = np.minimum(np.minimum.reduceat(filled, edges[:-1]), 0.0)
    return edges, low, np.maximum(np.maximum.reduceat(filled, edges[:-1]), 0.0)


def _bars(names: list[str], gradient: Floats, error: Floats) -> dict[str, Any]:
    shown = largest_components(gradient)
    return {
        "names": [short(names[k], _NAME) for k in shown.tolist()],
        "derivative": gradient[shown].tolist(),
        "error": error[shown].tolist(),
    }


def _profile(gradient: Floats) -> dict[str, Any] | None:
    if len(gradient) <= BARS:
        return None
    edges, low, high = profile(gradient)
    return {"edges": edges.tolist(), "low": low.tolist(), "high": high.tolist()}


def _sizes(gradient: Floats, error: Floats) -> dict[str, Any] | None:
    sizes, bars = falling_sizes(gradient, error)
    if len(gradient) <= BARS or not len(sizes):
        return None
    at = np.unique(np.linspace(0, len(sizes) - 1, min(len(sizes), _SIZES)).astype(int))
    return {
        "rank": (at + 1).tolist(),
        "size": sizes[at].tolist(),
        "error": np.where(bars > 0, bars, np.nan)[at].tolist(),
    }


def matrix_cells(data: RunData) -> tuple[Floats, list[str], list[str]] | None:
    """Absolute entries of a Jacobian or Hessian, NaN where missing, with names of rows and columns.

    In a large matrix, a cell is the largest of several entries, with the name of the first. None if there is no matrix,
    or all entries are 0.
    """
    matrix = data.numbers("derivative")
    if matrix is None or matrix.ndim != 2 or not matrix.size or matrix.shape[1] > len(data.names):
        return None
    rows, columns = (np.linspace(0, n, min(n, _CELLS) + 1).astype(int) for n in matrix.shape)
    filled = np.where(np.isnan(matrix), -1.0, np.abs(matrix))
    cells = np.maximum.reduceat(np.maximum.reduceat(filled, rows[:-1], axis=0), columns[:-1], axis=1)
    if not (np.isfinite(cells) & (cells > 0)).any():
        return None
    outputs = data.names if data.task == "hessian" else output_names(data.outputs, len(matrix))
    if len(outputs) < len(matrix):
        return None
    named = [outputs[k] for k in rows[:-1]], [data.names[k] for k in columns[:-1]]
    return np.where(cells < 0, np.nan, cells), *named


def _matrix(data: RunData) -> dict[str, Any] | None:
    found = matrix_cells(data)
    if found is None:
        return None
    cells, rows, columns = found
    shown = [[short(name, _NAME) for name in names] for names in (rows, columns)]
    return {"rows": shown[0], "columns": shown[1], "cells": cells.tolist()}


def fit_curves(data: RunData) -> dict[str, Any] | None:
    """Residuals of a fit by their number, with the data and the model where they are known; of very many, every n-th.

    None where the run is no fit, or its residuals are no list of numbers.
    """
    residuals = data.numbers("residuals")
    if data.task != "least_squares" or residuals is None or residuals.ndim != 1 or not np.isfinite(residuals).any():
        return None
    columns = {"data": of_fit(data, "data"), "model": of_fit(data, "model")}
    beside = [values for values in columns.values() if values is not None and values.ndim == 1]
    whole = len(beside) == 2 and len(beside[0]) == len(beside[1]) <= len(residuals)  # priors are the last residuals
    number = np.arange(0, len(residuals), -(-len(residuals) // _RESIDUALS))
    return {
        "number": number.tolist(),
        "residual": residuals[number].tolist(),
        **{
            name: values[number[number < len(values)]].tolist() if whole and values is not None else None
            for name, values in columns.items()
        },
    }


def correlations(data: RunData) -> dict[str, Any] | None:
    """Correlations of a fit's parameters, NaN where not known; None where there are none, or too many to see."""
    found = of_fit(data, "correlation")
    if found is None or found.ndim != 2 or found.shape != (len(data.names),) * 2 or not 2 <= len(found) <= _CELLS:
        return None
    if not np.isfinite(found).any():
        return None
    return {"names": [short(name, _NAME) for name in data.names], "cells": found.tolist()}


def of_fit(data: RunData, key: str) -> Floats | None:
    """An array of a fit's statistics, NaN for null; None where it is missing or no array of numbers."""
    fit = data.result.get("fit")
    if not isinstance(fit, dict) or not isinstance(fit.get(key), list):
        return None
    try:
        return np.array(fit[key], dtype=np.float64)
    except (TypeError, ValueError):
        return None


def sweeps(data: RunData) -> list[dict[str, Any]]:
    """Step sweeps of a check, as columns of `sweep_columns` with the ``name`` of the parameter."""
    found: list[dict[str, Any]] = []
    given = (data.check or {}).get("sweep")
    for one in given if isinstance(given, list) else ():
        if isinstance(one, dict) and len(found) < _SWEEPS:
            columns = sweep_columns(one)
            if columns is not None:
                found.append({"name": short(str(one.get("name")), _NAME), **columns})
    return found


def sweep_columns(one: dict[str, Any]) -> dict[str, Any] | None:
    """How far forward and central differences are from the best value, and what noise alone may do, over the step.

    Parameters
    ----------
    one : dict
        Numbers of ``derivative`` and ``error``, and columns ``step``, ``forward``, ``forward_noise``, ``central`` and
        ``central_noise``.

    Returns
    -------
    dict or None
        Columns with NaN where there is nothing to draw on a logarithmic axis; None where these do not fit together.
    """
    step, best, bar = (_array(one.get(name)) for name in ("step", "derivative", "error"))
    names = ("forward", "forward_noise", "central", "central_noise")
    columns = {name: _array(one.get(name)) for name in names}
    if step.ndim != 1 or best.ndim or any(column.shape != step.shape for column in columns.values()):
        return None
    for name in ("forward", "central"):
        columns[name] = np.abs(columns[name] - best)
    positive = {name: np.where(column > 0, column, np.nan) for name, column in columns.items()}
    return {"step": step, "derivative": float(best), "error": np.nan if bar.ndim else float(bar), **positive}


def _array(value: Any) -> Floats:
    try:
        return np.array(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        return np.full((1, 1), np.nan)


def _listed(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value


def _spent(data: RunData) -> list[dict[str, Any]] | None:
    clock = run_clock(data)
    shares = where_time_went(data, clock) if clock is not None else []
    return [{"kind": one.kind, "title": one.title, "seconds": one.seconds} for one in shares] or None


def lengths(data: RunData) -> Floats:
    """Seconds that evaluations with a value took."""
    rows = data.attempts.rows
    seconds = rows["ended"] - rows["started"]
    return np.asarray(seconds[(rows["status"] == Status.OK) & np.isfinite(seconds) & (seconds >= 0)])


def histogram(seconds: Floats) -> tuple[NDArray[np.int64], Floats, bool]:
    """A histogram of durations: counts, edges in seconds, and whether the edges grow by a constant factor."""
    wide = bool(seconds.max() > 5 * max(float(np.median(seconds)), 1e-9))
    least = max(float(seconds.min()), 1e-7)
    edges = np.geomspace(least, float(seconds.max()) * 1.001, _LENGTHS + 1) if wide else None
    counts, edges = np.histogram(np.maximum(seconds, least), bins=_LENGTHS if edges is None else edges)
    return counts, edges, wide


def _lengths(data: RunData) -> dict[str, Any] | None:
    seconds = lengths(data)
    if len(seconds) < 20:
        return None
    counts, edges, wide = histogram(seconds)
    return {"edges": edges.tolist(), "counts": counts.tolist(), "logarithmic": wide}
