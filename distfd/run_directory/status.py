"""How far a run is, as its directory tells: for ``distfd status``, while it runs elsewhere and after."""

from __future__ import annotations

import math
import os
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distfd.core.errors import InputError
from distfd.core.files import open_plain, parse_json
from distfd.objectives.command.archive import count_archives
from distfd.objectives.command.work_folder import count_kept
from distfd.observers.progress_state import duration
from distfd.run_directory.directory import RunDirectory, plain
from distfd.stores.file_lock import holder
from distfd.stores.summary import count_since, read_summary

if TYPE_CHECKING:
    from collections.abc import Callable

_TAIL = 2**20
"""Bytes of the log's end that are read."""
_LOOK = 1.0
_STATUSES = {"done": 0, "partial": 3, "interrupted": 130}


@dataclass(frozen=True)
class Iterate:
    """Where an optimisation has come to."""

    iteration: int
    value: float
    gradient_norm: float | None
    measure: str = "J"
    """What the value is: "J", or "cost" in a fit."""


@dataclass(frozen=True)
class LastFailure:
    """The last attempt that failed; ``time`` is ISO 8601."""

    point: str
    cause: str
    time: str


@dataclass(frozen=True)
class RunStatus:
    """A run as it is at this moment.

    Attributes
    ----------
    writer : str or None
        The process that runs it, in words; None where none does.
    result : dict or None
        What result.json holds.
    n_computed, n_failed_attempts : int
        Of all its sessions.
    finished, total : int or None
        Evaluations of the wave that is going on.
    rate : float or None
        Evaluations a second in this wave.
    started : float or None
        When the session began, in seconds since the epoch.
    iterated, last_failure : str
        ``iterate`` and ``failure`` in words; empty where there is none.
    """

    writer: str | None
    result: dict[str, Any] | None
    n_computed: int
    n_failed_attempts: int
    task: str = ""
    finished: int | None = None
    total: int | None = None
    slots: int | None = None
    rate: float | None = None
    running_seconds: float | None = None
    started: float | None = None
    iterated: str = ""
    last_failure: str = ""
    iterate: Iterate | None = None
    failure: LastFailure | None = None
    checked: bool = False
    """Whether ``distfd check`` has ended here, and no run has begun."""

    @property
    def state(self) -> str:
        """As in result.json; "running", "checked", or "cut off" where it ended without a word, as when it is killed."""
        if self.writer is not None:
            return "running"
        if self.result and "status" in self.result:
            return str(self.result["status"])
        return "checked" if self.checked else "cut off"

    @property
    def seconds_left(self) -> float | None:
        """Of the wave that is going on, at the rate it has had; None where that is not known."""
        if not self.rate or self.total is None or self.finished is None:
            return None
        return (self.total - self.finished) / self.rate

    @property
    def ended(self) -> bool:
        """Whether no process is at it."""
        return self.writer is None

    @property
    def exit_code(self) -> int:
        """That of the run; 130 where it was killed, as where it was interrupted: the same command goes on."""
        if self.result is None:
            return 130
        code = int(self.result.get("exit_code") or _STATUSES.get(self.result.get("status", ""), 3))
        return code if code < 256 else 3

    @property
    def fields(self) -> dict[str, Any]:
        """What ``distfd status --json`` says: JSON's own types, null for what is not known."""
        wave = {name: getattr(self, name) for name in ("finished", "total", "slots", "rate", "seconds_left")}
        found: dict[str, Any] = plain(
            {
                "state": self.state,
                "task": self.task or (self.result or {}).get("task"),
                "writer": self.writer,
                "exit_code": self.exit_code if self.ended else None,
                "n_evaluations": self.n_computed,
                "n_failed_attempts": self.n_failed_attempts,
                "started": None if self.started is None else datetime.fromtimestamp(self.started, UTC).isoformat(),
                "running_seconds": self.running_seconds,
                "wave": None if self.ended or self.total is None else wave,
                "iterate": None if self.iterate is None else asdict(self.iterate),
                "last_failure": None if self.failure is None else asdict(self.failure),
            }
        )
        return found

    def __str__(self) -> str:
        return "\n".join(filter(None, (self._headline(), self._wave(), self.iterated, self.last_failure)))

    def _headline(self) -> str:
        counts = f"{self.n_computed} evaluations so far, {self.n_failed_attempts} failed attempts"
        if self.state == "checked":
            return f"only a check was run here; distfd run computes the result: {counts}"
        if self.ended:
            return f"ended without a result; run the same command again to go on: {counts}"
        if self.running_seconds is None:
            return f"running as {self.writer}: {counts}"
        who = str(self.writer).partition(" since ")[0]
        if not self.n_computed and not self.n_failed_attempts and self.total is None and self.iterate is None:
            counts = "workers are starting, and no evaluation has ended yet"
        return f"running for {duration(self.running_seconds)} as {who}: {counts}"

    def _wave(self) -> str:
        if self.ended or self.total is None or self.finished is None:
            return ""
        text = f"{self.task}: {self.finished} of {self.total} on {self.slots} slot{'s' if self.slots != 1 else ''}"
        if self.rate and self.seconds_left is not None:
            text += f", {self.rate:.3g}/s, about {duration(self.seconds_left)} left"
        return text


