"""Marks outside files: ``{{ a }}`` in arguments, in environment variables, and in the name of the stdin file.

A text is a template if a mark in it names a parameter. No other syntax of Jinja works there, as a shell has other uses
for ``{#`` and ``{%``. A mark that names nothing is an error, because the program would get it unchanged.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from distfd.core.errors import InputError
from distfd.core.suggestions import did_you_mean
from distfd.objectives.command.bounded_templates import make_deck
from distfd.objectives.command.templates import Template

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from distfd.objectives.command.inputs import Written
    from distfd.objectives.command.spec import ProgramSpec

_MARK = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)


_SHORTEST_SECRET = 8
"""Least length of a value that is masked, in characters; the same as for other values that are masked."""


@dataclass(frozen=True)
class Launch:
    """The programs that run at one point, with their environment.

    Attributes
    ----------
    steps : tuple of tuple of str
        The programs with their arguments.
    stdin : str or None
        The file that the program itself reads as its standard input; not pre- and post-commands.
    env : mapping of str to str or None
        Environment variables to set, or to unset where None.
    """

    steps: tuple[tuple[str, ...], ...]
    stdin: str | None
    env: Mapping[str, Any]


def marked_texts(objective: ProgramSpec, names: Collection[str] | None) -> dict[str, Template]:
    """Arguments and variables with marks, by their place: ``argv[2]``, ``env TEMPERATURE``, ``stdin``.

    Parameters
    ----------
    objective : ProgramSpec
    names : collection of str or None
        The parameters' names; None where they have no names but ``x[0]``, ``x[1]``.

    Raises
    ------
    InputError
        If a mark names something that is not a parameter.
    """
    texts = {_where(objective, k, n): text for k, step in enumerate(objective.steps) for n, text in enumerate(step)}
    texts |= {f"env {name}": str(value) for name, value in objective.env.items() if value is not None}
    if objective.stdin is not None:
        texts["stdin"] = objective.stdin
    known = {"x", *(names or ()), *(("warm",) if objective.restart else ())}
    return {
        where: Template(where, text, 0o600, marks_alone=True)
        for where, text in texts.items()
        if _marks(where, text, known)
    }


def _marks(where: str, text: str, known: set[str]) -> bool:
    """Whether a text has marks that name parameters."""
    if "{{" not in text:
        return False
    found = [(mark[0], _names(mark[0], known)) for mark in _MARK.finditer(text)]
    if any(known & names for _, names in found):
        return True
    for mark, name in ((mark, name) for mark, names in found for name in sorted(names)):
        # The mark alone: the rest of a variable's value may be secret.
        raise InputError(
            f"{where}: {mark[:80]!r} uses {name}, which is no parameter{did_you_mean(name, known)}; known: "
            f"{', '.join(sorted(known))[:200]}. To pass the braces on to the program, put a blank between them: {{ {{"
        )
    return False


def _names(mark: str, known: set[str]) -> frozenset[str]:
    """The variables in a mark; if the mark is no expression of Jinja, only those of its words that are parameters."""
    try:
        return make_deck(Template("argument", mark, 0o600, marks_alone=True)).names
    except InputError:
        return frozenset(known & set(re.findall(r"\w+", mark)) - {"x", "warm"})


def _where(objective: ProgramSpec, k: int, n: int) -> str:
    """The name of an argument in messages."""
    return f"argv[{n}]" if len(objective.steps) == 1 else f"command {k + 1}, argument {n}"


def secret_env(objective: ProgramSpec, launch: Launch) -> dict[str, Any]:
    """The values of environment variables that must be masked: those with more in them than numbers of parameters."""
    return {
        name: value
        for name, value in launch.env.items()
        if value == objective.env[name] or len(_MARK.sub("", str(objective.env[name]))) >= _SHORTEST_SECRET
    }


class Arguments:
    """Writes the marks in arguments, variables and stdin.

    Parameters
    ----------
    objective : ProgramSpec
    names : collection of str or None
        The parameters' names.
    """

    def __init__(self, objective: ProgramSpec, names: Collection[str] | None) -> None:
        self._objective = objective
        self._decks = {where: make_deck(template) for where, template in marked_texts(objective, names).items()}

    @property
    def decks(self) -> Mapping[str, Written]:
        """The texts with marks, by their place."""
        return self._decks

    def launch(self, variables: Mapping[str, Any]) -> Launch:
        """The programs and environment for these variables.

        Raises
        ------
        InputError
            If a mark cannot be written; the message names its place.
        """
        objective = self._objective
        plain = Launch(objective.steps, objective.stdin, objective.env)
        if not self._decks:
            return plain
        written = {where: deck.render(variables) for where, deck in self._decks.items()}

        return replace(
            plain,
            steps=tuple(
                tuple(written.get(_where(objective, k, n), text) for n, text in enumerate(step))
                for k, step in enumerate(objective.steps)
            ),
            stdin=written.get("stdin", objective.stdin),
            env={name: written.get(f"env {name}", value) for name, value in objective.env.items()},
        )
