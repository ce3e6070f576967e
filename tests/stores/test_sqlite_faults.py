"""The SQLite store under faults that are real: kills, damage, full and read-only disks."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import subprocess
import sys
import textwrap
import time
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from storing import keys, vectors, wrong_values

from distfd.errors import InputError, StoreError
from distfd.stores.sqlite import SQLiteStore
from distfd.stores.summary import read_summary

if TYPE_CHECKING:
    from collections.abc import Iterator


WRITER = """
    import sys
    sys.path.insert(0, sys.argv[2])
    from storing import keys, vectors
    from distfd.stores.sqlite import SQLiteStore
    store = SQLiteStore(sys.argv[1])
    n = int(sys.argv[3])
    while True:
        numbers = list(range(n, n + 3))
        store.put(keys(numbers), vectors(numbers))
        n += 3
        sys.stdout.write(f"{n}\\n")
        sys.stdout.flush()
"""


@pytest.mark.parametrize("network", [False, True], ids=["wal", "rollback"])
def test_nothing_acknowledged_is_lost_at_kill_9(tmp_path: Path, network: bool) -> None:
    path = tmp_path / "s.sqlite"
    script = textwrap.dedent(WRITER)
    if network:
        script = "import distfd.stores.sqlite_file as f; f.network_filesystem = lambda path: 'nfs'\n" + script
    here = Path(__file__).parent
    env = {**os.environ, "PYTHONPATH": str(here.parents[1])}
    rng = random.Random(7)
    acknowledged = 0
    for _ in range(12):
        command = [sys.executable, "-c", script, str(path), str(here.parent), str(acknowledged)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as writer:
            assert writer.stdout is not None
            # The first acknowledgement, so that every round writes; then any moment.
            lines = [writer.stdout.readline()]
            time.sleep(rng.uniform(0, 0.05))
            writer.kill()
            lines += writer.stdout.readlines()
        acknowledged = int([line for line in lines if line.endswith("\n")][-1])
        store = SQLiteStore(path)
        assert wrong_values(store, list(range(acknowledged))) == (acknowledged, 0)
        # A transaction that was committed and not yet acknowledged is whole.
        assert store.n_computed() in (acknowledged, acknowledged + 3)
        assert (store.quarantined, store.bad_rows) == (None, 0)
        store.close()
    assert acknowledged >= 36


def make(path: Path, n: int = 40) -> list[int]:
    numbers = list(range(n))
    store = SQLiteStore(path, fingerprint="f", names=["a", "b"])
    store.put(keys(numbers), vectors(numbers))
    store.close()
    return numbers


def open_quietly(path: Path) -> SQLiteStore:
    with warnings.catch_warnings():
        # Whether a mutation is noticed by the check of the file or of a row is not the question here.
        warnings.simplefilter("ignore", RuntimeWarning)
        return SQLiteStore(path, fingerprint="f", names=["a", "b"])


def mutate(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    at, length = rng.randrange(len(data)), rng.randrange(1, 4096)
    match rng.randrange(6):
        case 0:
            del changed[at:]
        case 1:
            del changed[at : at + length]
        case 2:
            changed[at : at + length] = rng.randbytes(len(changed[at : at + length]))
        case 3:
            changed[at : at + length] = bytes(len(changed[at : at + length]))
        case 4:
            page = rng.randrange(len(data) // 4096) * 4096
            to = rng.randrange(len(data) // 4096) * 4096
            changed[to : to + 4096] = data[page : page + 4096]
        case _:
            for _ in range(rng.choice([1, 1, 1, 3])):
                changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(changed)


@pytest.mark.parametrize("seed", [0, *(pytest.param(s, marks=pytest.mark.slow) for s in range(1, 8))])
def test_a_damaged_file_is_never_silently_wrong(tmp_path: Path, seed: int) -> None:
    good = tmp_path / "good.sqlite"
    numbers = make(good)
    data = good.read_bytes()
    rng = random.Random(seed)
    for case in range(60):
        path = tmp_path / f"{case}.sqlite"
        damaged = mutate(data, rng)
        path.write_bytes(damaged)
        store = open_quietly(path)
        known, wrong = wrong_values(store, numbers)
        assert wrong == 0
        if known < len(numbers):
            assert store.quarantined is not None or store.bad_rows > 0
        if store.quarantined is not None:
            assert store.quarantined.exists()
        # It serves again, whatever was lost, and what is computed anew is found the next time.
        store.put(keys(numbers), vectors(numbers))
        assert wrong_values(store, numbers) == (len(numbers), 0)
        store.close()
        again = SQLiteStore(path, fingerprint="f", names=["a", "b"])
        assert wrong_values(again, numbers) == (len(numbers), 0)
        assert again.n_computed() == len(numbers)
        again.close()


@pytest.mark.parametrize("seed", range(3))
def test_a_damaged_log_is_never_silently_wrong(tmp_path: Path, seed: int) -> None:
    """SQLite itself drops a log from its first bad frame on: what follows is lost, and nothing is made up."""
    numbers = list(range(40))
    store = SQLiteStore(tmp_path / "good.sqlite", fingerprint="f", names=["a", "b"])
    for part in (numbers[:10], numbers[10:30], numbers[30:]):
        store.put(keys(part), vectors(part))
    data = {end: (tmp_path / f"good.sqlite{end}").read_bytes() for end in ("", "-wal")}
    store.close()
    rng = random.Random(seed)
    for case in range(40):
        path = tmp_path / f"{case}.sqlite"
        path.write_bytes(data[""])
        Path(f"{path}-wal").write_bytes(mutate(data["-wal"], rng) if case else data["-wal"])
        store = open_quietly(path)
        known, wrong = wrong_values(store, numbers)
        assert wrong == 0
        assert case or known == len(numbers)
        store.put(keys(numbers), vectors(numbers))
        assert wrong_values(store, numbers) == (len(numbers), 0)
        store.close()


HALF_DONE = """
    import os, sqlite3, sys
    con = sqlite3.connect(sys.argv[1], isolation_level=None)
    con.execute("PRAGMA cache_size = 1")
    con.execute("BEGIN")
    con.execute("UPDATE attempts SET host = hex(randomblob(900))")
    os.kill(os.getpid(), 9)
