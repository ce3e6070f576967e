"""Every evaluation by slot and time, and how many slots were at work."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from distfd.reporting import svg
from distfd.reporting.attempt_kinds import CLASSES, DUPLICATE, FAILED, RETRY, STRAGGLER, VALUE, WORDS, kinds
from distfd.reporting.formatting import count, duration, number

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from distfd.reporting.run_clock import RunClock
    from distfd.reporting.run_data import RunData

_EACH = 2000
"""Evaluations up to which each has a bar of its own; beyond, a row shows how busy its slots were."""
_ROWS = 64
_BINS = 440
_LEVELS = 4
_MARKS = 400
_WAVES = 60
_LEFT, _RIGHT, _BUSY = 88, 930, 54


def timeline_section(data: RunData, clock: RunClock | None) -> Markup:
    """The chart and its legend; a sentence where there is nothing to draw."""
    rows = data.attempts.rows
    rows = rows[np.isfinite(rows["started"]) & np.isfinite(rows["ended"]) & (rows["slot"] >= 0)]
    if clock is None or not len(rows):
        return Markup("<p>{}</p>").format(data.attempts.trouble or "Nothing was evaluated.")
    whole, clock = clock.total, clock.from_first(rows["started"])
    begin, end = clock(rows["started"]), clock(rows["ended"])
    slots = np.unique(rows["slot"])
    lane = np.searchsorted(slots, rows["slot"])
    scale = svg.Scale(0.0, max(clock.total, 1e-9), _LEFT, _RIGHT)
    lanes = _Lanes(slots, top=_BUSY + 46)
    what = kinds(rows)
    parts = [
        _busy(begin, end, scale, len(slots)),
        svg.bottom_axis(scale, lanes.bottom, 20, "seconds since the slots began", _time_label),
        lanes.labels(),
    ]
    if len(rows) <= _EACH:
        parts += _bars(data, rows, what, begin, end, lane, scale, lanes)
    else:
        parts += _density(begin, end, lane, scale, lanes)
        parts += _marks(what, begin, lane, scale, lanes)
    parts += [_waves(data, clock, scale, lanes), _joints(data, clock, scale, lanes)]
    counts = np.bincount(what, minlength=len(WORDS))
    told = f"{count(len(rows), 'evaluation')} on {count(len(slots), 'slot')} within {duration(clock.total)} of running"
    told += "".join(
        f"; {count(int(counts[k]), word)}"
        for k, word in ((FAILED, "failed attempt"), (RETRY, "repeated attempt"))
        if counts[k]
    )
    drawing = svg.chart("timeline", "Worker timeline", told, lanes.bottom + 44, parts)
    left_out = Markup("")
    if whole > 1.05 * clock.total:
        lead = duration(whole - clock.total)
        words = f"Without the {lead} in which Ray and workers started."
        left_out = Markup("<p>{}</p>\n").format(words)
    return drawing + _legend(counts, len(rows) > _EACH) + left_out


class _Lanes:
    """Rows of the chart: one a slot, or one for several where there are many."""

    def __init__(self, slots: NDArray[Any], top: float) -> None:
        self.slots = slots
        self.each = math.ceil(len(slots) / _ROWS)
        self.n = math.ceil(len(slots) / self.each)
        self.height = 24.0 if self.n <= 8 else 14.0 if self.n <= 24 else 9.0
        self.top, self.bottom = top, top + self.n * self.height

    def y(self, lane: int) -> float:
        """The upper edge of the row of a slot."""
        return self.top + (lane // self.each) * self.height

    @property
    def bar(self) -> float:
        """Height of a bar."""
        return self.height - (4 if self.height > 12 else 2)

    def labels(self) -> Markup:
        """Names of the rows, as many as there is room for."""
        every = math.ceil(13 / self.height)
        parts = []
        for row in range(0, self.n, every):
            first, last = self.slots[row * self.each], self.slots[min((row + 1) * self.each, len(self.slots)) - 1]
            words = f"slot {first}" if self.each == 1 else f"{first}\N{EN DASH}{last}"
            parts.append(svg.text(_LEFT - 10, self.top + (row + 0.5) * self.height + 3.5, words, "tick", "end"))
        return Markup("").join(parts)


def _busy(begin: NDArray[np.float64], end: NDArray[np.float64], scale: svg.Scale, slots: int) -> Markup:
    """Slots at work, over time."""
    edges = np.linspace(scale.low, scale.high, _BINS + 1)
    level = np.diff(_covered(begin, end, edges)) / np.diff(edges)
    y = svg.Scale(0.0, slots, 20 + _BUSY, 20)
    xs, ys = scale(edges), y(np.clip(level, 0, slots))
    steps = "".join(f"V{ys[k]:.1f}H{xs[k + 1]:.1f}" for k in range(_BINS))
    return Markup("").join(
        [
            svg.path([f"M{xs[0]:.1f} {y(0):.1f}{steps}V{y(0):.1f}Z"], "busy"),
            svg.line(_LEFT, y(slots), _RIGHT, y(slots), "limit"),
            svg.text(_LEFT - 10, y(slots) + 4, f"{slots} at work", "tick", "end"),
            svg.text(_LEFT - 10, y(0) + 4, "0", "tick", "end"),
        ]
    )


def _covered(begin: NDArray[np.float64], end: NDArray[np.float64], at: NDArray[np.float64]) -> NDArray[np.float64]:
    """Seconds of these intervals that lie before each time: a sum of ramps, by their sorted ends."""
    total = np.zeros(len(at))
    for edges, sign in ((np.sort(begin), 1.0), (np.sort(end), -1.0)):
        sums = np.concatenate(([0.0], np.cumsum(edges)))
        passed = np.searchsorted(edges, at)
        total += sign * (passed * at - sums[passed])
    return total


def _bars(  # noqa: PLR0917  # columns of one table
    data: RunData,
    rows: NDArray[Any],
    what: NDArray[np.uint8],
    begin: NDArray[np.float64],
    end: NDArray[np.float64],
    lane: NDArray[np.int64],
    scale: svg.Scale,
    lanes: _Lanes,
) -> list[Markup]:
    """A bar for each evaluation; failures carry a cross as well, so that colour is not all that tells."""
    parts = []
    x1, x2 = scale(begin), scale(end)
    columns = (rows[name].tolist() for name in ("point", "coordinate", "attempt", "pid", "host"))
    for r, (point, coordinate, attempt, pid, host) in enumerate(zip(*columns, strict=True)):
        name, took = data.point_name(point, coordinate), duration(float(end[r] - begin[r]))
        told = f"{name}: {took}, {WORDS[what[r]]}; attempt {attempt}, {data.attempts.hosts[host]} pid {pid}"
        y = lanes.y(int(lane[r])) + (lanes.height - lanes.bar) / 2
        width = x2[r] - x1[r]
        width -= 0.9 if width > 3 else 0  # so that neighbours can be told apart
        parts.append(svg.rect(x1[r], y, width, lanes.bar, f"bar {CLASSES[what[r]]}", told))
        if what[r] == FAILED:
            parts.append(_cross((x1[r] + x2[r]) / 2, y + lanes.bar / 2))
    return parts


def _density(
    begin: NDArray[np.float64], end: NDArray[np.float64], lane: NDArray[np.int64], scale: svg.Scale, lanes: _Lanes
) -> list[Markup]:
    """How busy each row's slots were, in a few shades, equal neighbours in one piece."""
    edges = np.linspace(scale.low, scale.high, _BINS + 1)
    xs = scale(edges)
    shades: list[list[str]] = [[] for _ in range(_LEVELS + 1)]
    for row in range(lanes.n):
        mine = lane // lanes.each == row
        members = min((row + 1) * lanes.each, len(lanes.slots)) - row * lanes.each
        part = np.diff(_covered(begin[mine], end[mine], edges)) / np.diff(edges) / members
        level = np.where(part > 1e-3, np.ceil(np.clip(part, 0, 1) * _LEVELS - 1e-9), 0).astype(int)
        y = lanes.top + row * lanes.height + 1
        for first, past, shade in svg.runs(level):
            shades[shade].append(f"M{xs[first]:.1f} {y:.1f}H{xs[past]:.1f}v{lanes.height - 2:.1f}H{xs[first]:.1f}Z")
    return [svg.path(shades[k], f"shade shade{k}") for k in range(1, _LEVELS + 1)]


