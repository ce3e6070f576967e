"""The content of a run's directory, read once; all sections of the page are made from it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core.errors import ConfigError, InputError, StoreError
from distfd.core.files import parse_json, read_plain
from distfd.reporting.attempts import BASELINE, UNKNOWN, Attempts, read_attempts
from distfd.reporting.log_file import RunLog, read_log
from distfd.run_directory.directory import RunDirectory
from distfd.run_directory.result_fields import measure_of
from distfd.stores.file_lock import holder

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_FOLDERS = 100
_LARGEST_OUTCOME, _LARGEST_RESULT = 10_000_000, 2**30
_NODES = {"forward": 1, "backward": 1, "complex-step": 1, "forward2": 2, "backward2": 2, "central": 2, "central4": 4}
"""Number of points that a scheme has along a coordinate."""


@dataclass(frozen=True)
class KeptFolder:
    """A work directory that was kept: its path below the run's directory, and how its evaluation ended."""

    path: str
    status: str
    failure: str


@dataclass(frozen=True, eq=False)
class RunData:
    """A run's directory, read. ``result`` is empty where there is no result.json."""

    path: Path
    result: dict[str, Any]
    config_text: str
    attempts: Attempts
    log: RunLog
    check: dict[str, Any] | None = None
    folders: tuple[KeptFolder, ...] = ()
    writer: str | None = None
    """The process that runs it now, in words; None if there is none."""
    config: dict[str, Any] = field(default_factory=dict)
    trouble: str = ""
    """Why a result.json that is there cannot be used; empty if it can, or if there is none."""

    @property
    def status(self) -> str:
        """The status in result.json; else "running", "unreadable", "checked", or "cut off" if it ended without one."""
        if self.writer is not None:
            return "running"
        if self.trouble:
            return "unreadable"
        checked = self.check is not None and self.log.only_checked
        return str(self.result.get("status") or ("checked" if checked else "cut off"))

    @property
    def task(self) -> str:
        """As in the configuration."""
        return str(self.result.get("task") or self.config.get("task") or "gradient")

    @property
    def measure(self) -> str:
        """What the run's scalar is called: the cost of a fit, else J."""
        return measure_of(self.task)

    @cached_property
    def names(self) -> list[str]:
        """Of the parameters."""
        return [str(name) for name in self.result.get("names") or _config_names(self.config)]

    @cached_property
    def outputs(self) -> list[str] | None:
        """Names of J's outputs; None where they have none."""
        found = self.result.get("outputs")
        return [str(name) for name in found] if isinstance(found, list) else None

    def numbers(self, name: str) -> NDArray[np.float64] | None:
        """A list of result.json as an array, NaN for null; None where it is missing or no list of numbers."""
        value = self.result.get(name)
        if not isinstance(value, list) or not value:
            return None
        try:
            return np.array(value, dtype=np.float64)
        except (TypeError, ValueError):
            return None

    @cached_property
    def per_coordinate(self) -> int:
        """Points along a coordinate if all derivative waves have the scheme's plain layout, else 0.

        In the plain layout, point 0 is the baseline, and each moving coordinate has its points in turn. Steps from
        noise, for example, give other layouts.
        """
        asked = self.config.get("derivative") or {}
        plain = not isinstance(asked.get("step"), str) and asked.get("accuracy") is None
        nodes = _NODES.get(str(asked.get("scheme", "forward")), 0) if plain else 0
        counts = {wave.n_points for session in self.log.sessions for wave in session.waves}
        n = 1 + nodes * len(self.moving)
        # One or two points that check the derivative may follow.
        return nodes if counts and counts <= {n, n + 1, n + 2} else 0

    @cached_property
    def moving(self) -> list[int]:
        """Parameters that are not fixed."""
        parameters = self.config.get("parameters")
        if not isinstance(parameters, list):
            return list(range(len(self.names)))
        fixed = [
            p.get("fixed") or (p.get("lower") is not None and p.get("lower") == p.get("upper")) for p in parameters
        ]
        return [k for k, still in enumerate(fixed) if not still]

    def point_name(self, point: int, coordinate: int) -> str:
        """The name of a point of a wave: the parameter that it moves, if known."""
        nth, names = "", self.names
        if coordinate == UNKNOWN and self.per_coordinate and point >= 0:
            at = (point - 1) // self.per_coordinate
            coordinate = BASELINE if point == 0 else self.moving[at] if at < len(self.moving) else UNKNOWN
        if self.per_coordinate > 1 and coordinate >= 0:
            nth = f" ({(point - 1) % self.per_coordinate + 1} of {self.per_coordinate})"
        if coordinate == BASELINE:
            return "J(x)"
        if self.per_coordinate and point > self.per_coordinate * len(self.moving):
            return "check of the derivative"
        return f"{names[coordinate]}{nth}" if 0 <= coordinate < len(names) else f"point {point}"


