"""The page: its sections in order, in one file that asks the network for nothing."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

from markupsafe import Markup

from distfd.reporting.components import components_section
from distfd.reporting.convergence import convergence_section
from distfd.reporting.effort import effort_section
from distfd.reporting.failures import failures_section
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
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<a class="skip" href="#main">Skip to the results</a>
{headline}<nav aria-label="Sections"><ul>{contents}</ul></nav>
<main id="main">
{sections}</main>
<footer><p>Made by distfd from the files of this run; it asks the network for nothing.</p></footer>
</body>
</html>
""")


def render(data: RunData) -> str:
    """The whole page. Names, messages and files are foreign text, so everything is escaped where it is put in."""
    clock = run_clock(data)
    failures = failures_section(data)
    sections = [
        # What went wrong comes first where there is little else to see.
        ("failures", "Failures", failures if data.status in ("failed", "partial") else Markup("")),
        ("result", "Result", components_section(data) if data.task != "noise" else Markup("")),
        ("gradient", "The gradient at a glance", gradient_section(data)),
        ("matrix", "The matrix at a glance", matrix_section(data)),
        ("convergence", "Convergence", convergence_section(data)),
        ("noise", "Noise and steps", noise_section(data)),
        ("timeline", "Worker timeline", timeline_section(data, clock)),
        ("effort", "Efficiency", effort_section(data, clock)),
        ("failures", "Failures", failures if data.status not in ("failed", "partial") else Markup("")),
        ("setup", "Configuration and versions", setup_section(data)),
    ]
    kept = [(key, title, body) for key, title, body in sections if body]
    item = Markup('<li><a href="#{}">{}</a></li>')
    section = Markup('<section aria-labelledby="{}">\n<h2 id="{}">{}</h2>\n{}</section>\n')
    return _PAGE.format(
        title=f"{data.path.name}: {data.task}, {data.status}",
        style=Markup(files("distfd.reporting").joinpath("page.css").read_text(encoding="utf-8")),  # noqa: S704  # a file of ours
        headline=headline_section(data),
        contents=Markup("").join(item.format(key, title) for key, title, _ in kept),
        sections=Markup("").join(section.format(key, key, title, body) for key, title, body in kept),
    )
