"""The pages of the local server: the list of runs, one run, and runs side by side.

All that comes from a run's directory is foreign text, and is escaped where it is put in. The server's policy lets the
browser run no script but the one file of ours, so that what slips through anywhere does nothing.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from weakref import WeakKeyDictionary

from markupsafe import Markup

from distfd.core.errors import DistfdError
from distfd.reporting.comparison import OTHER_ORDER, POINTS_DIFFER
from distfd.reporting.figure import figure, numbers
from distfd.reporting.formatting import UNKNOWN, count, duration, number, percent
from distfd.reporting.headline import STATES, headline_section
from distfd.reporting.page import page_sections, section_markup
from distfd.reporting.run_data import read_run
from distfd.reporting.table import table
from distfd.run_directory.result_fields import measures

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from distfd.reporting.comparison import Comparison, Component
    from distfd.reporting.run_data import RunData
    from distfd.run_directory.listing import RunList, RunRow

SERVED = frozenset({"result.json", "config.yaml", "check.json", "log.jsonl", "output.log", "ray.log", "derivative.npz"})
"""Files of a run that may be looked at. Not its store: to close that file here would give SQLite's locks back."""

_PAGE = Markup("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<link rel="stylesheet" href="{root}page.css">
<link rel="stylesheet" href="{root}ui.css">
<script src="{root}ui.js" defer></script>
{scripts}</head>
<body data-events="{events}" data-charts="{charts}" class="{kind}">
<a class="skip" href="#main">Skip to the results</a>
<div class="crumbs" role="navigation" aria-label="Where this is">{crumbs}<span id="link" role="status"></span></div>
{body}<footer><p>Made by distfd from the files of the runs, on this machine; nothing is sent anywhere.</p></footer>
</body>
</html>
""")

_ITERATIONS = 200
"""Iterations whose numbers a comparison shows."""
_TITLES = (
    *("run", "task", "state", "J or cost before", "J or cost", "|g|", "evaluations", "wall", "efficiency"),
    "tags and notes",
)
"""The rows change while a page is open, and these do not, so they suit all tasks."""
_WORDS = (0, 1, 2, 9)
_drawn: WeakKeyDictionary[RunData, dict[str, str]] = WeakKeyDictionary()
"""The parts of pages of runs that are in memory: the first events of a page tell what it shows already."""
_COMPONENTS = 200
"""Components of a comparison that are shown; of more those that are furthest apart."""


def _scripts(root: str) -> Markup:
    """What draws charts."""
    script = Markup('<script src="{}{}" defer></script>\n')
    return script.format(root, "echarts.js") + script.format(root, "charts.js")


def _data(address: str) -> Markup:
    """What charts are drawn from: asked for before what draws them is there."""
    return Markup('<link rel="preload" as="fetch" href="{}" crossorigin>\n').format(address)


def run_link(name: str) -> str:
    """The place of a run's page below the root; its name is one part of the path, whatever is in it."""
    return f"runs/{quote(name, safe='', errors='surrogateescape')}/"


def runs_page(found: RunList) -> str:
    """The list of runs, with a box at each to choose those that are laid side by side."""
    head = Markup('<th scope="col" class="{}" aria-sort="none"><button type="button" data-column="{}">{}</button></th>')
    kinds = ["word" if k in _WORDS else "number" for k in range(len(_TITLES))]
    heads = Markup("").join(head.format(kinds[k], k + 1, title) for k, title in enumerate(_TITLES))
    body = Markup(
        '<header><h1>Runs</h1><p class="remark">{}</p></header>\n<main id="main">\n'
        '<form action="compare" method="get"><p class="tools"><label>Find <input id="find" type="search" '
        'autocomplete="off"></label> <button>Compare those chosen</button></p>\n'
        '<div class="table" role="region" tabindex="0" aria-label="Table: runs"><table id="runs"><caption>{}</caption>'
        '<thead><tr><th scope="col"><span class="hidden">choose</span></th>{}</tr></thead>{}</table></div></form>\n{}'
        "</main>\n"
    ).format(
        found.folder,
        "Click on a title to sort",
        heads,
        runs_body(found),
        Markup("") if found.complete else Markup("<p>There are more folders below than are looked into.</p>\n"),
    )
    return _PAGE.format(
        title=f"Runs in {found.folder.name}",
        root="",
        events="events",
        crumbs="",
        body=body,
        kind="wide",
        scripts="",
        charts="",
    )


def runs_body(found: RunList) -> Markup:
    """The rows."""
    if not found.rows:
        return Markup('<tbody><tr><td colspan="{}">There is no run yet.</td></tr></tbody>').format(len(_TITLES) + 1)
    return Markup("<tbody>{}</tbody>").format(Markup("").join(_run_row(row) for row in found.rows))


def _run_row(row: RunRow) -> Markup:
    kind, word, _ = STATES.get(row.state, ("bad" if row.trouble else "plain", row.state, ""))
    state = Markup('<span class="status {}">{}</span>').format(kind, word)
    name = Markup('<a href="{}">{}</a>').format(run_link(row.name), row.name)
    box = Markup('<td><input type="checkbox" name="run" value="{}" aria-label="{}"></td>').format(
        quote(row.name, safe="", errors="surrogateescape"), f"Compare {row.name}"
    )
    tags = Markup(" ").join(Markup('<span class="tag">{}</span>').format(tag) for tag in row.tags)
    if row.trouble:
        tags += Markup('<span class="trouble">{}</span>').format(row.trouble)
    failed = f" ({row.n_failed} failed)" if row.n_failed else ""
    cells: list[tuple[Any, Any]] = [
        (row.name, name),
        (row.task, row.task or "\N{EN DASH}"),
        (row.state, state),
        (row.value_before, number(row.value_before, 6)),
        (row.value, number(row.value, 6)),
        (row.gradient_norm, number(row.gradient_norm, 3)),
        (row.n_evaluations, number(row.n_evaluations) + failed),
        (row.wall_seconds, duration(row.wall_seconds)),
        (row.efficiency_once_up, UNKNOWN if (part := row.efficiency_once_up) is None else percent(part)),
        (" ".join(row.tags), tags),
    ]
    parts = [
        Markup('<td class="{}" data-sort="{}">{}</td>').format(
            "word" if k in _WORDS else "number", "" if value is None else value, shown
        )
        for k, (value, shown) in enumerate(cells)
    ]
    return Markup('<tr data-run="{}">{}{}</tr>\n').format(row.name, box, Markup("").join(parts))


def run_page(path: Path, name: str, read: Callable[[Path], RunData] = read_run) -> str:
    """One run: how far it is, and the sections of its report; they are replaced while it goes on."""
    body = Markup(
        '<main id="main">\n<div id="live" hidden><p id="live-text"></p>'
        '<progress id="live-bar" aria-label="The wave"></progress></div>\n'
        '<div id="parts">{}</div>\n</main>\n'
    ).format(Markup("").join(Markup(part) for part in run_parts(path, read).values()))  # noqa: S704  # made by run_parts
    crumbs = Markup('<a href="../../">Runs</a> / {}').format(name)
    return _PAGE.format(
        title=f"{name} - distfd",
        root="../../",
        events="events",
        crumbs=crumbs,
        body=body,
        kind="",
        scripts=_data("charts.json") + _scripts("../../"),
        charts="charts.json",
    )


def run_parts(path: Path, read: Callable[[Path], RunData] = read_run) -> dict[str, str]:
    """The parts of a run's page by their keys, in order; where it cannot be read one that says so."""
    try:
        data = read(path)
        if data not in _drawn:
            _drawn[data] = _wrapped(_sections(data))
        return _drawn[data]
    except DistfdError as error:
        return _wrapped({"headline": _trouble(str(error))})
    except Exception as error:  # a stranger's directory must not take the page of the others with it
        return _wrapped({"headline": _trouble(f"This run cannot be drawn: {type(error).__name__}: {error}")})


def _sections(data: RunData) -> dict[str, Markup]:
    sections = page_sections(data, served=SERVED)
    item = Markup('<li><a href="#{}">{}</a></li>')
    contents = Markup("").join(item.format(key, title) for key, title, _ in sections)
    return {
        "headline": headline_section(data, live=True),
        "contents": Markup('<nav aria-label="Sections"><ul>{}</ul></nav>').format(contents),
        **{key: section_markup(key, title, body) for key, title, body in sections},
    }


def _wrapped(parts: dict[str, Markup]) -> dict[str, str]:
    wrapped = Markup('<div class="part" id="part-{}">{}</div>\n')
    return {key: str(wrapped.format(key, part)) for key, part in parts.items()}


def _trouble(text: str) -> Markup:
    return Markup('<header><h1>This run cannot be shown</h1><p class="message">{}</p></header>').format(text)


def message_page(title: str, text: str, root: str = "") -> str:
    """A page with a few words; ``root`` leads from its address to that of the list."""
    body = Markup('<header><h1>{}</h1></header>\n<main id="main"><p>{}</p></main>\n').format(title, text)
    crumbs = Markup('<a href="{}">Runs</a>').format(root or "./")
    return _PAGE.format(title=title, root=root, events="", crumbs=crumbs, body=body, kind="", scripts="", charts="")


def comparison_page(found: Comparison, names: Sequence[str], ways: Sequence[dict[str, Any] | None], query: str) -> str:
    """Runs side by side.

    Parameters
    ----------
    found : Comparison
    names : sequence of str
        Of the runs in the list.
    ways : sequence of dict or None
        J or the cost by iteration, as of `distfd.ui.chart_data.convergence_fields`.
    query : str
        By which the page was asked for.
    """
    heads = [*names]
    parts = [table("The runs", ["run", *heads], _overview(found, names), words=())]
    if any(way is not None for way in ways):
        parts.append(Markup("<h2>Convergence</h2>\n{}").format(_overlay(names, ways)))
    if found.components:
        remarks = [] if found.same_x else [POINTS_DIFFER]
        remarks += [f"{', '.join(names[k] for k in found.other_order)}: {OTHER_ORDER}."] if found.other_order else []
        remarks.append(f"Each difference is that run's value minus the value of the first run, {names[0]}.")
        if any(bar is not None for each in found.components for bar in each.bars):
            remarks.append(
                "In bars: the size of a difference divided by its error bar. Well above 1, the two runs do not agree."
            )
        parts.append(Markup("<h2>Derivatives</h2>\n<p>{}</p>\n{}").format(" ".join(remarks), _components(found, names)))
    rows = [[_broken_at_dots(key), *map(_setting, values)] for key, values in found.config]
    settings = table("Keys whose values differ", ["key", *heads], rows, words=range(1, len(heads) + 1))
    same = Markup("<p>They are the same, but for the output.</p>\n")
    parts.append(Markup("<h2>Configurations</h2>\n{}").format(settings if rows else same))
    body = Markup('<header><h1>Side by side</h1></header>\n<main id="main">\n{}</main>\n').format(
        Markup("").join(parts)
    )
    crumbs = Markup('<a href="./">Runs</a> / compare')
    return _PAGE.format(
        title="Side by side - distfd",
        root="",
        events="",
        charts=f"compare.json?{query}",
        crumbs=crumbs,
        body=body,
        kind="wide",
        scripts=_scripts(""),
    )


def _overlay(names: Sequence[str], ways: Sequence[dict[str, Any] | None]) -> Markup:
    """J or the cost by iteration of all runs in one chart, and their numbers."""
    known = {name: way for name, way in zip(names, ways, strict=True) if way is not None}
    what = " or ".join(sorted({way["name"] for way in known.values()}))
    told = "; ".join(
        f"{name}: {number(way['value'][-1], 6)} after {way['iteration'][-1]}" for name, way in known.items()
    )
    every = sorted({step for way in known.values() for step in way["iteration"]})[:_ITERATIONS]
    columns = [dict(zip(way["iteration"], way["value"], strict=True)) for way in known.values()]
    rows = [[str(step), *(number(column.get(step)) for column in columns)] for step in every]
    caption = f"The first {len(every)} iterations"
    return figure("overlay", f"{what} by iteration", f"{told}.") + numbers(caption, ["iteration", *known], rows)


def _overview(found: Comparison, names: Sequence[str]) -> list[list[Any]]:
    link = Markup('<a href="{}">open</a>')
    what = measures(row.task for row in found.runs)
    rows: list[list[Any]] = [
        ["page", *(link.format(run_link(name)) for name in names)],
        ["task", *(row.task or "\N{EN DASH}" for row in found.runs)],
        ["state", *(row.state for row in found.runs)],
        ["scheme", *(scheme or "\N{EN DASH}" for scheme in found.schemes)],
        [f"{what} before", *(number(row.value_before) for row in found.runs)],
        [what, *(number(row.value) for row in found.runs)],
        ["|g|", *(number(row.gradient_norm, 4) for row in found.runs)],
        ["iterations", *(number(row.iterations) for row in found.runs)],
        ["evaluations", *(number(row.n_evaluations) for row in found.runs)],
        ["failed", *(number(row.n_failed) for row in found.runs)],
        ["wall time", *(duration(row.wall_seconds) for row in found.runs)],
        ["slots", *(number(row.slots) for row in found.runs)],
        [
            "efficiency",
            *(UNKNOWN if (part := row.efficiency_once_up) is None else percent(part) for row in found.runs),
        ],
    ]
    return [row for row in rows if {*row[1:]} != {UNKNOWN}]  # a row in which no run has anything says nothing


def _components(found: Comparison, names: Sequence[str]) -> Markup:
    order = sorted(range(len(found.components)), key=lambda k: -found.components[k].apart)[:_COMPONENTS]
    shown = [found.components[k] for k in sorted(order)]
    titles, columns = ["parameter"], [[_component_title(each) for each in shown]]

    def add(title: str, values: Iterable[float | None], digits: int) -> None:
        cells = [number(value, digits) for value in values]
        if {*cells} != {UNKNOWN}:  # a column in which no run has anything says nothing
            titles.append(title)
            columns.append(cells)

    for k, name in enumerate(names):
        add(name, (each.derivative[k] for each in shown), 8)
        add("\N{PLUS-MINUS SIGN}", (each.error[k] for each in shown), 2)
        add("difference", (each.difference[k] for each in shown), 3)
        add("in bars", (each.bars[k] for each in shown), 2)
    caption = count(len(found.components), "component")
    if len(shown) < len(found.components):
        caption = f"{len(shown)} of {caption}, those that are furthest apart"
    return table(caption, titles, list(zip(*columns, strict=True)))


def _component_title(one: Component) -> str:
    if one.output_name is not None:
        return f"d {one.output_name} / d {one.name}"
    return one.name if one.output is None else f"{one.name}, output {one.output}"


def _broken_at_dots(key: str) -> Markup:
    """A configuration's key, which a narrow page breaks between its parts."""
    return Markup(".<wbr>").join(key.split("."))


def _setting(value: Any) -> str:
    if value is None:
        return "\N{EN DASH}"
    text = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 200 else text[:197] + "..."