def run_status(directory: str | Path, now: Callable[[], float] = time.time) -> RunStatus:
    """Look at a run without disturbing it.

    Raises
    ------
    InputError
        If there is no run.
    StoreError
        If its store is damaged.
    """
    run = RunDirectory(Path(directory).absolute())
    if not os.path.lexists(run.store):
        raise InputError(f"{directory}: no run is there (no {run.store.name})")
    writer = holder(run.store.with_name(run.store.name + ".lock"))
    wave = _last_events(run.log)
    since = _time(wave.get("wave_started"))
    counts = read_summary(run.store)
    known: dict[str, Any] = {
        "writer": writer,
        "n_computed": counts.n_computed,
        "n_failed_attempts": counts.n_failed_attempts,
        "last_failure": _failure(wave, now()),
        "failure": _last_failure(wave),
        "iterate": _iterate(wave),
        "started": _time(wave.get("run_started")),
        "checked": "check_ended" in wave and "run_started" not in wave,
    }
    if writer is None:
        return RunStatus(result=run.result(), **known)
    began = known["started"]
    started = wave.get("wave_started", {})
    going = bool(started) and "wave_ended" not in wave
    finished = count_since(run.store, since) if going and since is not None else None
    return RunStatus(
        result=None,
        task=str(started.get("task") or wave.get("run_started", {}).get("task") or ""),
        finished=finished,
        total=(started.get("n_points") or 0) - (started.get("n_reused") or 0) if going else None,
        slots=started.get("slots"),
        rate=finished / max(1e-3, now() - since) if finished and since is not None else None,
        running_seconds=None if began is None else now() - began,
        iterated=_iterated(known["iterate"]),
        **known,
    )


def follow(
    directory: str,
    say: Callable[[str], None],
    *,
    told: Callable[[RunStatus], str] = str,
    every: float = 5.0,
    wait: Callable[[float], None] = time.sleep,
    now: Callable[[], float] = time.time,
) -> RunStatus:
    """Say how far a run is as that changes, until it ends; how it ended.

    Parameters
    ----------
    directory : path
    say : callable
        Gets a few lines of text.
    told : callable
        Makes them of a status.
    every : float
        Seconds at least between two words; a twentieth of the run's time if that is more, and 0 for all changes.
    """
    before: tuple[object, ...] = ()
    said = -math.inf
    while not (status := run_status(directory, now)).ended:
        news = status.n_computed, status.n_failed_attempts, status.total, status.iterated
        pause = max(every, (status.running_seconds or 0) / 20) if every else 0
        if news != before and now() - said >= pause:
            say(told(status))
            before, said = news, now()
        wait(_LOOK)
    return status


def status_fields(status: RunStatus, run: RunDirectory) -> dict[str, Any]:
    """The answer of ``distfd status --json``: the run, what is kept of its work, and what result.json holds.

    Raises
    ------
    StoreError
        If there is a result.json that is none of distfd's.
    """
    kept = {"work_directories": count_kept(run.work), "archives": count_archives(run.archives)}
    result = run.shown_result() if status.ended else None
    return {"path": str(run.path), **status.fields, "kept": kept, "result": result}


def kept_text(run: RunDirectory) -> list[str]:
    """Where a program's work directories can be looked at, if any are kept."""
    failed, packed = count_kept(run.work), count_archives(run.archives)
    told = ((failed, f"kept in {run.work}"), (packed, f"packed in {run.archives}"))
    return [f"{n} work {'directory is' if n == 1 else 'directories are'} {where}" for n, where in told if n]


def _last_events(log: Path) -> dict[str, dict[str, Any]]:
    """The latest line of each kind in the log of the last session; what is over since the last wave began is gone."""
    found: dict[str, dict[str, Any]] = {}
    try:
        with open_plain(log) as file:
            file.seek(max(0, file.seek(0, 2) - _TAIL))
            lines = file.read().splitlines()
    except OSError:
        return found
    for line in lines:
        try:
            event = parse_json(line)
            kind = event["event"]
            if not isinstance(kind, str) or _time(event) is None or not _as_written(event):
                continue
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            continue  # the first line may be cut, and the last may be half written
        if kind == "run_started":
            found.clear()
        if kind == "wave_started":
            found.pop("wave_ended", None)
        found[kind] = event
    return found


_NUMBERS = ("n_points", "n_reused", "slots", "iteration", "value", "gradient_norm")


def _as_written(event: dict[str, Any]) -> bool:
    """Whether what is read of a line has the types that distfd writes."""
    numbers = [event[name] for name in _NUMBERS if event.get(name) is not None]
    if not all(isinstance(n, (int, float)) and not isinstance(n, bool) and abs(n) < _MOST for n in numbers):
        return False
    needed = {"iterated": ("iteration", "value"), "attempt_failed": ("point", "cause")}.get(event["event"], ())
    return all(event.get(name) is not None for name in needed)


_MOST = 1e300
"""No number in a log comes near it; of whole ones Python's have no end."""


def _time(event: dict[str, Any] | None) -> float | None:
    return None if event is None else datetime.fromisoformat(event["time"]).timestamp()


def _failure(found: dict[str, dict[str, Any]], now: float) -> str:
    event = found.get("attempt_failed")
    when = _time(event)
    if event is None or when is None:
        return ""
    return f"last failure, {duration(max(0.0, now - when))} ago: {event['point']}: {event['cause']}"


def _last_failure(found: dict[str, dict[str, Any]]) -> LastFailure | None:
    event = found.get("attempt_failed")
    return None if event is None else LastFailure(str(event["point"]), str(event["cause"]), str(event["time"]))


def _iterate(found: dict[str, dict[str, Any]]) -> Iterate | None:
    event = found.get("iterated")
    if event is None:
        return None
    norm = event.get("gradient_norm")
    measure = "cost" if event.get("measure") == "cost" else "J"
    return Iterate(int(event["iteration"]), float(event["value"]), None if norm is None else float(norm), measure)


def _iterated(one: Iterate | None) -> str:
    if one is None:
        return ""
    norm = "" if one.gradient_norm is None else f", |g| = {one.gradient_norm:.3g}"
    return f"iteration {one.iteration}: {one.measure} = {one.value:.8g}{norm}"
