"""Writes the page of a run, and its tables."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from distfd.core.errors import DistfdError
from distfd.core.files import check_ours
from distfd.reporting.export import derivative_columns, evaluation_columns, residual_columns
from distfd.reporting.page import render
from distfd.reporting.run_data import read_run
from distfd.results.csv_export import write_csv

if TYPE_CHECKING:
    from collections.abc import Callable

    from distfd.run_directory.directory import RunDirectory


def write_report(run: RunDirectory) -> Path:
    """Make report.html from what the directory holds, and return its path.

    Raises
    ------
    InputError
        If there is no run.
    StoreError
        If it cannot be written.
    """
    run.write_report(render(read_run(run.path)))
    return run.report


def write_tables(run: RunDirectory) -> list[Path]:
    """Write derivative.csv, evaluations.csv and (of a fit) residuals.csv; the paths of what there was to write.

    Raises
    ------
    InputError
        If there is no run, or they cannot be written.
    """
    data = read_run(run.path)
    made = []
    tables = {
        "derivative.csv": derivative_columns(data),
        "evaluations.csv": evaluation_columns(data),
        "residuals.csv": residual_columns(data),
    }
    for name, columns in tables.items():
        if columns:
            check_ours(run.path / name)  # a link there is no wish of the user's
            write_csv(run.path / name, columns)
            made.append(run.path / name)
    return made


def is_current(run: RunDirectory) -> bool:
    """Whether report.html is newer than everything it shows, and not made by a newer distfd."""
    try:
        made = run.report.lstat().st_mtime
        shown = [path.stat().st_mtime for path in (run.path / "result.json", run.log) if path.exists()]
        return made >= max([Path(__file__).stat().st_mtime, *shown])
    except OSError:
        return False


def refresh_report(run: RunDirectory, say: Callable[[str], None]) -> None:
    """Makes the page at the end of a run; errors are only reported, as a run is valid without its page."""
    try:
        write_report(run)
    except DistfdError as error:
        say(f"no report.html: {error}")
    except Exception as error:
        say(f"no report.html, which is a bug in distfd: {type(error).__name__}: {error}")
