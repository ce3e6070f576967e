"""A fit: the data against the model, the residuals, and how the parameters' errors go together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from distfd.reporting.chart_data import correlations, fit_curves, of_fit
from distfd.reporting.figure import figure, legend, numbers
from distfd.reporting.formatting import count, number
from distfd.results.derivative_result import output_names

if TYPE_CHECKING:
    from distfd.reporting.run_data import RunData

_LARGEST = 20


def fit_section(data: RunData) -> Markup:
    """Nothing where the run is no fit."""
    return Markup("").join([*_residuals(data), *_correlations(data)])


def _residuals(data: RunData) -> list[Markup]:
    found, residuals = fit_curves(data), data.numbers("residuals")
    if found is None or residuals is None:
        return []
    parts = []
    if found["data"] is not None:
        title = "Data and model"
        told = f"{count(len(found['data']), 'measured value')}, and what the model says at the solution."
        parts += [Markup("<h3>{}</h3>\n").format(title), figure("fit", title, told)]
        parts.append(legend([("second", "data"), ("curve", "model")]))
    title = "Residuals"
    least, most = (number(float(end), 3) for end in (np.nanmin(residuals), np.nanmax(residuals)))
    told = (
        f"{count(len(residuals), 'residual')}, from {least} to {most}. Those of a good fit scatter around 0 without a "
        "pattern."
    )
    parts += [Markup("<h3>{}</h3>\n<p>{}</p>\n").format(title, told), figure("residuals", title, told)]
    return [*parts, _largest(data)]


def _largest(data: RunData) -> Markup:
    """The largest residuals with their names, data and model."""
    residuals = data.numbers("residuals")
    assert residuals is not None, "there are some"
    order = np.argsort(-np.abs(np.nan_to_num(residuals)), kind="stable")[:_LARGEST].tolist()
    names = output_names(data.outputs, len(residuals))
    named = len(names) == len(residuals)
    columns = [("residual", residuals)]
    shown = [(key, of_fit(data, key)) for key in ("data", "model")]
    columns += [(key, values) for key, values in shown if values is not None and values.ndim == 1]
    rows = [
        (names[k] if named else str(k), *(number(float(v[k]), 5) if k < len(v) else "" for _, v in columns))
        for k in order
    ]
    caption = f"The {len(rows)} largest residuals" if len(rows) < len(residuals) else "All residuals"
    return numbers(caption, ["output", *(title for title, _ in columns)], rows)


def _correlations(data: RunData) -> list[Markup]:
    found = correlations(data)
    if found is None:
        return []
    title = "Correlations of the parameters"
    cells, names = np.array(found["cells"]), found["names"]
    pairs = [(i, j) for i in range(len(names)) for j in range(i)]
    pairs.sort(key=lambda pair: -abs(np.nan_to_num(cells[pair])))
    told = "Where the size is near 1, the data tell a combination of the two better than each by itself."
    rows = [(names[j], names[i], number(float(cells[i, j]), 3)) for i, j in pairs[:_LARGEST]]
    caption = "All pairs" if len(rows) == len(pairs) else f"The {len(rows)} pairs with the largest correlation"
    return [
        Markup("<h3>{}</h3>\n<p>{}</p>\n").format(title, told),
        figure("correlation", title, told),
        numbers(caption, ["parameter", "parameter", "correlation"], rows),
    ]
