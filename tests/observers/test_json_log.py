"""The log: one JSON object a line, J's tracebacks whole, and a full disk named."""

from __future__ import annotations

import json
import os
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np
import pytest

from distfd import events
from distfd.core.records import Failure, Status
from distfd.errors import StoreError
from distfd.observers.json_log import JsonLog

if TYPE_CHECKING:
    from pathlib import Path


def test_events_become_lines(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    with JsonLog(path) as log:
        log(events.WaveStarted("gradient", 5, 1, 2))
        failure = Failure(Status.ERROR, "ValueError: no", "Traceback ...\nValueError: no\n", ValueError("no"))
        log(events.AttemptFailed("coordinate 1", 2, failure, again=False, host="here", pid=3))
        log(events.Iterated(4, np.array([1.0, 2.0]), 0.5))
    with JsonLog(path) as log:  # a second session goes on below the first
        log.write("run_started", task="gradient")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["event"] for line in lines] == ["wave_started", "attempt_failed", "iterated", "run_started"]
    assert all(datetime.fromisoformat(line["time"]).tzinfo for line in lines)
    assert lines[0]["n_points"] == 5
    assert lines[1]["detail"] == failure.detail
    assert lines[1]["status"] == "error"
    assert (lines[2]["x"], lines[2]["measure"]) == ([1.0, 2.0], "J")


def test_a_log_that_cannot_be_written_is_a_store_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StoreError, match="cannot be opened"):
        JsonLog(tmp_path / "missing" / "log.jsonl")
    monkeypatch.setattr("distfd.observers.json_log.open_to_add", lambda path: os.open("/dev/full", os.O_WRONLY))
    with JsonLog(tmp_path / "log.jsonl") as log, pytest.raises(StoreError, match=r"No space left.*make room"):
        log(events.Waiting(1.0, "nothing"))
