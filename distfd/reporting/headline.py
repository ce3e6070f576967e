"""What the run was, how it ended, and its numbers at a glance."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from distfd.core.records import Status
from distfd.reporting.formatting import count, duration, moment, number, percent
from distfd.reporting.table import facts
from distfd.results.derivative_result import efficiency_since_up, euclidean_norm
from distfd.run_directory.result_fields import TELLING, ending_text

if TYPE_CHECKING:
    from distfd.reporting.run_data import RunData

STATES = {
    "done": ("good", "done", "Everything that was asked for has a value."),
    "partial": ("poor", "partial", "Some components have no value."),
    "failed": ("bad", "failed", ""),
    "interrupted": ("poor", "interrupted", "Run the same command again to continue from here."),
    "running": ("plain", "running", "This page shows the run as it was when the page was made."),
    "checked": ("plain", "checked", "Only a check was run here."),
    "unreadable": ("bad", "unreadable", "Run the same command again to have result.json written anew."),
    "cut off": (
        "bad",
        "cut off",
        "It ended without a message, as if it was killed. Run the same command again to continue.",
    ),
}
"""Class, word and remark of each status."""

TITLES = {"minimize": "Minimisation", "least_squares": "Least-squares fit", "noise": "Noise of J"}

_COUNTS = (("n_reused", "reused"), ("n_retried", "retried"), ("n_failed", "failed"))


def headline_section(data: RunData, *, live: bool = False) -> Markup:
    """Status, message, and the numbers that one looks for first; a ``live`` page follows the run."""
    kind, word, remark = STATES.get(data.status, ("plain", data.status, ""))
    remark = "This page follows the run." if live and data.status == "running" else remark
    message = data.trouble or str(data.result.get("message") or "")
    if message and not data.trouble and data.result.get("converged") is not None:
        message = f"{'Converged' if data.result['converged'] else 'Not converged'}: {ending_text(message)}."
    if data.result.get("started"):
        remark = f"{remark} Started {_when(data.result['started'])}.".lstrip()
    return Markup(
        '<header><p class="task">{} <span class="status {}">{}</span></p>\n<h1>{}</h1>\n'
        '<p class="remark">{}</p>\n{}{}</header>\n'
    ).format(
        _title(data), kind, word, data.path.name or "run", remark, _message(data.status, message), facts(_facts(data))
    )


def _title(data: RunData) -> str:
    d = len(data.names)
    of = f"{',' if data.task == 'noise' else ' of'} {count(d, 'parameter')}" if d else ""
    scheme = data.result.get("scheme") or (data.config.get("derivative") or {}).get("scheme")
    by = f", {scheme} differences" if scheme and data.task not in ("noise", "hessian") else ""
    by = ", steps from the noise" if scheme == "auto" else by
    return f"{TITLES.get(data.task, data.task.capitalize())}{of}{by}"


def _message(status: str, message: str) -> Markup:
    if not message:
        return Markup("")
    if "\n" in message or status == "failed":
        return Markup('<pre class="message" tabindex="0" role="region" aria-label="Message">{}</pre>\n').format(message)
    return Markup('<p class="message">{}</p>\n').format(message)


def _facts(data: RunData) -> list[tuple[str, str]]:
    result, what = data.result, data.measure
    pairs: list[tuple[str, str]] = []
    if "value0" in result and result["value0"] is not None:
        pairs.append(("J before" if what == "J" else "Cost before", number(result["value0"])))
    value = result.get("value")
    if isinstance(value, (int, float)):
        pairs.append((what if what == "J" else "Cost", number(value)))
    elif isinstance(value, list):
        pairs.append(("J", count(len(value), "output")))
    gradient = data.numbers("derivative")
    if gradient is not None and gradient.ndim == 1 and np.isfinite(gradient).any():
        missing = len(result.get("missing") or ())
        norm = number(euclidean_norm(gradient[~np.isnan(gradient)]), 6)
        pairs.append(("|g|", f"{norm} without {missing} missing" if missing else norm))
    if result.get("iterations") is not None:
        ended = "converged" if result.get("converged") else "not converged"
        pairs.append(("Iterations", f"{result['iterations']}, {ended}"))
    noise = result.get("noise")
    if isinstance(noise, dict):
        pairs.append(("Noise of J", number(noise.get("level"), 3)))
    pairs.append(("Evaluations", _evaluations(data)))
    if data.result.get("wall_seconds") is not None:
        pairs.append(("Wall time", duration(result["wall_seconds"])))
    if result.get("slots") is not None:
        pairs.append(("Slots", number(result["slots"])))
    if result.get("efficiency") is not None and (result.get("ideal_seconds") or 0.0) >= TELLING:
        wall, start = result.get("wall_seconds") or 0.0, result.get("start_seconds")
        since = efficiency_since_up(result["efficiency"], wall, start)
        told = f"{percent(since)}, after a start of {duration(start)}" if since is not None else None
        pairs.append(("Efficiency", told or percent(result["efficiency"])))
    return pairs + _check(result.get("consistency"))  # a sentence, so the last


def _check(found: Any) -> list[tuple[str, str]]:
    """What a directional check of the derivative found, in one line."""
    if not isinstance(found, dict) or not found.get("sentence"):
        return []
    return [("Check", str(found["sentence"]))]


def _evaluations(data: RunData) -> str:
    result, rows = data.result, data.attempts.rows
    n = result.get("n_evaluations")
    done = int((rows["status"] == Status.OK).sum()) if n is None else int(n)
    more = [f"{result[name]} {word}" for name, word in _COUNTS if result.get(name)]
    return ", ".join([count(done, "", " ").strip(), *more])


def _when(text: Any) -> str:
    try:
        return moment(datetime.fromisoformat(str(text)).timestamp())
    except ValueError:
        return str(text)
