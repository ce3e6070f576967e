"""The noise of J, and the step sweep of a check."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from distfd.differentiation.noise import STATUSES
from distfd.reporting import svg
from distfd.reporting.formatting import number
from distfd.reporting.table import table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from distfd.reporting.run_data import RunData

    Floats = NDArray[np.float64]

_MOST = 8


def noise_section(data: RunData) -> Markup:
    """What is known of the noise, from the run and from a check; nothing where nothing was measured."""
    parts = []
    noise = data.result.get("noise")
    if isinstance(noise, dict):
        status = str(noise.get("status", ""))
        parts.append(_sentence(noise.get("level"), f"{status}: {STATUSES[status]}" if status in STATUSES else status))
    elif isinstance(noise, (int, float)):
        parts.append(_sentence(noise, "measured, or given, for the steps and the error bars"))
    if data.check is not None:
        parts += _check(data.check)
    return Markup("").join(parts)


def _sentence(level: Any, why: str) -> Markup:
    return Markup("<p>The noise of J is <strong>{}</strong> ({}).</p>\n").format(number(level, 3), why)


def _check(check: dict[str, Any]) -> list[Markup]:
    """Verdict, components and sweeps of check.json."""
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
    sweeps = [one for one in check.get("sweep") or () if isinstance(one, dict)]
    parts += [_curve(k, one) for k, one in enumerate(sweeps[:_MOST])]
    return parts


def _curve(k: int, one: dict[str, Any]) -> Markup:
    """How far forward and central differences are from the best value, over the step."""
    step = _array(one.get("step"))
    best = _array(one.get("derivative"))
    schemes = [(name, _array(one.get(name)), _array(one.get(f"{name}_noise"))) for name in ("forward", "central")]
    if step.ndim != 1 or any(part.shape != step.shape for _, *two in schemes for part in two) or best.ndim:
        return Markup("")
    title = f"Step sweep of {one.get('name')}"
    shown = np.concatenate([part for _, values, noise in schemes for part in (np.abs(values - best), noise)])
    x, y = svg.logarithmic(step, 100, 930), svg.logarithmic(shown, 230, 30)
    parts = [svg.left_axis(y, 100, 930, "distance from the best value"), svg.bottom_axis(x, 230, 30, "step")]
    for name, values, noise in schemes:
        apart = np.abs(values - best)
        apart[apart == 0] = np.nan
        parts.append(svg.polyline(x(step), y(np.where(noise > 0, noise, np.nan)), f"curve {name} thin"))
        parts.append(svg.polyline(x(step), y(apart), f"curve {name}"))
        told = [f"{name}, step {number(float(h), 3)}: {number(float(v))}" for h, v in zip(step, values, strict=True)]
        parts.append(svg.dots(x(step), y(apart), told, f"dot {name}"))
    bar = _array(one.get("error"))
    if not bar.ndim and bar > 0 and y.low < bar < y.high:
        parts.append(svg.line(100, float(y(float(bar))), 930, float(y(float(bar))), "limit"))
    told_ = f"The best value is {number(float(best))} ± {number(float(bar) if not bar.ndim else None, 2)}."
    names = (
        ("forward", "forward"),
        ("central", "central"),
        ("thin", "dashed: what noise alone may do"),
        ("limit", "error bar of the best value"),
    )
    return Markup("<h3>{}</h3>\n<p>{}</p>\n{}{}").format(
        title, told_, svg.chart(f"sweep{k}", title, told_, 274, parts), svg.legend(names)
    )


def _sentence_case(text: str) -> str:
    return text[:1].upper() + text[1:]


def _array(value: Any) -> Floats:
    try:
        return np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        return np.full(1, np.nan)


def _number(value: Any, digits: int) -> str:
    return number(value, digits) if isinstance(value, (int, float)) else number(None)
