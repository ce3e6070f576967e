"""The files of the driver's that a program needs, and the program as it is where these have another place."""

from __future__ import annotations

from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from distfd.objectives.command.fingerprint import scripts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from distfd.objectives.command.spec import ProgramSpec

    _Spec = TypeVar("_Spec", bound=ProgramSpec)


def shipped_files(objective: ProgramSpec) -> tuple[str, ...]:
    """Files and folders: what is copied or linked, programs beside the configuration, scripts in argv."""
    # A configuration makes its programs' paths absolute, so how they were given does not tell which are the user's own.
    programs = [path for path in (Path(step[0]) for step in objective.steps) if path.is_absolute() and path.is_file()]
    own = [path for path in programs if path.is_relative_to(objective.base)]
    return tuple(dict.fromkeys(map(str, (*objective.copy, *objective.link, *own, *scripts(objective)))))


def with_files_at(objective: _Spec, places: Mapping[str, str]) -> _Spec:
    """The same objective, with files taken from where they are here."""
    there = copy(objective)
    for name in ("copy", "link"):
        paths = tuple(places.get(str(path), str(path)) for path in getattr(objective, name))
        object.__setattr__(there, name, paths)
    steps = tuple(tuple(places.get(argument, argument) for argument in step) for step in objective.steps)
    object.__setattr__(there, "steps", steps)
    return there