def _marks(
    what: NDArray[np.uint8], begin: NDArray[np.float64], lane: NDArray[np.int64], scale: svg.Scale, lanes: _Lanes
) -> list[Markup]:
    """What is out of the ordinary, each in its place; of very many, an even choice."""
    parts = []
    for kind in (STRAGGLER, RETRY, DUPLICATE, FAILED):
        found = np.flatnonzero(what == kind)
        found = found[np.linspace(0, len(found) - 1, min(len(found), _MARKS)).astype(int)]
        places = [(float(scale(begin[r])), lanes.y(int(lane[r])) + lanes.height / 2) for r in found]
        if kind == FAILED:
            parts += [_cross(x, y) for x, y in places]
        else:
            h = lanes.bar
            parts.append(
                svg.path([f"M{x:.1f} {y - h / 2:.1f}h2.4v{h:.1f}h-2.4Z" for x, y in places], f"bar {CLASSES[kind]}")
            )
    return parts


def _cross(x: float, y: float) -> Markup:
    return svg.path([f"M{x - 3:.1f} {y - 3:.1f}l6 6m0 -6l-6 6"], "cross")


def _waves(data: RunData, clock: RunClock, scale: svg.Scale, lanes: _Lanes) -> Markup:
    """A line at each wave's end, where there are few enough to be told apart."""
    waves = [wave for session in data.log.sessions for wave in session.waves if wave.ended is not None]
    if not 1 < len(waves) <= _WAVES:
        return Markup("")
    xs = [float(scale(clock(wave.ended))) for wave in waves]
    return svg.path([f"M{x:.1f} 20V{lanes.bottom:.1f}" for x in xs], "wave")


def _joints(data: RunData, clock: RunClock, scale: svg.Scale, lanes: _Lanes) -> Markup:
    """A line where a later session begins."""
    parts = []
    checks = [session.started for session in data.log.sessions if session.task == "check"]
    for at, begin, end in zip(clock.joints[1:], clock.begins[1:], clock.ends[1:], strict=True):
        x, checked = float(scale(at)), any(begin - 60 <= started <= end for started in checks)
        late = x > _RIGHT - 60
        words = svg.text(
            x - 4 if late else x + 4, 14, "check" if checked else "resumed", "tick", "end" if late else "start"
        )
        parts += [svg.line(x, 4, x, lanes.bottom, "joint"), words]
    return Markup("").join(parts)


def _legend(counts: NDArray[np.int64], dense: bool) -> Markup:
    entries = []
    if dense:
        entries.append(("shade4", "a slot at work all the time; paler: part of the time"))
    entries += [
        (CLASSES[kind], f"{WORDS[kind]} ({counts[kind]})")
        for kind in (VALUE, STRAGGLER, RETRY, DUPLICATE, FAILED)
        if counts[kind] and not (dense and kind == VALUE)
    ]
    return svg.legend(entries)


def _time_label(seconds: float) -> str:
    return number(seconds, 4) if seconds < 600 else duration(seconds)
