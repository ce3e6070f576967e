"""The SQLite store: other sessions, other processes, people, and what it says of mistakes."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import struct
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from distfd.core.records import Batch, Failure, Status
from distfd.errors import InputError, StoreError
from distfd.stores.filesystem import network_filesystem
from distfd.stores.sqlite import SQLiteStore
from distfd.stores.summary import read_summary

if TYPE_CHECKING:
    from numpy.typing import NDArray


def scalars(values: list[float], status: Status = Status.OK, **changes: object) -> Batch:
    n = len(values)
    columns = {
        "index": np.arange(n),
        "status": np.full(n, status, np.uint8),
        "size": np.full(n, int(status is Status.OK)),
        "flat": np.array(values if status is Status.OK else [], np.float64),
        "started": np.full(n, 1.7e9),
        "ended": np.full(n, 1.7e9 + 1.5),
        "attempt": np.ones(n, np.int32),
        "host": "node1",
        "pid": 77,
        "slot": 3,
    }
    return Batch(**{**columns, **changes})  # type: ignore[arg-type]  # columns by name, for short calls


def keys(*numbers: int) -> NDArray[np.uint64]:
    return np.array([(n, n + 1) for n in numbers], np.uint64).reshape(-1, 2)


def python(script: str, *argv: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(script), *map(str, argv)]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)


def test_values_outlive_the_session(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    store = SQLiteStore(path, fingerprint="f", names=["a", "b"])
    store.put(keys(1, 2), scalars([1.0, -0.0]))
    store.close()
    again = SQLiteStore(path, fingerprint="f", names=("a", "b"))
    rows, _, flat = again.get(keys(1, 2, 3))
    assert rows.tolist() == [0, 1]
    assert flat.tobytes() == np.array([1.0, -0.0]).tobytes()
    assert (again.quarantined, again.bad_rows) == (None, 0)
    again.close()


def test_a_closed_store_is_one_plain_file(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "s.sqlite")
    store.put(keys(1), scalars([1.0]))
    assert (tmp_path / "s.sqlite-wal").exists()
    store.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.sqlite", "s.sqlite.lock"]


def test_it_counts_points_and_failures_over_sessions(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    store = SQLiteStore(path)
    store.put(keys(1, 2, 3), scalars([0, 0, 0], Status.CRASH))
    store.put(keys(3), scalars([0], Status.LOST, attempt=np.array([2])))
    store.put(keys(4, 5), scalars([0, 0], Status.NOT_RUN))
    store.put(keys(6), scalars([0], Status.CANCELLED))
    store.close()
    store = SQLiteStore(path)
    store.put(keys(1, 7, 7), scalars([1.0, 2.0, 2.0]))
    assert store.n_computed() == 4
    assert store.n_failed_attempts() == 4
    store.close()


@pytest.mark.parametrize(
    ("identity", "says"),
    [
        ({"fingerprint": "g", "names": ["a", "b"]}, "another objective .fingerprint f, now g.*--fresh"),
        ({"fingerprint": "f", "names": ["a", "c"]}, "number 1 is 'b' there and 'c' now.*--fresh"),
        ({"fingerprint": "f", "names": ["a"]}, "2 there, 1 now"),
    ],
)
def test_another_identity_is_refused_and_the_file_left_alone(
    tmp_path: Path, identity: dict[str, object], says: str
) -> None:
    path = tmp_path / "s.sqlite"
    SQLiteStore(path, fingerprint="f", names=["a", "b"]).close()
    before = path.read_bytes()
    with pytest.raises(InputError, match=says) as caught:
        SQLiteStore(path, **identity)  # type: ignore[arg-type]  # keywords by case
    assert caught.value.exit_code == 2
    assert path.read_bytes()[100:] == before[100:]
    # The refused one holds no lock.
    SQLiteStore(path, fingerprint="f").close()
    SQLiteStore(path).close()


def test_an_identity_is_kept_from_the_first_session_that_has_one(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    SQLiteStore(path).close()
    SQLiteStore(path, fingerprint="f").close()
    SQLiteStore(path, names=["ü'"]).close()
    with pytest.raises(InputError, match="another objective"):
        SQLiteStore(path, fingerprint="g")
    summary = read_summary(path)
    assert (summary.fingerprint, summary.names) == ("f", ("ü'",))


def test_a_second_opener_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    store = SQLiteStore(path)
    link = tmp_path / "link.sqlite"
    link.symlink_to(path)
    for name in (path, link):
        with pytest.raises(StoreError, match=rf"in use by process {os.getpid()} on ") as caught:
            SQLiteStore(name)
        assert caught.value.exit_code == 5
    store.close()
    SQLiteStore(link).close()


HOLD = """
    import sys
    from distfd.stores.sqlite import SQLiteStore
    store = SQLiteStore(sys.argv[1])
    print("open", flush=True)
    sys.stdin.read()
