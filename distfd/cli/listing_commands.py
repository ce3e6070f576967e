"""Commands that look at several runs at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from distfd.cli.inspection_commands import say, say_json
from distfd.cli.options import Debug, examples
from distfd.cli.text_table import show_table

if TYPE_CHECKING:
    from distfd.run_directory.listing import RunRow


def add_listing(app: typer.Typer) -> None:
    """Give the app these commands."""
    app.command(
        "ls",
        epilog=examples("distfd ls", "distfd ls runs", "distfd ls runs --json"),
        short_help="List the runs in a folder: task, state, J, |g|, cost.",
    )(list_folder)
    app.command(
        epilog=examples("distfd compare runs/coarse runs/fine", "distfd compare runs/a runs/b runs/c --json"),
        short_help="Lay runs side by side: J, derivatives, steps, cost, configuration.",
    )(compare)


def list_folder(
    folder: Annotated[
        str, typer.Argument(metavar="DIR", help="A folder that holds runs, at any of 4 levels, or a run.")
    ] = ".",
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    debug: Debug = False,  # noqa: ARG001  # see main()
) -> None:
    """List the runs in a folder: task, state, J before and after, size of the gradient, and what they cost."""
    from distfd.run_directory.listing import list_runs

    found = list_runs(folder)
    if as_json:
        say_json({"folder": str(found.folder), "complete": found.complete, "runs": [row.fields for row in found.rows]})
        return
    if found.rows:
        _show_rows(found.rows)
    else:
        say(f"no run is in {folder}")
    if not found.complete:
        say("there are more folders below than are looked into; name one of them")


def compare(
    runs: Annotated[
        list[str],
        typer.Argument(metavar="RUN RUN ...", help="Directories of runs; the others are compared with the first."),
    ],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with all parameters.")] = False,
    debug: Debug = False,  # noqa: ARG001  # see main()
) -> None:
    """Lay runs side by side: parameters, derivatives and how far they are apart, steps, cost, configuration."""
    from distfd.cli.comparison_text import show_comparison
    from distfd.reporting.comparison import compare_runs

    found = compare_runs(runs)
    if as_json:
        say_json(found.fields)
    else:
        show_comparison(found)


def _show_rows(rows: tuple[RunRow, ...]) -> None:
    from distfd.reporting.formatting import duration, percent
    from distfd.run_directory.result_fields import measures

    what = measures(row.task for row in rows)
    columns = {
        "run": [row.name for row in rows],
        "task": [row.task or "-" for row in rows],
        "state": [row.state for row in rows],
        f"{what} before": [_number(row.value_before) for row in rows],
        what: [_number(row.value) for row in rows],
        "|g|": [_number(row.gradient_norm, 3) for row in rows],
        "evaluations": [_count(row) for row in rows],
        "wall": ["-" if row.wall_seconds is None else duration(row.wall_seconds) for row in rows],
        "efficiency": ["-" if (part := row.efficiency_once_up) is None else percent(part) for row in rows],
        "tags": [", ".join(row.tags) for row in rows],
        "note": [row.trouble for row in rows],
    }
    # A column in which nobody has anything says nothing.
    optional = (f"{what} before", "tags", "note")
    shown = {title: cells for title, cells in columns.items() if title not in optional or {*cells} - {"", "-"}}
    words = [k for k, title in enumerate(shown) if title in _WORDS]
    show_table(list(shown), list(zip(*shown.values(), strict=True)), words=words)


_WORDS = ("run", "task", "state", "tags", "note")


def _number(value: float | None, digits: int = 6) -> str:
    return "-" if value is None else f"{value:.{digits}g}"


def _count(row: RunRow) -> str:
    if row.n_evaluations is None:
        return "-"
    return f"{row.n_evaluations}" + (f" ({row.n_failed} failed)" if row.n_failed else "")