"""


def test_what_a_killed_driver_left_half_done_can_be_looked_at(tmp_path: Path) -> None:
    """A journal that has to be rolled back before the file can be read."""
    path = tmp_path / "s.sqlite"
    numbers = make(path)
    subprocess.run([sys.executable, "-c", textwrap.dedent(HALF_DONE), str(path)], check=False)
    assert Path(f"{path}-journal").stat().st_size > 0
    assert read_summary(path).n_computed == len(numbers)
    store = SQLiteStore(path, fingerprint="f")
    assert wrong_values(store, numbers) == (len(numbers), 0)
    assert store.bad_rows == 0
    store.close()


def test_a_damaged_index_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    numbers = make(path)
    data = path.read_bytes()
    key = keys([7]).tobytes()
    # Once in the table, once in the index of values, which is on a later page.
    first = data.index(key)
    again = data.index(key, first + 1)
    path.write_bytes(data[:again] + b"\xff" + data[again + 1 :])
    store = SQLiteStore(path, fingerprint="f")
    assert wrong_values(store, numbers) == (len(numbers), 0)
    assert (store.quarantined, store.bad_rows) == (None, 0)
    store.close()


def test_rows_that_are_gone_are_told(tmp_path: Path) -> None:
    """The page of the table is emptied; its index knows better."""
    path = tmp_path / "s.sqlite"
    make(path)
    con = sqlite3.connect(path)
    (root,) = con.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'attempts'").fetchone()
    (size,) = con.execute("PRAGMA page_size").fetchone()
    con.close()
    data = bytearray(path.read_bytes())
    # An empty leaf: its kind, no free block, no cells, content from the end of the page on (0 for 65536).
    data[(root - 1) * size : root * size] = bytes([13, 0, 0, 0, 0, size >> 8, size & 255, 0]).ljust(size, b"\0")
    path.write_bytes(data)
    with pytest.warns(RuntimeWarning, match="are damaged"):
        store = SQLiteStore(path, fingerprint="f")
    assert store.bad_rows or store.quarantined
    store.close()


def test_a_damaged_file_is_renamed_and_named(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    for content in (b"", b"something else", b"SQLite format 3\0" + bytes(4096)):
        path.write_bytes(content)
        with pytest.warns(RuntimeWarning, match=r"s\.sqlite is damaged or no store .* renamed to s\.sqlite\.damaged-"):
            store = SQLiteStore(path)
        assert store.quarantined is not None
        assert store.quarantined.name.startswith("s.sqlite.damaged-")
        assert store.quarantined.read_bytes() == content
        assert store.n_computed() == 0
        store.close()
        path.unlink()
    assert len(list(tmp_path.glob("s.sqlite.damaged-*"))) == 3


@pytest.mark.parametrize("content", [bytes(5000), bytes(68) + b"dFD1" + bytes(500)])
def test_a_damaged_store_of_any_name_is_known_by_its_signs(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "values"
    path.write_bytes(content)
    with pytest.warns(RuntimeWarning, match="renamed to values.damaged-"):
        SQLiteStore(path).close()


def test_a_list_of_tables_that_is_damaged_is_no_foreign_one(tmp_path: Path) -> None:
    """A bit that flips in the kind of a table made a night's run stop at "which distfd did not make"."""
    path = tmp_path / "s.sqlite"
    SQLiteStore(path).close()
    whole = path.read_bytes()
    assert b"tablewaves" in whole
    path.write_bytes(whole.replace(b"tablewaves", b"tablawaves"))
    with pytest.warns(RuntimeWarning, match="is damaged or no store"):
        store = SQLiteStore(path)
    assert store.quarantined is not None
    store.close()


