"""Store files of earlier versions: all that they hold is there under that of today."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import replace
from typing import TYPE_CHECKING
from zlib import crc32

import numpy as np
import pytest
from storing import keys, vectors, wrong_values

from distfd.core.records import DOUBLE
from distfd.stores.schema import VERSION, Meta, has_schema, write_meta
from distfd.stores.sqlite import SQLiteStore
from distfd.stores.summary import read_summary

if TYPE_CHECKING:
    from pathlib import Path

VERSION_1 = """
CREATE TABLE attempts (id INTEGER PRIMARY KEY, key BLOB NOT NULL, point INTEGER NOT NULL, attempt INTEGER NOT NULL,
    status TEXT NOT NULL, value BLOB NOT NULL, first REAL, started REAL, ended REAL, host TEXT, pid INTEGER,
    slot INTEGER, message TEXT, detail TEXT, checksum INTEGER NOT NULL);
CREATE UNIQUE INDEX value_of_key ON attempts (key) WHERE status = 'ok';
CREATE INDEX failures_of_key ON attempts (key, status) WHERE status <> 'ok';
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT);
CREATE VIEW evaluations AS SELECT id FROM attempts;
"""


def make(path: Path, numbers: list[int]) -> None:
    con = sqlite3.connect(path)
    con.execute(f"PRAGMA application_id = {int.from_bytes(b'dFD1', 'big')}")
    con.executescript(VERSION_1)
    meta = {"schema": "1", "fingerprint": "f", "names": json.dumps(["a", "b"]), "created": "2026-01-01T00:00:00+00:00"}
    meta["checksum"] = f"{crc32(json.dumps(meta, sort_keys=True).encode()):08x}"
    con.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
    batch, blobs = vectors(numbers), keys(numbers).astype("<u8")
    for row, number in enumerate(numbers):
        key, value = blobs[row].tobytes(), batch.flat[2 * row : 2 * row + 2].astype("<f8").tobytes()
        for status, blob in (("error", b""), ("ok", value)):
            first = float(batch.flat[2 * row]) if blob else None
            checksum = crc32(status.encode(), crc32(blob, crc32(key)))
            con.execute(
                "INSERT INTO attempts VALUES (NULL, ?, ?, 1, ?, ?, ?, 1.5, 2.5, 'n', 7, 0, NULL, NULL, ?)",
                (key, number, status, blob, first, checksum),
            )
    con.commit()
    con.close()


def test_values_and_failures_are_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    numbers = list(range(20))
    make(path, numbers)
    for _ in range(2):
        store = SQLiteStore(path, fingerprint="f", names=["a", "b"])
        assert wrong_values(store, numbers) == (20, 0)
        assert (store.quarantined, store.bad_rows, store.n_failed_attempts()) == (None, 0, 20)
        store.close()
    assert read_summary(path).created == "2026-01-01T00:00:00+00:00"


@pytest.mark.parametrize("version", [1, 2, 3])
def test_files_of_all_earlier_versions_take_decisions(version: int, tmp_path: Path) -> None:
    path, numbers = tmp_path / "s.sqlite", list(range(20))
    if version == 1:
        make(path, numbers)
    else:
        store = SQLiteStore(path, fingerprint="f", names=["a", "b"])
        bits = None if version == 2 else np.full(20, 23, np.uint8)
        store.put(keys(numbers), replace(vectors(numbers), bits=bits))
        store.close()
        con = sqlite3.connect(path)
        con.execute("DROP TABLE decisions")
        if version == 2:
            con.execute("ALTER TABLE attempts DROP COLUMN bits")
        write_meta(con, Meta(version, "f", ("a", "b"), "2026-01-01T00:00:00+00:00"))
        con.commit()
        con.close()
    assert read_summary(path).n_values == 20, "as it is, before anybody writes"
    for k in range(3):
        store = SQLiteStore(path, fingerprint="f", names=["a", "b"])
        assert wrong_values(store, numbers) == (20, 0)
        assert (store.quarantined, store.bad_rows) == (None, 0)
        assert set(store.bits(keys(numbers)).tolist()) == {23 if version == 3 else DOUBLE}
        assert store.decision(b"k" * 16) == (None if k == 0 else k)
        store.decide(b"k" * 16, k + 1)
        store.close()
    con = sqlite3.connect(path)
    assert con.execute("SELECT value FROM meta WHERE name = 'schema'").fetchone() == (str(VERSION),)
    assert has_schema(con)
    con.close()


def test_a_row_that_was_damaged_stays_so(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    numbers = list(range(20))
    make(path, numbers)
    con = sqlite3.connect(path)
    con.execute("UPDATE attempts SET value = zeroblob(16) WHERE point = 3 AND status = 'ok'")
    con.commit()
    con.close()
    store = SQLiteStore(path, fingerprint="f")
    assert wrong_values(store, numbers) == (19, 0)
    store.close()
    assert read_summary(path).attempts == {"damaged": 1, "error": 20, "ok": 19}


def test_a_file_that_is_not_whole_is_put_aside(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    make(path, [1])
    con = sqlite3.connect(path)
    con.execute("DROP VIEW evaluations")
    con.commit()
    con.close()
    before = path.read_bytes()
    with pytest.warns(RuntimeWarning, match="damaged"):
        store = SQLiteStore(path, fingerprint="f")
    assert store.quarantined is not None
    assert store.quarantined.read_bytes()[100:] == before[100:]
    store.close()
