"""The page: its sections in order, in one file that asks the network for nothing."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from markupsafe import Markup

from distfd.core.printable import printable
from distfd.reporting.chart_data import inlined
from distfd.reporting.components import components_section
from distfd.reporting.convergence import convergence_section
from distfd.reporting.effort import effort_section
from distfd.reporting.failures import failures_section
from distfd.reporting.fit_section import fit_section
from distfd.reporting.gradient_chart import gradient_section
from distfd.reporting.headline import headline_section
from distfd.reporting.matrix_chart import matrix_section
from distfd.reporting.noise_section import noise_section
from distfd.reporting.run_clock import run_clock
from distfd.reporting.setup import setup_section
from distfd.reporting.timeline import timeline_section

if TYPE_CHECKING:
    from distfd.reporting.run_data import RunData

_PAGE = Markup("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<a class="skip" href="#main">Skip to the results</a>
{headline}<nav aria-label="Sections"><ul>{contents}</ul></nav>
<main id="main">
{sections}</main>
<footer><p>distfd made this page from the files of this run. It loads nothing from the network.</p></footer>
<script type="application/json" id="chart-data">{numbers}</script>
<script>{library}</script>
<script>{charts}</script>
</body>
</html>
""")


LIBRARY = "vendor/echarts-5.6.0.min.js"
"""The library that draws the charts, as published."""
_BAD = ("failed", "partial")
"""States of a run whose page shows mainly what went wrong."""


def page_sections(data: RunData, *, served: frozenset[str] | None = None) -> list[tuple[str, str, Markup]]:
    """Key, title and body of each section that has something to say, in order.

    Parameters
    ----------
    data : RunData
    served : frozenset of str, optional
        Names of the run's files that links may lead to; by default all do, and directories too, as the page lies beside
        them.
    """
    clock = run_clock(data)
    failures = failures_section(data, linked=served is None)
    early = data.status in _BAD
    sections = [
        ("failures", "Failures", failures if early else Markup("")),
        ("result", "Result", components_section(data) if data.task != "noise" else Markup("")),
        ("fit", "The fit", fit_section(data)),
        ("gradient", "The gradient at a glance", gradient_section(data)),
        ("matrix", "The matrix at a glance", matrix_section(data)),
        ("convergence", "Convergence", convergence_section(data)),
        ("noise", "Noise and steps", noise_section(data)),
        ("timeline", "Worker timeline", timeline_section(data, clock)),
        ("effort", "Efficiency", effort_section(data, clock)),
        ("failures", "Failures", Markup("") if early else failures),
        ("setup", "Configuration and versions", setup_section(data, served=served)),
    ]
    return [(key, title, body) for key, title, body in sections if body]


def section_markup(key: str, title: str, body: Markup) -> Markup:
    """A section with its heading, which names it."""
    return Markup('<section aria-labelledby="{}">\n<h2 id="{}">{}</h2>\n{}</section>\n').format(key, key, title, body)


@cache
def asset(name: str) -> str:
    """A file of the page's own: ``page.css``, ``charts.js``, or `LIBRARY`."""
    return files("distfd.reporting").joinpath(name).read_text(encoding="utf-8")


@cache
def _digest(name: str) -> str:
    """The digest by which the page's security policy recognises this file."""
    return "'sha256-" + base64.b64encode(hashlib.sha256(asset(name).encode()).digest()).decode() + "'"


def render(data: RunData) -> str:
    """The whole page. Names, messages and files are foreign text, so everything is escaped where it is inserted.

    Characters that would turn the direction of reading are replaced. The browser runs no scripts but distfd's two,
    which the security policy identifies by their digests.
    """
    kept = page_sections(data)
    item = Markup('<li><a href="#{}">{}</a></li>')
    policy = (
        f"default-src 'none'; script-src {_digest(LIBRARY)} {_digest('charts.js')}; style-src {_digest('page.css')}; "
        "base-uri 'none'; form-action 'none'"
    )
    files_of_ours = (("style", "page.css"), ("library", LIBRARY), ("charts", "charts.js"))
    own = {key: Markup(asset(name)) for key, name in files_of_ours}  # noqa: S704  # distfd's own files
    shown = [printable(part) for part in (headline_section(data), *(section_markup(*each) for each in kept))]
    headline, *sections = (Markup(part) for part in shown)  # noqa: S704  # what has been escaped stays so
    return _PAGE.format(
        **own,
        policy=Markup(policy),  # noqa: S704  # our own text
        title=printable(f"{data.path.name}: {data.task}, {data.status}"),
        headline=headline,
        contents=Markup("").join(item.format(key, title) for key, title, _ in kept),
        sections=Markup("").join(sections),
        numbers=Markup(inlined(data)),  # noqa: S704  # without the signs that mean something in a page
    )
