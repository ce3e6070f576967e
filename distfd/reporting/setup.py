"""What was run: the configuration, the versions, the files beside the page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from markupsafe import Markup

from distfd.objectives.command.secrets import Mask
from distfd.reporting.formatting import duration, moment
from distfd.reporting.run_data import set_variables
from distfd.reporting.table import facts

if TYPE_CHECKING:
    from distfd.reporting.run_data import RunData

_LONGEST = 60_000
"""Characters of a configuration that are shown."""
_LONGEST_VALUES = 20_000
"""Characters of environment variables that are looked for in a configuration."""
_FILES = {
    "result.json": "the result",
    "derivative.npz": "the derivative as NumPy arrays",
    "evaluations.sqlite": "every attempt",
    "log.jsonl": "what happened, one JSON object a line",
    "output.log": "what J printed",
    "ray.log": "what Ray said",
    "config.yaml": "the configuration, resolved",
    "check.json": "the check",
    "work": "work directories of programs",
}


def setup_section(data: RunData, *, served: frozenset[str] | None = None) -> Markup:
    """Configuration, sessions, versions, files; links lead to the files that are ``served``, or to all of them."""
    text = _configuration(data)
    versions = data.result.get("versions")
    pairs = [(str(name), str(value)) for name, value in versions.items()] if isinstance(versions, dict) else []
    files = [name for name in _FILES if (data.path / name).exists()]
    link = Markup('<a href="{}">{}</a>')
    names = {name: link.format(name, name) if served is None or name in served else Markup(name) for name in files}  # noqa: S704  # our own
    links = Markup("").join(Markup("<li>{}: {}</li>").format(names[name], _FILES[name]) for name in files)
    return Markup(
        '<h3>Configuration</h3>\n<pre tabindex="0" role="region" aria-label="Configuration">{}</pre>\n{}{}'
        "<h3>Files of this run</h3>\n<ul>{}</ul>\n"
    ).format(
        text or "There is none.",
        Markup("<h3>Versions</h3>\n{}").format(facts(pairs)) if pairs else "",
        _sessions(data),
        links,
    )


def _configuration(data: RunData) -> str:
    """config.yaml, with the names of variables in place of values that may be secret: a report is handed on."""
    text, values = data.config_text, set_variables(data.config)
    if sum(map(len, values.values())) > _LONGEST_VALUES:
        return "It sets so much in the environment of programs that it is not shown here; config.yaml has it."
    mask = Mask({}, values)
    shown = mask(text[: _LONGEST + mask.longest])[:_LONGEST]
    return shown if len(text) <= _LONGEST else shown + "\n... the rest is in config.yaml"


def _sessions(data: RunData) -> Markup:
    sessions = data.log.sessions
    if len(sessions) < 2:
        return Markup("")
    items = []
    for session in sessions:
        end = session.last if session.ended is None else session.ended
        how = session.status or ("ended" if session.ended is not None else "cut off")
        items.append(
            Markup("<li>{}: {} for {}, {}</li>").format(
                moment(session.started), session.task or "run", duration(end - session.started), how
            )
        )
    return Markup("<h3>Sessions</h3>\n<ol>{}</ol>\n").format(Markup("").join(items))
