"""Runs that are read for pages: once while they do not change, and anew when they do."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

import pytest
from made_runs import FOUR, GRADIENT, Made, session

from distfd.core.errors import InputError
from distfd.reporting.run_data import RunData, read_run
from distfd.ui import run_reader
from distfd.ui.run_reader import RunReader, run_signature

if TYPE_CHECKING:
    from pathlib import Path


def run(path: Path, value: float = 0.25, age: float = 10.0) -> Path:
    """A run that ended some seconds ago."""
    made = Made(FOUR, session(0.0, 10.0), {**GRADIENT, "value": value}).write(path)
    for file in made.path.iterdir():
        os.utime(file, (time.time() - age,) * 2)
    return made.path


def test_a_run_that_does_not_change_is_read_once(tmp_path: Path) -> None:
    read, path = RunReader(), run(tmp_path / "run")
    assert read(path) is read(path)


def test_a_run_that_changes_is_read_anew(tmp_path: Path) -> None:
    read, path = RunReader(), run(tmp_path / "run")
    assert read(path).result["value"] == 0.25
    run(path, value=7.5, age=5.0)
    assert read(path).result["value"] == 7.5


def test_a_run_that_has_just_been_written_is_read_each_time(tmp_path: Path) -> None:
    """A second write within the clock's tick could not be told from the first."""
    read, path = RunReader(), run(tmp_path / "run", age=0.0)
    assert read(path) is not read(path)


def test_the_runs_used_last_are_kept(tmp_path: Path) -> None:
    read = RunReader(most=2)
    first, second, third = (run(tmp_path / name) for name in "abc")
    found = [read(first), read(second)]
    assert read(first) is found[0]
    read(third)
    assert read(first) is found[0]
    assert read(second) is not found[1]


def test_threads_that_ask_for_one_run_share_one_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def slow(path: Path) -> RunData:
        calls.append(path)
        time.sleep(0.2)
        return read_run(path)

    monkeypatch.setattr(run_reader, "read_run", slow)
    read, path = RunReader(), run(tmp_path / "run")
    threads = [threading.Thread(target=read, args=(path,)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert calls == [path]


def test_where_no_run_is_each_call_says_so_until_there_is_one(tmp_path: Path) -> None:
    read = RunReader()
    for _ in range(2):
        with pytest.raises(InputError, match="no run is there"):
            read(tmp_path / "run")
    assert read(run(tmp_path / "run")).result["value"] == 0.25


@pytest.mark.parametrize("name", ["log.jsonl", "config.yaml", "check.json", "evaluations.sqlite-wal", "work"])
def test_a_signature_sees_each_file(tmp_path: Path, name: str) -> None:
    path = run(tmp_path / "run")
    before = run_signature(path)
    if name == "work":
        (path / name).mkdir()
    else:
        with (path / name).open("a") as file:
            file.write(" ")
    assert run_signature(path) != before
