"""The noise of J, and the step sweep of a check."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from distfd.differentiation.noise import STATUSES
from distfd.reporting.chart_data import sweeps
from distfd.reporting.figure import figure, legend, numbers
from distfd.reporting.formatting import number
from distfd.reporting.table import table

if TYPE_CHECKING:
    from distfd.reporting.run_data import RunData


def noise_section(data: RunData) -> Markup:
    """What is known of the noise, from the run and from a check; nothing where nothing was measured."""
    parts = []
    noise = data.result.get("noise")
    if isinstance(noise, dict):
        status = str(noise.get("status", ""))
        parts.append(_sentence(noise.get("level"), f"{status}: {STATUSES[status]}" if status in STATUSES else status))
    elif isinstance(noise, (int, float)):
        parts.append(_sentence(noise, "the steps and the error bars rest on it"))
    if data.check is not None:
        parts += _check(data.check)
        parts += [_sweep(k, one) for k, one in enumerate(sweeps(data))]
    return Markup("").join(parts)


def _sentence(level: Any, why: str) -> Markup:
    return Markup("<p>The noise of J is <strong>{}</strong> ({}).</p>\n").format(number(level, 3), why)


def _check(check: dict[str, Any]) -> list[Markup]:
    """Verdict and components of check.json."""
    parts = [
        Markup("<h3>Check of the derivative</h3>\n<p>{}</p>\n").format(_sentence_case(str(check.get("message", ""))))
    ]
    noise = check.get("noise")
    if isinstance(noise, dict):
        parts.append(_sentence(noise.get("level"), str(noise.get("status", ""))))
    if check.get("advice"):
        parts.append(Markup("<p>Set this, and check again:</p>\n<pre>{}</pre>\n").format(str(check["advice"])))
    rows = [
        (
            str(one.get("name")),
            *(_number(one.get(name), digits) for name, digits in (("configured", 8), ("known", 8), ("bar", 2))),
            str(one.get("verdict", "")),
        )
        for one in check.get("components") or ()
        if isinstance(one, dict)
    ]
    if rows:
        titles = ["parameter", "as configured", "by the sweep", "± error", "verdict"]
        parts.append(table("Components that were checked", titles, rows, words=(4,)))
    return parts


def _sweep(k: int, one: dict[str, Any]) -> Markup:
    """How far forward and central differences are from the best value, over the step."""
    title = f"Step sweep of {one['name']}"
    told = f"The best value is {number(one['derivative'])} ± {number(one['error'], 2)}."
    names = (
        ("forward", "forward"),
        ("central", "central"),
        ("thin", "dashed: what noise alone may do"),
        ("limit", "dotted: error bar of the best value"),
    )
    columns = ("step", "forward", "forward_noise", "central", "central_noise")
    rows = [
        tuple(number(float(value), 3) for value in row) for row in zip(*(one[name] for name in columns), strict=True)
    ]
    titles = ["step", "forward", "its noise", "central", "its noise"]
    return Markup("<h3>{}</h3>\n<p>{}</p>\n{}{}{}").format(
        title,
        told,
        figure(f"sweep{k}", title, told),
        legend(names),
        numbers("Distance from the best value", titles, rows),
    )


def _sentence_case(text: str) -> str:
    return text[:1].upper() + text[1:]


def _number(value: Any, digits: int) -> str:
    return number(value, digits) if isinstance(value, (int, float)) else number(None)
