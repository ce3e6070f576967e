"""The gradient: a bar for each component with its error, or its profile and its sizes where there are many."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from distfd.reporting import svg
from distfd.reporting.formatting import count, number, short

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from distfd.reporting.run_data import RunData

    Floats = NDArray[np.float64]

_BARS = 40
"""Components up to which each has a bar."""
_LARGEST = 20
_BINS = 420
_ROW = 24.0
_LEFT, _RIGHT = 230.0, 850.0


def gradient_section(data: RunData) -> Markup:
    """Nothing where there is no gradient."""
    gradient = data.numbers("derivative")
    if gradient is None or gradient.ndim != 1 or len(gradient) != len(data.names) or not np.isfinite(gradient).any():
        return Markup("")
    error = data.numbers("error")
    if error is None or error.shape != gradient.shape:
        error = np.full(gradient.shape, np.nan)
    if len(gradient) <= _BARS:
        return _bars(data, gradient, error, np.arange(len(gradient)), "The gradient")
    largest = np.sort(np.argsort(-np.abs(np.nan_to_num(gradient)), kind="stable")[:_LARGEST])
    return Markup("").join(
        [
            _bars(data, gradient, error, largest, f"The {_LARGEST} largest components, in the order of the parameters"),
            _profile(gradient),
            _sizes(gradient, error),
        ]
    )


def _bars(data: RunData, gradient: Floats, error: Floats, shown: NDArray[np.int64], title: str) -> Markup:
    """Horizontal bars: names can be read, and there is room for many."""
    g, e = gradient[shown], np.nan_to_num(error[shown])
    scale = svg.linear(np.concatenate((g - e, g + e)), _LEFT, _RIGHT, zero=True)
    bottom = 14 + _ROW * len(shown)
    parts = [svg.bottom_axis(scale, bottom, 6, "dJ/dx")]
    for row, k in enumerate(shown.tolist()):
        y = 14 + _ROW * row
        value, bar, name = float(g[row]), float(error[k]), data.names[k]
        parts.append(svg.text(_LEFT - 12, y + 13, short(name), "name", "end"))
        if not np.isfinite(value):
            parts.append(svg.text(float(scale(0.0)) + 8, y + 13, "missing", "missing"))
            continue
        told = f"{name}: {number(value)}" + (f" ± {number(bar, 2)}" if np.isfinite(bar) else "")
        x, zero = float(scale(value)), float(scale(0.0))
        parts.append(
            svg.rect(min(x, zero), y + 2, abs(x - zero), _ROW - 8, f"bar {'up' if value >= 0 else 'down'}", told)
        )
        reach = x
        if np.isfinite(bar) and bar > 0:
            parts.append(_whisker(float(scale(value - bar)), float(scale(value + bar)), y + _ROW / 2 - 2))
            reach = float(scale(value + bar if value >= 0 else value - bar))
        parts.append(_label(reach, y + 13, value, zero))
    parts.append(svg.line(float(scale(0.0)), 6, float(scale(0.0)), bottom, "zero"))
    told = f"Bars for {count(len(shown), 'component')}, the numbers are in the table."
    whiskers = [("whisker", "error bar: holds the derivative with some 95 %")] if np.isfinite(error).any() else []
    drawing = svg.chart("gradient", title, told, bottom + 44, parts)
    heading = Markup("<h3>{}</h3>\n").format(title) if len(shown) < len(gradient) else Markup("")
    return heading + drawing + (svg.legend(whiskers) if whiskers else Markup(""))


def _whisker(x1: float, x2: float, y: float) -> Markup:
    return svg.path([f"M{x1:.1f} {y - 4:.1f}v8m0 -4H{x2:.1f}m0 -4v8"], "error")


def _label(x: float, y: float, value: float, zero: float) -> Markup:
    """The number at the end of its bar; across the line of 0 where there is no room."""
    if value >= 0:
        return svg.text(min(x + 8, svg.WIDTH - 90), y, number(value, 4), "label")
    if x - _LEFT > 80:
        return svg.text(x - 8, y, number(value, 4), "label", "end")
    return svg.text(zero + 8, y, number(value, 4), "label")


def _profile(gradient: Floats) -> Markup:
    """The least and the greatest component in each stretch of parameters."""
    x = svg.Scale(0, len(gradient), 88, 930)
    y = svg.linear(gradient, 210, 30, zero=True)
    edges = np.unique(np.linspace(0, len(gradient), _BINS + 1).astype(int))
    commands = []
    for a, b in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        part = gradient[a:b][np.isfinite(gradient[a:b])]
        if len(part):
            low, high = min(float(part.min()), 0.0), max(float(part.max()), 0.0)
            commands.append(f"M{x(a):.1f} {y(low):.1f}V{y(high):.1f}H{x(b):.1f}V{y(low):.1f}Z")
    parts = [
        svg.left_axis(y, 88, 930, "dJ/dx"),
        svg.bottom_axis(x, 210, 30, "number of the parameter"),
        svg.path(commands, "profile"),
        svg.line(88, float(y(0.0)), 930, float(y(0.0)), "zero"),
    ]
    title = "All components, by parameter"
    told = f"From {number(float(np.nanmin(gradient)), 4)} to {number(float(np.nanmax(gradient)), 4)}."
    return Markup("<h3>{}</h3>\n{}").format(title, svg.chart("profile", title, told, 254, parts))


def _sizes(gradient: Floats, error: Floats) -> Markup:
    """Sizes in falling order, and those of the error bars of the same components."""
    known = np.isfinite(gradient) & (gradient != 0)
    if not known.any():
        return Markup("")
    order = np.argsort(-np.abs(gradient[known]), kind="stable")
    sizes, bars = np.abs(gradient[known])[order], error[known][order]
    at = np.unique(np.linspace(0, len(sizes) - 1, min(len(sizes), 600)).astype(int))
    x = svg.Scale(0, len(gradient), 88, 930)
    y = svg.logarithmic(np.concatenate((sizes, bars)), 210, 30)
    with np.errstate(invalid="ignore", divide="ignore"):
        lines = [svg.polyline(x(at), y(sizes[at]), "curve")]
        if np.isfinite(bars).any():
            lines.append(svg.polyline(x(at), y(bars[at]), "curve second"))
    parts = [svg.left_axis(y, 88, 930, "|dJ/dx|"), svg.bottom_axis(x, 210, 30, "components, the largest first"), *lines]
    title = "Sizes of the components"
    told = "Largest {}, median {}, smallest {}.".format(
        *(number(float(size), 3) for size in (sizes[0], np.median(sizes), sizes[-1]))
    )
    drawing = svg.chart("sizes", title, told, 254, parts)
    if np.isfinite(bars).any():
        drawing += svg.legend([("curve", "size"), ("second", "its error bar")])
    return Markup("<h3>{}</h3>\n{}").format(title, drawing)
