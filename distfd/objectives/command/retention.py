"""Decides what happens to a work directory when its evaluation has ended."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from distfd.core.failures import EvaluationFailure
from distfd.core.files import ForeignFileError
from distfd.core.warning import warn
from distfd.objectives.command.archive import archive_name, pack
from distfd.objectives.command.work_folder import MOST_KEPT, make_room
from distfd.workers.processes import kill_evaluation

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from distfd.objectives.command.attempt import Trial
    from distfd.objectives.command.spec import ProgramSpec
    from distfd.objectives.command.values import Value
    from distfd.objectives.command.work_folder import WorkFolder


def kept_or_not(objective: ProgramSpec) -> str:
    """What will happen to the directory of a successful evaluation, in words to be added after its path."""
    if objective.keep == "archive":
        return f" (afterwards packed into {_archives(objective)})"
    return (
        "" if objective.keep == "all" else " (removed if the evaluation succeeds; objective.command.keep=all keeps it)"
    )


def after_success(objective: ProgramSpec, folder: WorkFolder, x: NDArray[np.float64], value: Value) -> None:
    """Keeps, packs or removes the directory, according to ``keep``."""
    outcome = {"status": "ok", "value": np.asarray(value).tolist()}
    if objective.keep == "all":
        folder.keep(outcome)
        return
    if objective.keep == "archive":
        target = _archives(objective) / archive_name(np.asarray(x))
        try:
            pack(folder, target, outcome)
        except (OSError, ForeignFileError) as error:  # the value is good all the same
            text = f"a work directory could not be packed into {target}: {getattr(error, 'strerror', None) or error}"
            warn(text, RuntimeWarning)
    folder.discard()


def _archives(objective: ProgramSpec) -> Path:
    return Path(objective.archive or objective.work or tempfile.gettempdir())


def why_removed(objective: ProgramSpec) -> str:
    """Why the directory of a failed evaluation is not kept; empty if it is kept."""
    if objective.keep == "none":
        return "keep: none"
    if objective.keep != "all" and not make_room(objective.work, objective.made):
        return f"{MOST_KEPT} of this run are kept already"
    return ""


def after_failure(objective: ProgramSpec, folder: WorkFolder, trial: Trial, error: BaseException) -> None:
    """Ends processes that still run, and keeps or removes the directory."""
    kill_evaluation(trial.mark)
    # An interrupted evaluation has not failed, so its directory shows nothing of interest.
    interrupted = not isinstance(error, Exception) and objective.keep != "all"
    if interrupted or trial.removed:
        folder.discard()
    else:
        status = error.status.word if isinstance(error, EvaluationFailure) else "error"
        folder.keep({"status": status, "failure": str(error)})
