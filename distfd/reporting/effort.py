"""Efficiency against the ideal, where the slots' time went, and how long evaluations took."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from distfd.core.records import Status
from distfd.reporting.chart_data import histogram
from distfd.reporting.figure import figure, numbers
from distfd.reporting.formatting import count, duration, percent
from distfd.reporting.table import table
from distfd.reporting.time_spent import where_time_went
from distfd.results.derivative_result import efficiency_since_up

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from distfd.reporting.run_clock import RunClock
    from distfd.reporting.run_data import RunData
    from distfd.reporting.time_spent import Share

_SLOWEST = 5


def effort_section(data: RunData, clock: RunClock | None) -> Markup:
    """Each part where it is known."""
    shares = where_time_went(data, clock) if clock is not None else []
    parts = [_against_ideal(data), _once_up(shares), _shares(shares), _lengths(data), _places(data)]
    return Markup("").join(part for part in parts if part) or Markup("<p>Nothing is known of it.</p>\n")


def _against_ideal(data: RunData) -> Markup:
    result = data.result
    ideal, wall, efficiency = (result.get(name) for name in ("ideal_seconds", "wall_seconds", "efficiency"))
    if not ideal or not wall or efficiency is None:
        return Markup("")
    start = result.get("start_seconds")
    since = efficiency_since_up(efficiency, wall, start)
    told = Markup("{} took {}. The ideal is {}: an efficiency of <strong>{}</strong>.").format(
        "The last session" if since is None else "Once the first worker was up, the last session",
        duration(wall if since is None else wall - start),
        duration(ideal),
        percent(efficiency if since is None else since),
    )
    if since is not None:
        told += Markup(" The start before that took {}; with it, the efficiency is {}.").format(
            duration(start), percent(efficiency)
        )
    return Markup(
        "<p>{} The ideal time of a wave is that of its longest evaluation, or of all its evaluations shared among the "
        "slots, whichever is longer.</p>\n"
    ).format(told)


def _once_up(shares: list[Share]) -> Markup:
    """A remark on the efficiency of a longer run, in which the start is paid only once."""
    spent = {share.kind: share.seconds for share in shares}
    rest = sum(spent.values()) - spent.get("start", 0.0)
    if not shares or not spent["useful"] or spent["start"] < 0.05 * rest:
        return Markup("")
    return Markup("<p>After their start, the slots spent {} of their time in J.</p>\n").format(
        percent(spent["useful"] / rest)
    )


def _shares(shares: list[Share]) -> Markup:
    total = sum(share.seconds for share in shares)
    if not total:
        return Markup("")
    told = ", ".join(f"{share.title} {percent(share.seconds / total)}" for share in shares)
    rows = [
        (
            Markup('<span class="swatch {}"></span>{}').format(share.kind, share.title),
            share.meaning,
            duration(share.seconds) if share.seconds else "0",
            percent(share.seconds / total),
        )
        for share in shares
    ]
    caption = "Time of all slots together, in all sessions"
    return Markup("<h3>Where the time went</h3>\n{}{}").format(
        figure("spent", "Where the time went", f"{told}."),
        table(caption, ["part", "what it is", "slot time", "share"], rows, words=(1,)),
    )


def _lengths(data: RunData) -> Markup:
    rows = data.attempts.rows
    rows = rows[rows["status"] == Status.OK]
    seconds = rows["ended"] - rows["started"]
    known = np.isfinite(seconds) & (seconds >= 0)
    rows, seconds = rows[known], seconds[known]
    if len(seconds) < 2:
        return Markup("")
    marks = np.quantile(seconds, [0.0, 0.5, 0.9, 1.0]).tolist()
    words = "shortest {}, median {}, nine of ten within {}, longest {}".format(*map(duration, marks))
    slowest = np.argsort(-seconds, kind="stable")[:_SLOWEST].tolist()
    named = ", ".join(
        f"{data.point_name(int(rows['point'][r]), int(rows['coordinate'][r]))} ({duration(float(seconds[r]))})"
        for r in slowest
    )
    return Markup("<h3>How long evaluations took</h3>\n<p>{}. The slowest: {}.</p>\n{}").format(
        words[0].upper() + words[1:], named, _histogram(seconds) if len(seconds) >= 20 else ""
    )


def _histogram(seconds: NDArray[np.float64]) -> Markup:
    counts, edges, _ = histogram(seconds)
    title = "How long evaluations took"
    rows = [
        (f"{duration(float(edges[k]))} to {duration(float(edges[k + 1]))}", str(n))
        for k, n in enumerate(counts.tolist())
        if n
    ]
    told = f"A histogram of {count(len(seconds), 'evaluation')}."
    return figure("lengths", title, told) + numbers(title, ["seconds", "evaluations"], rows)


def _places(data: RunData) -> Markup:
    """Work by host, where there are several."""
    rows, hosts = data.attempts.rows, data.attempts.hosts
    if len(hosts) < 2:
        return Markup("")
    cells = []
    for k, host in enumerate(hosts):
        mine = rows[rows["host"] == k]
        ok = mine[mine["status"] == Status.OK]
        seconds = ok["ended"] - ok["started"]
        median = duration(float(np.median(seconds))) if len(seconds) else duration(None)
        cells.append(
            (host or "unknown", str(len(mine)), str(len(mine) - len(ok)), str(len(np.unique(mine["slot"]))), median)
        )
    return table("By host", ["host", "attempts", "failed", "slots", "median"], cells)
