"""A comparison of runs as tables on standard output."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from distfd.cli.inspection_commands import say
from distfd.cli.text_table import one_line, show_table
from distfd.reporting.comparison import OTHER_ORDER, POINTS_DIFFER
from distfd.reporting.formatting import duration, percent
from distfd.run_directory.result_fields import measure_of, measures

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distfd.reporting.comparison import Comparison, Component

_ROWS = 40
"""Largest number of components that are shown; of more, those that differ most."""
_KEYS = 60
"""Largest number of configuration keys that are shown."""
_LONGEST = 60
"""Largest length of a configuration value, in characters."""


def show_comparison(found: Comparison) -> None:
    """Prints the runs, their derivatives, their steps, and the differences of their configurations."""
    letters = [_letter(k) for k in range(len(found.runs))]
    for letter, row in zip(letters, found.runs, strict=True):
        say(one_line(f"{letter}  {row.name}{f': {row.trouble}' if row.trouble else ''}"))
    say("")
    show_table(["", *letters], _overview(found), words=(0,))
    if found.components:
        _show_components(found, letters)
        _show_steps(found, letters)
    _show_config(found, letters)


def _letter(k: int) -> str:
    return chr(ord("A") + k) if k < 26 else f"R{k + 1}"


def _overview(found: Comparison) -> list[list[str]]:
    what = measures(row.task for row in found.runs)
    rows: list[tuple[str, list[str]]] = [
        ("task", [row.task or "-" for row in found.runs]),
        ("state", [row.state for row in found.runs]),
        ("scheme", [scheme or "-" for scheme in found.schemes]),
        (f"{what} before", [_number(row.value_before) for row in found.runs]),
        (what, [_number(row.value) for row in found.runs]),
        ("|g|", [_number(row.gradient_norm, 4) for row in found.runs]),
        ("iterations", [_number(row.iterations) for row in found.runs]),
        ("evaluations", [_number(row.n_evaluations) for row in found.runs]),
        ("failed", [_number(row.n_failed) for row in found.runs]),
        ("wall", ["-" if row.wall_seconds is None else duration(row.wall_seconds) for row in found.runs]),
        ("slots", [_number(row.slots) for row in found.runs]),
        ("efficiency", ["-" if (part := row.efficiency_once_up) is None else percent(part) for row in found.runs]),
        ("tags", [", ".join(row.tags) or "-" for row in found.runs]),
    ]
    return [[title, *cells] for title, cells in rows if {*cells} != {"-"}]


def _show_components(found: Comparison, letters: Sequence[str]) -> None:
    shown = _furthest(found.components)
    say("")
    if not found.same_x:
        say(POINTS_DIFFER)
    if found.other_order:
        left_out = ", ".join(letters[k] for k in found.other_order)
        say(f"{left_out}: {OTHER_ORDER}")
    x = {each.name: each.x for each in found.parameters}
    titles, columns = [""], [[_title(each) for each in shown]]

    def add(title: str, cells: list[str]) -> None:
        if {*cells} != {"-"}:
            titles.append(title)
            columns.append(cells)

    for k, letter in enumerate(letters if not found.same_x else letters[:1]):
        add("x" if found.same_x else f"x {letter}", [_number(x[each.name][k]) for each in shown])
    for k, letter in enumerate(letters):
        add(f"{_slope(found.runs[k].task)} {letter}", [_number(each.derivative[k]) for each in shown])
        add("±", [_number(each.error[k], 2) for each in shown])
    for k, letter in enumerate(letters[1:], start=1):
        add(f"{letter} - A", [_number(each.difference[k], 3) for each in shown])
        add("in bars", [_number(each.bars[k], 2) for each in shown])
    show_table(titles, list(zip(*columns, strict=True)))
    if len(shown) < len(found.components):
        say(f"the {len(shown)} that are furthest apart, of {len(found.components)}; --json has all")


def _slope(task: str) -> str:
    """What a component of the derivative is called."""
    return "dJ/dx" if (what := measure_of(task)) == "J" else f"d {what}/dx"


def _furthest(components: Sequence[Component]) -> list[Component]:
    """The components that are shown, in their own order."""
    if len(components) <= _ROWS:
        return list(components)
    order = sorted(range(len(components)), key=lambda k: -components[k].apart)
    return [components[k] for k in sorted(order[:_ROWS])]


def _title(one: Component) -> str:
    if one.output_name is not None:
        return f"d {one.output_name} / d {one.name}"
    return one.name if one.output is None else f"{one.name}, {one.output}"


def _show_steps(found: Comparison, letters: Sequence[str]) -> None:
    """Prints the steps that differ between runs."""
    apart = [each for each in found.parameters if len({*each.step}) > 1][:_ROWS]
    if apart:
        say("")
        titles = ["", *(f"step {letter}" for letter in letters)]
        show_table(titles, [[each.name, *(_number(step, 4) for step in each.step)] for each in apart])


def _show_config(found: Comparison, letters: Sequence[str]) -> None:
    say("")
    if not found.config:
        say("The configurations are the same, but for the output.")
        return
    rows = [[key, *map(_value, values)] for key, values in found.config[:_KEYS]]
    show_table(["configuration", *letters], rows, words=range(len(letters) + 1))
    if len(found.config) > _KEYS:
        say(f"... and {len(found.config) - _KEYS} more keys; --json has all")


def _value(value: Any) -> str:
    if value is None:
        return "-"
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def _number(value: float | None, digits: int = 8) -> str:
    return "-" if value is None else f"{value}" if isinstance(value, int) else f"{value:.{digits}g}"
