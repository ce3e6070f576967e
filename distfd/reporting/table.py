"""Tables of the page: a caption, headings, rows; wide ones scroll in a frame of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from markupsafe import Markup

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_WHOLE = 45
"""Rows up to which a table does not scroll."""
_TILE = 11
"""Characters that fit beside each other in a tile: a number of eight digits without an exponent."""


def table(
    caption: str, titles: Sequence[str], rows: Iterable[Sequence[str | Markup]], *, words: Sequence[int] = ()
) -> Markup:
    """A table whose first column names the rows.

    Parameters
    ----------
    words : sequence of int
        Columns that hold words and not numbers: set to the left, and broken where they are long.
    """
    kinds = ["word" if a == 0 or a in words else "number" for a in range(len(titles))]
    head = _join(
        Markup('<th scope="col" class="{}">{}</th>').format(kind, title)
        for kind, title in zip(kinds, titles, strict=True)
    )
    rows = list(rows)
    # A short table is shown whole; a long one scrolls, and its head stays.
    kind = "table long" if len(rows) > _WHOLE else "table"
    return Markup(
        '<div class="{}" role="region" tabindex="0" aria-label="{}"><table><caption>{}</caption>'
        "<thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>\n"
    ).format(kind, f"Table: {caption}", caption, head, _join(_row(row, kinds) for row in rows))


def fold(shown: Sequence[Markup], few: int, words: str) -> Markup:
    """Some at once, the others when asked for; ``words`` say what these are."""
    if len(shown) <= few + 1:
        return _join(shown)
    rest = Markup("<details><summary>{}</summary>{}</details>\n").format(words, _join(shown[few:]))
    return _join(shown[:few]) + rest


def facts(pairs: Iterable[tuple[str, str]]) -> Markup:
    """Names and what they are, in tiles; one of more than `_TILE` characters has the room of two."""
    tile, wide = Markup("<div><dt>{}</dt><dd>{}</dd></div>"), Markup('<div class="wide"><dt>{}</dt><dd>{}</dd></div>')
    return Markup("<dl>{}</dl>\n").format(
        _join((wide if len(value) > _TILE else tile).format(name, value) for name, value in pairs)
    )


def _row(row: Sequence[str | Markup], kinds: Sequence[str]) -> Markup:
    cells = [Markup('<th scope="row" class="word">{}</th>').format(row[0])]
    cells += [
        Markup('<td class="{}">{}</td>').format(kind, cell) for kind, cell in zip(kinds[1:], row[1:], strict=True)
    ]
    return Markup("<tr>{}</tr>\n").format(_join(cells))


def _join(parts: Iterable[Markup]) -> Markup:
    return Markup("").join(parts)
