"""Tells what ``distfd run`` would reuse from an existing output, without changing it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from distfd.config.dump import dump_yaml, npy_digests
from distfd.core.errors import InputError
from distfd.run_directory.directory import RunDirectory
from distfd.stores.registry import salt_of
from distfd.stores.schema import VERSION, Meta
from distfd.stores.sqlite import claimed
from distfd.stores.summary import StoreSummary, count_known, read_summary

if TYPE_CHECKING:
    from collections.abc import Callable

    from distfd.config.load import LoadedConfig
    from distfd.config.problem import Problem
    from distfd.differentiation.method import Request
    from distfd.objectives.base import Objective


@dataclass(frozen=True)
class EarlierRun:
    """The contents of a job's output.

    Parameters
    ----------
    text : str
        What run would do with it.
    n_known : int or None
        Number of evaluations in it; None if there is no run.
    n_reused : int or None
        Number of points of the first wave whose values run would reuse; None if that is not known.
    """

    text: str = ""
    n_known: int | None = None
    n_reused: int | None = None


def look_at_output(
    loaded: LoadedConfig, problem: Problem, objective: Objective | None, first: Callable[[], Request | None]
) -> EarlierRun:
    """What run would do with an existing output.

    Parameters
    ----------
    objective : Objective or None
        None if it was not made; then it is not known whether the output belongs to it.
    first : callable
        Returns the job's first request, or None if that is not known beforehand.
    """
    directory = None if loaded.config.output is None else RunDirectory(loaded.output)
    if directory is None or not directory.store.exists():
        return EarlierRun()
    found = read_summary(directory.store)
    n = found.n_computed
    if found.writer is not None:
        return EarlierRun(f"is in use by {found.writer}: run is refused until that ends", n)
    if objective is None:
        return EarlierRun(f"holds {n} evaluations; whether they are of this J is not known without importing it", n)
    if why := _not_used(directory, found, objective.fingerprint(), problem.names):
        return EarlierRun(why, n, 0)
    if _is_finished(loaded, directory):
        text = "holds this run, finished: run prints its result and evaluates nothing (--fresh begins anew)"
        return EarlierRun(text, n)
    text, reused = _reuse(loaded, objective.named(problem.names), directory, first)
    return EarlierRun(f"holds {n} evaluations; {text}", n, reused)


def _not_used(directory: RunDirectory, found: StoreSummary, fingerprint: str | None, names: tuple[str, ...]) -> str:
    """Why run would reuse nothing of the output; empty if it would."""
    if directory.is_worthless(fingerprint, names):
        return "holds a run of another J that found no value: run puts it aside and begins anew"
    try:
        claimed(Meta(VERSION, found.fingerprint, found.names, found.created), directory.store, fingerprint, names)
    except InputError as error:
        return f"run refuses it: {error}"
    return ""


def _is_finished(loaded: LoadedConfig, directory: RunDirectory) -> bool:
    earlier = directory.result()
    text = dump_yaml(loaded.config) + npy_digests(loaded.config)
    return earlier is not None and earlier.get("status") == "done" and directory.config_text() == text


def _reuse(
    loaded: LoadedConfig, objective: Objective, directory: RunDirectory, first: Callable[[], Request | None]
) -> tuple[str, int | None]:
    """How many points of the first wave have a value in the output, in words and as a number."""
    salt = salt_of(objective)
    if salt is None:
        return "none is reused, as J cannot be recognised in another process", 0
    if loaded.config.objective.warm is not None:
        return "points from the same states are reused; a state that is needed is made again, by an evaluation", None
    request = first()
    if request is None:
        return "those of the same points are reused", None
    needed = np.setdiff1d(np.arange(len(request.points)), request.optional)
    reused = count_known(directory.store, request.points.keys(salt)[needed])
    return f"run reuses {reused} of the {len(needed)} points of its first wave", reused
