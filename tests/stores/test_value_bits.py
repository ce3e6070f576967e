"""A value is kept with the bits of the number type in which J returned it, and old files are read as doubles."""

from __future__ import annotations

import shutil
import sqlite3
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from storing import keys, vectors, wrong_values

import distfd
from distfd.core.errors import DerivativeWarning
from distfd.core.records import DOUBLE, WHOLE
from distfd.stores.memory import MemoryStore
from distfd.stores.schema import VERSION
from distfd.stores.sqlite import SQLiteStore
from distfd.stores.summary import read_summary
from distfd.workers import spool

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from distfd.stores.base import Store

OLD = Path(__file__).parents[1] / "compatibility" / "runs"


@pytest.fixture(params=["memory", "sqlite"])
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Store]:
    memory = MemoryStore()
    return lambda: memory if request.param == "memory" else SQLiteStore(tmp_path / "s.sqlite")


def test_bits_come_back(reopen: Callable[[], Store]) -> None:
    store = reopen()
    numbers = list(range(6))
    mixed = replace(vectors(numbers), bits=np.array([52, 23, 10, 7, WHOLE, 23], np.uint8))
    store.put(keys(numbers), mixed)
    store.put(keys([9]), vectors([9]))
    # The first value of a point stays, and so do its bits.
    store.put(keys([1, 9]), replace(vectors([1, 9]), bits=np.array([52, 10], np.uint8)))
    if isinstance(store, SQLiteStore):
        store.close()
        store = again = reopen()
        assert isinstance(again, SQLiteStore)
        assert wrong_values(again, [*numbers, 9]) == (7, 0)
        assert again.bad_rows == 0
    assert store.bits(keys([5, 0, 2, 77, 4, 1, 9])).tolist() == [23, DOUBLE, 10, DOUBLE, WHOLE, 23, DOUBLE]
    assert store.bits(keys([])).tolist() == []
    store.close()


def test_bits_are_part_of_the_checksum(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    store = SQLiteStore(path)
    store.put(keys([1, 2, 3]), replace(vectors([1, 2, 3]), bits=np.array([23, 23, 52], np.uint8)))
    store.close()
    for change in ("bits = 10 WHERE point = 0", "bits = NULL WHERE point = 1", "bits = 23 WHERE point = 2"):
        with sqlite3.connect(path) as con:
            con.execute(f"UPDATE attempts SET {change}")  # one of three
        con.close()
    with pytest.warns(RuntimeWarning, match="3 evaluations .* are damaged"):
        store = SQLiteStore(path)
    assert len(store.get(keys([1, 2, 3]))[0]) == 0
    store.close()


@pytest.mark.parametrize("case", sorted(path.name for path in OLD.iterdir()))
def test_a_file_of_version_2_is_read_as_doubles_and_written_on(case: str, tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    shutil.copy(OLD / case / "run" / "evaluations.sqlite", path)
    with sqlite3.connect(path) as con:
        (version,) = con.execute("SELECT value FROM meta WHERE name = 'schema'").fetchone()
        before = con.execute("SELECT key, value, checksum FROM attempts ORDER BY id").fetchall()
        names = con.execute("SELECT count(*) FROM parameters").fetchone()
    con.close()
    assert version == "2"
    assert read_summary(path).n_values == sum(bool(value) for _, value, _ in before), "as it is, before anybody writes"
    for _ in range(2):
        store = SQLiteStore(path)
        assert (store.quarantined, store.bad_rows) == (None, 0)
        known = np.array([np.frombuffer(key, "<u8") for key, value, _ in before if value], np.uint64)
        rows, size, flat = store.get(known)
        assert len(rows) == len(known)
        assert flat.tobytes() == b"".join(value for _, value, _ in before)
        assert size.sum() == len(flat)
        assert set(store.bits(known).tolist()) == {DOUBLE}
        store.put(keys([7]), replace(vectors([7]), bits=np.array([23], np.uint8)))
        assert store.bits(keys([7])).tolist() == [23]
        store.close()
    with sqlite3.connect(path) as con:
        assert con.execute("SELECT value FROM meta WHERE name = 'schema'").fetchone() == (str(VERSION),)
        after = con.execute("SELECT key, value, checksum FROM attempts ORDER BY id").fetchall()
        assert after[: len(before)] == before, "not a row is written anew"
        assert con.execute("SELECT count(*) FROM parameters").fetchone() == names
        assert con.execute("SELECT count(*) FROM evaluations").fetchone() == (len(before) + 1,)
    con.close()


@pytest.mark.parametrize("bits", [None, 23, WHOLE])
def test_workers_leave_the_bits_too(tmp_path: Path, bits: int | None) -> None:
    left = spool.Spool(str(tmp_path), keys([5]))
    one = replace(vectors([5]), bits=None if bits is None else np.array([bits], np.uint8))
    spool.leave(left, 0, one)
    (path,) = tmp_path.iterdir()
    key, batch = spool.read(path)
    assert key.tolist() == keys([5]).tolist()
    assert (None if batch.bits is None else batch.bits.tolist()) == (None if bits is None else [bits])
    assert ('"bits"' in path.read_text()) == (bits is not None)


def sines(x: NDArray[np.float64]) -> Any:
    return np.float32(3) * np.sum(np.sin(x.astype(np.float32)))


def test_a_resumed_session_plans_the_same(tmp_path: Path) -> None:
    path, x = tmp_path / "s.sqlite", [0.3, 1.7, 25.0]
    found = []
    for _ in range(2):
        with distfd.Evaluator(sines, executor="serial", store=path, version="1") as ev, warnings.catch_warnings():
            warnings.simplefilter("ignore", DerivativeWarning)
            found.append(ev.differentiate(x))
    first, second = found
    assert (first.n_evaluations, first.n_reused) == (7, 0)
    assert (second.n_evaluations, second.n_reused) == (0, 7)
    assert first.derivative.tobytes() == second.derivative.tobytes()
    assert first.step.tobytes() == second.step.tobytes()
    assert first.warnings == second.warnings
    # Without the bits the steps of a double would be believed.
    with sqlite3.connect(path) as con:
        assert con.execute("SELECT DISTINCT bits FROM attempts").fetchall() == [(23,)]
    con.close()
