"""Charts drawn as SVG: scales, axes, paths. Colours are classes, which page.css gives by day and by night."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from distfd.reporting.formatting import number

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_LONG = 1e5
"""Numbers from which on a tick is written with a power of ten, as it would run into its neighbour."""
WIDTH = 960
"""Units of width of every chart; the page scales them to the room there is."""


@dataclass(frozen=True)
class Scale:
    """Values from ``low`` to ``high`` on pixels from ``start`` to ``end``."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: Any) -> Any:
        """Pixels of a value or of an array of them."""
        low, high = self.low, self.high
        if self.log:
            value, low, high = np.log10(value), math.log10(low), math.log10(high)
        return self.start + (value - low) / ((high - low) or 1.0) * (self.end - self.start)

    def ticks(self, most: int = 6) -> list[float]:
        """Round values within the range."""
        if not self.log:
            return _round_values(self.low, self.high, most)
        first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
        if last - first < 2:
            inside = (m * 10.0**k for k in range(first - 1, last + 1) for m in (1, 2, 5))
            return [value for value in inside if self.low <= value * (1 + 1e-9) and value <= self.high * (1 + 1e-9)]
        every = max(1, math.ceil((last - first + 1) / most))
        return [10.0**k for k in range(first, last + 1, every)]


def linear(values: Any, start: float, end: float, *, zero: bool = False) -> Scale:
    """A scale that holds all finite values, with a little room, and 0 where asked."""
    known = np.asarray(values, dtype=float)
    known = known[np.isfinite(known)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    if zero:
        low, high = min(low, 0.0), max(high, 0.0)
    if low == high:
        low, high = low - (abs(low) or 1.0) / 2, high + (abs(high) or 1.0) / 2
    room = 0.04 * (high - low)
    low, high = (0.0 if zero and low == 0 else low - room), (0.0 if zero and high == 0 else high + room)
    return Scale(low, high, start, end)


def logarithmic(values: Any, start: float, end: float) -> Scale:
    """A scale of decades that holds all positive values."""
    known = np.asarray(values, dtype=float)
    known = known[np.isfinite(known) & (known > 0)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.1, 1.0)
    low, high = 10 ** math.floor(math.log10(low) - 0.05), 10 ** math.ceil(math.log10(high) + 0.05)
    return Scale(low, high, start, end, log=True)


def chart(key: str, title: str, description: str, height: float, parts: Iterable[Markup]) -> Markup:
    """A chart with a name and a description for those who do not see it, in a frame that scrolls where it is narrow."""
    return Markup(
        '<div class="chart" id="{}-chart" role="group" tabindex="0" aria-label="{}">'
        '<svg viewBox="0 0 {} {}" role="img" aria-labelledby="{}-title {}-desc">'
        '<title id="{}-title">{}</title><desc id="{}-desc">{}</desc>{}</svg></div>\n'
    ).format(
        key, f"Chart: {title}", WIDTH, round(height), key, key, key, title, key, description, Markup("").join(parts)
    )


def text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> Markup:
    """Words at a place."""
    return Markup('<text x="{:.1f}" y="{:.1f}" class="{}" text-anchor="{}">{}</text>').format(x, y, kind, anchor, words)


def rect(x: float, y: float, width: float, height: float, kind: str, told: str = "") -> Markup:  # noqa: PLR0917  # x, y, width, height
    """A rectangle; ``told`` is shown when one points at it."""
    shape = f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0.6):.1f}" height="{height:.1f}" class="{kind}"'
    return Markup(shape + "/>") if not told else Markup(shape + "><title>{}</title></rect>").format(told)  # noqa: S704  # numbers and a class of ours


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    """A straight line."""
    return Markup('<line x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}" class="{}"/>').format(x1, y1, x2, y2, kind)


def path(commands: Iterable[str], kind: str) -> Markup:
    """Any shape; nothing where there are no commands."""
    drawn = "".join(commands)
    return Markup('<path d="{}" class="{}"/>').format(drawn, kind) if drawn else Markup("")


def polyline(xs: Sequence[float], ys: Sequence[float], kind: str) -> Markup:
    """Points joined by lines, broken where one is not finite."""
    commands, pen = [], "M"
    for x, y in zip(xs, ys, strict=True):
        if not (math.isfinite(x) and math.isfinite(y)):
            pen = "M"
            continue
        commands.append(f"{pen}{x:.1f} {y:.1f}")
        pen = "L"
    return path(commands, kind)


def dots(xs: Sequence[float], ys: Sequence[float], told: Sequence[str], kind: str, radius: float = 3) -> Markup:
    """A dot at each finite point, with what is told of it."""
    mark = Markup('<circle cx="{:.1f}" cy="{:.1f}" r="{}" class="{}"><title>{}</title></circle>')
    places = ((x, y, t) for x, y, t in zip(xs, ys, told, strict=True) if math.isfinite(x) and math.isfinite(y))
    return Markup("").join(mark.format(x, y, radius, kind, t) for x, y, t in places)


def bottom_axis(scale: Scale, y: float, top: float, title: str, labels: Any = None) -> Markup:
    """Ticks below a chart, with lines up to its top."""
    ticks = scale.ticks(8)
    if labels is None:
        digits = 3 if max(map(abs, ticks), default=0.0) >= _LONG else 8
        labels = partial(number, digits=digits)
    parts = [line(scale(t), top, scale(t), y, "grid") for t in ticks]
    parts += [text(scale(t), y + 16, labels(t), "tick", "middle") for t in ticks]
    return Markup("").join([*parts, text((scale.start + scale.end) / 2, y + 34, title, "axis", "middle")])


def left_axis(scale: Scale, x: float, right: float, title: str, most: int = 5) -> Markup:
    """Ticks left of a chart, with lines to its right; the title stands above."""
    ticks = scale.ticks(most)
    parts = [line(x, scale(t), right, scale(t), "grid") for t in ticks]
    parts += [text(x - 8, scale(t) + 4, number(t, 6), "tick", "end") for t in ticks]
    return Markup("").join([*parts, text(4, min(scale.start, scale.end) - 12, title, "axis")])


def legend(entries: Iterable[tuple[str, str]]) -> Markup:
    """(class, words) beside swatches, below or above a chart."""
    items = [Markup('<li><span class="swatch {}"></span>{}</li>').format(kind, words) for kind, words in entries]
    return Markup('<ul class="legend">{}</ul>\n').format(Markup("").join(items))


def runs(levels: Any) -> list[tuple[int, int, int]]:
    """(first, past the last, level) of equal neighbours."""
    levels = np.asarray(levels)
    cuts = [0, *(np.flatnonzero(np.diff(levels)) + 1).tolist(), len(levels)]
    return [(a, b, int(levels[a])) for a, b in pairwise(cuts) if b > a]


def _round_values(low: float, high: float, most: int) -> list[float]:
    rough = (high - low) / most
    if not (rough > 0 and math.isfinite(rough)):
        return [low]
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= rough * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [0.0 if k == 0 else k * step for k in range(first, math.floor(high / step + 1e-9) + 1)]
