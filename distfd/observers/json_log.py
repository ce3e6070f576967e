"""The run's log: one JSON object a line."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

from distfd.core.errors import StoreError
from distfd.core.files import open_to_add
from distfd.results import events

if TYPE_CHECKING:
    from pathlib import Path


class JsonLog:
    """Appends events to a file; J's tracebacks go in whole.

    Parameters
    ----------
    path : Path
        Made where it is missing.

    Raises
    ------
    StoreError
        If it cannot be written, or what is there is no plain file of ours.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._file = open(open_to_add(path), "a", encoding="utf-8")  # noqa: PTH123, SIM115  # closed by __exit__
        except OSError as error:
            raise StoreError(f"the log {path} cannot be opened: {error.strerror}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        # Every line was flushed when it was written, or has been told as an error then.
        with contextlib.suppress(OSError):
            self._file.close()

    def __call__(self, event: events.Event) -> None:
        """Take one event; what is in the store or in files of its own is not repeated here; what runs is soon past."""
        if not isinstance(
            event, (events.BatchFinished, events.Differentiated, events.Improved, events.Running, events.Stopped)
        ):
            self.write(_kind(event), **_fields(event))

    def write(self, kind: str, **fields: Any) -> None:
        """One line."""
        line = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": kind, **fields}
        try:
            self._file.write(json.dumps(line, allow_nan=False, default=str) + "\n")
            self._file.flush()
        except OSError as error:
            raise StoreError(
                f"the log {self._path} cannot be written: {error.strerror}; make room and run again"
            ) from error


def _kind(event: events.Event) -> str:
    """WaveStarted -> wave_started."""
    name = type(event).__name__
    return "".join("_" + c.lower() if c.isupper() else c for c in name).lstrip("_")


def _fields(event: events.Event) -> dict[str, Any]:
    if isinstance(event, events.AttemptFailed):
        failure = event.failure
        return {
            "point": event.label,
            "attempt": event.attempt,
            "status": failure.status.word,
            "cause": failure.text,
            "detail": failure.detail,
            "again": event.again,
            "host": event.host,
            "pid": event.pid,
        }
    if isinstance(event, events.Iterated):
        found = {"iteration": event.iteration, "value": event.value, "gradient_norm": event.gradient_norm}
        return {**found, "measure": event.measure, "x": event.x.tolist()}
    return dict(vars(event))
