"""``distfd status``: a run seen from outside, while it runs, after it ended, and after it was killed."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from distfd import events
from distfd.core.records import Batch, Failure, Status
from distfd.errors import InputError
from distfd.observers.json_log import JsonLog
from distfd.run_directory.directory import RunDirectory
from distfd.run_directory.status import RunStatus, follow, run_status
from distfd.stores.sqlite import SQLiteStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def batch(index: list[int], ended: float) -> Batch:
    n = len(index)
    return Batch(
        index=np.array(index),
        status=np.full(n, Status.OK, dtype=np.uint8),
        size=np.ones(n, dtype=np.int64),
        flat=np.ones(n),
        started=np.full(n, ended - 1),
        ended=np.full(n, ended),
        attempt=np.ones(n, dtype=np.int32),
        host="here",
        pid=1,
        slot=0,
    )


class Run:
    """A run that this process makes, as `distfd run` does."""

    def __init__(self, path: Path) -> None:
        self.directory = RunDirectory(path)
        self.directory.make()
        self.store = SQLiteStore(self.directory.store, fingerprint="f", names=("a", "b"))
        self.log = JsonLog(self.directory.log)
        self.n = 0

    def evaluated(self, n: int) -> None:
        index = list(range(self.n, self.n + n))
        keys = np.array([[k, k] for k in index], dtype=np.uint64)
        self.store.put(keys, batch(index, time.time() + 0.001))
        self.n += n


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    run = Run(tmp_path / "run")
    run.evaluated(5)  # by an earlier wave
    time.sleep(0.01)
    run.log.write("run_started", task="gradient")
    run.log(events.WaveStarted("gradient", 42, 2, 4))
    with run.log:
        yield run
    run.store.close()


def test_a_run_that_is_under_way(run: Run) -> None:
    run.evaluated(10)
    failure = Failure(Status.ERROR, "ValueError: negative width")
    run.log(events.AttemptFailed("coordinate 1 ('b')", 1, failure, again=True, host="here", pid=1))
    run.log(events.Iterated(3, np.zeros(2), 0.25, 1e-3))
    run.log._file.write('{"time": "2026-01-01T00:00:00+00:00", "event": "wave_st')  # half a line, as a reader may see
    run.log._file.flush()
    status = run_status(run.directory.path)
    assert not status.ended
    assert (status.finished, status.total, status.slots) == (10, 40, 4)
    assert status.n_computed == 15
    assert status.rate is not None
    text = str(status)
    assert text.startswith("running for ")
    assert "gradient: 10 of 40 on 4 slots" in text
    assert "iteration 3: J = 0.25, |g| = 0.001" in text
    assert "ago: coordinate 1 ('b'): ValueError: negative width" in text


def test_the_value_of_a_fit_is_its_cost(run: Run) -> None:
    run.log(events.Iterated(3, np.zeros(2), 0.25, 1e-3, "cost"))
    status = run_status(run.directory.path)
    assert "iteration 3: cost = 0.25, |g| = 0.001" in str(status)
    assert status.iterate is not None
    assert status.iterate.measure == "cost"


def test_before_the_first_evaluation_workers_are_starting(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    run.log.write("run_started", task="gradient")
    with run.log:
        text = str(run_status(run.directory.path))
    run.store.close()
    assert text.startswith("running for ")
    assert text.endswith("workers are starting, and no evaluation has ended yet")


def test_between_waves_only_the_whole_is_told(run: Run) -> None:
    run.log(events.WaveEnded("gradient", 40, 0, 1.0, 1.0))
    status = run_status(run.directory.path)
    assert status.total is None
    assert "5 evaluations so far" in str(status)


def test_one_that_was_killed_says_how_to_go_on(run: Run) -> None:
    run.store.close()  # as the kernel does with its lock
    status = run_status(run.directory.path)
    assert status.ended
    assert status.exit_code == 130
    assert "ended without a result; run the same command again to go on" in str(status)


@pytest.mark.parametrize(
    ("result", "code"),
    [
        ({"status": "done"}, 0),
        ({"status": "done", "exit_code": 0}, 0),
        ({"status": "partial", "exit_code": 3}, 3),
        ({"status": "failed", "exit_code": 4}, 4),
        ({"status": "failed"}, 3),
        ({"status": "interrupted", "exit_code": 130}, 130),
    ],
)
def test_following_ends_with_the_run_and_its_code(run: Run, result: dict[str, Any], code: int) -> None:
    said: list[str] = []
    looks = 0

    def wait(_: float) -> None:
        nonlocal looks
        looks += 1
        if looks == 2:
            run.evaluated(1)
        if looks == 4:
            (run.directory.path / "result.json").write_text(json.dumps(result))
            run.store.close()

    ended = follow(str(run.directory.path), said.append, every=0, wait=wait)
    assert ended.exit_code == code
    assert ended.result == result
    assert looks == 4
    assert len(said) == 2, "only what has changed is said"


def test_no_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no run is there"):
        run_status(tmp_path)


def test_lines_become_fewer_as_a_run_grows_old(run: Run) -> None:
    began = time.time()
    times: list[float] = []
    seconds = 0.0

    def wait(_: float) -> None:
        nonlocal seconds
        seconds += 10.0
        run.evaluated(1)
        if seconds > 3_000:
            run.store.close()

    follow(str(run.directory.path), lambda _: times.append(seconds), wait=wait, now=lambda: began + seconds)
    assert len(times) < 90, "of 300 looks, each with news"
    assert times[:3] == [0.0, 10.0, 20.0]


@pytest.mark.parametrize(("n", "words"), [(1, "1 slot"), (2, "2 slots")])
def test_one_slot_is_singular(n: int, words: str) -> None:
    status = RunStatus("pid 1", None, 0, 0, task="gradient", finished=1, total=4, slots=n)
    assert status._wave() == f"gradient: 1 of 4 on {words}"