def test_a_foreign_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    with sqlite3.connect(path) as con:
        con.execute("CREATE TABLE mine (a)")
        con.execute("INSERT INTO mine VALUES (42)")
    con.close()
    with pytest.raises(StoreError, match="database of another program"):
        SQLiteStore(path)
    con = sqlite3.connect(path)
    assert con.execute("SELECT a FROM mine").fetchone() == (42,)
    con.close()


def test_the_log_of_a_file_that_is_gone_is_not_read_into_its_successor(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    store = SQLiteStore(path)
    store.put(keys([1]), vectors([1]))
    for companion in ("-wal", "-shm"):
        shutil.copy(f"{path}{companion}", tmp_path / f"kept{companion}")
    store.close()
    path.unlink()
    for companion in ("-wal", "-shm"):
        shutil.move(tmp_path / f"kept{companion}", f"{path}{companion}")
    with pytest.warns(RuntimeWarning, match="a log is there without its file"):
        store = SQLiteStore(path)
    assert store.n_computed() == 0
    store.put(keys([2]), vectors([2]))
    store.close()
    assert store.quarantined is not None
    assert Path(f"{store.quarantined}-wal").stat().st_size > 0
    store = SQLiteStore(path)
    assert wrong_values(store, [1, 2]) == (1, 0)
    store.close()


@pytest.mark.parametrize(
    "damage",
    [
        "value = zeroblob(16)",
        "key = x'00112233445566778899aabbccddeeff'",
        "checksum = checksum + 1",
        "status = 'error'",
        "status = CAST(x'ff6b' AS TEXT)",
        "first = 0.5",
        "value = 'text'",
        "host = 'other'",
        "host = NULL",
        "started = started + 1",
        "attempt = 2",
        "slot = 1e300",
        "message = CAST(x'ff' AS TEXT)",
        "wave = 7",
    ],
)
def test_a_row_whose_checksum_does_not_match_is_not_used(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "s.sqlite"
    numbers = make(path)
    con = sqlite3.connect(path)
    con.execute(f"UPDATE attempts SET {damage} WHERE point = 5")
    con.commit()
    con.close()
    with pytest.warns(RuntimeWarning, match=r"1 evaluations in .*s\.sqlite are damaged; they are kept, marked"):
        store = SQLiteStore(path, fingerprint="f")
    assert store.bad_rows == 1
    assert wrong_values(store, numbers) == (len(numbers) - 1, 0)
    assert store.n_failed_attempts() == 0
    store.put(keys([5]), vectors([5]))
    assert wrong_values(store, numbers) == (len(numbers), 0)
    store.close()
    store = SQLiteStore(path, fingerprint="f")
    assert wrong_values(store, numbers) == (len(numbers), 0)
    store.close()
    assert read_summary(path).attempts == {"damaged": 1, "ok": len(numbers)}


def test_a_row_that_goes_bad_while_the_store_is_open_is_not_used(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    numbers = make(path)
    store = SQLiteStore(path)
    con = sqlite3.connect(path)
    con.execute("UPDATE attempts SET value = zeroblob(16) WHERE point IN (5, 6)")
    con.commit()
    con.close()
    assert wrong_values(store, numbers) == (len(numbers) - 2, 0)
    assert store.bad_rows == 2
    store.put(keys([5]), vectors([5]))
    assert wrong_values(store, numbers) == (len(numbers) - 1, 0)
    store.close()


def test_a_newer_file_is_left_alone(tmp_path: Path) -> None:
    from distfd.stores.schema import VERSION, Meta, write_meta

    path = tmp_path / "s.sqlite"
    make(path)
    con = sqlite3.connect(path)
    write_meta(con, Meta(VERSION + 1, None, None, "2030-01-01T00:00:00+00:00"))
    con.commit()
    con.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match=rf"newer distfd \(schema {VERSION + 1}, known {VERSION}\); upgrade"):
        SQLiteStore(path)
    assert path.read_bytes() == before


@contextmanager
def mounted(directory: Path, options: str) -> Iterator[None]:
    directory.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", options, "none", str(directory)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"NOT TESTED, needs root: a file system of its own ({done.stderr.strip()})")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)


@pytest.mark.parametrize("network", [False, True], ids=["wal", "rollback"])
def test_a_full_disk_keeps_what_is_committed_and_goes_on_when_there_is_room(
    tmp_path: Path, network: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if network:
        monkeypatch.setattr("distfd.stores.sqlite_file.network_filesystem", lambda path: "nfs4")
    disk = tmp_path / "disk"
    with mounted(disk, "size=1m"):
        path = disk / "s.sqlite"
        store = SQLiteStore(path)
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(300_000))
        done = 0
        with pytest.raises(StoreError, match=r"s\.sqlite: .*full.*; make room") as caught:  # noqa: PT012  # any put
            for done in range(0, 100_000, 50):
                store.put(keys(list(range(done, done + 50))), vectors(list(range(done, done + 50))))
        assert caught.value.exit_code == 5
        assert done > 50
        assert wrong_values(store, list(range(done + 50))) == (done, 0)
        # The same session goes on once there is room ...
        ballast.unlink()
        store.put(keys([done]), vectors([done]))
        store.close()
        # ... and so does the next.
        store = SQLiteStore(path)
        assert wrong_values(store, list(range(done + 1))) == (done + 1, 0)
        assert (store.quarantined, store.bad_rows) == (None, 0)
        store.close()


def test_a_disk_that_is_full_at_opening(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    with mounted(disk, "size=256k"):
        ballast = disk / "ballast"
        with pytest.raises(OSError, match="No space"), ballast.open("wb") as file:
            file.write(bytes(400_000))
        path = disk / "s.sqlite"
        with pytest.raises(StoreError, match=r"full.*make room"):
            SQLiteStore(path)
        assert not path.exists()
        ballast.unlink()
        SQLiteStore(path).close()


def test_a_read_only_disk(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    with mounted(disk, "size=4m"):
        path = disk / "s.sqlite"
        numbers = make(path)
        store = SQLiteStore(path)
        store.put(keys([1000]), vectors([1000]))
        store.close()
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        with pytest.raises(StoreError, match="Read-only file system; make"):
            SQLiteStore(path)
        with pytest.raises(StoreError, match="Read-only file system; make"):
            SQLiteStore(disk / "new.sqlite")
        # To look is still possible.
        assert read_summary(path).n_computed == len(numbers) + 1
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
        store = SQLiteStore(path)
        assert wrong_values(store, [*numbers, 1000]) == (len(numbers) + 1, 0)
        store.close()


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    """A read-only file system below the file alone, as root is not held back by permissions."""
    path = tmp_path / "s.sqlite"
    make(path)
    bind = subprocess.run(["mount", "--bind", str(path), str(path)], capture_output=True, text=True, check=False)
    if bind.returncode:
        pytest.skip(f"NOT TESTED, needs root: a mount of its own ({bind.stderr.strip()})")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(path)], check=True)
        with pytest.raises(StoreError, match=r"readonly database; make the file and its directory writable"):
            SQLiteStore(path, fingerprint="f")
    finally:
        subprocess.run(["umount", str(path)], check=True)


def test_a_mismatch_is_told_before_anything_is_changed(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    numbers = make(path)
    for _ in range(3):
        with pytest.raises(InputError):
            SQLiteStore(path, fingerprint="other")
    store = SQLiteStore(path, fingerprint="f")
    assert wrong_values(store, numbers) == (len(numbers), 0)
    store.close()
