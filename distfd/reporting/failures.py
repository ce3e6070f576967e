"""What failed: by cause, attempt by attempt, and the work directories that were kept."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

import numpy as np
from markupsafe import Markup

from distfd.reporting.formatting import count, duration
from distfd.reporting.table import fold, table

if TYPE_CHECKING:
    from distfd.reporting.attempts import FailedAttempt
    from distfd.reporting.run_data import KeptFolder, RunData

_DETAILS, _AT_ONCE = 60, 8
_LONGEST = 8000
"""Characters of a traceback that are shown."""


def failures_section(data: RunData, *, linked: bool = True) -> Markup:
    """Nothing where nothing failed; ``linked`` says whether names of directories lead to them."""
    parts = []
    if data.attempts.causes:
        rows = [(cause or status, status, str(n), str(points)) for status, cause, n, points in data.attempts.causes]
        parts.append(table("Causes", ["cause", "kind", "attempts", "points"], rows, words=(1,)))
        if data.per_coordinate > 1:
            several = Markup("<p>“(2 of {0})” after a parameter: the second of the {0} points of its derivative.</p>\n")
            parts.append(several.format(data.per_coordinate))
        shown = sorted(data.attempts.failed[:_DETAILS], key=lambda one: (one.point, one.attempt))
        details = [_detail(data, one) for one in shown]
        parts.append(fold(details, _AT_ONCE, count(len(details) - _AT_ONCE, "more attempt")))
        left = sum(n for _, _, n, _ in data.attempts.causes) - len(data.attempts.failed[:_DETAILS])
        if left > 0:
            parts.append(Markup("<p>{} in log.jsonl and evaluations.sqlite.</p>\n").format(count(left, "more attempt")))
    if data.folders:
        parts.append(_folders(data.folders, linked=linked))
    return Markup("").join(parts)


def _cause(message: str) -> str:
    return message.partition("; work directory ")[0]


def _detail(data: RunData, one: FailedAttempt) -> Markup:
    place = f"attempt {one.attempt}, slot {one.slot}, {one.host or 'unknown host'} pid {one.pid}"
    took = one.ended - one.started
    place += f", after {duration(took)}" if np.isfinite(took) else ""
    place += one.message[len(_cause(one.message)) :]
    said = one.detail if len(one.detail) <= _LONGEST else "[cut]\n" + one.detail[-_LONGEST:]
    tried = f", attempt {one.attempt}" if one.attempt > 1 else ""
    body = Markup("<p>It printed nothing.</p>")
    if said.strip():
        body = Markup('<pre tabindex="0" role="region" aria-label="What it said">{}</pre>').format(said)
    return Markup(
        '<details><summary><span class="status bad">{}</span> {}{}: {}</summary><p>{}</p>{}</details>\n'
    ).format(one.status, _label(data, one), tried, _cause(one.message) or "no message", place, body)


def _label(data: RunData, one: FailedAttempt) -> str:
    """The point by the name that the log gives it, where that is the only one it can be."""
    name = data.point_name(one.point, one.coordinate)
    told = data.log.labels.get((one.pid, one.attempt, one.message), set())
    return next(iter(told)) if name.startswith("point ") and len(told) == 1 else name


def _folders(folders: tuple[KeptFolder, ...], *, linked: bool) -> Markup:
    link = Markup('<a href="{}/">{}</a>')
    rows = [
        (
            link.format(quote(folder.path), folder.path) if linked else folder.path,
            folder.status,
            _cause(folder.failure),
        )
        for folder in folders
    ]
    return table("Work directories that were kept", ["directory", "status", "failure"], rows, words=(1, 2))
