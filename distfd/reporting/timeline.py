"""All evaluations by slot and time: the numbers of the chart, and its text on the page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from distfd.reporting.attempt_kinds import CLASSES, DUPLICATE, FAILED, RETRY, STRAGGLER, VALUE, WORDS, kinds
from distfd.reporting.figure import figure, legend, numbers
from distfd.reporting.formatting import count, duration, number, percent, short
from distfd.reporting.run_clock import run_clock

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from distfd.reporting.run_clock import RunClock
    from distfd.reporting.run_data import RunData

_ATTEMPTS = 20_000
"""Largest number of attempts that have a bar each; with more, the chart shows how busy the slots were."""
_ROWS, _CELLS = 400, 40_000
"""Largest numbers of rows and cells in such a chart: more slots share rows, and more rows get longer intervals."""
_BINS = 440
_LEVELS = 4
_MARKS = 400
"""Largest number of unusual attempts of each kind that are shown nevertheless."""
_WAVES = 60
"""Largest number of waves whose ends are marked."""
_TABLE = 40


@dataclass(frozen=True, eq=False)
class Bars:
    """Attempts whose times and slots are known, as columns of equal length."""

    row: NDArray[np.int64]
    """The row in the store."""
    slots: NDArray[Any]
    """Numbers of all slots, in order."""
    lane: NDArray[np.int64]
    """The index of the attempt's slot in ``slots``."""
    begin: NDArray[np.float64]
    """Begin in seconds of running."""
    end: NDArray[np.float64]
    kind: NDArray[np.uint8]
    """Kinds as in `distfd.reporting.attempt_kinds`."""
    seconds: float
    """The total duration, in seconds."""


def attempt_bars(rows: NDArray[Any], clock: RunClock | None = None) -> Bars | None:
    """A bar for each attempt, from its start to its end; None where there is none.

    Parameters
    ----------
    rows : ndarray
        Attempts of a store or of a result, with ``started``, ``ended``, ``slot``, ``status`` and ``attempt``.
    clock : RunClock, optional
        The clock of the run; by default time begins with the first attempt.
    """
    at = np.flatnonzero(np.isfinite(rows["started"]) & np.isfinite(rows["ended"]) & (rows["slot"] >= 0))
    rows = rows[at]
    if not len(at):
        return None
    slots, lane = np.unique(rows["slot"], return_inverse=True)
    if clock is None:
        first = float(rows["started"].min())
        begin, end = rows["started"] - first, rows["ended"] - first
        seconds = float(end.max())
    else:
        clock = clock.from_first(rows["started"])
        begin, end, seconds = clock(rows["started"]), clock(rows["ended"]), clock.total
    return Bars(at, slots, lane, begin, end, kinds(rows), seconds)


def timeline_fields(
    data: RunData,
    window: tuple[float, float] | None = None,
    lanes: tuple[int, int] | None = None,
    *,
    named: bool = False,
) -> dict[str, Any] | None:
    """Columns of bars: place of the slot in ``slots``, begin and end in seconds of running, kind, row of the store.

    Of more than 20,000 attempts the bars are stretches of time, shaded by how busy a slot was in them, whose row is
    -1, and the unusual attempts.

    Parameters
    ----------
    data : RunData
    window : (float, float), optional
        Only attempts between these seconds of running.
    lanes : (int, int), optional
        Only slots from this place in ``slots`` to the one before that.
    named : bool
        Add the name of the point, the number of the attempt and the host, for a page that cannot ask for them.
    """
    clock = run_clock(data)
    bars = None if clock is None else attempt_bars(data.attempts.rows, clock)
    if bars is None or clock is None:
        return None
    low, high = window or (0.0, bars.seconds)
    low, high = max(low, 0.0), min(high, bars.seconds) if high > low else high
    first, past = lanes or (0, len(bars.slots))
    first, past = min(first, len(bars.slots) - 1), min(past, len(bars.slots))
    inside = np.flatnonzero((bars.end >= low) & (bars.begin <= high) & (bars.lane >= first) & (bars.lane < past))
    binned = len(inside) > _ATTEMPTS
    found = {
        "slots": bars.slots.tolist(),
        "kinds": [*CLASSES, *(f"shade{k + 1}" for k in range(_LEVELS))],
        "words": [*WORDS, *(f"at work up to {percent((k + 1) / _LEVELS)} of the time" for k in range(_LEVELS))],
        "seconds": bars.seconds,
        "binned": binned,
        "each": 1,
        "marks": _marks(data, clock.from_first(data.attempts.rows["started"][bars.row])),
    }
    if binned:
        return {**found, **_density(bars, inside, (low, high), (first, max(first + 1, past)))}
    return {**found, **_columns(bars, inside), **(_named(data, bars.row[inside]) if named else {})}


