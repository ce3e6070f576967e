"""All runs below a folder, one row each: for ``distfd ls`` and the local page."""

from __future__ import annotations

import math
import os
import re
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distfd.core.errors import DistfdError, InputError
from distfd.results.derivative_result import efficiency_since_up
from distfd.run_directory.directory import RunDirectory
from distfd.run_directory.status import run_status
from distfd.stores.file_lock import holder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from distfd.run_directory.status import RunStatus

_DEEPEST = 4
"""Levels of folders below the given one at which runs are looked for."""
_MOST_FOLDERS = 20_000
"""Folders that are looked into, so that a look at a whole disk ends."""
_MOST_BYTES = 64 * 2**20
"""Of a result.json; one of half a million parameters has as many. A larger one is not read for a list."""
_STORE_SECONDS = 10.0
"""Time that a list may spend with the stores of runs that have no result; one that is hostile takes some seconds."""
_MOST_TAGS, _LONGEST_TAG = 20, 60
_TAGS = re.compile(r"^tags:[ \t]*(\[.*\]|(?:\n[ \t]*- .*)+)", re.MULTILINE)
_TASK = re.compile(r"^task:[ \t]*(\w+)", re.MULTILINE)


@dataclass(frozen=True)
class RunRow:
    """What a list says of one run.

    Attributes
    ----------
    path : str
        The run's directory, absolute.
    name : str
        The same, relative to the folder that is listed.
    state : str
        ``done``, ``partial``, ``failed`` or ``interrupted`` as in result.json; ``running``; ``cut off`` where a run
        ended without a word, as when it is killed; ``unreadable`` where the directory holds what distfd does not write.
    task : str
        As in the configuration; empty where it is not known.
    tags : tuple of str
        The configuration's.
    value_before, value : float or None
        J at the start of an optimisation, and J; in a fit the cost. None for a J of several outputs, or where it is not
        known.
    gradient_norm : float or None
        Euclidean norm of the derivative where that is a vector, without components that are missing.
    iterations : int or None
        Of an optimisation.
    n_parameters, n_evaluations, n_failed, slots : int or None
    wall_seconds, efficiency : float or None
        Of the last session; while a run goes on, the seconds since that began.
    start_seconds : float or None
        Of the wall time, until the first worker was up.
    started, finished : str or None
        ISO 8601.
    trouble : str
        Why a directory cannot be read; empty where it can.
    """

    path: str
    name: str
    state: str
    task: str = ""
    tags: tuple[str, ...] = ()
    value_before: float | None = None
    value: float | None = None
    gradient_norm: float | None = None
    iterations: int | None = None
    n_parameters: int | None = None
    n_evaluations: int | None = None
    n_failed: int | None = None
    slots: int | None = None
    wall_seconds: float | None = None
    efficiency: float | None = None
    started: str | None = None
    finished: str | None = None
    start_seconds: float | None = None
    trouble: str = ""

    @property
    def efficiency_once_up(self) -> float | None:
        """The efficiency since the first worker was up, as a later call in the same process would have it."""
        if self.efficiency is None or self.wall_seconds is None:
            return self.efficiency
        since = efficiency_since_up(self.efficiency, self.wall_seconds, self.start_seconds)
        return self.efficiency if since is None else since

    @property
    def fields(self) -> dict[str, Any]:
        """The row as JSON's own types."""
        return {**asdict(self), "tags": list(self.tags)}


@dataclass(frozen=True)
class RunList:
    """The runs below ``folder``, by name; ``complete`` is false where there were more folders than are looked into."""

    folder: Path
    rows: tuple[RunRow, ...]
    complete: bool = True


def list_runs(folder: str | Path, clock: Callable[[], float] = time.monotonic) -> RunList:
    """Every run at or below a folder; links to other folders are not followed.

    Raises
    ------
    InputError
        If there is no such folder, or it cannot be read.
    """
    root = Path(folder).absolute()
    found, complete = find_runs(root)
    spent = _Budget(clock)
    return RunList(root, tuple(_row(path, root, spent) for path in found), complete)


def find_runs(root: Path) -> tuple[list[Path], bool]:
    """Directories of runs at or below a folder, by name, and whether all folders were looked into.

    Raises
    ------
    InputError
        If there is no such folder, or it cannot be read.
    """
    try:
        os.listdir(root)  # noqa: PTH208  # only whether it can be read
    except (OSError, ValueError) as error:
        raise InputError(f"{root} cannot be listed: {getattr(error, 'strerror', None) or error}") from error
    found, looked = [], 0
    waiting = [(root, 0)]
    while waiting and looked < _MOST_FOLDERS:
        path, depth = waiting.pop()
        looked += 1
        if is_run(path):
            found.append(path)
        elif depth < _DEEPEST:
            waiting += [(inside, depth + 1) for inside in _folders(path)]
    return sorted(found, key=lambda path: _natural(str(path))), not waiting


