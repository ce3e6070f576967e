"""Long evaluations that a killed driver could not take: left as files, taken in, and not made again."""

from __future__ import annotations

import errno
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from storing import keys, vectors

from distfd.core.points import single_points
from distfd.core.records import Status
from distfd.objectives.function import PythonObjective
from distfd.stores.sqlite import SQLiteStore
from distfd.workers import spool
from distfd.workers.messages import EvaluationChunk
from distfd.workers.spool import Spool, leave, read
from distfd.workers.worker import Worker

if TYPE_CHECKING:
    from numpy.typing import NDArray


def test_bits_come_back(tmp_path: Path) -> None:
    batch = vectors([3])
    batch.flat[:] = [-0.0, 5e-324]
    leave(Spool(str(tmp_path), keys([3])), 0, batch)
    (path,) = tmp_path.iterdir()
    key, again = read(path)
    assert key.tolist() == keys([3]).tolist()
    assert again.flat.tobytes() == batch.flat.tobytes()
    assert (again.index.tolist(), again.started.tolist(), again.host, again.pid, again.slot) == (
        [0],
        [1.7e9],
        "node",
        1,
        0,
    )


def test_a_folder_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    leave(Spool(str(tmp_path / "elsewhere"), keys([3])), 0, vectors([3]))
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, write: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("distfd.workers.spool.replace_file", full)
    leave(Spool(str(tmp_path), keys([3])), 0, vectors([3]))
    assert not list(tmp_path.glob("*.json"))


def kept(store: SQLiteStore, number: int) -> list[float]:
    values: list[float] = store.get(keys([number]))[2].tolist()
    return values


def abandon(path: Path) -> str:
    """The spool's folder of a driver that was killed: nobody removes it."""
    script = (
        "import os, sys; from distfd.stores.sqlite import SQLiteStore;"
        "print(SQLiteStore(sys.argv[1]).spool_place(), flush=True); os._exit(9)"
    )
    ran = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=False)
    return ran.stdout.strip()


