"""Whether an evaluation could start: found out without running anything."""

from __future__ import annotations

import re
import shutil
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from distfd.core.errors import InputError, MissingSimulatorError
from distfd.objectives.command import options
from distfd.objectives.command.fingerprint import SCRIPTS
from distfd.objectives.command.inputs import compiled
from distfd.objectives.command.templates import Deck
from distfd.objectives.command.user_function import UserFunction

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from distfd.objectives.command.spec import ProgramSpec

_INTERPRETERS = re.compile(r"python[\d.]*|sh|bash|dash|zsh|perl|ruby|julia|Rscript|octave|tclsh|lua[\d.]*")


def check(objective: ProgramSpec, x0: ArrayLike) -> None:
    """Write every input in memory, and look for the programs, files, scripts and Python functions.

    Raises
    ------
    MissingSimulatorError
        If a program is missing; says what to install if ``hint`` does.
    InputError
        If an input, file or function is wrong.
    """
    variables = objective.variables(x0)
    for name, source in objective.decks.items():
        deck = compiled(source)
        deck.render(variables)
        if isinstance(deck, Deck) and (moved := deck.moved(variables)):
            warnings.warn(
                f"{name}: {moved[0]} is wider than its format: if this file has fixed columns, what follows on the "
                "line is moved; widen the columns, or use fewer digits or other units",
                stacklevel=3,
            )
    _warn_of_unused(objective)
    base = Path(objective.base)
    options.files("copy", objective.copy, base)
    options.files("link", objective.link, base)
    for output in objective.taken:
        if isinstance(output.extractor, UserFunction):
            output.extractor.load()
    _check_scripts(objective, base)
    path = objective.environ().get("PATH")
    for step in objective.steps:
        # A program from the work directory is not there yet.
        if not step[0].startswith("./") and shutil.which(step[0], path=path) is None:
            raise MissingSimulatorError(objective.missing(step[0]))


def _warn_of_unused(objective: ProgramSpec) -> None:
    """Say which parameters no input mentions: their derivative would be 0 without a word."""
    if not objective.decks:
        return
    mentioned = frozenset().union(*(compiled(source).names for source in objective.decks.values()))
    unused = [name for name in objective.names or () if name not in mentioned]
    if unused and "x" not in mentioned:
        warnings.warn(
            f"no template uses {', '.join(unused)}: J cannot depend on it, unless by parameters.json", stacklevel=4
        )


def _check_scripts(objective: ProgramSpec, base: Path) -> None:
    """Refuse arguments that name a script beside the configuration: programs run elsewhere and would not find it."""
    there = {Path(name).parts[0] for name in (*objective.decks, *(o.file for o in objective.taken if o.file))}
    there |= {Path(path).name for path in (*objective.copy, *objective.link)}
    for k, step in enumerate(objective.steps):
        program = Path(step[0]).name
        for argument in step[1:]:
            path = Path(argument)
            if path.suffix.lower() not in SCRIPTS or path.is_absolute() or argument.startswith("-"):
                continue
            if path.parts[0] in there or not re.fullmatch(r"[\w./+-]+", argument):
                continue
            if (base / path).is_file():
                also = f", and write {path.name} in argv" if len(path.parts) > 1 else ""
                raise InputError(
                    f"argv: {argument} stands beside the configuration, and {program} runs in a work directory of its "
                    f"own: add copy: [{argument}]{also}"
                )
            # A later command may run what an earlier one wrote, and other programs may write a script themselves.
            if k == 0 and argument == step[1] and _INTERPRETERS.fullmatch(program):
                raise InputError(
                    f"argv: {argument} is not there: neither beside the configuration ({base / path}) nor among what "
                    "inputs, copy and link put into the work directory"
                )
