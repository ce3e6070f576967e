"""The gradient: a bar for each component with its error, or its profile and its sizes where there are many."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from distfd.reporting.chart_data import LARGEST, falling_sizes, gradient_columns, largest_components
from distfd.reporting.figure import figure, legend, numbers
from distfd.reporting.formatting import count, number

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from distfd.reporting.run_data import RunData

    Floats = NDArray[np.float64]

_QUANTILES = (1.0, 0.9, 0.5, 0.1, 0.0)


def gradient_section(data: RunData) -> Markup:
    """Nothing where there is no gradient."""
    found = gradient_columns(data)
    if found is None:
        return Markup("")
    gradient, error = found
    shown = largest_components(gradient)
    few = len(shown) == len(gradient)
    title = "The gradient" if few else f"The {LARGEST} largest components, in the order of the parameters"
    parts = [] if few else [Markup("<h3>{}</h3>\n").format(title)]
    parts.append(figure("gradient", title, f"Bars for {count(len(shown), 'component')}."))
    if np.isfinite(error[shown]).any():
        parts.append(legend([("whisker", "error bar: contains the derivative with about 95 % probability")]))
    rows = [
        (
            data.names[k],
            number(float(gradient[k])) if np.isfinite(gradient[k]) else "missing",
            number(float(error[k]), 2),
        )
        for k in shown.tolist()
    ]
    parts.append(numbers(title, ["parameter", "dJ/dx", "± error"], rows))
    return Markup("").join(parts if few else [*parts, _profile(gradient), _sizes(gradient, error)])


def _profile(gradient: Floats) -> Markup:
    """All components, by stretches of parameters."""
    title = "All components, by parameter"
    told = f"From {number(float(np.nanmin(gradient)), 4)} to {number(float(np.nanmax(gradient)), 4)}."
    return Markup("<h3>{}</h3>\n{}").format(title, figure("profile", title, told))


def _sizes(gradient: Floats, error: Floats) -> Markup:
    """Sizes in falling order, and those of the error bars of the same components."""
    sizes, bars = falling_sizes(gradient, error)
    if not len(sizes):
        return Markup("")
    title = "Sizes of the components"
    told = "Largest {}, median {}, smallest {}.".format(
        *(number(float(size), 3) for size in (sizes[0], np.median(sizes), sizes[-1]))
    )
    parts = [Markup("<h3>{}</h3>\n").format(title), figure("sizes", title, told)]
    if np.isfinite(bars).any():
        parts.append(legend([("curve", "size"), ("second", "its error bar")]))
    words = ("the largest", "one of ten is above", "the median", "nine of ten are above", "the smallest")
    rows = [(word, number(float(np.quantile(sizes, q)), 4)) for word, q in zip(words, _QUANTILES, strict=True)]
    return Markup("").join([*parts, numbers(title, ["of all components", "|dJ/dx|"], rows)])