def is_run(path: Path) -> bool:
    """Whether a directory holds a run, or something under the names of one."""
    return any(os.path.lexists(path / name) for name in ("evaluations.sqlite", "result.json"))


def run_row(path: Path, root: Path) -> RunRow:
    """The row of one run."""
    return _row(path, root, _Budget(time.monotonic))


def _folders(path: Path) -> Iterator[Path]:
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                if not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False):
                    yield path / entry.name
    except OSError:
        return  # nobody can say whether a run is there


def _natural(text: str) -> list[tuple[int, str]]:
    """Sorts run-9 before run-10."""
    return [
        (int(part[:18]), "") if part.isdecimal() and part.isascii() else (-1, part) for part in re.split(r"(\d+)", text)
    ]


class _Budget:
    """Time that is left for stores."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock, self._left = clock, _STORE_SECONDS

    def status(self, path: Path) -> RunStatus | None:
        """A run's status; None where there is no time left for it."""
        if self._left <= 0:
            return None
        begin = self._clock()
        try:
            return run_status(path)
        finally:
            self._left -= self._clock() - begin


def _row(path: Path, root: Path, budget: _Budget) -> RunRow:
    """Whatever the directory holds, a row."""
    name = str(path.relative_to(root)) if path.is_relative_to(root) and path != root else path.name or str(path)
    try:
        return RunRow(str(path), name, **_known(RunDirectory(path), budget))
    except (DistfdError, OSError) as error:
        trouble = str(error)
    except Exception as error:  # a directory may come from a stranger, and one of a thousand must not hide the others
        trouble = f"{type(error).__name__}: {error}"
    return RunRow(str(path), name, "unreadable", trouble=trouble)


def _known(run: RunDirectory, budget: _Budget) -> dict[str, Any]:
    config = run.config_text() or ""
    task = _TASK.search(config)
    known: dict[str, Any] = {"task": task[1] if task else "", "tags": config_tags(config)}
    if holder(run.store.with_name(run.store.name + ".lock")) is not None:
        return known | _of_status(budget.status(run.path), "running")
    result = run.listed_result(_MOST_BYTES)
    if result is None:
        status = budget.status(run.path)
        return known | _of_status(status, "cut off" if status is None else status.state)
    return known | _of_result(result)


def _of_status(status: RunStatus | None, state: str) -> dict[str, Any]:
    """Of a run without a result: one that goes on, or one that ended without a word."""
    if status is None:
        return {"state": state, "trouble": "not looked into: the stores above took all the time that a list has"}
    iterate = status.iterate
    return {
        **({"task": status.task} if status.task else {}),
        "state": state,
        "value": None if iterate is None else _finite(iterate.value),
        "gradient_norm": None if iterate is None else _finite(iterate.gradient_norm),
        "iterations": None if iterate is None else iterate.iteration,
        "n_evaluations": status.n_computed,
        "slots": _whole(status.slots),
        "wall_seconds": None if status.running_seconds is None else max(0.0, status.running_seconds),
        "started": None if status.started is None else datetime.fromtimestamp(status.started, UTC).isoformat(),
    }


def _of_result(result: dict[str, Any]) -> dict[str, Any]:
    """Of a result.json, whose types have been checked."""
    plain = {
        name: result.get(name)
        for name in (
            *("iterations", "n_evaluations", "n_failed", "slots"),
            *("wall_seconds", "start_seconds", "efficiency", "started"),
        )
    }
    return {
        **plain,
        **({"task": result["task"]} if result.get("task") else {}),
        "state": str(result.get("status") or "cut off"),
        "value_before": _scalar(result.get("value0")),
        "value": _scalar(result.get("value")),
        "gradient_norm": _norm(result.get("derivative")),
        "n_parameters": len(result["names"]) if "names" in result else None,
        "finished": result.get("finished"),
    }


def config_tags(text: str) -> tuple[str, ...]:
    """The tags of a config.yaml as distfd writes it, found without reading all of that, which takes milliseconds."""
    found = _TAGS.search(text)
    return () if found is None else _tags(found[1])


@lru_cache(maxsize=256)
def _tags(text: str) -> tuple[str, ...]:
    """A list as YAML; runs of one study share theirs."""
    from distfd.config.yaml_source import read_text
    from distfd.core.errors import ConfigError

    try:
        tags = read_text(f"tags: {text}\n", "config.yaml").data["tags"]
    except (ConfigError, KeyError, TypeError):
        return ()
    if not isinstance(tags, list):
        return ()
    return tuple(str(tag)[:_LONGEST_TAG] for tag in tags[:_MOST_TAGS] if isinstance(tag, (str, int, float)))


def _scalar(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _whole(value: Any) -> int | None:
    return int(value) if isinstance(value, (int, float)) else None


def _norm(derivative: Any) -> float | None:
    if not isinstance(derivative, list) or any(isinstance(row, list) for row in derivative):
        return None
    known = [float(item) for item in derivative if item is not None]
    return _finite(math.hypot(*known)) if known else None
