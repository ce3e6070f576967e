"""The key of a J in Python: its fingerprint, and what somebody has changed in the process around it."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from distfd.fingerprint.hidden_changes import hidden_changes
from distfd.workers.surroundings import Surroundings

if TYPE_CHECKING:
    from distfd.objectives.base import Objective


def python_key(digest: str, objective: Objective) -> str:
    """The fingerprint, or, where something that it does not see was changed in this process, one that has that in it.

    That is the environment (against the one that the process began with), settings such as numpy.seterr, and members of
    modules that J imports when it runs, where they are not as the modules' text has them. In a process in which nothing
    was changed the key is the fingerprint itself, as values that were stored before have it.

    Parameters
    ----------
    digest : str
        The fingerprint.
    objective : Objective
        What it is the fingerprint of.
    """
    around = objective.surroundings or Surroundings.here()
    changed = {**around.in_key, **hidden_changes(objective.parts)}
    if not changed:
        return digest
    told = json.dumps([digest, changed], sort_keys=True, default=repr)
    return hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest()[: len(digest)]
