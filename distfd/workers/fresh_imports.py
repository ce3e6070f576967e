"""Which members of the user's modules have been changed in this process, where their text does not tell.

Not all that differs between two processes was changed by somebody: a module may hold what belongs to a process (its id,
a random generator) or to a host (its name, whether it has a GPU), and each process is to have its own. So modules are
imported afresh, twice, in processes of their own: what these two agree on, and is another here, was changed. Where they
differ in numbers alone, these are data that were drawn by chance, and no other process has those of this one.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import pickle
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distfd.fingerprint.chance_members import Outline, drawn_by_chance, outline, outlines_here
from distfd.fingerprint.members import digests_here
from distfd.fingerprint.written_members import text_stamp
from distfd.workers.surroundings import SurroundingsSetter

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from distfd.fingerprint.reads import Member
    from distfd.workers.surroundings import Surroundings

_PATIENCE = 120.0
"""Seconds that a fresh import of the user's modules may take; after that all that differs counts as changed."""

_verdicts: dict[tuple[Member, str, Any], bool] = {}
"""(member, its digest here, the version of its module's text) -> whether it was changed."""


def changed_since_import(
    values: Mapping[Member, Any], digests: Mapping[Member, str], surroundings: Surroundings | None
) -> set[Member]:
    """Those of these members that other processes have only if this one sends them.

    Parameters
    ----------
    values : mapping
        Member -> its value here.
    digests : mapping
        Member -> its exact digest here.
    surroundings : Surroundings or None
        Those in which fresh imports are made.
    """
    keys = {member: (member, digest, text_stamp(member)) for member, digest in digests.items()}
    unknown = {member: digests[member] for member, key in keys.items() if key not in _verdicts}
    if unknown:
        samples = _fresh_imports(unknown, surroundings)
        for member, digest in unknown.items():
            _verdicts[keys[member]] = _is_changed(member, digest, values[member], samples)
    return {member for member, key in keys.items() if _verdicts[key]}


def _is_changed(member: Member, digest: str, value: Any, samples: list[_FreshImport]) -> bool:
    if not samples:
        return True
    one, other = (sample.digests.get(member) for sample in samples)
    if one == other:
        return one != digest
    return drawn_by_chance(outline(value), [sample.outlines.get(member) for sample in samples])


def import_modules(members: Iterable[Member]) -> None:
    """Import the modules of these members; what cannot be imported is told by J itself."""
    for module in sorted({member.module for member in members}):
        try:
            importlib.import_module(module)
        except (Exception, SystemExit):  # noqa: S112  # the user's code may raise anything
            continue


@dataclass(frozen=True)
class _FreshImport:
    """What members are in a fresh process: their digests, and outlines of those that are not as here."""

    digests: Mapping[Member, str | None]
    outlines: Mapping[Member, Outline]


def _fresh_imports(members: Mapping[Member, str], surroundings: Surroundings | None) -> list[_FreshImport]:
    """What members are in two fresh processes on this machine; none where they cannot be had.

    Parameters
    ----------
    members : mapping
        Member -> a digest of the kind that is wanted.
    """
    code = f"import sys; sys.path[:] = {sys.path!r}; from {__name__} import answer; answer()"
    with tempfile.TemporaryDirectory(prefix="distfd-") as folder:
        task = Path(folder) / "task"
        task.write_bytes(pickle.dumps((dict(members), surroundings)))
        running = []
        for k in range(2):
            argv = [sys.executable, "-c", code, str(task), str(Path(folder) / f"answer{k}")]
            running.append(
                subprocess.Popen(  # noqa: S603  # this Python
                    argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
                )
            )
        found = []
        for k, process in enumerate(running):
            try:
                process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            with contextlib.suppress(OSError, EOFError, pickle.UnpicklingError):
                found.append(pickle.loads((Path(folder) / f"answer{k}").read_bytes()))  # noqa: S301  # from this Python
    return found if len(found) == len(running) else []


def answer() -> None:
    """In a fresh process: import modules, and say what members of theirs are."""
    task, place = sys.argv[1:3]
    members, surroundings = pickle.loads(Path(task).read_bytes())  # noqa: S301  # from the process that started this one
    sys.argv[1:] = []
    if surroundings is not None:
        SurroundingsSetter().set(surroundings)
    import_modules(members)
    found = digests_here(members)
    outlines = outlines_here(member for member, digest in members.items() if found[member] != digest)
    Path(place).write_bytes(pickle.dumps(_FreshImport(found, outlines)))
    os._exit(0)  # whatever threads the user's modules have begun
