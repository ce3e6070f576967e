"""The derivative by component: a table of all of them, or of those that matter among very many."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from distfd.reporting.chart_data import of_fit
from distfd.reporting.formatting import count, number
from distfd.reporting.table import fold, table
from distfd.results.derivative_result import jacobian_titles

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from distfd.reporting.run_data import RunData

_ALL = 400
"""Largest number of parameters for which the table has all rows."""
_LARGEST, _TROUBLED, _ENDS = 100, 200, 20
_OUTPUTS = 6
_WARNINGS, _AT_ONCE = 200, 6


def components_section(data: RunData) -> Markup:
    """Warnings, then the table; a sentence where there is no derivative."""
    derivative = data.numbers("derivative")
    warnings = [str(text) for text in data.result.get("warnings") or ()]
    parts = [*([_warnings(warnings)] if warnings else []), *_fit_findings(data)]
    if derivative is None or not data.names:
        yet = " yet" if data.status == "running" else ""
        return Markup("").join([*parts, Markup("<p>There is no derivative{}.</p>\n").format(yet)])
    shown = _choice(data, derivative)
    titles, columns = _columns(data, derivative)
    caption = f"{count(len(data.names), 'parameter')}"
    if len(shown) < len(data.names):
        caption = (
            f"{len(shown)} of {count(len(data.names), 'parameter')}: the ends, the largest components, and those that "
            "are missing or repaired; derivative.npz and result.json have all"
        )
    if derivative.ndim == 2 and len(derivative) > _OUTPUTS:
        caption += f"; {_OUTPUTS} of {len(derivative)} columns, result.json has all"
    notes = _notes(data)
    noted = any(k in notes for k in shown)
    rows = ([data.names[k], *(cell(k) for cell in columns), *([notes.get(k, "")] if noted else [])] for k in shown)
    heads = ["parameter", *titles, *(["note"] if noted else [])]
    return Markup("").join([*parts, table(caption, heads, rows, words=(len(titles) + 1,))])


def _choice(data: RunData, derivative: NDArray[np.float64]) -> list[int]:
    """Which parameters are shown."""
    d = len(data.names)
    if d <= _ALL:
        return list(range(d))
    sizes = np.abs(np.nan_to_num(derivative))
    sizes = sizes if sizes.ndim == 1 else sizes.max(axis=0)
    largest = np.argsort(-sizes[:d], kind="stable")[:_LARGEST].tolist()
    troubled = list(_notes(data))[:_TROUBLED]
    return sorted({*range(_ENDS), *range(d - _ENDS, d), *largest, *troubled})


def _columns(data: RunData, derivative: NDArray[np.float64]) -> tuple[list[str], list[Any]]:
    titles: list[str] = []
    columns: list[Any] = []

    def add(title: str, values: NDArray[np.float64] | None, digits: int = 8) -> None:
        if values is not None and values.ndim == 1 and len(values) == len(data.names):
            titles.append(title)
            columns.append(lambda k: number(float(values[k]), digits))

    minimum = "x0" in data.result
    add("x before", data.numbers("x0") if minimum else None)
    add("x", data.numbers("x"))
    if derivative.ndim == 1:
        for title, key, digits in (("std. error", "standard_error", 4), ("95 % from", "lower", 6), ("to", "upper", 6)):
            add(title, of_fit(data, key), digits)
        add("dJ/dx", derivative)
        error = data.numbers("error")
        add("± error", None if error is None or np.isnan(error).all() else error, 2)
    else:
        table_ = derivative if data.task != "hessian" else derivative.T
        named = jacobian_titles(data.outputs, data.names, len(table_))
        for a in range(min(len(table_), _OUTPUTS)):
            add(named[a] if data.task != "hessian" else f"d²J/dx d{data.names[a]}", table_[a])
    add("step", data.numbers("step"), 3)
    return titles, columns


def _fit_findings(data: RunData) -> list[Markup]:
    """Sentences on the quality of a fit, and remarks on its parameters."""
    fit = data.result.get("fit")
    found = fit.get("findings") if isinstance(fit, dict) else None
    return [Markup("<p>{}</p>\n").format(text) for text in found or () if isinstance(text, str)]


def _notes(data: RunData) -> dict[int, str]:
    """Remarks on single parameters, by number."""
    missing, repaired = data.result.get("missing"), data.result.get("repaired")
    repaired = repaired if isinstance(repaired, dict) else {}
    # Most runs have no remarks, and looking up a million names takes a second.
    number_of = {name: k for k, name in enumerate(data.names)} if missing or repaired else {}
    notes = {number_of[name]: "missing: J failed there" for name in _names(missing, number_of)}
    notes |= {number_of[name]: f"repaired: {repaired[name]}" for name in _names(repaired, number_of)}
    step = data.numbers("step")
    if step is not None and step.shape == (len(data.names),):
        still = np.flatnonzero(step == 0).tolist()
        notes |= {k: "does not move" for k in still if k not in notes}
    return _at_bounds(data) | notes


def _at_bounds(data: RunData) -> dict[int, str]:
    """Where an optimisation ended at a bound: dJ/dx need not be 0 there."""
    x = data.numbers("x")
    if "x0" not in data.result or x is None or x.shape != (len(data.names),):
        return {}
    return {
        k: f"at its {end} bound" for end in ("lower", "upper") for k in np.flatnonzero(x == _bound(data, end)).tolist()
    }


def _bound(data: RunData, end: str) -> NDArray[np.float64]:
    """The parameters' bounds at one end, as the configuration writes them; NaN where there is none."""
    found = np.full(len(data.names), np.nan)
    parameters, common = data.config.get("parameters"), data.config.get("bounds")
    given: Any = common.get(end) if isinstance(common, dict) else None
    if isinstance(parameters, list):
        given = [one.get(end) if isinstance(one, dict) else None for one in parameters]
    if isinstance(given, list) and len(given) == len(found):
        known = {k: each for k, each in enumerate(given) if isinstance(each, (int, float))}
        found[list(known)] = list(known.values())
    elif isinstance(given, (int, float)):
        found[:] = given
    return found


def _names(given: Any, known: dict[str, int]) -> Iterator[str]:
    return (name for name in given or () if isinstance(name, str) and name in known)


def _warnings(warnings: list[str]) -> Markup:
    items = [Markup("<p>{}</p>\n").format(text) for text in warnings[:_WARNINGS]]
    if len(warnings) > _WARNINGS:
        items.append(Markup("<p>{} more in result.json</p>\n").format(count(len(warnings) - _WARNINGS, "warning")))
    return Markup('<div class="warnings"><h3>{}</h3>{}</div>\n').format(
        count(len(warnings), "warning"), fold(items, _AT_ONCE, f"{len(items) - _AT_ONCE} more")
    )
