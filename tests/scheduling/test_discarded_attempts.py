"""Attempts that count nowhere, and are kept all the same."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import numpy as np
import pytest
from test_stragglers import LOST, backed, done, late

import distfd
from distfd.core.records import Status
from distfd.scheduling.policy import Policy
from distfd.scheduling.scheduler import Scheduler
from distfd.scheduling.slot_pool import SlotPool
from distfd.workers.messages import SlotLost, SlotUp
from distfd.workers.recycle import RECYCLED

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("status", [Status.OK, Status.ERROR])
def test_a_duplicate_that_comes_too_late(status: Status) -> None:
    scheduler, straggler = late()
    backup = backed(scheduler)
    scheduler.take(done(backup, begin=3.0), 4.0)
    assert scheduler.uncounted() == []
    scheduler.take(done(straggler, status), 4.5)
    (batch,) = scheduler.uncounted()
    assert (batch.index.tolist(), batch.status.tolist()) == ([3], [Status.CANCELLED])
    assert (batch.size.tolist(), len(batch.flat)) == ([0], 0)
    text = batch.failures[3].text
    assert text.startswith("another slot was quicker")
    assert ("it failed" in text) == (status is Status.ERROR)
    assert scheduler.uncounted() == []


def test_a_duplicate_that_is_killed() -> None:
    scheduler, straggler = late()
    backup = backed(scheduler)
    scheduler.take(done(backup), 3.5)
    assert scheduler.abandon(3.5) == [straggler.slot]
    (batch,) = scheduler.uncounted()
    assert (batch.status.tolist(), batch.slot) == ([Status.CANCELLED], straggler.slot)
    assert (batch.started.tolist(), batch.ended.tolist()) == ([0.0], [3.5])


def test_what_went_with_its_node_is_kept_and_not_charged() -> None:
    scheduler = Scheduler(np.arange(3), 0, Policy({}), SlotPool(slots=1), epoch=100.0)
    scheduler.take(SlotUp(0, "host", 7), 0.0)
    (first,) = scheduler.issue(1.0)
    assert scheduler.take(SlotLost(0, LOST), 2.5) is None
    (batch,) = scheduler.uncounted()
    assert (batch.index.tolist(), batch.status.tolist()) == (first.index.tolist(), [Status.LOST])
    assert (batch.started.tolist(), batch.ended.tolist(), batch.host, batch.pid) == ([101.0], [102.5], "host", 7)
    assert batch.failures[0] == LOST
    assert not scheduler.finished


def test_a_process_that_has_had_its_time_loses_nothing() -> None:
    scheduler = Scheduler(np.arange(3), 0, Policy({}), SlotPool(slots=1))
    scheduler.take(SlotUp(0, "host", 7), 0.0)
    scheduler.issue(1.0)
    scheduler.take(SlotLost(0, RECYCLED), 2.5)
    assert scheduler.uncounted() == []


def test_they_are_rows_of_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if a duplicate of the last point had come second."""
    taken = Scheduler.uncounted

    def with_one_more(self: Scheduler) -> object:
        if self.finished and not hasattr(self, "told"):
            self.told = True  # type: ignore[attr-defined]  # for this test alone
            from simulated_slots import batch_of

            self._wave.discarded.too_late(batch_of(np.array([1]), [Status.OK], [1.0, 2.0]))
        return taken(self)

    monkeypatch.setattr(Scheduler, "uncounted", with_one_more)
    path = tmp_path / "s.sqlite"
    result = distfd.differentiate(lambda x: float(x @ x), np.arange(1.0, 3.0), executor="serial", store=path)
    assert (result.n_evaluations, result.n_failed) == (3, 0)
    with sqlite3.connect(path) as con:
        rows = con.execute("SELECT point, cause FROM evaluations WHERE status = 'cancelled'").fetchall()
    con.close()
    assert rows == [(1, "another slot was quicker")]
