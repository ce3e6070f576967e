"""An optimizer's way: J and the size of its gradient by iteration."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from distfd.reporting import svg
from distfd.reporting.formatting import count, number
from distfd.reporting.table import table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from distfd.reporting.run_data import RunData

    Floats = NDArray[np.float64]

_DOTS = 150
_ROWS = 60


def convergence_section(data: RunData) -> Markup:
    """Of the last session that iterated; nothing for what is no optimisation."""
    way = iterations(data)
    if way is None:
        return Markup("")
    steps, values, norms = way
    parts = [_curve("convergence", "J", "J by iteration", steps, values)]
    above = values - np.nanmin(values)
    above[above <= 0] = np.nan
    if np.isfinite(above).sum() > 2 and not _decades(values):  # else the first curve shows it
        parts.append(_curve("above", "J above its lowest value", "How far J was above its lowest value", steps, above))
    if np.isfinite(norms).sum() > 1:
        parts.append(_curve("norms", "|g|", "Size of the gradient by iteration", steps, norms))
    return Markup("").join([*parts, _table(steps, values, norms)])


def iterations(data: RunData) -> tuple[Floats, Floats, Floats] | None:
    """Iterations, J and |g| of the last session that iterated, NaN where one is not known; None where none did."""
    ways = [session.iterations for session in data.log.sessions if session.iterations]
    return _columns(data, ways[-1]) if ways else None


def _columns(data: RunData, way: list[tuple[int, float, float | None]]) -> tuple[Floats, Floats, Floats]:
    """Iterations, J and |g|; the start is iteration 0 where it is known."""
    first = data.result.get("value0")
    rows = [(0, float(first), None)] if isinstance(first, (int, float)) else []
    steps, values, norms = zip(*rows, *way, strict=True) if rows else zip(*way, strict=True)
    return tuple(np.array(column, dtype=np.float64) for column in (steps, values, norms))  # type: ignore[return-value]  # three of them


def _curve(key: str, name: str, title: str, steps: Floats, values: Floats) -> Markup:
    """Logarithmic where all values are positive and range far."""
    known = values[np.isfinite(values)]
    if not len(known):
        return Markup("")
    decades = _decades(values)
    x = svg.Scale(float(steps.min()), max(float(steps.max()), float(steps.min()) + 1), 100, 930)
    y = svg.logarithmic(known, 220, 30) if decades else svg.linear(known, 220, 30)
    with np.errstate(invalid="ignore", divide="ignore"):
        ys = y(values)
    parts = [
        svg.left_axis(y, 100, 930, f"{name}, logarithmic" if decades else name),
        svg.bottom_axis(x, 220, 30, "iteration", _whole),
        svg.polyline(x(steps), ys, "curve"),
    ]
    if len(steps) <= _DOTS:
        told = [f"iteration {int(k)}: {name} = {number(float(v))}" for k, v in zip(steps, values, strict=True)]
        parts.append(svg.dots(x(steps), ys, told, "dot"))
    ends = number(float(known[0]), 5), number(float(known[-1]), 5)
    told_ = f"{name} goes from {ends[0]} to {ends[1]} in {count(int(steps[-1]), 'iteration')}."
    return Markup("<h3>{}</h3>\n<p>{}</p>\n{}").format(title, told_, svg.chart(key, title, told_, 264, parts))


def _decades(values: Floats) -> bool:
    """Whether a curve is drawn with a logarithmic axis."""
    known = values[np.isfinite(values)]
    return bool((known > 0).all() and known.max(initial=0.0) > 30 * known.min(initial=np.inf))


def _table(steps: Floats, values: Floats, norms: Floats) -> Markup:
    n = len(steps)
    shown = list(range(n)) if n <= _ROWS else [*range(10), *range(n - 20, n)]
    caption = "Iterations" if len(shown) == n else f"The first 10 and the last 20 of {count(n, 'iteration')}"
    rows = [(f"{int(steps[k])}", number(float(values[k]), 10), number(float(norms[k]), 4)) for k in shown]
    body = table(caption, ["iteration", "J", "|g|"], rows)
    return Markup("<details><summary>The numbers</summary>{}</details>\n").format(body)


def _whole(value: float) -> str:
    return f"{value:.0f}" if value == round(value) else ""
