"""The files that ``distfd init`` writes, whatever it drafts them from."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from distfd.config.yaml_scalars import resolve
from distfd.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


@dataclass(frozen=True)
class Draft:
    """Files to write: their texts by path."""

    config: Path
    files: dict[Path, str]


def put_aside(path: Path) -> Path:
    """Renames an existing file to ``deck.yaml.old`` or ``deck.yaml.old2``; returns the new path.

    Raises
    ------
    InputError
        If it cannot be renamed.
    """
    aside, k = path.with_name(f"{path.name}.old"), 1
    while os.path.lexists(aside):
        k += 1
        aside = path.with_name(f"{path.name}.old{k}")
    try:
        path.rename(aside)
    except OSError as error:
        raise InputError(f"--force: {path} cannot be put aside: {error.strerror or error}") from error
    return aside


def refuse_existing(paths: Iterable[Path], elsewhere: str = "--to") -> None:
    """Raises an InputError if one of the files that are to be written is there already."""
    for path in paths:
        if os.path.lexists(path):
            raise InputError(
                f"{path} is there already; remove it, write elsewhere ({elsewhere}), or have it renamed (--force)"
            )


def other_tasks() -> list[str]:
    """The tasks that a drafted configuration names in a comment."""
    from typing import get_args

    from distfd.config.schema import TASKS

    return [task for task in get_args(TASKS) if task != "gradient"]


def quoted(text: str) -> str:
    """A text as YAML, in quotes where it could be read as something else."""
    plain = re.fullmatch(r"[A-Za-z_./][\w./-]*", text, re.ASCII) and isinstance(resolve(text), str)
    return text if plain else json.dumps(text)
