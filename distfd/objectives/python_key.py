"""The key of a J in Python: its fingerprint, plus changes that were made in the process around it."""

from __future__ import annotations

import hashlib
import json
from functools import partial
from typing import TYPE_CHECKING

from distfd.fingerprint.hidden_changes import hidden_changes
from distfd.workers.fresh_imports import changed_since_import
from distfd.workers.surroundings import Surroundings

if TYPE_CHECKING:
    from distfd.objectives.base import Objective


def python_key(digest: str, objective: Objective) -> str:
    """The fingerprint, extended by changes in this process that the fingerprint does not cover, if there are any.

    Such changes are in the environment (since the process began), in settings such as numpy.seterr, and in members of
    modules that J imports when it runs, where they differ from the modules' text, or from a fresh import.
    Without changes, the key is the fingerprint itself, so that values stored earlier stay valid.

    Parameters
    ----------
    digest : str
        The fingerprint.
    objective : Objective
        The objective that the fingerprint is of.
    """
    around = objective.surroundings or Surroundings.here()
    hidden = hidden_changes(objective.parts, partial(changed_since_import, surroundings=around))
    changed = {**around.in_key, **hidden}
    if not changed:
        return digest
    told = json.dumps([digest, changed], sort_keys=True, default=repr)
    return hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest()[: len(digest)]