"""


def test_the_kernel_gives_the_lock_back_at_kill_9(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    with python(HOLD, path) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        with pytest.raises(StoreError, match=f"in use by process {holder.pid} on"):
            SQLiteStore(path)
        assert f"process {holder.pid} on" in str(read_summary(path).writer)
        holder.kill()
        holder.wait()
    assert read_summary(path).writer is None
    SQLiteStore(path).close()


FORK = """
    import os, sys, time
    from distfd.stores.sqlite import SQLiteStore
    store = SQLiteStore(sys.argv[1])
    child = os.fork()
    if not child:
        print("forked", os.getpid(), flush=True)
        time.sleep(600)
    sys.stdin.read()
"""


def test_a_forked_child_does_not_keep_the_lock_of_a_killed_driver(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    with python(FORK, path) as driver:
        assert driver.stdout is not None
        child = int(driver.stdout.readline().split()[1])
        try:
            driver.kill()
            driver.wait()
            SQLiteStore(path).close()
            os.kill(child, 0)
        finally:
            os.kill(child, signal.SIGKILL)


def test_people_read_the_view_with_sqlite3_alone(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    store = SQLiteStore(path)
    store.put(keys(1), scalars([0.1]))
    store.put(
        keys(2),
        scalars([0], Status.ERROR, failures={0: Failure(Status.ERROR, "ValueError: \udcff", "Traceback ...\n\udc80")}),
    )
    script = """
        import json, sqlite3, sys
        con = sqlite3.connect(sys.argv[1])
        con.row_factory = sqlite3.Row
        print(json.dumps([dict(row) for row in con.execute("SELECT * FROM evaluations")]))
    """
    # While it is open for writing, and after.
    for close in (False, True):
        if close:
            store.close()
        with python(script, path) as reader:
            good, bad = json.loads(reader.communicate()[0])
        assert good["value"] == 0.1
        assert good["started"] == "2023-11-14T22:13:20.000Z"
        assert good["ended"] == "2023-11-14T22:13:21.500Z"
        assert (good["seconds"], good["status"], good["numbers"], good["host"]) == (1.5, "ok", 1, "node1")
        assert (bad["value"], bad["status"], bad["message"]) == (None, "error", r"ValueError: \udcff")


def test_a_row_holds_the_bits_of_its_value(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "s.sqlite")
    never = np.array([np.nan])
    columns: dict[str, Any] = {"index": np.array([41]), "attempt": np.array([2]), "started": never, "ended": never}
    store.put(keys(1), scalars([0.0], size=np.array([2]), flat=np.array([-0.0, 5e-324]), **columns))
    store.close()
    with sqlite3.connect(tmp_path / "s.sqlite") as con:
        row = con.execute("SELECT key, point, attempt, value, started, slot FROM attempts").fetchone()
    con.close()
    assert row == (struct.pack("<QQ", 1, 2), 41, 2, struct.pack("<2d", -0.0, 5e-324), None, 3)


def test_the_summary_is_of_a_store_that_is_being_written(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    store = SQLiteStore(path, fingerprint="f", names=["a"])
    store.put(keys(1, 2), scalars([1.0, 2.0]))
    store.put(keys(3), scalars([0], Status.TIMEOUT))
    summary = read_summary(path)
    assert (summary.n_computed, summary.n_values, summary.n_failed_attempts) == (3, 2, 1)
    assert summary.attempts == {"ok": 2, "timeout": 1}
    store.put(keys(4), scalars([1.0]))
    store.close()
    assert read_summary(path).n_computed == 4


def test_no_summary_without_a_store(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no store at"):
        read_summary(tmp_path / "none.sqlite")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "s.sqlite").write_text("not a database, but long enough to have a header" * 9)
    with pytest.raises(StoreError, match="not a database"):
        read_summary(tmp_path / "s.sqlite")


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"nowhere/s\.sqlite\.lock cannot be written: No such file"):
        SQLiteStore(tmp_path / "nowhere" / "s.sqlite")
    with pytest.raises(StoreError, match="is a directory"):
        SQLiteStore(tmp_path)


def test_a_closed_store_says_so(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "s.sqlite")
    store.close()
    with pytest.raises(StoreError, match="is closed"):
        store.get(keys(1))


def test_a_file_removed_or_replaced_under_its_writer_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    store = SQLiteStore(path)
    path.rename(tmp_path / "elsewhere.sqlite")
    with pytest.raises(StoreError, match="removed or replaced"):
        store.put(keys(1), scalars([1.0]))
    path.write_bytes(b"")
    with pytest.raises(StoreError, match="removed or replaced"):
        store.put(keys(1), scalars([1.0]))
    store.close()


def test_a_put_is_all_or_nothing(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "s.sqlite")
    with pytest.raises(ValueError, match="zip"):
        store.put(keys(1, 2), scalars([1.0, 2.0], ended=np.zeros(1)))
    assert len(store.get(keys(1, 2))[0]) == 0
    store.put(keys(1, 2), scalars([1.0, 2.0]))
    assert len(store.get(keys(1, 2))[0]) == 2
    store.close()


def test_the_journal_fits_the_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = SQLiteStore(tmp_path / "s.sqlite")
    assert store._connection is not None
    assert store._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert store._connection.execute("PRAGMA synchronous").fetchone() == (2,)
    store.close()
    monkeypatch.setattr("distfd.stores.sqlite_file.network_filesystem", lambda path: "nfs4")
    store = SQLiteStore(tmp_path / "s.sqlite")
    assert store._connection is not None
    assert store._connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    assert store._connection.execute("PRAGMA synchronous").fetchone() == (2,)
    store.put(keys(1), scalars([1.0]))
    assert read_summary(tmp_path / "s.sqlite").n_computed == 1
    store.close()


def waits(store: SQLiteStore, seconds: float, number: int) -> bool:
    """Whether the commit of an evaluation that took so long waited for the disk (FULL, or else NORMAL)."""
    store.put(keys(number), scalars([1.0], ended=np.array([1.7e9 + seconds])))
    assert store._connection is not None
    return bool(store._connection.execute("PRAGMA synchronous").fetchone() == (2,))


def test_short_evaluations_wait_for_the_disk_once_a_second_and_long_ones_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SQLiteStore(tmp_path / "s.sqlite")
    assert [waits(store, 0.25, k) for k in range(8)] == [False, False, False, True] * 2
    assert waits(store, 1.0, 8)
    assert waits(store, 60.0, 9)
    assert not waits(store, 0.25, 10)
    store.close()
    # A rollback journal keeps the file whole only if it waits each time.
    monkeypatch.setattr("distfd.stores.sqlite_file.network_filesystem", lambda path: "nfs4")
    store = SQLiteStore(tmp_path / "s.sqlite")
    assert waits(store, 0.25, 11)
    store.close()


MOUNTS = r"""22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
23 22 0:40 / /home rw - nfs4 server:/home rw,vers=4.2
24 22 0:41 / /home/me/local\040disk rw - xfs /dev/sdb1 rw
25 22 0:42 / /scratch rw - lustre mgs:/scratch rw
26 22 0:43 / /mnt/s rw shared:7 master:2 - fuse.sshfs host: rw
27 22 0:44 / /mnt/usb rw - fuseblk /dev/sdc1 rw
28 22 0:45 / /over rw - nfs server:/x rw
29 28 0:46 / /over rw - tmpfs tmpfs rw
a line of another kind
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/run/s.sqlite", None),
        ("/home/me/s.sqlite", "nfs4"),
        ("/homes/s.sqlite", None),
        ("/home/me/local disk/s.sqlite", None),
        ("/scratch/a/b", "lustre"),
        ("/mnt/s/x", "fuse.sshfs"),
        ("/mnt/usb/x", None),
        ("/over/x", None),
    ],
)
def test_network_file_systems_are_known(path: str, kind: str | None) -> None:
    assert network_filesystem(Path(path), MOUNTS) == kind


TWO = """
    import sys
    from distfd.core.errors import StoreError
    from distfd.stores.sqlite import SQLiteStore
    try:
        store = SQLiteStore(sys.argv[1])
    except StoreError as error:
        print("refused:", str(error).replace(chr(10), " "), flush=True)
        sys.exit(5)
    print("open", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_refused_while_the_first_runs_though_the_lock_was_removed(tmp_path: Path) -> None:
    """Two processes, as of two drivers: whoever removes the lock's file in between lets nobody in."""
    path = tmp_path / "s.sqlite"
    with python(TWO, path) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "open\n"
        path.with_name("s.sqlite.lock").unlink()
        for _ in range(2):  # the first refusal must not make room for the next
            with python(TWO, path) as second:
                said, _ = second.communicate(timeout=60)
            assert second.returncode == 5, said
            assert "refused:" in said
            assert "in use by" in said
        assert first.poll() is None
        first.communicate(timeout=60)
        assert first.returncode == 0
    with python(TWO, path) as third:
        said, _ = third.communicate(timeout=60)
    assert (third.returncode, said) == (0, "open\n")
