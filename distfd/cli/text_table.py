"""Tables of many rows: fitted to a terminal's width, and plain columns in a file or a pipe."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distfd.cli.terminal import answers
from distfd.core.printable import printable

if TYPE_CHECKING:
    from collections.abc import Sequence


def show_table(titles: Sequence[str], rows: Sequence[Sequence[str]], *, words: Sequence[int] = (0,)) -> None:
    """Print a table on standard output.

    Parameters
    ----------
    titles : sequence of str
    rows : sequence of sequences of str
        A cell for each title. A cell is always one line, so that a name with a newline cannot imitate a row.
    words : sequence of int
        Columns of words, aligned left; the others hold numbers, aligned right.
    """
    cells = [[one_line(cell) for cell in row] for row in rows]
    out = answers()
    if out.isatty():
        _drawn(titles, cells, words)
        return
    widths = [max(len(cell) for cell in column) for column in zip(titles, *cells, strict=True)]
    for row in (titles, *cells):
        parts = [
            cell.ljust(width) if k in words else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        out.write("  ".join(parts).rstrip() + "\n")
    out.flush()


def _drawn(titles: Sequence[str], cells: Sequence[Sequence[str]], words: Sequence[int]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, padding=(0, 2, 0, 0), pad_edge=False, show_edge=False)
    for k, title in enumerate(titles):
        word = k in words
        # Names wrap where there is no room; numbers never do, as a split number would be misread.
        table.add_column(Text(title), justify="left" if word else "right", no_wrap=not word, overflow="fold")
    for row in cells:
        table.add_row(*map(Text, row))
    Console(file=answers(), highlight=False).print(table)


def one_line(text: str) -> str:
    """The text as one line, without control characters for the terminal."""
    return printable(" ".join(text.split()) if any(c.isspace() and c != " " for c in text) else text)
