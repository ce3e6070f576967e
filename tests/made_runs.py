"""Directories of runs, written by distfd's own stores and logs, without an evaluation."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core.records import Batch, Failure, Status
from distfd.run_directory.directory import RunDirectory
from distfd.stores.sqlite import SQLiteStore

if TYPE_CHECKING:
    from pathlib import Path

BEGIN = 1_800_000_000.0


@dataclass(frozen=True)
class Attempt:
    """Times are seconds after `BEGIN`."""

    point: int
    slot: int
    start: float
    end: float
    status: Status = Status.OK
    attempt: int = 1
    value: float = 1.5
    host: str = "node"
    message: str = "ValueError: no"
    detail: str = "Traceback\n  in J"
    pid: int | None = None
    """By default another one for each slot."""


@dataclass
class Made:
    """What is to be found in a run's directory."""

    attempts: list[Attempt] = field(default_factory=list)
    log: list[tuple[float, str, dict[str, Any]]] = field(default_factory=list)
    result: dict[str, Any] | None = None
    config: str = "task: gradient\n"
    names: tuple[str, ...] = ("a", "b", "c")

    def write(self, path: Path) -> RunDirectory:
        run = RunDirectory(path)
        run.make()
        store = SQLiteStore(run.store)
        try:
            for attempt in self.attempts:
                store.put(np.array([[attempt.point, 0]], np.uint64), _batch(attempt))
        finally:
            store.close()
        lines = [{"time": _iso(at), "event": event, **fields} for at, event, fields in self.log]
        run.log.write_text("".join(json.dumps(line) + "\n" for line in lines))
        run.write_config(self.config)
        if self.result is not None:
            run.write_result({"names": list(self.names), **self.result})
        return run


def session(begin: float, end: float | None, *waves: tuple[float, float], slots: int = 2, points: int = 4) -> Any:
    """Lines of one session's log: waves are (start, end)."""
    lines: list[tuple[float, str, dict[str, Any]]] = [(begin, "run_started", {"task": "gradient"})]
    for start, stop in waves:
        asked = {"task": "gradient", "n_points": points, "n_reused": 0, "slots": slots}
        ended = {"task": "gradient", "n_evaluations": points, "n_failed": 0, "wall_seconds": 1.0, "ideal_seconds": 1.0}
        lines += [(start, "wave_started", asked), (stop, "wave_ended", ended)]
    return lines if end is None else [*lines, (end, "run_ended", {"status": "done"})]


GRADIENT: dict[str, Any] = {
    "task": "gradient",
    "status": "done",
    "x": [1.0, 2.0, 3.0],
    "value": 0.25,
    "derivative": [1.0, -20.0, None],
    "error": [0.1, 0.2, None],
    "step": [1e-8, 1e-8, 0.0],
    "scheme": "forward",
    "missing": [],
    "repaired": {},
    "warnings": [],
    "n_evaluations": 4,
    "n_reused": 0,
    "n_failed": 0,
    "n_retried": 0,
    "wall_seconds": 10.0,
    "ideal_seconds": 4.0,
    "efficiency": 0.4,
    "slots": 2,
    "started": "2027-01-15T08:00:00+00:00",
    "finished": "2027-01-15T08:00:10+00:00",
    "versions": {"python": "3.11", "distfd": "0.1.0"},
}

FOUR = [Attempt(0, 0, 2.0, 3.0), Attempt(1, 1, 2.5, 3.5), Attempt(2, 0, 3.0, 4.0), Attempt(3, 1, 4.0, 5.0)]
"""Four evaluations of 1 s on two slots."""


def _batch(a: Attempt) -> Batch:
    ok = a.status == Status.OK
    return Batch(
        index=np.array([a.point]),
        status=np.array([a.status], dtype=np.uint8),
        size=np.array([int(ok)]),
        flat=np.array([a.value] if ok else [], dtype=float),
        started=np.array([BEGIN + a.start]),
        ended=np.array([BEGIN + a.end]),
        attempt=np.array([a.attempt], dtype=np.int32),
        host=a.host,
        pid=100 + a.slot if a.pid is None else a.pid,
        slot=a.slot,
        failures={} if ok else {a.point: Failure(a.status, a.message, a.detail)},
    )


def _iso(at: float) -> str:
    return datetime.fromtimestamp(BEGIN + at, UTC).isoformat(timespec="milliseconds")
