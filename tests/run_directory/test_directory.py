"""The directory of a run: when an earlier one may give way by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from distfd.core.records import Batch, Failure, Status
from distfd.objectives.command.objective import CommandObjective
from distfd.run_directory.directory import RunDirectory
from distfd.run_directory.result_check import trouble_with
from distfd.run_directory.status import kept_text
from distfd.stores.sqlite import SQLiteStore

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ("a", "b")


def attempt(status: Status) -> Batch:
    ok = status == Status.OK
    return Batch(
        index=np.array([0]),
        status=np.array([status], np.uint8),
        size=np.array([int(ok)]),
        flat=np.ones(int(ok)),
        started=np.array([1.0]),
        ended=np.array([2.0]),
        attempt=np.array([1], np.int32),
        host="here",
        pid=1,
        slot=0,
        failures={} if ok else {0: Failure(status, "no")},
    )


@pytest.mark.parametrize("status", [None, Status.ERROR, Status.OK])
def test_a_run_without_a_value_is_in_nobodys_way(tmp_path: Path, status: Status | None) -> None:
    directory = RunDirectory(tmp_path)
    assert not directory.is_worthless("f", NAMES), "there is none"
    store = SQLiteStore(directory.store, fingerprint="f", names=NAMES)
    if status is not None:
        store.put(np.array([[1, 2]], np.uint64), attempt(status))
    assert not directory.is_worthless("g", NAMES), "it is being written"
    store.close()
    found_nothing = status != Status.OK
    assert directory.is_worthless("g", NAMES) == found_nothing
    assert directory.is_worthless("f", ("a", "c")) == found_nothing
    assert not directory.is_worthless("f", NAMES), "it is this one, and goes on"
    assert not directory.is_worthless(None, NAMES)


def test_a_damaged_store_is_left_to_the_store(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    directory.store.write_text("no database")
    assert not directory.is_worthless("g", NAMES)


def test_status_says_where_work_directories_are(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    SQLiteStore(directory.store, fingerprint="f", names=NAMES).close()
    assert kept_text(directory) == []
    for keep in ("archive", "archive", "all"):
        objective = CommandObjective(
            ["sh", "-c", "echo 3"],
            outputs={"J": {"file": "stdout", "regex": "(3)"}},
            base=tmp_path,
            work=directory.work,
            archive=directory.archives,
            keep=keep,
        )
        objective.make().evaluate(np.ones(2))
    assert kept_text(directory) == [
        f"1 work directory is kept in {directory.work}",
        f"1 work directory is packed in {directory.archives}",
    ]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 10**400, -(10**308) * 2, True, "1", [1.0]])
def test_lists_of_numbers_in_a_result_hold_finite_numbers_alone(bad: object) -> None:
    assert trouble_with({"step": [1.0, 2, None]}) == ""
    assert "step is not" in trouble_with({"step": [1.0, 2, bad]})
