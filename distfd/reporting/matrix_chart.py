"""A Jacobian or Hessian as a map of the sizes of its entries."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from distfd.reporting import svg
from distfd.reporting.formatting import number, short
from distfd.results.derivative_result import output_names

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from distfd.reporting.run_data import RunData

_MOST = 80
"""Cells along a side; of larger matrices a cell is the largest of several entries."""
_SHADES = 5
_LEFT, _TOP = 150.0, 20.0


def matrix_section(data: RunData) -> Markup:
    """Nothing where the derivative is no matrix."""
    matrix = data.numbers("derivative")
    if matrix is None or matrix.ndim != 2 or not matrix.size:
        return Markup("")
    cells, row_edges, column_edges = _cells(np.abs(matrix))
    known = cells[np.isfinite(cells) & (cells > 0)]
    if not len(known):
        return Markup("")
    top = float(known.max())
    side = min(26.0, 780.0 / cells.shape[1], 560.0 / cells.shape[0])
    shades: list[list[str]] = [[] for _ in range(_SHADES + 2)]
    for i in range(cells.shape[0]):
        for first, past, shade in svg.runs(_shade(cells[i], top)):
            x, y = _LEFT + first * side, _TOP + i * side
            shades[shade].append(f"M{x:.1f} {y:.1f}H{_LEFT + past * side:.1f}v{side:.1f}H{x:.1f}Z")
    parts = [svg.path(shades[k], f"shade shade{k}") for k in range(1, _SHADES + 1)]
    parts += [svg.path(shades[_SHADES + 1], "absent"), *_edges(data, cells, side, row_edges, column_edges)]
    title = f"Sizes of the entries, {matrix.shape[0]} by {matrix.shape[1]}"
    rows = "parameters" if data.task == "hessian" else "outputs of J"
    told = f"Rows are {rows}, columns parameters; the largest size is {number(top, 3)}."
    entries = [(f"shade{k}", f"over {number(top * 10.0 ** (k - 1 - _SHADES), 2)}") for k in range(_SHADES, 0, -1)]
    drawing = svg.chart("matrix", title, told, _TOP + cells.shape[0] * side + 26, parts)
    return Markup("<h3>{}</h3>\n{}{}").format(title, drawing, svg.legend(entries))


def _cells(sizes: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    rows, columns = (np.linspace(0, n, min(n, _MOST) + 1).astype(int) for n in sizes.shape)
    filled = np.where(np.isnan(sizes), -1.0, sizes)
    cells = np.maximum.reduceat(np.maximum.reduceat(filled, rows[:-1], axis=0), columns[:-1], axis=1)
    return np.where(cells < 0, np.nan, cells), rows, columns


def _shade(row: NDArray[np.float64], top: float) -> NDArray[np.int64]:
    """A shade a decade below the largest; 0 for what is smaller still, the last for what is missing."""
    with np.errstate(divide="ignore", invalid="ignore"):
        shade = np.clip(np.ceil(np.log10(row / top) + _SHADES), 0, _SHADES)
    return np.where(np.isnan(row), _SHADES + 1, np.nan_to_num(shade)).astype(np.int64)


def _edges(
    data: RunData, cells: NDArray[np.float64], side: float, rows: NDArray[np.int64], columns: NDArray[np.int64]
) -> list[Markup]:
    every = max(1, int(np.ceil(14 / side)))
    derivative = data.numbers("derivative")
    outputs = output_names(data.outputs, 0 if derivative is None else len(derivative))
    parts = []
    for i in range(0, len(cells), every):
        name = data.names[rows[i]] if data.task == "hessian" else outputs[rows[i]]
        parts.append(svg.text(_LEFT - 8, _TOP + (i + 0.5) * side + 4, short(name, 18), "tick", "end"))
    bottom = _TOP + len(cells) * side + 16
    last = cells.shape[1] - 1
    for j, anchor in ((0, "start"), (last, "end")) if last else ((0, "start"),):
        x = _LEFT + (j + (j == last)) * side if last else _LEFT
        parts.append(svg.text(x, bottom, short(data.names[columns[j]], 18), "tick", anchor))
    return parts
