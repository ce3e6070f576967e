"""Marks outside of files: ``{{ a }}`` in arguments, in variables of the environment, and in the name of stdin's file.

A text is a template if a mark in it names a parameter. Nothing else of Jinja means anything there, as a shell has other
uses for ``{#`` and ``{%``; and a mark that names nothing is an error, for it would go to the program as it stands.
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
"""Characters, as for other values that are kept out of what is told."""


@dataclass(frozen=True)
class Launch:
    """What is run at one point.

    Attributes
    ----------
    steps : tuple of tuple of str
        The programs with their arguments.
    stdin : str or None
        The file that the program itself reads as its standard input.
    env : mapping of str to str or None
        Variables that are set, or unset with None.
    """

    steps: tuple[tuple[str, ...], ...]
    stdin: str | None
    env: Mapping[str, Any]


def marked_texts(objective: ProgramSpec, names: Collection[str] | None) -> dict[str, Template]:
    """The arguments and variables with marks, by where they stand: ``argv[2]``, ``env TEMPERATURE``, ``stdin``.

    Parameters
    ----------
    objective : ProgramSpec
    names : collection of str or None
        The parameters; None where they have no names but ``x[0]``, ``x[1]``.

    Raises
    ------
    InputError
        If a mark names what is no parameter.
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
    """Whether there are marks of parameters in a text."""
    if "{{" not in text:
        return False
    found = [_names(mark[0], known) for mark in _MARK.finditer(text)]
    if any(known & names for names in found):
        return True
    for name in (name for names in found for name in sorted(names)):
        raise InputError(
            f"{where}: {text[:80]!r} uses {name}, which is no parameter{did_you_mean(name, known)}; known: "
            f"{', '.join(sorted(known))[:200]}. To pass the braces on to the program, put a blank between them: {{ {{"
        )
    return False


def _names(mark: str, known: set[str]) -> frozenset[str]:
    """The variables of a mark; of what is no expression of Jinja's only parameters that are words of it."""
    try:
        return make_deck(Template("argument", mark, 0o600, marks_alone=True)).names
    except InputError:
        return frozenset(known & set(re.findall(r"\w+", mark)) - {"x", "warm"})


def _where(objective: ProgramSpec, k: int, n: int) -> str:
    """What messages call an argument."""
    return f"argv[{n}]" if len(objective.steps) == 1 else f"command {k + 1}, argument {n}"


def secret_env(objective: ProgramSpec, launch: Launch) -> dict[str, Any]:
    """Values of the environment that are not to be told: with more in them than numbers of parameters."""
    return {
        name: value
        for name, value in launch.env.items()
        if value == objective.env[name] or len(_MARK.sub("", str(objective.env[name]))) >= _SHORTEST_SECRET
    }


class Arguments:
    """The live side of the marks in arguments, variables and stdin.

    Parameters
    ----------
    objective : ProgramSpec
    names : collection of str or None
        The parameters.
    """

    def __init__(self, objective: ProgramSpec, names: Collection[str] | None) -> None:
        self._objective = objective
        self._decks = {where: make_deck(template) for where, template in marked_texts(objective, names).items()}

    @property
    def decks(self) -> Mapping[str, Written]:
        """Those with marks, by where they stand."""
        return self._decks

    def launch(self, variables: Mapping[str, Any]) -> Launch:
        """What is run with these variables.

        Raises
        ------
        InputError
            If a mark cannot be written: says where.
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
