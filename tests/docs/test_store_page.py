"""Every query of docs/store.md, on the store of a run with failures, several waves and several hosts."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import distfd
from distfd.stores.sqlite import SQLiteStore

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = (Path(__file__).parents[2] / "docs" / "store.md").read_text(encoding="utf-8")
QUERIES = dict(re.findall(r"\n([^\n]+\?)\n\n```sql\n(.*?)```", PAGE, re.DOTALL))


def picky(x: Any) -> float:
    if x[2] != 5.0 and x[0] == 1.0:
        raise ValueError("negative width")
    return float(x[0] + 10 * x[1] + 100 * x[2])


@pytest.fixture
def store(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    path = tmp_path / "evaluations.sqlite"
    SQLiteStore(path, names=["mass", "width", "depth"]).close()
    steps: dict[str, Any] = {"step": distfd.AbsoluteStep(0.5), "executor": "serial", "on_failure": "nan", "retries": 1}
    with distfd.Evaluator(picky, store=path, **steps) as evaluator:
        evaluator.gradient(np.array([1.0, 3.0, 5.0]))
        evaluator.gradient(np.array([2.0, 3.0, 5.0]))
        evaluator.map([[2.0, 3.0, 5.0], [7.0, 8.0, 9.0]])
    connection = sqlite3.connect(path)
    connection.row_factory = sqlite3.Row
    yield connection
    connection.close()


def rows(store: sqlite3.Connection, start: str) -> list[dict[str, Any]]:
    (query,) = [query for question, query in QUERIES.items() if question.startswith(start)]
    return [dict(row) for row in store.execute(query)]


def test_every_column_of_the_page_is_there(store: sqlite3.Connection) -> None:
    table = PAGE[PAGE.index("| column |") : PAGE.index("The file has three tables")]
    names = [name for cell in re.findall(r"\n\| ((?:`\w+`(?:, )?)+) \|", table) for name in re.findall(r"\w+", cell)]
    columns = {row[1] for row in store.execute("PRAGMA table_info(evaluations)")}
    assert set(names) | {"message"} == columns


def test_how_attempts_ended(store: sqlite3.Connection) -> None:
    found = {row["status"]: row["attempts"] for row in rows(store, "How did the attempts")}
    # Two gradients of four points, of which one failed twice, and one point that was new.
    assert found == {"ok": 8, "error": 2}


def test_which_failed(store: sqlite3.Connection) -> None:
    found = [(row["parameter"], row["x"], row["attempt"], row["cause"]) for row in rows(store, "Which parameters")]
    assert found == [("depth", 5.5, 1, "ValueError: negative width"), ("depth", 5.5, 2, "ValueError: negative width")]


def test_differences_are_those_of_the_gradient(store: sqlite3.Connection) -> None:
    found = {(row["wave"], row["parameter"]): row["difference"] for row in rows(store, "How did J change")}
    assert found[1, "mass"] == 0.5
    assert found[1, "width"] == 5.0
    assert (1, "depth") not in found
    assert found[2, "depth"] == 50.0


def test_the_waves(store: sqlite3.Connection) -> None:
    found = [(row["id"], row["task"], row["x0"], row["J"]) for row in rows(store, "At which x")]
    assert found == [(1, "gradient", 1.0, 531.0), (2, "gradient", 2.0, 532.0)]
    waves = [tuple(row) for row in store.execute("SELECT task, points, reused FROM waves ORDER BY id")]
    assert waves == [("gradient", 4, 0), ("gradient", 4, 0), ("values", 2, 1)]
    (several,) = store.execute("SELECT parameter, x FROM evaluations WHERE wave = 3")
    assert tuple(several) == ("mass and 2 more", 7.0)


@pytest.mark.parametrize("question", QUERIES)
def test_every_query_answers(store: sqlite3.Connection, question: str) -> None:
    assert store.execute(QUERIES[question]).fetchall()
