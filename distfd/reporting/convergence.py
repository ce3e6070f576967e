"""The course of an optimiser: J, or the cost of a fit, and the size of its gradient by iteration."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from distfd.reporting.chart_data import above_lowest, iterations
from distfd.reporting.figure import figure, numbers
from distfd.reporting.formatting import count, number

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from distfd.reporting.run_data import RunData

    Floats = NDArray[np.float64]

_ROWS = 60


def convergence_section(data: RunData) -> Markup:
    """The section for the last session with iterations; empty if the run is no optimisation."""
    way = iterations(data)
    if way is None:
        return Markup("")
    steps, values, norms = way
    above = above_lowest(values)
    what, name = data.measure, _named(data.measure)
    parts = [_curve("convergence", name, f"{name} by iteration", steps, values)]
    if above is not None:
        far = f"How far {'J' if what == 'J' else 'the cost'} was above its lowest value"
        parts.append(_curve("above", f"{name} above its lowest value", far, steps, above))
    if np.isfinite(norms).sum() > 1:
        parts.append(_curve("norms", "|g|", "Size of the gradient by iteration", steps, norms))
    return Markup("").join([*parts, _table(what, steps, values, norms)])


def _named(measure: str) -> str:
    """As it begins a sentence."""
    return measure[:1].upper() + measure[1:]


def _curve(key: str, name: str, title: str, steps: Floats, values: Floats) -> Markup:
    known = values[np.isfinite(values)]
    if not len(known):
        return Markup("")
    ends = number(float(known[0]), 5), number(float(known[-1]), 5)
    told = f"{name} goes from {ends[0]} to {ends[1]} in {count(int(steps[-1]), 'iteration')}."
    return Markup("<h3>{}</h3>\n<p>{}</p>\n{}").format(title, told, figure(key, title, told))


def _table(what: str, steps: Floats, values: Floats, norms: Floats) -> Markup:
    n = len(steps)
    shown = list(range(n)) if n <= _ROWS else [*range(10), *range(n - 20, n)]
    caption = "Iterations" if len(shown) == n else f"The first 10 and the last 20 of {count(n, 'iteration')}"
    rows = [(f"{int(steps[k])}", number(float(values[k]), 10), number(float(norms[k]), 4)) for k in shown]
    return numbers(caption, ["iteration", what, "|g|"], rows)
