"""Restart files: the state of a program, carried from one work directory to others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from distfd.objectives.command.values import OutputError
from distfd.objectives.command.work_directory import fresh

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


@dataclass(frozen=True)
class Restart:
    """What one evaluation starts from, and whether what it leaves is wanted.

    Attributes
    ----------
    names : sequence of str
        The files, by their paths in the work directory.
    state : mapping of str to bytes, or None
        What is in them at the start; None for a cold one.
    capture : bool
        Whether those that the program wrote are wanted.
    """

    names: Sequence[str]
    state: Mapping[str, bytes] | None
    capture: bool

    def put(self, folder: Path) -> None:
        """Write the files into a work directory, in the place of copies that were there for a cold start."""
        for name, content in (self.state or {}).items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)  # the copy may be one that cannot be written
            path.write_bytes(content)

    def taken(self, folder: Path) -> dict[str, bytes] | None:
        """The files that the program wrote; None where they are not wanted.

        Raises
        ------
        OutputError
            If one is missing, empty, or only what was there before.
        """
        if not self.capture:
            return None
        found = {}
        for name in self.names:
            try:
                found[name] = fresh(folder, name).read_bytes()
            except OutputError as error:
                raise OutputError(f"restart file {name}: {error}") from error
        return found