def test_what_was_left_is_taken_in_once(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    place = abandon(path)
    leave(Spool(place, keys([1, 2])), 1, vectors([2]))
    failed = vectors([5], 0)
    failed.status[:] = Status.ERROR
    leave(Spool(place, keys([5])), 0, failed.take(np.array([0])))
    store = SQLiteStore(path)
    assert kept(store, 2) == vectors([2]).flat.tolist()
    # One that comes while the next driver is at work is seen by it too.
    assert store.awaits_leftovers
    leave(Spool(place, keys([4])), 0, vectors([4]))
    assert kept(store, 4) == vectors([4]).flat.tolist()
    assert (store.n_computed(), store.n_failed_attempts()) == (3, 1)
    store.close()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["s.sqlite", "s.sqlite.lock"]
    leave(Spool(place, keys([6])), 0, vectors([6]))
    store = SQLiteStore(path)
    assert store.n_computed() == 3
    store.close()


def test_a_damaged_file_is_put_aside(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    place = Path(abandon(path))
    leave(Spool(str(place), keys([1, 2])), 0, vectors([1]))
    (left,) = place.iterdir()
    record = json.loads(left.read_text())
    record["value"] = record["value"].replace("9a", "9b")
    left.write_text(json.dumps(record))
    (place / "cut.json").write_text('{"key": "00')
    with pytest.warns(RuntimeWarning, match="was left by a worker and is damaged") as caught:
        store = SQLiteStore(path)
    assert len(caught) == 2
    assert store.n_computed() == 0
    store.close()
    assert len(list((tmp_path / "s.sqlite.spool").glob("damaged-*"))) == 2


def test_the_driver_removes_what_it_has_committed(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "s.sqlite")
    place = store.spool_place()
    assert place is not None
    long = vectors([1, 2])
    long.ended[:] += 2.0
    for k in range(2):
        leave(Spool(place, keys([1, 2])), k, long.take(np.array([k])))
    store.put(keys([1]), long.take(np.array([0])))
    assert len(list(Path(place).iterdir())) == 1
    # What it did not take before it ends in good order, it takes then.
    store.close()
    store = SQLiteStore(tmp_path / "s.sqlite")
    assert kept(store, 2) == vectors([2]).flat.tolist()
    assert not store.awaits_leftovers
    store.close()


def test_a_worker_leaves_what_took_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distfd.workers.worker.SECONDS", 0.0)
    x = np.array([1.0, 2.0])
    points = single_points(x, np.array([0, 1]), np.array([3.0, -5.0]))

    def fun(at: NDArray[np.float64]) -> float:
        if at[1] < 0:
            raise ValueError("negative width")
        return float(at.sum())

    worker = Worker(PythonObjective(fun), 4)
    batch = worker.run(
        EvaluationChunk(0, np.array([7, 8]), points, False, None, 10.0, spool=Spool(str(tmp_path), points.keys()))
    )
    left = {int(found.index[0]): (key, found) for key, found in map(read, tmp_path.iterdir())}
    assert left[7][0].tolist() == points.keys()[:1].tolist()
    assert left[7][1].flat.tolist() == [5.0] == batch.flat.tolist()
    assert left[8][1].status.tolist() == [Status.ERROR]
    assert left[8][1].failures[8].text == "ValueError: negative width"
    assert left[7][1].slot == 4


def test_short_evaluations_leave_nothing(tmp_path: Path) -> None:
    points = single_points(np.array([1.0]), np.array([0]), np.array([3.0]))
    chunk = EvaluationChunk(0, np.array([7]), points, False, None, 10.0, spool=Spool(str(tmp_path), points.keys()))
    Worker(PythonObjective(lambda x: float(x[0]))).run(chunk)
    assert list(tmp_path.iterdir()) == []
    assert spool.SECONDS == 1.0


DRIVER = """
    import sys, time
    import numpy as np
    import distfd

    def fun(x, folder):
        open(f"{folder}/begun-{x.tobytes().hex()}", "a").write("x")
        while not __import__("os").path.exists(f"{folder}/go"):
            time.sleep(0.02)
        time.sleep(1.1)
        open(f"{folder}/ended-{x.tobytes().hex()}", "a").write("x")
        return float(x @ x)

    folder = sys.argv[1]
    with distfd.Evaluator(fun, args=(folder,), store=folder + "/s.sqlite", version="1",
                          executor=distfd.RayExecutor(max_slots=2)) as ev:
        print(ev.gradient(np.array([1.0])).tolist(), flush=True)
"""


@pytest.mark.slow
def test_what_workers_finish_after_the_driver_was_killed_is_not_run_twice(tmp_path: Path, ray_address: str) -> None:
    import textwrap

    script = tmp_path / "driver.py"
    script.write_text(textwrap.dedent(DRIVER))
    env = {**os.environ, "RAY_ADDRESS": ray_address, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, str(script), str(tmp_path)]
    first = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)
    while len(list(tmp_path.glob("begun-*"))) < 2:
        assert first.poll() is None
        time.sleep(0.02)
    # It does nothing any more while its workers end their evaluations, which are then nowhere but in the spool.
    first.send_signal(signal.SIGSTOP)
    (tmp_path / "go").touch()
    while len(list((tmp_path / "s.sqlite.spool").glob("session-*/*.json"))) < 2:
        time.sleep(0.02)
    first.kill()
    first.communicate()
    ran = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=120)
    assert ran.returncode == 0, ran.stderr
    np.testing.assert_allclose(json.loads(ran.stdout), [2.0], rtol=1e-6)
    assert {path.read_text() for path in tmp_path.glob("begun-*")} == {"x"}
    with sqlite3.connect(tmp_path / "s.sqlite") as con:
        assert con.execute("SELECT count(*) FROM evaluations WHERE status = 'ok'").fetchone() == (2,)
    con.close()
    assert not (tmp_path / "s.sqlite.spool").exists()
