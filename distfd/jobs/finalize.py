"""Records how a run ended: in result.json, in the log, and, for a derivative, also as arrays."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core.errors import ClusterLostError, DistfdError, StoreError, TimeUpError
from distfd.run_directory.result_fields import failed_fields, stopped_fields, versions

if TYPE_CHECKING:
    from distfd.config.problem import Problem
    from distfd.evaluation.evaluator import Evaluator
    from distfd.observers.json_log import JsonLog
    from distfd.observers.run_tally import RunTally
    from distfd.run_directory.directory import RunDirectory
    from distfd.stores.sqlite import SQLiteStore

_KEPT = "what was finished is kept, run again to go on"


_MATRICES = ("derivative", "error", "jacobian")
_MOST_ENTRIES = 1_000_000
"""A matrix with more entries is stored in derivative.npz only: in JSON it would take 35 bytes an entry, and nobody
reads it."""


def _is_large(matrix: Any) -> bool:
    return np.ndim(matrix) == 2 and np.size(matrix) > _MOST_ENTRIES


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass
class RunFinalizer:
    """Records the end of a run that begins now."""

    task: str
    problem: Problem
    directory: RunDirectory
    store: SQLiteStore
    evaluator: Evaluator
    log: JsonLog
    tally: RunTally
    _began: float = field(init=False, default_factory=time.monotonic)
    _started: str = field(init=False, default_factory=_now)

    def found(self, found: dict[str, Any]) -> dict[str, Any]:
        """Records a result; returns the content of result.json.

        Raises
        ------
        KeyboardInterrupt
            If the result is that of an interrupted optimisation, which returns its best point so far: the caller must
            know that the run was not complete.
        """
        if found.get("interrupted"):
            self.log.write("run_ended", status="interrupted")
            self._write("interrupted", {**found, "exit_code": 130})
            raise KeyboardInterrupt
        if found["derivative"] is None:
            return self._write("done", found)
        arrays = {key: found[key] for key in ("derivative", "value", "x", "step", "error")}
        if _is_large(found.get("jacobian")):
            arrays["jacobian"] = found["jacobian"]
        if found.get("outputs") is not None:
            arrays["outputs"] = np.array(found["outputs"], dtype=np.str_)
        self.directory.write_arrays(**arrays, names=np.array(self.problem.names))
        return self._write("partial" if found["missing"] else "done", found)

    def raised(self, error: BaseException) -> None:
        """Records that the run failed with this error."""
        match error:
            case KeyboardInterrupt():
                self._stop("interrupted", "interrupted; run again to go on", 130)
            case TimeUpError():
                self._stop("interrupted", str(error), error.exit_code)
            case ClusterLostError():
                self.lost(str(error))
            case DistfdError():
                known = failed_fields(self.task, error, self.problem.names)
                self._stop("failed", str(error), error.exit_code, **known)
            case _:
                self._stop("failed", f"a bug in distfd: {type(error).__name__}: {error}", 1)

    def lost(self, reason: str) -> None:
        """Records that the cluster is lost."""
        self._stop("interrupted", f"{reason}; {_KEPT}", ClusterLostError.exit_code)

    def _stop(self, status: str, message: str, exit_code: int, **known: Any) -> None:
        stopped = stopped_fields(self.task, self.tally, self.problem.x0, self.problem.names)
        # On a full disk these fail as well; the error to be reported is the one that stopped the run.
        with contextlib.suppress(StoreError):
            self.log.write("run_ended", status=status, message=message)
        with contextlib.suppress(StoreError):
            self._write(status, {**stopped, **known, "message": message, "exit_code": exit_code})

    def _write(self, status: str, found: dict[str, Any]) -> dict[str, Any]:
        wall = time.monotonic() - self._began
        ideal = found.get("ideal_seconds")
        result = {
            **_nothing(),
            "task": self.task,
            "status": status,
            "exit_code": {"done": 0, "partial": 3}.get(status),
            "names": list(self.problem.names),
            "x": self.problem.x0,
            **found,
            "n_evaluations": self.store.n_computed(),
            "slots": self.evaluator.slots,
            "wall_seconds": wall,
            "start_seconds": None if self.tally.first_up is None else self.tally.first_up - self._began,
            "efficiency": ideal / wall if ideal else None,
            "started": self._started,
            "finished": _now(),
            "versions": versions(),
        }
        large = [key for key in _MATRICES if _is_large(result.get(key))]
        result |= {**dict.fromkeys(large), "only_in_arrays": large} if large else {}
        self.directory.write_result(result)
        return self.directory.result() or result


def _nothing() -> dict[str, Any]:
    """The fields of result.json for a run without a result."""
    return {
        "value": None,
        "derivative": None,
        "error": None,
        "step": None,
        "scheme": None,
        "missing": [],
        "repaired": {},
        "warnings": [],
        "noise": None,
        "consistency": None,
        "n_reused": 0,
        "n_failed": 0,
        "n_retried": 0,
        "ideal_seconds": None,
        "slots": None,
        "message": "",
    }
