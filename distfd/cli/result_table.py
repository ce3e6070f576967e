"""A finished run on a terminal: its table fitted to the width, what was found, and where the files are."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from distfd.cli.terminal import answers
from distfd.core.printable import printable
from distfd.run_directory.result_fields import cell_text, columns_left_out, findings, summary, table_columns, table_rows

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from rich.table import Table

    from distfd.run_directory.directory import RunDirectory

_AROUND = 8
"""Number of characters around a number's digits: sign, point, exponent, and the gap to the next number."""
_FEWEST = 3
"""Least number of digits: with fewer, a column is left out instead."""


def show_result(result: Mapping[str, Any], directory: RunDirectory) -> None:
    """Print a result.json on standard output: a table on a terminal, plain text elsewhere."""
    where = files_text(directory)
    message = result.get("message") if result["task"] not in ("minimize", "least_squares") else None
    out = answers()
    if not out.isatty():
        out.write(printable("\n".join(filter(None, (summary(result), message, where)))) + "\n")
        out.flush()
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(file=out, highlight=False)
    if result.get("derivative") is not None:
        table = result_table(result, console.width)
        console.print(table)
        for line in columns_left_out(result, len(table.columns) - 2):  # beside the names, and x
            console.print(Text(line, style="dim"))
    *found, effort = findings(result)
    for line in found:
        console.print(Text(printable(line)))
    done = result["status"] == "done"
    if message:
        console.print(Text(printable(message)))
    console.print(Text(printable(effort), style="green" if done else "yellow"))
    console.print(Text(printable(where), style="dim"), soft_wrap=True)


def result_table(result: Mapping[str, Any], width: int) -> Table:
    """Coordinates by row; with as many digits as the width allows, down to three."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    names, columns = result["names"], dict(table_columns(result))
    shown, left_out = table_rows(len(names))
    named = min(max((len(names[k]) for k in shown), default=0), max(8, width // 3))
    named = max(named, 14) if left_out else named
    while (digits := (width - named - 2) // len(columns) - _AROUND) < _FEWEST and len(columns) > 2:
        columns.pop(list(columns)[-1])  # the least important column is the last
    digits = max(_FEWEST, min(8, digits))
    table = Table(box=SIMPLE_HEAD, padding=(0, 2, 0, 0), pad_edge=False, show_edge=False)
    table.add_column("", no_wrap=True, overflow="ellipsis", max_width=named + 2)
    for title in columns:
        table.add_column(Text(printable(title)), justify="right", no_wrap=True, overflow="ellipsis")
    for row, k in enumerate(shown):
        if left_out and row == len(shown) // 2:
            table.add_row(f"... {left_out} more", *("..." for _ in columns))
        table.add_row(_plain(names[k]), *(cell_text(title, column[k], digits) for title, column in columns.items()))
    return table


def files_text(directory: RunDirectory) -> str:
    """The paths of the result's files, relative to the current folder where that is shorter."""
    there = [path for path in (directory.report, directory.printed) if has_text(path)]
    names = ["result.json", *(path.name for path in there)]
    return f"results in {_short(directory.path)}: {', '.join(names)}"


def has_text(path: Path) -> bool:
    """Whether a file is there and not empty."""
    return path.exists() and path.stat().st_size > 0


def _short(path: Path) -> str:
    relative = os.path.relpath(path)
    return relative if len(relative) < len(str(path)) else str(path)


def _plain(name: str) -> str:
    """A name without markup: rich would read [red] as a colour."""
    return printable(name).replace("[", "\\[")
