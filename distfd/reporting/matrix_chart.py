"""A Jacobian or Hessian as a map of the sizes of its entries."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from distfd.reporting.chart_data import matrix_cells
from distfd.reporting.figure import figure, numbers
from distfd.reporting.formatting import number

if TYPE_CHECKING:
    from distfd.reporting.run_data import RunData

_LARGEST = 20


def matrix_section(data: RunData) -> Markup:
    """Nothing where the derivative is no matrix."""
    found, matrix = matrix_cells(data), data.numbers("derivative")
    if found is None or matrix is None:
        return Markup("")
    cells, row_names, column_names = found
    title = f"Sizes of the entries, {matrix.shape[0]} by {matrix.shape[1]}"
    rows = "Rows and columns are parameters" if data.task == "hessian" else "Rows are outputs of J, columns parameters"
    told = f"{rows}; the largest size is {number(float(np.nanmax(cells)), 3)}."
    order = np.argsort(-np.nan_to_num(cells), axis=None, kind="stable")[:_LARGEST]
    at = [(int(k) // cells.shape[1], int(k) % cells.shape[1]) for k in order]
    largest = [(row_names[i], column_names[j], number(float(cells[i, j]), 5)) for i, j in at if cells[i, j] > 0]
    whole = cells.shape == matrix.shape
    caption = f"The {len(largest)} largest" + ("" if whole else ", each of several entries that begin with these")
    table = numbers(caption, ["row", "column", "size"], largest)
    colours = "The scale of colours is logarithmic; zeros have the colour of its lower end."
    return Markup("<h3>{}</h3>\n<p>{} {}</p>\n{}{}").format(title, told, colours, figure("matrix", title, told), table)