def read_run(path: Path) -> RunData:
    """Read what a run left, however it ended.

    Raises
    ------
    InputError
        If there is no run at ``path``.
    """
    run = RunDirectory(path)
    if not (os.path.lexists(run.store) or run.result() is not None):
        raise InputError(f"{path}: no run is there (no {run.store.name}, no result.json); give a run's directory")
    text = run.config_text() or ""
    result, trouble = run.result(), ""
    if result is None:
        try:
            run.listed_result(_LARGEST_RESULT)
        except StoreError as error:
            trouble = str(error)
    return RunData(
        path=path,
        result=result or {},
        config_text=text,
        attempts=read_attempts(run.store),
        log=read_log(run.log),
        check=run.check(),
        folders=tuple(_kept_folders(run.work)),
        writer=holder(run.store.with_name(run.store.name + ".lock")),
        config=parsed_config(text),
        trouble=trouble,
    )


def parsed_config(text: str) -> dict[str, Any]:
    """The configuration that a run saved; empty if someone has damaged the file since."""
    from distfd.config.yaml_source import read_text

    try:
        # Read it like every configuration, without aliases, by which a short text can become huge.
        loaded = read_text(text, "config.yaml").data
    except ConfigError:
        return {}
    if not isinstance(loaded, dict):
        return {}
    # Leave out entries that somebody has changed into another form.
    parameters = loaded.get("parameters")
    if not (isinstance(parameters, list) and all(isinstance(each, dict) for each in parameters)):
        loaded.pop("parameters", None)
    sections = ("objective", "derivative", "evaluation", "resources", "cluster", "minimize")
    return {key: value for key, value in loaded.items() if key not in sections or isinstance(value, dict)}


def set_variables(config: dict[str, Any]) -> dict[str, str]:
    """What a configuration sets in the environment of programs: texts, by the names of the variables."""
    command = (config.get("objective") or {}).get("command")
    env = command.get("env") if isinstance(command, dict) else None
    return {str(name): value for name, value in env.items() if isinstance(value, str)} if isinstance(env, dict) else {}


def _config_names(config: dict[str, Any]) -> list[str]:
    parameters, x0 = config.get("parameters"), config.get("x0")
    if isinstance(parameters, list):
        return [str(p.get("name", k)) for k, p in enumerate(parameters) if isinstance(p, dict)]
    return [f"x{k}" for k in range(len(x0))] if isinstance(x0, list) else []


def _kept_folders(work: Path) -> list[KeptFolder]:
    """Work directories with a word on how they ended, the failed ones first."""
    found = []
    outcomes = sorted(work.glob("*/distfd-outcome.json"))[: 4 * _FOLDERS] if work.is_dir() else []
    for outcome in outcomes:
        try:
            told = parse_json(read_plain(outcome, _LARGEST_OUTCOME).decode("utf-8", "replace"))
            folder = KeptFolder(
                f"{work.name}/{outcome.parent.name}", str(told.get("status", "")), str(told.get("failure", ""))
            )
        except (OSError, ValueError, AttributeError, RecursionError):
            continue
        found.append(folder)
    return sorted(found, key=lambda folder: folder.status == "ok")[:_FOLDERS]
