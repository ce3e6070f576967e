"""The fingerprint of a `CommandObjective`: everything that J's value depends on."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from distfd.objectives.command.arguments import marked_texts
from distfd.objectives.command.user_function import UserFunction
from distfd.objectives.command.work_directory import digest

if TYPE_CHECKING:
    from distfd.objectives.command.spec import ProgramSpec

SCRIPTS = {".py", ".sh", ".bash", ".pl", ".rb", ".jl", ".m", ".r", ".tcl", ".lua"}


def fingerprint(objective: ProgramSpec) -> str | None:
    """SHA-256 of the commands, inputs, files, outputs, data, value, env, names and version.

    The user's own programs are read: those below ``base`` (the folder of the configuration) or given by a relative
    path, and scripts whose absolute paths are arguments. So are Python functions that read outputs, and the user's own
    modules that they import. Installed programs are not read, nor files that programs start or read; use ``version``
    for those. The result is None if ``value`` is a function and there is no ``version``.
    """
    if callable(objective.value) and objective.version is None:
        return None
    told = {
        "commands": objective.given,
        "scripts": [digest(path) for path in scripts(objective)],
        "inputs": {name: hashlib.sha256(repr(t.text).encode()).hexdigest() for name, t in objective.decks.items()},
        "files": [(kind, Path(p).name, digest(Path(p))) for kind in ("copy", "link") for p in getattr(objective, kind)],
        "stdin": objective.stdin,
        "outputs": {name: dict(spec) for name, spec in objective.outputs.items()},
        "functions": [o.extractor.source.hex() for o in objective.taken if isinstance(o.extractor, UserFunction)],
        "data": {name: np.asarray(value).tolist() for name, value in objective.measured.items()},
        "value": getattr(objective.value, "__qualname__", "") if callable(objective.value) else objective.value,
        "env": dict(objective.env),
        "pass_env": list(objective.pass_env),
        "fails_if": objective.fails_if,
        "log": list(objective.log),
        "names": objective.names,
        "version": objective.version,
    }
    if marked := marked_texts(objective, objective.names):
        told["marks"] = sorted(marked)  # earlier versions passed marks on unchanged: that was another J
    if objective.integers:
        told["integers"] = sorted(objective.integers)
    functions = [output.extractor for output in objective.taken if isinstance(output.extractor, UserFunction)]
    if any(function.imported for function in functions):
        told["imported"] = [
            {name: hashlib.sha256(text).hexdigest() for name, (_, text) in function.imported.items()}
            for function in functions
        ]
    if objective.restart:
        told["restart"] = list(objective.restart)
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()


def scripts(objective: ProgramSpec) -> list[Path]:
    """The user's own programs, and existing scripts whose absolute paths are arguments."""
    named = [Path(argument) for step in objective.steps for argument in step[1:]]
    named = [path for path in named if path.is_absolute() and path.suffix.lower() in SCRIPTS]
    return [path for path in (*_own_programs(objective), *named) if path.is_file()]


def _own_programs(objective: ProgramSpec) -> list[Path]:
    """Programs given by a relative path, or below the objective's folder.

    A configuration makes its programs' paths absolute, so their form alone does not show which are the user's own.
    """
    pairs = [(Path(step[0]), argv[0]) for step, argv in zip(objective.steps, objective.given, strict=True)]
    return [path for path, given in pairs if str(path) != given or path.is_relative_to(objective.base)]
