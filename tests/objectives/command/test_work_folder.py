"""Work directories: kept within bounds, swept once their process is gone, and never while one is in use."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import distfd
from distfd.core.failures import ProgramError
from distfd.objectives.command import work_folder as folder
from distfd.objectives.command.objective import CommandObjective
from distfd.workers import processes

if TYPE_CHECKING:
    from collections.abc import Callable

X = np.array([1.0])
MAKES = (
    "import sys, time; from distfd.objectives.command.work_folder import WorkFolder as W; "
    "print(W(sys.argv[1]).path, flush=True);"
)
ROOT = Path(__file__).parents[3]


def program(work: Path, code: str, **options: Any) -> CommandObjective:
    outputs = {"J": {"file": "stdout", "regex": "(.+)"}}
    return CommandObjective(["sh", "-c", code], outputs=outputs, work=work, **options)


def fail(objective: CommandObjective) -> str:
    with pytest.raises(ProgramError) as caught:
        objective.make().evaluate(X, timeout=60)
    return str(caught.value)


def test_directories_of_killed_runs_are_swept_and_others_are_not(tmp_path: Path) -> None:
    held = folder.WorkFolder(tmp_path)
    kept = folder.WorkFolder(tmp_path)
    kept.keep({"status": "error"})
    other = tmp_path / "mine"
    other.mkdir()
    killed = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"{MAKES} time.sleep(600)",
            str(tmp_path),
        ],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert killed.stdout is not None
    left = Path(killed.stdout.readline().strip())
    folder.sweep(tmp_path)
    assert left.exists(), "its process lives"
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    killed.stdout.close()
    folder.sweep(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([held.path, kept.path, other])
    held.discard()
    folder.sweep(tmp_path / "nowhere")


def test_a_new_worker_sweeps(tmp_path: Path) -> None:
    host = folder._host()
    left, similar, used, away = (
        tmp_path / f"evaluation-{name}" for name in (f"{host}-left0000", "notes", f"{host}-notes000", "x-other000")
    )
    for path in (left, similar, used, away):
        path.mkdir()
    (left / "parameters.json").write_text("{}")
    (away / "parameters.json").write_text("{}")
    (used / "results.csv").write_text("1")
    program(tmp_path, "echo 1").make()
    assert sorted(tmp_path.iterdir()) == sorted([similar, used, away]), "a name alone proves nothing"


def test_the_outcome_is_told(tmp_path: Path) -> None:
    program(tmp_path, "echo 3", keep="all").make().evaluate(X)
    (path,) = tmp_path.iterdir()
    found = json.loads((path / folder.OUTCOME).read_text())
    assert (found["status"], found["value"]) == ("ok", 3.0)
    message = fail(program(tmp_path / "failed", "exit 1"))
    (path,) = (tmp_path / "failed").iterdir()
    found = json.loads((path / folder.OUTCOME).read_text())
    assert (found["status"], found["failure"]) == ("error", message)


def test_a_run_keeps_so_many_and_those_of_earlier_runs_give_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder, "MOST_KEPT", 3)
    for k in range(3):
        earlier = folder.WorkFolder(tmp_path)
        earlier.keep({"status": "error"})
        os.utime(earlier.path, (k, k))
    model = program(tmp_path, "exit 1").make()
    messages = []
    for _ in range(5):
        with pytest.raises(ProgramError) as caught:
            model.evaluate(X, timeout=60)
        messages.append(str(caught.value))
    assert len(list(tmp_path.iterdir())) == 3
    for message in messages[:3]:
        assert str(tmp_path) in message
    for message in messages[3:]:
        assert "work directory removed (100 of this run are kept already)" in message
    shown = {Path(message.split("work directory ")[1].split(" (sh")[0]) for message in messages[:3]}
    assert set(tmp_path.iterdir()) == shown, "what a message names is there"


def test_huge_logs_are_cut_to_their_ends_where_they_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "_LARGEST_LOG", 4096)
    fail(program(tmp_path, "seq 100000; exit 1"))
    (path,) = tmp_path.iterdir()
    text = (path / "stdout").read_text()
    assert len(text) < 2000
    assert text.endswith("99999\n100000\n")


def test_a_program_that_prints_without_end_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "MOST_PRINTED", 2**20)
    monkeypatch.setattr(processes, "_LOOK", 0.05)
    message = fail(program(tmp_path, "yes"))
    assert "printed more than" in message
    assert "to stdout and was killed" in message


def test_a_directory_that_cannot_be_filled_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("1")
    objective = program(tmp_path / "work", "echo 1", copy=["data"], base=tmp_path)
    (tmp_path / "data").unlink()
    assert "its work directory cannot be filled: No such file" in fail(objective)


def test_what_was_just_killed_is_swept_when_it_lets_go(tmp_path: Path) -> None:
    killed = folder.WorkFolder(tmp_path)
    other = folder.WorkFolder(tmp_path)
    # One still holds its own, as a process that is about to die does.
    os.close(killed._lock)
    killed._lock = -1
    assert folder.sweep(tmp_path) == 1
    assert [path.name for path in tmp_path.iterdir()] == [other.path.name]
    os.close(other._lock)
    other._lock = -1
    folder.sweep_all(tmp_path)
    assert list(tmp_path.iterdir()) == []


def taken_between(monkeypatch: pytest.MonkeyPatch, when: str, count: int, take: Callable[[Path], object]) -> list[Path]:
    """Have something happen to new directories before or after they are opened to be locked, so many times."""
    real, seen = os.open, list[Path]()

    def opened(path: Any, flags: int, *more: Any, **named: Any) -> int:
        mine = isinstance(path, Path) and "evaluation-" in path.name and path not in seen and len(seen) < count
        if not mine:
            return real(path, flags, *more, **named)
        seen.append(path)
        if when == "before":
            take(path)
        handle = real(path, flags, *more, **named)
        if when == "after":
            take(path)
        return handle

    monkeypatch.setattr(os, "open", opened)
    return seen


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_sweep_and_a_new_directory_do_not_collide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    """Who locks first has it, whatever the clocks say: a sweep comes between making one and locking it."""
    seen = taken_between(monkeypatch, when, 3, lambda _: folder.sweep(tmp_path))
    mine = folder.WorkFolder(tmp_path)
    assert len(seen) == 3
    assert list(tmp_path.iterdir()) == [mine.path]
    assert mine.is_in_place()
    assert folder.sweep(tmp_path) == 1
    mine.discard()
    assert list(tmp_path.iterdir()) == []


def test_a_sweep_that_is_slow_leaves_what_was_kept_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = folder.WorkFolder(tmp_path)
    taken_between(monkeypatch, "before", 1, lambda _: made.keep({"status": "error"}))
    folder.sweep(tmp_path)
    assert (made.path / folder.OUTCOME).exists()


def test_the_clock_of_a_file_server_decides_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is a day ahead, or behind: a directory of this run stays, one of an earlier run gives way."""
    monkeypatch.setattr(folder, "MOST_KEPT", 1)
    kept = folder.WorkFolder(tmp_path)
    kept.keep({"status": "error"})
    now = time.time()
    for skew in (-86400, 86400):
        os.utime(kept.path, (now + skew, now + skew))
        assert not folder.make_room(tmp_path, now - 60)
    assert folder.make_room(tmp_path, now + 60)
    assert list(tmp_path.iterdir()) == []


def test_the_end_of_a_session_sweeps(tmp_path: Path) -> None:
    cut_off = folder.WorkFolder(tmp_path)
    os.close(cut_off._lock)
    cut_off._lock = -1
    with distfd.Evaluator(program(tmp_path, "echo 1"), executor="serial"):
        assert cut_off.path.exists()
    assert list(tmp_path.iterdir()) == []
