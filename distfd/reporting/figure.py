"""The places of charts on a page: charts.js draws in them; a sentence and a table serve readers who see no chart."""

from __future__ import annotations

from typing import TYPE_CHECKING

from markupsafe import Markup

from distfd.reporting.table import table

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def figure(key: str, title: str, told: str) -> Markup:
    """A place for the chart ``key`` of `distfd.reporting.chart_data`.

    Parameters
    ----------
    key : str
    title : str
    told : str
        One sentence that says what the chart shows, for those who do not see it.
    """
    return Markup(
        '<div class="chart" id="{}-chart" data-title="{}" data-told="{}"><p>Chart: {}. {} The chart is drawn where '
        "JavaScript runs.</p></div>\n"
    ).format(key, title, told, title, told)


def numbers(caption: str, titles: Sequence[str], rows: Iterable[Sequence[str | Markup]]) -> Markup:
    """The numbers behind a chart, folded away."""
    return Markup("<details><summary>The numbers</summary>{}</details>\n").format(table(caption, titles, rows))


def legend(entries: Iterable[tuple[str, str]]) -> Markup:
    """(class, words) beside swatches, below a chart."""
    items = [Markup('<li><span class="swatch {}"></span>{}</li>').format(kind, words) for kind, words in entries]
    return Markup('<ul class="legend">{}</ul>\n').format(Markup("").join(items))