def _columns(bars: Bars, at: NDArray[np.int64]) -> dict[str, Any]:
    return {
        "slot": bars.lane[at].tolist(),
        "begin": np.round(bars.begin[at], 6).tolist(),
        "end": np.round(bars.end[at], 6).tolist(),
        "kind": bars.kind[at].tolist(),
        "row": bars.row[at].tolist(),
    }


def _named(data: RunData, at: NDArray[np.int64]) -> dict[str, Any]:
    rows = data.attempts.rows[at]
    pairs = zip(rows["point"].tolist(), rows["coordinate"].tolist(), strict=True)
    numbers_: dict[str, int] = {}
    points = [numbers_.setdefault(short(data.point_name(*pair), 60), len(numbers_)) for pair in pairs]
    return {
        "names": list(numbers_),
        "point": points,
        "attempt": rows["attempt"].tolist(),
        "hosts": [short(host, 60) for host in data.attempts.hosts],
        "host": rows["host"].tolist(),
    }


def _density(
    bars: Bars, inside: NDArray[np.int64], window: tuple[float, float], lanes: tuple[int, int]
) -> dict[str, Any]:
    """How busy each row's slots were in a few shades, equal neighbours in one piece; and the unusual attempts."""
    each = -(-(lanes[1] - lanes[0]) // _ROWS)
    n = -(-(lanes[1] - lanes[0]) // each)
    edges = np.linspace(*window, int(np.clip(_CELLS // n, 100, _BINS)) + 1)
    columns: dict[str, list[Any]] = {name: [] for name in ("slot", "begin", "end", "kind", "row")}
    mine = inside[np.argsort(bars.lane[inside], kind="stable")]
    cuts = np.searchsorted(bars.lane[mine], lanes[0] + each * np.arange(n + 1))
    for row in range(n):
        at = mine[cuts[row] : cuts[row + 1]]
        members = min(each, lanes[1] - lanes[0] - row * each)
        part = np.diff(covered(bars.begin[at], bars.end[at], edges)) / np.diff(edges) / members
        level = np.where(part > 1e-3, np.ceil(np.clip(part, 0, 1) * _LEVELS - 1e-9), 0).astype(int)
        starts = np.concatenate(([0], np.flatnonzero(np.diff(level)) + 1, [len(level)]))
        for a, b in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
            if level[a]:
                piece = (lanes[0] + row * each, edges[a], edges[b], len(CLASSES) + int(level[a]) - 1, -1)
                for name, value in zip(columns, piece, strict=True):
                    columns[name].append(value)
    for kind in (STRAGGLER, RETRY, DUPLICATE, FAILED):
        found = inside[bars.kind[inside] == kind]
        found = found[np.linspace(0, len(found) - 1, min(len(found), _MARKS)).astype(int)]
        for name, more in _columns(bars, found).items():
            columns[name] += more
    columns["begin"], columns["end"] = (np.round(columns[name], 6).tolist() for name in ("begin", "end"))
    return {**columns, "each": each}


def _marks(data: RunData, clock: RunClock) -> list[dict[str, Any]]:
    """Where a later session begins, and where waves end if there are few enough to be told apart."""
    checks = [session.started for session in data.log.sessions if session.task == "check"]
    marks: list[dict[str, Any]] = []
    for at, begin, end in zip(clock.joints[1:], clock.begins[1:], clock.ends[1:], strict=True):
        checked = any(begin - 60 <= started <= end for started in checks)
        marks.append({"at": float(at), "words": "check" if checked else "resumed"})
    waves = [wave.ended for session in data.log.sessions for wave in session.waves if wave.ended is not None]
    if 1 < len(waves) <= _WAVES:
        marks += [{"at": float(clock(ended)), "words": ""} for ended in waves]
    return marks


def busy_fields(data: RunData) -> dict[str, Any] | None:
    """How many slots were at work, in equal stretches of time."""
    clock = run_clock(data)
    bars = None if clock is None else attempt_bars(data.attempts.rows, clock)
    if bars is None or bars.seconds <= 0:
        return None
    edges = np.linspace(0.0, bars.seconds, _BINS + 1)
    level = np.diff(covered(bars.begin, bars.end, edges)) / np.diff(edges)
    return {"time": edges[:-1].tolist(), "busy": np.round(np.clip(level, 0, len(bars.slots)), 4).tolist()}


def covered(begin: NDArray[np.float64], end: NDArray[np.float64], at: NDArray[np.float64]) -> NDArray[np.float64]:
    """Total seconds of these intervals before each time, computed as a sum of ramps from the sorted ends."""
    total = np.zeros(len(at))
    for edges, sign in ((np.sort(begin), 1.0), (np.sort(end), -1.0)):
        sums = np.concatenate(([0.0], np.cumsum(edges)))
        passed = np.searchsorted(edges, at)
        total += sign * (passed * at - sums[passed])
    return total


def timeline_section(data: RunData, clock: RunClock | None) -> Markup:
    """The places of two charts, their legend and a table; a sentence where there is nothing to draw."""
    bars = None if clock is None else attempt_bars(data.attempts.rows, clock)
    if clock is None or bars is None:
        return Markup("<p>{}</p>").format(data.attempts.trouble or "Nothing was evaluated.")
    counts = np.bincount(bars.kind, minlength=len(WORDS))
    slots = count(len(bars.slots), "slot")
    told = f"{count(len(bars.row), 'evaluation')} on {slots} within {duration(bars.seconds)} of running"
    told += "".join(
        f"; {count(int(counts[k]), word)}"
        for k, word in ((FAILED, "failed attempt"), (RETRY, "repeated attempt"))
        if counts[k]
    )
    parts = [
        figure("busy", "Slots at work", f"How many of {slots} were at work, over time."),
        figure("timeline", "Worker timeline", f"{told}."),
        _legend(counts, binned=len(bars.row) > _ATTEMPTS, waves=any(not mark["words"] for mark in _marks(data, clock))),
    ]
    if clock.total > 1.05 * bars.seconds:
        lead = duration(clock.total - bars.seconds)
        parts.append(Markup("<p>The charts leave out the {} in which Ray and the workers started.</p>\n").format(lead))
    return Markup("").join([*parts, _table(bars)])


def _legend(counts: NDArray[np.int64], *, binned: bool, waves: bool) -> Markup:
    entries = []
    if binned:
        entries.append(("shade4", "a slot at work all the time; paler: part of the time"))
    entries += [
        (CLASSES[kind], f"{WORDS[kind]} ({counts[kind]})")
        for kind in (VALUE, STRAGGLER, RETRY, DUPLICATE, FAILED)
        if counts[kind] and not (binned and kind == VALUE)
    ]
    return legend([*entries, *([("thin", "dashed: a wave ended")] if waves else [])])


def _table(bars: Bars) -> Markup:
    """What each slot did; of many slots the first."""
    n = len(bars.slots)
    attempts = np.bincount(bars.lane, minlength=n)
    failed = np.bincount(bars.lane[bars.kind == FAILED], minlength=n)
    work = np.bincount(bars.lane, weights=bars.end - bars.begin, minlength=n)
    rows = [
        (
            f"slot {bars.slots[k]}",
            str(attempts[k]),
            str(failed[k]),
            duration(float(work[k])),
            percent(float(work[k]) / bars.seconds) if bars.seconds > 0 else number(None),
        )
        for k in range(min(n, _TABLE))
    ]
    caption = "What each slot did" if n <= _TABLE else f"What the first {_TABLE} of {count(n, 'slot')} did"
    return numbers(caption, ["slot", "attempts", "failed", "at work", "share"], rows)
