"""The input files that are written for a program: from templates, or by edits of existing files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from distfd.core.errors import InputError
from distfd.core.files import at_home
from distfd.objectives.command.bounded_templates import make_deck
from distfd.objectives.command.deck_edits import Edit, EditedDeck, read_edit
from distfd.objectives.command.templates import Template, read_template
from distfd.objectives.command.work_directory import inside

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distfd.objectives.command.templates import Part

Source = Template | Edit
"""The driver's form of an input: read once, and sent to the workers."""


class Written(Protocol):
    """An input that can be written."""

    @property
    def mode(self) -> int:
        """The permissions of the file."""

    @property
    def names(self) -> frozenset[str]:
        """The variables that the input mentions."""

    def render(self, variables: Mapping[str, Any]) -> str:
        """The input's text with these variables."""

    def moved(self, variables: Mapping[str, Any]) -> list[str]:
        """Numbers that are wider than their format and so move the text behind them on their line."""

    def parts(self, variables: Mapping[str, Any]) -> list[Part]:
        """The input's text in parts: in turn a text between marks, and the text of a mark."""


def read_input(target: Any, spec: Any, base: Path) -> tuple[str, Source]:
    """The target's name within the work directory, and the source of its text.

    Parameters
    ----------
    target : str
        The file to write.
    spec : path or mapping
        A template, or ``{edit: file, set: {/path: expression}}``.
    base : Path
        The folder of relative paths.

    Raises
    ------
    InputError
        If ``spec`` is neither, or a file cannot be read.
    """
    name = inside(target, "input")
    if isinstance(spec, (str, Path)):
        return name, read_template(base / at_home(spec))
    if not isinstance(spec, Mapping) or set(spec) != {"edit", "set"} or not isinstance(spec["set"], Mapping):
        raise InputError(f"inputs: {name}: needs a template, or {{edit: file, set: {{/path: expression}}}} ({spec!r})")
    return name, read_edit(base / at_home(spec["edit"]), spec["set"])


def compiled(source: Source) -> Written:
    """The object that writes an input; make it once in each process.

    Raises
    ------
    InputError
        If the input has a mistake; names file and line or path.
    """
    return make_deck(source) if isinstance(source, Template) else EditedDeck(source)


def write(deck: Written, path: Path, variables: Mapping[str, Any]) -> str:
    """Writes an input into a work directory; returns its text."""
    text = deck.render(variables)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    path.chmod(deck.mode | 0o600)
    return text


def variables(values: Sequence[float], names: Sequence[str] | None, *, warm: bool | None = None) -> dict[str, Any]:
    """Variables for inputs: ``x``, parameters whose names are identifiers, and ``warm`` unless that is None.

    ``warm`` says whether there are restart files of another evaluation.
    """
    named = {name: value for name, value in zip(names or (), values, strict=False) if name.isidentifier()}
    return {**({} if warm is None else {"warm": warm}), "x": tuple(values), **named}


def refuse_complex(x: Any) -> None:
    """Raises InputError if x is complex: programs read no such numbers from text."""
    if np.iscomplexobj(x):
        raise InputError(
            "scheme: an external program takes no complex numbers, which complex-step needs; use "
            "another, such as central"
        )
