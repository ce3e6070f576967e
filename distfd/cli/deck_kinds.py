"""What ``distfd init`` knows of a kind of deck: how wide its numbers may be, which files it names, where J may be."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_KEYWORD = re.compile(r"^\*[A-Za-z]", re.MULTILINE)
_ABAQUS = re.compile(r"(ccx|abaqus|abq)([_\d.-].*)?", re.IGNORECASE)
_BULK = re.compile(r"^BEGIN\s+BULK", re.MULTILINE | re.IGNORECASE)
_NASTRAN = frozenset({".bdf", ".nas", ".nastran"})
_PATH = re.compile(r"[A-Za-z0-9_.][\w.+-]*(?:/[\w.+-]+)*")
"""A token that may be a relative path."""
_MOST_PATHS = 20_000
"""Largest number of different words of a deck that are looked for as files."""
_LONG = 250
"""A length in characters that no file name has."""
CCX_ERROR = r"^ *\*ERROR"
"""How CalculiX reports an error; after some errors it still exits with code 0."""


@dataclass(frozen=True)
class DeckKind:
    """How a program reads the numbers of a deck.

    Attributes
    ----------
    filter : str
        The filter by which a template writes numbers; empty for all digits.
    wide : str
        The filter on a line of large fields, whose first word ends with ``*``.
    remark : str
        The reason, for a reader of the configuration.
    """

    filter: str = ""
    wide: str = ""
    remark: str = ""

    def of_line(self, line: str) -> str:
        """The filter for a mark on this line."""
        first = re.match(r"[A-Za-z0-9]*\*", line)
        return self.wide if self.wide and first else self.filter


_ABAQUS_DECK = DeckKind(
    "fit(20)",
    remark="fit(20) in the templates: of a number such decks have 20 characters read, and what is longer is cut in "
    "silence; drop it where a whole number is to stand",
)
_NASTRAN_DECK = DeckKind(
    "nastran(8)", "nastran(16)", "nastran(8) in the templates: a field of such decks has 8 columns, and 16 beside a *"
)


def kind_of(deck: Path, text: str, programs: Sequence[str]) -> DeckKind:
    """How the numbers of a deck are read, by the programs that read it, its name and its text."""
    if any(_ABAQUS.fullmatch(Path(program).name) for program in programs) or (
        deck.suffix.lower() == ".inp" and _KEYWORD.search(text)
    ):
        return _ABAQUS_DECK
    if deck.suffix.lower() in _NASTRAN or _BULK.search(text):
        return _NASTRAN_DECK
    return DeckKind()


def is_calculix(program: str) -> bool:
    """Whether a program is CalculiX, by its name."""
    return bool(re.fullmatch(r"ccx([_\d.-].*)?", Path(program).name))


def named_files(text: str, folder: Path) -> list[str]:
    """Relative paths of files, in a folder, that a deck names, in its order; of those in folders the folder."""
    found: dict[str, None] = {}
    tokens = dict.fromkeys(
        token for token in _PATH.findall(text) if ("." in token or "/" in token) and len(token) < 250
    )
    for token in list(tokens)[:_MOST_PATHS]:
        parts = Path(token).parts
        if parts and ".." not in parts and (folder / token).is_file():
            found[parts[0]] = None
    return list(found)


def written_file(argv: Sequence[str]) -> str | None:
    """The file that an argument says is written: ``-o FILE``, ``-oFILE``, ``--output FILE``, ``--output=FILE``."""
    for k, word in enumerate(argv):
        if word in ("-o", "--output", "--out") and k + 1 < len(argv):
            return argv[k + 1]
        if found := re.fullmatch(r"(?:--out(?:put)?=|-o)(.+\..+)", word):
            return found[1]
    return None
